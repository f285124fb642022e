package io.jindou.bench;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.EmbeddingBag;
import io.jindou.EmbeddingBagDesc;
import io.jindou.JaggedTensor;
import io.jindou.Jindou;
import io.jindou.Pooling;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_device_options;
import io.jindou.bindings.jd_embedding_bag_args;
import io.jindou.bindings.jd_embedding_bag_desc;
import io.jindou.bindings.jd_error;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * What a call costs: nothing at all through FFM and through JNI, and the smallest operator (one bag of one row) from Java and
 * from native code. Run with {@code -prof gc}: {@code javaOperator} must allocate nothing.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class CallBenchmark {
    private static final int REPEAT = 1000;

    /** A native method that does nothing. */
    private static native void jniNoop();

    /** Loads the library of {@link #jniNoop}. */
    @State(Scope.Benchmark)
    public static class Jni {
        @Setup
        public void setUp() {
            Machine.loadForJni();
        }
    }

    /** Through the public API. */
    @State(Scope.Benchmark)
    public static class Api {
        private Device device;
        private Stream stream;
        private EmbeddingBag plan;
        private JaggedTensor ids;
        private Tensor out;

        @Setup
        public void setUp() {
            device = Device.open("cpu", DeviceOptions.DEFAULT.withNumThreads(1));
            stream = Stream.create(device);
            Tensor table = Tensor.of(stream, new float[] {1, 2, 3, 4}, 1, 4);
            plan = EmbeddingBag.plan(device, EmbeddingBagDesc.of(table, Pooling.SUM, 1, 1));
            ids = JaggedTensor.of(stream, new long[] {0});
            out = Tensor.create(device, DType.F32, 1, 4);
        }

        @TearDown
        public void tearDown() {
            device.close();
        }
    }

    /** The same through the C ABI. */
    @State(Scope.Benchmark)
    public static class Native {
        private final Arena arena = Arena.ofShared();
        private final MemorySegment error = jd_error.allocate(arena);
        private final MemorySegment handle = arena.allocate(ValueLayout.JAVA_LONG);
        private MemorySegment args;
        private MemorySegment run;
        private long device;
        private long stream;
        private long plan;

        @Setup
        public void setUp() {
            Jindou.version(); // loads the library
            jd_error.struct_size(error, (int) jd_error.sizeof());
            MemorySegment options = arena.allocate(jd_device_options.layout()).fill((byte) 0);
            jd_device_options.struct_size(options, (int) jd_device_options.sizeof());
            jd_device_options.num_threads(options, 1);
            check(JindouAbi.jd_device_open(arena.allocateFrom("cpu"), options, handle, error));
            device = handle.get(ValueLayout.JAVA_LONG, 0);
            check(JindouAbi.jd_stream_create(device, handle, error));
            stream = handle.get(ValueLayout.JAVA_LONG, 0);

            long table = tensor(DType.F32, 1, 4);
            MemorySegment desc = arena.allocate(jd_embedding_bag_desc.layout()).fill((byte) 0);
            jd_embedding_bag_desc.struct_size(desc, (int) jd_embedding_bag_desc.sizeof());
            jd_embedding_bag_desc.num_tables(desc, 1);
            jd_embedding_bag_desc.tables(desc, arena.allocateFrom(ValueLayout.JAVA_LONG, table));
            jd_embedding_bag_desc.pooling(desc, JindouAbi.JD_POOL_SUM());
            jd_embedding_bag_desc.index_dtype(desc, JindouAbi.JD_I64());
            jd_embedding_bag_desc.offset_dtype(desc, JindouAbi.JD_I64());
            jd_embedding_bag_desc.max_batch(desc, 1);
            jd_embedding_bag_desc.max_ids(desc, 1);
            check(JindouAbi.jd_embedding_bag_plan(device, desc, handle, error));
            plan = handle.get(ValueLayout.JAVA_LONG, 0);

            long ids = tensor(DType.I64, 1);
            long offsets = tensor(DType.I64, 2);
            write(ids, 0);
            write(offsets, 0, 1);
            args = arena.allocate(jd_embedding_bag_args.layout()).fill((byte) 0);
            jd_embedding_bag_args.struct_size(args, (int) jd_embedding_bag_args.sizeof());
            jd_embedding_bag_args.ids(args, ids);
            jd_embedding_bag_args.offsets(args, offsets);
            jd_embedding_bag_args.out(args, tensor(DType.F32, 1, 4));
            run = JindouAbi.jd_embedding_bag_run$address();
            check(Machine.repeatRun(run, plan, stream, args, error, 1));
        }

        private long tensor(DType dtype, long... shape) {
            MemorySegment dims = arena.allocateFrom(ValueLayout.JAVA_LONG, shape);
            check(JindouAbi.jd_tensor_create(device, dtype.code(), shape.length, dims, handle, error));
            return handle.get(ValueLayout.JAVA_LONG, 0);
        }

        private void write(long tensor, long... values) {
            MemorySegment source = arena.allocateFrom(ValueLayout.JAVA_LONG, values);
            check(JindouAbi.jd_tensor_write(stream, tensor, source, source.byteSize(), error));
        }

        private void check(int status) {
            if (status != 0) {
                throw new IllegalStateException(jd_error.message(error).getString(0));
            }
        }

        @TearDown
        public void tearDown() {
            JindouAbi.jd_device_close(device, error);
            arena.close();
        }
    }

    /** A call into the library that only validates its device, through FFM. */
    @Benchmark
    public int ffmNoop(Native abi) {
        return JindouAbi.jd_noop(abi.device, abi.error);
    }

    @Benchmark
    public void jniNoop(Jni jni) {
        jniNoop();
    }

    @Benchmark
    public void javaOperator(Api api) {
        api.plan.run(api.stream, api.ids, api.out);
    }

    @Benchmark
    @OperationsPerInvocation(REPEAT)
    public int nativeOperator(Native abi) {
        return Machine.repeatRun(abi.run, abi.plan, abi.stream, abi.args, abi.error, REPEAT);
    }
}
