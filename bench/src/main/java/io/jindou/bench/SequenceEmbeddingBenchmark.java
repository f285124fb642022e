package io.jindou.bench;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.EmbeddingTable;
import io.jindou.SequenceEmbedding;
import io.jindou.SequenceEmbeddingDesc;
import io.jindou.SequenceEvents;
import io.jindou.SequencePositions;
import io.jindou.SequenceTimes;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.bench.peers.TorchFunction;
import java.lang.foreign.MemorySegment;
import java.util.List;
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
 * {@code sequence_embedding}: {@code users} histories of {@code events}, an item of {@code items} and an action of 100 each, {@code dim}
 * wide and summed, positions from the end and time buckets added; ids rotate through {@value #ROTATION} sets. libtorch does the same by
 * embedding, add, sqrt and clamp, with positions given to it ready. The limit reads the item rows and does nothing with them.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class SequenceEmbeddingBenchmark {
    static final int ROTATION = 8;
    static final int ACTIONS = 100;
    static final int POSITIONS = 16384;
    static final int BUCKETS = 2049;

    /** The shape and the ids. */
    @State(Scope.Benchmark)
    public static class Shape {
        @Param("8")
        public int users;

        @Param("10000")
        public int events;

        @Param("64")
        public int dim;

        @Param("1000000")
        public int items;

        @Param({"1", "2"})
        public int threads;

        private int turn;

        int total() {
            return users * events;
        }

        int next() {
            turn = (turn + 1) % ROTATION;
            return turn;
        }

        float[] rows(int count, int seed) {
            return Inputs.gaussian(seed, count * dim);
        }

        long[] itemIds(int set) {
            SplittableRandom random = new SplittableRandom(set);
            return random.longs(total(), 0, items).toArray();
        }

        long[] actionIds(int set) {
            SplittableRandom random = new SplittableRandom(set + 100);
            return random.longs(total(), 0, ACTIONS).toArray();
        }

        /** Seconds: an event every quarter of an hour, on average. */
        long[] timestamps() {
            SplittableRandom random = new SplittableRandom(5);
            long[] times = new long[total()];
            for (int i = 0; i < times.length; i++) {
                times[i] = i % events == 0 ? 1600000000 : times[i - 1] + random.nextInt(1800);
            }
            return times;
        }
    }

    /** Jindou on a device. */
    @State(Scope.Benchmark)
    public static class OnJindou {
        @Param("cpu")
        public String device;

        private Device opened;
        private Stream stream;
        private SequenceEmbedding plan;
        private final SequenceEvents[] events = new SequenceEvents[ROTATION];
        private Tensor out;

        @Setup
        public void setUp(Shape shape) {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(shape.threads));
            stream = Stream.create(opened);
            EmbeddingTable items = EmbeddingTable.plain(table(shape, shape.items, 1));
            EmbeddingTable actions = EmbeddingTable.plain(table(shape, ACTIONS, 2));
            plan = SequenceEmbedding.plan(
                    opened,
                    SequenceEmbeddingDesc.of(List.of(items, actions), shape.users, shape.total())
                            .withSummed(true)
                            .withScale((float) Math.sqrt(shape.dim))
                            .withPositions(SequencePositions.fromEnd(table(shape, POSITIONS, 3)))
                            .withTimes(SequenceTimes.sqrtOfMinutes(table(shape, BUCKETS, 4))));
            long[] offsets = new long[shape.users + 1];
            for (int b = 0; b < offsets.length; b++) {
                offsets[b] = (long) b * shape.events;
            }
            Tensor ends = Tensor.of(stream, offsets, offsets.length);
            Tensor times = Tensor.of(stream, shape.timestamps(), shape.total());
            for (int set = 0; set < ROTATION; set++) {
                long[] both = new long[2 * shape.total()];
                System.arraycopy(shape.itemIds(set), 0, both, 0, shape.total());
                System.arraycopy(shape.actionIds(set), 0, both, shape.total(), shape.total());
                events[set] =
                        SequenceEvents.of(Tensor.of(stream, both, 2, shape.total()), ends).withTimestamps(times);
            }
            out = Tensor.create(opened, DType.F32, shape.total(), shape.dim);
        }

        private Tensor table(Shape shape, int rows, int seed) {
            return Tensor.of(stream, shape.rows(rows, seed), rows, shape.dim);
        }

        void run(int set) {
            plan.run(stream, events[set], out);
            stream.synchronize();
        }

        @TearDown
        public void tearDown() {
            opened.close();
        }
    }

    /** libtorch. */
    @State(Scope.Benchmark)
    public static class OnTorch {
        private TorchFunction function;
        private final NDList[] inputs = new NDList[ROTATION];

        @Setup
        public void setUp(Shape shape) throws Exception {
            function = new TorchFunction(
                    "w: Tensor, a: Tensor, p: Tensor, b: Tensor, i: Tensor, j: Tensor, k: Tensor, t: Tensor) -> Tensor:\n"
                            + "    t0 = torch.reshape(t, [%d, %d])\n".formatted(shape.users, shape.events)
                            + "    d = torch.sub(torch.slice(t0, 1, %d, %d, 1), t0)\n".formatted(shape.events - 1, shape.events)
                            + "    m = torch.clamp(torch.sqrt(torch.div(torch.clamp(d, 0), 60.)), 0., 2048.)\n"
                            + "    c = torch.reshape(torch.to(m, 4), [-1])\n"
                            + "    s = torch.mul(torch.add(torch.embedding(w, i), torch.embedding(a, j)), %s)\n"
                                    .formatted(Math.sqrt(shape.dim))
                            + "    return torch.add(torch.add(s, torch.embedding(p, k)), torch.embedding(b, c))\n",
                    shape.threads);
            NDArray items = table(shape, shape.items, 1), actions = table(shape, ACTIONS, 2);
            NDArray positions = table(shape, POSITIONS, 3), buckets = table(shape, BUCKETS, 4);
            long[] places = new long[shape.total()];
            for (int i = 0; i < places.length; i++) {
                places[i] = shape.events - i % shape.events;
            }
            for (int set = 0; set < ROTATION; set++) {
                inputs[set] = new NDList(
                        items,
                        actions,
                        positions,
                        buckets,
                        function.tensor(shape.itemIds(set), shape.total()),
                        function.tensor(shape.actionIds(set), shape.total()),
                        function.tensor(places, shape.total()),
                        function.tensor(shape.timestamps(), shape.total()));
            }
            OnJindou jindou = new OnJindou();
            jindou.device = "cpu";
            jindou.setUp(shape);
            jindou.run(0);
            float[] expected = jindou.out.readFloats(jindou.stream);
            jindou.tearDown();
            try (NDList out = function.run(inputs[0])) {
                Compare.close("libtorch", out.get(0).toFloatArray(), expected, 1e-3);
            }
        }

        private NDArray table(Shape shape, int rows, int seed) {
            return function.tensor(shape.rows(rows, seed), rows, shape.dim);
        }

        @TearDown
        public void tearDown() {
            function.close();
        }
    }

    /** The item rows, and nothing done with them. */
    @State(Scope.Benchmark)
    public static class Limit {
        private MemorySegment table;
        private final MemorySegment[] ids = new MemorySegment[ROTATION];

        @Setup
        public void setUp(Shape shape) {
            table = Machine.allocate(4L * shape.items * shape.dim);
            table.copyFrom(MemorySegment.ofArray(shape.rows(shape.items, 1)));
            for (int set = 0; set < ROTATION; set++) {
                ids[set] = Machine.allocate(8L * shape.total()).copyFrom(MemorySegment.ofArray(shape.itemIds(set)));
            }
        }
    }

    @Benchmark
    public void jindou(OnJindou jindou, Shape shape) {
        jindou.run(shape.next());
    }

    @Benchmark
    public void libtorch(OnTorch torch, Shape shape) {
        torch.function.run(torch.inputs[shape.next()]).close();
    }

    @Benchmark
    public long limitGather(Limit limit, Shape shape) {
        return Machine.gather(limit.table, 4L * shape.dim, limit.ids[shape.next()], shape.total(), 8, shape.threads);
    }
}
