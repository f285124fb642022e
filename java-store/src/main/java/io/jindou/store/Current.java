package io.jindou.store;

import io.jindou.DType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The file {@code CURRENT} of a table: one line, {@code rows-3 F32 64}: the generation in use and what its rows are. It is replaced at
 * once, never changed.
 */
record Current(int generation, DType dtype, int dim) {
    private static final String NAME = "CURRENT";
    static final String PART = NAME + ".tmp";
    private static final Pattern LINE = Pattern.compile("rows-([1-9][0-9]{0,8}) ([A-Z0-9_]+) ([1-9][0-9]{0,8})\n");

    /** The file was replaced, but whether a loss of power takes that back is not known. */
    static final class Unsettled extends IOException {
        private static final long serialVersionUID = 1;

        private Unsettled(IOException cause) {
            super(cause.getMessage(), cause);
        }
    }

    /** The name of the generation's directory. */
    String name() {
        return "rows-" + generation;
    }

    /** Null when there is none. */
    static Current read(Path directory) throws IOException {
        Path file = directory.resolve(NAME);
        if (!Files.exists(file)) {
            return null;
        }
        String text = new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1);
        Matcher line = LINE.matcher(text);
        if (line.matches()) {
            for (DType dtype : DType.values()) {
                if (dtype.name().equals(line.group(2))) {
                    return new Current(Integer.parseInt(line.group(1)), dtype, Integer.parseInt(line.group(3)));
                }
            }
        }
        throw new IOException(file + ": expected the name of a generation, its dtype and dim (rows-1 F32 64), got '" + text.strip() + "'");
    }

    /**
     * Replaces the file.
     *
     * @throws Unsettled when it was replaced, or may have been; any other IOException leaves what was there
     */
    void write(Path directory, Disk disk) throws IOException {
        Path part = directory.resolve(PART);
        try (FileChannel channel = FileChannel.open(
                part, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
            ByteBuffer text = ByteBuffer.wrap((name() + " " + dtype + " " + dim + "\n").getBytes(StandardCharsets.US_ASCII));
            while (text.hasRemaining()) {
                channel.write(text);
            }
            channel.force(true);
        }
        try {
            Files.move(part, directory.resolve(NAME), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            disk.force(directory);
        } catch (IOException e) {
            throw isElsewhere(directory) ? e : new Unsettled(e);
        }
    }

    /** Whether the file certainly names another generation, or none. */
    private boolean isElsewhere(Path directory) {
        try {
            return !equals(read(directory));
        } catch (IOException e) {
            return false;
        }
    }
}
