package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_dequantize_rows_args;
import io.jindou.bindings.jd_quantize_rows_args;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Reference;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Objects;

/**
 * Row-wise quantisation of embedding tables to and from the formats of {@link RowFormat}, in host memory or on a device: the same bytes.
 *
 * <p>Each row is stretched over its codes from its least to its largest element: {@code scale = (max - min) / (2^bits - 1)},
 * {@code bias = min}, {@code code = (x - bias) / scale} rounded to nearest even. An element is then off by at most
 * {@code (max - min) / (2 * (2^bits - 1))}; where scale and bias are F16, by their rounding more: {@code 2^-11} of {@code max - min} and of
 * {@code |min|} (and {@code 2^-25} a code where they are subnormal). Codes are computed with the rounded scale and bias, as FBGEMM does.
 * {@link RowFormat#E4M3} rows have {@code scale = max|x| / 448} and are off by at most {@code 2^-4} of {@code |x|}, or {@code 2^-10} of the scale.
 */
public final class QuantizedRows {
    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private static final int QUANTIZE_SIZE = (int) jd_quantize_rows_args.sizeof();
    private static final int DEQUANTIZE_SIZE = (int) jd_dequantize_rows_args.sizeof();

    private QuantizedRows() {}

    /**
     * Quantises numbers.
     *
     * @param format of the rows; not {@link RowFormat#PLAIN}
     * @param values {@code [rows, dim]} of any floating dtype, finite, dim a multiple of 4
     * @param alignment rows are as long as the next multiple of this many bytes: 16 as FBGEMM on GPUs, 1 as on CPUs
     * @return {@code [rows, bytes]} {@link DType#U8}; bytes after the row's own are 0
     * @throws InvalidArgumentException when a value is not finite, or a row's scale or bias does not fit the format
     */
    public static HostTensor quantize(RowFormat format, HostTensor values, int alignment) {
        Objects.requireNonNull(format, "format");
        long rows = matrix("values", values)[0];
        int dim = Math.toIntExact(values.shape()[1]);
        if (alignment < 1) {
            throw new InvalidArgumentException("argument 'alignment': expected at least 1, got " + alignment);
        }
        int rowBytes = Math.ceilDiv(format.rowBytes(dim), alignment) * alignment;
        MemorySegment out = Arena.ofAuto().allocate(Math.multiplyExact(rows, rowBytes), 64);
        long valueBytes = (long) dim * values.dtype().size();
        for (long row = 0; row < rows; row++) {
            float[] x = HostData.toFloats(values.dtype(), values.data().asSlice(row * valueBytes, valueBytes));
            quantize(format, x, row, out.asSlice(row * rowBytes, rowBytes));
        }
        return new HostTensor(DType.U8, out, rows, rowBytes);
    }

    private static void quantize(RowFormat format, float[] x, long row, MemorySegment out) {
        float min = x[0];
        float max = x[0];
        for (float value : x) {
            if (!Float.isFinite(value)) {
                throw new InvalidArgumentException("argument 'values': expected finite numbers, got " + value + " in row " + row);
            }
            min = Math.min(min, value);
            max = Math.max(max, value);
        }
        min += 0.0f; // -0 becomes 0
        int headerAt = format.headerAt(x.length);
        if (format == RowFormat.E4M3) {
            float scale = (float) (Math.max(-(double) min, max) / 448);
            scale = scale == 0 ? 1 : scale;
            out.set(FLOAT, headerAt, scale);
            for (int i = 0; i < x.length; i++) {
                out.set(ValueLayout.JAVA_BYTE, format.codesAt() + i, HostData.floatToE4M3((float) ((double) x[i] / scale)));
            }
            return;
        }
        int most = (1 << format.bits) - 1;
        double scale;
        double bias;
        if (format == RowFormat.INT8_FLOAT) {
            bias = min;
            scale = (float) (((double) max - min) / most);
            scale = scale == 0 ? 1 : scale;
            out.set(FLOAT, headerAt, (float) scale);
            out.set(FLOAT, headerAt + 4, min);
        } else {
            short biasBits = Float.floatToFloat16(min);
            bias = Float.float16ToFloat(biasBits);
            short scaleBits = Float.floatToFloat16((float) ((max - bias) / most));
            scaleBits = (scaleBits & 0x7fff) == 0 ? Float.floatToFloat16(1) : scaleBits;
            scale = Float.float16ToFloat(scaleBits);
            if (Double.isInfinite(bias) || Double.isInfinite(scale)) {
                throw new InvalidArgumentException("argument 'values': expected rows whose scale and bias fit F16 (" + format + "), got "
                        + min + " to " + max + " in row " + row);
            }
            out.set(SHORT, headerAt, scaleBits);
            out.set(SHORT, headerAt + 2, biasBits);
        }
        int perByte = 8 / format.bits;
        for (int i = 0; i < x.length; i += perByte) {
            int packed = 0;
            for (int e = 0; e < perByte; e++) {
                int code = (int) Math.clamp(Math.rint((x[i + e] - bias) / scale), 0, most);
                packed |= code << (e * format.bits);
            }
            out.set(ValueLayout.JAVA_BYTE, format.codesAt() + i / perByte, (byte) packed);
        }
    }

