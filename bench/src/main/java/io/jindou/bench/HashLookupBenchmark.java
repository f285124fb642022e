package io.jindou.bench;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.EmbeddingBag;
import io.jindou.EmbeddingBagDesc;
import io.jindou.HashTable;
import io.jindou.HashTableDesc;
import io.jindou.JaggedTensor;
import io.jindou.KeyFunction;
import io.jindou.Pooling;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.util.Arrays;
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
 * {@code hash_lookup} of {@code batch} of {@code keys} 64-bit keys, in a table at a load factor of 0.9, against rows of a dense table by
 * their ids ({@code embedding_bag} without pooling), which is its limit: the rows alone. Keys rotate through {@value #ROTATION} sets.
 *
 * <p>{@code -t 2} has two request threads look up in the one table, each on a stream of its own; {@code threads} are the device's.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class HashLookupBenchmark {
    static final int ROTATION = 32;

    /** The shape, the keys, and a device with both tables. */
    @State(Scope.Benchmark)
    public static class Tables {
        @Param("4000000")
        public int keys;

        @Param({"32", "64", "128"})
        public int dim;

        @Param("20000")
        public int batch;

        @Param("UNIFORM")
        public Ids distribution;

        @Param({"1", "2"})
        public int threads;

        @Param("cpu")
        public String device;

        private Device opened;
        private Stream stream;
        private HashTable hashed;
        private EmbeddingBag dense;
        private final Tensor[] keySets = new Tensor[ROTATION];
        private final JaggedTensor[] idSets = new JaggedTensor[ROTATION];

        @Setup
        public void setUp() {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(threads));
            stream = Stream.create(opened);
            Tensor rows = Tensor.create(opened, DType.F32, keys, dim);
            fill(rows);
            hashed = HashTable.create(opened, HashTableDesc.of(DType.F32, dim, keys / 36L * 37)); // of 0.925 at capacity
            try (Tensor all = Tensor.of(stream, keysOf(range()), keys)) {
                hashed.insert(stream, all, rows);
                stream.synchronize();
            }
            dense = EmbeddingBag.plan(opened, EmbeddingBagDesc.of(rows, Pooling.NONE, 1, batch));
            Tensor offsets = Tensor.of(stream, new long[] {0, batch}, 2);
            for (int set = 0; set < ROTATION; set++) {
                long[] ids = distribution.draw(set, batch, keys);
                keySets[set] = Tensor.of(stream, keysOf(ids), batch);
                idSets[set] = new JaggedTensor(Tensor.of(stream, ids, batch), offsets);
            }
            Request request = new Request();
            request.setUp(this);
            request.dense(this);
            float[] expected = request.out.readFloats(stream);
            request.turn = 0;
            request.hashed(this);
            Compare.close("hash_lookup", request.out.readFloats(stream), expected, 0);
        }

        /** Row r begins with r. */
        private void fill(Tensor rows) {
            int step = 1 << 16;
            for (int first = 0; first < keys; first += step) {
                int count = Math.min(step, keys - first);
                float[] values = new float[count * dim];
                for (int i = 0; i < count; i++) {
                    values[i * dim] = first + i;
                }
                try (Tensor some = rows.slice(0, first, first + count)) {
                    some.write(stream, values);
                }
            }
        }

        private long[] range() {
            long[] ids = new long[keys];
            Arrays.setAll(ids, i -> i);
            return ids;
        }

        private static long[] keysOf(long[] ids) {
            return Arrays.stream(ids).map(KeyFunction::mix).toArray();
        }

        @TearDown
        public void tearDown() {
            hashed.close();
            opened.close();
        }
    }

    /** A thread that asks: its stream, its result, its turn. */
    @State(Scope.Thread)
    public static class Request {
        private Stream stream;
        private Tensor out;
        private int turn;

        @Setup
        public void setUp(Tables tables) {
            stream = Stream.create(tables.opened);
            out = Tensor.create(tables.opened, DType.F32, tables.batch, tables.dim);
        }

        void hashed(Tables tables) {
            turn = (turn + 1) % ROTATION;
            tables.hashed.lookup(stream, tables.keySets[turn], out);
            stream.synchronize();
        }

        void dense(Tables tables) {
            turn = (turn + 1) % ROTATION;
            tables.dense.run(stream, tables.idSets[turn], out);
            stream.synchronize();
        }
    }

    @Benchmark
    public void jindou(Tables tables, Request request) {
        request.hashed(tables);
    }

    @Benchmark
    public void limitDenseRows(Tables tables, Request request) {
        request.dense(tables);
    }
}
