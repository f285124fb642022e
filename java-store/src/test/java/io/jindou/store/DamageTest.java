package io.jindou.store;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.InvalidArgumentException;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is damaged, lost or of other rows is refused when a table is opened; what a death in the middle of a write leaves is not. */
class DamageTest {
    private static final int UPDATES = 12;

    @TempDir
    Path folder;

    private final Device device = Device.open("cpu");
    private Path directory;
    private byte[] acknowledgedBefore; // the last update

    /** What a process that died has left: updates that are in the log alone. */
    @BeforeEach
    void write() throws Exception {
        directory = folder.resolve("table");
        Path alive = folder.resolve("alive");
        try (TieredTable table = TieredTable.open(device, alive, Victim.desc().withDurability(Durability.BUFFERED))) {
            for (int version = 1; version <= UPDATES; version++) {
                acknowledgedBefore = Files.readAllBytes(only(alive, "ACKNOWLEDGED"));
                table.update(Victim.keys(), Victim.rows(version));
            }
            copy(alive, directory);
        }
    }

    @AfterEach
    void close() {
        device.close();
    }

    private float version(Path of) throws IOException {
        try (TieredTable table = TieredTable.open(device, of, Victim.desc())) {
            return CrashTest.version(table, device);
        }
    }

    private static Path only(Path directory, String pattern) throws IOException {
        try (var all = Files.walk(directory)) {
            var found = all.filter(each -> each.getFileName().toString().matches(pattern)).toList();
            assertEquals(1, found.size(), pattern + ": " + found);
            return found.get(0);
        }
    }

    private Path copy(String name) throws IOException {
        return copy(directory, folder.resolve(name));
    }

    private static Path copy(Path from, Path to) throws IOException {
        try (var all = Files.walk(from)) {
            for (Path each : all.toList()) {
                Files.copy(each, to.resolve(from.relativize(each).toString()));
            }
        }
        return to;
    }

    private static void flip(Path file, long at, int bit) throws IOException {
        try (RandomAccessFile bytes = new RandomAccessFile(file.toFile(), "rw")) {
            bytes.seek(at);
            int old = bytes.read();
            bytes.seek(at);
            bytes.write(old ^ 1 << bit);
        }
    }

