package io.jindou.bench;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DeviceOptions;
import io.jindou.HstuAttention;
import io.jindou.HstuAttentionDesc;
import io.jindou.HstuBias;
import io.jindou.JaggedTensor;
import io.jindou.PagedCache;
import io.jindou.PagedCacheDesc;
import io.jindou.PagedKeysValues;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
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
 * {@code hstu_attention} of 256 new rows behind 3,968 cached ones, 4 heads, causal: with a paged cache (the request as a whole: append the new
 * rows, attend, forget them again) against a run over all 4,224 rows without a cache. Pairs are 1.05 M against 8.92 M a user and head: the
 * cache saves a factor of 8.5 of the work. The results are compared, bit for bit where pages are not quantised, before anything is timed.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class CachedHstuBenchmark {
    static final int CACHED = 3968;
    static final int FRESH = 256;
    static final int ROWS = CACHED + FRESH;
    static final int HEADS = 4;
    static final float SCALING = 4096;

    /** Sequences whose rows are all there, and a cache that holds those before the new ones. */
    @State(Scope.Benchmark)
    public static class Request {
        @Param("cpu")
        public String device;

        @Param({"1", "2"})
        public int threads;

        @Param({"F32", "BF16"})
        public DType dtype;

        @Param("64")
        public int dim;

        @Param({"1", "8"})
        public int batch;

        @Param({"32", "128"})
        public int pageSize;

        /** SAME or I8. */
        @Param("SAME")
        public String pages;

        private Device opened;
        private Stream stream;
        private HstuAttention plan;
        private PagedCache cache;
        private final java.util.List<AutoCloseable> owned = new java.util.ArrayList<>();
        private JaggedTensor allQueries;
        private JaggedTensor freshQueries;
        private Tensor keys;
        private Tensor values;
        private Tensor freshKeys;
        private Tensor freshValues;
        private Tensor allOut;
        private Tensor freshOut;
        private long[] users;
        private int[] counts;

        @Setup
        public void setUp() {
            opened = Device.open(device, DeviceOptions.DEFAULT.withNumThreads(threads));
            stream = Stream.create(opened);
            float[] q = Inputs.gaussian(1, batch * ROWS * HEADS * dim);
            float[] k = Inputs.gaussian(2, batch * ROWS * HEADS * dim);
            float[] v = Inputs.gaussian(3, batch * ROWS * HEADS * dim);
            users = LongStream.range(0, batch).toArray();
            counts = filled(FRESH);
            allQueries = new JaggedTensor(tensor(q, 0, ROWS), own(Tensor.of(stream, JaggedTensor.offsets(filled(ROWS)))));
            freshQueries = new JaggedTensor(tensor(q, CACHED, ROWS), own(Tensor.of(stream, JaggedTensor.offsets(counts))));
            keys = tensor(k, 0, ROWS);
            values = tensor(v, 0, ROWS);
            freshKeys = tensor(k, CACHED, ROWS);
            freshValues = tensor(v, CACHED, ROWS);
            allOut = own(Tensor.create(opened, dtype, (long) batch * ROWS, HEADS, dim));
            freshOut = own(Tensor.create(opened, dtype, (long) batch * FRESH, HEADS, dim));
            plan = own(HstuAttention.plan(opened, HstuAttentionDesc.of(dtype, HEADS, dim, SCALING, batch, ROWS)));
            long pagesOfUser = (ROWS + pageSize - 1) / pageSize;
            cache = own(PagedCache.create(
                    opened,
                    PagedCacheDesc.of(dtype, pagesOfUser * batch, HEADS, dim)
                            .withPageSize(pageSize)
                            .withCacheDType(pages.equals("SAME") ? dtype : DType.valueOf(pages))));
            // In pieces, so that the users' pages lie between each other's.
            for (int first = 0; first < CACHED; first += 124) {
                try (Tensor someKeys = tensorOf(k, first, first + 124);
                        Tensor someValues = tensorOf(v, first, first + 124)) {
                    cache.append(stream, users, filled(124), someKeys, someValues);
                }
            }
            uncached();
            cached();
            float[] whole = allOut.readFloats(stream);
            float[] last = freshOut.readFloats(stream);
            float[] expected = new float[last.length];
            int width = HEADS * dim;
            for (int b = 0; b < batch; b++) {
                System.arraycopy(whole, (b * ROWS + CACHED) * width, expected, b * FRESH * width, FRESH * width);
            }
            if (pages.equals("SAME") && !Arrays.equals(expected, last)) {
                throw new IllegalStateException("the cached run differs from the whole one");
            }
            Compare.close("the whole run", expected, last, 1e-2);
            compileRequests();
        }

        /** Lets the JVM compile the Java side of a request, as in a service that runs for a while: warm-up has too few of them. */
        private void compileRequests() {
            for (int i = 0; i < 20_000 / batch; i++) {
                cache.append(stream, users, counts, freshKeys, freshValues);
                cache.batch(stream, users).close();
                forget();
            }
        }

        private int[] filled(int value) {
            int[] all = new int[batch];
            Arrays.fill(all, value);
            return all;
        }

        /** Rows from..to of every user. */
        private Tensor tensorOf(float[] all, int from, int to) {
            int width = HEADS * dim;
            float[] some = new float[batch * (to - from) * width];
            for (int b = 0; b < batch; b++) {
                System.arraycopy(all, (b * ROWS + from) * width, some, b * (to - from) * width, (to - from) * width);
            }
            return Tensor.of(stream, dtype, some, (long) batch * (to - from), HEADS, dim);
        }

        private Tensor tensor(float[] all, int from, int to) {
            return own(tensorOf(all, from, to));
        }

        private <T extends AutoCloseable> T own(T object) {
            owned.add(object);
            return object;
        }

        void uncached() {
            plan.run(stream, allQueries, keys, values, allOut);
            stream.synchronize();
        }

        void cached() {
            cache.append(stream, users, counts, freshKeys, freshValues);
            try (PagedKeysValues all = cache.batch(stream, users)) {
                plan.runPaged(stream, freshQueries, all, null, null, HstuBias.NONE, freshOut);
            }
            forget();
        }

        private void forget() {
            for (long user : users) {
                cache.truncate(user, CACHED);
            }
            stream.synchronize();
        }

        @TearDown
        public void tearDown() throws Exception {
            for (AutoCloseable object : owned) {
                object.close();
            }
            stream.close();
            opened.close();
        }
    }

    /** All rows, without a cache. */
    @Benchmark
    public void uncached(Request request) {
        request.uncached();
    }

    /** The new rows, with the cache. */
    @Benchmark
    public void cached(Request request) {
        request.cached();
    }
}
