package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.HistorySearch;
import io.jindou.HistorySearchDesc;
import io.jindou.JaggedTensor;
import io.jindou.SearchAttention;
import io.jindou.SearchAttentionDesc;
import io.jindou.SearchMethod;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.TorchFunction;
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
 * {@code history_search}: the k best of {@code events} for each of {@code candidates}, by products of 64, by signatures of 128 bits, by
 * category; and SIM end to end, {@code search_attention} with one head of 64 over the events found by products. libtorch: matmul and topk,
 * then gather and scaled_dot_product_attention. Work of the products: 2 * 64 * candidates * events operations (6.55 GFLOP at 512 x
 * 100,000), which the limits do too.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(1)
public class HistorySearchBenchmark {
    static final int DIM = 64;
    static final int BITS = 128;

    /** The shape. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param("512")
        public int candidates;

        @Param("100000")
        public int events;

        @Param("64")
        public int k;

        @Param({"1", "2"})
        public int threads;

        double flops() {
            return 2.0 * DIM * candidates * events;
        }

        float[] queries() {
            return Inputs.gaussian(1, candidates * DIM);
        }

        float[] keys() {
            return Inputs.gaussian(2, events * DIM);
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
        private HistorySearch search;
        private HistorySearch searchSignatures;
        private HistorySearch searchCategories;
        private SearchAttention attention;
        private JaggedTensor queries;
        private JaggedTensor keys;
        private JaggedTensor querySignatures;
        private JaggedTensor keySignatures;
        private JaggedTensor queryCategories;
        private JaggedTensor keyCategories;
        private JaggedTensor queryHeads;
        private JaggedTensor keyHeads;
        private Tensor indices;
        private Tensor scores;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            Tensor candidateOffsets = Tensor.of(stream, JaggedTensor.offsets(shape.candidates));
            Tensor historyOffsets = Tensor.of(stream, JaggedTensor.offsets(shape.events));
            queries = new JaggedTensor(Tensor.of(stream, dtype, shape.queries(), shape.candidates, DIM), candidateOffsets);
            keys = new JaggedTensor(Tensor.of(stream, dtype, shape.keys(), shape.events, DIM), historyOffsets);
            queryHeads = queries.withValues(Tensor.of(stream, dtype, shape.queries(), shape.candidates, 1, DIM));
            keyHeads = keys.withValues(Tensor.of(stream, dtype, shape.keys(), shape.events, 1, DIM));
            querySignatures = queries.withValues(Tensor.create(opened, DType.I64, shape.candidates, BITS / 64));
            keySignatures = keys.withValues(Tensor.create(opened, DType.I64, shape.events, BITS / 64));
            try (Tensor projection = Tensor.of(stream, dtype, Inputs.gaussian(3, BITS * DIM), BITS, DIM)) {
                HistorySearch.signatures(stream, queries.values(), projection, querySignatures.values());
                HistorySearch.signatures(stream, keys.values(), projection, keySignatures.values());
                stream.synchronize();
            }
            queryCategories = queries.withValues(categories(shape.candidates));
            keyCategories = keys.withValues(categories(shape.events));
            indices = Tensor.create(opened, DType.I32, shape.candidates, shape.k);
            scores = Tensor.create(opened, DType.F32, shape.candidates, shape.k);
            out = Tensor.create(opened, dtype, shape.candidates, 1, DIM);
            search = plan(shape, SearchMethod.dot(dtype, DIM));
            searchSignatures = plan(shape, SearchMethod.lsh(BITS));
            searchCategories = plan(shape, SearchMethod.hard(DType.I64));
            attention = SearchAttention.plan(
                    opened, SearchAttentionDesc.of(dtype, 1, DIM, shape.k, 1, shape.candidates, shape.events));
        }

        private HistorySearch plan(Shape shape, SearchMethod method) {
            return HistorySearch.plan(
                    opened, HistorySearchDesc.of(method, shape.k, 1, shape.candidates, shape.events));
        }

        private Tensor categories(int count) {
            return Tensor.of(stream, new java.util.Random(count).longs(count, 0, 500).toArray(), count);
        }

        void dot() {
            search.run(stream, queries, keys, null, indices, scores, null);
            stream.synchronize();
        }

        void lsh() {
            searchSignatures.run(stream, querySignatures, keySignatures, indices);
            stream.synchronize();
        }

        void hard() {
            searchCategories.run(stream, queryCategories, keyCategories, indices);
            stream.synchronize();
        }

        void sim() {
            search.run(stream, queries, keys, indices);
            attention.run(stream, queryHeads, keyHeads, keyHeads.values(), indices, out);
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
        private TorchFunction sim;
        private NDList inputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            String topK = "    s = torch.matmul(q, torch.t(k))\n    v, i = torch.topk(s, %d, 1, True, True)\n".formatted(shape.k);
            search = new TorchFunction(
                    "q: Tensor, k: Tensor) -> Tuple[Tensor, Tensor]:\n" + topK + "    return (v, i)\n", shape.threads);
            sim = new TorchFunction(
                    "q: Tensor, k: Tensor) -> Tensor:\n" + topK
                            + "    rows = torch.reshape(torch.index_select(k, 0, torch.reshape(i, [-1])), [%d, %d, %d])\n"
                                    .formatted(shape.candidates, shape.k, DIM)
                            + "    return torch.scaled_dot_product_attention(torch.unsqueeze(q, 1), rows, rows)\n",
                    shape.threads);
            inputs = new NDList(
                    tensor(shape.queries(), shape.candidates), tensor(shape.keys(), shape.events));
            OnJindou jindou = new OnJindou();
            jindou.device = "cpu";
            jindou.dtype = DType.F32;
            jindou.setUp(shape);
            jindou.dot();
            float[] scores = jindou.scores.readFloats(jindou.stream);
            jindou.sim();
            float[] attended = jindou.out.readFloats(jindou.stream);
            jindou.tearDown();
            // In bf16 scores are rounded to 8 bits, so that others are found.
            Compare.close("libtorch", search.floats(inputs), scores, dtype == DType.F32 ? 1e-3 : 0.3);
            if (dtype == DType.F32) {
                Compare.mostlyClose("libtorch, SIM", sim.floats(inputs), attended, 1e-3);
            }
        }

        private NDArray tensor(float[] values, int rows) throws Exception {
            return search.tensor(dtype, values, rows, DIM);
        }

        @TearDown
        public void tearDown() {
            search.close();
            sim.close();
        }
    }

    @Benchmark
    public void jindou(OnJindou jindou, Shape shape) {
        jindou.dot();
    }

    @Benchmark
    public void libtorch(OnTorch torch, Shape shape) {
        torch.search.run(torch.inputs).close();
    }

    @Benchmark
    public void jindouSim(OnJindou jindou, Shape shape) {
        jindou.sim();
    }

    @Benchmark
    public void libtorchSim(OnTorch torch, Shape shape) {
        torch.sim.run(torch.inputs).close();
    }

    @Benchmark
    public void jindouLsh(OnJindou jindou, Shape shape) {
        jindou.lsh();
    }

    @Benchmark
    public void jindouHard(OnJindou jindou, Shape shape) {
        jindou.hard();
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
