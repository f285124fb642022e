package io.jindou.store;

/**
 * What a {@link TieredTable} has counted since it was opened.
 *
 * @param lookups calls of lookup and prefetch
 * @param keys of these calls, the key -1 left out
 * @param deviceHits keys that the device cache held
 * @param hostHits keys that the device cache did not hold and host memory did
 * @param storeHits distinct keys a call that were read from disk
 * @param missing distinct keys a call that are in no tier
 * @param bytesToDevice of rows copied to the device after a miss
 * @param bytesFromStore of rows read from disk
 * @param evictions rows that left the device cache for others
 */
public record TierStatistics(
        long lookups,
        long keys,
        long deviceHits,
        long hostHits,
        long storeHits,
        long missing,
        long bytesToDevice,
        long bytesFromStore,
        long evictions) {
    /**
     * The share of keys that the device cache held.
     *
     * @return 0 to 1; 1 before the first key
     */
    public double hitRate() {
        return keys == 0 ? 1 : (double) deviceHits / keys;
    }
}
