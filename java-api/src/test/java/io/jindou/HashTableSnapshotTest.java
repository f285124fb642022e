package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.jindou.bindings.JindouAbi;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A snapshot may come from a file: whatever is wrong with it is found before the table changes. */
class HashTableSnapshotTest {
    private static final int DIM = 4;
    private static final HashTableDesc DESC =
            HashTableDesc.of(DType.F32, DIM, 60).withEviction(Eviction.LRU).withAdmission(2).withBounds(Bounds.ZERO);
    private static final int SLOTS = 80;

    /** A snapshot with one thing wrong, and what the message must say. */
    private record Bad(String says, HashTableSnapshot snapshot) {}

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_bad_snapshot_changes_nothing(String name) throws Exception {
        try (Rig rig = new Rig(name); Arena arena = Arena.ofConfined()) {
            HashTable from = rig.keep(HashTable.create(rig.device, DESC));
            use(rig, from, 1);
            HashTableSnapshot good = from.snapshot(rig.stream, arena);
            List<Bad> all = bad(good, arena);
            for (int capacity : new int[] {60, 200}) {
                HashTable table = rig.keep(HashTable.create(rig.device, ofCapacity(capacity)));
                use(rig, table, 2);
                List<byte[]> before = bytes(rig, table);
                for (Bad each : all) {
                    refused(InvalidArgumentException.class, () -> table.restore(rig.stream, each.snapshot()), "'snapshot." + each.says());
                }
                List<byte[]> after = bytes(rig, table);
                for (int i = 0; i < before.size(); i++) {
                    assertArrayEquals(before.get(i), after.get(i), "part " + i);
                }
                table.restore(rig.stream, good);
                assertEquals(good.size(), table.size(rig.stream));
            }
        }
    }

    private static List<Bad> bad(HashTableSnapshot good, Arena arena) throws Exception {
        MemorySegment keys = good.keys(), rows = good.rows(), scores = good.scores(), sights = good.sights();
        long size = good.size(), tick = good.tick();
        int used = 0;
        while (keys.getAtIndex(ValueLayout.JAVA_LONG, used) == -1) {
            used++;
        }
        long key = keys.getAtIndex(ValueLayout.JAVA_LONG, used);
        int bucket = used / 8;
        long[] buckets = buckets(SLOTS, key);
        int other = (int) (buckets[0] + buckets[1] - bucket);
        long stranger = key + 1;
        while (buckets(SLOTS, stranger)[0] == bucket || buckets(SLOTS, stranger)[1] == bucket) {
            stranger++;
        }
        Arena closed = Arena.ofConfined();
        MemorySegment gone = closed.allocate(keys.byteSize());
        closed.close();
        MemorySegment[] others = new MemorySegment[1];
        Thread thread = new Thread(() -> others[0] = Arena.ofConfined().allocate(rows.byteSize()));
        thread.start();
        thread.join();

        List<Bad> all = new ArrayList<>();
        for (long bytes : new long[] {0, 64, 632, 639}) { // no slots, one bucket, and what is no number of buckets or of keys
            all.add(new Bad("keys': expected as many as a table can have slots, 8 bytes each, got " + bytes, new HashTableSnapshot(
                    DESC, keys.asSlice(0, bytes), rows, scores, sights, size, tick)));
        }
        all.add(new Bad("rows': expected 1152 bytes", new HashTableSnapshot(DESC, keys.asSlice(64), rows, scores, sights, size, tick)));
        all.add(new Bad("rows': expected 1280 bytes", new HashTableSnapshot(DESC, keys, rows.asSlice(16), scores, sights, size, tick)));
        all.add(new Bad("rows'", new HashTableSnapshot(DESC, keys, arena.allocate(1040), scores, sights, size, tick)));
        all.add(new Bad("scores': expected 640", new HashTableSnapshot(DESC, keys, rows, MemorySegment.NULL, sights, size, tick)));
        all.add(new Bad("sights': expected 80", new HashTableSnapshot(DESC, keys, rows, scores, MemorySegment.NULL, size, tick)));
        all.add(new Bad("sights': expected 0", new HashTableSnapshot(DESC.withAdmission(1), keys, rows, scores, sights, size, tick)));
        all.add(new Bad("desc'", new HashTableSnapshot(ofCapacity(0), keys, rows, scores, sights, size, tick)));
        all.add(new Bad("keys': expected memory that is open", new HashTableSnapshot(DESC, gone, rows, scores, sights, size, tick)));
        all.add(new Bad("rows': expected memory that is open", new HashTableSnapshot(DESC, keys, others[0], scores, sights, size, tick)));
        all.add(new Bad("size': expected " + size, new HashTableSnapshot(DESC, keys, rows, scores, sights, size + 1, tick)));
        all.add(new Bad("tick'", new HashTableSnapshot(DESC, keys, rows, scores, sights, size, -1)));
        all.add(new Bad("tick'", new HashTableSnapshot(DESC, keys, rows, scores, sights, size, Long.MAX_VALUE / 2 + 1)));
        all.add(new Bad("scores': expected calls up to the last, 0", new HashTableSnapshot(DESC, keys, rows, scores, sights, size, 0)));
        all.add(new Bad("size': expected " + (size - 1), with(good, arena, used, -1)));
        all.add(new Bad("keys': expected each key in one of its two buckets, got " + stranger, with(good, arena, used, stranger)));
        all.add(new Bad("keys': expected each key once, got " + key, with(good, arena, used ^ 1, key)));
        all.add(new Bad("keys': expected each key once, got " + key, with(good, arena, other * 8, key)));
        return all;
    }

