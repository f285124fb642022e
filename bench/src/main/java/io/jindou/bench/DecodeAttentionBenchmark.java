package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.DecodeAttention;
import io.jindou.DecodeAttentionDesc;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.JaggedTensor;
import io.jindou.PagedCache;
import io.jindou.PagedCacheDesc;
import io.jindou.PagedKeysValues;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.TorchFunction;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * {@code decode_attention}: one query a user, 8 heads over 2 of keys and values, behind 4,096 rows in pages of 64. Reads 2 * 2 * 64 * 4,096
 * elements a user and does 4 operations a query head and element of the keys: with 16 users (67 MB in f32) memory is the limit. libtorch's
 * scaled_dot_product_attention has its keys and values in one piece, heads first, and the 4 heads of a group as rows of one query.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 1, time = 1)
@Measurement(iterations = 4, time = 1)
@Fork(1)
public class DecodeAttentionBenchmark {
    static final int HEADS = 8;
    static final int KV_HEADS = 2;
    static final int DIM = 64;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param({"1", "16"})
        public int users;

        @Param("4096")
        public int rows;

        @Param({"1", "2"})
        public int threads;

        float[] queries() {
            return Inputs.gaussian(1, users * HEADS * DIM);
        }

        /** Of one user: [rows, KV_HEADS, DIM]. */
        float[] keys(int user) {
            return Inputs.gaussian(100 + user, rows * KV_HEADS * DIM);
        }

        float[] values(int user) {
            return Inputs.gaussian(200 + user, rows * KV_HEADS * DIM);
        }

        double flops() {
            return 4.0 * users * HEADS * DIM * rows;
        }
    }

    /** Jindou on a device. */
    @State(Scope.Benchmark)
    public static class OnJindou {
        @Param("cpu")
        public String device;

        @Param({"F32", "BF16"})
        public DType dtype;

        /** SAME or I8. */
        @Param({"SAME", "I8"})
        public String pages;

        private Device opened;
        private Stream stream;
        private DecodeAttention plan;
        private JaggedTensor queries;
        private PagedCache cache;
        private PagedKeysValues all;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            DType ofPages = pages.equals("SAME") ? dtype : DType.valueOf(pages);
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            int[] one = new int[shape.users];
            Arrays.fill(one, 1);
            queries = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.queries(), shape.users, HEADS, DIM), Tensor.of(stream, JaggedTensor.offsets(one)));
            cache = PagedCache.create(
                    opened,
                    PagedCacheDesc.of(dtype, (shape.rows + 63L) / 64 * shape.users, KV_HEADS, DIM).withCacheDType(ofPages));
            for (int user = 0; user < shape.users; user++) {
                try (Tensor keys = Tensor.of(stream, dtype, shape.keys(user), shape.rows, KV_HEADS, DIM);
                        Tensor values = Tensor.of(stream, dtype, shape.values(user), shape.rows, KV_HEADS, DIM)) {
                    cache.append(stream, user, keys, values);
                }
            }
            all = cache.batch(stream, LongStream.range(0, shape.users).toArray());
            out = Tensor.create(opened, dtype, shape.users, HEADS, DIM);
            plan = DecodeAttention.plan(
                    opened,
                    DecodeAttentionDesc.of(dtype, HEADS, KV_HEADS, DIM, shape.users, shape.rows).withCacheDType(ofPages));
        }

        void run() {
            plan.run(stream, queries, all, out);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            all.close();
            cache.close();
            queries.close();
            out.close();
            plan.close();
            stream.close();
            opened.close();
        }
    }

    private static float[] expected(Shape shape) {
        OnJindou jindou = new OnJindou();
        jindou.device = "cpu";
        jindou.dtype = DType.F32;
        jindou.pages = "SAME";
        jindou.setUp(shape);
        try {
            jindou.run();
            return jindou.out.readFloats(jindou.stream);
        } finally {
            jindou.tearDown();
        }
    }

    /** libtorch, without a cache in pages. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        @Param({"F32", "BF16"})
        public DType dtype;

        private TorchFunction attention;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            attention = new TorchFunction(
                    "q: Tensor, k: Tensor, v: Tensor) -> Tensor:\n"
                            + "    return torch.scaled_dot_product_attention(q, k, v, None, 0., False)\n",
                    shape.threads);
            int width = shape.rows * KV_HEADS * DIM;
            float[] keys = new float[shape.users * width];
            float[] values = new float[shape.users * width];
            for (int user = 0; user < shape.users; user++) {
                System.arraycopy(Inputs.headsFirst(shape.keys(user), shape.rows, KV_HEADS, DIM), 0, keys, user * width, width);
                System.arraycopy(Inputs.headsFirst(shape.values(user), shape.rows, KV_HEADS, DIM), 0, values, user * width, width);
            }
            inputs = new NDList(
                    attention.tensor(dtype, shape.queries(), shape.users, KV_HEADS, HEADS / KV_HEADS, DIM),
                    attention.tensor(dtype, keys, shape.users, KV_HEADS, shape.rows, DIM),
                    attention.tensor(dtype, values, shape.users, KV_HEADS, shape.rows, DIM));
            Compare.close("libtorch", attention.floats(inputs), expected(shape), dtype == DType.F32 ? 1e-4 : 2e-2);
        }

        @TearDown
        public void tearDown() {
            attention.close();
        }
    }

    /** The bytes of all keys and values in f32. */
    @State(Scope.Benchmark)
    public static class Memory {
        private ReadLimit cache;

        @Setup
        public void setUp(Shape shape) {
            cache = new ReadLimit(2L * 4 * shape.users * shape.rows * KV_HEADS * DIM);
        }
    }

    @Benchmark
    public void jindou(OnJindou jindou, Shape shape) {
        jindou.run();
    }

    @Benchmark
    public void libtorch(OnTorch torch, Shape shape) {
        torch.attention.run(torch.inputs).close();
    }

    @Benchmark
    public long limitRead(Memory memory, Shape shape) {
        return memory.cache.read(shape.threads);
    }

    @Benchmark
    public float limitFma(Shape shape) {
        return Machine.fma(shape.flops(), shape.threads);
    }
}
