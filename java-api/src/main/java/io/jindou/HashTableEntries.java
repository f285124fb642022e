package io.jindou;

/**
 * What a {@link HashTable} holds, in host memory.
 *
 * @param keys in the order of their slots
 * @param rows {@code [keys.length, dim]}
 * @param scores one a key; empty for a table that does not evict
 */
public record HashTableEntries(long[] keys, HostTensor rows, long[] scores) {}
