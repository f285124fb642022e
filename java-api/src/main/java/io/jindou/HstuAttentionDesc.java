package io.jindou;

import java.util.Objects;

/**
 * What a {@link HstuAttention} computes. Head dims are 32, 64, 96, 128, 192 or 256; that of values may be another.
 *
 * @param dtype of queries, keys and values: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param outDType of the result: {@code dtype} or {@link DType#F32}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param numHeads heads, 1 to 256
 * @param headDimQk of queries and keys
 * @param headDimV of values and result
 * @param alpha what scores are multiplied by; finite
 * @param scalingSeqlen what weights are divided by: a constant of training, not the length of a row; finite, above 0
 * @param mask which rows see which
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for offsets and lengths that only the device sees
 * @param maxBatch sequences a run
 * @param maxSeqLen rows a sequence, up to 131072
 */
public record HstuAttentionDesc(
        DType dtype,
        DType outDType,
        DType offsetDType,
        int numHeads,
        int headDimQk,
        int headDimV,
        float alpha,
        float scalingSeqlen,
        HstuMask mask,
        Bounds bounds,
        long maxBatch,
        long maxSeqLen) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public HstuAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(mask, "mask");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * Causal, alpha 1/sqrt(headDim), I64 offsets, result in {@code dtype}, {@link Bounds#STRICT}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param numHeads heads
     * @param headDim 32, 64, 96, 128, 192 or 256: of queries, keys and values
     * @param scalingSeqlen what weights are divided by
     * @param maxBatch sequences a run
     * @param maxSeqLen rows a sequence
     * @return the description
     */
    public static HstuAttentionDesc of(
            DType dtype, int numHeads, int headDim, float scalingSeqlen, long maxBatch, long maxSeqLen) {
        return new HstuAttentionDesc(
                dtype,
                dtype,
                DType.I64,
                numHeads,
                headDim,
                headDim,
                (float) (1 / Math.sqrt(headDim)),
                scalingSeqlen,
                HstuMask.causalOnly(),
                Bounds.STRICT,
                maxBatch,
                maxSeqLen);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@code dtype} or {@link DType#F32}
     * @return the description
     */
    public HstuAttentionDesc withOutDType(DType value) {
        return new HstuAttentionDesc(
                dtype, value, offsetDType, numHeads, headDimQk, headDimV, alpha, scalingSeqlen, mask, bounds, maxBatch, maxSeqLen);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public HstuAttentionDesc withOffsetDType(DType value) {
        return new HstuAttentionDesc(
                dtype, outDType, value, numHeads, headDimQk, headDimV, alpha, scalingSeqlen, mask, bounds, maxBatch, maxSeqLen);
    }

    /**
     * The same with another head dim of the values.
     *
     * @param value of values and result
     * @return the description
     */
    public HstuAttentionDesc withHeadDimV(int value) {
        return new HstuAttentionDesc(
                dtype, outDType, offsetDType, numHeads, headDimQk, value, alpha, scalingSeqlen, mask, bounds, maxBatch, maxSeqLen);
    }

    /**
     * The same with another alpha.
     *
     * @param value what scores are multiplied by
     * @return the description
     */
    public HstuAttentionDesc withAlpha(float value) {
        return new HstuAttentionDesc(
                dtype, outDType, offsetDType, numHeads, headDimQk, headDimV, value, scalingSeqlen, mask, bounds, maxBatch, maxSeqLen);
    }

    /**
     * The same with another mask.
     *
     * @param value which rows see which
     * @return the description
     */
    public HstuAttentionDesc withMask(HstuMask value) {
        return new HstuAttentionDesc(
                dtype, outDType, offsetDType, numHeads, headDimQk, headDimV, alpha, scalingSeqlen, value, bounds, maxBatch, maxSeqLen);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public HstuAttentionDesc withBounds(Bounds value) {
        return new HstuAttentionDesc(
                dtype, outDType, offsetDType, numHeads, headDimQk, headDimV, alpha, scalingSeqlen, mask, value, maxBatch, maxSeqLen);
    }
}
