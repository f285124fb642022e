package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class SoftmaxAttentionTest {
    private static final int HEADS = 4, KV_HEADS = 2, DIM = 32, VALUE_DIM = 64;
    private static final int[] QUERIES = {20, 3}, KEYS = {30, 25};
    private static final int ROWS = 23, COLUMNS = 55;

    /** Queries, keys, values, and the tensors of every bias. */
    private static final class Inputs {
        final float[] queries, keys, values, slopes, table, matrix;

        Inputs() {
            Random random = new Random(7);
            queries = Rig.random(random, ROWS, HEADS, DIM);
            keys = Rig.random(random, COLUMNS, KV_HEADS, DIM);
            values = Rig.random(random, COLUMNS, KV_HEADS, VALUE_DIM);
            slopes = AttentionBias.alibiSlopes(HEADS);
            table = Rig.random(random, 32, HEADS);
            matrix = Rig.random(random, HEADS, 20, 30);
        }

        Tensor tensor(Rig rig, AttentionBias bias) {
            return switch (bias) {
                case AttentionBias.None none -> null;
                case AttentionBias.Alibi alibi -> rig.floats(slopes, HEADS);
                case AttentionBias.T5 t5 -> rig.floats(table, 32, HEADS);
                case AttentionBias.Dense dense -> rig.floats(matrix, HEADS, 20, 30);
            };
        }

        double bias(AttentionBias bias, int h, int i, int j, int p) {
            return switch (bias) {
                case AttentionBias.None none -> 0;
                case AttentionBias.Alibi alibi -> -slopes[h] * Math.abs(p - j);
                // Not bidirectional: distances below 16 have a bucket each, none here is beyond the second.
                case AttentionBias.T5 t5 -> table[(p - j < 16 ? Math.max(p - j, 0) : bucket(p - j)) * HEADS + h];
                case AttentionBias.Dense dense -> matrix[(h * 20 + i) * 30 + j];
            };
        }

        private static int bucket(int distance) {
            return 16 + (int) Math.floor(Math.log(distance / 16.0) / Math.log(128 / 16.0) * 16 + 1e-9);
        }
    }

    private static boolean sees(AttentionMask mask, int i, int j, int p) {
        AttentionMask.Always always = mask.always();
        boolean first = j < always.sink() || i < always.numGlobal() || j < always.numGlobal()
                || (p < always.prefix() && j < always.prefix());
        return first || switch (mask) {
            case AttentionMask.None none -> true;
            case AttentionMask.Causal causal -> j <= p;
            case AttentionMask.Window w -> (w.left() < 0 || j >= p - w.left()) && (w.right() < 0 || j <= p + w.right());
        };
    }

    private static void reference(Inputs x, SoftmaxAttentionDesc desc, double[] out, double[] lse) {
        for (int b = 0, row = 0, first = 0; b < 2; first += KEYS[b++]) {
            for (int i = 0; i < QUERIES[b]; i++, row++) {
                int p = KEYS[b] - QUERIES[b] + i;
                for (int h = 0; h < HEADS; h++) {
                    double[] weights = new double[KEYS[b]];
                    double sum = 0;
                    for (int j = 0; j < KEYS[b]; j++) {
                        double score = 0;
                        for (int d = 0; d < DIM; d++) {
                            score += (double) x.queries[(row * HEADS + h) * DIM + d]
                                    * x.keys[((first + j) * KV_HEADS + h / 2) * DIM + d];
                        }
                        score = score * desc.scale() + x.bias(desc.bias(), h, i, j, p);
                        if (desc.softcap() > 0) {
                            score = desc.softcap() * Math.tanh(score / desc.softcap());
                        }
                        weights[j] = sees(desc.mask(), i, j, p) ? Math.exp(score) : 0;
                        sum += weights[j];
                    }
                    lse[row * HEADS + h] = Math.log(sum);
                    for (int j = 0; j < KEYS[b]; j++) {
                        for (int d = 0; d < VALUE_DIM; d++) {
                            out[(row * HEADS + h) * VALUE_DIM + d] +=
                                    weights[j] / sum * x.values[((first + j) * KV_HEADS + h / 2) * VALUE_DIM + d];
                        }
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void equals_the_formula_for_every_mask_and_bias_with_and_without_a_soft_cap(String name) throws Exception {
        Inputs x = new Inputs();
        List<AttentionMask> masks = List.of(
                AttentionMask.none(),
                AttentionMask.causal(),
                AttentionMask.causal().withPrefix(12).withNumGlobal(2),
                AttentionMask.window(5, 1).withSink(3),
                AttentionMask.window(-1, 4));
        List<AttentionBias> biases =
                List.of(AttentionBias.none(), AttentionBias.alibi(), AttentionBias.t5(32, 128, false), AttentionBias.dense());
        try (Rig rig = new Rig(name)) {
            JaggedTensor queries = new JaggedTensor(rig.floats(x.queries, ROWS, HEADS, DIM), rig.longs(0, 20, 23));
            JaggedTensor keys = new JaggedTensor(rig.floats(x.keys, COLUMNS, KV_HEADS, DIM), rig.longs(0, 30, 55));
            Tensor values = rig.floats(x.values, COLUMNS, KV_HEADS, VALUE_DIM);
            for (AttentionMask mask : masks) {
                for (AttentionBias bias : biases) {
                    for (float softcap : new float[] {0, 1.5f}) {
                        SoftmaxAttentionDesc desc = SoftmaxAttentionDesc.of(DType.F32, HEADS, DIM, 2, 30)
                                .withNumKvHeads(KV_HEADS)
                                .withHeadDimV(VALUE_DIM)
                                .withMask(mask)
                                .withBias(bias)
                                .withSoftcap(softcap);
                        SoftmaxAttention attention = rig.planned(() -> SoftmaxAttention.plan(rig.device, desc));
                        if (attention == null) {
                            return;
                        }
                        assertEquals(desc, attention.desc());
                        assertTrue(attention.describe().contains("softmax_attention"), attention.describe());
                        double[] expected = new double[ROWS * HEADS * VALUE_DIM], sums = new double[ROWS * HEADS];
                        reference(x, desc, expected, sums);
                        Tensor out = rig.poisoned(DType.F32, ROWS, HEADS, VALUE_DIM), lse = rig.poisoned(DType.F32, ROWS, HEADS);
                        attention.run(rig.stream, queries, keys, values, x.tensor(rig, bias), out, lse);
                        String what = mask + ", " + bias + ", soft-cap " + softcap;
                        near(expected, out.readFloats(rig.stream), 1e-5, what);
                        near(sums, lse.readFloats(rig.stream), 1e-5, what + ", lse");
                    }
                }
            }
        }
    }

    private static void near(double[] expected, float[] actual, double tolerance, String what) {
        for (int i = 0; i < expected.length; i++) {
            assertEquals(expected[i], actual[i], tolerance, what + ", element " + i);
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void states_over_parts_of_the_keys_merge(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(8);
            float[] q = Rig.random(random, 5, 1, DIM), k = Rig.random(random, 40, 1, DIM), v = Rig.random(random, 40, 1, DIM);
            SoftmaxAttentionDesc desc = SoftmaxAttentionDesc.of(DType.F32, 1, DIM, 1, 40).withMask(AttentionMask.none());
            SoftmaxAttention attention = rig.planned(() -> SoftmaxAttention.plan(rig.device, desc));
            if (attention == null) {
                return;
            }
            JaggedTensor queries = new JaggedTensor(rig.floats(q, 5, 1, DIM), rig.longs(0, 5));
            Tensor keys = rig.floats(k, 40, 1, DIM), values = rig.floats(v, 40, 1, DIM);
            Tensor[] outs = new Tensor[3], sums = new Tensor[3];
            int[][] parts = {{0, 40}, {0, 17}, {17, 40}};
            for (int i = 0; i < 3; i++) {
                outs[i] = rig.poisoned(DType.F32, 5, 1, DIM);
                sums[i] = rig.poisoned(DType.F32, 5, 1);
                Tensor part = rig.keep(keys.slice(0, parts[i][0], parts[i][1]));
                attention.run(
                        rig.stream,
                        queries,
                        new JaggedTensor(part, rig.longs(0, parts[i][1] - parts[i][0])),
                        rig.keep(values.slice(0, parts[i][0], parts[i][1])),
                        null,
                        outs[i],
                        sums[i]);
            }
            Tensor merged = rig.poisoned(DType.F32, 5, 1, DIM);
            MergeAttentionStates.run(rig.stream, outs[1], sums[1], outs[2], sums[2], merged, null);
            MergeAttentionStates.run(rig.stream, outs[1], sums[1], outs[2], sums[2], outs[1], sums[1]);
            assertArrayEquals(outs[0].readFloats(rig.stream), merged.readFloats(rig.stream), 1e-6f);
            assertArrayEquals(merged.readFloats(rig.stream), outs[1].readFloats(rig.stream));
            assertArrayEquals(sums[0].readFloats(rig.stream), sums[1].readFloats(rig.stream), 1e-5f);

            refused(
                    NullPointerException.class,
                    () -> MergeAttentionStates.run(rig.stream, null, sums[1], outs[2], sums[2], merged, null),
                    "'outA'");
            refused(
                    InvalidArgumentException.class,
                    () -> MergeAttentionStates.run(rig.stream, outs[1], sums[1], outs[2], outs[0], merged, null),
                    "merge_attention_states: argument 'lse_b'");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            SoftmaxAttentionDesc desc = SoftmaxAttentionDesc.of(DType.F32, 2, 32, 1, 64);
            refused(InvalidArgumentException.class, () -> SoftmaxAttention.plan(rig.device, desc.withHeadDimV(48)), "'head_dim_v'");
            refused(InvalidArgumentException.class, () -> SoftmaxAttention.plan(rig.device, desc.withSoftcap(-1)), "'softcap'");
            refused(
                    InvalidArgumentException.class,
                    () -> SoftmaxAttention.plan(rig.device, desc.withMask(AttentionMask.window(-2, 0))),
                    "'left'");
            refused(
                    InvalidArgumentException.class,
                    () -> SoftmaxAttention.plan(rig.device, desc.withMask(AttentionMask.causal().withSink(-1))),
                    "'sink'");
            refused(
                    InvalidArgumentException.class,
                    () -> SoftmaxAttention.plan(rig.device, desc.withBias(AttentionBias.t5(33, 128, true))),
                    "'t5_num_buckets'");
            refused(NullPointerException.class, () -> desc.withMask(null), "mask");
            refused(NullPointerException.class, () -> SoftmaxAttention.plan(rig.device, null), "desc");
            SoftmaxAttention plain = rig.planned(() -> SoftmaxAttention.plan(rig.device, desc));
            if (plain == null) {
                return;
            }
            SoftmaxAttention biased = rig.keep(SoftmaxAttention.plan(rig.device, desc.withBias(AttentionBias.alibi())));
            JaggedTensor rows = new JaggedTensor(rig.floats(new float[128], 2, 2, 32), rig.longs(0, 2));
            Tensor values = rig.floats(new float[128], 2, 2, 32), out = rig.poisoned(DType.F32, 2, 2, 32);
            refused(NullPointerException.class, () -> plain.run(rig.stream, null, rows, values, out), "'queries'");
            refused(NullPointerException.class, () -> plain.run(rig.stream, rows, null, values, out), "'keys'");
            refused(NullPointerException.class, () -> plain.run(rig.stream, rows, rows, null, out), "'values'");
            refused(NullPointerException.class, () -> biased.run(rig.stream, rows, rows, values, out), "'bias'");
            refused(
                    InvalidArgumentException.class,
                    () -> plain.run(rig.stream, rows, rows, values, values, out, null),
                    "'bias': expected no tensor");
            refused(
                    InvalidArgumentException.class,
                    () -> biased.run(rig.stream, rows, rows, values, values, out, null),
                    "'alibi_slopes'");
            refused(InvalidArgumentException.class, () -> plain.run(rig.stream, rows, rows, values, values), "'out'");
            plain.run(rig.stream, rows, rows, values, out);
            assertEquals(0f, out.readFloats(rig.stream)[3]);
        }
    }

    @Test
    void slopes_of_alibis_authors() {
        assertArrayEquals(new float[] {0.5f, 0.25f, 0.125f, 0.0625f, 1 / 32f, 1 / 64f, 1 / 128f, 1 / 256f}, AttentionBias.alibiSlopes(8));
        assertArrayEquals(
                new float[] {0.0625f, 1 / 256f, 0.25f}, AttentionBias.alibiSlopes(3)); // of 2 heads, then the first of 4
        refused(IllegalArgumentException.class, () -> AttentionBias.alibiSlopes(0), "numHeads");
    }
}
