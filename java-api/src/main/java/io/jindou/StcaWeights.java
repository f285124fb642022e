package io.jindou;

/**
 * The projections of a {@link StcaAttention}, {@code [numHeads * headDim, modelDim]} each, as a linear layer has them, {@link DType#F32}.
 *
 * @param query of candidates
 * @param key of events
 * @param value of events
 */
public record StcaWeights(Tensor query, Tensor key, Tensor value) {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public StcaWeights {
        if (query == null) {
            throw NativeObject.missing("query");
        }
        if (key == null) {
            throw NativeObject.missing("key");
        }
        if (value == null) {
            throw NativeObject.missing("value");
        }
    }
}
