package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.BiFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ShardedKeysTest {
    private static final int SHARDS = 3;
    private static final int DIM = 8;

    /** Tables of several devices answer as one would: rows of any dtype, outcomes, equal keys, missing ones. */
    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16", "F8_E4M3", "U8"})
    void several_devices_answer_as_one_table(DType dtype) throws Exception {
        try (Rig whole = new Rig("cpu"); Rig a = new Rig("cpu"); Rig b = new Rig("cpu"); Rig c = new Rig("simt")) {
            List<Rig> rigs = List.of(a, b, c);
            int capacity = 300;
            HashTableDesc desc = HashTableDesc.of(dtype, DIM, capacity);
            HashTable one = whole.keep(HashTable.create(whole.device, desc));
            List<HashTable> tables = new ArrayList<>();
            for (Rig rig : rigs) {
                tables.add(rig.keep(HashTable.create(rig.device, desc)));
            }
            Random random = new Random(dtype.ordinal());
            for (int call = 0; call < 6; call++) {
                long[] keys = random.longs(100, 0, 400).map(key -> key * 0x9E3779B97F4A7C15L).toArray();
                keys[7] = keys[50];
                keys[9] = -1;
                byte[] bytes = new byte[keys.length * DIM * dtype.size()];
                random.nextBytes(bytes);
                HostTensor rows = new HostTensor(dtype, java.lang.foreign.MemorySegment.ofArray(bytes), keys.length, DIM);
                ShardedKeys routed = ShardedKeys.route(keys, SHARDS);
                insert(whole, one, keys, rows);
                for (int s = 0; s < SHARDS; s++) {
                    insert(rigs.get(s), tables.get(s), routed.request(s), routed.split(s, rows));
                }
                long[] asked = random.longs(80, 0, 500).map(key -> key * 0x9E3779B97F4A7C15L).toArray();
                ShardedKeys lookups = ShardedKeys.route(asked, SHARDS);
                HostTensor[] expected = lookUp(whole, one, asked);
                for (int result = 0; result < expected.length; result++) {
                    List<HostTensor> all = new ArrayList<>();
                    for (int s = 0; s < SHARDS; s++) {
                        all.add(lookUp(rigs.get(s), tables.get(s), lookups.request(s))[result]);
                    }
                    HostTensor merged = lookups.merge(all);
                    assertEquals(expected[result].dtype(), merged.dtype());
                    assertArrayEquals(expected[result].shape(), merged.shape());
                    assertEquals(-1, expected[result].data().mismatch(merged.data()));
                }
            }
            long size = 0;
            for (int s = 0; s < SHARDS; s++) {
                size += tables.get(s).size(rigs.get(s).stream);
            }
            assertEquals(one.size(whole.stream), size);
        }
    }

    private static void insert(Rig rig, HashTable table, long[] keys, HostTensor rows) {
        try (Tensor given = Tensor.of(rig.stream, keys, keys.length); Tensor values = Tensor.of(rig.stream, rows)) {
            table.insert(rig.stream, given, values);
        }
    }

    /** Rows and outcomes. */
    private static HostTensor[] lookUp(Rig rig, HashTable table, long[] keys) {
        try (Tensor given = Tensor.of(rig.stream, keys, keys.length);
                Tensor rows = Tensor.create(rig.device, table.desc().dtype(), keys.length, DIM);
                Tensor outcomes = Tensor.create(rig.device, DType.I32, keys.length)) {
            table.lookup(rig.stream, given, rows, null, new HashTableResults(null, outcomes, null));
            return new HostTensor[] {rows.readHost(rig.stream), outcomes.readHost(rig.stream)};
        }
    }

    /** The shard has nothing to do with the place in a table: each shard's table is as full everywhere. */
    @Test
    void a_shards_table_can_be_filled() throws Exception {
        try (Rig rig = new Rig("cpu")) {
            long[] keys = new Random(3).longs(200_000).toArray();
            ShardedKeys routed = ShardedKeys.route(keys, SHARDS);
            for (int s = 0; s < SHARDS; s++) {
                long[] mine = routed.request(s);
                assertEquals(keys.length / 3.0, mine.length, 700);
                HashTable table = rig.keep(HashTable.create(rig.device, HashTableDesc.of(DType.F32, 1, mine.length)));
                table.insert(rig.stream, rig.longs(mine), rig.keep(Tensor.create(rig.device, DType.F32, mine.length, 1)));
                rig.stream.synchronize(); // would say that a key was refused
                assertEquals(mine.length, table.size(rig.stream));
            }
        }
    }

    @Test
    void entries_keep_their_keys() {
        long[] keys = {5, 6, 7, 5, 8, 9};
        for (int shards : new int[] {1, 2, 7}) {
            ShardedKeys routed = ShardedKeys.route(keys, shards);
            assertEquals(shards, routed.shards());
            List<HostTensor> parts = new ArrayList<>();
            for (int s = 0; s < shards; s++) {
                HostTensor part = routed.split(s, HostTensor.of(keys));
                assertArrayEquals(routed.request(s), part.data().toArray(ValueLayout.JAVA_LONG_UNALIGNED));
                for (long key : routed.request(s)) {
                    assertEquals(s, ShardedKeys.shardOf(key, shards));
                }
                parts.add(routed.request(s).length == 0 ? null : part);
            }
            assertArrayEquals(keys, routed.merge(parts).data().toArray(ValueLayout.JAVA_LONG_UNALIGNED));
        }
        assertEquals(0, ShardedKeys.route(new long[0], 2).request(1).length);
        ShardedKeys one = ShardedKeys.route(new long[] {5}, 1);
        one.request(0)[0] = 6;
        assertArrayEquals(new long[] {5}, one.request(0), "a copy");
    }

    @Test
    void what_does_not_fit_is_refused_and_nothing_written() {
        long[] keys = {1, 2, 3, 4, 5, 6, 7, 8};
        ShardedKeys routed = ShardedKeys.route(keys, 2);
        int first = routed.request(0).length, second = routed.request(1).length;
        assertTrue(first > 0 && second > 0);
        BiFunction<Integer, Integer, HostTensor> rows = (count, dim) -> HostTensor.of(new float[count * dim], count, dim);
        HostTensor target = rows.apply(8, 2);
        target.data().fill((byte) 1);
        refused(InvalidArgumentException.class, () -> ShardedKeys.route(keys, 0), "'shards'", "got 0");
        refused(InvalidArgumentException.class, () -> ShardedKeys.route(new long[0], -1), "'shards'", "got -1");
        refused(NullPointerException.class, () -> ShardedKeys.route(null, 2), "keys");
        refused(InvalidArgumentException.class, () -> routed.split(0, rows.apply(7, 2)), "'all'", "8 keys");
        refused(InvalidArgumentException.class, () -> routed.merge(List.of(rows.apply(first, 2)), target), "one a shard, 2, got 1");
        refused(InvalidArgumentException.class, () -> routed.merge(List.of(rows.apply(first, 2), rows.apply(second, 3)), target), "of shard 1");
        refused(InvalidArgumentException.class, () -> routed.merge(Arrays.asList(rows.apply(first, 2), null), target), "of shard 1, got null");
        refused(
                InvalidArgumentException.class,
                () -> routed.merge(List.of(rows.apply(first, 2), HostTensor.of(new long[second * 2], second, 2)), target),
                "F32[" + second + ", 2] of shard 1, got I64");
        refused(InvalidArgumentException.class, () -> routed.merge(Arrays.asList(null, null)), "'results'");
        assertEquals(1, target.data().get(ValueLayout.JAVA_BYTE, 0));
    }
}
