package io.jindou.store;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.Eviction;
import io.jindou.HostTensor;
import io.jindou.InvalidArgumentException;
import io.jindou.Safetensors;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TieredTableTest {
    private static final int DIM = 8;

    @TempDir
    Path folder;

    /** "late": an emulated device whose streams run nothing before something waits for it, as a GPU may. */
    static Device open(String name) {
        return name.equals("late")
                ? Device.open("simt", DeviceOptions.DEFAULT.withLateStreams(true))
                : Device.open(name);
    }

    private static TieredTableDesc desc(long deviceRows) {
        return TieredTableDesc.of(DType.F32, DIM, deviceRows, 400).withDurability(Durability.BUFFERED).withHostRows(deviceRows * 2);
    }

    /** Rows whose elements all say the version, so that a mixture shows. */
    private static HostTensor rows(int count, float version) {
        float[] values = new float[count * DIM];
        Arrays.fill(values, version);
        return HostTensor.of(values, count, DIM);
    }

    private static float[] looked(TieredTable table, Stream stream, Device device, long[] keys) throws IOException {
        return looked(table, stream, device, keys, false);
    }

    private static float[] looked(TieredTable table, Stream stream, Device device, long[] keys, boolean later) throws IOException {
        try (Tensor out = Tensor.create(device, DType.F32, keys.length, DIM)) {
            out.fill(stream, 0xff);
            if (later) {
                table.lookupAsync(stream, keys, out).join();
            } else {
                table.lookup(stream, keys, out);
            }
            return out.readFloats(stream);
        }
    }

    /** The version of each row, which must be of one piece. */
    private static float[] versions(float[] rows) {
        float[] versions = new float[rows.length / DIM];
        for (int i = 0; i < versions.length; i++) {
            versions[i] = rows[i * DIM];
            for (int e = 1; e < DIM; e++) {
                assertEquals(versions[i], rows[i * DIM + e], "a torn row");
            }
        }
        return versions;
    }

    @ParameterizedTest
    @CsvSource({"cpu, 0", "cpu, 200", "simt, 0", "simt, 200", "late, 0", "late, 200"})
    void gives_the_row_of_every_key_that_exists(String name, long hostRows) throws Exception {
        int range = 1000, steps = name.equals("cpu") ? 300 : 40;
        for (Eviction eviction : new Eviction[] {Eviction.LRU, Eviction.LFU}) {
            Map<Long, Float> model = new HashMap<>();
            Path directory = folder.resolve(eviction.name());
            Random random = new Random(5);
            for (int opened = 0; opened < 2; opened++) { // everything is still there when it is opened again
                try (Device device = open(name);
                        Stream stream = Stream.create(device);
                        TieredTable table = TieredTable.open(
                                device, directory, desc(range / 10).withEviction(eviction).withHostRows(hostRows))) {
                    for (int step = 0; step < steps; step++) {
                        if (table.backlog != null) {
                            table.backlog.crowded = random.nextInt(4) != 0;
                        }
                        long[] keys = random.longs(random.nextInt(200), 0, range).map(key -> key * 0x9E3779B97F4A7C15L).toArray();
                        int kind = random.nextInt(6);
                        if (kind < 2) {
                            float version = random.nextInt(1, 1000000);
                            table.update(keys, rows(keys.length, version));
                            Arrays.stream(keys).forEach(key -> model.put(key, version));
                        } else if (kind == 2) {
                            long[] some = Arrays.copyOf(keys, keys.length / 4);
                            table.erase(some);
                            Arrays.stream(some).forEach(model::remove);
                        } else {
                            float[] got = versions(looked(table, stream, device, keys));
                            for (int i = 0; i < keys.length; i++) {
                                assertEquals(model.getOrDefault(keys[i], 0f), got[i], "key " + keys[i]);
                            }
                        }
                    }
                    TierStatistics s = table.statistics();
                    assertTrue(s.deviceHits() > 0 && s.storeHits() > 0 && s.missing() > 0 && s.evictions() > 0, s.toString());
                    assertEquals(s.storeHits() * DIM * 4L, s.bytesFromStore());
                    assertEquals(hostRows > 0, s.hostHits() > 0, "host memory is a tier of its own where it is asked for");
                }
            }
        }
    }

    /** Row i says its key. */
    private static HostTensor rowsOf(long[] keys) {
        float[] values = new float[keys.length * DIM];
        for (int i = 0; i < values.length; i++) {
            values[i] = keys[i / DIM];
        }
        return HostTensor.of(values, keys.length, DIM);
    }

    /** Keys of which a hash table of 0.95 keys a slot refuses one, and others. */
    @ParameterizedTest
    @CsvSource({"cpu, 0", "cpu, 60", "simt, 0", "simt, 60", "late, 0"})
    void keys_that_compete_for_the_same_places_come_all(String name, long hostRows) throws Exception {
        int most = 30;
        TieredTableDesc desc = TieredTableDesc.of(DType.F32, DIM, 200, most).withDurability(Durability.BUFFERED).withHostRows(hostRows);
        try (Device device = open(name); Stream stream = Stream.create(device);
                TieredTable table = TieredTable.open(device, folder, desc)) {
            for (int run = 0; run < 50; run++) {
                long first = run == 0 ? 323_000 : run * 101_007L; // floats know them
                long[] keys = new long[most];
                Arrays.setAll(keys, i -> first + i);
                table.update(keys, rowsOf(keys));
                assertArrayEquals(rowsOf(keys).toFloats(), looked(table, stream, device, keys));
                stream.synchronize();
            }
            assertEquals(50 * most, table.statistics().storeHits());
        }
    }

    /** Several lookups under way, of both kinds; none is read before the last was begun. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "simt", "late"})
    void lookups_under_way_at_the_same_time_give_their_own_rows(String name) throws Exception {
        int range = 400, rounds = name.equals("cpu") ? 60 : 10, beside = 4;
        try (Device device = open(name);
                Stream stream = Stream.create(device);
                Stream other = Stream.create(device);
                TieredTable table = TieredTable.open(device, folder, desc(60).withHostRows(name.equals("simt") ? 0 : 120))) {
            long[] all = new long[range];
            Arrays.setAll(all, i -> i + 1);
            table.update(all, rowsOf(all));
            Random random = new Random(3);
            for (int round = 0; round < rounds; round++) {
                List<float[]> expected = new ArrayList<>();
                List<Tensor> results = new ArrayList<>();
                List<CompletableFuture<Void>> underWay = new ArrayList<>();
                for (int i = 0; i < beside; i++) {
                    long[] keys = random.longs(1 + random.nextInt(70), 1, range + 20).toArray(); // the last are not there
                    float[] rows = rowsOf(keys).toFloats();
                    for (int e = 0; e < rows.length; e++) {
                        rows[e] = rows[e] > range ? 0 : rows[e];
                    }
                    expected.add(rows);
                    Tensor result = Tensor.create(device, DType.F32, keys.length, DIM);
                    result.fill(stream, 0xff);
                    results.add(result);
                    if (random.nextBoolean()) {
                        underWay.add(table.lookupAsync(stream, keys, result));
                    } else {
                        table.lookup(stream, keys, result);
                    }
                    Arrays.fill(keys, 1); // it was copied
                }
                // In the order of their stream those that have returned, for every stream those that are done.
                Stream reader = underWay.size() == beside ? other : stream;
                CompletableFuture.allOf(underWay.toArray(CompletableFuture[]::new)).get();
                for (int i = 0; i < beside; i++) {
                    assertArrayEquals(expected.get(i), results.get(i).readFloats(reader), "round " + round + ", lookup " + i);
                    results.get(i).close();
                }
            }
            TierStatistics s = table.statistics();
            assertEquals((long) rounds * beside, s.lookups());
            assertTrue(s.deviceHits() > 0 && s.storeHits() > 0 && s.missing() > 0 && s.evictions() > 0, s.toString());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"cpu", "simt", "late"})
    void what_was_prefetched_is_hit(String name) throws Exception {
        try (Device device = open(name);
                Stream stream = Stream.create(device);
                TieredTable table = TieredTable.open(device, folder, desc(200))) {
            long[] keys = new Random(1).longs(50).toArray();
            table.update(keys, rows(50, 3));
            assertEquals(0, table.statistics().deviceHits());
            table.prefetch(keys).get();
            assertEquals(50, table.statistics().storeHits());
            float[] got = versions(looked(table, stream, device, keys));
            assertArrayEquals(versions(rows(50, 3).toFloats()), got);
            assertEquals(50, table.statistics().deviceHits());
            assertEquals(50, table.statistics().storeHits());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"cpu", "simt", "late"})
    void a_snapshot_brings_back_the_rows_it_was_taken_of(String name) throws Exception {
        Path file = folder.resolve("table.safetensors");
        try (Device device = open(name);
                Stream stream = Stream.create(device);
                TieredTable table = TieredTable.open(device, folder.resolve("a"), desc(100))) {
            long[] keys = new Random(2).longs(300).toArray();
            table.update(keys, rows(300, 1));
            table.snapshot(file);
            looked(table, stream, device, keys);
            table.update(keys, rows(300, 2));
            table.update(new long[] {77}, rows(1, 2));
            assertEquals(2, versions(looked(table, stream, device, keys))[0]);
            table.restore(file);
            for (float version : versions(looked(table, stream, device, keys))) {
                assertEquals(1, version);
            }
            assertEquals(0, versions(looked(table, stream, device, new long[] {77}))[0]);
            // Elsewhere too, and after opening again.
            try (TieredTable other = TieredTable.open(device, folder.resolve("b"), desc(100))) {
                other.restore(file);
            }
            try (TieredTable other = TieredTable.open(device, folder.resolve("b"), desc(100))) {
                assertEquals(1, versions(looked(other, stream, device, keys))[299]);
            }
            try (RandomAccessFile bytes = new RandomAccessFile(file.toFile(), "rw")) { // one bit of a row
                bytes.seek(bytes.length() - 100);
                int old = bytes.read();
                bytes.seek(bytes.length() - 100);
                bytes.write(old ^ 4);
            }
            IOException damaged = assertThrows(IOException.class, () -> table.restore(file));
            assertTrue(damaged.getMessage().contains("damaged"), damaged.getMessage());
            Safetensors.write(folder.resolve("wrong"), Map.of("keys", HostTensor.of(new long[] {1}, 1), "rows", HostTensor.of(new float[4], 1, 4)));
            IOException wrong = assertThrows(IOException.class, () -> table.restore(folder.resolve("wrong")));
            assertTrue(wrong.getMessage().contains("tensor 'rows': expected F32[1, 8], got F32[1, 4]"), wrong.getMessage());
            long[] reserved = {4, -1};
            Safetensors.write(folder.resolve("reserved"), Map.of("keys", HostTensor.of(reserved, 2), "rows", rows(2, 8)));
            wrong = assertThrows(IOException.class, () -> table.restore(folder.resolve("reserved")));
            assertTrue(wrong.getMessage().contains("tensor 'keys': expected any key but -1"), wrong.getMessage());
            assertEquals(1, versions(looked(table, stream, device, keys))[5], "the old rows stay");
        }
    }

    /** Keys written by one thread and read by others: a lookup sees what was current at some moment while it ran. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "simt", "late"})
    void lookups_beside_updates_see_old_or_new_rows(String name) throws Exception {
        int rounds = name.equals("cpu") ? 300 : 30, writers = 2, keysEach = 40;
        try (Device device = open(name); TieredTable table = TieredTable.open(device, folder, desc(30))) {
            AtomicIntegerArray begun = new AtomicIntegerArray(writers), ended = new AtomicIntegerArray(writers);
            try (ExecutorService threads = Executors.newFixedThreadPool(writers + 2)) {
                List<Future<?>> all = new ArrayList<>();
                for (int w = 0; w < writers; w++) {
                    int writer = w;
                    long[] keys = new long[keysEach];
                    Arrays.setAll(keys, i -> writer * 1000L + i);
                    all.add(threads.submit(() -> {
                        for (int version = 1; version <= rounds; version++) {
                            begun.set(writer, version);
                            table.update(keys, rows(keysEach, version));
                            ended.set(writer, version);
                        }
                        return null;
                    }));
                }
                for (int r = 0; r < 2; r++) {
                    Random random = new Random(r);
                    all.add(threads.submit(() -> {
                        try (Stream stream = Stream.create(device)) {
                            for (int looked = 0; looked < 20 || ended.get(0) < rounds; looked++) {
                                int writer = random.nextInt(writers);
                                long[] keys = random.longs(10, 0, keysEach).map(i -> writer * 1000L + i).toArray();
                                int least = ended.get(writer);
                                float[] got = versions(looked(table, stream, device, keys, random.nextBoolean()));
                                int most = begun.get(writer);
                                for (float version : got) {
                                    assertTrue(version >= least && version <= most, version + " is not in " + least + ".." + most);
                                }
                            }
                        }
                        return null;
                    }));
                }
                for (Future<?> each : all) {
                    each.get();
                }
            }
            assertTrue(table.statistics().storeHits() > 0);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"cpu"})
    void bad_input_is_refused(String name) throws Exception {
        try (Device device = open(name); Stream stream = Stream.create(device)) {
            refused("'eviction': expected LRU or LFU", () -> TieredTable.open(device, folder, desc(10).withEviction(Eviction.NONE)));
            refused("'deviceRows'", () -> TieredTable.open(device, folder, desc(0).withHostRows(0)));
            refused("'hostRows'", () -> TieredTable.open(device, folder, desc(10).withHostRows(-2)));
            for (long bytes : new long[] {-1, (1L << 40) + 1, 1L << 62, Long.MAX_VALUE}) {
                refused("'blockCacheBytes': expected 0 to 1099511627776 (MAX_BLOCK_CACHE_BYTES), got " + bytes,
                        () -> TieredTable.open(device, folder, desc(10).withBlockCacheBytes(bytes)));
            }
            TieredTable table = TieredTable.open(device, folder, desc(10));
            refused("'keys': expected at most 400 (maxKeys of the table), got 401", () -> table.prefetch(new long[401]));
            try (Tensor out = Tensor.create(device, DType.F32, 1, DIM)) {
                refused("'keys': expected at most 400", () -> table.lookupAsync(stream, new long[401], out));
                refused("'rows'", () -> table.lookupAsync(stream, new long[2], out));
                assertTrue(table.lookupAsync(stream, new long[0], out).isDone());
            }
            refused("'keys': expected any key but -1, which is reserved, at position 1", () -> table.update(new long[] {4, -1}, rows(2, 1)));
            refused("'rows': expected F32[2, 8], got F32[3, 8]", () -> table.update(new long[] {4, 5}, rows(3, 1)));
            for (int again = 0; again < 2; again++) { // an attempt does not weaken the lock
                IOException e = assertThrows(IOException.class, () -> TieredTable.open(device, folder, desc(10)));
                assertTrue(e.getMessage().contains("the table is open already, in this process"), e.getMessage());
            }
            assertEquals(0, versions(looked(table, stream, device, new long[] {-1, 3}))[0]);
            table.close();
            table.close();
            assertThrows(IllegalStateException.class, () -> table.erase(new long[] {1}));
            assertThrows(IllegalStateException.class, () -> table.prefetch(new long[] {1}));
            try (Tensor out = Tensor.create(device, DType.F32, 1, DIM)) {
                assertThrows(IllegalStateException.class, () -> table.lookupAsync(stream, new long[] {1}, out));
            }
        }
    }

    /** None, a byte and the most: rows of files, each read more than once, are the same. */
    @ParameterizedTest
    @ValueSource(longs = {0, 1, TieredTableDesc.MAX_BLOCK_CACHE_BYTES})
    void any_cache_of_blocks_gives_the_same_rows(long blockCacheBytes) throws Exception {
        long[] keys = new Random(1).longs(400).toArray();
        try (Device device = open("cpu"); Stream stream = Stream.create(device)) {
            for (int opened = 1; opened <= 2; opened++) {
                try (TieredTable table = TieredTable.open(device, folder, desc(10).withBlockCacheBytes(blockCacheBytes))) {
                    if (opened == 1) {
                        table.update(keys, rows(400, 3));
                        table.compact();
                    }
                    for (int again = 0; again < 2; again++) {
                        for (float version : versions(looked(table, stream, device, keys))) {
                            assertEquals(3, version);
                        }
                    }
                    assertTrue(table.statistics().storeHits() >= 400);
                }
            }
        }
    }

    /** A reading tells that it is done when it holds nothing any more: what is chained to it may wait for others, and close the table. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "late"})
    void what_is_chained_to_a_lookup_may_do_anything(String name) throws Exception {
        long[] keys = new Random(1).longs(50).toArray();
        for (boolean prefetching : new boolean[] {true, false}) {
            try (Device device = open(name);
                    Stream stream = Stream.create(device);
                    Tensor out = Tensor.create(device, DType.F32, 50, DIM);
                    TieredTable table = TieredTable.open(device, folder, desc(200))) {
                table.update(keys, rows(50, 3));
                List<CompletableFuture<Void>> all = new ArrayList<>();
                for (int i = 0; i < 200; i++) { // more than have a turn at once
                    all.add(table.prefetch(keys).thenRun(() -> table.prefetch(keys).join()));
                }
                CompletableFuture.allOf(all.toArray(CompletableFuture[]::new)).get(60, TimeUnit.SECONDS);
                CompletableFuture<Void> last = prefetching ? table.prefetch(keys) : table.lookupAsync(stream, keys, out);
                last.thenRun(table::close).get(60, TimeUnit.SECONDS);
                assertThrows(IllegalStateException.class, () -> table.prefetch(keys));
                if (!prefetching) {
                    assertEquals(3, versions(out.readFloats(stream))[49]);
                }
            }
        }
    }

    /** Prefetches that come faster than the disk: few wait, and none that has not begun holds up {@link TieredTable#close}. Lookups are done. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "late"})
    void close_drops_prefetches_and_no_lookup(String name) throws Exception {
        long[] keys = new Random(1).longs(50).toArray();
        int most = TieredTable.MAX_WAITING_PREFETCHES, calls = Fetchers.TURNS + most + 100;
        try (Device device = open(name);
                Stream stream = Stream.create(device);
                Tensor out = Tensor.create(device, DType.F32, 50, DIM);
                TieredTable table = TieredTable.open(device, folder, desc(200))) {
            table.update(keys, rows(50, 3));
            List<CompletableFuture<Void>> guesses = new ArrayList<>();
            CompletableFuture<Void> lookup;
            Thread closing = new Thread(table::close);
            synchronized (table.log) { // no reading goes on: as slow as a disk can be
                for (int i = 0; i < calls; i++) {
                    guesses.add(table.prefetch(keys));
                }
                for (int i = 0; i < 100; i++) { // the oldest that wait
                    assertDropped("more than 256 wait", guesses.get(Fetchers.TURNS + i));
                }
                lookup = table.lookupAsync(stream, keys, out);
                closing.start();
                for (int i = 0; i < most; i++) {
                    assertDropped("the table is closed", guesses.get(Fetchers.TURNS + 100 + i));
                }
                assertTrue(closing.isAlive());
            }
            lookup.get(60, TimeUnit.SECONDS);
            closing.join();
            assertEquals(3, versions(out.readFloats(stream))[49]);
            for (int i = 0; i < Fetchers.TURNS; i++) {
                guesses.get(i).get(60, TimeUnit.SECONDS); // they had begun
            }
        }
    }

    private static void assertDropped(String why, CompletableFuture<Void> prefetch) throws Exception {
        Throwable e = prefetch.handle((nothing, failure) -> failure).get(60, TimeUnit.SECONDS);
        assertEquals(CancellationException.class, e.getClass());
        assertTrue(e.getMessage().contains(why), e.getMessage());
    }

    /** Memory of a burst is not kept: a table under load for long has what it needs at once, not what it ever needed. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "late"})
    void a_burst_leaves_few_workspaces(String name) throws Exception {
        long[] keys = new Random(1).longs(50).toArray();
        int calls = 60;
        try (Device device = open(name); Stream stream = Stream.create(device);
                TieredTable table = TieredTable.open(device, folder, desc(200))) {
            table.update(keys, rows(50, 3));
            List<Tensor> results = new ArrayList<>();
            List<CompletableFuture<Void>> all = new ArrayList<>();
            for (int i = 0; i < calls; i++) {
                results.add(Tensor.create(device, DType.F32, 50, DIM));
                all.add(table.lookupAsync(stream, keys, results.get(i)));
            }
            CompletableFuture.allOf(all.toArray(CompletableFuture[]::new)).get();
            for (Tensor each : results) {
                assertEquals(3, versions(each.readFloats(stream))[49]);
                each.close();
            }
            int most = Math.max(4, Runtime.getRuntime().availableProcessors());
            assertTrue(table.idleWorkspaces() <= most, table.idleWorkspaces() + " of " + calls);
            assertTrue(table.statistics().storeHits() >= 50);
        }
    }

    /** A snapshot that takes long, a restore that waits for it, the restore's own writing: lookups and updates wait for none of them. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "late"})
    void lookups_and_updates_go_on_beside_snapshots_and_restores(String name) throws Exception {
        long[] keys = new Random(1).longs(50).toArray();
        Path file = folder.resolve("snapshots").resolve("snapshot");
        java.nio.file.Files.createDirectories(file.getParent());
        CountDownLatch[] reached = {new CountDownLatch(1), new CountDownLatch(1)}, goOn = {new CountDownLatch(1), new CountDownLatch(1)};
        Disk slow = new Disk() {
            @Override
            public void force(Path path) throws IOException {
                int which = path.equals(file.getParent()) ? 0 : path.endsWith("rows-2") ? 1 : -1;
                if (which >= 0) {
                    reached[which].countDown();
                    try {
                        assertTrue(goOn[which].await(60, TimeUnit.SECONDS));
                    } catch (InterruptedException e) {
                        throw new IOException(e);
                    }
                }
                Disk.REAL.force(path);
            }
        };
        try (Device device = open(name); Stream stream = Stream.create(device);
                TieredTable table = TieredTable.open(device, folder.resolve("table"), desc(200), slow);
                ExecutorService threads = Executors.newFixedThreadPool(3)) {
            table.update(keys, rows(50, 1));
            Future<?> snapshot = threads.submit(() -> {
                table.snapshot(file);
                return null;
            });
            reached[0].await();
            Future<?> restore = threads.submit(() -> {
                table.restore(file);
                return null;
            });
            for (int version = 2; version < 5; version++) {
                if (version == 3) {
                    Thread.sleep(50); // the restore waits for the snapshot
                }
                if (version == 4) {
                    goOn[0].countDown();
                    snapshot.get(60, TimeUnit.SECONDS);
                    reached[1].await(); // the restore has written its rows
                }
                float now = version;
                Future<?> beside = threads.submit(() -> {
                    table.update(keys, rows(50, now));
                    assertEquals(now, versions(looked(table, stream, device, keys, true))[49]);
                    return null;
                });
                beside.get(60, TimeUnit.SECONDS);
            }
            goOn[1].countDown();
            restore.get(60, TimeUnit.SECONDS);
            assertEquals(1, versions(looked(table, stream, device, keys))[49]);
            table.update(keys, rows(50, 9));
            assertEquals(9, versions(looked(table, stream, device, keys))[49]);
        }
    }

    /** The restore comes after the hits were read and before the missing rows are: the call gives none of the old ones beside new ones. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu", "late"})
    void a_lookup_under_way_across_a_restore_is_of_one_piece(String name) throws Exception {
        long[] keys = new Random(1).longs(50).toArray();
        Path file = folder.resolve("snapshot");
        CountDownLatch written = new CountDownLatch(1);
        Disk watched = new Disk() {
            @Override
            public void force(Path path) throws IOException {
                Disk.REAL.force(path);
                if (path.endsWith("rows-2")) {
                    written.countDown();
                }
            }
        };
        try (Device device = open(name); Stream stream = Stream.create(device);
                Tensor out = Tensor.create(device, DType.F32, keys.length, DIM);
                TieredTable table = TieredTable.open(device, folder.resolve("table"), desc(200), watched)) {
            table.update(keys, rows(50, 1));
            table.snapshot(file);
            table.update(keys, rows(50, 2));
            assertEquals(2, versions(looked(table, stream, device, Arrays.copyOf(keys, 25)))[24]); // cached
            List<CompletableFuture<Void>> all = new ArrayList<>();
            Throwable[] failure = new Throwable[1];
            Thread restore = new Thread(() -> {
                try {
                    table.restore(file);
                } catch (IOException | RuntimeException | Error e) {
                    failure[0] = e;
                }
            });
            synchronized (table.log) { // no reading goes on: they take all turns, and the lookup's comes when the restore waits for them
                for (int i = 0; i < Fetchers.TURNS; i++) {
                    all.add(table.prefetch(new long[] {i}));
                }
                Thread.sleep(50);
                all.add(table.lookupAsync(stream, keys, out));
                restore.start();
                assertTrue(written.await(60, TimeUnit.SECONDS));
                Thread.sleep(50);
            }
            for (CompletableFuture<Void> each : all) {
                each.get(60, TimeUnit.SECONDS);
            }
            restore.join();
            assertNull(failure[0]);
            float[] versions = versions(out.readFloats(stream));
            for (float version : versions) {
                assertEquals(versions[0], version);
            }
        }
    }

    /** The garbage collector closes it, and the directory is free for another. */
    @ParameterizedTest
    @ValueSource(strings = {"cpu"})
    void a_forgotten_table_is_released(String name) throws Exception {
        long[] keys = {5};
        try (Device device = open(name); Stream stream = Stream.create(device)) {
            forget(device, keys);
            TieredTable table = null;
            for (int tries = 0; table == null; tries++) {
                System.gc();
                try {
                    table = TieredTable.open(device, folder, desc(10));
                } catch (IOException e) {
                    assertTrue(tries < 1000, "open after all: " + e);
                    Thread.sleep(10);
                }
            }
            assertEquals(7, versions(looked(table, stream, device, keys))[0]);
            table.close();
        }
    }

    private void forget(Device device, long[] keys) throws Exception {
        TieredTable table = TieredTable.open(device, folder, desc(10));
        table.update(keys, rows(1, 7));
        table.prefetch(keys).get();
    }

    private static void refused(String part, org.junit.jupiter.api.function.Executable call) {
        InvalidArgumentException e = assertThrows(InvalidArgumentException.class, call);
        assertTrue(e.getMessage().contains(part), e.getMessage());
    }
}
