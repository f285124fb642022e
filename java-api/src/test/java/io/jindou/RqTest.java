package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class RqTest {
    private static final int N = 21, LEVELS = 3, CODES = 50, DIM = 16;

    /** Codes that differ by far more than rounding: the sums of unit vectors, each level a tenth of the one before. */
    private static float[] codebooks(Random random) {
        float[] all = new float[LEVELS * CODES * DIM];
        for (int i = 0; i < all.length; i++) {
            all[i] = (float) (random.nextInt(-2, 3) * Math.pow(0.1, i / (CODES * DIM)));
        }
        return all;
    }

    private static int[] reference(float[] x, float[] codebooks, double[] norms) {
        int[] codes = new int[N * LEVELS];
        for (int i = 0; i < N; i++) {
            double[] r = new double[DIM];
            for (int d = 0; d < DIM; d++) {
                r[d] = x[i * DIM + d];
            }
            for (int level = 0; level < LEVELS; level++) {
                double best = Double.POSITIVE_INFINITY;
                for (int k = 0; k < CODES; k++) {
                    double distance = 0;
                    for (int d = 0; d < DIM; d++) {
                        distance += Math.pow(r[d] - codebooks[(level * CODES + k) * DIM + d], 2);
                    }
                    if (distance < best - 1e-6) {
                        best = distance;
                        codes[i * LEVELS + level] = k;
                    }
                }
                for (int d = 0; d < DIM; d++) {
                    r[d] -= codebooks[(level * CODES + codes[i * LEVELS + level]) * DIM + d];
                }
            }
            norms[i] = Math.sqrt(java.util.Arrays.stream(r).map(v -> v * v).sum());
        }
        return codes;
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void finds_the_nearest_codes_and_sums_them(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(3);
            float[] x = Rig.random(random, N, DIM), books = codebooks(random);
            double[] norms = new double[N];
            int[] expected = reference(x, books, norms);
            Tensor codebooks = rig.floats(books, LEVELS, CODES, DIM);
            RqEncode encode = rig.keep(RqEncode.plan(rig.device, RqEncodeDesc.of(codebooks)));
            assertTrue(encode.describe().contains("rq_encode"), encode.describe());
            assertEquals(new RqEncodeDesc(DType.F32, DIM, LEVELS, CODES), encode.desc());
            Tensor codes = rig.poisoned(DType.I32, N, LEVELS), residuals = rig.poisoned(DType.F32, N);
            encode.run(rig.stream, rig.floats(x, N, DIM), codebooks, codes, residuals);
            assertArrayEquals(expected, codes.readInts(rig.stream));
            float[] lengths = residuals.readFloats(rig.stream);
            for (int i = 0; i < N; i++) {
                assertEquals(norms[i], lengths[i], 1e-5, "row " + i);
            }
            Tensor alone = rig.poisoned(DType.I32, N, LEVELS);
            encode.run(rig.stream, rig.floats(x, N, DIM), codebooks, alone);
            assertArrayEquals(expected, alone.readInts(rig.stream));

            Tensor out = rig.poisoned(DType.F32, N, DIM);
            RqDecode.run(rig.stream, codes, codebooks, Bounds.STRICT, out);
            float[] sums = out.readFloats(rig.stream);
            for (int i = 0; i < N; i++) {
                double square = 0;
                for (int d = 0; d < DIM; d++) {
                    square += Math.pow(x[i * DIM + d] - sums[i * DIM + d], 2);
                }
                assertEquals(norms[i], Math.sqrt(square), 1e-5, "row " + i);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void decode_meets_codes_out_of_range_as_it_is_told(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor codebooks = rig.floats(new float[] {1, 2, 3, 4, 10, 20, 30, 40}, 2, 1, 4);
            Tensor codes = rig.keep(Tensor.of(rig.stream, new int[] {0, 0, 0, 5}, 2, 2));
            Tensor out = rig.poisoned(DType.F32, 2, 4);
            RqDecode.run(rig.stream, codes, codebooks, Bounds.ZERO, out);
            rig.stream.synchronize();
            assertEquals(1, rig.stream.takeSkipped());
            assertArrayEquals(new float[] {11, 22, 33, 44, 1, 2, 3, 4}, out.readFloats(rig.stream));
            RqDecode.run(rig.stream, codes, codebooks, Bounds.STRICT, out);
            OutOfBoundsException found =
                    refused(OutOfBoundsException.class, () -> rig.stream.synchronize(), "'codes'", "got 5 at position 3", "level 1");
            assertEquals(3, found.position());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            RqEncodeDesc desc = new RqEncodeDesc(DType.F32, 8, 2, 3);
            refused(NullPointerException.class, () -> new RqEncodeDesc(null, 8, 2, 3), "dtype");
            refused(NullPointerException.class, () -> RqEncodeDesc.of(null), "codebooks");
            refused(InvalidArgumentException.class, () -> RqEncode.plan(rig.device, desc.withDType(DType.I8)), "'dtype'");
            refused(
                    InvalidArgumentException.class,
                    () -> RqEncode.plan(rig.device, new RqEncodeDesc(DType.F32, 6, 2, 3)),
                    "'dim'");
            RqEncode encode = rig.keep(RqEncode.plan(rig.device, desc));
            Tensor x = rig.floats(new float[8], 1, 8), codebooks = rig.floats(new float[48], 2, 3, 8);
            Tensor codes = rig.poisoned(DType.I32, 1, 2);
            refused(IllegalArgumentException.class, () -> RqEncodeDesc.of(x), "rank 3");
            refused(NullPointerException.class, () -> encode.run(rig.stream, null, codebooks, codes), "'x'");
            refused(NullPointerException.class, () -> encode.run(rig.stream, x, codebooks, null), "'codes'");
            refused(InvalidArgumentException.class, () -> encode.run(rig.stream, x, x, codes), "'codebooks'");
            refused(InvalidArgumentException.class, () -> encode.run(rig.stream, x, codebooks, codes, x), "'residual_norm'");
            refused(NullPointerException.class, () -> RqDecode.run(rig.stream, codes, codebooks, null, x), "'bounds'");
            encode.run(rig.stream, x, codebooks, codes);
            refused(InvalidArgumentException.class, () -> RqDecode.run(rig.stream, codes, codebooks, Bounds.ZERO, codes), "'out'");
            assertArrayEquals(new int[2], codes.readInts(rig.stream));
        }
    }
}
