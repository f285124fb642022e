package io.jindou;

import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * The state of a {@link HashTable} in memory of an arena, laid out as {@code jindou/hash_table.h} says: keys by slot, so that a restored table
 * has every key where it was. It can be written to a file as it is; segments may also be of mapped files.
 *
 * @param desc of the table
 * @param keys {@code [slots]} 64-bit keys, -1 where a slot is empty
 * @param rows {@code [slots, dim]}
 * @param scores {@code [slots]} 64-bit; of no size for a table that does not evict. Under {@link Eviction#LRU} they are ticks
 * @param sights {@code [slots]} bytes; of no size for a table that admits at once
 * @param size keys in the table
 * @param tick of the table's last call: later ones of a restored table are larger
 */
public record HashTableSnapshot(
        HashTableDesc desc,
        MemorySegment keys,
        MemorySegment rows,
        MemorySegment scores,
        MemorySegment sights,
        long size,
        long tick) {
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
}
