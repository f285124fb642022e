package io.jindou;

/** How target attention turns scores into weights. */
public sealed interface AttentionActivation {

    /** {@code exp(s_j) / sum exp(s)} over the keys. */
    record Softmax() implements AttentionActivation {}

    /**
     * {@code s_j * sigmoid(s_j) / scalingSeqlen}, each key for itself.
     *
     * @param scalingSeqlen the divisor, a constant of training; finite, above 0
     */
    record Silu(float scalingSeqlen) implements AttentionActivation {}

    /**
     * Softmax.
     *
     * @return the activation
     */
    static AttentionActivation softmax() {
        return new Softmax();
    }

    /**
     * SiLU.
     *
     * @param scalingSeqlen the divisor
     * @return the activation
     */
    static AttentionActivation silu(float scalingSeqlen) {
        return new Silu(scalingSeqlen);
    }
}
