package io.jindou;

import java.util.Objects;

/**
 * What a {@link DinAttention} computes.
 *
 * @param dtype of candidates, keys and values: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param outDType of the result: {@code dtype} or {@link DType#F32}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param dim of candidates and keys: a multiple of 8, to 256
 * @param dimV of values and result: a multiple of 8, to 256
 * @param hidden1 units of the first layer: a multiple of 4, to 256
 * @param hidden2 units of the second layer: a multiple of 4, to 256
 * @param activation of the hidden units
 * @param softmax whether weights are the softmax of the network's outputs over the history, or those outputs themselves
 * @param scale what the network's outputs are multiplied by; finite
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for offsets and lengths that only the device sees
 * @param numLatest only the last events of each history; 0: all
 * @param maxBatch users a run
 * @param maxCandidates candidates a user, up to 4096
 * @param maxHistory events a user, up to 131072
 */
public record DinAttentionDesc(
        DType dtype,
        DType outDType,
        DType offsetDType,
        int dim,
        int dimV,
        int hidden1,
        int hidden2,
        DinActivation activation,
        boolean softmax,
        float scale,
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
    public DinAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(activation, "activation");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * Without a softmax, scale 1, values as wide as keys, I64 offsets, result in {@code dtype}, {@link Bounds#STRICT}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param dim of candidates, keys and values
     * @param hidden1 units of the first layer
     * @param hidden2 units of the second layer
     * @param activation of the hidden units
     * @param maxBatch users a run
     * @param maxCandidates candidates a user
     * @param maxHistory events a user
     * @return the description
     */
    public static DinAttentionDesc of(
            DType dtype,
            int dim,
            int hidden1,
            int hidden2,
            DinActivation activation,
            long maxBatch,
            long maxCandidates,
            long maxHistory) {
        return new DinAttentionDesc(
                dtype, dtype, DType.I64, dim, dim, hidden1, hidden2, activation, false, 1, Bounds.STRICT, 0, maxBatch, maxCandidates,
                maxHistory);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@code dtype} or {@link DType#F32}
     * @return the description
     */
    public DinAttentionDesc withOutDType(DType value) {
        return new DinAttentionDesc(
                dtype, value, offsetDType, dim, dimV, hidden1, hidden2, activation, softmax, scale, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public DinAttentionDesc withOffsetDType(DType value) {
        return new DinAttentionDesc(
                dtype, outDType, value, dim, dimV, hidden1, hidden2, activation, softmax, scale, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with values of another width.
     *
     * @param value of values and result
     * @return the description
     */
    public DinAttentionDesc withDimV(int value) {
        return new DinAttentionDesc(
                dtype, outDType, offsetDType, dim, value, hidden1, hidden2, activation, softmax, scale, bounds,
                numLatest, maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with or without a softmax over the history.
     *
     * @param value whether weights are a softmax
     * @return the description
     */
    public DinAttentionDesc withSoftmax(boolean value) {
        return new DinAttentionDesc(
                dtype, outDType, offsetDType, dim, dimV, hidden1, hidden2, activation, value, scale, bounds, numLatest,
                maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another scale.
     *
     * @param value what the network's outputs are multiplied by
     * @return the description
     */
    public DinAttentionDesc withScale(float value) {
        return new DinAttentionDesc(
                dtype, outDType, offsetDType, dim, dimV, hidden1, hidden2, activation, softmax, value, bounds,
                numLatest, maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public DinAttentionDesc withBounds(Bounds value) {
        return new DinAttentionDesc(
                dtype, outDType, offsetDType, dim, dimV, hidden1, hidden2, activation, softmax, scale, value,
                numLatest, maxBatch, maxCandidates, maxHistory);
    }

    /**
     * The same over the last events only.
     *
     * @param value how many events of each history; 0: all
     * @return the description
     */
    public DinAttentionDesc withNumLatest(long value) {
        return new DinAttentionDesc(
                dtype, outDType, offsetDType, dim, dimV, hidden1, hidden2, activation, softmax, scale, bounds, value,
                maxBatch, maxCandidates, maxHistory);
    }
}
