package io.jindou;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Random calls of every kind, of one key to a thousand, on a table and on a map of the JDK: every row, every outcome and every key that was
 * evicted is what the map makes of the keys one by one.
 */
class HashTableModelTest {
    private static final int DIM = 4;

    private enum Kind {
        INSERT,
        ERASE,
        LOOKUP
    }

    /** The table, its model, and what both are given. */
    private static final class Pair {
        final Rig rig;
        final HashTable table;
        final Random random;
        final int range;
        final Map<Long, Float> model = new HashMap<>();
        final int[] outcomes = new int[KeyOutcome.values().length]; // of insertions
        float row;

        Pair(Rig rig, HashTableDesc desc, int range, long seed) {
            this.rig = rig;
            this.table = rig.keep(HashTable.create(rig.device, desc));
            this.random = new Random(seed);
            this.range = range;
        }

        /** One to `most` keys, sizes of all orders alike; some keys more than once, and now and then the key -1, which is none. */
        long[] keys(int most) {
            long[] keys = new long[(int) Math.exp(random.nextDouble() * Math.log(most))];
            for (int i = 0; i < keys.length; i++) {
                keys[i] = random.nextInt(200) == 0 ? -1
                        : i > 0 && random.nextInt(50) == 0 ? keys[random.nextInt(i)] : random.nextInt(range) * 0x9E3779B97F4A7C15L;
            }
            return keys;
        }

        /** Makes a call and compares; gives how many keys it had. */
        int call(Kind kind, long[] keys) {
            int count = keys.length;
            float[] values = new float[count * DIM];
            if (kind == Kind.INSERT) {
                for (int i = 0; i < values.length; i++) {
                    values[i] = i % DIM == 0 ? ++row : row;
                }
            } else {
                Arrays.fill(values, Float.NaN);
            }
            try (Tensor given = Tensor.of(rig.stream, keys, count);
                    Tensor rows = Tensor.of(rig.stream, values, count, DIM);
                    Tensor scores = table.desc().eviction() == Eviction.SCORE && kind == Kind.INSERT
                            ? Tensor.of(rig.stream, random.longs(count, 0, 1000).toArray(), count)
                            : null;
                    Tensor outcomes = Tensor.create(rig.device, DType.I32, count);
                    Tensor evicted = kind == Kind.INSERT ? Tensor.create(rig.device, DType.I64, count) : null) {
                HashTableResults results = new HashTableResults(null, outcomes, evicted);
                switch (kind) {
                    case INSERT -> table.insert(rig.stream, given, rows, scores, results);
                    case ERASE -> table.erase(rig.stream, given, results);
                    case LOOKUP -> table.lookup(rig.stream, given, rows, null, results);
                }
                int[] done = outcomes.readInts(rig.stream);
                if (kind == Kind.INSERT) {
                    inserted(keys, values, done, evicted.readLongs(rig.stream));
                } else {
                    float[] got = rows.readFloats(rig.stream);
                    for (int i = 0; i < count; i++) {
                        Float expected = kind == Kind.ERASE ? model.remove(keys[i]) : model.get(keys[i]);
                        assertEquals(expected == null ? KeyOutcome.MISSING : KeyOutcome.ASSIGNED, KeyOutcome.of(done[i]));
                        for (int d = 0; kind == Kind.LOOKUP && d < DIM; d++) {
                            assertEquals(expected == null ? 0 : expected, got[i * DIM + d]);
                        }
                    }
                }
            }
            return count;
        }

        private void inserted(long[] keys, float[] values, int[] done, long[] evicted) {
            for (int i = 0; i < keys.length; i++) {
                KeyOutcome outcome = KeyOutcome.of(done[i]);
                outcomes[done[i]]++;
                assertEquals(model.containsKey(keys[i]), outcome == KeyOutcome.ASSIGNED, "there already");
                switch (outcome) {
                    case ASSIGNED, INSERTED -> model.put(keys[i], values[i * DIM]);
                    case REPLACED -> {
                        assertTrue(table.desc().eviction() != Eviction.NONE);
                        assertTrue(model.remove(evicted[i]) != null, "what is evicted was there");
                        assertNull(model.put(keys[i], values[i * DIM]));
                    }
                    case NOT_ADMITTED -> assertTrue(table.desc().admission() > 1);
                    case REFUSED -> assertTrue(keys[i] == -1 || table.desc().eviction() == Eviction.SCORE);
                    default -> throw new AssertionError(outcome);
                }
                assertEquals(outcome == KeyOutcome.REPLACED, evicted[i] != -1);
            }
            assertTrue(model.size() <= table.slots());
        }

