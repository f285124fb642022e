package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.HstuAttention;
import io.jindou.HstuAttentionDesc;
import io.jindou.HstuBias;
import io.jindou.JaggedTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.TorchFunction;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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
 * {@code hstu_attention} over a batch of 32 users with 512 targets each, 4 heads of 64, causal: histories of a mean of 1,024 events,
 * with a long tail (log-normal, at most 4,096), and a batch of 32 equal histories with as many allowed pairs, which should take as
 * long. Work: 4 * 64 * 4 * allowed pairs; the limit does exactly as many.
 *
 * <p>libtorch has no jagged attention: it pads, four users of similar length at a time (all at once it would need 20 GB for the
 * scores), computes the whole squares and masks them. Padding and masks are made before the clock starts.
 */
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 1)
@Measurement(iterations = 5)
@Fork(1)
public class JaggedHstuBenchmark {
    static final int USERS = 32;
    static final int TARGETS = 512;
    static final int HEADS = 4;
    static final int DIM = 64;
    static final int MEAN = 1024;
    static final int LONGEST = 4096;
    static final float SCALING = 4096;

    /** The lengths of the histories. */
    public enum Lengths {
        /** Log-normal with sigma 1, scaled to the mean. */
        LONG_TAIL,
        /** All equal, with as many pairs as LONG_TAIL. */
        UNIFORM
    }

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param({"LONG_TAIL", "UNIFORM"})
        public Lengths lengths;

        @Param({"1", "2"})
        public int threads;

        int[] history;
        long[] offsets;

        @Setup
        public void setUp() {
            int[] longTail = longTail();
            history = longTail;
            if (lengths == Lengths.UNIFORM) {
                long pairs = Arrays.stream(longTail).mapToLong(Shape::pairs).sum() / USERS;
                int n = 0;
                while (pairs(n + 1) <= pairs) {
                    n++;
                }
                history = new int[USERS];
                Arrays.fill(history, n);
            }
            offsets = new long[USERS + 1];
            for (int b = 0; b < USERS; b++) {
                offsets[b + 1] = offsets[b] + history[b] + TARGETS;
            }
        }

        private static int[] longTail() {
            Random random = new Random(11);
            double[] drawn = new double[USERS];
            for (int b = 0; b < USERS; b++) {
                drawn[b] = Math.exp(random.nextGaussian());
            }
            double scale = MEAN * USERS / Arrays.stream(drawn).sum();
            return Arrays.stream(drawn).mapToInt(x -> (int) Math.min(LONGEST, Math.round(x * scale))).toArray();
        }

        /** Of a user: the history is causal, a target sees the history and itself. */
        static long pairs(int history) {
            return history * (history + 1L) / 2 + (long) TARGETS * (history + 1);
        }

        double flops() {
            return 4.0 * DIM * HEADS * Arrays.stream(history).mapToLong(Shape::pairs).sum();
        }

        int rows() {
            return (int) offsets[USERS];
        }

        float[] random(long seed) {
            return Inputs.gaussian(seed, rows() * HEADS * DIM);
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
        private Tensor numTargets;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            queries = new JaggedTensor(
                    Tensor.of(stream, dtype, shape.random(1), shape.rows(), HEADS, DIM),
                    Tensor.of(stream, shape.offsets, USERS + 1));
            keys = Tensor.of(stream, dtype, shape.random(2), shape.rows(), HEADS, DIM);
            values = Tensor.of(stream, dtype, shape.random(3), shape.rows(), HEADS, DIM);
            int[] targets = new int[USERS];
            Arrays.fill(targets, TARGETS);
            numTargets = Tensor.of(stream, targets, USERS);
            out = Tensor.create(opened, dtype, shape.rows(), HEADS, DIM);
            plan = HstuAttention.plan(
                    opened, HstuAttentionDesc.of(dtype, HEADS, DIM, SCALING, USERS, LONGEST + TARGETS));
        }

