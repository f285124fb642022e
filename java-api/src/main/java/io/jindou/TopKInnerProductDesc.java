package io.jindou;

import java.util.Objects;

/**
 * What a {@link TopKInnerProduct} finds.
 *
 * @param dtype of queries and items: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param dim elements of a row, a multiple of 8 up to 2048
 * @param k items a query, 1 to 1024
 * @param maxQueries queries a run, up to 1048576
 */
public record TopKInnerProductDesc(DType dtype, int dim, int k, long maxQueries) {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public TopKInnerProductDesc {
        Objects.requireNonNull(dtype, "dtype");
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
}
