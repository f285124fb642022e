package io.jindou;

import java.util.Objects;

/**
 * What a {@link SearchAttention} computes. Head dims are multiples of 32, to 256.
 *
 * @param dtype of candidates, keys and values: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param outDType of the result: {@code dtype} or {@link DType#F32}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param numHeads query heads, 1 to 256
 * @param numKvHeads key and value heads; divides {@code numHeads}
 * @param headDimQk of candidates and keys
 * @param headDimV of values and result
 * @param scale what scores are multiplied by; finite
 * @param activation how scores become weights
 * @param k indices a candidate, 1 to 2048
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for indices, and for offsets and lengths that only the device sees
 * @param maxBatch users a run
 * @param maxCandidates candidates a user, up to 1048576
 * @param maxHistory events a user, up to 2^30
 */
public record SearchAttentionDesc(
        DType dtype,
        DType outDType,
        DType offsetDType,
        int numHeads,
        int numKvHeads,
        int headDimQk,
        int headDimV,
        float scale,
        AttentionActivation activation,
        int k,
        Bounds bounds,
        long maxBatch,
        long maxCandidates,
        long maxHistory) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public SearchAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(activation, "activation");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * Softmax, scale 1/sqrt(headDim), as many key heads as query heads, I64 offsets, result in {@code dtype}, {@link Bounds#STRICT}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param numHeads heads
     * @param headDim a multiple of 32, to 256
     * @param k indices a candidate
     * @param maxBatch users a run
     * @param maxCandidates candidates a user
     * @param maxHistory events a user
     * @return the description
     */
    public static SearchAttentionDesc of(
            DType dtype, int numHeads, int headDim, int k, long maxBatch, long maxCandidates, long maxHistory) {
        return new SearchAttentionDesc(
                dtype,
                dtype,
                DType.I64,
                numHeads,
                numHeads,
                headDim,
                headDim,
                (float) (1 / Math.sqrt(headDim)),
                AttentionActivation.softmax(),
                k,
                Bounds.STRICT,
                maxBatch,
                maxCandidates,
                maxHistory);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@code dtype} or {@link DType#F32}
     * @return the description
     */
    public SearchAttentionDesc withOutDType(DType value) {
        return new SearchAttentionDesc(
                dtype, value, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, activation, k, bounds,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public SearchAttentionDesc withOffsetDType(DType value) {
        return new SearchAttentionDesc(
                dtype, outDType, value, numHeads, numKvHeads, headDimQk, headDimV, scale, activation, k, bounds,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another number of key and value heads.
     *
     * @param value a divisor of {@code numHeads}
     * @return the description
     */
    public SearchAttentionDesc withNumKvHeads(int value) {
        return new SearchAttentionDesc(
                dtype, outDType, offsetDType, numHeads, value, headDimQk, headDimV, scale, activation, k, bounds,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another head dim of the values.
     *
     * @param value of values and result
     * @return the description
     */
    public SearchAttentionDesc withHeadDimV(int value) {
        return new SearchAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, value, scale, activation, k, bounds,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another scale.
     *
     * @param value what scores are multiplied by
     * @return the description
     */
    public SearchAttentionDesc withScale(float value) {
        return new SearchAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, value, activation, k,
                bounds, maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another activation.
     *
     * @param value how scores become weights
     * @return the description
     */
    public SearchAttentionDesc withActivation(AttentionActivation value) {
        return new SearchAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, value, k, bounds,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public SearchAttentionDesc withBounds(Bounds value) {
        return new SearchAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, activation, k, value,
                maxBatch, maxCandidates, maxHistory);
    }
}
