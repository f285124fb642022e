package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.onnxruntime.OnnxTensor;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.JaggedTensor;
import io.jindou.SoftmaxAttention;
import io.jindou.SoftmaxAttentionDesc;
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
 * {@code softmax_attention}: one causal sequence of {@code tokens}, 4 heads of 64. Work: 4 * 64 * 4 * tokens * (tokens + 1) / 2
 * operations; the two limits do exactly as many. libtorch has a fused causal kernel; ONNX Runtime computes the whole square and masks it.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class SoftmaxAttentionBenchmark {
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
        private SoftmaxAttention plan;
        private JaggedTensor queries;
        private JaggedTensor keys;
        private Tensor values;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            queries = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.random(1), shape.tokens, HEADS, DIM),
                    Tensor.of(stream, new long[] {0, shape.tokens}, 2));
            keys = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.random(2), shape.tokens, HEADS, DIM),
                    Tensor.of(stream, new long[] {0, shape.tokens}, 2));
            values = Tensor.of(stream, dtype, shape.random(3), shape.tokens, HEADS, DIM);
            out = Tensor.create(opened, dtype, shape.tokens, HEADS, DIM);
            plan = SoftmaxAttention.plan(opened, SoftmaxAttentionDesc.of(dtype, HEADS, DIM, 1, shape.tokens));
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

    /** libtorch's fused scaled_dot_product_attention, causal. */
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
                            + "    return torch.scaled_dot_product_attention(q, k, v, None, 0., True)\n",
                    shape.threads);
            inputs = new NDList(tensor(shape, 1), tensor(shape, 2), tensor(shape, 3));
            Compare.close("libtorch", attention.floats(inputs), expected(shape), dtype == DType.F32 ? 1e-4 : 5e-2);
        }

        private NDArray tensor(Shape shape, long seed) throws Exception {
            return attention.tensor(dtype, Inputs.headsFirst(shape.random(seed), shape.tokens, HEADS, DIM), 1, HEADS, shape.tokens, DIM);
        }

        @TearDown
        public void tearDown() {
            attention.close();
        }
    }

    /** ONNX Runtime: MatMul, mask, Softmax, MatMul; keys are stored transposed, which is its fastest layout. */
    @State(Scope.Benchmark)
    public static class OnOnnx {
        private OnnxAttention attention;
        private Map<String, OnnxTensor> inputs;
        private Map<String, OnnxTensor> outputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            int n = shape.tokens;
            attention = OnnxAttention.causal(HEADS, n, DIM, shape.threads);
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

    @Benchmark
    public float limitBf16Dot(Shape shape) {
        return Machine.bf16Dot(shape.flops(), shape.threads);
    }
}
