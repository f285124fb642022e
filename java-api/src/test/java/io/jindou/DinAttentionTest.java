package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class DinAttentionTest {
    private static final int DIM = 16, DIM_V = 8, HIDDEN_1 = 12, HIDDEN_2 = 8;
    private static final int[] CANDIDATES = {2, 3}, HISTORY = {40, 7};
    private static final DinActivation[] ACTIVATIONS = {DinActivation.sigmoid(), DinActivation.prelu(), DinActivation.dice(1e-3f)};

    /** A layer's numbers. */
    private record Layer(float[] weight, float[] bias, float[] slope, float[] mean, float[] variance) {
        static Layer random(Random random, int units, int inputs) {
            float[] variance = Rig.random(random, units);
            for (int i = 0; i < units; i++) {
                variance[i] = variance[i] * variance[i] + 0.5f;
            }
            return new Layer(
                    Rig.random(random, units, inputs),
                    Rig.random(random, units),
                    Rig.random(random, units),
                    Rig.random(random, units),
                    variance);
        }

        DinLayer on(Rig rig, DinActivation activation) {
            Tensor w = rig.floats(weight, bias.length, weight.length / bias.length), b = rig.floats(bias, bias.length);
            return switch (activation) {
                case DinActivation.Sigmoid sigmoid -> DinLayer.sigmoid(w, b);
                case DinActivation.Prelu prelu -> DinLayer.prelu(w, b, rig.floats(slope, slope.length));
                case DinActivation.Dice dice -> DinLayer.dice(
                        w, b, rig.floats(slope, slope.length), rig.floats(mean, mean.length), rig.floats(variance, variance.length));
            };
        }

        double[] apply(double[] x, DinActivation activation) {
            double[] y = new double[bias.length];
            for (int unit = 0; unit < y.length; unit++) {
                double sum = bias[unit];
                for (int i = 0; i < x.length; i++) {
                    sum += weight[unit * x.length + i] * x[i];
                }
                y[unit] = switch (activation) {
                    case DinActivation.Sigmoid sigmoid -> 1 / (1 + Math.exp(-sum));
                    case DinActivation.Prelu prelu -> sum > 0 ? sum : slope[unit] * sum;
                    case DinActivation.Dice dice -> {
                        double p = 1 / (1 + Math.exp(-(sum - mean[unit]) / Math.sqrt(variance[unit] + dice.eps())));
                        yield p * sum + (1 - p) * slope[unit] * sum;
                    }
                };
            }
            return y;
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void follows_the_formula(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            for (DinActivation activation : ACTIVATIONS) {
                for (boolean softmax : new boolean[] {false, true}) {
                    follows_the_formula(rig, activation, softmax);
                }
            }
        }
    }

    private static void follows_the_formula(Rig rig, DinActivation activation, boolean softmax) {
        Random random = new Random(1);
        float[] q = Rig.random(random, 5, DIM), k = Rig.random(random, 47, DIM), v = Rig.random(random, 47, DIM_V);
        Layer first = Layer.random(random, HIDDEN_1, 4 * DIM), second = Layer.random(random, HIDDEN_2, HIDDEN_1);
        float[] last = Rig.random(random, HIDDEN_2);
        DinNetwork network = new DinNetwork(
                first.on(rig, activation), second.on(rig, activation), rig.floats(last, 1, HIDDEN_2), rig.floats(new float[] {0.25f}, 1));
        DinAttention attention = rig.keep(DinAttention.plan(
                rig.device,
                DinAttentionDesc.of(DType.F32, DIM, HIDDEN_1, HIDDEN_2, activation, 2, 3, 40)
                        .withDimV(DIM_V)
                        .withSoftmax(softmax)
                        .withScale(0.5f)
                        .withNumLatest(30)));
        assertTrue(attention.describe().contains("din_attention"), attention.describe());
        Tensor out = rig.poisoned(DType.F32, 5, DIM_V);
        attention.run(
                rig.stream,
                new JaggedTensor(rig.floats(q, 5, DIM), rig.longs(JaggedTensor.offsets(CANDIDATES))),
                new JaggedTensor(rig.floats(k, 47, DIM), rig.longs(JaggedTensor.offsets(HISTORY))),
                rig.floats(v, 47, DIM_V),
                network,
                out);
        float[] actual = out.readFloats(rig.stream);
        for (int b = 0, row = 0, begin = 0; b < 2; begin += HISTORY[b++]) {
            int from = begin + Math.max(0, HISTORY[b] - 30), to = begin + HISTORY[b];
            for (int i = 0; i < CANDIDATES[b]; i++, row++) {
                double[] expected = new double[DIM_V];
                double sum = 0;
                for (int j = from; j < to; j++) {
                    double[] x = new double[4 * DIM];
                    for (int e = 0; e < DIM; e++) {
                        x[e] = q[row * DIM + e];
                        x[DIM + e] = k[j * DIM + e];
                        x[2 * DIM + e] = x[e] - x[DIM + e];
                        x[3 * DIM + e] = x[e] * x[DIM + e];
                    }
                    double[] hidden = second.apply(first.apply(x, activation), activation);
                    double weight = 0.25;
                    for (int unit = 0; unit < HIDDEN_2; unit++) {
                        weight += last[unit] * hidden[unit];
                    }
                    weight = softmax ? Math.exp(0.5 * weight) : 0.5 * weight;
                    sum += weight;
                    for (int e = 0; e < DIM_V; e++) {
                        expected[e] += weight * v[j * DIM_V + e];
                    }
                }
                for (int e = 0; e < DIM_V; e++) {
                    assertEquals(softmax ? expected[e] / sum : expected[e], actual[row * DIM_V + e], 1e-4, activation + ", row " + row);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            DinAttentionDesc desc = DinAttentionDesc.of(DType.F32, 8, 4, 4, DinActivation.sigmoid(), 1, 1, 2);
            refused(InvalidArgumentException.class, () -> DinAttention.plan(rig.device, desc.withDimV(12)), "'dim_v'");
            refused(
                    InvalidArgumentException.class,
                    () -> DinAttention.plan(
                            rig.device, DinAttentionDesc.of(DType.F32, 8, 6, 4, DinActivation.sigmoid(), 1, 1, 2)),
                    "'hidden_1'");
            refused(
                    InvalidArgumentException.class,
                    () -> DinAttention.plan(rig.device, DinAttentionDesc.of(DType.F32, 8, 4, 4, DinActivation.dice(0), 1, 1, 2)),
                    "'dice_eps'");
            DinAttention attention = rig.keep(DinAttention.plan(rig.device, desc));
            Tensor weight1 = rig.floats(new float[4 * 32], 4, 32), weight2 = rig.floats(new float[16], 4, 4);
            Tensor units = rig.floats(new float[4], 4), weight3 = rig.floats(new float[4], 1, 4), bias3 = rig.floats(new float[] {2}, 1);
            DinNetwork network =
                    new DinNetwork(DinLayer.sigmoid(weight1, units), DinLayer.sigmoid(weight2, units), weight3, bias3);
            Tensor one = rig.floats(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 1, 8), out = rig.poisoned(DType.F32, 1, 8);
            JaggedTensor candidates = new JaggedTensor(one, rig.longs(0, 1)), history = new JaggedTensor(one, rig.longs(0, 1));
            refused(NullPointerException.class, () -> attention.run(rig.stream, null, history, one, network, out), "'candidates'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, candidates, null, one, network, out), "'keys'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, candidates, history, null, network, out), "'values'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, candidates, history, one, null, out), "'network'");
            refused(NullPointerException.class, () -> new DinNetwork(null, network.second(), weight3, bias3), "'first'");
            refused(
                    NullPointerException.class,
                    () -> attention.run(
                            rig.stream,
                            candidates,
                            history,
                            one,
                            new DinNetwork(DinLayer.sigmoid(weight1, null), network.second(), weight3, bias3),
                            out),
                    "'first.bias'");
            refused(
                    InvalidArgumentException.class,
                    () -> attention.run(
                            rig.stream,
                            candidates,
                            history,
                            one,
                            new DinNetwork(DinLayer.prelu(weight1, units, units), network.second(), weight3, bias3),
                            out),
                    "'slope_1'",
                    "expected no tensor");
            refused(InvalidArgumentException.class, () -> attention.run(rig.stream, candidates, history, one, network, one), "'out'");
            attention.run(rig.stream, candidates, history, one, network, out);
            assertEquals(6f, out.readFloats(rig.stream)[2]); // the network gives its last bias
        }
    }
}
