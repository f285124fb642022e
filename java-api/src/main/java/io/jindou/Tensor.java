package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_tensor_info;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Reference;
import java.util.Arrays;
import java.util.Objects;

/**
 * Typed, strided memory of a device.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="tensor"}
 *
 * <p>Shapes and strides count elements; a tensor has up to five dimensions. Memory that Jindou allocates is aligned to 256 bytes.
 * A tensor may be used from any thread, and by several operators at once as long as none of them writes it.
 */
public final class Tensor extends NativeObject {
    private final Device device;
    private final DType dtype;
    private final long[] shape;
    private final long[] strides;
    private final long sizeBytes;
    private final boolean owned;
    private final boolean readOnly;
    /** Memory that is wrapped, or the tensor that is viewed: reachable as long as this is. */
    private final Object memory;

    private Tensor(Device device, long handle, Object memory, boolean readOnly) {
        super(handle, JindouAbi::jd_tensor_destroy);
        this.device = device;
        this.memory = memory;
        this.readOnly = readOnly;
        Call call = Call.begin();
        try {
            MemorySegment info = readInfo(call);
            int rank = jd_tensor_info.rank(info);
            this.dtype = DType.of(jd_tensor_info.dtype(info));
            this.shape = jd_tensor_info.shape(info).asSlice(0, 8L * rank).toArray(ValueLayout.JAVA_LONG);
            this.strides = jd_tensor_info.strides(info).asSlice(0, 8L * rank).toArray(ValueLayout.JAVA_LONG);
            this.sizeBytes = jd_tensor_info.size_bytes(info);
            this.owned = jd_tensor_info.owned(info) != 0;
        } catch (RuntimeException e) {
            close();
            throw e;
        } finally {
            call.end();
        }
    }

