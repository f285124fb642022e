package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class HashTableTest {
    private static final int DIM = 4;

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void an_export_comes_back(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            HashTableDesc desc = HashTableDesc.of(DType.BF16, 6, 50).withEviction(Eviction.SCORE);
            HashTable table = rig.keep(HashTable.create(rig.device, desc)), copy = rig.keep(HashTable.create(rig.device, desc));
            Random random = new Random(3);
            Tensor keys = rig.longs(random.longs(40).toArray());
            Tensor rows = rig.floats(DType.BF16, Rig.random(random, 40, 6), 40, 6);
            Tensor scores = rig.longs(random.longs(40, 0, 1000).toArray());
            table.insert(rig.stream, keys, rows, scores, HashTableResults.NONE);
            HashTableEntries all = table.export(rig.stream);
            assertEquals(40, all.keys().length);
            copy.insert(
                    rig.stream,
                    rig.longs(all.keys()),
                    rig.keep(Tensor.of(rig.stream, all.rows())),
                    rig.longs(all.scores()),
                    HashTableResults.NONE);
            Tensor out = rig.poisoned(DType.BF16, 40, 6);
            copy.lookup(rig.stream, keys, out);
            assertArrayEquals(rows.readFloats(rig.stream), out.readFloats(rig.stream));
            copy.clear(rig.stream);
            assertEquals(0, copy.size(rig.stream));
            assertEquals(40, table.size(rig.stream));
        }
    }

    /** What a table and its copy hold stays the same through lookups, insertions that evict and such that are counted for admission. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_restored_table_goes_on_as_the_original(String name) throws Exception {
        for (Eviction eviction : Eviction.values()) {
            for (int admission : new int[] {1, 2}) {
                try (Rig rig = new Rig(name);
                        Arena arena = Arena.ofConfined()) {
                    int capacity = 60;
                    HashTableDesc desc = HashTableDesc.of(DType.F32, DIM, capacity)
                            .withEviction(eviction)
                            .withAdmission(admission)
                            .withBounds(Bounds.ZERO);
                    HashTable table = rig.keep(HashTable.create(rig.device, desc));
                    HashTable copy = rig.keep(HashTable.create(rig.device, desc));
                    Random random = new Random(admission);
                    for (int step = 0; step < 8; step++) {
                        use(rig, table, random.nextLong());
                    }
                    use(rig, copy, 99); // what it held goes
                    HashTableSnapshot snapshot = table.snapshot(rig.stream, arena);
                    copy.restore(rig.stream, snapshot);
                    assertEquals(table.size(rig.stream), copy.size(rig.stream));
                    for (int step = 0; step < 8; step++) {
                        long seed = random.nextLong();
                        assertArrayEquals(use(rig, table, seed), use(rig, copy, seed), eviction + ", step " + step);
                    }
                    HashTableEntries mine = table.export(rig.stream), other = copy.export(rig.stream);
                    assertArrayEquals(mine.keys(), other.keys());
                    assertArrayEquals(mine.rows().toFloats(), other.rows().toFloats());
                    if (eviction != Eviction.LRU) { // ticks of the copy may have begun later
                        assertArrayEquals(mine.scores(), other.scores());
                    }
                }
            }
        }
    }

    /** A lookup, and an insertion of keys from a range that is twice what fits; gives the slots, outcomes and evicted keys. */
    private static long[] use(Rig rig, HashTable table, long seed) throws Exception {
        Random random = new Random(seed);
        int count = 30;
        Tensor slots = rig.keep(Tensor.create(rig.device, DType.I64, count));
        Tensor outcomes = rig.keep(Tensor.create(rig.device, DType.I32, count));
        Tensor evicted = rig.keep(Tensor.create(rig.device, DType.I64, count));
        table.lookup(rig.stream, rig.longs(random.longs(count, 0, 120).toArray()), null, null, new HashTableResults(slots, null, null));
        long[] found = slots.readLongs(rig.stream);
        boolean scored = table.desc().eviction() == Eviction.SCORE;
        table.insert(
                rig.stream,
                rig.longs(random.longs(count, 0, 120).toArray()),
                rig.floats(Rig.random(random, count, DIM), count, DIM),
                scored ? rig.longs(random.longs(count, 0, 50).toArray()) : null,
                new HashTableResults(slots, outcomes, evicted));
        return java.util.stream.Stream.of(
                        Arrays.stream(found),
                        Arrays.stream(slots.readLongs(rig.stream)),
                        Arrays.stream(outcomes.readInts(rig.stream)).asLongStream(),
                        Arrays.stream(evicted.readLongs(rig.stream)))
                .flatMapToLong(each -> each)
                .toArray();
    }

    /** The scores go along with keys and rows: what was worth most before is worth most after, and is what a smaller table keeps. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_table_of_another_size_keeps_rows_and_scores(String name) throws Exception {
        for (Eviction eviction : Eviction.values()) {
            for (int admission : new int[] {1, 2}) {
                try (Rig rig = new Rig(name);
                        Arena arena = Arena.ofConfined()) {
                    HashTableDesc desc = HashTableDesc.of(DType.F32, DIM, 60)
                            .withEviction(eviction)
                            .withAdmission(admission)
                            .withBounds(Bounds.ZERO);
                    HashTable table = rig.keep(HashTable.create(rig.device, desc));
                    Random random = new Random(7);
                    for (int step = 0; step < 8; step++) {
                        use(rig, table, random.nextLong());
                    }
                    HashTableSnapshot snapshot = table.snapshot(rig.stream, arena);
                    Map<Long, Entry> all = entries(table.export(rig.stream));
                    for (int capacity : new int[] {20, 500}) {
                        HashTable moved = rig.keep(HashTable.create(rig.device, new HashTableDesc(
                                DType.F32, DIM, capacity, eviction, admission, MissingKeys.ZERO, Bounds.ZERO)));
                        use(rig, moved, 99); // what it held goes
                        moved.restore(rig.stream, snapshot);
                        HashTableEntries exported = moved.export(rig.stream);
                        Map<Long, Entry> kept = entries(exported);
                        assertEquals(kept.size(), moved.size(rig.stream));
                        if (capacity == 500) {
                            assertEquals(all, kept, eviction + ": as many");
                        } else {
                            assertTrue(kept.size() <= moved.slots() && kept.size() >= 16, kept.size() + " of " + all.size());
                            kept.forEach((key, entry) -> assertEquals(all.get(key), entry, "key " + key));
                            long best = all.values().stream().mapToLong(Entry::score).max().orElseThrow();
                            if (all.values().stream().filter(entry -> entry.score() == best).count() == 1) {
                                assertTrue(kept.values().stream().anyMatch(entry -> entry.score() == best), "the best stays");
                            }
                            assertTrue(average(kept) >= average(all), eviction + ": the better ones stay");
                        }
                        // What is used after the move is worth more than all that was not, whatever the two tables counted before.
                        if (eviction == Eviction.LRU) {
                            long key = exported.keys()[0];
                            moved.lookup(rig.stream, rig.longs(key), rig.poisoned(DType.F32, 1, DIM));
                            long score = entries(moved.export(rig.stream)).get(key).score();
                            assertTrue(all.values().stream().allMatch(entry -> entry.score() < score));
                        }
                    }
                }
            }
        }
    }

    private record Entry(List<Float> row, long score) {}

    private static Map<Long, Entry> entries(HashTableEntries exported) {
        Map<Long, Entry> entries = new HashMap<>();
        float[] rows = exported.rows().toFloats();
        for (int i = 0; i < exported.keys().length; i++) {
            List<Float> row = new ArrayList<>();
            for (int e = 0; e < DIM; e++) {
                row.add(rows[i * DIM + e]);
            }
            entries.put(exported.keys()[i], new Entry(row, exported.scores().length == 0 ? 0 : exported.scores()[i]));
        }
        return entries;
    }

    private static double average(Map<Long, Entry> entries) {
        return entries.values().stream().mapToLong(Entry::score).average().orElseThrow();
    }

    @Test
    void a_snapshot_of_another_kind_of_table_is_refused() throws Exception {
        try (Rig rig = new Rig("cpu");
                Arena arena = Arena.ofConfined()) {
            HashTableDesc desc = HashTableDesc.of(DType.F32, DIM, 50).withEviction(Eviction.LRU);
            HashTable table = rig.keep(HashTable.create(rig.device, desc));
            HashTableSnapshot snapshot = table.snapshot(rig.stream, arena);
            for (HashTableDesc other : List.of(
                    HashTableDesc.of(DType.F32, DIM, 50),
                    HashTableDesc.of(DType.F32, DIM + 1, 50).withEviction(Eviction.LRU),
                    HashTableDesc.of(DType.BF16, DIM, 50).withEviction(Eviction.LRU))) {
                HashTable into = rig.keep(HashTable.create(rig.device, other));
                refused(InvalidArgumentException.class, () -> into.restore(rig.stream, snapshot), "snapshot");
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bags_over_keys(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            HashTable table = rig.keep(HashTable.create(rig.device, HashTableDesc.of(DType.F32, DIM, 10)));
            table.insert(rig.stream, rig.longs(70, 80, 90), rig.floats(new float[] {1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4}, 3, DIM));
            Tensor slots = rig.keep(Tensor.create(rig.device, DType.I64, 4)), outcomes = rig.keep(Tensor.create(rig.device, DType.I32, 4));
            table.lookup(rig.stream, rig.longs(90, 11, 70, 80), null, null, new HashTableResults(slots, outcomes, null));
            assertEquals(KeyOutcome.MISSING, KeyOutcome.of(outcomes.readInts(rig.stream)[1]));
            EmbeddingBagDesc desc = EmbeddingBagDesc.of(table.rows(), Pooling.SUM, 2, 4).withPaddingId(-1);
            EmbeddingBag bags = rig.keep(EmbeddingBag.plan(rig.device, desc));
            Tensor out = rig.poisoned(DType.F32, 2, DIM);
            bags.run(rig.stream, new JaggedTensor(slots, rig.longs(0, 2, 4)), out);
            assertArrayEquals(new float[] {4, 4, 4, 4, 3, 3, 3, 3}, out.readFloats(rig.stream));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void the_least_recently_used_key_makes_room(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            HashTable table = rig.keep(HashTable.create(rig.device, HashTableDesc.of(DType.F32, DIM, 15).withEviction(Eviction.LRU)));
            assertEquals(16, table.slots());
            Tensor rows = rig.floats(new float[16 * DIM], 16, DIM);
            long[] keys = new long[16];
            Arrays.setAll(keys, i -> i + 100L);
            table.insert(rig.stream, rig.longs(keys), rows);
            long[] kept = Arrays.copyOf(keys, 15);
            table.lookup(rig.stream, rig.longs(kept), rig.poisoned(DType.F32, 15, DIM));
            Tensor evicted = rig.keep(Tensor.create(rig.device, DType.I64, 1));
            table.insert(rig.stream, rig.longs(7), rig.floats(new float[DIM], 1, DIM), null, new HashTableResults(null, null, evicted));
            assertEquals(115, evicted.readLongs(rig.stream)[0]);
            HashTableResults results = new HashTableResults(null, null, evicted);
            assertTrue(table.tryInsert(rig.stream, rig.longs(100), rig.floats(new float[DIM], 1, DIM), results), "nobody else calls");
            assertEquals(-1, evicted.readLongs(rig.stream)[0], "it was there");
            assertTrue(table.tryInsert(rig.stream, rig.longs(8), rig.floats(new float[DIM], 1, DIM), results));
            long gone = evicted.readLongs(rig.stream)[0];
            assertTrue(gone > 100 && gone < 115, "one of those that were looked up last, but " + gone);
        }
    }

    /** A graph would repeat a call out of the order of readers and writers; what works on the rows alone may be in one. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_capturing_stream_is_refused_and_nothing_recorded(String name) throws Exception {
        try (Rig rig = new Rig(name); Arena arena = Arena.ofConfined()) {
            HashTable table = rig.keep(HashTable.create(rig.device, HashTableDesc.of(DType.F32, DIM, 10).withEviction(Eviction.LRU)));
            Tensor key = rig.longs(7), row = rig.floats(new float[] {1, 2, 3, 4}, 1, DIM), out = rig.poisoned(DType.F32, 1, DIM);
            Tensor slots = rig.keep(Tensor.create(rig.device, DType.I64, 1));
            table.insert(rig.stream, key, row);
            table.lookup(rig.stream, key, null, null, new HashTableResults(slots, null, null));
            HashTableSnapshot before = table.snapshot(rig.stream, arena);
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(table.rows(), Pooling.SUM, 1, 1)));
            JaggedTensor bags = new JaggedTensor(slots, rig.longs(0, 1));
            Stream stream = rig.keep(Stream.create(rig.device));
            Graph graph = rig.keep(Graph.capture(stream, () -> {
                for (Executable call : List.<Executable>of(
                        () -> table.lookup(stream, key, out),
                        () -> table.insert(stream, key, out),
                        () -> table.erase(stream, key),
                        () -> table.clear(stream),
                        () -> table.size(stream),
                        () -> table.export(stream),
                        () -> table.snapshot(stream, arena),
                        () -> table.restore(stream, before))) {
                    refused(InvalidArgumentException.class, call, "'stream'", "is capturing");
                }
                bag.run(stream, bags, out);
            }));
            graph.launch(stream);
            assertArrayEquals(new float[] {1, 2, 3, 4}, out.readFloats(stream));
            HashTableSnapshot after = table.snapshot(rig.stream, arena);
            assertEquals(before.tick(), after.tick());
            assertEquals(-1, before.keys().mismatch(after.keys()));
            assertEquals(-1, before.scores().mismatch(after.scores()));
            table.lookup(stream, key, out);
            assertEquals(1, table.size(stream));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_input_is_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            HashTableDesc desc = HashTableDesc.of(DType.F32, DIM, 5);
            refused(InvalidArgumentException.class, () -> HashTable.create(rig.device, HashTableDesc.of(DType.F32, DIM, 0)), "'capacity'", "got 0");
            refused(InvalidArgumentException.class, () -> HashTable.create(rig.device, HashTableDesc.of(DType.I64, DIM, 5)), "'dtype'");
            refused(InvalidArgumentException.class, () -> HashTable.create(rig.device, desc.withAdmission(256)), "'admission'", "got 256");
            refused(NullPointerException.class, () -> HashTable.create(null, desc), "'device'");
            HashTable table = rig.keep(HashTable.create(rig.device, desc.withMissing(MissingKeys.REPORT)));
            Tensor one = rig.longs(1), row = rig.floats(new float[DIM], 1, DIM);
            refused(NullPointerException.class, () -> table.insert(rig.stream, one, null), "'rows'");
            refused(NullPointerException.class, () -> table.tryInsert(rig.stream, one, null, HashTableResults.NONE), "'rows'");
            refused(NullPointerException.class, () -> table.lookup(rig.stream, null, row), "'keys'");
            refused(InvalidArgumentException.class, () -> table.lookup(rig.stream, rig.longs(1, 2), row), "hash_lookup", "'rows'", "[2, 4]");
            table.lookup(rig.stream, one, row);
            OutOfBoundsException missing = refused(OutOfBoundsException.class, rig.stream::synchronize, "hash_lookup", "got 1 at position 0");
            assertEquals(0, missing.position());
            table.close();
            table.close();
            refused(ClosedException.class, () -> table.lookup(rig.stream, one, row));
        }
    }
}
