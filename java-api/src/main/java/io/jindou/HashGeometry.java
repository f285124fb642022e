package io.jindou;

/**
 * Where the keys of a {@link HashTable} may lie, as {@code core/hash_geometry.h} has it: each in one of two buckets of one partition. For looking
 * through snapshots; nothing else in Java needs to know.
 */
final class HashGeometry {
    static final int BUCKET_SLOTS = 8;

    private static final long PARTITION_BUCKETS = 2048;
    private static final long FIRST_BUCKET = 0x9e3779b97f4a7c15L;

    private final long partitions;
    private final long bucketsEach;

    HashGeometry(long slots) {
        long buckets = slots / BUCKET_SLOTS;
        partitions = buckets < 2 * PARTITION_BUCKETS ? 1 : buckets / PARTITION_BUCKETS;
        bucketsEach = buckets / partitions;
    }

    /** Whether a table can have so many slots, of whatever capacity. */
    static boolean isValid(long slots) {
        if (slots < 2 * BUCKET_SLOTS || slots % BUCKET_SLOTS != 0) {
            return false;
        }
        return slots / BUCKET_SLOTS % new HashGeometry(slots).partitions == 0;
    }

    /** A key's first bucket, or its second. */
    long bucket(long key, boolean second) {
        long hash = KeyFunction.mix(key);
        long bucketHash = KeyFunction.mix(hash + FIRST_BUCKET);
        long partition = scaled(hash, partitions);
        long first = scaled(bucketHash, bucketsEach);
        long within = second ? first + 1 + scaled(KeyFunction.mix(bucketHash), bucketsEach - 1) : first;
        return partition * bucketsEach + (within >= bucketsEach ? within - bucketsEach : within);
    }

    /** A number of 0 to n - 1 for any x. */
    private static long scaled(long x, long n) {
        return Math.unsignedMultiplyHigh(x, n);
    }
}
