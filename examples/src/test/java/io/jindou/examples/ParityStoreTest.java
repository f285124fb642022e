package io.jindou.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.Device;
import io.jindou.Stream;
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
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        int cases = 0;
        try (Device device = Device.open(deviceName);
                Stream stream = Stream.create(device);
                PrintStream out = new PrintStream(text, true, StandardCharsets.UTF_8);
                var folders = Files.list(CASES)) {
            for (Path each : folders.filter(f -> f.getFileName().toString().contains("embedding_")).sorted().toList()) {
                int status = Parity.run(each, device, stream, new ParityStore(store), out, out);
                assertEquals(Parity.PASSED, status, text.toString(StandardCharsets.UTF_8));
                cases++;
            }
        }
        assertTrue(Files.isRegularFile(store.resolve("embedding_bag_sum/table_0/CURRENT")), "rows come out of the store");
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
        for (int run = 0; run < 3; run++) {
            kill(store, run);
            for (String device : run < 2 ? List.of("cpu") : Devices.all()) {
                parity(device, store);
            }
        }
    }

    /** An update run that is killed (SIGKILL) when it has told a few rounds of updates. */
    private void kill(Path store, int run) throws Exception {
        Path told = folder.resolve("told"), errors = folder.resolve("errors");
        Process process = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--enable-native-access=ALL-UNNAMED",
                        "-Djindou.library.path=" + System.getProperty("jindou.library.path"),
                        "-cp",
                        System.getProperty("java.class.path"),
                        OnlineUpdates.class.getName(),
                        store.toString(),
                        CASES.toString(),
                        Integer.toString(run))
                .redirectOutput(told.toFile())
                .redirectError(errors.toFile())
                .start();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(120);
        while (Files.readAllLines(told).size() < 40) {
            assertTrue(process.isAlive(), () -> "it died by itself: " + read(errors));
            assertTrue(System.nanoTime() < end, "it does not get on");
            Thread.sleep(5);
        }
        Thread.sleep(13L * run);
        process.destroyForcibly();
        assertTrue(process.waitFor(60, TimeUnit.SECONDS));
        assertEquals(128 + 9, process.exitValue(), () -> read(errors));
        assertEquals("loaded", Files.readAllLines(told).getFirst());
    }

    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            return e.toString();
        }
    }
}
