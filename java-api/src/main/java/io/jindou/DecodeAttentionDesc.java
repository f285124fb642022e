package io.jindou;

import java.util.Objects;

/**
 * What a {@link DecodeAttention} computes. Head dims are multiples of 32, to 256.
 *
 * @param dtype of queries: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param outDType of the result: {@code dtype} or {@link DType#F32}
 * @param cacheDType of the pages: {@code dtype}, {@link DType#F8_E4M3} or {@link DType#I8}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param numHeads query heads, 1 to 256
 * @param numKvHeads heads of keys and values; divides {@code numHeads}
 * @param headDimQk of queries and keys
 * @param headDimV of values and result
 * @param scale what scores are multiplied by; finite
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for pages, lengths and offsets that only the device sees
 * @param maxQueries queries a sequence, 1 to 16
 * @param maxBatch sequences a run
 * @param maxSeqLen rows a sequence, up to 131072
 */
public record DecodeAttentionDesc(
        DType dtype,
        DType outDType,
        DType cacheDType,
        DType offsetDType,
        int numHeads,
        int numKvHeads,
        int headDimQk,
        int headDimV,
        float scale,
        Bounds bounds,
        int maxQueries,
        long maxBatch,
        long maxSeqLen) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public DecodeAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(cacheDType, "cacheDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * One query a sequence, scale 1/sqrt(headDim), I64 offsets, pages and result in {@code dtype}, {@link Bounds#STRICT}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param numHeads query heads
     * @param numKvHeads heads of keys and values
     * @param headDim a multiple of 32, to 256
     * @param maxBatch sequences a run
     * @param maxSeqLen rows a sequence
     * @return the description
     */
    public static DecodeAttentionDesc of(
            DType dtype, int numHeads, int numKvHeads, int headDim, long maxBatch, long maxSeqLen) {
        return new DecodeAttentionDesc(
                dtype,
                dtype,
                dtype,
                DType.I64,
                numHeads,
                numKvHeads,
                headDim,
                headDim,
                (float) (1 / Math.sqrt(headDim)),
                Bounds.STRICT,
                1,
                maxBatch,
                maxSeqLen);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@code dtype} or {@link DType#F32}
     * @return the description
     */
    public DecodeAttentionDesc withOutDType(DType value) {
        return new DecodeAttentionDesc(
                dtype, value, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, bounds, maxQueries, maxBatch,
                maxSeqLen);
    }

    /**
     * The same with pages of another dtype.
     *
     * @param value {@code dtype}, {@link DType#F8_E4M3} or {@link DType#I8}
     * @return the description
     */
    public DecodeAttentionDesc withCacheDType(DType value) {
        return new DecodeAttentionDesc(
                dtype, outDType, value, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, bounds, maxQueries, maxBatch,
                maxSeqLen);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public DecodeAttentionDesc withOffsetDType(DType value) {
        return new DecodeAttentionDesc(
                dtype, outDType, cacheDType, value, numHeads, numKvHeads, headDimQk, headDimV, scale, bounds, maxQueries, maxBatch,
                maxSeqLen);
    }

    /**
     * The same with another head dim of the values.
     *
     * @param value of values and result
     * @return the description
     */
    public DecodeAttentionDesc withHeadDimV(int value) {
        return new DecodeAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, value, scale, bounds, maxQueries, maxBatch,
                maxSeqLen);
    }

    /**
     * The same with another scale.
     *
     * @param value what scores are multiplied by
     * @return the description
     */
    public DecodeAttentionDesc withScale(float value) {
        return new DecodeAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, value, bounds, maxQueries,
                maxBatch, maxSeqLen);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public DecodeAttentionDesc withBounds(Bounds value) {
        return new DecodeAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, value, maxQueries,
                maxBatch, maxSeqLen);
    }

    /**
     * The same for other numbers of queries.
     *
     * @param value queries a sequence, 1 to 16
     * @return the description
     */
    public DecodeAttentionDesc withMaxQueries(int value) {
        return new DecodeAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, bounds, value, maxBatch,
                maxSeqLen);
    }
}
