package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtSession;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.JaggedTensor;
import io.jindou.Stream;
import io.jindou.TargetAttention;
import io.jindou.TargetAttentionDesc;
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
 * {@code target_attention}: one user, {@code candidates} x {@code events}, 4 heads of 64. Work: 4 * 64 * 4 * candidates * events
 * operations (5.24 GFLOP at 512 x 10,000); the two limits do exactly as many.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class TargetAttentionBenchmark {
    static final int HEADS = 4;
    static final int DIM = 64;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param("512")
        public int candidates;

        @Param("10000")
        public int events;

        @Param({"1", "2"})
        public int threads;

        double flops() {
            return 4.0 * DIM * HEADS * candidates * events;
        }

        float[] queries() {
            return Inputs.gaussian(1, candidates * HEADS * DIM);
        }

        float[] keys() {
            return Inputs.gaussian(2, events * HEADS * DIM);
        }

        float[] values() {
            return Inputs.gaussian(3, events * HEADS * DIM);
        }
    }

    /** Jindou on a device. */
    @State(Scope.Benchmark)
    public static class OnJindou {
        @Param("cpu")
        public String device;

        @Param({"F32", "BF16"})
        public DType dtype;

        Stream stream;
        private Device opened;
        private TargetAttention plan;
        private JaggedTensor queries;
        private JaggedTensor keys;
        private Tensor values;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            open(shape);
        }

        void open(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            queries = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.queries(), shape.candidates, HEADS, DIM),
                    Tensor.of(stream, new long[] {0, shape.candidates}, 2));
            keys = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.keys(), shape.events, HEADS, DIM),
                    Tensor.of(stream, new long[] {0, shape.events}, 2));
            values = Tensor.of(stream, dtype, shape.values(), shape.events, HEADS, DIM);
            out = Tensor.create(opened, dtype, shape.candidates, HEADS, DIM);
            plan = TargetAttention.plan(
                    opened, TargetAttentionDesc.of(dtype, HEADS, DIM, 1, shape.candidates, shape.events));
        }

        void run() {
            plan.run(stream, queries, keys, values, out);
            stream.synchronize();
        }

        float[] result() {
            run();
            return out.readFloats(stream);
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

    /** What the peers must agree with: Jindou's f32 result on the CPU, itself tested against float64. */
    private static float[] expected(Shape shape) {
        OnJindou jindou = new OnJindou();
        jindou.device = "cpu";
        jindou.dtype = DType.F32;
        jindou.open(shape);
        try {
            return Inputs.headsFirst(jindou.result(), shape.candidates, HEADS, DIM);
        } finally {
            jindou.tearDown();
        }
    }

    /** libtorch's fused scaled_dot_product_attention. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        @Param({"F32", "BF16"})
        public DType dtype;

        private TorchFunction attention;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            attention = new TorchFunction(
                    "q: Tensor, k: Tensor, v: Tensor) -> Tensor:\n    return torch.scaled_dot_product_attention(q, k, v)\n",
                    shape.threads);
            inputs = new NDList(
                    tensor(shape.queries(), shape.candidates),
                    tensor(shape.keys(), shape.events),
                    tensor(shape.values(), shape.events));
            Compare.close("libtorch", attention.floats(inputs), expected(shape), dtype == DType.F32 ? 1e-4 : 5e-3);
        }

        private NDArray tensor(float[] values, int tokens) throws Exception {
            return attention.tensor(dtype, Inputs.headsFirst(values, tokens, HEADS, DIM), 1, HEADS, tokens, DIM);
        }

        @TearDown
        public void tearDown() {
            attention.close();
        }
    }

    /** ONNX Runtime: MatMul, Softmax, MatMul; keys are stored transposed, which is its fastest layout. */
    @State(Scope.Benchmark)
    public static class OnOnnx {
        private OnnxAttention attention;
        private Map<String, OnnxTensor> inputs;
        private Map<String, OnnxTensor> outputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            attention = OnnxAttention.softmax(HEADS, shape.candidates, shape.events, DIM, shape.threads);
            FloatBuffer out = Inputs.direct(new float[shape.candidates * HEADS * DIM]);
            inputs = Map.of(
                    "q", attention.tensor(
                            Inputs.direct(Inputs.headsFirst(shape.queries(), shape.candidates, HEADS, DIM)),
                            1, HEADS, shape.candidates, DIM),
                    "k", attention.tensor(
                            Inputs.direct(Inputs.transposed(shape.keys(), shape.events, HEADS, DIM)), 1, HEADS, DIM, shape.events),
                    "v", attention.tensor(
                            Inputs.direct(Inputs.headsFirst(shape.values(), shape.events, HEADS, DIM)), 1, HEADS, shape.events, DIM));
            outputs = Map.of("out", attention.tensor(out, 1, HEADS, shape.candidates, DIM));
            run().close();
            float[] got = new float[out.capacity()];
            out.get(0, got);
            Compare.close("ONNX Runtime", got, expected(shape), 1e-4);
        }

        OrtSession.Result run() throws Exception {
            return attention.run(inputs, outputs);
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
        onnx.run().close();
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
