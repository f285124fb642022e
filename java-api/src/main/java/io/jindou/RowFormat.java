package io.jindou;

/**
 * How the rows of an {@link EmbeddingTable} are stored: as numbers of the tensor's dtype, or as bytes that hold D codes with their scale
 * and bias, each element standing for {@code code * scale + bias}. The formats are FBGEMM's, bit for bit, so that tables quantised by
 * PyTorch are used as they are.
 *
 * <p>Codes of 4 and 2 bits fill a byte from its lowest bits. A row may be longer than its format needs: FBGEMM aligns rows to 16 bytes on
 * GPUs and not at all on CPUs. Both are read everywhere; on a GPU rows that begin at multiples of 4 bytes, of a dim that is a multiple of 8, are
 * read fastest.
 *
 * @see <a href="https://github.com/pytorch/FBGEMM">FBGEMM</a>
 */
public enum RowFormat {
    /** Numbers: {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#F8_E4M3} (FBGEMM's FP8: no scale). */
    PLAIN(0, 0, 0, false),
    /** F16 scale, F16 bias, then D unsigned bytes: FBGEMM's table-batched embeddings. */
    INT8(1, 8, 4, true),
    /** F16 scale, F16 bias, then D codes of 4 bits: FBGEMM's table-batched embeddings. */
    INT4(2, 4, 4, true),
    /** F16 scale, F16 bias, then D codes of 2 bits: FBGEMM's table-batched embeddings. */
    INT2(3, 2, 4, true),
    /** D unsigned bytes, then F32 scale, F32 bias: FBGEMM's fused 8-bit rowwise, PyTorch's {@code embedding_bag_byte_prepack}. */
    INT8_FLOAT(4, 8, 8, false),
    /** D codes of 4 bits, then F16 scale, F16 bias: FBGEMM's fused 4-bit rowwise, PyTorch's {@code embedding_bag_4bit_prepack}. */
    INT4_LAST(5, 4, 4, false),
    /** D codes of 2 bits, then F16 scale, F16 bias: FBGEMM's fused 2-bit rowwise, PyTorch's {@code embedding_bag_2bit_prepack}. */
    INT2_LAST(6, 2, 4, false),
    /** F32 scale, then D codes of fp8 e4m3; no bias. */
    E4M3(7, 8, 4, true);

    final int code;
    /** Bits of a code; 0 for numbers. */
    final int bits;
    /** Bytes of scale and bias. */
    final int headerBytes;
    /** Whether scale and bias come before the codes. */
    final boolean headerFirst;

    RowFormat(int code, int bits, int headerBytes, boolean headerFirst) {
        this.code = code;
        this.bits = bits;
        this.headerBytes = headerBytes;
        this.headerFirst = headerFirst;
    }

    /**
     * The bytes that a row of codes needs.
     *
     * @param dim elements a row, a multiple of 4
     * @return bytes, without any padding
     * @throws InvalidArgumentException for {@link #PLAIN}, and for a dim that is no positive multiple of 4
     */
    public int rowBytes(int dim) {
        if (this == PLAIN) {
            throw new InvalidArgumentException("argument 'format': expected a format of codes, got PLAIN");
        }
        if (dim < 4 || dim % 4 != 0) {
            throw new InvalidArgumentException("argument 'dim': expected a positive multiple of 4, got " + dim);
        }
        return codeBytes(dim) + headerBytes;
    }

    int codeBytes(int dim) {
        return Math.toIntExact((long) dim * bits / 8);
    }

    int codesAt() {
        return headerFirst ? headerBytes : 0;
    }

    int headerAt(int dim) {
        return headerFirst ? 0 : codeBytes(dim);
    }
}