    /** Counts of uses that would overflow at the next one, or where keys age, and what can be no count. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void counts_of_uses_are_bounded(String name) throws Exception {
        try (Rig rig = new Rig(name); Arena arena = Arena.ofConfined()) {
            HashTableDesc desc = DESC.withEviction(Eviction.LFU);
            HashTable table = rig.keep(HashTable.create(rig.device, desc));
            use(rig, table, 1);
            HashTableSnapshot good = table.snapshot(rig.stream, arena);
            int used = 0;
            while (good.keys().getAtIndex(ValueLayout.JAVA_LONG, used) == -1) {
                used++;
            }
            List<byte[]> before = bytes(rig, table);
            for (long score : new long[] {Long.MAX_VALUE, Long.MAX_VALUE - 16, Long.MAX_VALUE / 2 + 1, -1, Long.MIN_VALUE}) {
                HashTableSnapshot bad = scored(good, arena, used, score);
                refused(InvalidArgumentException.class, () -> table.restore(rig.stream, bad), "'snapshot.scores': expected counts", "got " + score);
            }
            List<byte[]> after = bytes(rig, table);
            for (int i = 0; i < before.size(); i++) {
                assertArrayEquals(before.get(i), after.get(i), "part " + i);
            }
            table.restore(rig.stream, scored(good, arena, used, Long.MAX_VALUE / 2));
            long key = good.keys().getAtIndex(ValueLayout.JAVA_LONG, used);
            table.insert(rig.stream, rig.longs(key), rig.floats(new float[DIM], 1, DIM));
            long now = table.snapshot(rig.stream, arena).scores().getAtIndex(ValueLayout.JAVA_LONG, used);
            assertEquals(Long.MAX_VALUE / 2 + 1, now, "the largest count goes on");
        }
    }

    private static HashTableSnapshot scored(HashTableSnapshot good, Arena arena, int slot, long score) {
        MemorySegment scores = arena.allocate(good.scores().byteSize(), 8).copyFrom(good.scores());
        scores.setAtIndex(ValueLayout.JAVA_LONG, slot, score);
        return new HashTableSnapshot(good.desc(), good.keys(), good.rows(), scores, good.sights(), good.size(), good.tick());
    }

    /** Saved when a table of this capacity had other slots: 64 of 60 keys, 105,264 of 100,000, in six partitions. */
    @Test
    void a_snapshot_of_an_earlier_version_is_restored() throws Exception {
        for (int capacity : new int[] {60, 100_000}) {
            try (Rig rig = new Rig("cpu"); Arena arena = Arena.ofConfined()) {
                int slots = Math.ceilDiv(capacity * 20, 19 * 8) * 8;
                HashTableDesc desc = new HashTableDesc(
                        DType.F32, 1, capacity, Eviction.LRU, 2, MissingKeys.ZERO, Bounds.ZERO);
                long[] keys = new Random(capacity).longs(capacity / 4).toArray();
                HashTableSnapshot old = earlier(arena, desc, slots, keys);
                for (long now : capacity == 60 ? new long[] {60, 120, 45} : new long[] {capacity, 2 * capacity}) {
                    HashTable table = rig.keep(HashTable.create(rig.device, ofCapacity(desc, now)));
                    assertEquals(now == 45, table.slots() == slots, "today's of 45 has 64 as well");
                    table.restore(rig.stream, old);
                    assertEquals(keys.length, table.size(rig.stream));
                    HashTableEntries entries = table.export(rig.stream);
                    float[] rows = entries.rows().toFloats();
                    for (int i = 0; i < keys.length; i++) {
                        assertEquals(entries.keys()[i] >>> 48, (long) rows[i], "the row of its key");
                        assertEquals(entries.keys()[i] >>> 60, entries.scores()[i], "the score of its key");
                    }
                }
            }
        }
    }

