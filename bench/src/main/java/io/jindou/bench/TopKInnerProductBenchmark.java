package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.TopKInnerProduct;
import io.jindou.TopKInnerProductDesc;
import io.jindou.bench.peers.TorchFunction;
import java.util.BitSet;
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
 * {@code top_k_inner_product}: the k best of {@code items} rows of 64 for each of {@code queries}; libtorch: matmul and topk. Work: 2 * 64 *
 * queries * items operations (2.05 GFLOP at 16 x 1,000,000), and every item read once (256 MB in f32), which the limits do too.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(1)
public class TopKInnerProductBenchmark {
    static final int DIM = 64;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param({"1", "16"})
        public int queries;

        @Param("1000000")
        public int items;

        @Param("100")
        public int k;

        @Param({"1", "2"})
        public int threads;

        double flops() {
            return 2.0 * DIM * queries * items;
        }

        float[] queryRows() {
            return Inputs.gaussian(1, queries * DIM);
        }

        float[] itemRows() {
            return Inputs.gaussian(2, items * DIM);
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
        private TopKInnerProduct search;
        private Tensor queries;
        private Tensor items;
        private Tensor tenth;
        private Tensor indices;
        private Tensor scores;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            queries = Tensor.of(stream, dtype, shape.queryRows(), shape.queries, DIM);
            items = Tensor.of(stream, dtype, shape.itemRows(), shape.items, DIM);
            BitSet allowed = new BitSet(shape.items);
            new Random(3).ints(shape.items / 10, 0, shape.items).forEach(allowed::set);
            tenth = TopKInnerProduct.bitmap(stream, allowed, shape.items);
            indices = Tensor.create(opened, DType.I64, shape.queries, shape.k);
            scores = Tensor.create(opened, DType.F32, shape.queries, shape.k);
            search = TopKInnerProduct.plan(opened, TopKInnerProductDesc.of(items, shape.k, shape.queries));
        }

        void run(Tensor allowed) {
            search.run(stream, queries, items, allowed, indices, scores);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            opened.close();
        }
    }

    /** libtorch; the results are compared with Jindou's f32 ones on the CPU, themselves tested against float64. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        @Param({"F32", "BF16"})
        public DType dtype;

        private TorchFunction search;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            search = new TorchFunction(
                    "q: Tensor, x: Tensor) -> Tuple[Tensor, Tensor]:\n    s = torch.matmul(q, torch.t(x))\n"
                            + "    v, i = torch.topk(s, %d, 1, True, True)\n    return (v, i)\n".formatted(shape.k),
                    shape.threads);
            inputs = new NDList(
                    tensor(shape.queryRows(), shape.queries), tensor(shape.itemRows(), shape.items));
            OnJindou jindou = new OnJindou();
            jindou.device = "cpu";
            jindou.dtype = DType.F32;
            jindou.setUp(shape);
            jindou.run(null);
            float[] scores = jindou.scores.readFloats(jindou.stream);
            jindou.tearDown();
            // In bf16 scores are rounded to 8 bits, so that others are found.
            Compare.close("libtorch", search.floats(inputs), scores, dtype == DType.F32 ? 1e-3 : 0.3);
        }

        private NDArray tensor(float[] values, int rows) throws Exception {
            return search.tensor(dtype, values, rows, DIM);
        }

        @TearDown
        public void tearDown() {
            search.close();
        }
    }

    @Benchmark
    public void jindou(OnJindou jindou, Shape shape) {
        jindou.run(null);
    }

    @Benchmark
    public void jindouOfATenth(OnJindou jindou, Shape shape) {
        jindou.run(jindou.tenth);
    }

    @Benchmark
    public void libtorch(OnTorch torch, Shape shape) {
        torch.search.run(torch.inputs).close();
    }

    /** The items' bytes in f32. */
    @State(Scope.Benchmark)
    public static class Memory {
        private ReadLimit items;

        @Setup
        public void setUp(Shape shape) {
            items = new ReadLimit(4L * DIM * shape.items);
        }
    }

    @Benchmark
    public long limitRead(Memory memory, Shape shape) {
        return memory.items.read(shape.threads);
    }

    @Benchmark
    public float limitFma(Shape shape) {
        return Machine.fma(shape.flops(), shape.threads);
    }
}
