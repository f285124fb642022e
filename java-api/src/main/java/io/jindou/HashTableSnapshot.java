package io.jindou;

import io.jindou.bindings.JindouAbi;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * The state of a {@link HashTable} in memory of an arena, laid out as {@code jindou/hash_table.h} says: keys by slot, so that a restored table
 * has every key where it was. It can be written to a file as it is; segments may also be of mapped files, which must stay as they are while
 * {@link HashTable#restore} runs.
 *
 * <p>It has the slots that its keys have, which may be other than what the capacity would give today: one that an earlier version saved is
 * restored as one of a table of another size.
 *
 * @param desc of the table
 * @param keys {@code [slots]} 64-bit keys, -1 where a slot is empty
 * @param rows {@code [slots, dim]}
 * @param scores {@code [slots]} 64-bit; of no size for a table that does not evict. Under {@link Eviction#LRU} they are ticks, under
 *     {@link Eviction#LFU} counts, 0 to 2^62 - 1
 * @param sights {@code [slots]} bytes; of no size for a table that admits at once
 * @param size keys in the table
 * @param tick of the table's last call: later ones of a restored table are larger. 0 to 2^62 - 1
 */
public record HashTableSnapshot(
        HashTableDesc desc,
        MemorySegment keys,
        MemorySegment rows,
        MemorySegment scores,
        MemorySegment sights,
        long size,
        long tick) {
    /** The most that a call's tick or a count of uses can be: 2^62 - 1, which leaves a restored table as many calls and uses again. */
    static final long MOST = Long.MAX_VALUE / 2;

    /** Buckets that are looked through at a time. */
    private static final int PART = 512;

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public HashTableSnapshot {
        Objects.requireNonNull(desc, "desc");
        Objects.requireNonNull(keys, "keys");
        Objects.requireNonNull(rows, "rows");
        Objects.requireNonNull(scores, "scores");
        Objects.requireNonNull(sights, "sights");
    }

    /**
     * Looks through all that can be told without reading the rows.
     *
     * @return slots of the table
     * @throws InvalidArgumentException naming the component that contradicts the others
     */
    long check() {
        if (JindouAbi.jd_hash_table_slots(desc.capacity()) == 0) {
            throw wrong("desc", "a capacity of a table", desc.capacity());
        }
        long slots = keys.byteSize() / Long.BYTES;
        long buckets = JindouAbi.jd_hash_table_buckets(slots, 0, MemorySegment.NULL, MemorySegment.NULL);
        if (keys.byteSize() % Long.BYTES != 0 || buckets == 0) {
            throw wrong("keys", "as many as a table can have slots, 8 bytes each", keys.byteSize() + " bytes");
        }
        String table = " (" + slots + " slots)";
        expectBytes("keys", keys, slots * Long.BYTES, table);
        expectBytes("rows", rows, slots * desc.dim() * desc.dtype().size(), table + " of " + desc.dim() + " " + desc.dtype());
        expectBytes("scores", scores, desc.eviction() == Eviction.NONE ? 0 : slots * Long.BYTES, table + ", eviction " + desc.eviction());
        expectBytes("sights", sights, desc.admission() == 1 ? 0 : slots, table + ", admission " + desc.admission());
        if (tick < 0 || tick > MOST) {
            throw wrong("tick", "0.." + MOST, tick);
        }
        long found = countKeys(buckets, (int) (slots / buckets));
        if (found != size) {
            throw wrong("size", found + ", the number of keys", size);
        }
        return slots;
    }

    /** The number of keys, each of which lies in one of its two buckets, once, with a score that it can have. */
    private long countKeys(long buckets, int bucketSlots) {
        int most = PART * bucketSlots;
        long[] part = new long[most];
        long[] places = new long[2 * most];
        long found = 0;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment partKeys = arena.allocate(ValueLayout.JAVA_LONG, most), partPlaces = arena.allocate(ValueLayout.JAVA_LONG, 2 * most);
            for (long first = 0; first < buckets; first += PART) {
                int count = (int) Math.min(PART, buckets - first) * bucketSlots;
                MemorySegment.copy(keys, first * bucketSlots * Long.BYTES, partKeys, 0, (long) count * Long.BYTES);
                JindouAbi.jd_hash_table_buckets(buckets * bucketSlots, count, partKeys, partPlaces);
                MemorySegment.copy(partKeys, ValueLayout.JAVA_LONG, 0, part, 0, count);
                MemorySegment.copy(partPlaces, ValueLayout.JAVA_LONG, 0, places, 0, 2 * count);
                for (int i = 0; i < count; i += bucketSlots) {
                    found += checkBucket(first + i / bucketSlots, part, places, i, bucketSlots);
                }
            }
        }
        return found;
    }

    /** Keys in a bucket, which are those at {@code start} of a part. */
    private int checkBucket(long bucket, long[] part, long[] places, int start, int bucketSlots) {
        int found = 0;
        for (int i = start; i < start + bucketSlots; i++) {
            long key = part[i], first = places[2 * i], slot = bucket * bucketSlots + i - start;
            if (key == -1) {
                continue;
            }
            found++;
            if (bucket != first && bucket != places[2 * i + 1]) {
                throw wrong("keys", "each key in one of its two buckets", key + " in slot " + slot);
            }
            if (stands(key, part, start, i) || (bucket != first && stands(key, first, bucketSlots))) {
                throw wrong("keys", "each key once", key + " again in slot " + slot);
            }
            checkScore(slot);
        }
        return found;
    }

    private void checkScore(long slot) {
        if (desc.eviction() == Eviction.LRU && (at(scores, slot) < 0 || at(scores, slot) > tick)) {
            throw wrong("scores", "calls up to the last, " + tick, at(scores, slot) + " in slot " + slot);
        }
        if (desc.eviction() == Eviction.LFU && (at(scores, slot) < 0 || at(scores, slot) > MOST)) {
            throw wrong("scores", "counts of 0.." + MOST, at(scores, slot) + " in slot " + slot);
        }
    }

    private static boolean stands(long key, long[] keys, int begin, int end) {
        for (int i = begin; i < end; i++) {
            if (keys[i] == key) {
                return true;
            }
        }
        return false;
    }

    private boolean stands(long key, long bucket, int bucketSlots) {
        for (long slot = bucket * bucketSlots; slot < (bucket + 1) * bucketSlots; slot++) {
            if (at(keys, slot) == key) {
                return true;
            }
        }
        return false;
    }

    private static long at(MemorySegment numbers, long index) {
        return numbers.getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED, index);
    }

    private static void expectBytes(String component, MemorySegment segment, long expected, String why) {
        if (segment.byteSize() != expected) {
            throw wrong(component, expected + " bytes" + why, segment.byteSize());
        }
        if (expected > 0 && !(segment.scope().isAlive() && segment.isAccessibleBy(Thread.currentThread()))) {
            throw wrong(component, "memory that is open to this thread", segment);
        }
    }

    private static InvalidArgumentException wrong(String component, String expected, Object got) {
        return new InvalidArgumentException("argument 'snapshot." + component + "': expected " + expected + ", got " + got);
    }
}
