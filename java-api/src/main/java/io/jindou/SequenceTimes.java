package io.jindou;

import java.util.Objects;

/**
 * Time-bucket embeddings that a {@link SequenceEmbedding} adds: of each event's distance to the query time.
 *
 * @param table {@code [buckets, D]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}; null: none
 * @param function from a distance in units to a bucket
 * @param unit timestamps a unit: 60 where they are seconds and a unit is a minute
 * @param maxBucket larger buckets are cut to this one; 0: the last row of the table
 */
public record SequenceTimes(Tensor table, TimeFunction function, long unit, int maxBucket) {
    /** No time embeddings. */
    public static final SequenceTimes NONE = new SequenceTimes(null, TimeFunction.SQRT, 1, 0);

    /**
     * Checks for null.
     *
     * @throws NullPointerException when the function is null
     */
    public SequenceTimes {
        Objects.requireNonNull(function, "function");
    }

    /**
     * HSTU's buckets of timestamps in seconds: square roots of minutes.
     *
     * @param table {@code [buckets, D]}
     * @return the times
     */
    public static SequenceTimes sqrtOfMinutes(Tensor table) {
        if (table == null) {
            throw NativeObject.missing("table");
        }
        return new SequenceTimes(table, TimeFunction.SQRT, 60, 0);
    }

    /**
     * The same with another function.
     *
     * @param value from a distance in units to a bucket
     * @return the times
     */
    public SequenceTimes withFunction(TimeFunction value) {
        return new SequenceTimes(table, value, unit, maxBucket);
    }

    /**
     * The same with another unit.
     *
     * @param value timestamps a unit
     * @return the times
     */
    public SequenceTimes withUnit(long value) {
        return new SequenceTimes(table, function, value, maxBucket);
    }

    /**
     * The same with buckets cut elsewhere.
     *
     * @param value the last bucket; 0: the last row of the table
     * @return the times
     */
    public SequenceTimes withMaxBucket(int value) {
        return new SequenceTimes(table, function, unit, value);
    }
}
