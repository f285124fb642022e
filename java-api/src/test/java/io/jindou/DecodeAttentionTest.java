package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class DecodeAttentionTest {
    private static final int HEADS = 4, KV_HEADS = 2, DIM = 32;
    private static final int[] LENGTHS = {90, 3}, ASKED = {2, 1};

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void follows_the_formula(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(1);
            float[] q = Rig.random(random, 3, HEADS, DIM);
            float[] k = Rig.random(random, 93, KV_HEADS, DIM), v = Rig.random(random, 93, KV_HEADS, DIM);
            double[] expected = new double[q.length], expectedLse = new double[3 * HEADS];
            reference(q, k, v, expected, expectedLse);
            Tensor keys = rig.floats(k, 93, KV_HEADS, DIM), values = rig.floats(v, 93, KV_HEADS, DIM);
            JaggedTensor queries = new JaggedTensor(rig.floats(q, 3, HEADS, DIM), rig.longs(JaggedTensor.offsets(ASKED)));
            for (DType pages : new DType[] {DType.F32, DType.I8}) {
                PagedCache cache = rig.keep(PagedCache.create(
                        rig.device, PagedCacheDesc.of(DType.F32, 12, KV_HEADS, DIM).withPageSize(16).withCacheDType(pages)));
                cache.append(rig.stream, new long[] {8, 5}, LENGTHS, keys, values);
                DecodeAttention attention = rig.keep(DecodeAttention.plan(
                        rig.device,
                        DecodeAttentionDesc.of(DType.F32, HEADS, KV_HEADS, DIM, 2, 128).withMaxQueries(2).withCacheDType(pages)));
                assertTrue(attention.describe().contains("decode_attention"), attention.describe());
                Tensor out = rig.poisoned(DType.F32, 3, HEADS, DIM), lse = rig.poisoned(DType.F32, 3, HEADS);
                attention.run(rig.stream, queries, rig.keep(cache.batch(rig.stream, 8, 5)), out, lse);
                float[] actual = out.readFloats(rig.stream), sums = lse.readFloats(rig.stream);
                double tolerance = pages == DType.F32 ? 1e-5 : 2e-2;
                for (int i = 0; i < expected.length; i++) {
                    assertEquals(expected[i], actual[i], tolerance, "element " + i);
                }
                for (int i = 0; i < expectedLse.length; i++) {
                    assertEquals(expectedLse[i], sums[i], tolerance, "lse " + i);
                }
                Tensor alone = rig.poisoned(DType.F32, 3, HEADS, DIM);
                attention.run(rig.stream, queries, rig.keep(cache.batch(rig.stream, 8, 5)), alone);
                org.junit.jupiter.api.Assertions.assertArrayEquals(actual, alone.readFloats(rig.stream));
            }
        }
    }

    private static void reference(float[] q, float[] k, float[] v, double[] out, double[] lse) {
        for (int b = 0, row = 0, first = 0; b < 2; first += LENGTHS[b++]) {
            for (int i = 0; i < ASKED[b]; i++, row++) {
                int keys = LENGTHS[b] - ASKED[b] + i + 1;
                for (int h = 0; h < HEADS; h++) {
                    double[] weights = new double[keys];
                    double sum = 0;
                    for (int j = 0; j < keys; j++) {
                        double dot = 0;
                        for (int x = 0; x < DIM; x++) {
                            dot += q[(row * HEADS + h) * DIM + x] * k[((first + j) * KV_HEADS + h / 2) * DIM + x];
                        }
                        weights[j] = Math.exp(dot / Math.sqrt(DIM));
                        sum += weights[j];
                    }
                    lse[row * HEADS + h] = Math.log(sum);
                    for (int j = 0; j < keys; j++) {
                        for (int x = 0; x < DIM; x++) {
                            out[(row * HEADS + h) * DIM + x] +=
                                    weights[j] / sum * v[((first + j) * KV_HEADS + h / 2) * DIM + x];
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
            DecodeAttentionDesc desc = DecodeAttentionDesc.of(DType.F32, 2, 1, 32, 1, 64);
            refused(InvalidArgumentException.class, () -> DecodeAttention.plan(rig.device, desc.withMaxQueries(17)), "'max_queries'");
            refused(InvalidArgumentException.class, () -> DecodeAttention.plan(rig.device, desc.withHeadDimV(48)), "'head_dim_v'");
            refused(
                    InvalidArgumentException.class,
                    () -> DecodeAttention.plan(rig.device, desc.withCacheDType(DType.BF16)),
                    "'cache_dtype'");
            PagedCache cache = rig.keep(PagedCache.create(rig.device, PagedCacheDesc.of(DType.F32, 3, 1, 32)));
            Tensor rows = rig.floats(new float[32], 1, 1, 32);
            cache.append(rig.stream, 1, rows, rows);
            PagedKeysValues batch = rig.keep(cache.batch(rig.stream, 1));
            DecodeAttention attention = rig.keep(DecodeAttention.plan(rig.device, desc));
            JaggedTensor queries = new JaggedTensor(rig.floats(new float[64], 1, 2, 32), rig.longs(0, 1));
            Tensor out = rig.poisoned(DType.F32, 1, 2, 32);
            refused(NullPointerException.class, () -> attention.run(rig.stream, null, batch, out), "'queries'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, queries, null, out), "'cache'");
            refused(InvalidArgumentException.class, () -> attention.run(rig.stream, queries, batch, rows), "'out'");
            refused(
                    InvalidArgumentException.class,
                    () -> attention.run(rig.stream, queries, batch, out, rig.poisoned(DType.F32, 2)),
                    "'lse'");
            attention.run(rig.stream, queries, batch, out);
            assertEquals(0f, out.readFloats(rig.stream)[3]);
        }
    }
}
