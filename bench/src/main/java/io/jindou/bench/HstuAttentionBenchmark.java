package io.jindou.bench;

import ai.djl.ndarray.NDList;
import ai.onnxruntime.OnnxTensor;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.HstuAttention;
import io.jindou.HstuAttentionDesc;
import io.jindou.JaggedTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.OnnxAttention;
import io.jindou.bench.peers.TorchFunction;
import java.nio.FloatBuffer;
import java.util.Map;
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
 * {@code hstu_attention}: one causal sequence of {@code tokens}, 4 heads of 64. Work: 4 * 64 * 4 * tokens * (tokens + 1) / 2
 * operations; the limit does exactly as many. The peers compute the whole square and mask it: they have no causal SiLU attention.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class HstuAttentionBenchmark {
    static final int HEADS = 4;
    static final int DIM = 64;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param("2048")
        public int tokens;

        @Param({"1", "2"})
        public int threads;

        double flops() {
            return 4.0 * DIM * HEADS * tokens * (tokens + 1.0) / 2;
        }

        float[] random(long seed) {
            return Inputs.gaussian(seed, tokens * HEADS * DIM);
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
        private HstuAttention plan;
        private JaggedTensor queries;
        private Tensor keys;
        private Tensor values;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            queries = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.random(1), shape.tokens, HEADS, DIM),
                    Tensor.of(stream, new long[] {0, shape.tokens}, 2));
            keys = Tensor.of(stream, dtype, shape.random(2), shape.tokens, HEADS, DIM);
            values = Tensor.of(stream, dtype, shape.random(3), shape.tokens, HEADS, DIM);
            out = Tensor.create(opened, dtype, shape.tokens, HEADS, DIM);
            plan = HstuAttention.plan(
                    opened, HstuAttentionDesc.of(dtype, HEADS, DIM, shape.tokens, 1, shape.tokens));
        }

        void run() {
            plan.run(stream, queries, keys, values, out);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            queries.close();
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
            return Inputs.headsFirst(jindou.out.readFloats(jindou.stream), shape.tokens, HEADS, DIM);
        } finally {
            jindou.tearDown();
        }
    }

    /** libtorch: matmul, SiLU, mask, matmul. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        private TorchFunction attention;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            attention = new TorchFunction(
                    "q: Tensor, k: Tensor, v: Tensor, m: Tensor) -> Tensor:\n"
                            + "    s = torch.mul(torch.matmul(q, torch.transpose(k, 2, 3)), 0.125)\n"
                            + "    return torch.matmul(torch.mul(torch.silu(s), m), v)\n",
                    shape.threads);
            int n = shape.tokens;
            float[] mask = new float[n * n];
            for (int i = 0; i < n; i++) {
                java.util.Arrays.fill(mask, i * n, i * n + i + 1, 1f / n);
            }
            inputs = new NDList(
                    attention.tensor(Inputs.headsFirst(shape.random(1), n, HEADS, DIM), 1, HEADS, n, DIM),
                    attention.tensor(Inputs.headsFirst(shape.random(2), n, HEADS, DIM), 1, HEADS, n, DIM),
                    attention.tensor(Inputs.headsFirst(shape.random(3), n, HEADS, DIM), 1, HEADS, n, DIM),
                    attention.tensor(mask, 1, 1, n, n));
            try (NDList out = attention.run(inputs)) {
                Compare.close("libtorch", out.get(0).toFloatArray(), expected(shape), 1e-4);
            }
        }

        @TearDown
        public void tearDown() {
            attention.close();
        }
    }

    /** ONNX Runtime: MatMul, Sigmoid, Mul, mask, MatMul. */
    @State(Scope.Benchmark)
    public static class OnOnnx {
        private OnnxAttention attention;
        private Map<String, OnnxTensor> inputs;
        private Map<String, OnnxTensor> outputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            int n = shape.tokens;
            attention = OnnxAttention.silu(HEADS, n, DIM, shape.threads);
            FloatBuffer out = Inputs.direct(new float[n * HEADS * DIM]);
            inputs = Map.of(
                    "q", attention.tensor(Inputs.direct(Inputs.headsFirst(shape.random(1), n, HEADS, DIM)), 1, HEADS, n, DIM),
                    "k", attention.tensor(Inputs.direct(Inputs.transposed(shape.random(2), n, HEADS, DIM)), 1, HEADS, DIM, n),
                    "v", attention.tensor(Inputs.direct(Inputs.headsFirst(shape.random(3), n, HEADS, DIM)), 1, HEADS, n, DIM));
            outputs = Map.of("out", attention.tensor(out, 1, HEADS, n, DIM));
            attention.run(inputs, outputs).close();
            float[] got = new float[out.capacity()];
            out.get(0, got);
            Compare.close("ONNX Runtime", got, expected(shape), 1e-4);
        }

        @TearDown
        public void tearDown() throws Exception {
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
    public void onnxruntime(OnOnnx onnx, Shape shape) throws Exception {
        onnx.attention.run(onnx.inputs, onnx.outputs).close();
    }

    @Benchmark
    public float limitFma(Shape shape) {
        return Machine.fma(shape.flops(), shape.threads);
    }
}
