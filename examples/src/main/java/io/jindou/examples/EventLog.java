package io.jindou.examples;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPInputStream;

/**
 * Reads event logs: one interaction a line, {@code user item} with blanks or tabs between, in time order within a user, plain or gzip.
 * Ids are integers; items count from 1.
 */
final class EventLog {
    /** One user's events, oldest first. */
    record History(long user, int[] items) {
        /** The {@code count} most recent of the first {@code end} events. */
        int[] latest(int end, int count) {
            return Arrays.copyOfRange(items, Math.max(0, end - count), end);
        }
    }

    /** One line of a log. */
    record Event(long user, int item) {
        /**
         * Parses a line that is not blank.
         *
         * @param numItems the largest item id allowed
         * @throws IOException when the line is malformed; the message says what came, the caller knows from where
         */
        static Event parse(String line, int numItems) throws IOException {
            String words = line.strip();
            int end = 0;
            while (end < words.length() && !Character.isWhitespace(words.charAt(end))) {
                end++;
            }
            long user;
            int item;
            try {
                user = Long.parseLong(words, 0, end, 10);
                item = Integer.parseInt(words.substring(end).stripLeading());
            } catch (NumberFormatException malformed) {
                throw new IOException("expected \"user item\", got \"" + line + "\"", malformed);
            }
            if (item < 1 || item > numItems) {
                throw new IOException("item " + item + " is not in 1.." + numItems);
            }
            return new Event(user, item);
        }
    }

    private EventLog() {}

    /**
     * Reads a whole log.
     *
     * @param file plain text, or gzip (found by its first two bytes, not by its name)
     * @param numItems the largest item id allowed
     * @return the users in order of first appearance
     * @throws IOException when the file cannot be read or a line is malformed; the message names file and line
     */
    static List<History> read(Path file, int numItems) throws IOException {
        Map<Long, IntList> users = new LinkedHashMap<>();
        try (BufferedReader lines = open(file)) {
            int number = 0;
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                number++;
                if (line.isBlank()) {
                    continue;
                }
                try {
                    Event event = Event.parse(line, numItems);
                    users.computeIfAbsent(event.user(), key -> new IntList()).add(event.item());
                } catch (IOException malformed) {
                    throw new IOException(file + ", line " + number + ": " + malformed.getMessage(), malformed);
                }
            }
        }
        List<History> histories = new ArrayList<>(users.size());
        users.forEach((user, items) -> histories.add(new History(user, items.toArray())));
        return histories;
    }

    private static BufferedReader open(Path file) throws IOException {
        InputStream raw = Files.newInputStream(file);
        try {
            InputStream bytes = new java.io.BufferedInputStream(raw, 1 << 16);
            bytes.mark(2);
            boolean gzip = bytes.read() == 0x1f && bytes.read() == 0x8b;
            bytes.reset();
            return new BufferedReader(
                    new InputStreamReader(gzip ? new GZIPInputStream(bytes, 1 << 16) : bytes, StandardCharsets.UTF_8));
        } catch (IOException failed) {
            raw.close();
            throw failed;
        }
    }

    /** A growing int array. */
    private static final class IntList {
        private int[] values = new int[8];
        private int size;

        void add(int value) {
            if (size == values.length) {
                values = Arrays.copyOf(values, 2 * size);
            }
            values[size++] = value;
        }

        int[] toArray() {
            return Arrays.copyOf(values, size);
        }
    }
}
