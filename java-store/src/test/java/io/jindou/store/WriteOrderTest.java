package io.jindou.store;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Safetensors;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Of writers beside each other one wins, and it is the same one in the caches, on disk, in a snapshot and after opening again. */
class WriteOrderTest {
    private static final int DIM = 4, KEYS = 8, WRITERS = 4;

    @TempDir
    Path folder;

    private static TieredTableDesc desc() {
        return TieredTableDesc.of(DType.F32, DIM, 200, KEYS).withDurability(Durability.BUFFERED); // all keys stay cached
    }

    private static long[] keys() {
        long[] keys = new long[KEYS];
        Arrays.setAll(keys, i -> i * 31L);
        return keys;
    }

    private static HostTensor rows(float version) {
        float[] values = new float[KEYS * DIM];
        Arrays.fill(values, version);
        return HostTensor.of(values, KEYS, DIM);
    }

    /** The version of each key; 0: not there. */
    private static float[] looked(TieredTable table, Device device) throws IOException {
        try (Stream stream = Stream.create(device); Tensor out = Tensor.create(device, DType.F32, KEYS, DIM)) {
            table.lookup(stream, keys(), out);
            float[] rows = out.readFloats(stream), versions = new float[KEYS];
            for (int i = 0; i < KEYS; i++) {
                versions[i] = rows[i * DIM];
            }
            return versions;
        }
    }

    private float[] snapshot(TieredTable table) throws IOException {
        Path file = folder.resolve("snapshot.safetensors");
        table.snapshot(file);
        try (Safetensors given = Safetensors.open(file)) {
            Map<Long, Float> versions = new HashMap<>();
            long[] keys = given.get("keys").toLongs();
            float[] rows = given.get("rows").toFloats();
            for (int i = 0; i < keys.length; i++) {
                versions.put(keys[i], rows[i * DIM]);
            }
            float[] all = new float[KEYS];
            for (int i = 0; i < KEYS; i++) {
                all[i] = versions.getOrDefault(keys()[i], 0f);
            }
            return all;
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"cpu", "simt", "late"})
    void writers_of_the_same_keys(String name) throws Exception {
        check(name, false);
    }

    @ParameterizedTest
    @ValueSource(strings = {"cpu", "simt", "late"})
    void writers_and_erasers_of_the_same_keys(String name) throws Exception {
        check(name, true);
    }

    /** The order that goes wrong when caches follow each writer for itself: disk first, second; cache second, first. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "simt", "late"})
    void a_writer_that_is_overtaken_between_disk_and_cache(String name) throws Exception {
        try (Device device = TieredTableTest.open(name); TieredTable table = TieredTable.open(device, folder.resolve("table"), desc())) {
            for (boolean erasing : new boolean[] {false, true}) {
                table.update(keys(), rows(1));
                assertEquals(1, looked(table, device)[0]); // into the caches
                UpdateLog.Update overtaken = table.log.begin(keys());
                table.store.put(keys(), rows(2).data());
                if (erasing) {
                    table.erase(keys());
                } else {
                    table.update(keys(), rows(3));
                }
                float expected = erasing ? 0 : 3;
                assertEquals(expected, looked(table, device)[0]);
                table.end(overtaken, keys(), rows(2).data());
                for (int again = 0; again < 2; again++) {
                    for (float version : looked(table, device)) {
                        assertEquals(expected, version);
                    }
                }
                long hits = table.statistics().deviceHits();
                table.update(keys(), rows(4));
                assertEquals(4, looked(table, device)[0]);
                if (!erasing) {
                    assertEquals(hits + KEYS, table.statistics().deviceHits(), "cached again, and kept up to date by a writer alone");
                }
            }
        }
    }

    private void check(String name, boolean erasing) throws Exception {
        int rounds = name.equals("cpu") ? 100 : 5, updates = 2;
        Path directory = folder.resolve("table");
        float[] last;
        try (Device device = TieredTableTest.open(name);
                TieredTable table = TieredTable.open(device, directory, desc());
                ExecutorService threads = Executors.newFixedThreadPool(WRITERS)) {
            for (int round = 0; round < rounds; round++) {
                table.update(keys(), rows(0.5f));
                looked(table, device); // into the caches
                CyclicBarrier together = new CyclicBarrier(WRITERS);
                Future<?>[] writers = new Future<?>[WRITERS];
                for (int w = 0; w < WRITERS; w++) {
                    int writer = w, first = (round * WRITERS + writer) * updates + 1;
                    writers[w] = threads.submit(() -> {
                        together.await();
                        for (int i = 0; i < updates; i++) {
                            if (erasing && writer % 2 == 1) {
                                table.erase(keys());
                            } else {
                                table.update(keys(), rows(first + i));
                            }
                        }
                        return null;
                    });
                }
                for (Future<?> each : writers) {
                    each.get();
                }
                float[] cached = looked(table, device), disk = snapshot(table);
                for (int i = 0; i < KEYS; i++) {
                    assertEquals(disk[i], cached[i], "round " + round + ", key " + i);
                    assertEquals(disk[0], disk[i], "half an update");
                    assertTrue((erasing && disk[0] == 0) || (disk[0] >= 1 && disk[0] % updates == 0), "a writer's last: " + disk[0]);
                }
            }
            last = looked(table, device);
        }
        try (Device device = TieredTableTest.open(name); TieredTable table = TieredTable.open(device, directory, desc())) {
            org.junit.jupiter.api.Assertions.assertArrayEquals(last, looked(table, device));
        }
    }
}
