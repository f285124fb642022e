package io.jindou;

import java.util.Objects;

/**
 * What a {@link TopKInnerProduct} finds.
 *
 * @param dtype of queries, and of items that are numbers: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param dim elements of a row, a multiple of 8 up to 2048
 * @param k items a query, 1 to 1024
 * @param maxQueries queries a run, up to 1048576
 * @param rowFormat of the items: {@link RowFormat#PLAIN}, or codes, that is a {@link DType#U8} tensor of rows as an
 *     {@link EmbeddingTable} has them
 */
public record TopKInnerProductDesc(DType dtype, int dim, int k, long maxQueries, RowFormat rowFormat) {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public TopKInnerProductDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(rowFormat, "rowFormat");
    }

    /**
     * A search among items that are numbers.
     *
     * @param dtype of queries and items
     * @param dim elements of a row
     * @param k items a query
     * @param maxQueries queries a run
     */
    public TopKInnerProductDesc(DType dtype, int dim, int k, long maxQueries) {
        this(dtype, dim, k, maxQueries, RowFormat.PLAIN);
    }

    /**
     * The search among these items, or others of the same dtype and dim.
     *
     * @param items {@code [N, d]}
     * @param k items a query
     * @param maxQueries queries a run
     * @return the description
     */
    public static TopKInnerProductDesc of(Tensor items, int k, long maxQueries) {
        if (items == null) {
            throw NativeObject.missing("items");
        }
        if (items.rank() != 2) {
            throw new IllegalArgumentException("items: expected rank 2, got rank " + items.rank());
        }
        return new TopKInnerProductDesc(items.dtype(), Math.toIntExact(items.dim(1)), k, maxQueries);
    }

    /**
     * The search among the rows of this table, or of others of the same format and dim. Its tensor {@code items.rows()} goes to the run.
     *
     * @param items rows of numbers or of codes; its keys are not looked at
     * @param queries the dtype of the queries: of a table of numbers its own
     * @param k items a query
     * @param maxQueries queries a run
     * @return the description
     */
    public static TopKInnerProductDesc of(EmbeddingTable items, DType queries, int k, long maxQueries) {
        return new TopKInnerProductDesc(queries, items.dim(), k, maxQueries, items.format());
    }
}
