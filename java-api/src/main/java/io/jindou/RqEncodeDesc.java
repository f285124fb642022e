package io.jindou;

import java.util.Objects;

/**
 * What an {@link RqEncode} computes.
 *
 * @param dtype of the vectors: {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param dim elements a vector, a multiple of 4 up to 1024
 * @param numLevels codebooks, 1 to 64
 * @param numCodes codes a codebook, 1 to 65536
 */
public record RqEncodeDesc(DType dtype, int dim, int numLevels, int numCodes) {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public RqEncodeDesc {
        Objects.requireNonNull(dtype, "dtype");
    }

    /**
     * Vectors of {@link DType#F32} and these codebooks.
     *
     * @param codebooks {@code [numLevels, numCodes, dim]}
     * @return the description
     */
    public static RqEncodeDesc of(Tensor codebooks) {
        if (codebooks == null) {
            throw NativeObject.missing("codebooks");
        }
        if (codebooks.rank() != 3) {
            throw new IllegalArgumentException("codebooks: expected rank 3, got rank " + codebooks.rank());
        }
        return new RqEncodeDesc(
                DType.F32,
                Math.toIntExact(codebooks.dim(2)),
                Math.toIntExact(codebooks.dim(0)),
                Math.toIntExact(codebooks.dim(1)));
    }

    /**
     * The same for vectors of another dtype.
     *
     * @param value {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @return the description
     */
    public RqEncodeDesc withDType(DType value) {
        return new RqEncodeDesc(value, dim, numLevels, numCodes);
    }
}
