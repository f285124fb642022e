package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EventLogTest {
    private static final String TEXT = "7 3\n7 1\n\n2 5\n7 2\n";

    @TempDir
    private Path folder;

    private Path file(String text) throws IOException {
        return Files.writeString(folder.resolve("events.txt"), text);
    }

    private static void assertHistories(List<EventLog.History> histories) {
        assertEquals(2, histories.size());
        assertEquals(7, histories.get(0).user());
        assertArrayEquals(new int[] {3, 1, 2}, histories.get(0).items());
        assertArrayEquals(new int[] {5}, histories.get(1).items());
    }

    @Test
    void plain_and_gzip_read_the_same() throws IOException {
        assertHistories(EventLog.read(file(TEXT), 5));
        Path zipped = folder.resolve("events.gz");
        try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(zipped))) {
            out.write(TEXT.getBytes(StandardCharsets.UTF_8));
        }
        assertHistories(EventLog.read(zipped, 5));
    }

    @Test
    void blanks_tabs_and_carriage_returns_separate() throws IOException {
        assertHistories(EventLog.read(file("7\t3\n  7   1 \n \t\n2 \t 5\r\n7 2"), 5));
    }

    @Test
    void latest_takes_the_end_of_a_prefix() {
        EventLog.History history = new EventLog.History(1, new int[] {1, 2, 3, 4, 5});
        assertArrayEquals(new int[] {3, 4}, history.latest(4, 2));
        assertArrayEquals(new int[] {1, 2, 3, 4}, history.latest(4, 9));
    }

    @Test
    void malformed_lines_are_named() throws IOException {
        for (String bad : List.of("7", "7 x", "x 7", "7 3 4", "7 0", "7 6", "7 -4", "7,3", "7 99999999999")) {
            Path file = file("1 1\n" + bad + "\n");
            IOException failure = assertThrows(IOException.class, () -> EventLog.read(file, 5), bad);
            assertTrue(failure.getMessage().contains("line 2"), failure.getMessage());
        }
    }
}
