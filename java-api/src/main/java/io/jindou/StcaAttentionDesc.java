package io.jindou;

import java.util.Objects;

/**
 * What a {@link StcaAttention} computes.
 *
 * @param dtype of candidates, events, keys and values: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param outDType of the result: {@code dtype} or {@link DType#F32}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param modelDim of candidates and events: a multiple of 32, to 1024
 * @param numHeads up to 64
 * @param headDim of queries, keys and values: 32, 64, 96, 128, 192 or 256
 * @param scale what scores are multiplied by; finite, {@code 1 / sqrt(headDim)} as a rule
 * @param path which way to compute
 * @param keepKeys whether each run is given tensors for keys and values, which it fills; excludes {@link StcaPath#REORDERED}
 * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for offsets and lengths that only the device sees
 * @param maxBatch users a run
 * @param maxCandidates candidates a user, up to 4096
 * @param maxHistory events a user, up to 131072
 * @param maxTotalCandidates candidates a run, all users together: sizes scratch; 0: {@code maxCandidates}
 * @param maxTotalEvents events a run, all users together: likewise; 0: {@code maxHistory}
 */
public record StcaAttentionDesc(
        DType dtype,
        DType outDType,
        DType offsetDType,
        int modelDim,
        int numHeads,
        int headDim,
        float scale,
        StcaPath path,
        boolean keepKeys,
        Bounds bounds,
        long maxBatch,
        long maxCandidates,
        long maxHistory,
        long maxTotalCandidates,
        long maxTotalEvents) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public StcaAttentionDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(path, "path");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * Scale {@code 1 / sqrt(headDim)}, {@link StcaPath#AUTO}, nothing kept, I64 offsets, result in {@code dtype}, {@link Bounds#STRICT}, as many
     * candidates and events a run as every user of a batch may have.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param modelDim of candidates and events
     * @param numHeads heads
     * @param headDim of each
     * @param maxBatch users a run
     * @param maxCandidates candidates a user
     * @param maxHistory events a user
     * @return the description
     */
    public static StcaAttentionDesc of(
            DType dtype, int modelDim, int numHeads, int headDim, long maxBatch, long maxCandidates, long maxHistory) {
        return new StcaAttentionDesc(
                dtype, dtype, DType.I64, modelDim, numHeads, headDim, (float) (1 / Math.sqrt(headDim)), StcaPath.AUTO, false,
                Bounds.STRICT, maxBatch, maxCandidates, maxHistory, maxBatch * maxCandidates, maxBatch * maxHistory);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@code dtype} or {@link DType#F32}
     * @return the description
     */
    public StcaAttentionDesc withOutDType(DType value) {
        return new StcaAttentionDesc(
                dtype, value, offsetDType, modelDim, numHeads, headDim, scale, path, keepKeys, bounds, maxBatch,
                maxCandidates, maxHistory, maxTotalCandidates, maxTotalEvents);
    }

    /**
     * The same with another offset dtype.
     *
     * @param value {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public StcaAttentionDesc withOffsetDType(DType value) {
        return new StcaAttentionDesc(
                dtype, outDType, value, modelDim, numHeads, headDim, scale, path, keepKeys, bounds, maxBatch, maxCandidates,
                maxHistory, maxTotalCandidates, maxTotalEvents);
    }

    /**
     * The same with another scale.
     *
     * @param value what scores are multiplied by
     * @return the description
     */
    public StcaAttentionDesc withScale(float value) {
        return new StcaAttentionDesc(
                dtype, outDType, offsetDType, modelDim, numHeads, headDim, value, path, keepKeys, bounds, maxBatch,
                maxCandidates, maxHistory, maxTotalCandidates, maxTotalEvents);
    }

    /**
     * The same, computed in a given way.
     *
     * @param value the way
     * @return the description
     */
    public StcaAttentionDesc withPath(StcaPath value) {
        return new StcaAttentionDesc(
                dtype, outDType, offsetDType, modelDim, numHeads, headDim, scale, value, keepKeys, bounds, maxBatch,
                maxCandidates, maxHistory, maxTotalCandidates, maxTotalEvents);
    }

    /**
     * The same with or without keys and values kept by the caller.
     *
     * @param value whether each run is given tensors for them
     * @return the description
     */
    public StcaAttentionDesc withKeepKeys(boolean value) {
        return new StcaAttentionDesc(
                dtype, outDType, offsetDType, modelDim, numHeads, headDim, scale, path, value, bounds, maxBatch,
                maxCandidates, maxHistory, maxTotalCandidates, maxTotalEvents);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public StcaAttentionDesc withBounds(Bounds value) {
        return new StcaAttentionDesc(
                dtype, outDType, offsetDType, modelDim, numHeads, headDim, scale, path, keepKeys, value, maxBatch,
                maxCandidates, maxHistory, maxTotalCandidates, maxTotalEvents);
    }

    /**
     * The same with other sizes of scratch.
     *
     * @param candidates a run, all users together; 0: {@code maxCandidates}
     * @param events a run, all users together; 0: {@code maxHistory}
     * @return the description
     */
    public StcaAttentionDesc withMaxTotals(long candidates, long events) {
        return new StcaAttentionDesc(
                dtype, outDType, offsetDType, modelDim, numHeads, headDim, scale, path, keepKeys, bounds, maxBatch,
                maxCandidates, maxHistory, candidates, events);
    }
}
