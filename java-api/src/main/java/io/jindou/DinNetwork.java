package io.jindou;

/**
 * The network with which {@link DinAttention} weighs an event k for a candidate q:
 * {@code outWeight f(second f(first [q; k; q - k; q * k])) + outBias}.
 *
 * @param first {@code h1} units; the columns of its weight {@code [h1, 4 d]} are those of q, of k, of q - k, of q * k
 * @param second {@code h2} units of {@code h1} inputs
 * @param outWeight {@code [1, h2]} {@link DType#F32}
 * @param outBias {@code [1]} {@link DType#F32}
 */
public record DinNetwork(DinLayer first, DinLayer second, Tensor outWeight, Tensor outBias) {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when a layer is null, naming it
     */
    public DinNetwork {
        if (first == null) {
            throw NativeObject.missing("first");
        }
        if (second == null) {
            throw NativeObject.missing("second");
        }
    }
}
