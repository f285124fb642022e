package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class HistorySearchTest {
    private static final int[] CANDIDATES = {3, 2}, EVENTS = {70, 5};
    private static final int K = 8;

    interface Score {
        double of(int candidate, int event);
    }

    /** The K best events of each candidate, by (score, index), those of -infinity left out. */
    private static int[] expected(Score score) {
        int[] indices = new int[K * 5];
        for (int user = 0, row = 0, first = 0; user < 2; first += EVENTS[user++]) {
            int begin = first;
            for (int i = 0; i < CANDIDATES[user]; i++, row++) {
                int candidate = row;
                int[] best = IntStream.range(0, EVENTS[user])
                        .filter(j -> score.of(candidate, begin + j) > Double.NEGATIVE_INFINITY)
                        .boxed()
                        .sorted((a, b) -> {
                            int order = Double.compare(score.of(candidate, begin + b), score.of(candidate, begin + a));
                            return order != 0 ? order : b - a;
                        })
                        .limit(K)
                        .mapToInt(j -> j)
                        .toArray();
                for (int n = 0; n < K; n++) {
                    indices[row * K + n] = n < best.length ? best[n] : -1;
                }
            }
        }
        return indices;
    }

    private static int[] counts(int[] indices) {
        return IntStream.range(0, 5)
                .map(row -> (int) IntStream.range(row * K, (row + 1) * K).filter(n -> indices[n] >= 0).count())
                .toArray();
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void dot_finds_the_largest_products(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(1);
            float[] q = integers(random, 5 * 16), k = integers(random, 75 * 16), bias = integers(random, 75);
            bias[7] = Float.NEGATIVE_INFINITY;
            Score score = (i, j) -> {
                double sum = bias[j];
                for (int d = 0; d < 16; d++) {
                    sum += q[i * 16 + d] * k[j * 16 + d];
                }
                return sum;
            };
            int[] expected = expected(score);
            for (DType dtype : new DType[] {DType.F32, DType.F16, DType.BF16}) {
                HistorySearch search = rig.keep(
                        HistorySearch.plan(rig.device, HistorySearchDesc.of(SearchMethod.dot(dtype, 16), K, 2, 3, 70)));
                assertTrue(search.describe().contains("history_search"), search.describe());
                JaggedTensor queries = jagged(rig, rig.floats(dtype, q, 5, 16), CANDIDATES);
                JaggedTensor keys = jagged(rig, rig.floats(dtype, k, 75, 16), EVENTS);
                Tensor indices = rig.poisoned(DType.I32, 5, K);
                Tensor scores = rig.poisoned(DType.F32, 5, K), counts = rig.poisoned(DType.I32, 5);
                search.run(rig.stream, queries, keys, rig.floats(bias, 75), indices, scores, counts);
                assertArrayEquals(expected, indices.readInts(rig.stream));
                assertArrayEquals(counts(expected), counts.readInts(rig.stream));
                float[] found = scores.readFloats(rig.stream);
                for (int n = 0; n < found.length; n++) {
                    int row = n / K, first = row < 3 ? 0 : 70;
                    double wanted = expected[n] < 0 ? Double.NEGATIVE_INFINITY : score.of(row, first + expected[n]);
                    assertEquals(wanted, found[n], 0.0, "place " + n);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void hard_finds_the_last_of_a_category(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(2);
            long[] q = random.longs(5, -2, 2).toArray(), k = random.longs(75, -2, 2).toArray();
            int[] expected = expected((i, j) -> q[i] == k[j] ? 0 : Double.NEGATIVE_INFINITY);
            HistorySearch search = rig.keep(
                    HistorySearch.plan(rig.device, HistorySearchDesc.of(SearchMethod.hard(DType.I64), K, 2, 3, 70)));
            Tensor indices = rig.poisoned(DType.I32, 5, K);
            search.run(rig.stream, jagged(rig, rig.longs(q), CANDIDATES), jagged(rig, rig.longs(k), EVENTS), indices);
            assertArrayEquals(expected, indices.readInts(rig.stream));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void lsh_finds_the_nearest_signatures(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(3);
            Tensor projection = rig.floats(Rig.random(random, 128, 24), 128, 24);
            Tensor querySignatures = rig.poisoned(DType.I64, 5, 2), keySignatures = rig.poisoned(DType.I64, 75, 2);
            float[] x = Rig.random(random, 75, 24);
            HistorySearch.signatures(rig.stream, rig.floats(Rig.random(random, 5, 24), 5, 24), projection, querySignatures);
            HistorySearch.signatures(rig.stream, rig.floats(x, 75, 24), projection, keySignatures);
            long[] q = querySignatures.readLongs(rig.stream), k = keySignatures.readLongs(rig.stream);
            float[] p = projection.readFloats(rig.stream);
            for (int bit = 0; bit < 128; bit++) {
                double sum = 0;
                for (int d = 0; d < 24; d++) {
                    sum += p[bit * 24 + d] * x[d];
                }
                assertTrue(Math.abs(sum) < 1e-4 || (k[bit / 64] >> bit % 64 & 1) == (sum > 0 ? 1 : 0), "bit " + bit);
            }
            Score score = (i, j) -> -Long.bitCount(q[2 * i] ^ k[2 * j]) - Long.bitCount(q[2 * i + 1] ^ k[2 * j + 1]);
            int[] expected = expected(score);
            HistorySearch search =
                    rig.keep(HistorySearch.plan(rig.device, HistorySearchDesc.of(SearchMethod.lsh(128), K, 2, 3, 70)));
            Tensor indices = rig.poisoned(DType.I32, 5, K), distances = rig.poisoned(DType.F32, 5, K);
            search.run(
                    rig.stream,
                    jagged(rig, querySignatures, CANDIDATES),
                    jagged(rig, keySignatures, EVENTS),
                    null,
                    indices,
                    distances,
                    null);
            assertArrayEquals(expected, indices.readInts(rig.stream));
            assertEquals(-score.of(0, expected[0]), distances.readFloats(rig.stream)[0]);
            assertEquals(Float.POSITIVE_INFINITY, distances.readFloats(rig.stream)[3 * K + 5]);
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            HistorySearchDesc desc = HistorySearchDesc.of(SearchMethod.dot(DType.F32, 8), 2, 1, 4, 4);
            refused(
                    InvalidArgumentException.class,
                    () -> HistorySearch.plan(rig.device, HistorySearchDesc.of(SearchMethod.dot(DType.F32, 9), 2, 1, 4, 4)),
                    "'dim'");
            refused(
                    InvalidArgumentException.class,
                    () -> HistorySearch.plan(rig.device, HistorySearchDesc.of(SearchMethod.hard(DType.F32), 2, 1, 4, 4)),
                    "'dtype'");
            refused(
                    InvalidArgumentException.class,
                    () -> HistorySearch.plan(rig.device, HistorySearchDesc.of(SearchMethod.lsh(64), 0, 1, 4, 4)),
                    "'k'");
            refused(NullPointerException.class, () -> SearchMethod.dot(null, 8), "dtype");
            refused(NullPointerException.class, () -> HistorySearch.plan(rig.device, null), "desc");
            HistorySearch search = rig.keep(HistorySearch.plan(rig.device, desc));
            JaggedTensor rows = jagged(rig, rig.floats(new float[16], 2, 8), 2);
            Tensor indices = rig.poisoned(DType.I32, 2, 2);
            refused(NullPointerException.class, () -> search.run(rig.stream, null, rows, indices), "'queries'");
            refused(NullPointerException.class, () -> search.run(rig.stream, rows, null, indices), "'keys'");
            refused(InvalidArgumentException.class, () -> search.run(rig.stream, rows, rows, rig.poisoned(DType.I32, 2, 3)), "'indices'");
            refused(
                    InvalidArgumentException.class,
                    () -> HistorySearch.signatures(rig.stream, rows.values(), rows.values(), rig.poisoned(DType.I64, 2, 1)),
                    "'projection'");
            search.run(rig.stream, rows, rows, indices);
            assertArrayEquals(new int[] {1, 0, 1, 0}, indices.readInts(rig.stream));
        }
    }

    private static JaggedTensor jagged(Rig rig, Tensor values, int... lengths) {
        return new JaggedTensor(values, rig.longs(JaggedTensor.offsets(lengths)));
    }

    private static float[] integers(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = random.nextInt(-3, 4);
        }
        return values;
    }
}
