package io.jindou;

/**
 * Position embeddings that a {@link SequenceEmbedding} adds. Contexts, the first rows of a sequence, take the first rows of the table.
 *
 * @param table {@code [positions, D]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}; null: none
 * @param fromEnd whether positions count back from the end of the history, as HSTU's do: the last event before the targets has
 *     {@code contextualLen + 1}, all targets {@code contextualLen}; else event i has i, all targets the number of events before them
 * @param contextualLen contexts at the start of each sequence
 */
public record SequencePositions(Tensor table, boolean fromEnd, int contextualLen) {
    /** No position embeddings. */
    public static final SequencePositions NONE = new SequencePositions(null, false, 0);

    /**
     * Positions counted from the start.
     *
     * @param table {@code [positions, D]}
     * @return positions without contexts
     */
    public static SequencePositions fromStart(Tensor table) {
        return new SequencePositions(given(table), false, 0);
    }

    /**
     * Positions counted back from the end of the history.
     *
     * @param table {@code [positions, D]}
     * @return positions without contexts
     */
    public static SequencePositions fromEnd(Tensor table) {
        return new SequencePositions(given(table), true, 0);
    }

    /**
     * The same with contexts.
     *
     * @param value contexts at the start of each sequence
     * @return the positions
     */
    public SequencePositions withContextualLen(int value) {
        return new SequencePositions(table, fromEnd, value);
    }

    private static Tensor given(Tensor table) {
        if (table == null) {
            throw NativeObject.missing("table");
        }
        return table;
    }
}
