package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class BeamAttentionTest {
    private static final int HEADS = 4, KV_HEADS = 2, DIM = 32, LEVELS = 3, SLOTS = 5;
    private static final int ROW = KV_HEADS * DIM;
    private static final int[] PREFIX = {90, 7}, BEAMS = {5, 3};

    /** A search of three steps in two requests, the second a step behind, against beams that keep lists of rows of their own. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void follows_a_search(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(1);
            float[] k = Rig.random(random, 97, KV_HEADS, DIM), v = Rig.random(random, 97, KV_HEADS, DIM);
            JaggedTensor keys = new JaggedTensor(rig.floats(k, 97, KV_HEADS, DIM), rig.longs(JaggedTensor.offsets(PREFIX)));
            Tensor values = rig.floats(v, 97, KV_HEADS, DIM);
            PagedCache cache = rig.keep(PagedCache.create(
                    rig.device, PagedCacheDesc.of(DType.F32, 12, KV_HEADS, DIM).withPageSize(16)));
            cache.append(rig.stream, new long[] {8, 5}, PREFIX, keys.values(), values);
            BeamAttention attention = rig.keep(BeamAttention.plan(
                    rig.device, BeamAttentionDesc.of(DType.F32, HEADS, KV_HEADS, DIM, SLOTS, 2, 128)));
            assertTrue(attention.describe().contains("beam_attention"), attention.describe());

            BeamSuffix suffix = new BeamSuffix(
                    rig.poisoned(DType.F32, 2, LEVELS, SLOTS, KV_HEADS, DIM),
                    rig.poisoned(DType.F32, 2, LEVELS, SLOTS, KV_HEADS, DIM),
                    rig.keep(Tensor.create(rig.device, DType.I32, 2, LEVELS, SLOTS)),
                    rig.keep(Tensor.create(rig.device, DType.I32, 2)));
            BeamAncestry ancestry = new BeamAncestry(2, LEVELS, SLOTS);
            List<List<List<float[]>>> rows = List.of(new ArrayList<>(), new ArrayList<>()); // [request][beam]: keys, values, keys...
            for (int b = 0; b < 2; b++) {
                for (int w = 0; w < BEAMS[b]; w++) {
                    rows.get(b).add(List.of());
                }
            }
            for (int step = 0; step < LEVELS; step++) {
                for (int b = 0; b < 2; b++) {
                    if (b == 1 && step == 0) {
                        continue;
                    }
                    int[] parents = random.ints(BEAMS[b], 0, BEAMS[b]).toArray();
                    int level = ancestry.descend(b, parents);
                    List<List<float[]>> before = List.copyOf(rows.get(b));
                    for (int w = 0; w < BEAMS[b]; w++) {
                        List<float[]> own = new ArrayList<>(before.get(parents[w]));
                        for (Tensor of : new Tensor[] {suffix.keys(), suffix.values()}) {
                            float[] row = Rig.random(random, KV_HEADS, DIM);
                            own.add(row);
                            long at = ((b * LEVELS + level) * SLOTS + w) * (long) ROW;
                            rig.keep(of.view(at, new long[] {KV_HEADS, DIM}, null)).write(rig.stream, row);
                        }
                        rows.get(b).set(w, own);
                    }
                }
                ancestry.write(rig.stream, suffix.ancestry(), suffix.lengths());
                float[] q = Rig.random(random, 8, HEADS, DIM);
                JaggedTensor queries = new JaggedTensor(rig.floats(q, 8, HEADS, DIM), rig.longs(JaggedTensor.offsets(BEAMS)));
                double[] expected = new double[q.length], expectedLse = new double[8 * HEADS];
                reference(q, k, v, rows, expected, expectedLse);
                Tensor out = rig.poisoned(DType.F32, 8, HEADS, DIM), lse = rig.poisoned(DType.F32, 8, HEADS);
                attention.run(rig.stream, queries, rig.keep(cache.batch(rig.stream, 8, 5)), suffix, out, lse);
                float[] actual = out.readFloats(rig.stream), sums = lse.readFloats(rig.stream);
                for (int i = 0; i < expected.length; i++) {
                    assertEquals(expected[i], actual[i], 1e-5, "step " + step + ", element " + i);
                }
                for (int i = 0; i < expectedLse.length; i++) {
                    assertEquals(expectedLse[i], sums[i], 1e-5, "step " + step + ", lse " + i);
                }
                Tensor unpaged = rig.poisoned(DType.F32, 8, HEADS, DIM);
                attention.run(rig.stream, queries, keys, values, suffix, unpaged, null);
                assertArrayEquals(actual, unpaged.readFloats(rig.stream));
            }
        }
    }

    private static void reference(
            float[] q, float[] k, float[] v, List<List<List<float[]>>> rows, double[] out, double[] lse) {
        for (int b = 0, beam = 0, first = 0; b < 2; first += PREFIX[b++]) {
            for (int w = 0; w < BEAMS[b]; w++, beam++) {
                List<float[]> own = rows.get(b).get(w);
                int keys = PREFIX[b] + own.size() / 2;
                for (int h = 0; h < HEADS; h++) {
                    double[] weights = new double[keys];
                    double sum = 0;
                    for (int j = 0; j < keys; j++) {
                        double dot = 0;
                        for (int x = 0; x < DIM; x++) {
                            int at = h / 2 * DIM + x;
                            float key = j < PREFIX[b] ? k[(first + j) * ROW + at] : own.get(2 * (j - PREFIX[b]))[at];
                            dot += q[(beam * HEADS + h) * DIM + x] * key;
                        }
                        weights[j] = Math.exp(dot / Math.sqrt(DIM));
                        sum += weights[j];
                    }
                    lse[beam * HEADS + h] = Math.log(sum);
                    for (int j = 0; j < keys; j++) {
                        for (int x = 0; x < DIM; x++) {
                            int at = h / 2 * DIM + x;
                            float value = j < PREFIX[b] ? v[(first + j) * ROW + at] : own.get(2 * (j - PREFIX[b]) + 1)[at];
                            out[(beam * HEADS + h) * DIM + x] += weights[j] / sum * value;
                        }
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            BeamAttentionDesc desc = BeamAttentionDesc.of(DType.F32, 2, 1, 32, 4, 1, 64);
            refused(InvalidArgumentException.class, () -> BeamAttention.plan(rig.device, desc.withHeadDimV(48)), "'head_dim_v'");
            refused(InvalidArgumentException.class, () -> BeamAttention.plan(rig.device, desc.withScale(Float.NaN)), "'scale'");
            BeamAttention attention = rig.keep(BeamAttention.plan(rig.device, desc));
            Tensor rows = rig.floats(new float[3 * 32], 3, 1, 32);
            JaggedTensor keys = new JaggedTensor(rows, rig.longs(0, 3));
            JaggedTensor queries = new JaggedTensor(rig.floats(new float[4 * 64], 4, 2, 32), rig.longs(0, 4));
            BeamSuffix suffix = new BeamSuffix(
                    rig.floats(new float[4 * 32], 1, 1, 4, 1, 32),
                    rig.floats(new float[4 * 32], 1, 1, 4, 1, 32),
                    rig.keep(Tensor.of(rig.stream, new int[] {0, 1, 4, 3}, 1, 1, 4)));
            Tensor out = rig.poisoned(DType.F32, 4, 2, 32);
            refused(NullPointerException.class, () -> attention.run(rig.stream, null, keys, rows, null, out, null), "'queries'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, queries, keys, null, null, out, null), "'values'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, queries, null, null, out, null), "'prefix'");
            refused(
                    InvalidArgumentException.class,
                    () -> attention.run(rig.stream, queries, keys, rows, suffix, out, rig.poisoned(DType.F32, 4)),
                    "'lse'");
            attention.run(rig.stream, queries, keys, rows, suffix, out, null);
            OutOfBoundsException bad = assertThrows(OutOfBoundsException.class, rig.stream::synchronize);
            assertTrue(bad.getMessage().contains("'ancestry': expected a slot in 0..3, got 4 at position 2"), bad.getMessage());
        }
    }

    @Test
    void an_ancestry_follows_parents() {
        BeamAncestry ancestry = new BeamAncestry(2, 3, 4);
        assertEquals(0, ancestry.descend(1, 9, 9)); // nothing to continue
        assertEquals(1, ancestry.descend(1, 1, 1, 0));
        assertEquals(2, ancestry.descend(1, 2, 0, 1, 2));
        assertEquals(3, ancestry.length(1));
        assertEquals(0, ancestry.length(0));
        int[][] slots = {{0, 1, 1, 0}, {2, 0, 1, 2}, {0, 1, 2, 3}};
        for (int level = 0; level < 3; level++) {
            for (int beam = 0; beam < 4; beam++) {
                assertEquals(slots[level][beam], ancestry.slot(1, level, beam), level + ", " + beam);
            }
        }
        refused(IllegalArgumentException.class, () -> ancestry.descend(1, 0), "at most 3 steps");
        refused(IllegalArgumentException.class, () -> ancestry.descend(0, 0, 0, 0, 0, 0), "at most 4 beams");
        ancestry.clear(1);
        assertEquals(0, ancestry.descend(1, 0));
        refused(IllegalArgumentException.class, () -> ancestry.descend(1, 4), "parents in 0..3, got 4");
        assertThrows(IndexOutOfBoundsException.class, () -> ancestry.slot(1, 1, 0));
        assertThrows(IndexOutOfBoundsException.class, () -> ancestry.descend(2, 0));
    }
}
