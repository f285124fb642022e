package io.jindou.bench;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.HashTable;
import io.jindou.HashTableDesc;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.store.Durability;
import io.jindou.store.TieredTable;
import io.jindou.store.TieredTableDesc;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
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
 * A lookup in a {@code TieredTable} whose device cache holds a tenth of the rows and {@code hits} percent of the keys asked, against a
 * {@code HashTable} that holds all rows in memory. The other keys come from {@code below}: a cache in host memory that holds all rows, or
 * RocksDB, whose own cache of blocks holds a quarter of them. {@code prefetched} has each batch brought into the cache while the one
 * before is looked up, as a service does that knows its next request. {@code -t n} gives n requests at the same time.
 */
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(1)
public class TieredTableBenchmark {
    /** Where the rows are that the device has not. */
    public enum Below {
        HOST,
        STORE
    }

    /** Batches to go round: so many that a key which was not hot has left the cache when it comes again. */
    private static final int BATCHES = 1000;

    /** The store, the table in memory, and the keys. */
    @State(Scope.Benchmark)
    public static class Tables {
        @Param("1000000")
        public int rows;

        @Param("64")
        public int dim;

        @Param("4096")
        public int batch;

        @Param("95")
        public int hits;

        @Param({"HOST", "STORE"})
        public Below below;

        @Param("cpu")
        public String device;

        @Param({"1", "2"})
        public int threads;

        private Path folder;
        private Device opened;
        private TieredTable tiered;
        private HashTable inMemory;
        private final long[][] batches = new long[BATCHES][];
        private final AtomicInteger requests = new AtomicInteger();

        @Setup
        public void setUp() throws IOException {
            folder = Files.createTempDirectory("tiered-benchmark");
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(threads));
            int most = batch;
            tiered = TieredTable.open(
                    opened,
                    folder,
                    TieredTableDesc.of(DType.F32, dim, rows / 10, most)
                            .withDurability(Durability.BUFFERED)
                            .withHostRows(below == Below.HOST ? rows : 0)
                            .withBlockCacheBytes((long) rows * dim)); // of the 4 bytes an element
            inMemory = HashTable.create(opened, HashTableDesc.of(DType.F32, dim, rows));
            try (Stream stream = Stream.create(opened)) {
                fill(stream, most);
            }
            tiered.compact();
            draw();
            for (int first = 0; first < rows; first += most) {
                long[] keys = new long[Math.min(most, rows - first)];
                int from = first;
                Arrays.setAll(keys, i -> from + i);
                tiered.prefetch(keys).join(); // into host memory, where there is such a cache
            }
            for (long[] keys : batches) {
                tiered.prefetch(keys).join(); // the hot keys are cached
            }
        }

        private void fill(Stream stream, int most) throws IOException {
            for (int first = 0; first < rows; first += most) {
                int from = first, count = Math.min(most, rows - first);
                long[] keys = new long[count];
                Arrays.setAll(keys, i -> from + i);
                HostTensor values = HostTensor.of(Inputs.gaussian(first, count * dim), count, dim);
                tiered.update(keys, values);
                try (Tensor given = Tensor.of(stream, keys, count); Tensor data = Tensor.of(stream, values)) {
                    inMemory.insert(stream, given, data);
                    stream.synchronize();
                }
            }
        }

        /** Hot keys, half as many as the cache holds, and others. */
        private void draw() {
            SplittableRandom random = new SplittableRandom(1);
            for (int b = 0; b < BATCHES; b++) {
                long[] keys = new long[batch];
                for (int i = 0; i < batch; i++) {
                    boolean hot = random.nextInt(100) < hits;
                    keys[i] = hot ? random.nextInt(rows / 20) : rows / 20 + random.nextInt(rows - rows / 20);
                }
                batches[b] = keys;
            }
        }

        @TearDown
        public void tearDown() throws IOException {
            System.out.println(tiered.statistics());
            tiered.close();
            inMemory.close();
            opened.close();
            try (var all = Files.walk(folder)) {
                for (Path each : all.sorted(Comparator.reverseOrder()).toList()) {
                    Files.delete(each);
                }
            }
        }
    }

    /** Who asks: with a stream and a result of its own, from a batch of its own on. */
    @State(Scope.Thread)
    public static class Request {
        private Tables tables;
        private Stream stream;
        private Tensor keysInMemory;
        private Tensor out;
        private int turn;
        private CompletableFuture<Void> prefetch;

        @Setup
        public void setUp(Tables those) throws IOException {
            tables = those;
            stream = Stream.create(tables.opened);
            keysInMemory = Tensor.create(tables.opened, DType.I64, tables.batch);
            out = Tensor.create(tables.opened, DType.F32, tables.batch, tables.dim);
            turn = tables.requests.getAndIncrement() * 377 % BATCHES;
            long[] keys = next();
            tieredLookup(keys);
            float[] got = out.readFloats(stream);
            memoryLookup(keys);
            Compare.close("TieredTable", got, out.readFloats(stream), 0);
        }

        long[] next() {
            turn = (turn + 1) % BATCHES;
            return tables.batches[turn];
        }

        void tieredLookup(long[] keys) throws IOException {
            tables.tiered.lookup(stream, keys, out);
            stream.synchronize();
        }

        void memoryLookup(long[] keys) {
            keysInMemory.write(stream, keys);
            tables.inMemory.lookup(stream, keysInMemory, out);
            stream.synchronize();
        }

        void prefetchedLookup() throws IOException {
            if (prefetch != null) {
                prefetch.join();
            }
            long[] now = tables.batches[turn];
            prefetch = tables.tiered.prefetch(next());
            tieredLookup(now);
        }

        @TearDown
        public void tearDown() {
            if (prefetch != null) {
                prefetch.join();
            }
            stream.close();
            keysInMemory.close();
            out.close();
        }
    }

    @Benchmark
    public void jindou(Request request) throws IOException {
        request.tieredLookup(request.next());
    }

    @Benchmark
    public void prefetched(Request request) throws IOException {
        request.prefetchedLookup();
    }

    @Benchmark
    public void inMemory(Request request) {
        request.memoryLookup(request.next());
    }
}
