package io.jindou;

import java.util.Objects;

/**
 * The shape of a {@link PagedCache}.
 *
 * @param dtype of the rows that are appended and gathered: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param cacheDType of the pages: one of these, {@link DType#F8_E4M3} (with scales of the caller's) or {@link DType#I8} (a scale a
 *     row and head, made by appending)
 * @param pageSize rows a page: 16, 32, 64 or 128
 * @param numPages pages of the pool
 * @param numKvHeads heads of keys and values, 1 to 256
 * @param headDimK of keys: a multiple of 32, to 256
 * @param headDimV of values: likewise
 * @param maxBatch users an append or gather
 */
public record PagedCacheDesc(
        DType dtype, DType cacheDType, int pageSize, long numPages, int numKvHeads, int headDimK, int headDimV, long maxBatch) {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public PagedCacheDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(cacheDType, "cacheDType");
    }

    /**
     * Pages of 64 rows in the dtype of the rows, for up to 256 users an append.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param numPages pages of the pool
     * @param numKvHeads heads of keys and values
     * @param headDim of keys and values
     * @return the description
     */
    public static PagedCacheDesc of(DType dtype, long numPages, int numKvHeads, int headDim) {
        return new PagedCacheDesc(dtype, dtype, 64, numPages, numKvHeads, headDim, headDim, 256);
    }

    /**
     * The same with pages of another dtype.
     *
     * @param value of the pages
     * @return the description
     */
    public PagedCacheDesc withCacheDType(DType value) {
        return new PagedCacheDesc(dtype, value, pageSize, numPages, numKvHeads, headDimK, headDimV, maxBatch);
    }

    /**
     * The same with pages of another size.
     *
     * @param value rows a page
     * @return the description
     */
    public PagedCacheDesc withPageSize(int value) {
        return new PagedCacheDesc(dtype, cacheDType, value, numPages, numKvHeads, headDimK, headDimV, maxBatch);
    }

    /**
     * The same with another head dim of the values.
     *
     * @param value of values
     * @return the description
     */
    public PagedCacheDesc withHeadDimV(int value) {
        return new PagedCacheDesc(dtype, cacheDType, pageSize, numPages, numKvHeads, headDimK, value, maxBatch);
    }

    /**
     * The same for other numbers of users.
     *
     * @param value users an append or gather
     * @return the description
     */
    public PagedCacheDesc withMaxBatch(long value) {
        return new PagedCacheDesc(dtype, cacheDType, pageSize, numPages, numKvHeads, headDimK, headDimV, value);
    }
}
