package io.jindou;

/** Element types of tensors. */
public enum DType {
    /** IEEE 754 binary32. */
    F32(1, 4),
    /** IEEE 754 binary16. */
    F16(2, 2),
    /** bfloat16: the upper half of a binary32. */
    BF16(3, 2),
    /** 8-bit float of 4 exponent and 3 mantissa bits, no infinities (OCP OFP8). */
    F8_E4M3(4, 1),
    /** Signed 8-bit integer. */
    I8(5, 1),
    /** Unsigned 8-bit integer. */
    U8(6, 1),
    /** Signed 32-bit integer. */
    I32(7, 4),
    /** Signed 64-bit integer. */
    I64(8, 8),
    /** One byte, 0 or 1. */
    BOOL(9, 1),
    /** IEEE 754 binary64. */
    F64(10, 8);

    private final int code;
    private final int size;

    DType(int code, int size) {
        this.code = code;
        this.size = size;
    }

    /**
     * The number of this dtype in the C ABI.
     *
     * @return {@code JD_F32} and so on
     */
    public int code() {
        return code;
    }

    /**
     * The size of one element.
     *
     * @return bytes
     */
    public int size() {
        return size;
    }

    static DType of(int code) {
        for (DType dtype : values()) {
            if (dtype.code == code) {
                return dtype;
            }
        }
        throw new IllegalArgumentException("no dtype has the code " + code);
    }
}
