package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.onnxruntime.OnnxTensor;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.EmbeddingBag;
import io.jindou.EmbeddingBagDesc;
import io.jindou.EmbeddingTable;
import io.jindou.HostTensor;
import io.jindou.JaggedTensor;
import io.jindou.Pooling;
import io.jindou.QuantizedRows;
import io.jindou.RowFormat;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.OnnxGather;
import io.jindou.bench.peers.TorchFunction;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
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
 * {@code embedding_bag} sum: {@code bags} bags of {@code poolingFactor} rows of a table {@code rows} x {@code dim}, uniform ids or Zipf's,
 * rotating through {@value #ROTATION} sets of ids so that the caches do not hold the rows. Work: bags * poolingFactor * dim * 4 bytes
 * read at random; the limit reads exactly those rows and does nothing with them. {@code format} is that of Jindou's table: f32, f16, int8
 * with f16 scale and bias (68 bytes of 64 elements, padded to 80), or int8 as PyTorch packs it; libtorch's own int8 is
 * {@code quantized::embedding_bag_byte}. Other shapes, for example: {@code -p rows=10000000 -p dim=64 -p distribution=ZIPF}.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class EmbeddingBagBenchmark {
    static final int ROTATION = 64;

    /** The shape and the ids. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param("1000000")
        public int rows;

        @Param("128")
        public int dim;

        @Param("512")
        public int bags;

        @Param("20")
        public int poolingFactor;

        @Param("UNIFORM")
        public Ids distribution;

        @Param({"1", "2"})
        public int threads;

        private int turn;

        int ids() {
            return bags * poolingFactor;
        }

        /** The next set of ids to use. */
        int next() {
            turn = (turn + 1) % ROTATION;
            return turn;
        }

        long[] ids(int set) {
            return distribution.draw(set, ids(), rows);
        }

        long[] offsets(int count) {
            long[] offsets = new long[count];
            for (int i = 0; i < count; i++) {
                offsets[i] = (long) i * poolingFactor;
            }
            return offsets;
        }

        /** The table, on huge pages, the same for all who read it in this process. */
        MemorySegment table() {
            MemorySegment table = Machine.allocate(4L * rows * dim);
            SplittableRandom random = new SplittableRandom(7);
            for (long i = 0; i < (long) rows * dim; i++) {
                table.setAtIndex(ValueLayout.JAVA_FLOAT, i, (random.nextInt(2001) - 1000) * 1e-3f);
            }
            return table;
        }
    }

    /** Jindou on a device. */
    @State(Scope.Benchmark)
    public static class OnJindou {
        @Param("cpu")
        public String device;

        @Param({"PLAIN_F32", "PLAIN_F16", "INT8", "INT8_FLOAT"})
        public String format;

        private Device opened;
        private Stream stream;
        private EmbeddingTable table;
        private EmbeddingBag plan;
        private JaggedTensor[] ids;
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            open(shape, shape.table());
        }

        void open(Shape shape, MemorySegment host) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            table = table(host, shape);
            plan = EmbeddingBag.plan(opened, EmbeddingBagDesc.ofTables(List.of(table), Pooling.SUM, shape.bags, shape.ids()));
            Tensor offsets = Tensor.of(stream, shape.offsets(shape.bags + 1), shape.bags + 1);
            ids = new JaggedTensor[ROTATION];
            for (int set = 0; set < ROTATION; set++) {
                ids[set] = new JaggedTensor(Tensor.of(stream, shape.ids(set), shape.ids()), offsets);
            }
            out = Tensor.create(opened, DType.F32, shape.bags, shape.dim);
        }

        private EmbeddingTable table(MemorySegment host, Shape shape) {
            HostTensor values = new HostTensor(DType.F32, host, shape.rows, shape.dim);
            if (format.equals("PLAIN_F32") && opened.info().hostMemory()) {
                return EmbeddingTable.plain(Tensor.wrap(opened, host, DType.F32, shape.rows, shape.dim));
            }
            return switch (format) {
                case "PLAIN_F32" -> EmbeddingTable.plain(Tensor.of(stream, values));
                case "PLAIN_F16" -> EmbeddingTable.plain(Tensor.of(stream, values.as(DType.F16)));
                default -> EmbeddingTable.quantize(stream, RowFormat.valueOf(format), values);
            };
        }

        void run(int set) {
            plan.run(stream, ids[set], out);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            opened.close();
        }
    }

    private static float[] expected(Shape shape, MemorySegment table) {
        OnJindou jindou = new OnJindou();
        jindou.device = "cpu";
        jindou.format = "PLAIN_F32";
        jindou.open(shape, table);
        try {
            jindou.run(0);
            return jindou.out.readFloats(jindou.stream);
        } finally {
            jindou.tearDown();
        }
    }

    /** libtorch's embedding_bag. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        private TorchFunction bag;
        private final NDList[] inputs = new NDList[ROTATION];

        @Setup
        public void setUp(Shape shape) throws Exception {
            bag = new TorchFunction(
                    "w: Tensor, i: Tensor, o: Tensor) -> Tensor:\n    r, _0, _1, _2 = torch.embedding_bag(w, i, o)\n    return r\n",
                    shape.threads);
            MemorySegment host = shape.table();
            NDArray table = bag.tensor(host.toArray(ValueLayout.JAVA_FLOAT), shape.rows, shape.dim);
            NDArray offsets = bag.tensor(shape.offsets(shape.bags), shape.bags);
            for (int set = 0; set < ROTATION; set++) {
                inputs[set] = new NDList(table, bag.tensor(shape.ids(set), shape.ids()), offsets);
            }
            try (NDList out = bag.run(inputs[0])) {
                Compare.close("libtorch", out.get(0).toFloatArray(), expected(shape, host), 1e-4);
            }
        }

        @TearDown
        public void tearDown() {
            bag.close();
        }
    }

    /** libtorch's embedding_bag over rows of 8-bit codes with f32 scale and bias, the same bytes as Jindou's INT8_FLOAT. */
    @State(Scope.Benchmark)
    public static class OnTorchInt8 {
        private TorchFunction bag;
        private final NDList[] inputs = new NDList[ROTATION];

        @Setup
        public void setUp(Shape shape) throws Exception {
            bag = new TorchFunction(
                    "w: Tensor, i: Tensor, o: Tensor) -> Tensor:\n    return ops.quantized.embedding_bag_byte_rowwise_offsets("
                            + "w, i, o, False, 0, False, None, None, False)\n",
                    shape.threads);
            MemorySegment host = shape.table();
            HostTensor rows = QuantizedRows.quantize(
                    RowFormat.INT8_FLOAT, new HostTensor(DType.F32, host, shape.rows, shape.dim), 1);
            NDArray table = bag.bytes(rows.data().asByteBuffer(), shape.rows, shape.dim + 8);
            NDArray offsets = bag.tensor(shape.offsets(shape.bags), shape.bags);
            for (int set = 0; set < ROTATION; set++) {
                inputs[set] = new NDList(table, bag.tensor(shape.ids(set), shape.ids()), offsets);
            }
            try (NDList out = bag.run(inputs[0])) {
                double error = 2.0 / 510 * shape.poolingFactor; // of values in -1..1, at most
                Compare.close("libtorch", out.get(0).toFloatArray(), expected(shape, host), error);
            }
        }

        @TearDown
        public void tearDown() {
            bag.close();
        }
    }

    /** ONNX Runtime: Gather, ReduceSum. */
    @State(Scope.Benchmark)
    public static class OnOnnx {
        private OnnxGather gather;
        private OnnxTensor table;
        private final OnnxTensor[] ids = new OnnxTensor[ROTATION];
        private Map<String, OnnxTensor> outputs;

        @Setup
        public void setUp(Shape shape) throws Exception {
            gather = new OnnxGather(shape.rows, shape.dim, shape.bags, shape.poolingFactor, shape.threads);
            MemorySegment host = shape.table();
            table = gather.tensor(
                    host.asByteBuffer().order(ByteOrder.nativeOrder()).asFloatBuffer(), shape.rows, shape.dim);
            for (int set = 0; set < ROTATION; set++) {
                ids[set] = gather.tensor(Inputs.direct(shape.ids(set)), shape.bags, shape.poolingFactor);
            }
            FloatBuffer out = Inputs.direct(new float[shape.bags * shape.dim]);
            outputs = Map.of("out", gather.tensor(out, shape.bags, shape.dim));
            run(0);
            float[] got = new float[out.capacity()];
            out.get(0, got);
            Compare.close("ONNX Runtime", got, expected(shape, host), 1e-4);
        }

        void run(int set) throws Exception {
            gather.run(Map.of("table", table, "ids", ids[set]), outputs).close();
        }

        @TearDown
        public void tearDown() throws Exception {
            gather.close();
        }
    }

    /** The rows, and nothing done with them. */
    @State(Scope.Benchmark)
    public static class Limit {
        /** Rows to prefetch ahead. */
        @Param("32")
        public int ahead;

        private MemorySegment table;
        private final MemorySegment[] ids = new MemorySegment[ROTATION];

        @Setup
        public void setUp(Shape shape) {
            table = shape.table();
            for (int set = 0; set < ROTATION; set++) {
                MemorySegment native_ = Machine.allocate(8L * shape.ids());
                ids[set] = native_.copyFrom(MemorySegment.ofArray(shape.ids(set)));
            }
        }
    }

    @Benchmark
    public void jindou(OnJindou jindou, Shape shape) {
        jindou.run(shape.next());
    }

    @Benchmark
    public void libtorch(OnTorch torch, Shape shape) {
        torch.bag.run(torch.inputs[shape.next()]).close();
    }

    @Benchmark
    public void libtorchInt8(OnTorchInt8 torch, Shape shape) {
        torch.bag.run(torch.inputs[shape.next()]).close();
    }

    @Benchmark
    public void onnxruntime(OnOnnx onnx, Shape shape) throws Exception {
        onnx.run(shape.next());
    }

    @Benchmark
    public long limitGather(Limit limit, Shape shape) {
        return Machine.gather(limit.table, 4L * shape.dim, limit.ids[shape.next()], shape.ids(), limit.ahead, shape.threads);
    }
}
