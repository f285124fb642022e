package io.jindou;

/**
 * Keys and values of some sequences in pages of a pool, as attention reads them ({@code jindou/paged_cache.h}): row r of sequence b
 * lies in page {@code pageTable[b, r / pageSize]}, at {@code r % pageSize}.
 *
 * @param keyPages {@code [numPages, pageSize, Hkv, dk]}
 * @param valuePages {@code [numPages, pageSize, Hkv, dv]}
 * @param pageTable {@code [B, maxPages]} {@link DType#I32}
 * @param seqLens {@code [B]} {@link DType#I32}: rows of each sequence
 * @param keyScales what codes are multiplied by, {@link DType#F32}: {@code [1]} or {@code [numPages, Hkv]} for
 *     {@link DType#F8_E4M3}, {@code [numPages, pageSize, Hkv]} for {@link DType#I8}; null where pages are not quantised
 * @param valueScales likewise
 */
public record PagedKeysValues(
        Tensor keyPages, Tensor valuePages, Tensor pageTable, Tensor seqLens, Tensor keyScales, Tensor valueScales)
        implements AutoCloseable {
    /**
     * Joins the tensors.
     *
     * @throws NullPointerException when one but the scales is null
     */
    public PagedKeysValues {
        if (keyPages == null) {
            throw NativeObject.missing("keyPages");
        }
        if (valuePages == null) {
            throw NativeObject.missing("valuePages");
        }
        if (pageTable == null) {
            throw NativeObject.missing("pageTable");
        }
        if (seqLens == null) {
            throw NativeObject.missing("seqLens");
        }
    }

    /**
     * Sequences of the table.
     *
     * @return how many
     */
    public long batch() {
        return seqLens.dim(0);
    }

    /** Closes the page table and the lengths; pages and scales belong to their cache. */
    @Override
    public void close() {
        pageTable.close();
        seqLens.close();
    }
}
