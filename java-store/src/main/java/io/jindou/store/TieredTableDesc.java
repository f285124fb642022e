package io.jindou.store;

import io.jindou.DType;
import io.jindou.Eviction;
import java.util.Objects;

/**
 * The shape of a {@link TieredTable}.
 *
 * @param dtype of rows, as {@link io.jindou.HashTableDesc#dtype()}
 * @param dim elements of a row
 * @param deviceRows rows that the cache on the device holds
 * @param hostRows rows that the cache in host memory holds; 0: none; {@link #DEFAULT_HOST_ROWS}: ten times as many as the device's, and
 *     none on the cpu device, whose device cache lies in host memory already
 * @param maxKeys keys a call of lookup, prefetch, update or erase
 * @param eviction which row leaves a cache: {@link Eviction#LRU} or {@link Eviction#LFU}
 * @param durability what an update waits for
 * @param blockCacheBytes memory for RocksDB's own cache of blocks, at most {@link #MAX_BLOCK_CACHE_BYTES}; 0: none, every block is read from
 *     its file, which the operating system may have in memory
 */
public record TieredTableDesc(
        DType dtype,
        int dim,
        long deviceRows,
        long hostRows,
        int maxKeys,
        Eviction eviction,
        Durability durability,
        long blockCacheBytes) {
    /** As many rows in host memory as suit the device. */
    public static final long DEFAULT_HOST_ROWS = -1;

    /** 1 TiB. RocksDB reserves address space by the size of its cache, and a process does not survive that there is too little. */
    public static final long MAX_BLOCK_CACHE_BYTES = 1L << 40;

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public TieredTableDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(eviction, "eviction");
        Objects.requireNonNull(durability, "durability");
    }

    /**
     * Caches by recency, {@link #DEFAULT_HOST_ROWS}, durable updates, 256 MiB of blocks.
     *
     * @param dtype of rows
     * @param dim elements of a row
     * @param deviceRows rows that the cache on the device holds
     * @param maxKeys keys a call
     * @return the description
     */
    public static TieredTableDesc of(DType dtype, int dim, long deviceRows, int maxKeys) {
        return new TieredTableDesc(dtype, dim, deviceRows, DEFAULT_HOST_ROWS, maxKeys, Eviction.LRU, Durability.SYNC, 256L << 20);
    }

    /**
     * The same with another cache in host memory.
     *
     * @param value rows
     * @return the description
     */
    public TieredTableDesc withHostRows(long value) {
        return new TieredTableDesc(dtype, dim, deviceRows, value, maxKeys, eviction, durability, blockCacheBytes);
    }

    /**
     * The same with another eviction.
     *
     * @param value which row leaves a cache
     * @return the description
     */
    public TieredTableDesc withEviction(Eviction value) {
        return new TieredTableDesc(dtype, dim, deviceRows, hostRows, maxKeys, value, durability, blockCacheBytes);
    }

    /**
     * The same with other updates.
     *
     * @param value what they wait for
     * @return the description
     */
    public TieredTableDesc withDurability(Durability value) {
        return new TieredTableDesc(dtype, dim, deviceRows, hostRows, maxKeys, eviction, value, blockCacheBytes);
    }

    /**
     * The same with another cache of blocks.
     *
     * @param value bytes; 0: none
     * @return the description
     */
    public TieredTableDesc withBlockCacheBytes(long value) {
        return new TieredTableDesc(dtype, dim, deviceRows, hostRows, maxKeys, eviction, durability, value);
    }

    /** The rows of the cache in host memory, beside a device of this kind. */
    long hostRowsBeside(boolean deviceIsHost) {
        return hostRows != DEFAULT_HOST_ROWS ? hostRows : deviceIsHost ? 0 : 10 * deviceRows;
    }

    long rowBytes() {
        return dtype.size() * (long) dim;
    }
}