    /**
     * The numbers that rows of codes stand for.
     *
     * @param format of the rows; not {@link RowFormat#PLAIN}
     * @param rows {@code [rows, bytes]} {@link DType#U8}
     * @param dim elements a row
     * @return {@code [rows, dim]} {@link DType#F32}
     */
    public static HostTensor dequantize(RowFormat format, HostTensor rows, int dim) {
        Objects.requireNonNull(format, "format");
        long[] shape = matrix("rows", rows);
        if (rows.dtype() != DType.U8 || shape[1] < format.rowBytes(dim)) {
            throw new InvalidArgumentException("argument 'rows': expected U8 rows of at least " + format.rowBytes(dim) + " bytes for " + dim
                    + " elements of " + format + ", got " + rows.dtype() + Arrays.toString(shape));
        }
        MemorySegment out = Arena.ofAuto().allocate(Math.multiplyExact(shape[0], 4L * dim), 64);
        int perByte = 8 / format.bits;
        int mask = (1 << format.bits) - 1;
        for (long row = 0; row < shape[0]; row++) {
            MemorySegment in = rows.data().asSlice(row * shape[1], shape[1]);
            int headerAt = format.headerAt(dim);
            boolean floats = format == RowFormat.INT8_FLOAT || format == RowFormat.E4M3;
            float scale = floats ? in.get(FLOAT, headerAt) : Float.float16ToFloat(in.get(SHORT, headerAt));
            float bias = switch (format) {
                case E4M3 -> 0;
                case INT8_FLOAT -> in.get(FLOAT, headerAt + 4);
                default -> Float.float16ToFloat(in.get(SHORT, headerAt + 2));
            };
            for (int i = 0; i < dim; i++) {
                byte packed = in.get(ValueLayout.JAVA_BYTE, format.codesAt() + i / perByte);
                float code = format == RowFormat.E4M3
                        ? HostData.e4M3ToFloat(packed)
                        : packed >> (i % perByte * format.bits) & mask;
                out.set(FLOAT, row * 4L * dim + 4L * i, Math.fma(code, scale, bias));
            }
        }
        return new HostTensor(DType.F32, out, shape[0], dim);
    }

    /**
     * Enqueues the quantisation of numbers that are on a device.
     *
     * @param stream orders the work
     * @param format of the rows; not {@link RowFormat#PLAIN}
     * @param values {@code [n, dim]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}, dim a multiple of 4 up to 2048; rows aligned
     *     to 16 bytes
     * @param bounds what to do with a row that the format cannot hold (a number that is not finite, a scale or bias past F16): it is
     *     reported or counted, and becomes a row of zeros
     * @param rows {@code [n, bytes]} {@link DType#U8}, written; bytes after a row's own become 0
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void quantize(Stream stream, RowFormat format, Tensor values, Bounds bounds, Tensor rows) {
        Objects.requireNonNull(format, "format");
        Objects.requireNonNull(bounds, "bounds");
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_quantize_rows_args.struct_size(args, QUANTIZE_SIZE);
            jd_quantize_rows_args.format(args, format.code);
            jd_quantize_rows_args.bounds(args, bounds.code);
            jd_quantize_rows_args.reserved(args, 0);
            jd_quantize_rows_args.x(args, NativeObject.handle(values, "values"));
            jd_quantize_rows_args.rows(args, Tensor.output(rows, "rows"));
            call.check(JindouAbi.jd_quantize_rows(NativeObject.handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(rows);
        }
    }

    /**
     * Enqueues the way back on a device: {@code code * scale + bias}, rounded once to the result's dtype.
     *
     * @param stream orders the work
     * @param format of the rows; not {@link RowFormat#PLAIN}
     * @param rows {@code [n, bytes]} {@link DType#U8}
     * @param out {@code [n, dim]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}, written; rows aligned to 16 bytes
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void dequantize(Stream stream, RowFormat format, Tensor rows, Tensor out) {
        Objects.requireNonNull(format, "format");
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_dequantize_rows_args.struct_size(args, DEQUANTIZE_SIZE);
            jd_dequantize_rows_args.format(args, format.code);
            jd_dequantize_rows_args.rows(args, NativeObject.handle(rows, "rows"));
            jd_dequantize_rows_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_dequantize_rows(NativeObject.handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(rows);
            Reference.reachabilityFence(out);
        }
    }

    private static long[] matrix(String name, HostTensor tensor) {
        long[] shape = Objects.requireNonNull(tensor, name).shape();
        if (shape.length != 2) {
            throw new InvalidArgumentException("argument '" + name + "': expected rank 2, got shape " + Arrays.toString(shape));
        }
        return shape;
    }
}
