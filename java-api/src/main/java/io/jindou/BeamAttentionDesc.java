package io.jindou;

import java.util.Objects;

/**
 * What a {@link BeamAttention} computes. Head dims are multiples of 32, to 256.
 *
 * @param dtype of queries, rows and suffixes: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param outDType of the result: {@code dtype} or {@link DType#F32}
 * @param cacheDType of a prefix in pages: {@code dtype}, {@link DType#F8_E4M3} or {@link DType#I8}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param numHeads query heads, 1 to 256
 * @param numKvHeads heads of keys and values; divides {@code numHeads}
 * @param headDimQk of queries and keys
 * @param headDimV of values and result
 * @param scale what scores are multiplied by; finite
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for pages, lengths, offsets and ancestors that only the device sees
 * @param maxBeams beams a request, 1 to 4096
 * @param maxBatch requests a run
 * @param maxPrefix rows of a prefix, up to 131072
 */
public record BeamAttentionDesc(
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
        int maxBeams,
        long maxBatch,
        long maxPrefix) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public BeamAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(cacheDType, "cacheDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * Scale 1/sqrt(headDim), I64 offsets, pages and result in {@code dtype}, {@link Bounds#STRICT}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param numHeads query heads
     * @param numKvHeads heads of keys and values
     * @param headDim a multiple of 32, to 256
     * @param maxBeams beams a request
     * @param maxBatch requests a run
     * @param maxPrefix rows of a prefix
     * @return the description
     */
    public static BeamAttentionDesc of(
            DType dtype, int numHeads, int numKvHeads, int headDim, int maxBeams, long maxBatch, long maxPrefix) {
        return new BeamAttentionDesc(
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
                maxBeams,
                maxBatch,
                maxPrefix);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@code dtype} or {@link DType#F32}
     * @return the description
     */
    public BeamAttentionDesc withOutDType(DType value) {
        return new BeamAttentionDesc(
                dtype, value, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, bounds, maxBeams, maxBatch,
                maxPrefix);
    }

    /**
     * The same with prefixes in pages of another dtype.
     *
     * @param value {@code dtype}, {@link DType#F8_E4M3} or {@link DType#I8}
     * @return the description
     */
    public BeamAttentionDesc withCacheDType(DType value) {
        return new BeamAttentionDesc(
                dtype, outDType, value, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, bounds, maxBeams, maxBatch,
                maxPrefix);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public BeamAttentionDesc withOffsetDType(DType value) {
        return new BeamAttentionDesc(
                dtype, outDType, cacheDType, value, numHeads, numKvHeads, headDimQk, headDimV, scale, bounds, maxBeams, maxBatch,
                maxPrefix);
    }

    /**
     * The same with another head dim of the values.
     *
     * @param value of values and result
     * @return the description
     */
    public BeamAttentionDesc withHeadDimV(int value) {
        return new BeamAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, value, scale, bounds, maxBeams, maxBatch,
                maxPrefix);
    }

    /**
     * The same with another scale.
     *
     * @param value what scores are multiplied by
     * @return the description
     */
    public BeamAttentionDesc withScale(float value) {
        return new BeamAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, value, bounds, maxBeams,
                maxBatch, maxPrefix);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public BeamAttentionDesc withBounds(Bounds value) {
        return new BeamAttentionDesc(
                dtype, outDType, cacheDType, offsetDType, numHeads, numKvHeads, headDimQk, headDimV, scale, value, maxBeams, maxBatch,
                maxPrefix);
    }
}
