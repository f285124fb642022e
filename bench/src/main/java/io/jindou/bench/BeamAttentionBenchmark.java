package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.BeamAttention;
import io.jindou.BeamAttentionDesc;
import io.jindou.BeamSuffix;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.JaggedTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.TorchFunction;
import java.util.Random;
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
 * {@code beam_attention}: the last step of a search for semantic ids, {@code beams} beams of one request over a shared prefix of 2,000 rows
 * and suffixes of 3 levels, 4 heads of 64. 4 * 64 * 4 * 2,003 operations a beam. libtorch attends to the prefix by its flash attention, which
 * also gives the logarithms of the sums, gathers the suffixes by their ancestry, and joins both by one softmax over four weights a beam.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 1, time = 1)
@Measurement(iterations = 4, time = 1)
@Fork(1)
public class BeamAttentionBenchmark {
    static final int HEADS = 4;
    static final int DIM = 64;
    static final int LEVELS = 3;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param({"64", "256"})
        public int beams;

        @Param("2000")
        public int prefix;

        @Param({"1", "2"})
        public int threads;

        double flops() {
            return 4.0 * DIM * HEADS * beams * (prefix + LEVELS);
        }

        float[] random(int seed, int rows) {
            return Inputs.gaussian(seed, rows * HEADS * DIM);
        }

        /** [LEVELS, beams]. */
        int[] ancestry() {
            return new Random(9).ints((long) LEVELS * beams, 0, beams).toArray();
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
        private BeamAttention plan;
        private JaggedTensor queries;
        private JaggedTensor keys;
        private Tensor values;
        private BeamSuffix suffix;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            queries = jagged(shape.random(1, shape.beams), shape.beams);
            keys = jagged(shape.random(2, shape.prefix), shape.prefix);
            values = Tensor.of(stream, dtype, shape.random(3, shape.prefix), shape.prefix, HEADS, DIM);
            Tensor ancestry = Tensor.of(stream, shape.ancestry(), 1, LEVELS, shape.beams);
            suffix = new BeamSuffix(slots(shape, 4), slots(shape, 5), ancestry);
            out = Tensor.create(opened, dtype, shape.beams, HEADS, DIM);
            plan = BeamAttention.plan(opened, BeamAttentionDesc.of(dtype, HEADS, HEADS, DIM, shape.beams, 1, shape.prefix));
        }

        private JaggedTensor jagged(float[] rows, int count) {
            return new JaggedTensor(
                    Tensor.of(stream, dtype, rows, count, HEADS, DIM), Tensor.of(stream, JaggedTensor.offsets(count)));
        }

        private Tensor slots(Shape shape, int seed) {
            return Tensor.of(stream, dtype, shape.random(seed, LEVELS * shape.beams), 1, LEVELS, shape.beams, HEADS, DIM);
        }

        void run() {
            plan.run(stream, queries, keys, values, suffix, out, null);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            queries.close();
            keys.close();
            values.close();
            suffix.keys().close();
            suffix.values().close();
            suffix.ancestry().close();
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
            return Inputs.headsFirst(jindou.out.readFloats(jindou.stream), shape.beams, HEADS, DIM);
        } finally {
            jindou.tearDown();
        }
    }

    /** libtorch. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        @Param({"F32", "BF16"})
        public DType dtype;

        private TorchFunction attention;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            String gathered = "torch.permute(torch.reshape(torch.index_select(%s, 0, a), [%d, %d, %d, %d]), [2, 1, 0, 3])";
            attention = new TorchFunction(
                    ("q: Tensor, k: Tensor, v: Tensor, ks: Tensor, vs: Tensor, a: Tensor) -> Tensor:\n"
                                    + "    o, lse = torch._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0., False)\n"
                                    + "    gk = " + gathered.formatted("ks", LEVELS, shape.beams, HEADS, DIM) + "\n"
                                    + "    gv = " + gathered.formatted("vs", LEVELS, shape.beams, HEADS, DIM) + "\n"
                                    + "    s = torch.mul(torch.sum(torch.mul(gk, torch.unsqueeze(q[0], 2)), [3]), %s)\n"
                                    + "    w = torch.softmax(torch.cat([torch.unsqueeze(lse[0], 2), s], 2), 2)\n"
                                    + "    p = torch.mul(torch.narrow(w, 2, 0, 1), o[0])\n"
                                    + "    r = torch.sum(torch.mul(torch.unsqueeze(torch.narrow(w, 2, 1, %d), 3), gv), [2])\n"
                                    + "    return torch.add(p, r)\n")
                            .formatted(1 / Math.sqrt(DIM), LEVELS),
                    shape.threads);
            long[] rows = new long[LEVELS * shape.beams];
            int[] ancestry = shape.ancestry();
            for (int i = 0; i < rows.length; i++) {
                rows[i] = i / shape.beams * shape.beams + ancestry[i];
            }
            inputs = new NDList(
                    headsFirst(shape, 1, shape.beams),
                    headsFirst(shape, 2, shape.prefix),
                    headsFirst(shape, 3, shape.prefix),
                    attention.tensor(dtype, shape.random(4, rows.length), rows.length, HEADS * DIM),
                    attention.tensor(dtype, shape.random(5, rows.length), rows.length, HEADS * DIM),
                    attention.tensor(rows, rows.length));
            Compare.close("libtorch", attention.floats(inputs), expected(shape), dtype == DType.F32 ? 1e-4 : 5e-2);
        }

        private NDArray headsFirst(Shape shape, int seed, int rows) throws Exception {
            return attention.tensor(dtype, Inputs.headsFirst(shape.random(seed, rows), rows, HEADS, DIM), 1, HEADS, rows, DIM);
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
