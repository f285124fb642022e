package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class SearchAttentionTest {
    private static final int HEADS = 4, KV_HEADS = 2, DIM = 32, K = 5;
    private static final int[] INDICES = {3, -1, 0, 3, 19, -1, -1, -1, -1, -1, 1, 2, 0, -1, 1};

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void follows_the_formula(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(1);
            float[] q = Rig.random(random, 3, HEADS, DIM), k = Rig.random(random, 23, KV_HEADS, DIM), v = Rig.random(random, 23, KV_HEADS, DIM);
            JaggedTensor candidates = new JaggedTensor(rig.floats(q, 3, HEADS, DIM), rig.longs(0, 2, 3));
            JaggedTensor keys = new JaggedTensor(rig.floats(k, 23, KV_HEADS, DIM), rig.longs(0, 20, 23));
            Tensor values = rig.floats(v, 23, KV_HEADS, DIM), indices = rig.keep(Tensor.of(rig.stream, INDICES, 3, K));
            for (AttentionActivation activation : new AttentionActivation[] {
                AttentionActivation.softmax(), AttentionActivation.silu(7)
            }) {
                boolean softmax = activation instanceof AttentionActivation.Softmax;
                double[] expected = new double[q.length], expectedLse = new double[3 * HEADS];
                reference(q, k, v, softmax, expected, expectedLse);
                SearchAttention attention = rig.keep(SearchAttention.plan(
                        rig.device,
                        SearchAttentionDesc.of(DType.F32, HEADS, DIM, K, 2, 2, 20)
                                .withNumKvHeads(KV_HEADS)
                                .withActivation(activation)));
                assertTrue(attention.describe().contains("search_attention"), attention.describe());
                Tensor out = rig.poisoned(DType.F32, 3, HEADS, DIM), lse = rig.poisoned(DType.F32, 3, HEADS);
                if (softmax) {
                    attention.run(rig.stream, candidates, keys, values, indices, out, lse);
                    float[] sums = lse.readFloats(rig.stream);
                    for (int i = 0; i < sums.length; i++) {
                        assertEquals(expectedLse[i], sums[i], 1e-5, "lse " + i);
                    }
                } else {
                    attention.run(rig.stream, candidates, keys, values, indices, out);
                }
                float[] actual = out.readFloats(rig.stream);
                for (int i = 0; i < actual.length; i++) {
                    assertEquals(expected[i], actual[i], 1e-5, "element " + i);
                }
            }
        }
    }

    private static void reference(float[] q, float[] k, float[] v, boolean softmax, double[] out, double[] lse) {
        for (int row = 0; row < 3; row++) {
            for (int h = 0; h < HEADS; h++) {
                double[] weights = new double[K];
                double sum = 0;
                for (int n = 0; n < K; n++) {
                    int index = INDICES[row * K + n];
                    if (index < 0) {
                        continue;
                    }
                    double dot = 0;
                    for (int x = 0; x < DIM; x++) {
                        dot += q[(row * HEADS + h) * DIM + x] * k[at(row, index, h) + x];
                    }
                    double score = dot / Math.sqrt(DIM);
                    weights[n] = softmax ? Math.exp(score) : score / (1 + Math.exp(-score)) / 7;
                    sum += weights[n];
                }
                lse[row * HEADS + h] = Math.log(sum);
                for (int n = 0; n < K; n++) {
                    int index = INDICES[row * K + n];
                    for (int x = 0; x < DIM && index >= 0; x++) {
                        out[(row * HEADS + h) * DIM + x] += weights[n] / (softmax ? sum : 1) * v[at(row, index, h) + x];
                    }
                }
            }
        }
    }

    private static int at(int row, int index, int head) {
        return (((row < 2 ? 0 : 20) + index) * KV_HEADS + head / 2) * DIM;
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            SearchAttentionDesc desc = SearchAttentionDesc.of(DType.F32, 1, 32, 2, 1, 4, 4);
            refused(InvalidArgumentException.class, () -> SearchAttention.plan(rig.device, desc.withHeadDimV(40)), "'head_dim_v'");
            refused(
                    InvalidArgumentException.class,
                    () -> SearchAttention.plan(rig.device, desc.withActivation(AttentionActivation.silu(0))),
                    "'scaling_seqlen'");
            SearchAttention attention = rig.keep(SearchAttention.plan(rig.device, desc));
            Tensor rows = rig.floats(new float[64], 2, 1, 32);
            JaggedTensor jagged = new JaggedTensor(rows, rig.longs(0, 2));
            Tensor out = rig.poisoned(DType.F32, 2, 1, 32), indices = rig.keep(Tensor.of(rig.stream, new int[] {0, 1, 1, -1}, 2, 2));
            refused(NullPointerException.class, () -> attention.run(rig.stream, null, jagged, rows, indices, out), "'candidates'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, jagged, jagged, rows, null, out), "'indices'");
            refused(InvalidArgumentException.class, () -> attention.run(rig.stream, jagged, jagged, rows, indices, rows), "'out'");
            refused(
                    OutOfBoundsException.class,
                    () -> {
                        attention.run(
                                rig.stream, jagged, jagged, rows, rig.keep(Tensor.of(rig.stream, new int[] {0, 1, 2, -1}, 2, 2)), out);
                        rig.stream.synchronize();
                    },
                    "'indices'",
                    "got 2 at position 2");
            attention.run(rig.stream, jagged, jagged, rows, indices, out);
            assertEquals(0f, out.readFloats(rig.stream)[3]);
        }
    }
}
