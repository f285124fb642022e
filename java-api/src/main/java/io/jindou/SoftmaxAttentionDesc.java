package io.jindou;

import java.util.Objects;

/**
 * What a {@link SoftmaxAttention} computes. Head dims are 32, 64, 96, 128, 192 or 256; that of values may be another.
 *
 * @param dtype of queries, keys and values: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param outDType of the result: {@code dtype} or {@link DType#F32}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param numHeads query heads, 1 to 256
 * @param numKvHeads heads of keys and values; divides {@code numHeads}
 * @param headDimQk of queries and keys
 * @param headDimV of values and result
 * @param scale what scores are multiplied by; finite
 * @param softcap c of {@code c * tanh(score / c)}, of the score with its bias; 0: none
 * @param mask which keys a row sees
 * @param bias what is added to the scores, before the soft-cap
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for offsets and lengths that only the device sees
 * @param maxBatch sequences a run
 * @param maxQueries queries a sequence, up to 1048576
 * @param maxKeys keys a sequence, up to 1048576
 */
public record SoftmaxAttentionDesc(
        DType dtype,
        DType outDType,
        DType offsetDType,
        int numHeads,
        int numKvHeads,
        int headDimQk,
        int headDimV,
        float scale,
        float softcap,
        AttentionMask mask,
        AttentionBias bias,
        Bounds bounds,
        long maxBatch,
        long maxQueries,
        long maxKeys) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public SoftmaxAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(mask, "mask");
        Objects.requireNonNull(bias, "bias");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * Causal, scale 1/sqrt(headDim), I64 offsets, as many key heads as query heads, result in {@code dtype}, {@link Bounds#STRICT}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param numHeads heads
     * @param headDim 32, 64, 96, 128, 192 or 256: of queries, keys and values
     * @param maxBatch sequences a run
     * @param maxLength queries and keys a sequence
     * @return the description
     */
    public static SoftmaxAttentionDesc of(DType dtype, int numHeads, int headDim, long maxBatch, long maxLength) {
        return new SoftmaxAttentionDesc(
                dtype,
                dtype,
                DType.I64,
                numHeads,
                numHeads,
                headDim,
                headDim,
                (float) (1 / Math.sqrt(headDim)),
                0,
                AttentionMask.causal(),
                AttentionBias.none(),
                Bounds.STRICT,
                maxBatch,
                maxLength,
                maxLength);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@code dtype} or {@link DType#F32}
     * @return the description
     */
    public SoftmaxAttentionDesc withOutDType(DType value) {
        return new SoftmaxAttentionDesc(
                dtype, value, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, softcap, mask, bias, bounds,
                maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public SoftmaxAttentionDesc withOffsetDType(DType value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, value, numHeads, numKvHeads, headDimQk, headDimV, scale, softcap, mask, bias, bounds,
                maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same for fewer heads of keys and values (grouped-query).
     *
     * @param value divides {@code numHeads}
     * @return the description
     */
    public SoftmaxAttentionDesc withNumKvHeads(int value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, value, headDimQk, headDimV, scale, softcap, mask, bias, bounds,
                maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same with another head dim of the values.
     *
     * @param value of values and result
     * @return the description
     */
    public SoftmaxAttentionDesc withHeadDimV(int value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, value, scale, softcap, mask, bias, bounds,
                maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same with another scale.
     *
     * @param value what scores are multiplied by
     * @return the description
     */
    public SoftmaxAttentionDesc withScale(float value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, value, softcap, mask, bias,
                bounds, maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same with a soft-cap.
     *
     * @param value how high scores can be; 0: none
     * @return the description
     */
    public SoftmaxAttentionDesc withSoftcap(float value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, value, mask, bias,
                bounds, maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same with another mask.
     *
     * @param value which keys a row sees
     * @return the description
     */
    public SoftmaxAttentionDesc withMask(AttentionMask value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, softcap, value, bias,
                bounds, maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same with a bias.
     *
     * @param value what is added to the scores
     * @return the description
     */
    public SoftmaxAttentionDesc withBias(AttentionBias value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, softcap, mask, value,
                bounds, maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public SoftmaxAttentionDesc withBounds(Bounds value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, softcap, mask, bias,
                value, maxBatch, maxQueries, maxKeys);
    }

    /**
     * The same for other numbers of queries.
     *
     * @param value queries a sequence
     * @return the description
     */
    public SoftmaxAttentionDesc withMaxQueries(long value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, softcap, mask, bias,
                bounds, maxBatch, value, maxKeys);
    }

    /**
     * The same for other numbers of keys.
     *
     * @param value keys a sequence
     * @return the description
     */
    public SoftmaxAttentionDesc withMaxKeys(long value) {
        return new SoftmaxAttentionDesc(
                dtype, outDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, softcap, mask, bias,
                bounds, maxBatch, maxQueries, value);
    }
}
