package io.jindou.bindings;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

/**
 * The SHA-256 of each C header without its comments and spacing, which is all that the bindings depend on: a comment may be
 * mended by someone who has no jextract.
 *
 * <p>Run by {@code generate.sh} as a single-file program, and by the tests.
 */
final class HeaderDigest {
    private static final Pattern COMMENT = Pattern.compile("/\\*.*?\\*/|//[^\n]*", Pattern.DOTALL);
    private static final Pattern SPACE = Pattern.compile("\\s+");

    private HeaderDigest() {}

    /** Digests by file name, for every header of a folder. */
    static Map<String, String> of(Path folder) throws IOException {
        Map<String, String> digests = new TreeMap<>();
        try (var files = Files.list(folder)) {
            for (Path header : (Iterable<Path>) files.filter(f -> f.toString().endsWith(".h"))::iterator) {
                digests.put(header.getFileName().toString(), digest(Files.readString(header)));
            }
        }
        return digests;
    }

    /** What {@code HEADERS.sha256} contains. */
    static List<String> lines(Path folder) throws IOException {
        return of(folder).entrySet().stream().map(e -> e.getValue() + "  " + e.getKey()).toList();
    }

    private static String digest(String text) {
        String bare = SPACE.matcher(COMMENT.matcher(text).replaceAll(" ")).replaceAll(" ").strip();
        try {
            byte[] sum = MessageDigest.getInstance("SHA-256").digest(bare.getBytes(java.nio.charset.StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(sum);
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every JDK has SHA-256", e);
        }
    }

    public static void main(String[] args) throws IOException {
        lines(Path.of(args[0])).forEach(System.out::println);
    }
}
