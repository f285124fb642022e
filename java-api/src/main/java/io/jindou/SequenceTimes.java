package io.jindou;

import java.util.Objects;

/**
 * Time-bucket embeddings that a {@link SequenceEmbedding} adds: of each event's distance to the query time.
 *
 * @param table {@code [buckets, D]} {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#F8_E4M3}, or {@code
 *     [buckets, bytes]} {@link DType#U8} of codes; null: none
 * @param format what a row holds, as in an {@link EmbeddingTable}
 * @param function from a distance in units to a bucket
 * @param unit timestamps a unit: 60 where they are seconds and a unit is a minute
 * @param maxBucket larger buckets are cut to this one; 0: the last row of the table
 */
public record SequenceTimes(Tensor table, RowFormat format, TimeFunction function, long unit, int maxBucket) {
    /** No time embeddings. */
    public static final SequenceTimes NONE = new SequenceTimes(null, TimeFunction.SQRT, 1, 0);

    /**
     * Checks for null.
     *
     * @throws NullPointerException when format or function is null
     */
    public SequenceTimes {
        Objects.requireNonNull(format, "format");
        Objects.requireNonNull(function, "function");
    }

    /**
     * Times of a table of numbers.
     *
     * @param table {@code [buckets, D]}; null: none
     * @param function from a distance in units to a bucket
     * @param unit timestamps a unit
     * @param maxBucket larger buckets are cut to this one; 0: the last row of the table
     */
    public SequenceTimes(Tensor table, TimeFunction function, long unit, int maxBucket) {
        this(table, RowFormat.PLAIN, function, unit, maxBucket);
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
        return new SequenceTimes(table, format, value, unit, maxBucket);
    }

    /**
     * The same with another unit.
     *
     * @param value timestamps a unit
     * @return the times
     */
    public SequenceTimes withUnit(long value) {
        return new SequenceTimes(table, format, function, value, maxBucket);
    }

    /**
     * The same with buckets cut elsewhere.
     *
     * @param value the last bucket; 0: the last row of the table
     * @return the times
     */
    public SequenceTimes withMaxBucket(int value) {
        return new SequenceTimes(table, format, function, unit, value);
    }

    /**
     * The same of a table of codes.
     *
     * @param value what a row of the table holds
     * @return the times
     */
    public SequenceTimes withFormat(RowFormat value) {
        return new SequenceTimes(table, value, function, unit, maxBucket);
    }
}
