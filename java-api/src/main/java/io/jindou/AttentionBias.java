package io.jindou;

/**
 * What {@link SoftmaxAttention} adds to the score of query row i, at position {@code p_i = nk - nq + i}, and key j. Computed in the
 * kernel; only {@link Dense} is a matrix. A description holds the bias itself, without its tensor: that is given to a run.
 */
public sealed interface AttentionBias {
    /** Nothing. */
    record None() implements AttentionBias {}

    /** {@code -slope_h * |p_i - j|} with a slope a head. Press et al., arXiv 2108.12409; the distance as in FlashAttention. */
    record Alibi() implements AttentionBias {}

    /**
     * {@code table[bucket(j - p_i), h]} with T5's buckets (Raffel et al., arXiv 1910.10683): small distances have one each,
     * larger ones share them logarithmically up to {@code maxDistance}, and half of them are for keys behind the row if
     * {@code bidirectional}.
     *
     * @param numBuckets rows of the table, 2 to 1024; even and at least 4 if {@code bidirectional}
     * @param maxDistance where the last bucket begins to hold everything
     * @param bidirectional whether keys behind the row have buckets of their own; else they are in that of distance 0
     */
    record T5(int numBuckets, int maxDistance, boolean bidirectional) implements AttentionBias {}

    /** {@code bias[h, i, j]}, or {@code bias[b, h, i, j]}; a value below -1e30, an infinity say, hides the key, under a soft-cap, too. */
    record Dense() implements AttentionBias {}

    /**
     * No bias.
     *
     * @return the bias
     */
    static AttentionBias none() {
        return new None();
    }

    /**
     * ALiBi. A run is given the slopes, {@code [H]} {@link DType#F32}.
     *
     * @return the bias
     */
    static AttentionBias alibi() {
        return new Alibi();
    }

    /**
     * T5's relative position bias. A run is given the table, {@code [numBuckets, H]} {@link DType#F32}.
     *
     * @param numBuckets rows of the table; 32 in T5
     * @param maxDistance 128 in T5
     * @param bidirectional true in T5's encoder
     * @return the bias
     */
    static AttentionBias t5(int numBuckets, int maxDistance, boolean bidirectional) {
        return new T5(numBuckets, maxDistance, bidirectional);
    }

    /**
     * A matrix. A run is given {@code [H, Q, K]} for all sequences or {@code [B, H, Q, K]}, {@link DType#F32}, Q and K at least the
     * queries and keys of each sequence; strides of 0 share one between heads or sequences.
     *
     * @return the bias
     */
    static AttentionBias dense() {
        return new Dense();
    }

    /**
     * The slopes that ALiBi's authors use: {@code 2^(-8 h / n)} for h = 1..n where n is a power of two; else those of the next lower
     * power of two, and then every other one of the next higher.
     *
     * @param numHeads n, 1 or more
     * @return a slope a head
     */
    static float[] alibiSlopes(int numHeads) {
        if (numHeads < 1) {
            throw new IllegalArgumentException("numHeads: expected at least 1, got " + numHeads);
        }
        int power = Integer.highestOneBit(numHeads);
        float[] slopes = new float[numHeads];
        for (int h = 0; h < numHeads; h++) {
            slopes[h] = (float) (h < power
                    ? Math.pow(2, -8.0 * (h + 1) / power)
                    : Math.pow(2, -8.0 * (2 * (h - power) + 1) / (2.0 * power)));
        }
        return slopes;
    }
}
