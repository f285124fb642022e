package io.jindou;

import java.util.Objects;

/**
 * Position embeddings that a {@link SequenceEmbedding} adds. Contexts, the first rows of a sequence, take the first rows of the table.
 *
 * @param table {@code [positions, D]} {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#F8_E4M3}, or {@code
 *     [positions, bytes]} {@link DType#U8} of codes; null: none
 * @param format what a row holds, as in an {@link EmbeddingTable}
 * @param fromEnd whether positions count back from the end of the history, as HSTU's do: the last event before the targets has
 *     {@code contextualLen + 1}, all targets {@code contextualLen}; else event i has i, all targets the number of events before them
 * @param contextualLen contexts at the start of each sequence
 */
public record SequencePositions(Tensor table, RowFormat format, boolean fromEnd, int contextualLen) {
    /** No position embeddings. */
    public static final SequencePositions NONE = new SequencePositions(null, false, 0);

    /**
     * Checks for null.
     *
     * @throws NullPointerException when the format is null
     */
    public SequencePositions {
        Objects.requireNonNull(format, "format");
    }

    /**
     * Positions of a table of numbers.
     *
     * @param table {@code [positions, D]}; null: none
     * @param fromEnd whether positions count back from the end of the history
     * @param contextualLen contexts at the start of each sequence
     */
    public SequencePositions(Tensor table, boolean fromEnd, int contextualLen) {
        this(table, RowFormat.PLAIN, fromEnd, contextualLen);
    }

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
        return new SequencePositions(table, format, fromEnd, value);
    }

    /**
     * The same of a table of codes: {@code SequencePositions.fromEnd(table.rows()).withFormat(table.format())} of an {@link EmbeddingTable}.
     *
     * @param value what a row of the table holds
     * @return the positions
     */
    public SequencePositions withFormat(RowFormat value) {
        return new SequencePositions(table, value, fromEnd, contextualLen);
    }

    private static Tensor given(Tensor table) {
        if (table == null) {
            throw NativeObject.missing("table");
        }
        return table;
    }
}
