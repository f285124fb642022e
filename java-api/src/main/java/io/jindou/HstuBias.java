package io.jindou;

/**
 * What {@link HstuAttention} adds to the score of a query row i and a key row j of one sequence, computed in the kernel and never
 * laid out as a matrix: {@code position[N - 1 + j - i] + time[bucket(|timestamps_i - timestamps_j|)]} with
 * {@code bucket(dt) = min(floor(log(max(1, dt)) / 0.301), numBuckets)}. i and j are positions in the sequence.
 *
 * <p>Zhai et al., "Actions Speak Louder than Words", arXiv 2402.17152 (relative attention bias of the research code).
 *
 * @param position {@code [2 N - 1]}, or {@code [H, 2 N - 1]} for each head, {@link DType#F32}, N at least the plan's
 *     {@code maxSeqLen}; null: none
 * @param time {@code [numBuckets + 1]}, or {@code [H, numBuckets + 1]}, {@link DType#F32}; null: none
 * @param timestamps {@code [total]} {@link DType#I64}, of the rows of keys and values, in the unit that the model was trained
 *     with; null exactly when {@code time} is
 */
public record HstuBias(Tensor position, Tensor time, Tensor timestamps) {
    /** No bias. */
    public static final HstuBias NONE = new HstuBias(null, null, null);

    /**
     * By position only.
     *
     * @param position as above
     * @return the bias
     */
    public static HstuBias position(Tensor position) {
        return new HstuBias(position, null, null);
    }

    /**
     * By time only.
     *
     * @param time as above
     * @param timestamps as above
     * @return the bias
     */
    public static HstuBias time(Tensor time, Tensor timestamps) {
        return new HstuBias(null, time, timestamps);
    }
}
