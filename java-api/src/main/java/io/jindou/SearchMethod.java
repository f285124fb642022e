package io.jindou;

import java.util.Objects;

/** By what {@link HistorySearch} finds events. */
public sealed interface SearchMethod {

    /**
     * Events of the candidate's category, the most recent first. Queries {@code [sum nc]} and keys {@code [sum nk]} are categories.
     *
     * @param dtype of categories: {@link DType#I32} or {@link DType#I64}
     */
    record Hard(DType dtype) implements SearchMethod {
        /**
         * Checks for null.
         *
         * @throws NullPointerException when dtype is null
         */
        public Hard {
            Objects.requireNonNull(dtype, "dtype");
        }
    }

    /**
     * The largest {@code q . k}, or {@code q . k + bias} of the event. Queries {@code [sum nc, dim]}, keys {@code [sum nk, dim]}.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param dim elements of a row, a multiple of 8, to 256
     */
    record Dot(DType dtype, int dim) implements SearchMethod {
        /**
         * Checks for null.
         *
         * @throws NullPointerException when dtype is null
         */
        public Dot {
            Objects.requireNonNull(dtype, "dtype");
        }
    }

    /**
     * The smallest Hamming distance of signatures ({@link HistorySearch#signatures}). Queries {@code [sum nc, bits / 64]}, keys
     * {@code [sum nk, bits / 64]}, {@link DType#I64}.
     *
     * @param bits of a signature, a multiple of 64, to 1024
     */
    record Lsh(int bits) implements SearchMethod {}

    /**
     * By category.
     *
     * @param dtype of categories
     * @return the method
     */
    static SearchMethod hard(DType dtype) {
        return new Hard(dtype);
    }

    /**
     * By inner product.
     *
     * @param dtype of queries and keys
     * @param dim elements of a row
     * @return the method
     */
    static SearchMethod dot(DType dtype, int dim) {
        return new Dot(dtype, dim);
    }

    /**
     * By Hamming distance.
     *
     * @param bits of a signature
     * @return the method
     */
    static SearchMethod lsh(int bits) {
        return new Lsh(bits);
    }
}
