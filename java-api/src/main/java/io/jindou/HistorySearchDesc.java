package io.jindou;

import java.util.Objects;

/**
 * What a {@link HistorySearch} finds.
 *
 * @param method by what
 * @param k events a candidate, 1 to 2048
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for offsets and lengths that only the device sees
 * @param maxBatch users a run
 * @param maxCandidates candidates a user, up to 1048576
 * @param maxHistory events a user, up to 2^30; what a plan holds does not grow with it
 */
public record HistorySearchDesc(
        SearchMethod method,
        int k,
        DType offsetDType,
        Bounds bounds,
        long maxBatch,
        long maxCandidates,
        long maxHistory) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public HistorySearchDesc {
        Objects.requireNonNull(method, "method");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * I64 offsets, {@link Bounds#STRICT}.
     *
     * @param method by what
     * @param k events a candidate
     * @param maxBatch users a run
     * @param maxCandidates candidates a user
     * @param maxHistory events a user
     * @return the description
     */
    public static HistorySearchDesc of(SearchMethod method, int k, long maxBatch, long maxCandidates, long maxHistory) {
        return new HistorySearchDesc(method, k, DType.I64, Bounds.STRICT, maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public HistorySearchDesc withOffsetDType(DType value) {
        return new HistorySearchDesc(method, k, value, bounds, maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public HistorySearchDesc withBounds(Bounds value) {
        return new HistorySearchDesc(method, k, offsetDType, value, maxBatch, maxCandidates, maxHistory);
    }
}
