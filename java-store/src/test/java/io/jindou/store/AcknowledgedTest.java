package io.jindou.store;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.UUID;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The file says what was acknowledged, or less; never more than a table that has lost nothing has. */
class AcknowledgedTest {
    @TempDir
    Path folder;

    private long latest; // RocksDB's last sequence number

    private Acknowledged open(boolean durable) throws IOException {
        return Acknowledged.open(folder, durable, () -> latest);
    }

    private long said() throws IOException {
        return Acknowledged.read(folder).sequence();
    }

    @Test
    void one_update_after_the_other() throws Exception {
        assertNull(Acknowledged.read(folder));
        latest = 7;
        try (Acknowledged file = open(true)) {
            assertEquals(7, said());
            for (int i = 0; i < 3; i++) {
                long begun = file.begin();
                latest += 10;
                assertEquals(7 + 10 * i, said(), "not before it is acknowledged");
                file.end(begun, 10);
                assertEquals(latest, said());
            }
        }
        assertEquals(37, said());
    }

    @Test
    void updates_beside_each_other() throws Exception {
        try (Acknowledged file = open(true)) {
            long first = file.begin(), second = file.begin();
            latest = 30; // both are written, in whatever order
            file.end(first, 10);
            assertEquals(10, said(), "its own ten at least");
            file.end(second, 20);
            assertEquals(30, said(), "nobody else is left");
        }
    }

    @Test
    void an_update_that_fails_beside_another() throws Exception {
        try (Acknowledged file = open(true)) {
            long good = file.begin();
            file.begin();
            latest = 30; // RocksDB has counted both, of which ten are in its log
            file.end(good, 10);
            assertEquals(10, said());
            file.fail();
            long next = file.begin();
            latest = 35;
            file.end(next, 5);
            assertEquals(35, said(), "what is in the log comes after all that RocksDB has counted");
        }
    }

    @Test
    void what_binds() throws Exception {
        try (Acknowledged file = open(false)) {
            long begun = file.begin();
            latest = 5;
            file.end(begun, 5);
            Acknowledged.Mark here = Acknowledged.read(folder);
            assertFalse(here.durable());
            assertTrue(here.binds(), "buffered, and the machine is up");
            assertThrows(IOException.class, () -> Acknowledged.check(folder, here, 4));
            assertDoesNotThrow(() -> Acknowledged.check(folder, here, 5));
            file.settle();
            assertTrue(Acknowledged.read(folder).durable());
        }
        Acknowledged.Mark elsewhere = new Acknowledged.Mark(5, false, new UUID(1, 2));
        assertFalse(elsewhere.binds(), "buffered, before the machine was down");
        assertTrue(new Acknowledged.Mark(5, true, new UUID(1, 2)).binds());
        Path file = folder.resolve("ACKNOWLEDGED");
        byte[] bytes = Files.readAllBytes(file);
        for (int i = 0; i < bytes.length; i++) {
            byte[] damaged = bytes.clone();
            damaged[i] ^= 8;
            Files.write(file, damaged);
            assertThrows(IOException.class, () -> Acknowledged.read(folder), "byte " + i);
        }
        Files.write(file, new byte[0]);
        assertFalse(Acknowledged.read(folder).binds(), "given up");
    }
}
