package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.store.TieredTable;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Embedding cases whose rows come out of a tiered store, also of one whose process was killed in the middle of updates. */
class ParityStoreTest {
    private static final Path CASES = Path.of("src/test/parity");

    @TempDir
    private Path folder;

    /** What `make parity STORE=tiered:<store>` does for the embedding cases; all must pass. */
    private static int parity(String deviceName, Path store) throws IOException {
        int cases = parity(deviceName, store, "embedding_");
        assertTrue(Files.isRegularFile(store.resolve("embedding_bag_sum/table_0/CURRENT")), "rows come out of the store");
        return cases;
    }

    private static int parity(String deviceName, Path store, String namesWith) throws IOException {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        int cases = 0;
        try (Device device = Device.open(deviceName);
                Stream stream = Stream.create(device);
                PrintStream out = new PrintStream(text, true, StandardCharsets.UTF_8);
                var folders = Files.list(CASES)) {
            for (Path each : folders.filter(f -> f.getFileName().toString().contains(namesWith)).sorted().toList()) {
                int status = Parity.run(each, device, stream, new ParityStore(store), out, out);
                assertEquals(Parity.PASSED, status, text.toString(StandardCharsets.UTF_8));
                cases++;
            }
        }
        return cases;
    }

    @Test
    void rows_out_of_a_store_give_the_same_results() throws Exception {
        for (String device : Devices.all()) {
            assertTrue(parity(device, folder.resolve(device)) >= 11); // written
            assertTrue(parity(device, folder.resolve(device)) >= 11); // and found
        }
    }

    @Test
    void a_store_killed_in_the_middle_of_online_updates_opens_and_passes() throws Exception {
        Path store = folder.resolve("store");
        for (int run = 0; run < 2; run++) {
            kill(store, run);
            allAreThere(store, run);
        }
        for (String device : Devices.all()) {
            parity(device, store);
        }
    }

    /** Of each table the version that was told last, or the next: as a whole, and not one before. */
    private void allAreThere(Path store, int run) throws IOException {
        List<OnlineUpdates.Stored> tables = OnlineUpdates.tables(CASES);
        int[] told = new int[tables.size()];
        String[] lines = Files.readString(folder.resolve("told")).split("\n", -1); // what follows the last line feed was not told
        for (int i = 1; i < lines.length - 1; i++) {
            String[] line = lines[i].split(" ");
            told[Integer.parseInt(line[0])] = Integer.parseInt(line[1]);
        }
        try (Device device = Device.open("cpu"); Stream stream = Stream.create(device)) {
            for (int t = 0; t < told.length; t++) {
                OnlineUpdates.Stored of = tables.get(t);
                try (TieredTable table = new ParityStore(store).openAsItIs(device, of.nameOfCase(), of.table(), of.rows())) {
                    int found = RowVersions.check(ParityStore.versioned(stream, table, of.rows()), of.rows());
                    int next = told[t] == 0 ? OnlineUpdates.firstVersion(run) : told[t] + 1;
                    assertTrue(found == told[t] || found == next, of.nameOfCase() + ": " + found + " after " + told[t]);
                }
            }
        }
    }

    /** One row of another version, as a lost or mixed update leaves it. */
    @Test
    void a_row_of_another_version_is_found() throws Exception {
        OnlineUpdates.Stored of = OnlineUpdates.tables(CASES).get(0);
        ParityStore store = new ParityStore(folder);
        int count = (int) of.rows().shape()[0];
        try (Device device = Device.open("cpu"); Stream stream = Stream.create(device)) {
            try (TieredTable table = store.open(stream, of.nameOfCase(), of.table(), of.rows())) {
                table.update(RowVersions.keys(count), RowVersions.of(of.rows(), 7));
                assertEquals(7, RowVersions.check(ParityStore.versioned(stream, table, of.rows()), of.rows()));
            }
            for (int other : new int[] {0, 6}) {
                try (TieredTable table = store.openAsItIs(device, of.nameOfCase(), of.table(), of.rows())) {
                    HostTensor rows = RowVersions.of(of.rows(), other);
                    long rowBytes = rows.data().byteSize() / (count + 1);
                    table.update(new long[] {3}, new HostTensor(rows.dtype(), rows.data().asSlice(3 * rowBytes, rowBytes), 1, rows.shape()[1]));
                }
                IOException e = assertThrows(IOException.class, () -> store.open(stream, of.nameOfCase(), of.table(), of.rows()).close());
                assertTrue(e.getMessage().contains("row 3: not of version 7"), e.getMessage());
            }
        }
    }

    /** A death between the making of a table and its first update leaves a table without rows, which is no table of other rows. */
    @Test
    void a_store_killed_before_its_first_rows_is_filled() throws Exception {
        Path store = folder.resolve("store");
        List<OnlineUpdates.Stored> tables = OnlineUpdates.tables(CASES);
        OnlineUpdates.Stored first = tables.get(0), last = tables.get(tables.size() - 1);
        Path made = store.resolve(first.nameOfCase()).resolve(first.table());
        Process process = start(store, 0);
        while (!Files.exists(made)) { // a database takes a while to make
            assertTrue(process.isAlive(), () -> "it died by itself: " + read(folder.resolve("errors")));
            Thread.onSpinWait();
        }
        end(process);
        assertEquals("", Files.readString(folder.resolve("told")), "before it was loaded");
        try (Device device = Device.open("cpu")) { // what a death at the last moment leaves
            new ParityStore(store).openAsItIs(device, last.nameOfCase(), last.table(), last.rows()).close();
        }
        assertEquals(1, parity("cpu", store, first.nameOfCase()));
        assertEquals(1, parity("cpu", store, last.nameOfCase()));
    }

    /** An update run that is killed (SIGKILL) when it has told a few rounds of updates. */
    private void kill(Path store, int run) throws Exception {
        Path told = folder.resolve("told");
        Process process = start(store, run);
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(120);
        while (Files.readAllLines(told).size() < 40) {
            assertTrue(process.isAlive(), () -> "it died by itself: " + read(folder.resolve("errors")));
            assertTrue(System.nanoTime() < end, "it does not get on");
            Thread.sleep(5);
        }
        Thread.sleep(29L * run);
        end(process);
        assertEquals("loaded", Files.readAllLines(told).getFirst());
    }

    private Process start(Path store, int run) throws IOException {
        return new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--enable-native-access=ALL-UNNAMED",
                        "-Djindou.library.path=" + System.getProperty("jindou.library.path"),
                        "-cp",
                        System.getProperty("java.class.path"),
                        OnlineUpdates.class.getName(),
                        store.toString(),
                        CASES.toString(),
                        Integer.toString(run))
                .redirectOutput(folder.resolve("told").toFile())
                .redirectError(folder.resolve("errors").toFile())
                .start();
    }

    private void end(Process process) throws Exception {
        process.destroyForcibly();
        assertTrue(process.waitFor(60, TimeUnit.SECONDS));
        assertEquals(128 + 9, process.exitValue(), () -> read(folder.resolve("errors")));
    }

    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            return e.toString();
        }
    }
}