    /**
     * Allocates a contiguous tensor. Its contents are undefined.
     *
     * @param device where
     * @param dtype element type
     * @param shape dimensions, each 0 or more; none: a single element
     * @return the tensor, to be closed
     * @throws OutOfDeviceMemoryException when the memory is not there
     */
    public static Tensor create(Device device, DType dtype, long... shape) {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(shape, "shape");
        Call call = Call.begin();
        try {
            dimensions(call.shape, shape);
            call.check(JindouAbi.jd_tensor_create(
                    handle(device, "device"), dtype.code(), shape.length, call.shape, call.result, call.error));
            return new Tensor(device, call.resultLong(), null, false);
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    /**
     * Allocates an {@link DType#F32} tensor and writes values into it.
     *
     * @param stream orders the write
     * @param values as many as the shape has elements
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor, to be closed
     */
    public static Tensor of(Stream stream, float[] values, long... shape) {
        return of(stream, HostTensor.of(values, shape));
    }

    /**
     * Allocates an {@link DType#I64} tensor and writes values into it.
     *
     * @param stream orders the write
     * @param values as many as the shape has elements
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor, to be closed
     */
    public static Tensor of(Stream stream, long[] values, long... shape) {
        return of(stream, HostTensor.of(values, shape));
    }

    /**
     * Allocates an {@link DType#I32} tensor and writes values into it.
     *
     * @param stream orders the write
     * @param values as many as the shape has elements
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor, to be closed
     */
    public static Tensor of(Stream stream, int[] values, long... shape) {
        return of(stream, HostTensor.of(values, shape));
    }

    /**
     * Allocates a tensor of any floating dtype and writes values into it, rounded to nearest even.
     *
     * @param stream orders the write
     * @param dtype {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#F64}
     * @param values as many as the shape has elements
     * @param shape dimensions; none: one dimension, the number of values
     * @return the tensor, to be closed
     */
    public static Tensor of(Stream stream, DType dtype, float[] values, long... shape) {
        return of(stream, HostTensor.of(dtype, values, shape));
    }

    /**
     * Allocates a tensor and copies host data into it.
     *
     * @param stream orders the write
     * @param source dtype, shape and data, for example an entry of a {@link Safetensors} file
     * @return the tensor, to be closed
     */
    public static Tensor of(Stream stream, HostTensor source) {
        Objects.requireNonNull(source, "source");
        if (stream == null) {
            throw missing("stream");
        }
        Tensor tensor = create(stream.device(), source.dtype(), source.shape());
        try {
            tensor.write(stream, source.data());
            return tensor;
        } catch (RuntimeException e) {
            tensor.close();
            throw e;
        }
    }

    /**
     * A contiguous tensor over host memory that others own; for devices that compute in host memory ({@link DeviceInfo#hostMemory()}).
     *
     * <p>The segment must stay alive as long as the tensor and everything that uses it (plans, graphs). A read-only segment, such
     * as a mapped file, gives a tensor that no operator may write.
     *
     * @param device a device that computes in host memory
     * @param data native memory
     * @param dtype element type
     * @param shape dimensions
     * @return the tensor, to be closed; the memory stays
     * @throws InvalidArgumentException when the segment is on the Java heap or too small
     * @throws IllegalStateException when its arena is closed
     */
    public static Tensor wrap(Device device, MemorySegment data, DType dtype, long... shape) {
        Objects.requireNonNull(data, "data");
        Objects.requireNonNull(shape, "shape");
        if (!data.scope().isAlive()) {
            throw new IllegalStateException("argument 'data': expected memory that is alive, got a closed segment");
        }
        if (!data.isNative()) {
            throw new InvalidArgumentException("argument 'data': expected native memory, got a segment on the Java heap");
        }
        if (device != null && !device.info().hostMemory()) {
            throw new InvalidArgumentException("argument 'data': expected memory of the device " + device.name()
                    + " (give its address), got a host memory segment");
        }
        Tensor tensor = wrap(device, data.address(), dtype, shape, null, data, data.isReadOnly());
        if (tensor.sizeBytes > data.byteSize()) {
            tensor.close();
            throw new InvalidArgumentException("argument 'data': expected at least " + tensor.sizeBytes + " bytes for " + dtype
                    + Arrays.toString(shape) + ", got " + data.byteSize());
        }
        return tensor;
    }

    /**
     * A contiguous tensor over memory of the device that others own: JCuda, JavaCPP, DJL, a {@code cudaMalloc} of the user's.
     *
     * <p>Nothing can check the address. The memory must stay allocated as long as the tensor and everything that uses it.
     *
     * @param device the device that the memory belongs to
     * @param address of element 0
     * @param dtype element type
     * @param shape dimensions
     * @return the tensor, to be closed; the memory stays
     */
    public static Tensor wrap(Device device, long address, DType dtype, long... shape) {
        return wrap(device, address, dtype, shape, null);
    }

    /**
     * A strided tensor over memory of the device that others own, as {@link #wrap(Device, long, DType, long...)}.
     *
     * @param device the device that the memory belongs to
     * @param address of element 0
     * @param dtype element type
     * @param shape dimensions
     * @param strides in elements, one a dimension; null: contiguous
     * @return the tensor, to be closed; the memory stays
     */
    public static Tensor wrap(Device device, long address, DType dtype, long[] shape, long[] strides) {
        return wrap(device, address, dtype, shape, strides, null, false);
    }

    private static Tensor wrap(
            Device device, long address, DType dtype, long[] shape, long[] strides, Object memory, boolean readOnly) {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(shape, "shape");
        Call call = Call.begin();
        try {
            dimensions(call.shape, shape);
            call.check(JindouAbi.jd_tensor_wrap(
                    handle(device, "device"),
                    MemorySegment.ofAddress(address),
                    dtype.code(),
                    shape.length,
                    call.shape,
                    strides(call, shape, strides),
                    call.result,
                    call.error));
            return new Tensor(device, call.resultLong(), memory, readOnly);
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    /**
     * A tensor over part of this one. It keeps the memory alive, also when this tensor is closed.
     *
     * @param offset elements from this tensor's element 0 to the view's
     * @param shape dimensions of the view
     * @param strides in elements, one a dimension; null: contiguous
     * @return the view, to be closed
     * @throws InvalidArgumentException when an element of the view would lie outside this tensor
     */
    public Tensor view(long offset, long[] shape, long[] strides) {
        Objects.requireNonNull(shape, "shape");
        Call call = Call.begin();
        try {
            dimensions(call.shape, shape);
            call.check(JindouAbi.jd_tensor_view(
                    handle, offset, shape.length, call.shape, strides(call, shape, strides), call.result, call.error));
            return new Tensor(device, call.resultLong(), memory, readOnly);
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * The same memory, from element 0 on, as a contiguous tensor of another shape.
     *
     * @param newShape dimensions
     * @return the view, to be closed
     */
    public Tensor reshape(long... newShape) {
        return view(0, newShape, null);
    }

    /**
     * Part of one dimension, all of the others.
     *
     * @param dimension which
     * @param from the first index
     * @param to the index past the last
     * @return the view, to be closed
     */
    public Tensor slice(int dimension, long from, long to) {
        Objects.checkIndex(dimension, shape.length);
        Objects.checkFromToIndex(from, to, shape[dimension]);
        long[] part = shape.clone();
        part[dimension] = to - from;
        // An empty slice at the end has no first element to stand on.
        return view(to == from ? 0 : from * strides[dimension], part, strides);
    }

    /**
     * The device that the tensor belongs to.
     *
     * @return the device
     */
    public Device device() {
        return device;
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
     * The number of dimensions.
     *
     * @return 0 to 5
     */
    public int rank() {
        return shape.length;
    }

    /**
     * One dimension.
     *
     * @param index which
     * @return its size
     */
    public long dim(int index) {
        return shape[index];
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
     * All strides, in elements.
     *
     * @return a copy
     */
    public long[] strides() {
        return strides.clone();
    }

    /**
     * The number of elements.
     *
     * @return the product of the dimensions
     */
    public long elements() {
        long product = 1;
        for (long dimension : shape) {
            product *= dimension;
        }
        return product;
    }

    /**
     * The memory spanned from the first to the last element.
     *
     * @return bytes
     */
    public long sizeBytes() {
        return sizeBytes;
    }

    /**
     * Whether Jindou allocated the memory.
     *
     * @return false when it is wrapped
     */
    public boolean isOwned() {
        return owned;
    }

    /**
     * Whether operators are kept from writing it.
     *
     * @return true for a tensor over a read-only segment
     */
    public boolean isReadOnly() {
        return readOnly;
    }

    /**
     * The device address of element 0, to hand to other libraries. Valid until the tensor is closed.
     *
     * @return the address
     * @throws ClosedException when the tensor is closed
     */
    public long address() {
        Call call = Call.begin();
        try {
            return jd_tensor_info.data(readInfo(call)).address();
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * The tensor's memory itself, on a device that computes in host memory ({@link DeviceInfo#hostMemory()}), to be read and written
     * without a copy. Nothing orders that after the work of streams: synchronise first. Valid until the tensor is closed, as
     * {@link #address()}, which nothing can check.
     *
     * @return from element 0 to the last, as {@link #strides()} has them, in native order; read-only when the tensor is
     * @throws UnsupportedException when the device has memory of its own
     * @throws ClosedException when the tensor is closed
     */
    public MemorySegment hostMemory() {
        if (!device.info().hostMemory()) {
            throw new UnsupportedException("tensor: expected a device that computes in host memory, got " + device.name());
        }
        long span = 1;
        for (int i = 0; i < shape.length; i++) {
            span = shape[i] == 0 || span == 0 ? 0 : span + (shape[i] - 1) * strides[i];
        }
        MemorySegment data = MemorySegment.ofAddress(address()).reinterpret(span * dtype.size());
        return readOnly ? data.asReadOnly() : data;
    }

    /**
     * Copies host memory into the tensor, which must be contiguous. The segment may be reused when the call returns.
     *
     * @param stream orders the write
     * @param source exactly as many bytes as the tensor has; on or off the Java heap
     */
    public void write(Stream stream, MemorySegment source) {
        Objects.requireNonNull(source, "source");
        expectBytes("source", source.byteSize());
        if (readOnly) {
            throw readOnlyFailure("tensor");
        }
        if (!source.isNative()) {
            try (Arena arena = Arena.ofConfined()) {
                write(stream, arena.allocate(source.byteSize(), 8).copyFrom(source));
            }
            return;
        }
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_tensor_write(handle(stream, "stream"), handle, source, source.byteSize(), call.error));
        } catch (AssertionError e) {
            throw Failures.ofCall(e);
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
        }
    }

    /**
     * Writes floats into a floating tensor, rounded to nearest even where its dtype is narrower.
     *
     * @param stream orders the write
     * @param values as many as the tensor has elements
     */
    public void write(Stream stream, float[] values) {
        write(stream, HostData.encode(dtype, values));
    }

    /**
     * Writes integers into an {@link DType#I64} or {@link DType#I32} tensor.
     *
     * @param stream orders the write
     * @param values as many as the tensor has elements
     * @throws InvalidArgumentException when a value does not fit
     */
    public void write(Stream stream, long[] values) {
        write(stream, HostData.encode(dtype, values));
    }

    /**
     * Writes integers into an {@link DType#I32} or {@link DType#I64} tensor.
     *
     * @param stream orders the write
     * @param values as many as the tensor has elements
     */
    public void write(Stream stream, int[] values) {
        write(stream, HostData.encode(dtype, values));
    }

    /**
     * Copies the tensor, which must be contiguous, to host memory. Blocks until the stream's work is done.
     *
     * @param stream whose work to wait for
     * @param target exactly as many bytes as the tensor has; on or off the Java heap
     * @throws OutOfBoundsException as {@link Stream#synchronize()}
     */
    public void read(Stream stream, MemorySegment target) {
        Objects.requireNonNull(target, "target");
        expectBytes("target", target.byteSize());
        if (target.isReadOnly()) {
            throw new InvalidArgumentException("argument 'target': expected writable memory, got a read-only segment");
        }
        if (!target.isNative()) {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment staged = arena.allocate(target.byteSize(), 8);
                read(stream, staged);
                target.copyFrom(staged);
            }
            return;
        }
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_tensor_read(handle(stream, "stream"), handle, target, target.byteSize(), call.error));
        } catch (AssertionError e) {
            throw Failures.ofCall(e);
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
        }
    }

    /**
     * Reads a floating tensor as floats.
     *
     * @param stream whose work to wait for
     * @return its elements
     * @throws OutOfBoundsException as {@link Stream#synchronize()}
     */
    public float[] readFloats(Stream stream) {
        try (Arena arena = Arena.ofConfined()) {
            return HostData.toFloats(dtype, readAll(stream, arena));
        }
    }

    /**
     * Reads an integer tensor as longs.
     *
     * @param stream whose work to wait for
     * @return its elements
     * @throws OutOfBoundsException as {@link Stream#synchronize()}
     */
    public long[] readLongs(Stream stream) {
        try (Arena arena = Arena.ofConfined()) {
            return HostData.toLongs(dtype, readAll(stream, arena));
        }
    }

    /**
     * Reads an {@link DType#I32} tensor.
     *
     * @param stream whose work to wait for
     * @return its elements
     * @throws OutOfBoundsException as {@link Stream#synchronize()}
     */
    public int[] readInts(Stream stream) {
        try (Arena arena = Arena.ofConfined()) {
            return HostData.toInts(dtype, readAll(stream, arena));
        }
    }

    /**
     * Reads the tensor with its dtype and shape.
     *
     * @param stream whose work to wait for
     * @return a copy on the Java heap
     * @throws OutOfBoundsException as {@link Stream#synchronize()}
     */
    public HostTensor readHost(Stream stream) {
        byte[] bytes = new byte[Math.toIntExact(sizeBytes)];
        MemorySegment data = MemorySegment.ofArray(bytes);
        read(stream, data);
        return new HostTensor(dtype, data, shape);
    }

    /**
     * Enqueues a copy from host memory into the tensor, which must be contiguous. Does not block: the source must stay as it is until the
     * stream has done it.
     *
     * @param stream orders the copy
     * @param source as many bytes as the tensor has are copied, of the stream's device
     * @param offset of the first of them
     */
    public void writeFrom(Stream stream, HostMemory source, long offset) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_tensor_write_from(
                    handle(stream, "stream"), output(this, "tensor"), handle(source, "source"), offset, sizeBytes, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(source);
        }
    }

    /**
     * Enqueues a copy of the tensor, which must be contiguous, into host memory. Does not block, and is no synchronisation: the target holds
     * the tensor when the stream has done it.
     *
     * @param stream orders the copy
     * @param target of the stream's device
     * @param offset of the first byte that is written
     */
    public void readInto(Stream stream, HostMemory target, long offset) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_tensor_read_into(
                    handle(stream, "stream"), handle, handle(target, "target"), offset, sizeBytes, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(target);
        }
    }

    /**
     * Enqueues a copy of another tensor into this one: both contiguous, of one dtype and number of elements, on the stream's device.
     *
     * @param stream orders the copy
     * @param source what to copy
     */
    public void copyFrom(Stream stream, Tensor source) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_tensor_copy(
                    handle(stream, "stream"), output(this, "target"), handle(source, "source"), call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(source);
        }
    }

    /**
     * Enqueues setting every byte of the tensor, which must be contiguous.
     *
     * @param stream orders the fill
     * @param value the byte, 0 for zeros of every dtype
     */
    public void fill(Stream stream, int value) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_tensor_fill(handle(stream, "stream"), output(this, "tensor"), (byte) value, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
        }
    }

    @Override
    public String toString() {
        return "Tensor[" + dtype + Arrays.toString(shape) + ", " + device.name() + "]";
    }

    /** The handle of a tensor that a call writes. */
    static long output(Tensor tensor, String argument) {
        if (tensor == null) {
            throw missing(argument);
        }
        if (tensor.readOnly) {
            throw readOnlyFailure(argument);
        }
        return tensor.handle;
    }

    private static InvalidArgumentException readOnlyFailure(String argument) {
        return new InvalidArgumentException(
                "argument '" + argument + "': expected a tensor that may be written, got one over a read-only segment");
    }

    private MemorySegment readAll(Stream stream, Arena arena) {
        MemorySegment data = arena.allocate(sizeBytes, 8);
        read(stream, data);
        return data;
    }

    private void expectBytes(String argument, long bytes) {
        if (bytes != sizeBytes) {
            throw new InvalidArgumentException("argument '" + argument + "': expected " + sizeBytes + " bytes (" + dtype
                    + Arrays.toString(shape) + "), got " + bytes);
        }
    }

    private MemorySegment readInfo(Call call) {
        MemorySegment info = call.cleared(jd_tensor_info.sizeof());
        jd_tensor_info.struct_size(info, (int) jd_tensor_info.sizeof());
        call.check(JindouAbi.jd_tensor_get_info(handle, info, call.error));
        return info;
    }

    /** Ranks past the maximum are reported by the native library; only what fits is copied. */
    private static void dimensions(MemorySegment target, long[] values) {
        MemorySegment.copy(values, 0, target, ValueLayout.JAVA_LONG, 0, Math.min(values.length, JindouAbi.JD_MAX_RANK()));
    }

    private static MemorySegment strides(Call call, long[] shape, long[] strides) {
        if (strides == null) {
            return MemorySegment.NULL;
        }
        if (strides.length != shape.length) {
            throw new InvalidArgumentException(
                    "argument 'strides': expected " + shape.length + " (one a dimension), got " + strides.length);
        }
        dimensions(call.strides, strides);
        return call.strides;
    }
}
