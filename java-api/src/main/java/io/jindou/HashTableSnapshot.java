package io.jindou;

import io.jindou.bindings.JindouAbi;
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
        if (keys.byteSize() % Long.BYTES != 0 || !HashGeometry.isValid(slots)) {
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
        long found = 0;
        HashGeometry geometry = new HashGeometry(slots);
        for (long slot = 0; slot < slots; slot++) {
            long key = at(keys, slot);
            if (key == -1) {
                continue;
            }
            found++;
            long bucket = slot / HashGeometry.BUCKET_SLOTS;
            long first = geometry.bucket(key, false);
            if (bucket != first && bucket != geometry.bucket(key, true)) {
                throw wrong("keys", "each key in one of its two buckets", key + " in slot " + slot);
            }
            if (stands(key, bucket, slot) || (bucket != first && stands(key, first, Long.MAX_VALUE))) {
                throw wrong("keys", "each key once", key + " again in slot " + slot);
            }
            if (desc.eviction() == Eviction.LRU && (at(scores, slot) < 0 || at(scores, slot) > tick)) {
                throw wrong("scores", "calls up to the last, " + tick, at(scores, slot) + " in slot " + slot);
            }
            if (desc.eviction() == Eviction.LFU && (at(scores, slot) < 0 || at(scores, slot) > MOST)) {
                throw wrong("scores", "counts of 0.." + MOST, at(scores, slot) + " in slot " + slot);
            }
        }
        if (found != size) {
            throw wrong("size", found + ", the number of keys", size);
        }
        return slots;
    }

    /** Whether a bucket has the key in a slot before {@code end}. */
    private boolean stands(long key, long bucket, long end) {
        long first = bucket * HashGeometry.BUCKET_SLOTS;
        for (long slot = first; slot < Math.min(end, first + HashGeometry.BUCKET_SLOTS); slot++) {
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