        void run() {
            plan.run(stream, queries, keys, values, numTargets, null, HstuBias.NONE, out);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            queries.close();
            keys.close();
            values.close();
            numTargets.close();
            out.close();
            plan.close();
            stream.close();
            opened.close();
        }
    }

    /** libtorch: users sorted by length, padded four at a time; matmul, SiLU, mask, matmul. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        static final int ABREAST = 4;

        private TorchFunction attention;
        private final List<NDList> batches = new ArrayList<>();

        @Setup
        public void setUp(Shape shape) throws Exception {
            attention = new TorchFunction(
                    "q: Tensor, k: Tensor, v: Tensor, m: Tensor) -> Tensor:\n"
                            + "    s = torch.mul(torch.matmul(q, torch.transpose(k, 2, 3)), 0.125)\n"
                            + "    return torch.matmul(torch.mul(torch.silu(s), m), v)\n",
                    shape.threads);
            float[][] inputs = {shape.random(1), shape.random(2), shape.random(3)};
            Integer[] users = new Integer[USERS];
            Arrays.setAll(users, b -> b);
            Arrays.sort(users, (a, b) -> Integer.compare(shape.history[a], shape.history[b]));
            for (int first = 0; first < USERS; first += ABREAST) {
                int padded = shape.history[users[first + ABREAST - 1]] + TARGETS;
                NDList batch = new NDList();
                for (float[] input : inputs) {
                    batch.add(padded(shape, users, first, padded, input));
                }
                batch.add(mask(shape, users, first, padded));
                batches.add(batch);
            }
            try (NDList out = attention.run(batches.getFirst())) {
                check(shape, users, out.get(0));
            }
        }

        private NDArray padded(Shape shape, Integer[] users, int first, int padded, float[] jagged) {
            float[] values = new float[ABREAST * HEADS * padded * DIM];
            for (int u = 0; u < ABREAST; u++) {
                int b = users[first + u];
                int rows = shape.history[b] + TARGETS;
                for (int h = 0; h < HEADS; h++) {
                    for (int i = 0; i < rows; i++) {
                        System.arraycopy(jagged, (((int) shape.offsets[b] + i) * HEADS + h) * DIM, values,
                                ((u * HEADS + h) * padded + i) * DIM, DIM);
                    }
                }
            }
            return attention.tensor(values, ABREAST, HEADS, padded, DIM);
        }

        private NDArray mask(Shape shape, Integer[] users, int first, int padded) {
            float[] mask = new float[ABREAST * padded * padded];
            for (int u = 0; u < ABREAST; u++) {
                int history = shape.history[users[first + u]];
                for (int i = 0; i < history + TARGETS; i++) {
                    int row = (u * padded + i) * padded;
                    Arrays.fill(mask, row, row + Math.min(i + 1, history), 1 / SCALING);
                    mask[row + i] = 1 / SCALING;
                }
            }
            return attention.tensor(mask, ABREAST, 1, padded, padded);
        }

        /** The shortest user's rows. */
        private static void check(Shape shape, Integer[] users, NDArray result) {
            OnJindou jindou = new OnJindou();
            jindou.device = "cpu";
            jindou.dtype = DType.F32;
            jindou.setUp(shape);
            try {
                jindou.run();
                float[] out = jindou.out.readFloats(jindou.stream);
                int rows = shape.history[users[0]] + TARGETS;
                int first = (int) shape.offsets[users[0]] * HEADS * DIM;
                float[] ours = Inputs.headsFirst(
                        Arrays.copyOfRange(out, first, first + rows * HEADS * DIM), rows, HEADS, DIM);
                float[] theirs = result.toFloatArray();
                int padded = (int) result.getShape().get(2);
                float[] cut = new float[ours.length];
                for (int h = 0; h < HEADS; h++) {
                    System.arraycopy(theirs, h * padded * DIM, cut, h * rows * DIM, rows * DIM);
                }
                Compare.close("libtorch", cut, ours, 1e-4);
            } finally {
                jindou.tearDown();
            }
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
        for (NDList batch : torch.batches) {
            torch.attention.run(batch).close();
        }
    }

    @Benchmark
    public float limitFma(Shape shape) {
        return Machine.fma(shape.flops(), shape.threads);
    }
}
