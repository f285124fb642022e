package io.jindou;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;

/**
 * A dtype, a shape and contiguous data in host memory: what is read from and written to files, and copied to and from devices.
 * Its data is not copied, so it lives as long as the memory it was made over.
 */
public final class HostTensor {
    private final DType dtype;
    private final long[] shape;
    private final MemorySegment data;

    /**
     * A tensor over data that is already there.
     *
     * @param dtype element type
     * @param data exactly the bytes of all elements, row-major, little-endian; on or off the Java heap, of any alignment
     * @param shape dimensions; none: a single element
     * @throws InvalidArgumentException when the number of bytes is not that of the shape
     */
    public HostTensor(DType dtype, MemorySegment data, long... shape) {
        this.dtype = Objects.requireNonNull(dtype, "dtype");
        this.data = Objects.requireNonNull(data, "data");
        this.shape = Objects.requireNonNull(shape, "shape").clone();
        long bytes = bytes(dtype, this.shape);
        if (bytes != data.byteSize()) {
            throw new InvalidArgumentException("argument 'data': expected " + bytes + " bytes (" + dtype + Arrays.toString(shape)
                    + "), got " + data.byteSize());
        }
    }

    /**
     * An {@link DType#F32} tensor.
     *
     * @param values as many as the shape has elements; not copied
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor
     */
    public static HostTensor of(float[] values, long... shape) {
        return new HostTensor(DType.F32, MemorySegment.ofArray(values), shapeOr(values.length, shape));
    }

    /**
     * An {@link DType#F64} tensor.
     *
     * @param values as many as the shape has elements; not copied
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor
     */
    public static HostTensor of(double[] values, long... shape) {
        return new HostTensor(DType.F64, MemorySegment.ofArray(values), shapeOr(values.length, shape));
    }

    /**
     * An {@link DType#I64} tensor.
     *
     * @param values as many as the shape has elements; not copied
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor
     */
    public static HostTensor of(long[] values, long... shape) {
        return new HostTensor(DType.I64, MemorySegment.ofArray(values), shapeOr(values.length, shape));
    }

    /**
     * An {@link DType#I32} tensor.
     *
     * @param values as many as the shape has elements; not copied
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor
     */
    public static HostTensor of(int[] values, long... shape) {
        return new HostTensor(DType.I32, MemorySegment.ofArray(values), shapeOr(values.length, shape));
    }

    /**
     * A tensor of any floating dtype, values rounded to nearest even.
     *
     * @param dtype {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#F64}
     * @param values as many as the shape has elements
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor
     */
    public static HostTensor of(DType dtype, float[] values, long... shape) {
        return new HostTensor(dtype, HostData.encode(dtype, values), shapeOr(values.length, shape));
    }

    /**
     * The element type.
     *
     * @return the dtype
     */
    public DType dtype() {
        return dtype;
    }

    /**
     * All dimensions.
     *
     * @return a copy
     */
    public long[] shape() {
        return shape.clone();
    }

    /**
     * The bytes of all elements.
     *
     * @return the memory itself
     */
    public MemorySegment data() {
        return data;
    }

    /**
     * The number of elements.
     *
     * @return the product of the dimensions
     */
    public long elements() {
        return data.byteSize() / dtype.size();
    }

    /**
     * The elements of a floating tensor as floats.
     *
     * @return a copy
     */
    public float[] toFloats() {
        return HostData.toFloats(dtype, data);
    }

    /**
     * The elements of a floating tensor as doubles.
     *
     * @return a copy
     */
    public double[] toDoubles() {
        return HostData.toDoubles(dtype, data);
    }

    /**
     * The elements of an integer tensor as longs.
     *
     * @return a copy
     */
    public long[] toLongs() {
        return HostData.toLongs(dtype, data);
    }

    /**
     * The elements of an {@link DType#I32} tensor.
     *
     * @return a copy
     */
    public int[] toInts() {
        return HostData.toInts(dtype, data);
    }

    /**
     * The same values in another floating dtype, rounded to nearest even.
     *
     * @param other the dtype
     * @return this when it has that dtype already, else a copy
     */
    public HostTensor as(DType other) {
        return other == dtype ? this : new HostTensor(other, HostData.encode(other, toFloats()), shape);
    }

    @Override
    public String toString() {
        return "HostTensor[" + dtype + Arrays.toString(shape) + "]";
    }

    /** Bytes of a shape; overflow and negative dimensions are errors. */
    static long bytes(DType dtype, long[] shape) {
        long bytes = dtype.size();
        for (long dimension : shape) {
            if (dimension < 0) {
                throw new InvalidArgumentException(
                        "argument 'shape': expected dimensions of 0 or more, got " + Arrays.toString(shape));
            }
        }
        for (long dimension : shape) {
            if (dimension == 0) {
                return 0;
            }
        }
        try {
            for (long dimension : shape) {
                bytes = Math.multiplyExact(bytes, dimension);
            }
        } catch (ArithmeticException e) {
            throw new InvalidArgumentException(
                    "argument 'shape': expected less than 2^63 bytes, got " + dtype + Arrays.toString(shape));
        }
        return bytes;
    }

    private static long[] shapeOr(long length, long[] shape) {
        return shape.length == 0 ? new long[] {length} : shape;
    }
}