    /** Nowhere does it cost an update: at the end too, where RocksDB takes a wrong length for a record cut short by a death. */
    @Test
    void a_flipped_bit_anywhere_in_the_log() throws Exception {
        Path log = only(directory, "[0-9]+\\.log");
        long size = Files.size(log), block = 32 << 10, last = (size - 1) / block * block;
        assertTrue(size > UPDATES * Victim.KEYS * Victim.DIM * 4L, "the log has all updates: " + size);
        List<Long> places = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            places.add(new Random(i).nextLong(size));
        }
        for (long at = last; at < size; at += 7 + length(log, at)) { // checksum, length and kind of each record of the last block
            for (int i = 0; i < 7; i++) {
                places.add(at + i);
            }
        }
        Random random = new Random(3);
        for (long at : places) {
            Path damaged = copy("damaged-" + at);
            int bit = random.nextInt(8);
            flip(only(damaged, "[0-9]+\\.log"), at, bit);
            IOException e = assertThrows(IOException.class, () -> version(damaged), "byte " + at + " of " + size);
            assertTrue(e.getMessage().contains("damaged"), e.getMessage());
            flip(only(damaged, "[0-9]+\\.log"), at, bit);
            assertEquals(UPDATES, version(damaged), "nothing was changed");
            Disk.REAL.delete(damaged);
        }
    }

    private static int length(Path log, long record) throws IOException {
        try (RandomAccessFile bytes = new RandomAccessFile(log.toFile(), "r")) {
            bytes.seek(record + 4);
            return bytes.read() | bytes.read() << 8;
        }
    }

    @Test
    void what_is_lost_can_be_given_up() throws Exception {
        Path log = only(directory, "[0-9]+\\.log");
        flip(log, Files.size(log) - 1, 0);
        IOException e = assertThrows(IOException.class, () -> version(directory));
        assertTrue(e.getMessage().contains("1100 of 1200 changes of rows are there"), e.getMessage());
        Files.write(only(directory, "ACKNOWLEDGED"), new byte[0]);
        assertEquals(UPDATES - 1, version(directory));
        assertEquals(UPDATES - 1, version(directory));
    }

    /** Whatever is damaged of a table that was closed: all rows are there, or it says that they are not. */
    @Test
    void a_closed_table_does_not_hang_on_its_log() throws Exception {
        Path closed = copy("closed");
        try (TieredTable table = TieredTable.open(device, closed, Victim.desc())) {
            table.update(Victim.keys(), Victim.rows(UPDATES + 1));
        }
        List<String> logs = new ArrayList<>(), others = new ArrayList<>();
        int refused = 0;
        try (var all = Files.list(closed.resolve("rows-1"))) {
            all.map(each -> each.getFileName().toString()).forEach(each -> (each.endsWith(".log") ? logs : others).add(each));
        }
        others.removeIf(each -> !each.matches("MANIFEST.*|CURRENT|ACKNOWLEDGED")); // the rows themselves: CrashTest.a_damaged_block
        for (String log : logs) {
            assertEquals(0, Files.size(closed.resolve("rows-1").resolve(log)));
            Path damaged = copy(closed, folder.resolve("without-" + log));
            Files.delete(damaged.resolve("rows-1").resolve(log));
            assertEquals(UPDATES + 1, version(damaged));
        }
        for (String name : others) {
            long size = Files.size(closed.resolve("rows-1").resolve(name));
            for (long at : new Random(5).longs(8, Math.max(0, size - 200), size).toArray()) {
                Path damaged = copy(closed, folder.resolve(name + "-" + at));
                flip(damaged.resolve("rows-1").resolve(name), at, (int) (at % 8));
                try {
                    assertEquals(UPDATES + 1, version(damaged), name + ", byte " + at);
                } catch (IOException e) {
                    refused++;
                }
                Disk.REAL.delete(damaged);
            }
        }
        assertTrue(refused >= 16, "the damage was met: " + refused);
    }

    /** The last numbers of RocksDB are what they were, whatever becomes of rows: a table that has lost nothing is never refused. */
    @Test
    void a_table_that_lost_nothing_opens() throws Exception {
        for (int round = 0; round < 4; round++) {
            try (TieredTable table = TieredTable.open(device, directory, Victim.desc().withDurability(Durability.values()[round % 2]))) {
                if (round % 2 == 0) {
                    table.erase(Victim.keys());
                } else {
                    table.update(Victim.keys(), Victim.rows(round));
                }
                if (round < 2) {
                    table.compact(); // into nothing, or into rows without numbers
                }
                Path image = copy("dead-" + round);
                assertEquals(round % 2 == 0 ? 0 : round, version(image));
            }
        }
        assertEquals(3, version(directory));
    }

    @Test
    void a_flipped_bit_in_the_manifest() throws Exception {
        Path manifest = only(directory, "MANIFEST-[0-9]+");
        flip(manifest, Files.size(manifest) / 2, 4);
        assertThrows(IOException.class, () -> version(directory));
    }

    /** A killed process leaves any part of the record that it was writing. */
    @Test
    void a_log_cut_short_loses_the_last_update_alone() throws Exception {
        long size = Files.size(only(directory, "[0-9]+\\.log")), update = Victim.KEYS * Victim.DIM * 4L, block = 32 << 10;
        List<Long> cuts = new ArrayList<>(List.of(size - 1, size - 7, size - update / 3));
        for (int i = 0; i < 8; i++) {
            cuts.add(size - update + new Random(i).nextLong(update));
        }
        long edge = (size - 1) / block * block; // where a record goes on in the next block
        if (edge > size - update) {
            cuts.addAll(List.of(edge - 1, edge, edge + 1, edge + 6, edge + 7, edge + 8));
        }
        for (long cut : cuts) {
            Path torn = copy("cut-" + cut);
            try (RandomAccessFile bytes = new RandomAccessFile(only(torn, "[0-9]+\\.log").toFile(), "rw")) {
                bytes.setLength(cut);
            }
            IOException e = assertThrows(IOException.class, () -> version(torn), "it was acknowledged");
            assertTrue(e.getMessage().contains("1100 of 1200 changes of rows are there"), e.getMessage());
            Files.write(only(torn, "ACKNOWLEDGED"), acknowledgedBefore);
            assertEquals(UPDATES - 1, version(torn), cut + " of " + size);
            try (TieredTable table = TieredTable.open(device, torn, Victim.desc())) {
                table.update(Victim.keys(), Victim.rows(100));
            }
            assertEquals(100, version(torn));
            Disk.REAL.delete(torn);
        }
    }

    @Test
    void a_missing_generation_is_not_an_empty_table() throws Exception {
        Disk.REAL.delete(directory.resolve("rows-1"));
        for (int again = 0; again < 2; again++) {
            IOException e = assertThrows(IOException.class, () -> version(directory));
            assertTrue(e.getMessage().contains("rows-1, the generation in use, is missing"), e.getMessage());
        }
        Files.createDirectory(directory.resolve("rows-1"));
        assertThrows(IOException.class, () -> version(directory), "an empty one neither");
    }

    @Test
    void rows_without_the_file_that_names_them() throws Exception {
        byte[] current = Files.readAllBytes(directory.resolve("CURRENT"));
        Files.delete(directory.resolve("CURRENT"));
        for (int again = 0; again < 2; again++) {
            IOException e = assertThrows(IOException.class, () -> version(directory));
            assertTrue(e.getMessage().contains("expected the file CURRENT beside rows-1"), e.getMessage());
        }
        Files.write(directory.resolve("CURRENT"), current);
        assertEquals(UPDATES, version(directory));
        Files.move(directory.resolve("rows-1"), directory.resolve("rows-3"));
        Files.delete(directory.resolve("CURRENT"));
        assertThrows(IOException.class, () -> version(directory));
        assertTrue(Files.exists(directory.resolve("rows-3")), "never deleted");
    }

    /** A death between the making of the first database and the file that names it. */
    @Test
    void a_creation_cut_short_is_taken_up() throws Exception {
        Path young = folder.resolve("young");
        TieredTable.open(device, young, Victim.desc()).close();
        Files.delete(young.resolve("CURRENT"));
        assertEquals(0, version(young));
    }

    @Test
    void rows_of_another_kind() throws Exception {
        refused("'dtype': expected F32, as the table in ", TieredTableDesc.of(DType.F16, Victim.DIM, 50, Victim.KEYS));
        refused("'dtype': expected F32, as the table in ", TieredTableDesc.of(DType.F16, 2 * Victim.DIM, 50, Victim.KEYS));
        refused("'dim': expected 64, as the table in ", TieredTableDesc.of(DType.F32, 2 * Victim.DIM, 50, Victim.KEYS));
        assertEquals(UPDATES, version(directory));
        // A restore keeps what the rows are.
        try (TieredTable table = TieredTable.open(device, directory, Victim.desc())) {
            table.snapshot(folder.resolve("snapshot"));
            table.restore(folder.resolve("snapshot"));
        }
        refused("'dim': expected 64, as the table in ", TieredTableDesc.of(DType.F32, 2 * Victim.DIM, 50, Victim.KEYS));
        assertEquals(UPDATES, version(directory));
    }

    private void refused(String part, TieredTableDesc desc) {
        InvalidArgumentException e =
                assertThrows(InvalidArgumentException.class, () -> TieredTable.open(device, directory, desc));
        assertTrue(e.getMessage().contains(part), e.getMessage());
    }

    /** A force that fails once CURRENT names the new rows: those are kept, the table goes no further, and opening it again helps. */
    @Test
    void a_restore_whose_last_force_fails() throws Exception {
        Path file = folder.resolve("snapshot");
        try (TieredTable table = TieredTable.open(device, directory, Victim.desc())) {
            table.snapshot(file);
        }
        boolean[] renamed = {false};
        for (int failing = 1; failing <= 4; failing++) {
            int[] left = {0};
            Disk faulty = new Disk() {
                @Override
                public void force(Path path) throws IOException {
                    if (left[0] > 0 && --left[0] == 0) {
                        throw new IOException("no force");
                    }
                    Disk.REAL.force(path);
                }
            };
            float expected;
            try (TieredTable table = TieredTable.open(device, directory, Victim.desc(), faulty)) {
                table.update(Victim.keys(), Victim.rows(50));
                CrashTest.version(table, device);
                String before = Files.readString(directory.resolve("CURRENT"));
                left[0] = failing;
                boolean failed = false;
                try {
                    table.restore(file);
                } catch (IOException e) {
                    assertTrue(e.getMessage().contains("no force"), e.getMessage());
                    failed = true;
                }
                boolean unsettled = failed && !Files.readString(directory.resolve("CURRENT")).equals(before);
                renamed[0] |= unsettled;
                if (unsettled) {
                    assertThrows(IOException.class, () -> CrashTest.version(table, device));
                    assertThrows(IOException.class, () -> table.update(Victim.keys(), Victim.rows(51)));
                } else {
                    assertEquals(failed ? 50 : UPDATES, CrashTest.version(table, device));
                }
                expected = failed && !unsettled ? 50 : UPDATES;
            }
            assertEquals(expected, version(directory), "force " + failing);
        }
        assertTrue(renamed[0], "one of them came after the rename");
    }

    /** The old rows cannot be deleted: the new ones are in use all the same, in every tier. */
    @Test
    void a_restore_that_cannot_clean_up() throws Exception {
        Path file = folder.resolve("snapshot");
        boolean[] deletes = {true};
        Disk faulty = new Disk() {
            @Override
            public void delete(Path path) throws IOException {
                if (!deletes[0] && Files.exists(path)) {
                    throw new IOException("no delete");
                }
                Disk.REAL.delete(path);
            }
        };
        try (TieredTable table = TieredTable.open(device, directory, Victim.desc(), faulty)) {
            table.snapshot(file);
            table.update(Victim.keys(), Victim.rows(70));
            assertEquals(70, CrashTest.version(table, device)); // cached
            deletes[0] = false;
            table.restore(file);
            assertEquals(UPDATES, CrashTest.version(table, device));
        }
        assertTrue(Files.exists(directory.resolve("rows-1")));
        assertEquals(UPDATES, version(directory));
        assertTrue(Files.notExists(directory.resolve("rows-1")), "gone when it was opened again");
    }

    /** Nothing brings the caches in line with the new rows: the old ones are released and deleted all the same. */
    @Test
    void a_cache_that_fails_after_a_restore() throws Exception {
        Path file = folder.resolve("snapshot");
        Device failing = Device.open("cpu");
        try (TieredTable table = TieredTable.open(failing, directory, Victim.desc().withHostRows(0))) {
            table.snapshot(file);
            table.update(Victim.keys(), Victim.rows(80));
            failing.close();
            IOException e = assertThrows(IOException.class, () -> table.restore(file));
            assertTrue(e.getMessage().contains("open the table again"), e.getMessage());
            assertTrue(Files.notExists(directory.resolve("rows-1")));
            assertThrows(IOException.class, () -> table.update(Victim.keys(), Victim.rows(81)));
        }
        assertEquals(UPDATES, version(directory));
    }

    /** A table of a version that kept no such file: what was made for it is as durable as the rest. */
    @Test
    void a_file_of_acknowledged_updates_that_is_made_anew() throws Exception {
        Files.delete(only(directory, "ACKNOWLEDGED"));
        List<Path> forced = new ArrayList<>();
        Disk watched = new Disk() {
            @Override
            public void force(Path path) throws IOException {
                if (Files.exists(directory.resolve("rows-1").resolve("ACKNOWLEDGED"))) {
                    forced.add(path);
                }
                Disk.REAL.force(path);
            }
        };
        TieredTable.open(device, directory, Victim.desc(), watched).close();
        assertTrue(forced.contains(directory.resolve("rows-1")), forced.toString());
        assertEquals(UPDATES, version(directory));
    }

    /** The disk has the new rows, the cache can neither take nor lose any: better no answer than the old rows. */
    @Test
    void a_cache_that_fails_after_the_disk_was_written() throws Exception {
        Device failing = Device.open("cpu");
        try (Stream stream = Stream.create(failing);
                Tensor out = Tensor.create(failing, DType.F32, Victim.KEYS, Victim.DIM);
                TieredTable table = TieredTable.open(failing, directory, Victim.desc().withHostRows(0))) {
            table.lookup(stream, Victim.keys(), out);
            failing.close();
            HostTensor rows = Victim.rows(90);
            IOException e = assertThrows(IOException.class, () -> table.update(Victim.keys(), rows));
            assertTrue(e.getMessage().contains("open the table again"), e.getMessage());
            assertThrows(IOException.class, () -> table.lookup(stream, Victim.keys(), out));
        }
        assertEquals(90, version(directory));
    }
}
