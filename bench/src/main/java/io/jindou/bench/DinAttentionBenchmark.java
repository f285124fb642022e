package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.DinActivation;
import io.jindou.DinAttention;
import io.jindou.DinAttentionDesc;
import io.jindou.DinLayer;
import io.jindou.DinNetwork;
import io.jindou.JaggedTensor;
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
 * {@code din_attention}: one user, {@code candidates} x {@code events} of width 64, hidden layers of 80 and 40 sigmoids, no softmax.
 * The limit does as many operations as the folded first layer leaves: 2 * (64 * 80 + 80 * 40 + 40 + 64) a pair.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class DinAttentionBenchmark {
    static final int DIM = 64;
    static final int HIDDEN_1 = 80;
    static final int HIDDEN_2 = 40;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param("512")
        public int candidates;

        @Param("1000")
        public int events;

        @Param({"1", "2"})
        public int threads;

        double flops() {
            return 2.0 * (DIM * HIDDEN_1 + HIDDEN_1 * HIDDEN_2 + HIDDEN_2 + DIM) * candidates * events;
        }

        float[] candidateRows() {
            return Inputs.gaussian(1, candidates * DIM);
        }

        float[] keys() {
            return Inputs.gaussian(2, events * DIM);
        }

        float[] values() {
            return Inputs.gaussian(3, events * DIM);
        }
    }

    /** The network's weights and biases, in the order in which a run takes them, as small as trained ones are. */
    private static final long[][] SHAPES = {
        {HIDDEN_1, 4 * DIM}, {HIDDEN_1}, {HIDDEN_2, HIDDEN_1}, {HIDDEN_2}, {1, HIDDEN_2}, {1}
    };

    private static float[] weights(int i) {
        long count = 1;
        for (long dimension : SHAPES[i]) {
            count *= dimension;
        }
        float[] values = Inputs.gaussian(10 + i, (int) count);
        float scale = (float) (1 / Math.sqrt(SHAPES[i][SHAPES[i].length - 1]));
        for (int at = 0; at < values.length; at++) {
            values[at] *= scale;
        }
        return values;
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
        private DinAttention plan;
        private JaggedTensor candidates;
        private JaggedTensor keys;
        private Tensor values;
        private DinNetwork network;
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
            keys = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.keys(), shape.events, DIM), Tensor.of(stream, new long[] {0, shape.events}, 2));
            values = Tensor.of(stream, dtype, shape.values(), shape.events, DIM);
            network = new DinNetwork(
                    DinLayer.sigmoid(weight(0), weight(1)), DinLayer.sigmoid(weight(2), weight(3)), weight(4), weight(5));
            out = Tensor.create(opened, dtype, shape.candidates, DIM);
            plan = DinAttention.plan(
                    opened,
                    DinAttentionDesc.of(
                            dtype, DIM, HIDDEN_1, HIDDEN_2, DinActivation.sigmoid(), 1, shape.candidates, shape.events));
        }

        private Tensor weight(int i) {
            return Tensor.of(stream, weights(i), SHAPES[i]);
        }

        void run() {
            plan.run(stream, candidates, keys, values, network, out);
            stream.synchronize();
        }

        float[] result() {
            run();
            return out.readFloats(stream);
        }

        @TearDown
        public void tearDown() {
            candidates.close();
            keys.close();
            for (Tensor tensor : List.of(
                    values,
                    network.first().weight(),
                    network.first().bias(),
                    network.second().weight(),
                    network.second().bias(),
                    network.outWeight(),
                    network.outBias(),
                    out)) {
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
        jindou.open(shape);
        try {
            return jindou.result();
        } finally {
            jindou.tearDown();
        }
    }

    /** libtorch, f32: the layers laid out, [candidates, events, 4 * 64], as models are written. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        TorchFunction function;
        NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            open(shape, """
                    q: Tensor, k: Tensor, v: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor) -> Tensor:
                        a = torch.expand(torch.unsqueeze(q, 1), [%1$d, %2$d, 64])
                        b = torch.expand(torch.unsqueeze(k, 0), [%1$d, %2$d, 64])
                        x = torch.cat([a, b, torch.sub(a, b), torch.mul(a, b)], 2)
                        x1 = torch.sigmoid(torch.linear(x, w1, b1))
                        x2 = torch.sigmoid(torch.linear(x1, w2, b2))
                        w = torch.squeeze(torch.linear(x2, w3, b3), 2)
                        return torch.matmul(w, v)
                    """);
        }

        void open(Shape shape, String source) throws Exception {
            function = new TorchFunction(source.formatted(shape.candidates, shape.events), shape.threads);
            inputs = new NDList(
                    function.tensor(shape.candidateRows(), shape.candidates, DIM),
                    function.tensor(shape.keys(), shape.events, DIM),
                    function.tensor(shape.values(), shape.events, DIM));
            for (int i = 0; i < SHAPES.length; i++) {
                NDArray weight = function.tensor(weights(i), SHAPES[i]);
                inputs.add(weight);
            }
            try (NDList out = function.run(inputs)) {
                Compare.close("libtorch", out.get(0).toFloatArray(), expected(shape), 5e-3);
            }
        }

        @TearDown
        public void tearDown() {
            function.close();
        }
    }

    /** libtorch, f32, with the first layer folded into one matrix a candidate, as Jindou does it: batched products. */
    @State(Scope.Benchmark)
    public static class OnTorchFolded extends OnTorch {
        @Override
        @Setup
        public void setUp(Shape shape) throws Exception {
            open(shape, """
                    q: Tensor, k: Tensor, v: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor) -> Tensor:
                        wd = torch.slice(w1, 1, 128, 192)
                        wk = torch.sub(torch.slice(w1, 1, 64, 128), wd)
                        c = torch.linear(q, torch.add(torch.slice(w1, 1, 0, 64), wd), b1)
                        a = torch.add(wk, torch.mul(torch.slice(w1, 1, 192, 256), torch.unsqueeze(q, 1)))
                        b = torch.expand(torch.unsqueeze(k, 0), [%1$d, %2$d, 64])
                        x1 = torch.sigmoid(torch.baddbmm(torch.unsqueeze(c, 1), b, torch.transpose(a, 1, 2)))
                        x2 = torch.sigmoid(torch.linear(x1, w2, b2))
                        w = torch.squeeze(torch.linear(x2, w3, b3), 2)
                        return torch.matmul(w, v)
                    """);
        }
    }

    @Benchmark
    public void jindou(OnJindou jindou, Shape shape) {
        jindou.run();
    }

    @Benchmark
    public void libtorch(OnTorch torch, Shape shape) {
        torch.function.run(torch.inputs).close();
    }

    @Benchmark
    public void libtorchFolded(OnTorchFolded torch, Shape shape) {
        torch.function.run(torch.inputs).close();
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
