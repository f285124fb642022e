package io.jindou;

import java.util.Objects;

/**
 * What a {@link LongerAttention} computes. Head dims are multiples of 32, to 256.
 *
 * @param dtype of queries, rows and globals: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param outDType of the result: {@code dtype} or {@link DType#F32}
 * @param cacheDType of histories in pages: {@code dtype}, {@link DType#F8_E4M3} or {@link DType#I8}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param numHeads query heads, 1 to 256
 * @param numKvHeads heads of keys and values; divides {@code numHeads}
 * @param headDimQk of queries and keys
 * @param headDimV of values and result
 * @param scale what scores are multiplied by; finite
 * @param numGlobal globals that a candidate sees, 0 to 256
 * @param numSharedGlobals of these the first, the same for all candidates; the rest are each candidate's own
 * @param candidatesOnly whether queries hold the candidates' own globals alone, those of the user having been computed before
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for pages, lengths and offsets that only the device sees
 * @param maxBatch users a run
 * @param maxCandidates of a user, up to 4096; ignored where all globals are shared
 * @param maxRecent events of a user among the queries, up to 131072; ignored with {@code candidatesOnly}
 * @param maxHistory events of a user, up to 131072
 */
public record LongerAttentionDesc(
        DType dtype,
        DType outDType,
        DType cacheDType,
        DType offsetDType,
        int numHeads,
        int numKvHeads,
        int headDimQk,
        int headDimV,
        float scale,
        int numGlobal,
        int numSharedGlobals,
        boolean candidatesOnly,
        Bounds bounds,
        long maxBatch,
        long maxCandidates,
        long maxRecent,
        long maxHistory) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public LongerAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(cacheDType, "cacheDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * All globals shared, no candidates; scale 1/sqrt(headDim), I64 offsets, pages and result in {@code dtype}, {@link Bounds#STRICT}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param numHeads query heads
     * @param numKvHeads heads of keys and values
     * @param headDim a multiple of 32, to 256
     * @param numGlobal globals of a user
     * @param maxBatch users a run
     * @param maxRecent events of a user among the queries
     * @param maxHistory events of a user
     * @return the description
     */
    public static LongerAttentionDesc of(
            DType dtype, int numHeads, int numKvHeads, int headDim, int numGlobal, long maxBatch, long maxRecent, long maxHistory) {
        return new LongerAttentionDesc(
                dtype, dtype, dtype, DType.I64, numHeads, numKvHeads, headDim, headDim, (float) (1 / Math.sqrt(headDim)), numGlobal,
                numGlobal, false, Bounds.STRICT, maxBatch, 1, maxRecent, maxHistory);
    }

    /**
     * The same with globals of candidates: of {@code numGlobal} only the first are shared.
     *
     * @param sharedGlobals the same for all candidates, 0 to {@code numGlobal}
     * @param candidates of a user at most
     * @return the description
     */
    public LongerAttentionDesc withCandidates(int sharedGlobals, long candidates) {
        return new LongerAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale,
                numGlobal, sharedGlobals, candidatesOnly, bounds, maxBatch, candidates, maxRecent, maxHistory);
    }

    /**
     * The same with the rows of candidates alone, or with all.
     *
     * @param value whether the queries are the candidates' own globals alone
     * @return the description
     */
    public LongerAttentionDesc withCandidatesOnly(boolean value) {
        return new LongerAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale,
                numGlobal, numSharedGlobals, value, bounds, maxBatch, maxCandidates, maxRecent, maxHistory);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@code dtype} or {@link DType#F32}
     * @return the description
     */
    public LongerAttentionDesc withOutDType(DType value) {
        return new LongerAttentionDesc(
                dtype, value, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, numGlobal,
                numSharedGlobals, candidatesOnly, bounds, maxBatch, maxCandidates, maxRecent, maxHistory);
    }

    /**
     * The same with histories in pages of another dtype.
     *
     * @param value {@code dtype}, {@link DType#F8_E4M3} or {@link DType#I8}
     * @return the description
     */
    public LongerAttentionDesc withCacheDType(DType value) {
        return new LongerAttentionDesc(
                dtype, outDType, value, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, numGlobal,
                numSharedGlobals, candidatesOnly, bounds, maxBatch, maxCandidates, maxRecent, maxHistory);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public LongerAttentionDesc withOffsetDType(DType value) {
        return new LongerAttentionDesc(
                dtype, outDType, cacheDType, value, numHeads, numKvHeads, headDimQk, headDimV, scale, numGlobal,
                numSharedGlobals, candidatesOnly, bounds, maxBatch, maxCandidates, maxRecent, maxHistory);
    }

    /**
     * The same with another head dim of the values.
     *
     * @param value of values and result
     * @return the description
     */
    public LongerAttentionDesc withHeadDimV(int value) {
        return new LongerAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, value, scale, numGlobal,
                numSharedGlobals, candidatesOnly, bounds, maxBatch, maxCandidates, maxRecent, maxHistory);
    }

    /**
     * The same with another scale.
     *
     * @param value what scores are multiplied by
     * @return the description
     */
    public LongerAttentionDesc withScale(float value) {
        return new LongerAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, value,
                numGlobal, numSharedGlobals, candidatesOnly, bounds, maxBatch, maxCandidates, maxRecent, maxHistory);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public LongerAttentionDesc withBounds(Bounds value) {
        return new LongerAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale,
                numGlobal, numSharedGlobals, candidatesOnly, value, maxBatch, maxCandidates, maxRecent, maxHistory);
    }
}