        void end() {
            assertEquals(model.size(), table.size(rig.stream));
            HashTableEntries all = table.export(rig.stream);
            assertEquals(model.size(), all.keys().length);
            Map<Long, Float> exported = new HashMap<>();
            for (int i = 0; i < all.keys().length; i++) {
                exported.put(all.keys()[i], all.rows().data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, (long) i * DIM));
            }
            assertEquals(model, exported);
        }
    }

    /** A million keys on the cpu, fewer on an emulator, as many at a time as the capacity says: many insertions move others, none is refused. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void does_what_a_map_does_when_it_is_full(String name) throws Exception {
        boolean emulated = name.equals("simt");
        int operations = emulated ? 8_000 : 1_000_000, capacity = emulated ? 760 : 38_000, most = emulated ? 30 : 1000;
        try (Rig rig = new Rig(name)) {
            Pair pair = new Pair(rig, HashTableDesc.of(DType.F32, DIM, capacity), 2 * capacity, 11);
            double load = 0;
            int calls = 0;
            for (int done = 0; done < operations; ) {
                long[] keys = pair.keys(most);
                boolean fits = pair.model.size() + keys.length <= capacity;
                boolean full = pair.model.size() > 0.93 * capacity;
                Kind kind = full && pair.random.nextInt(3) == 0 ? Kind.LOOKUP : fits ? Kind.INSERT : Kind.ERASE;
                done += pair.call(kind, keys);
                calls += full ? 1 : 0;
                load += full ? (double) pair.model.size() / pair.table.slots() : 0;
            }
            assertTrue(load / calls > 0.87, "load " + load / calls);
            pair.end();
        }
    }

    /**
     * A cache of keys three times as many: found is the row that was written last, gone what was reported as evicted. Half of the insertions are
     * the last one again, so that there are keys that are admitted.
     */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void does_what_a_map_does_that_loses_what_is_evicted(String name) throws Exception {
        boolean emulated = name.equals("simt");
        int operations = emulated ? 2_500 : 40_000, capacity = emulated ? 60 : 700;
        for (Eviction eviction : new Eviction[] {Eviction.LRU, Eviction.LFU, Eviction.SCORE}) {
            for (int admission : new int[] {1, 3}) {
                try (Rig rig = new Rig(name)) {
                    HashTableDesc desc = HashTableDesc.of(DType.F32, DIM, capacity).withEviction(eviction).withAdmission(admission);
                    Pair pair = new Pair(rig, desc, 3 * capacity, 7 * admission);
                    long[] inserted = {};
                    for (int done = 0; done < operations; ) {
                        int dice = pair.random.nextInt(10);
                        Kind kind = dice == 0 ? Kind.ERASE : dice < 5 ? Kind.LOOKUP : Kind.INSERT;
                        boolean again = kind == Kind.INSERT && inserted.length > 0 && pair.random.nextBoolean();
                        long[] keys = again ? inserted : pair.keys(emulated ? 20 : 300);
                        inserted = kind == Kind.INSERT ? keys : inserted;
                        done += pair.call(kind, keys);
                    }
                    for (KeyOutcome outcome : KeyOutcome.values()) {
                        boolean occurs = outcome != KeyOutcome.MISSING && (outcome != KeyOutcome.NOT_ADMITTED || admission > 1);
                        assertEquals(occurs, pair.outcomes[outcome.ordinal()] > 0, eviction + ", " + admission + ": " + outcome);
                    }
                    pair.end();
                }
            }
        }
    }
}