    /** Each key in the first of its buckets that has room, with rows and scores that its bits tell. */
    private static HashTableSnapshot earlier(Arena arena, HashTableDesc desc, int slots, long[] keys) {
        MemorySegment places = arena.allocate(8L * slots, 8).fill((byte) -1), rows = arena.allocate(4L * slots, 4);
        MemorySegment scores = arena.allocate(8L * slots, 8);
        long[] buckets = buckets(slots, keys);
        for (int i = 0; i < keys.length; i++) {
            long key = keys[i], first = free(places, buckets[2 * i]);
            long slot = first >= 0 ? first : free(places, buckets[2 * i + 1]);
            places.setAtIndex(ValueLayout.JAVA_LONG, slot, key);
            rows.setAtIndex(ValueLayout.JAVA_FLOAT, slot, key >>> 48);
            scores.setAtIndex(ValueLayout.JAVA_LONG, slot, key >>> 60);
        }
        return new HashTableSnapshot(desc, places, rows, scores, arena.allocate(slots), keys.length, 15);
    }

    /** The two buckets of each key. */
    private static long[] buckets(long slots, long... keys) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment buckets = arena.allocate(ValueLayout.JAVA_LONG, 2 * keys.length);
            assertEquals(slots / 8, JindouAbi.jd_hash_table_buckets(
                    slots, keys.length, arena.allocateFrom(ValueLayout.JAVA_LONG, keys), buckets));
            return buckets.toArray(ValueLayout.JAVA_LONG);
        }
    }

    /** A slot of a bucket; -1: it is full. */
    private static long free(MemorySegment keys, long bucket) {
        for (long slot = bucket * 8; slot < bucket * 8 + 8; slot++) {
            if (keys.getAtIndex(ValueLayout.JAVA_LONG, slot) == -1) {
                return slot;
            }
        }
        return -1;
    }

    private static HashTableSnapshot with(HashTableSnapshot good, Arena arena, int slot, long key) {
        MemorySegment keys = arena.allocate(good.keys().byteSize(), 8).copyFrom(good.keys());
        keys.setAtIndex(ValueLayout.JAVA_LONG, slot, key);
        return new HashTableSnapshot(DESC, keys, good.rows(), good.scores(), good.sights(), good.size(), good.tick());
    }

    private static HashTableDesc ofCapacity(long capacity) {
        return ofCapacity(DESC, capacity);
    }

    private static HashTableDesc ofCapacity(HashTableDesc desc, long capacity) {
        return new HashTableDesc(
                desc.dtype(), desc.dim(), capacity, desc.eviction(), desc.admission(), desc.missing(), desc.bounds());
    }

    /** Forty keys, those that are admitted at once and those seen twice. */
    private static void use(Rig rig, HashTable table, long seed) {
        Random random = new Random(seed);
        for (int step = 0; step < 4; step++) {
            table.insert(rig.stream, rig.longs(random.longs(40, 0, 50).toArray()), rig.floats(Rig.random(random, 40, DIM), 40, DIM));
        }
    }

    private static List<byte[]> bytes(Rig rig, HashTable table) {
        try (Arena arena = Arena.ofConfined()) {
            HashTableSnapshot snapshot = table.snapshot(rig.stream, arena);
            List<byte[]> all = new ArrayList<>();
            for (MemorySegment each : List.of(snapshot.keys(), snapshot.rows(), snapshot.scores(), snapshot.sights())) {
                all.add(each.toArray(ValueLayout.JAVA_BYTE));
            }
            all.add(new byte[] {(byte) snapshot.size(), (byte) snapshot.tick()});
            return all;
        }
    }

    /** Keys of several partitions, most of them moved about: what the check takes for a key's buckets is where the table puts it. */
    @Test
    void a_large_full_table_passes() throws Exception {
        try (Rig rig = new Rig("cpu"); Arena arena = Arena.ofConfined()) {
            HashTableDesc desc = HashTableDesc.of(DType.F32, 1, 100_000);
            HashTable table = rig.keep(HashTable.create(rig.device, desc));
            long[] keys = new Random(5).longs(100_000).toArray();
            float[] rows = Rig.random(new Random(6), keys.length, 1);
            table.insert(rig.stream, rig.longs(keys), rig.floats(rows, keys.length, 1));
            HashTableSnapshot snapshot = table.snapshot(rig.stream, arena);
            long[] all = snapshot.keys().toArray(ValueLayout.JAVA_LONG), buckets = buckets(table.slots(), all);
            long inSecond = 0;
            for (int slot = 0; slot < all.length; slot++) {
                inSecond += all[slot] != -1 && buckets[2 * slot] != slot / 8 ? 1 : 0;
            }
            assertEquals(0.3, (double) inSecond / keys.length, 0.2, "keys in their second bucket");
            for (long capacity : new long[] {100_000, 150_000}) {
                HashTable copy = rig.keep(HashTable.create(rig.device, HashTableDesc.of(DType.F32, 1, capacity)));
                copy.restore(rig.stream, snapshot);
                Tensor out = rig.poisoned(DType.F32, keys.length, 1);
                copy.lookup(rig.stream, rig.longs(keys), out);
                assertArrayEquals(rows, out.readFloats(rig.stream));
            }
        }
    }
}
