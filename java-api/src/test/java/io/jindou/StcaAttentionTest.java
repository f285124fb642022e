package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class StcaAttentionTest {
    private static final int DIM = 64, HEADS = 3, HEAD_DIM = 32, WIDTH = HEADS * HEAD_DIM;
    private static final int[] CANDIDATES = {2, 3}, HISTORY = {40, 7};
    private static final int ALL_CANDIDATES = 5, ALL_EVENTS = 47;

    /** Inputs of two users. */
    private static final class Inputs {
        final float[] candidates, events, query, key, value;

        Inputs() {
            Random random = new Random(1);
            candidates = Rig.random(random, ALL_CANDIDATES, DIM);
            events = Rig.random(random, ALL_EVENTS, DIM);
            query = small(Rig.random(random, WIDTH, DIM));
            key = small(Rig.random(random, WIDTH, DIM));
            value = small(Rig.random(random, WIDTH, DIM));
        }

        private static float[] small(float[] weight) {
            for (int i = 0; i < weight.length; i++) {
                weight[i] *= 0.2f;
            }
            return weight;
        }

        StcaWeights weights(Rig rig) {
            return new StcaWeights(
                    rig.floats(query, WIDTH, DIM), rig.floats(key, WIDTH, DIM), rig.floats(value, WIDTH, DIM));
        }

        JaggedTensor candidates(Rig rig) {
            return new JaggedTensor(rig.floats(candidates, ALL_CANDIDATES, DIM), rig.longs(JaggedTensor.offsets(CANDIDATES)));
        }

        JaggedTensor events(Rig rig) {
            return new JaggedTensor(rig.floats(events, ALL_EVENTS, DIM), rig.longs(JaggedTensor.offsets(HISTORY)));
        }
    }

    private static double[][] project(float[] rows, float[] weight) {
        double[][] out = new double[rows.length / DIM][WIDTH];
        for (int i = 0; i < out.length; i++) {
            for (int r = 0; r < WIDTH; r++) {
                for (int e = 0; e < DIM; e++) {
                    out[i][r] += (double) rows[i * DIM + e] * weight[r * DIM + e];
                }
            }
        }
        return out;
    }

    private static double[] expected(Inputs inputs) {
        double[][] q = project(inputs.candidates, inputs.query);
        double[][] k = project(inputs.events, inputs.key), v = project(inputs.events, inputs.value);
        double[] out = new double[ALL_CANDIDATES * WIDTH];
        for (int b = 0, row = 0, begin = 0; b < 2; begin += HISTORY[b++]) {
            for (int i = 0; i < CANDIDATES[b]; i++, row++) {
                for (int h = 0; h < HEADS; h++) {
                    double sum = 0;
                    for (int j = begin; j < begin + HISTORY[b]; j++) {
                        double score = 0;
                        for (int e = 0; e < HEAD_DIM; e++) {
                            score += q[row][h * HEAD_DIM + e] * k[j][h * HEAD_DIM + e];
                        }
                        double weight = Math.exp(score / Math.sqrt(HEAD_DIM));
                        sum += weight;
                        for (int e = 0; e < HEAD_DIM; e++) {
                            out[row * WIDTH + h * HEAD_DIM + e] += weight * v[j][h * HEAD_DIM + e];
                        }
                    }
                    for (int e = 0; e < HEAD_DIM; e++) {
                        out[row * WIDTH + h * HEAD_DIM + e] /= sum;
                    }
                }
            }
        }
        return out;
    }

    private static void assertNear(double[] expected, float[] actual, String what) {
        assertEquals(expected.length, actual.length);
        for (int i = 0; i < actual.length; i++) {
            assertEquals(expected[i], actual[i], 2e-5, what + ", element " + i);
        }
    }

    private static StcaAttentionDesc desc() {
        return StcaAttentionDesc.of(DType.F32, DIM, HEADS, HEAD_DIM, 2, 3, 40);
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void follows_the_formula_both_ways(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Inputs inputs = new Inputs();
            for (StcaPath path : StcaPath.values()) {
                StcaAttention attention = rig.keep(StcaAttention.plan(rig.device, desc().withPath(path)));
                boolean materialised = path == StcaPath.MATERIALISED;
                assertTrue(
                        attention.describe().contains(materialised ? "stca_attention materialised" : "stca_attention reordered"),
                        attention.describe());
                Tensor out = rig.poisoned(DType.F32, ALL_CANDIDATES, WIDTH);
                attention.run(rig.stream, inputs.candidates(rig), inputs.events(rig), inputs.weights(rig), out);
                assertNear(expected(inputs), out.readFloats(rig.stream), path.toString());
            }
        }
    }

    /** What a request leaves behind serves the user's next candidates without the events. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void kept_keys_serve_target_attention(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Inputs inputs = new Inputs();
            StcaAttention attention = rig.keep(StcaAttention.plan(rig.device, desc().withKeepKeys(true)));
            Tensor keys = rig.poisoned(DType.F32, ALL_EVENTS, WIDTH), values = rig.poisoned(DType.F32, ALL_EVENTS, WIDTH);
            Tensor out = rig.poisoned(DType.F32, ALL_CANDIDATES, WIDTH);
            attention.run(rig.stream, inputs.candidates(rig), inputs.events(rig), inputs.weights(rig), keys, values, out);
            assertNear(expected(inputs), out.readFloats(rig.stream), "kept");

            double[][] projected = project(inputs.candidates, inputs.query);
            float[] queries = new float[ALL_CANDIDATES * WIDTH];
            for (int i = 0; i < queries.length; i++) {
                queries[i] = (float) projected[i / WIDTH][i % WIDTH];
            }
            TargetAttention again = rig.keep(TargetAttention.plan(
                    rig.device, TargetAttentionDesc.of(DType.F32, HEADS, HEAD_DIM, 2, 3, 40)
                            .withScale((float) (1 / Math.sqrt(HEAD_DIM)))));
            Tensor later = rig.poisoned(DType.F32, ALL_CANDIDATES, HEADS, HEAD_DIM);
            again.run(
                    rig.stream,
                    new JaggedTensor(
                            rig.floats(queries, ALL_CANDIDATES, HEADS, HEAD_DIM), rig.longs(JaggedTensor.offsets(CANDIDATES))),
                    new JaggedTensor(
                            rig.keep(keys.reshape(ALL_EVENTS, HEADS, HEAD_DIM)),
                            rig.longs(JaggedTensor.offsets(HISTORY))),
                    rig.keep(values.reshape(ALL_EVENTS, HEADS, HEAD_DIM)),
                    later);
            assertNear(expected(inputs), later.readFloats(rig.stream), "later");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            refused(
                    InvalidArgumentException.class,
                    () -> StcaAttention.plan(rig.device, StcaAttentionDesc.of(DType.F32, 48, 1, 32, 1, 1, 1)),
                    "'model_dim'");
            refused(
                    InvalidArgumentException.class,
                    () -> StcaAttention.plan(rig.device, desc().withKeepKeys(true).withPath(StcaPath.REORDERED)),
                    "'keep_keys'");
            refused(
                    InvalidArgumentException.class, () -> StcaAttention.plan(rig.device, desc().withScale(Float.NaN)), "'scale'");
            Inputs inputs = new Inputs();
            StcaAttention attention = rig.keep(StcaAttention.plan(rig.device, desc()));
            JaggedTensor candidates = inputs.candidates(rig), events = inputs.events(rig);
            StcaWeights weights = inputs.weights(rig);
            Tensor out = rig.poisoned(DType.F32, ALL_CANDIDATES, WIDTH);
            refused(NullPointerException.class, () -> attention.run(rig.stream, null, events, weights, out), "'candidates'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, candidates, null, weights, out), "'events'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, candidates, events, null, out), "'weights'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, candidates, events, weights, null), "'out'");
            refused(NullPointerException.class, () -> new StcaWeights(weights.query(), null, weights.value()), "'key'");
            refused(
                    InvalidArgumentException.class,
                    () -> attention.run(rig.stream, candidates, events, weights, out, out, out),
                    "'keys'",
                    "expected no tensor");
            refused(
                    InvalidArgumentException.class,
                    () -> attention.run(
                            rig.stream, candidates, events, new StcaWeights(out, weights.key(), weights.value()), out),
                    "'query_weight'");
            attention.run(rig.stream, candidates, events, weights, out);
            assertNear(expected(inputs), out.readFloats(rig.stream), "after refusals");
        }
    }
}
