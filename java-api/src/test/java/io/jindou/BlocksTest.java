package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class BlocksTest {
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void linear_follows_the_formula(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(1);
            int n = 7, in = 12, outs = 20;
            float[] x = Rig.random(random, n, in), w = Rig.random(random, outs, in), bias = Rig.random(random, outs);
            float[] residual = Rig.random(random, n, outs);
            Tensor out = rig.floats(residual, n, outs);
            Blocks.linear(
                    rig.stream, rig.floats(x, n, in), rig.floats(w, outs, in), rig.floats(bias), Activation.SILU, out, out);
            float[] actual = out.readFloats(rig.stream);
            for (int i = 0; i < n; i++) {
                for (int o = 0; o < outs; o++) {
                    double sum = bias[o];
                    for (int c = 0; c < in; c++) {
                        sum += (double) x[i * in + c] * w[o * in + c];
                    }
                    assertEquals(sum / (1 + Math.exp(-sum)) + residual[i * outs + o], actual[i * outs + o], 1e-5);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void norms_follow_the_formulas(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(2);
            int n = 5, d = 36;
            float[] x = Rig.random(random, n, d), w = Rig.random(random, d), bias = Rig.random(random, d), m = Rig.random(random, n, d);
            Tensor in = rig.floats(x, n, d);
            Tensor normed = rig.poisoned(DType.F32, n, d);
            Tensor unit = rig.poisoned(DType.F32, n, d);
            Blocks.layerNorm(rig.stream, in, rig.floats(w), rig.floats(bias), 1e-5f, rig.floats(m, n, d), normed);
            Blocks.l2Normalize(rig.stream, in, 1e-6f, unit);
            float[] actualNormed = normed.readFloats(rig.stream), actualUnit = unit.readFloats(rig.stream);
            for (int i = 0; i < n; i++) {
                double mean = 0, variance = 0, squares = 0;
                for (int c = 0; c < d; c++) {
                    mean += x[i * d + c] / (double) d;
                    squares += (double) x[i * d + c] * x[i * d + c];
                }
                for (int c = 0; c < d; c++) {
                    variance += (x[i * d + c] - mean) * (x[i * d + c] - mean) / d;
                }
                for (int c = 0; c < d; c++) {
                    double norm = (x[i * d + c] - mean) / Math.sqrt(variance + 1e-5) * w[c] + bias[c];
                    assertEquals(norm * m[i * d + c], actualNormed[i * d + c], 1e-5);
                    assertEquals(x[i * d + c] / Math.sqrt(squares), actualUnit[i * d + c], 1e-6);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void rows_of_any_float_are_normalized(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            float[] x = new float[3 * 16];
            for (int i = 0; i < x.length; i++) {
                x[i] = i % 2 == 0 ? 3 : -3; // of length 12
            }
            for (DType from : new DType[] {DType.F32, DType.F16, DType.BF16}) {
                for (DType to : new DType[] {DType.F32, DType.F16, DType.BF16}) {
                    Tensor out = rig.poisoned(to, 3, 16);
                    Blocks.l2Normalize(rig.stream, rig.floats(from, x, 3, 16), 1e-6f, out);
                    float[] actual = out.readFloats(rig.stream);
                    for (int i = 0; i < x.length; i++) {
                        assertEquals(x[i] / 12, actual[i], 0.0, from + " to " + to);
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_arguments_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Stream stream = rig.stream;
            Tensor x = rig.floats(new float[16], 2, 8);
            Tensor w = rig.floats(new float[32], 4, 8);
            Tensor vector = rig.floats(new float[8]);
            Tensor out = rig.keep(Tensor.create(rig.device, DType.F32, 2, 4));
            Tensor like = rig.keep(Tensor.create(rig.device, DType.F32, 2, 8));
            Activation id = Activation.IDENTITY;

            refused(NullPointerException.class, () -> Blocks.linear(stream, null, w, null, id, null, out), "'x'");
            refused(NullPointerException.class, () -> Blocks.linear(stream, x, null, null, id, null, out), "'weight'");
            refused(NullPointerException.class, () -> Blocks.linear(stream, x, w, null, null, null, out), "'activation'");
            refused(NullPointerException.class, () -> Blocks.linear(stream, x, w, null, id, null, null), "'out'");
            refused(NullPointerException.class, () -> Blocks.linear(null, x, w, null, id, null, out), "'stream'");
            refused(InvalidArgumentException.class,
                    () -> Blocks.linear(stream, x, w, vector, id, null, out), "linear", "'bias'", "[4]", "[8]");
            refused(InvalidArgumentException.class, () -> Blocks.linear(stream, x, w, null, id, x, out), "'residual'", "[2, 8]");
            refused(InvalidArgumentException.class,
                    () -> Blocks.linear(stream, x, rig.floats(new float[16], 4, 4), null, id, null, out), "'weight'", "[4, 4]");
            refused(InvalidArgumentException.class,
                    () -> Blocks.linear(stream, x, rig.floats(DType.F16, new float[32], 4, 8), null, id, null, out), "'weight'", "f16");
            refused(InvalidArgumentException.class, () -> Blocks.layerNorm(stream, x, vector, vector, Float.NaN, like), "'eps'", "nan");
            refused(InvalidArgumentException.class, () -> Blocks.layerNorm(stream, x, vector, vector, -1, like), "'eps'", "-1");
            refused(InvalidArgumentException.class,
                    () -> Blocks.layerNorm(stream, x, rig.floats(new float[4]), vector, 0, like), "layer_norm", "'weight'", "[4]");
            refused(InvalidArgumentException.class, () -> Blocks.l2Normalize(stream, x, 0, like), "l2_normalize", "'eps'", "> 0");
            refused(InvalidArgumentException.class, () -> Blocks.l2Normalize(stream, x, 1, out), "'out'", "[2, 8]", "[2, 4]");
            refused(InvalidArgumentException.class,
                    () -> Blocks.l2Normalize(stream, rig.floats(new float[12], 2, 6), 1, like), "'x'", "multiple of 4", "[2, 6]");
            Tensor closed = Tensor.create(rig.device, DType.F32, 2, 8);
            closed.close();
            refused(ClosedException.class, () -> Blocks.l2Normalize(stream, closed, 1, like), "'x'", "closed");
        }
    }
}
