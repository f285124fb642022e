package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.BitSet;
import java.util.Comparator;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TopKInnerProductTest {
    private static final int DIM = 16;
    private static final int K = 6;
    private static final int ITEMS = 75;

    private interface Allowed {
        boolean of(int query, int item);
    }

    private static double score(float[] queries, float[] items, int i, int j) {
        double sum = 0;
        for (int d = 0; d < DIM; d++) {
            sum += (double) queries[i * DIM + d] * items[j * DIM + d];
        }
        return sum;
    }

    private static long[] expected(float[] queries, float[] items, Allowed allowed) {
        long[] expected = new long[queries.length / DIM * K];
        java.util.Arrays.fill(expected, -1);
        for (int query = 0; query < queries.length / DIM; query++) {
            int i = query;
            long[] best = IntStream.range(0, ITEMS)
                    .filter(j -> allowed.of(i, j))
                    .boxed()
                    .sorted(Comparator.comparingDouble((Integer j) -> -score(queries, items, i, j)))
                    .mapToLong(Integer::longValue)
                    .limit(K)
                    .toArray();
            System.arraycopy(best, 0, expected, i * K, best.length);
        }
        return expected;
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void finds_the_largest_products(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(1);
            for (int m : new int[] {1, 5, 20}) {
                float[] q = integers(random, m * DIM), x = integers(random, ITEMS * DIM);
                long[] expected = expected(q, x, (i, j) -> true);
                for (DType dtype : new DType[] {DType.F32, DType.F16, DType.BF16}) {
                    Tensor queries = rig.floats(dtype, q, m, DIM), items = rig.floats(dtype, x, ITEMS, DIM);
                    TopKInnerProduct search =
                            rig.keep(TopKInnerProduct.plan(rig.device, TopKInnerProductDesc.of(items, K, 20)));
                    assertEquals(new TopKInnerProductDesc(dtype, DIM, K, 20), search.desc());
                    assertTrue(search.describe().contains("top_k_inner_product"), search.describe());
                    Tensor indices = rig.poisoned(DType.I64, m, K), scores = rig.poisoned(DType.F32, m, K);
                    search.run(rig.stream, queries, items, null, indices, scores);
                    assertArrayEquals(expected, indices.readLongs(rig.stream));
                    float[] found = scores.readFloats(rig.stream);
                    for (int n = 0; n < found.length; n++) {
                        assertEquals(score(q, x, n / K, (int) expected[n]), found[n], 0.0, "place " + n);
                    }
                    indices.fill(rig.stream, 0x77);
                    search.run(rig.stream, queries, items, indices);
                    assertArrayEquals(expected, indices.readLongs(rig.stream));
                }
            }
        }
    }

    /** Content embeddings: item j is j in one of many dimensions, so that the best are the last. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void finds_them_among_long_rows(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            for (int dim : new int[] {384, 768, 1024}) {
                float[] q = new float[2 * dim], x = new float[ITEMS * dim];
                q[dim - 1] = 1;
                q[dim] = -1;
                for (int j = 0; j < ITEMS; j++) {
                    x[j * dim] = x[j * dim + dim - 1] = j;
                }
                for (DType dtype : new DType[] {DType.F32, DType.F16, DType.BF16}) {
                    Tensor queries = rig.floats(dtype, q, 2, dim), items = rig.floats(dtype, x, ITEMS, dim);
                    TopKInnerProduct search = rig.keep(TopKInnerProduct.plan(rig.device, TopKInnerProductDesc.of(items, 3, 2)));
                    Tensor indices = rig.poisoned(DType.I64, 2, 3);
                    search.run(rig.stream, queries, items, indices);
                    assertArrayEquals(new long[] {ITEMS - 1, ITEMS - 2, ITEMS - 3, 0, 1, 2}, indices.readLongs(rig.stream));
                }
            }
        }
    }

    /** What a table was quantised to is searched as the numbers that it stands for. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void finds_them_among_rows_of_codes(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(4);
            float[] q = integers(random, 5 * DIM), x = integers(random, ITEMS * DIM);
            for (RowFormat format : RowFormat.values()) {
                if (format == RowFormat.PLAIN) {
                    continue;
                }
                EmbeddingTable table = EmbeddingTable.quantize(rig.stream, format, HostTensor.of(x, ITEMS, DIM));
                rig.keep(table.rows());
                Tensor numbers = rig.poisoned(DType.F32, ITEMS, DIM);
                QuantizedRows.dequantize(rig.stream, format, table.rows(), numbers);
                for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
                    TopKInnerProductDesc desc = TopKInnerProductDesc.of(table, dtype, K, 5);
                    assertEquals(new TopKInnerProductDesc(dtype, DIM, K, 5, format), desc);
                    TopKInnerProduct search = rig.keep(TopKInnerProduct.plan(rig.device, desc));
                    Tensor indices = rig.poisoned(DType.I64, 5, K), plain = rig.poisoned(DType.I64, 5, K);
                    Tensor scores = rig.poisoned(DType.F32, 5, K), plainScores = rig.poisoned(DType.F32, 5, K);
                    search.run(rig.stream, rig.floats(dtype, q, 5, DIM), table.rows(), null, indices, scores);
                    rig.keep(TopKInnerProduct.plan(rig.device, TopKInnerProductDesc.of(numbers, K, 5)))
                            .run(rig.stream, rig.floats(q, 5, DIM), numbers, null, plain, plainScores);
                    assertArrayEquals(plain.readLongs(rig.stream), indices.readLongs(rig.stream), format + " " + dtype);
                    assertArrayEquals(plainScores.readFloats(rig.stream), scores.readFloats(rig.stream), format + " " + dtype);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void finds_allowed_items_alone(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(2);
            int m = 7;
            float[] q = integers(random, m * DIM), x = integers(random, ITEMS * DIM);
            Tensor queries = rig.floats(q, m, DIM), items = rig.floats(x, ITEMS, DIM);
            TopKInnerProduct search = rig.keep(TopKInnerProduct.plan(rig.device, TopKInnerProductDesc.of(items, K, m)));
            Tensor indices = rig.poisoned(DType.I64, m, K), scores = rig.poisoned(DType.F32, m, K);

            BitSet even = new BitSet();
            IntStream.range(0, 2 * ITEMS).filter(j -> j % 2 == 0).forEach(even::set); // some past the last item
            search.run(rig.stream, queries, items, rig.keep(TopKInnerProduct.bitmap(rig.stream, even, ITEMS)), indices, scores);
            assertArrayEquals(expected(q, x, (i, j) -> j % 2 == 0), indices.readLongs(rig.stream));

            BitSet few = new BitSet();
            few.set(3);
            few.set(ITEMS - 1);
            search.run(rig.stream, queries, items, rig.keep(TopKInnerProduct.bitmap(rig.stream, few, ITEMS)), indices, scores);
            long[] expected = expected(q, x, (i, j) -> few.get(j));
            assertArrayEquals(expected, indices.readLongs(rig.stream));
            assertEquals(-1, expected[2]);
            assertEquals(Float.NEGATIVE_INFINITY, scores.readFloats(rig.stream)[2]);

            refused(InvalidArgumentException.class, () -> TopKInnerProduct.bitmap(rig.stream, few, -1), "'items'");

            // A bitmap for each query.
            Tensor each = rig.keep(Tensor.create(rig.device, DType.U8, m, (ITEMS + 7) / 8));
            for (int i = 0; i < m; i++) {
                BitSet own = new BitSet();
                for (int j = 0; j < ITEMS; j++) {
                    own.set(j, (j + i) % 3 == 0);
                }
                Tensor row = rig.keep(TopKInnerProduct.bitmap(rig.stream, own, ITEMS));
                rig.keep(rig.keep(each.slice(0, i, i + 1)).reshape((ITEMS + 7) / 8)).copyFrom(rig.stream, row);
            }
            search.run(rig.stream, queries, items, each, indices, null);
            assertArrayEquals(expected(q, x, (i, j) -> (j + i) % 3 == 0), indices.readLongs(rig.stream));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor items = rig.floats(new float[40], 5, 8), queries = rig.floats(new float[16], 2, 8);
            TopKInnerProductDesc desc = TopKInnerProductDesc.of(items, 2, 2);
            refused(NullPointerException.class, () -> new TopKInnerProductDesc(null, 8, 2, 2), "dtype");
            refused(NullPointerException.class, () -> TopKInnerProductDesc.of(null, 2, 2), "items");
            refused(IllegalArgumentException.class, () -> TopKInnerProductDesc.of(rig.longs(1), 2, 2), "rank 2");
            refused(NullPointerException.class, () -> TopKInnerProduct.plan(rig.device, null), "desc");
            refused(
                    InvalidArgumentException.class,
                    () -> TopKInnerProduct.plan(rig.device, TopKInnerProductDesc.of(items, 1025, 2)),
                    "'k': expected 1..1024");
            TopKInnerProduct search = rig.keep(TopKInnerProduct.plan(rig.device, desc));
            Tensor indices = rig.poisoned(DType.I64, 2, 2);
            refused(NullPointerException.class, () -> search.run(rig.stream, null, items, indices), "'queries'");
            refused(NullPointerException.class, () -> search.run(rig.stream, queries, null, indices), "'items'");
            refused(NullPointerException.class, () -> search.run(rig.stream, queries, items, null), "'indices'");
            refused(InvalidArgumentException.class, () -> search.run(rig.stream, items, items, indices), "'queries'", "max_queries");
            refused(
                    InvalidArgumentException.class,
                    () -> search.run(rig.stream, queries, items, rig.poisoned(DType.I32, 2, 2)),
                    "'indices'");
            search.run(rig.stream, queries, items, indices);
            assertArrayEquals(new long[] {0, 1, 0, 1}, indices.readLongs(rig.stream)); // equal scores: the lower index first
        }
    }

    private static float[] integers(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = random.nextInt(-3, 4);
        }
        return values;
    }
}
