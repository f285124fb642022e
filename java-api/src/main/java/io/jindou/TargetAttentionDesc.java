package io.jindou;

import java.util.Objects;

/**
 * What a {@link TargetAttention} computes. Head dims are 32, 64, 96, 128, 192 or 256; that of values may be another.
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
 * @param selfKey whether each candidate also attends to a key and value of its own
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for offsets and lengths that only the device sees
 * @param numLatest only the last events of each history; 0: all
 * @param maxBatch users a run
 * @param maxCandidates candidates a user, up to 4096
 * @param maxHistory events a user, up to 131072
 */
public record TargetAttentionDesc(
        DType dtype,
        DType outDType,
        DType offsetDType,
        int numHeads,
        int numKvHeads,
        int headDimQk,
        int headDimV,
        float scale,
        AttentionActivation activation,
        boolean selfKey,
        Bounds bounds,
        long numLatest,
        long maxBatch,
        long maxCandidates,
        long maxHistory) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public TargetAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(activation, "activation");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * Softmax over the whole history, scale 1/sqrt(headDim), as many key heads as query heads, I64 offsets, result in {@code dtype},
     * {@link Bounds#STRICT}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param numHeads heads
     * @param headDim 32, 64, 96, 128, 192 or 256: of candidates, keys and values
     * @param maxBatch users a run
     * @param maxCandidates candidates a user
     * @param maxHistory events a user
     * @return the description
     */
    public static TargetAttentionDesc of(
            DType dtype, int numHeads, int headDim, long maxBatch, long maxCandidates, long maxHistory) {
        return new TargetAttentionDesc(
                dtype,
                dtype,
                DType.I64,
                numHeads,
                numHeads,
                headDim,
                headDim,
                (float) (1 / Math.sqrt(headDim)),
                AttentionActivation.softmax(),
                false,
                Bounds.STRICT,
                0,
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
    public TargetAttentionDesc withOutDType(DType value) {
        return new TargetAttentionDesc(
                dtype, value, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, activation, selfKey, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public TargetAttentionDesc withOffsetDType(DType value) {
        return new TargetAttentionDesc(
                dtype, outDType, value, numHeads, numKvHeads, headDimQk, headDimV, scale, activation, selfKey, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with fewer key and value heads (grouped queries).
     *
     * @param value divides the number of heads
     * @return the description
     */
    public TargetAttentionDesc withNumKvHeads(int value) {
        return new TargetAttentionDesc(
                dtype, outDType, offsetDType, numHeads, value, headDimQk, headDimV, scale, activation, selfKey, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another head dim of the values.
     *
     * @param value of values and result
     * @return the description
     */
    public TargetAttentionDesc withHeadDimV(int value) {
        return new TargetAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, value, scale, activation, selfKey, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another scale.
     *
     * @param value what scores are multiplied by
     * @return the description
     */
    public TargetAttentionDesc withScale(float value) {
        return new TargetAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, value, activation, selfKey, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another activation.
     *
     * @param value how scores become weights
     * @return the description
     */
    public TargetAttentionDesc withActivation(AttentionActivation value) {
        return new TargetAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, value, selfKey, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with or without a key of each candidate's own.
     *
     * @param value whether runs give candidate keys and values
     * @return the description
     */
    public TargetAttentionDesc withSelfKey(boolean value) {
        return new TargetAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, activation, value, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public TargetAttentionDesc withBounds(Bounds value) {
        return new TargetAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, activation, selfKey, value, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same over the last events only.
     *
     * @param value how many events of each history; 0: all
     * @return the description
     */
    public TargetAttentionDesc withNumLatest(long value) {
        return new TargetAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, activation, selfKey, bounds, value,
                maxBatch, maxCandidates, maxHistory);
    }
}
