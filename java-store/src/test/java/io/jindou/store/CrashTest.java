package io.jindou.store;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.Safetensors;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;

/** What was acknowledged as durable is there after a crash, the rest is cleanly absent, and no reader ever sees a torn row. */
class CrashTest {
    @TempDir
    Path folder;

    private int processes;
    private int inside; // kills that came in the middle of what the victim was told to do

    /** Starts a victim, kills it (SIGKILL) some milliseconds after it has told a few versions, and gives the last one it told. */
    private int killed(String what, int first, long millis) throws Exception {
        return killed(what, first, millis, () -> {});
    }

    private int killed(String what, int first, long millis, Executable beside) throws Exception {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-Djindou.library.path=" + System.getProperty("jindou.library.path"),
                "-cp",
                System.getProperty("java.class.path"),
                Victim.class.getName(),
                folder.resolve("table").toString(),
                what,
                Integer.toString(first),
                Integer.toString(processes++)));
        Path told = folder.resolve("told"), errors = folder.resolve("errors");
        Process process = new ProcessBuilder(command).redirectOutput(told.toFile()).redirectError(errors.toFile()).start();
        while (Files.readAllLines(told).size() < 5) {
            assertTrue(process.isAlive(), () -> "the victim died by itself: " + read(errors));
            Thread.sleep(5);
        }
        Thread.sleep(millis);
        try {
            beside.execute();
        } catch (Throwable e) {
            process.destroyForcibly();
            throw new AssertionError(read(errors), e);
        }
        process.destroyForcibly();
        assertTrue(process.waitFor(60, TimeUnit.SECONDS));
        assertEquals(128 + 9, process.exitValue(), () -> "it was killed: " + read(errors));
        inside += Victim.wasInside(folder.resolve("table")) ? 1 : 0;
        String[] lines = read(told).split("\n", -1);
        return Integer.parseInt(lines[lines.length - 2]); // what follows the last line feed was not told
    }

    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            return e.toString();
        }
    }

    /** The version of all keys, which must be one. */
    static float version(TieredTable table, Device device) throws IOException {
        try (Stream stream = Stream.create(device); Tensor out = Tensor.create(device, DType.F32, Victim.KEYS, Victim.DIM)) {
            table.lookup(stream, Victim.keys(), out);
            float[] rows = out.readFloats(stream);
            for (float x : rows) {
                assertEquals(rows[0], x, "half a batch, or a torn row");
            }
            return rows[0];
        }
    }

    /** All other rows, which later updates left alone, are what they were at a version. */
    private static void checkGroups(TieredTable table, Device device, int version) throws IOException {
        try (Stream stream = Stream.create(device); Tensor out = Tensor.create(device, DType.F32, Victim.KEYS, Victim.DIM)) {
            for (int group = 0; group < Victim.GROUPS; group++) {
                table.lookup(stream, Victim.group(group), out);
                for (float x : out.readFloats(stream)) {
                    assertEquals(Victim.versionOf(group, version), x, "group " + group + " of version " + version);
                }
            }
        }
    }

    private float reopened() throws IOException {
        return reopened(false);
    }

    private float reopened(boolean allVersions) throws IOException {
        try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, folder.resolve("table"), Victim.desc())) {
            float version = version(table, device);
            if (allVersions) {
                checkGroups(table, device, (int) version);
            }
            return version;
        }
    }

    /** Nothing, before the first update, or all rows of one version. */
    private static void checkWhole(Path file) throws IOException {
        try (Safetensors snapshot = Safetensors.open(file)) {
            long[] keys = snapshot.get("keys").toLongs();
            float[] rows = snapshot.get("rows").toFloats();
            Map<Long, Float> versions = new HashMap<>();
            for (int i = 0; i < rows.length; i++) {
                assertEquals(rows[i / Victim.DIM * Victim.DIM], rows[i], "a torn row");
                versions.put(keys[i / Victim.DIM], rows[i]);
            }
            float version = versions.getOrDefault(0L, 0f);
            for (long key : Victim.keys()) {
                assertEquals(version, versions.getOrDefault(key, 0f), "a snapshot of two moments");
            }
            for (int group = 0; group < Victim.GROUPS; group++) {
                for (long key : Victim.group(group)) {
                    assertEquals(Victim.versionOf(group, (int) version), versions.getOrDefault(key, 0f), "a snapshot of two moments");
                }
            }
        }
    }

    /** Whether there are files that RocksDB has merged; those that it has written are of level 0. */
    private boolean hasMerged() throws Exception {
        try (Options options = new Options(); RocksDB rows = RocksDB.openReadOnly(options, folder.resolve("table/rows-1").toString())) {
            int files = 0;
            for (int level = 1; level < options.numLevels(); level++) {
                files += Integer.parseInt(rows.getProperty("rocksdb.num-files-at-level" + level));
            }
            return files > 0;
        }
    }

    private interface Check {
        void run() throws Exception;
    }

    /** Kills a victim several times, and goes on until one of them met it in the middle; each time what it told is there. */
    private void killedInTheMiddleOf(String what, Check check) throws Exception {
        int first = 1;
        boolean merged = false;
        for (int kills = 0; kills < 3 || inside == 0 || !merged; kills++) {
            assertTrue(kills < 20, "never in the middle of " + what + ", or never after RocksDB had merged files");
            int told = killed(what, first, new long[] {0, 90, 37}[kills % 3]);
            float found = reopened(true);
            merged |= hasMerged();
            assertTrue(found == told || found == told + 1, found + " after " + told + " was durable"); // the next may have got through
            check.run();
            first = (int) found + 1;
        }
    }

    @Test
    void killed_in_the_middle_of_updates() throws Exception {
        killedInTheMiddleOf("update", () -> {});
    }

    @Test
    void killed_in_the_middle_of_snapshots() throws Exception {
        killedInTheMiddleOf("snapshot", () -> {
            Path file = folder.resolve("snapshot.safetensors");
            if (Files.exists(file)) {
                checkWhole(file);
            }
            try (var left = Files.list(folder.resolve("table"))) {
                assertTrue(left.noneMatch(path -> path.toString().endsWith(".tmp")), "nothing half written stays");
            }
        });
    }

    @Test
    void killed_in_the_middle_of_compactions() throws Exception {
        killedInTheMiddleOf("compact", () -> {});
    }

    @Test
    void killed_in_the_middle_of_restores() throws Exception {
        try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, folder.resolve("table"), Victim.desc())) {
            table.update(Victim.keys(), Victim.rows(1000));
            table.snapshot(folder.resolve("snapshot.safetensors"));
        }
        for (long millis : new long[] {0, 41, 83}) {
            int told = killed("restore", 2000, millis);
            float found = reopened();
            // The snapshot's rows, or those of an update after it.
            assertTrue(found == 1000 || (found >= 2000 && found <= told + 1), found + " after " + told);
        }
    }

    /** A second process is refused before it touches anything: what the first is filling, above all. */
    @Test
    void opened_by_another_process_in_the_middle_of_restores() throws Exception {
        try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, folder.resolve("table"), Victim.desc())) {
            table.update(Victim.keys(), Victim.rows(1000));
            table.snapshot(folder.resolve("snapshot.safetensors"));
        }
        int[] refused = {0};
        int told = killed("restore", 2000, 0, () -> {
            for (int i = 0; i < 200; i++, refused[0]++) {
                IOException e = assertThrows(IOException.class, this::reopened);
                assertTrue(e.getMessage().contains("the table is open already, in another process"), e.getMessage());
            }
        });
        assertEquals(200, refused[0]);
        float found = reopened();
        assertTrue(found == 1000 || (found >= 2000 && found <= told + 1), found + " after " + told);
    }

    /** A full disk refuses updates; what was acknowledged stays, and there is room again, all goes on. */
    @Test
    void a_full_disk() throws Exception {
        Path disk = Files.createDirectory(folder.resolve("disk"));
        Assumptions.assumeTrue(
                run("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk.toString()),
                "needs the right to mount a small file system (root)");
        try {
            int acknowledged = 0;
            try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, disk.resolve("table"), Victim.desc())) {
                IOException full = null;
                for (int version = 1; version < 2000 && full == null; version++) {
                    try {
                        table.update(Victim.keys(), Victim.rows(version));
                        acknowledged = version;
                    } catch (IOException e) {
                        full = e;
                    }
                }
                assertTrue(full != null, "the disk was never full");
                float found = version(table, device);
                assertTrue(found == acknowledged || found == acknowledged + 1, found + " after " + acknowledged);
                // The table itself goes on too, when RocksDB has seen that there is room.
                assertTrue(run("mount", "-o", "remount,size=256m", disk.toString()));
                acknowledged = updatedAgain(table, acknowledged + 2);
                assertEquals(acknowledged, version(table, device));
            }
            try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, disk.resolve("table"), Victim.desc())) {
                assertEquals(acknowledged, version(table, device));
            }
            assertTrue(run("mount", "-o", "remount,size=64m", disk.toString()));
            try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, disk.resolve("table"), Victim.desc())) {
                float found = version(table, device);
                assertTrue(found == acknowledged || found == acknowledged + 1, found + " after " + acknowledged);
                table.update(Victim.keys(), Victim.rows(5000));
                assertEquals(5000, version(table, device));
            }
        } finally {
            run("umount", disk.toString());
        }
    }

    private static int updatedAgain(TieredTable table, int version) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (true) {
            try {
                table.update(Victim.keys(), Victim.rows(version));
                return version;
            } catch (IOException e) {
                assertTrue(System.nanoTime() < end, "not in a minute: " + e);
                Thread.sleep(100);
            }
        }
    }

    /** Snapshots and restores that find no room are refused, and leave no trace: table, file and folder are what they were. */
    @Test
    void snapshots_and_restores_on_a_full_disk() throws Exception {
        Path disk = Files.createDirectory(folder.resolve("disk")), elsewhere = folder.resolve("snapshot");
        Assumptions.assumeTrue(
                run("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk.toString()),
                "needs the right to mount a small file system (root)");
        try {
            try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, disk.resolve("table"), Victim.desc())) {
                table.update(Victim.keys(), Victim.rows(1));
                table.snapshot(elsewhere);
                table.update(Victim.keys(), Victim.rows(2));
                assertEquals(2, version(table, device));
                Path filler = disk.resolve("filler");
                fill(filler);
                String[] before = names(disk);
                assertThrows(IOException.class, () -> table.snapshot(elsewhere)); // its scratch file finds no room
                assertThrows(IOException.class, () -> table.snapshot(disk.resolve("snapshot")));
                assertThrows(IOException.class, () -> table.restore(elsewhere));
                assertArrayEquals(before, names(disk));
                assertEquals(2, version(table, device));
                try (Safetensors old = Safetensors.open(elsewhere)) {
                    float[] rows = old.get("rows").toFloats();
                    assertEquals(Victim.KEYS * Victim.DIM, rows.length);
                    for (float x : rows) {
                        assertEquals(1, x);
                    }
                }
                Files.delete(filler);
                table.snapshot(disk.resolve("snapshot"));
                table.restore(elsewhere);
                assertEquals(1, version(table, device));
                table.restore(disk.resolve("snapshot"));
                assertEquals(2, version(table, device));
                table.update(Victim.keys(), Victim.rows(3));
            }
            try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, disk.resolve("table"), Victim.desc())) {
                assertEquals(3, version(table, device));
            }
        } finally {
            run("umount", disk.toString());
        }
    }

    /** A compaction that finds no room fails; all rows are there, in this table and after it is opened again. */
    @Test
    void a_compaction_on_a_full_disk() throws Exception {
        Path disk = Files.createDirectory(folder.resolve("disk"));
        Assumptions.assumeTrue(
                run("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk.toString()),
                "needs the right to mount a small file system (root)");
        try {
            Path filler = disk.resolve("filler");
            try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, disk.resolve("table"), Victim.desc())) {
                table.update(Victim.keys(), Victim.rows(1));
                table.compact();
                table.update(Victim.keys(), Victim.rows(2));
                fill(filler);
                assertThrows(IOException.class, table::compact);
                assertEquals(2, version(table, device));
            }
            Files.delete(filler);
            try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, disk.resolve("table"), Victim.desc())) {
                assertEquals(2, version(table, device));
                table.update(Victim.keys(), Victim.rows(3));
                table.compact();
                assertEquals(3, version(table, device));
            }
        } finally {
            run("umount", disk.toString());
        }
    }

    /** To the last byte of its disk. */
    private static void fill(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
            java.nio.ByteBuffer page = java.nio.ByteBuffer.allocate(4096);
            assertThrows(IOException.class, () -> {
                while (true) {
                    channel.write(page.rewind());
                }
            });
        }
    }

    /** What lies on the disk and in the table's directory. */
    private static String[] names(Path disk) throws IOException {
        try (var here = Files.list(disk); var in = Files.list(disk.resolve("table"))) {
            return java.util.stream.Stream.concat(here, in).map(Path::toString).sorted().toArray(String[]::new);
        }
    }

    private static boolean run(String... command) throws Exception {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        process.getInputStream().readAllBytes();
        return process.waitFor() == 0;
    }

    /** Damaged blocks are errors, never other rows. */
    @Test
    void a_damaged_block() throws Exception {
        Path directory = folder.resolve("table");
        Random random = new Random(9);
        try (Device device = Device.open("cpu"); TieredTable table = TieredTable.open(device, directory, Victim.desc())) {
            table.update(Victim.keys(), Victim.rows(3));
            table.compact(); // from the log into a table file
        }
        int damaged = 0;
        try (var files = Files.walk(directory)) {
            for (Path file : files.filter(f -> f.toString().endsWith(".sst")).toList()) {
                try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
                    byte[] noise = new byte[64];
                    for (long at = 100; at < channel.size() / 2; at += 3000) { // in the data, not in the footer
                        random.nextBytes(noise);
                        channel.write(java.nio.ByteBuffer.wrap(noise), at);
                        damaged++;
                    }
                }
            }
        }
        assertTrue(damaged > 0);
        int errors = 0;
        try (Device device = Device.open("cpu");
                Stream stream = Stream.create(device);
                TieredTable table = TieredTable.open(device, directory, Victim.desc());
                Tensor out = Tensor.create(device, DType.F32, 1, Victim.DIM)) {
            for (long key : Victim.keys()) {
                try {
                    table.lookup(stream, new long[] {key}, out);
                    for (float x : out.readFloats(stream)) {
                        assertEquals(3, x, "key " + key);
                    }
                } catch (IOException e) {
                    errors++;
                }
            }
            assertTrue(errors > 0, "the damage was met");
            try (Tensor all = Tensor.create(device, DType.F32, Victim.KEYS, Victim.DIM)) {
                failed(table.prefetch(Victim.keys()));
                failed(table.lookupAsync(stream, Victim.keys(), all));
            }
            Path file = folder.resolve("snapshot");
            Files.writeString(file, "the one before");
            assertThrows(IOException.class, () -> table.snapshot(file));
            assertEquals("the one before", Files.readString(file));
            // What is written anew is read again.
            table.update(Victim.keys(), Victim.rows(4));
            table.lookup(stream, new long[] {0}, out);
            assertEquals(4, out.readFloats(stream)[0]);
            // A compaction has to read what is damaged. It fails, and what was acknowledged stays.
            assertThrows(IOException.class, table::compact);
            assertEquals(4, version(table, device));
        }
        assertEquals(4, reopened());
    }

    private static void failed(CompletableFuture<Void> reading) {
        ExecutionException e = assertThrows(ExecutionException.class, reading::get);
        assertEquals(UncheckedIOException.class, e.getCause().getClass());
    }

    @Test
    void leftovers_are_removed_when_a_table_is_opened() throws Exception {
        Path directory = Files.createDirectories(folder.resolve("table"));
        assertEquals(0, reopened());
        Files.createDirectory(directory.resolve("rows-7"));
        Files.writeString(directory.resolve("snapshot123.tmp"), "half");
        assertEquals(0, reopened());
        assertTrue(Files.notExists(directory.resolve("rows-7")) && Files.notExists(directory.resolve("snapshot123.tmp")));
        Files.writeString(directory.resolve("CURRENT"), "nonsense");
        IOException e = assertThrows(IOException.class, this::reopened);
        assertTrue(e.getMessage().contains("expected the name of a generation"), e.getMessage());
    }
}
