package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.JaggedTensor;
import io.jindou.StcaAttention;
import io.jindou.StcaAttentionDesc;
import io.jindou.StcaPath;
import io.jindou.StcaWeights;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.TorchFunction;
import java.util.List;
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
 * {@code stca_attention}: one user, {@code candidates} x {@code events} of a model of 1,024 in 16 heads of 64, both ways. Operations:
 * materialised 4 * 1024 * events * (1024 + candidates), reordered 4 * 1024 * 16 * events * candidates, and 2 * 1024 * 1024 (3 times that) a
 * candidate; the limits do as many as the cheaper way.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 1, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class StcaAttentionBenchmark {
    static final int DIM = 1024;
    static final int HEADS = 16;
    static final int HEAD_DIM = 64;
    static final int WIDTH = HEADS * HEAD_DIM;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param({"1", "64", "300", "1000"})
        public int candidates;

        @Param("10000")
        public int events;

        @Param({"1", "2"})
        public int threads;

        double flops(StcaPath path) {
            double projection = 2.0 * DIM * WIDTH * candidates;
            return path == StcaPath.REORDERED
                    ? 4.0 * DIM * HEADS * events * candidates + 3 * projection
                    : 4.0 * WIDTH * events * (DIM + candidates) + projection;
        }

        double flops() {
            return Math.min(flops(StcaPath.REORDERED), flops(StcaPath.MATERIALISED));
        }

        float[] candidateRows() {
            return Inputs.gaussian(1, candidates * DIM);
        }

        float[] eventRows() {
            return Inputs.gaussian(2, events * DIM);
        }

        /** Of queries, keys or values, as small as trained ones are. */
        float[] weight(int seed) {
            float[] values = Inputs.gaussian(seed, WIDTH * DIM);
            for (int i = 0; i < values.length; i++) {
                values[i] *= (float) (1 / Math.sqrt(DIM));
            }
            return values;
        }
    }

    /** Jindou on a device. */
    @State(Scope.Benchmark)
    public static class OnJindou {
        @Param("cpu")
        public String device;

        @Param({"F32", "BF16"})
        public DType dtype;

        @Param({"MATERIALISED", "REORDERED"})
        public StcaPath path;

        Stream stream;
        private Device opened;
        private StcaAttention plan;
        private JaggedTensor candidates;
        private JaggedTensor events;
        private StcaWeights weights;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            open(shape);
        }

        void open(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            candidates = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.candidateRows(), shape.candidates, DIM),
                    Tensor.of(stream, new long[] {0, shape.candidates}, 2));
            events = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.eventRows(), shape.events, DIM), Tensor.of(stream, new long[] {0, shape.events}, 2));
            weights = new StcaWeights(weight(shape, 3), weight(shape, 4), weight(shape, 5));
            out = Tensor.create(opened, dtype, shape.candidates, WIDTH);
            plan = StcaAttention.plan(
                    opened,
                    StcaAttentionDesc.of(dtype, DIM, HEADS, HEAD_DIM, 1, shape.candidates, shape.events).withPath(path));
        }

        private Tensor weight(Shape shape, int seed) {
            return Tensor.of(stream, shape.weight(seed), WIDTH, DIM);
        }

        void run() {
            plan.run(stream, candidates, events, weights, out);
            stream.synchronize();
        }

        float[] result() {
            run();
            return out.readFloats(stream);
        }

        @TearDown
        public void tearDown() {
            candidates.close();
            events.close();
            for (Tensor tensor : List.of(weights.query(), weights.key(), weights.value(), out)) {
                tensor.close();
            }
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
        jindou.path = StcaPath.MATERIALISED;
        jindou.open(shape);
        try {
            return jindou.result();
        } finally {
            jindou.tearDown();
        }
    }

    /** libtorch, materialised: linear layers and its fused scaled_dot_product_attention; weights in the inputs' dtype. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        @Param({"F32", "BF16"})
        public DType dtype;

        private TorchFunction function;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            function = new TorchFunction("""
                    c: Tensor, x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor) -> Tensor:
                        q = torch.transpose(torch.view(torch.linear(c, wq), [1, -1, 16, 64]), 1, 2)
                        k = torch.transpose(torch.view(torch.linear(x, wk), [1, -1, 16, 64]), 1, 2)
                        v = torch.transpose(torch.view(torch.linear(x, wv), [1, -1, 16, 64]), 1, 2)
                        o = torch.scaled_dot_product_attention(q, k, v)
                        return torch.reshape(torch.transpose(o, 1, 2), [-1, 1024])
                    """, shape.threads);
            inputs = new NDList(
                    tensor(shape.candidateRows(), shape.candidates),
                    tensor(shape.eventRows(), shape.events),
                    tensor(shape.weight(3), WIDTH),
                    tensor(shape.weight(4), WIDTH),
                    tensor(shape.weight(5), WIDTH));
            Compare.close("libtorch", function.floats(inputs), expected(shape), dtype == DType.F32 ? 1e-4 : 5e-3);
        }

        void run() {
            function.run(inputs).close();
        }

        private NDArray tensor(float[] values, int rows) throws Exception {
            return function.tensor(dtype, values, rows, DIM);
        }

        @TearDown
        public void tearDown() {
            function.close();
        }
    }

    @Benchmark
    public void jindou(OnJindou jindou, Shape shape) {
        jindou.run();
    }

    @Benchmark
    public void libtorch(OnTorch torch, Shape shape) {
        torch.run();
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
