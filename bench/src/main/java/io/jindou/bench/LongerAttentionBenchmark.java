package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.JaggedTensor;
import io.jindou.LongerAttention;
import io.jindou.LongerAttentionDesc;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.TorchFunction;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
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
 * {@code longer_attention}, the cross-causal layer of one user: 16 globals and the latest 100 of 2,000 merged tokens over all of them, 4
 * heads of 64. 228,906 pairs a head are allowed, 0.234 GFLOP; the two limits do exactly as many. libtorch's
 * scaled_dot_product_attention takes the mask as a tensor and computes all pairs, 2 percent more.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class LongerAttentionBenchmark {
    static final int HEADS = 4;
    static final int DIM = 64;
    static final int GLOBALS = 16;
    static final int RECENT = 100;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param("2000")
        public int history;

        @Param({"1", "2"})
        public int threads;

        int rows() {
            return GLOBALS + RECENT;
        }

        int keys() {
            return GLOBALS + history;
        }

        /** Whether a row sees a key: the globals come first in both. */
        boolean sees(int row, int key) {
            return row < GLOBALS || key < GLOBALS || key - GLOBALS <= history - RECENT + row - GLOBALS;
        }

        double flops() {
            long pairs = 0;
            for (int i = 0; i < rows(); i++) {
                for (int j = 0; j < keys(); j++) {
                    pairs += sees(i, j) ? 1 : 0;
                }
            }
            return 4.0 * DIM * HEADS * pairs;
        }

        float[] random(long seed, int rows) {
            return Inputs.gaussian(seed, rows * HEADS * DIM);
        }
    }

    /** Jindou on a device. */
    @State(Scope.Benchmark)
    public static class OnJindou {
        @Param("cpu")
        public String device;

        @Param({"F32", "BF16"})
        public DType dtype;

        private Device opened;
        private Stream stream;
        private LongerAttention plan;
        private JaggedTensor queries;
        private JaggedTensor globalKeys;
        private Tensor globalValues;
        private JaggedTensor keys;
        private Tensor values;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            float[] k = shape.random(2, shape.keys()), v = shape.random(3, shape.keys());
            int split = GLOBALS * HEADS * DIM;
            queries = jagged(shape.random(1, shape.rows()));
            globalKeys = jagged(Arrays.copyOf(k, split));
            globalValues = rows(Arrays.copyOf(v, split));
            keys = jagged(Arrays.copyOfRange(k, split, k.length));
            values = rows(Arrays.copyOfRange(v, split, v.length));
            out = Tensor.create(opened, dtype, shape.rows(), HEADS, DIM);
            plan = LongerAttention.plan(
                    opened, LongerAttentionDesc.of(dtype, HEADS, HEADS, DIM, GLOBALS, 1, RECENT, shape.history));
        }

        private Tensor rows(float[] rows) {
            return Tensor.of(stream, dtype, rows, rows.length / (HEADS * DIM), HEADS, DIM);
        }

        private JaggedTensor jagged(float[] rows) {
            return new JaggedTensor(rows(rows), Tensor.of(stream, JaggedTensor.offsets(rows.length / (HEADS * DIM))));
        }

        void run() {
            plan.run(stream, queries, globalKeys, globalValues, keys, values, out, null);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            queries.close();
            globalKeys.close();
            globalValues.close();
            keys.close();
            values.close();
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
        jindou.setUp(shape);
        try {
            jindou.run();
            return Inputs.headsFirst(jindou.out.readFloats(jindou.stream), shape.rows(), HEADS, DIM);
        } finally {
            jindou.tearDown();
        }
    }

    /** libtorch's scaled_dot_product_attention with a mask of 0 and -infinity. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        @Param({"F32", "BF16"})
        public DType dtype;

        private TorchFunction attention;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            attention = new TorchFunction(
                    "q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:\n"
                            + "    return torch.scaled_dot_product_attention(q, k, v, mask, 0., False)\n",
                    shape.threads);
            float[] mask = new float[shape.rows() * shape.keys()];
            for (int i = 0; i < mask.length; i++) {
                mask[i] = shape.sees(i / shape.keys(), i % shape.keys()) ? 0 : Float.NEGATIVE_INFINITY;
            }
            inputs = new NDList(
                    tensor(shape.random(1, shape.rows()), shape.rows()),
                    tensor(shape.random(2, shape.keys()), shape.keys()),
                    tensor(shape.random(3, shape.keys()), shape.keys()),
                    attention.tensor(dtype, mask, 1, 1, shape.rows(), shape.keys()));
            Compare.close("libtorch", attention.floats(inputs), expected(shape), dtype == DType.F32 ? 1e-4 : 5e-2);
        }

        private NDArray tensor(float[] values, int rows) throws Exception {
            return attention.tensor(dtype, Inputs.headsFirst(values, rows, HEADS, DIM), 1, HEADS, rows, DIM);
        }

        @TearDown
        public void tearDown() {
            attention.close();
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
    public float limitFma(Shape shape) {
        return Machine.fma(shape.flops(), shape.threads);
    }

    @Benchmark
    public float limitBf16Dot(Shape shape) {
        return Machine.bf16Dot(shape.flops(), shape.threads);
    }
}
