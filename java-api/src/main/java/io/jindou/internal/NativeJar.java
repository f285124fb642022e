package io.jindou.internal;

import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.net.URLConnection;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;

/**
 * Native libraries that lie in a jar, each beside its SHA-256 ({@code libjindou.so.sha256}). The sums name the directory they are
 * extracted to, so that a start that finds it there reads nothing but the sums.
 */
final class NativeJar {
    private static final String[] FILES = {"libjindou.so", "libjindou_simt.so", "libjindou_cuda.so"};

    private NativeJar() {}

    /** The directory with the extracted libraries, or null where the class path has none. */
    static Path extract(ClassLoader loader, String folder) throws IOException {
        Map<String, Resource> resources = new TreeMap<>();
        MessageDigest key = sha256();
        for (String file : FILES) {
            URL library = loader.getResource(folder + file);
            URL sum = loader.getResource(folder + file + ".sha256");
            if (library == null || sum == null) {
                continue;
            }
            try (InputStream in = open(sum)) {
                String digest = new String(in.readAllBytes(), StandardCharsets.US_ASCII).strip();
                resources.put(file, new Resource(library, digest));
                key.update((file + "=" + digest + "\n").getBytes(StandardCharsets.US_ASCII));
            }
        }
        if (!resources.containsKey(NativeLibrary.MAIN_FILE)) {
            return null;
        }
        return NativeCache.extract(HexFormat.of().formatHex(key.digest(), 0, 8), resources);
    }

    /** One library in the jar and its SHA-256 in hexadecimal. */
    record Resource(URL url, String sha256) {
        InputStream open() throws IOException {
            return NativeJar.open(url);
        }
    }

    private static InputStream open(URL url) throws IOException {
        URLConnection connection = url.openConnection();
        // Not kept open by the JVM's jar cache: the jar may be replaced when an application is redeployed.
        connection.setUseCaches(false);
        return connection.getInputStream();
    }

    static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every JDK has SHA-256", e);
        }
    }
}
