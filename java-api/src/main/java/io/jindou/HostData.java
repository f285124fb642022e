package io.jindou;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Objects;

/**
 * Conversion between Java arrays and the bytes of tensors. The loops are plain, over arrays: the JIT compiler vectorises them.
 *
 * <p>Narrowing rounds to nearest even; values past the largest finite one become infinite, NaN stays NaN. Bytes are little-endian
 * and may lie at any alignment.
 */
public final class HostData {
    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfDouble DOUBLE = ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private HostData() {}

    /**
     * The bf16 bits of a float.
     *
     * @param value any float
     * @return the upper half of its bits, rounded to nearest even
     */
    public static short floatToBFloat16(float value) {
        int bits = Float.floatToRawIntBits(value);
        // A NaN keeps its sign and upper payload, made quiet; else the carry could turn it into an infinity.
        int rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
        int quiet = (bits >>> 16) | 0x40;
        return (short) ((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
    }

    /**
     * The float of bf16 bits.
     *
     * @param bits of a bf16
     * @return the same value
     */
    public static float bFloat16ToFloat(short bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    /**
     * The fp8 e4m3 code of a float.
     *
     * @param value any float
     * @return the code, rounded to nearest even; past 448 the largest number, of a NaN 0x7f
     */
    public static byte floatToE4M3(float value) {
        int sign = (Float.floatToRawIntBits(value) >>> 24) & 0x80;
        float magnitude = Math.abs(value);
        if (Float.isNaN(magnitude)) {
            return 0x7f;
        }
        int bits = Float.floatToRawIntBits(Math.min(magnitude, 448));
        if (magnitude < 0x1p-6f) { // subnormal: 2^14 has their unit, 2^-9, in its last place
            return (byte) (sign | (Float.floatToRawIntBits(magnitude + 0x1p14f) - Float.floatToRawIntBits(0x1p14f)));
        }
        return (byte) (sign | ((bits - (120 << 23) + 0x7ffff + ((bits >>> 20) & 1)) >>> 20));
    }

    /**
     * The float of an fp8 e4m3 code.
     *
     * @param code of an fp8
     * @return the same value
     */
    public static float e4M3ToFloat(byte code) {
        int magnitude = code & 0x7f;
        // Exponent and fraction moved into place read 2^120 too small.
        float value = magnitude == 0x7f ? Float.NaN : Float.intBitsToFloat(magnitude << 20) * 0x1p120f;
        return code < 0 ? -value : value;
    }

    /**
     * Encodes floats.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#F64}
     * @param values the floats
     * @return their bytes, a segment over a Java array; for F32 over {@code values} itself
     */
    public static MemorySegment encode(DType dtype, float[] values) {
        Objects.requireNonNull(values, "values");
        return switch (dtype) {
            case F32 -> MemorySegment.ofArray(values);
            case F16 -> {
                short[] half = new short[values.length];
                for (int i = 0; i < half.length; i++) {
                    half[i] = Float.floatToFloat16(values[i]);
                }
                yield MemorySegment.ofArray(half);
            }
            case BF16 -> {
                short[] half = new short[values.length];
                for (int i = 0; i < half.length; i++) {
                    half[i] = floatToBFloat16(values[i]);
                }
                yield MemorySegment.ofArray(half);
            }
            case F64 -> {
                double[] wide = new double[values.length];
                for (int i = 0; i < wide.length; i++) {
                    wide[i] = values[i];
                }
                yield MemorySegment.ofArray(wide);
            }
            default -> throw expected("F32, F16, BF16 or F64 for floats", dtype);
        };
    }

    /**
     * Encodes longs.
     *
     * @param dtype {@link DType#I64} or {@link DType#I32}
     * @param values the numbers
     * @return their bytes, a segment over a Java array; for I64 over {@code values} itself
     * @throws InvalidArgumentException when a value does not fit
     */
    public static MemorySegment encode(DType dtype, long[] values) {
        Objects.requireNonNull(values, "values");
        return switch (dtype) {
            case I64 -> MemorySegment.ofArray(values);
            case I32 -> {
                int[] narrow = new int[values.length];
                for (int i = 0; i < narrow.length; i++) {
                    narrow[i] = (int) values[i];
                    if (narrow[i] != values[i]) {
                        throw new InvalidArgumentException(
                                "argument 'values': expected numbers that fit I32, got " + values[i] + " at " + i);
                    }
                }
                yield MemorySegment.ofArray(narrow);
            }
            default -> throw expected("I64 or I32 for integers", dtype);
        };
    }

    /**
     * Encodes ints.
     *
     * @param dtype {@link DType#I32} or {@link DType#I64}
     * @param values the numbers
     * @return their bytes, a segment over a Java array; for I32 over {@code values} itself
     */
    public static MemorySegment encode(DType dtype, int[] values) {
        Objects.requireNonNull(values, "values");
        return switch (dtype) {
            case I32 -> MemorySegment.ofArray(values);
            case I64 -> {
                long[] wide = new long[values.length];
                for (int i = 0; i < wide.length; i++) {
                    wide[i] = values[i];
                }
                yield MemorySegment.ofArray(wide);
            }
            default -> throw expected("I32 or I64 for integers", dtype);
        };
    }

    /**
     * Decodes floats.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#F64}
     * @param data a whole number of elements
     * @return the values, rounded to float
     */
    public static float[] toFloats(DType dtype, MemorySegment data) {
        return switch (dtype) {
            case F32 -> data.toArray(FLOAT);
            case F16 -> {
                short[] half = data.toArray(SHORT);
                float[] values = new float[half.length];
                for (int i = 0; i < half.length; i++) {
                    values[i] = Float.float16ToFloat(half[i]);
                }
                yield values;
            }
            case BF16 -> {
                short[] half = data.toArray(SHORT);
                float[] values = new float[half.length];
                for (int i = 0; i < half.length; i++) {
                    values[i] = bFloat16ToFloat(half[i]);
                }
                yield values;
            }
            case F64 -> {
                double[] wide = data.toArray(DOUBLE);
                float[] values = new float[wide.length];
                for (int i = 0; i < wide.length; i++) {
                    values[i] = (float) wide[i];
                }
                yield values;
            }
            default -> throw expected("F32, F16, BF16 or F64 for floats", dtype);
        };
    }

    /**
     * Decodes doubles.
     *
     * @param dtype {@link DType#F64}, {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @param data a whole number of elements
     * @return the values
     */
    public static double[] toDoubles(DType dtype, MemorySegment data) {
        if (dtype == DType.F64) {
            return data.toArray(DOUBLE);
        }
        float[] narrow = toFloats(dtype, data);
        double[] values = new double[narrow.length];
        for (int i = 0; i < narrow.length; i++) {
            values[i] = narrow[i];
        }
        return values;
    }

    /**
     * Decodes integers of any width.
     *
     * @param dtype {@link DType#I64}, {@link DType#I32}, {@link DType#I8}, {@link DType#U8} or {@link DType#BOOL}
     * @param data a whole number of elements
     * @return the numbers
     */
    public static long[] toLongs(DType dtype, MemorySegment data) {
        return switch (dtype) {
            case I64 -> data.toArray(LONG);
            case I32 -> {
                int[] narrow = data.toArray(INT);
                long[] values = new long[narrow.length];
                for (int i = 0; i < narrow.length; i++) {
                    values[i] = narrow[i];
                }
                yield values;
            }
            case I8, U8, BOOL -> {
                byte[] narrow = data.toArray(ValueLayout.JAVA_BYTE);
                long[] values = new long[narrow.length];
                for (int i = 0; i < narrow.length; i++) {
                    values[i] = dtype == DType.I8 ? narrow[i] : narrow[i] & 0xff;
                }
                yield values;
            }
            default -> throw expected("an integer dtype", dtype);
        };
    }

    /**
     * Decodes ints.
     *
     * @param dtype {@link DType#I32}
     * @param data a whole number of elements
     * @return the numbers
     */
    public static int[] toInts(DType dtype, MemorySegment data) {
        if (dtype != DType.I32) {
            throw expected("I32 for ints", dtype);
        }
        return data.toArray(INT);
    }

    private static InvalidArgumentException expected(String what, DType dtype) {
        return new InvalidArgumentException("argument 'dtype': expected " + what + ", got " + dtype);
    }
}
