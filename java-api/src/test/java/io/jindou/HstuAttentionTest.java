package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class HstuAttentionTest {
    private static final int HEADS = 2, DIM = 32;
    private static final int[] LENGTHS = {1, 0, 17, 64, 83}, TARGETS = {0, 0, 3, 1, 20};

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void follows_the_formula(String name) throws Exception {
        HstuMask causal = HstuMask.causalOnly();
        for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            check(name, dtype, causal, false, false);
            check(name, dtype, causal, true, true);
            check(name, dtype, causal.withContextualSeqLen(1), true, false);
        }
    }

    private static void check(String name, DType dtype, HstuMask mask, boolean targets, boolean scales) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(5);
            int total = Arrays.stream(LENGTHS).sum();
            // Queries, keys and values side by side, as a linear layer leaves them: strided views.
            HostTensor qkv = HostTensor.of(dtype, Rig.random(random, total, 3 * HEADS, DIM), total, 3 * HEADS, DIM);
            float[] attnScale = Rig.random(random, total);
            double[] expected =
                    reference(qkv.toDoubles(), mask, targets ? TARGETS : new int[LENGTHS.length], scales ? attnScale : null);

            HstuAttentionDesc desc = HstuAttentionDesc.of(dtype, HEADS, DIM, 16f, LENGTHS.length, 128)
                    .withAlpha(0.25f)
                    .withMask(mask)
                    .withOffsetDType(DType.I32)
                    .withOutDType(DType.F32);
            HstuAttention attention = rig.keep(HstuAttention.plan(rig.device, desc));
            assertTrue(attention.describe().contains("hstu_attention"), attention.describe());
            Tensor all = rig.keep(Tensor.of(rig.stream, qkv));
            Tensor offsets = rig.ints(Arrays.stream(JaggedTensor.offsets(LENGTHS)).mapToInt(o -> (int) o).toArray());
            Tensor out = rig.poisoned(DType.F32, total, HEADS, DIM);
            attention.run(
                    rig.stream,
                    new JaggedTensor(rig.keep(all.slice(1, 0, HEADS)), offsets),
                    rig.keep(all.slice(1, HEADS, 2 * HEADS)),
                    rig.keep(all.slice(1, 2 * HEADS, 3 * HEADS)),
                    targets ? rig.ints(TARGETS) : null,
                    scales ? rig.floats(attnScale) : null,
                    out);
            float[] actual = out.readFloats(rig.stream);
            // Sums of up to 83 terms of size 1/16; bf16 rounds each weight once more.
            double tolerance = dtype == DType.F32 ? 2e-5 : 2e-2;
            for (int i = 0; i < expected.length; i++) {
                assertEquals(expected[i], actual[i], tolerance, "element " + i + " " + dtype + " " + mask);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void last_rows_alone_have_the_bits_of_the_whole_run(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(6);
            int total = 100, asked = 30;
            float[] q = Rig.random(random, total, 1, DIM);
            Tensor keys = rig.floats(Rig.random(random, total, 1, DIM), total, 1, DIM);
            Tensor values = rig.floats(Rig.random(random, total, 1, DIM), total, 1, DIM);
            HstuBias bias = new HstuBias(
                    rig.floats(Rig.random(random, 2 * total - 1)),
                    rig.floats(Rig.random(random, 20)),
                    rig.longs(random.longs(total, 0, 1L << 40).sorted().toArray()));
            HstuAttention attention = rig.keep(HstuAttention.plan(rig.device, HstuAttentionDesc.of(DType.F32, 1, DIM, 10f, 1, total)));

            Tensor whole = rig.poisoned(DType.F32, total, 1, DIM);
            JaggedTensor all = new JaggedTensor(rig.floats(q, total, 1, DIM), rig.longs(0, total));
            attention.run(rig.stream, all, keys, values, null, null, bias, whole);
            Tensor last = rig.poisoned(DType.F32, asked, 1, DIM);
            JaggedTensor queries = new JaggedTensor(
                    rig.floats(Arrays.copyOfRange(q, (total - asked) * DIM, total * DIM), asked, 1, DIM), rig.longs(0, asked));
            attention.runLastRows(
                    rig.stream, queries, new JaggedTensor(keys, rig.longs(0, total)), values, null, null, bias, last);
            float[] expected = whole.readFloats(rig.stream);
            org.junit.jupiter.api.Assertions.assertArrayEquals(
                    Arrays.copyOfRange(expected, (total - asked) * DIM, total * DIM), last.readFloats(rig.stream));
            Tensor unbiased = rig.poisoned(DType.F32, total, 1, DIM);
            attention.run(rig.stream, all, keys, values, unbiased);
            assertTrue(unbiased.readFloats(rig.stream)[5] != expected[5]);

            refused(
                    InvalidArgumentException.class,
                    () -> attention.run(rig.stream, all, keys, values, null, null, new HstuBias(null, bias.time(), null), whole),
                    "'timestamps'");
            refused(NullPointerException.class, () -> attention.run(rig.stream, all, keys, values, null, null, null, whole), "'bias'");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_paged_cache_gives_the_bits_of_rows(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(7);
            int total = 100, asked = 30;
            float[] k = Rig.random(random, total, 1, DIM), v = Rig.random(random, total, 1, DIM);
            Tensor keys = rig.floats(k, total, 1, DIM), values = rig.floats(v, total, 1, DIM);
            JaggedTensor queries = new JaggedTensor(rig.floats(Rig.random(random, asked, 1, DIM), asked, 1, DIM), rig.longs(0, asked));
            HstuAttention attention = rig.keep(HstuAttention.plan(rig.device, HstuAttentionDesc.of(DType.F32, 1, DIM, 10f, 1, total)));
            Tensor expected = rig.poisoned(DType.F32, asked, 1, DIM), out = rig.poisoned(DType.F32, asked, 1, DIM);
            attention.runLastRows(
                    rig.stream, queries, new JaggedTensor(keys, rig.longs(0, total)), values, null, null, HstuBias.NONE, expected);
            for (DType pages : new DType[] {DType.F32, DType.I8}) {
                PagedCache cache = rig.keep(PagedCache.create(
                        rig.device, PagedCacheDesc.of(DType.F32, 9, 1, DIM).withPageSize(16).withCacheDType(pages)));
                cache.append(rig.stream, 1, rig.floats(new float[20 * DIM], 20, 1, DIM), rig.floats(new float[20 * DIM], 20, 1, DIM));
                cache.append(rig.stream, 7, keys, values);
                attention.runPaged(rig.stream, queries, rig.keep(cache.batch(rig.stream, 7)), null, null, HstuBias.NONE, out);
                org.junit.jupiter.api.Assertions.assertArrayEquals(
                        expected.readFloats(rig.stream), out.readFloats(rig.stream), pages == DType.F32 ? 0f : 0.02f);
                refused(
                        InvalidArgumentException.class,
                        () -> attention.runPaged(
                                rig.stream, queries, rig.keep(cache.batch(rig.stream, 7, 1)), null, null, HstuBias.NONE, out),
                        "'page_table'");
            }
            refused(
                    NullPointerException.class,
                    () -> attention.runPaged(rig.stream, queries, null, null, null, HstuBias.NONE, out),
                    "'cache'");
        }
    }

    /** A row alone sees itself: SiLU(alpha * q . k) * v / scalingSeqlen. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void values_of_another_head_dim_and_f16(String name) throws Exception {
        for (DType dtype : new DType[] {DType.F16, DType.F32}) {
            for (int[] dims : new int[][] {{64, 192}, {256, 32}, {192, 192}}) {
                try (Rig rig = new Rig(name)) {
                    HstuAttention attention = rig.planned(() -> HstuAttention.plan(
                            rig.device, HstuAttentionDesc.of(dtype, 1, dims[0], 2f, 3, 1).withHeadDimV(dims[1]).withAlpha(0.125f)));
                    if (attention == null) {
                        continue;
                    }
                    Random random = new Random(8);
                    HostTensor q = HostTensor.of(dtype, Rig.random(random, 3, dims[0]), 3, 1, dims[0]);
                    HostTensor k = HostTensor.of(dtype, Rig.random(random, 3, dims[0]), 3, 1, dims[0]);
                    HostTensor v = HostTensor.of(dtype, Rig.random(random, 3, dims[1]), 3, 1, dims[1]);
                    Tensor out = rig.poisoned(dtype, 3, 1, dims[1]);
                    attention.run(
                            rig.stream,
                            new JaggedTensor(rig.keep(Tensor.of(rig.stream, q)), rig.longs(0, 1, 2, 3)),
                            rig.keep(Tensor.of(rig.stream, k)),
                            rig.keep(Tensor.of(rig.stream, v)),
                            out);
                    double[] queries = q.toDoubles(), keys = k.toDoubles(), values = v.toDoubles();
                    double[] actual = out.readHost(rig.stream).toDoubles();
                    for (int i = 0; i < 3 * dims[1]; i++) {
                        double score = 0;
                        for (int c = 0; c < dims[0]; c++) {
                            score += 0.125 * queries[i / dims[1] * dims[0] + c] * keys[i / dims[1] * dims[0] + c];
                        }
                        double expected = score / (1 + Math.exp(-score)) * values[i] / 2;
                        assertEquals(expected, actual[i], dtype == DType.F32 ? 2e-5 : 4e-3, "element " + i + " " + dtype);
                    }
                }
            }
        }
    }

    private static double[] reference(double[] qkv, HstuMask mask, int[] targets, float[] attnScale) {
        long[] offsets = JaggedTensor.offsets(LENGTHS);
        double[] out = new double[qkv.length / 3];
        int c = mask.contextualSeqLen();
        for (int b = 0; b < LENGTHS.length; b++) {
            int n = LENGTHS[b], start = (int) offsets[b];
            int maxId = (c > 0 ? n - c + 1 : n) - targets[b];
            for (int h = 0; h < HEADS; h++) {
                for (int i = 0; i < n; i++) {
                    int row = Math.min(c > 0 ? Math.max(i - c + 1, 0) : i, maxId);
                    for (int j = 0; j < n; j++) {
                        int column = Math.min(c > 0 ? Math.max(j - c + 1, 0) : j, maxId);
                        boolean allowed = i == j || row > column || c > 0 && row == 0 && column < maxId;
                        if (!allowed) {
                            continue;
                        }
                        double dot = 0;
                        for (int x = 0; x < DIM; x++) {
                            dot += qkv[((start + i) * 3 * HEADS + h) * DIM + x] * qkv[((start + j) * 3 * HEADS + HEADS + h) * DIM + x];
                        }
                        double score = 0.25 * dot;
                        double weight = score / (1 + Math.exp(-score)) * (attnScale == null ? 1 / 16.0 : attnScale[start + i]);
                        for (int x = 0; x < DIM; x++) {
                            out[((start + i) * HEADS + h) * DIM + x] += weight * qkv[((start + j) * 3 * HEADS + 2 * HEADS + h) * DIM + x];
                        }
                    }
                }
            }
        }
        return out;
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_descriptions_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            HstuAttentionDesc good = HstuAttentionDesc.of(DType.F32, 2, 32, 100f, 2, 64);
            refusedPlan(rig, HstuAttentionDesc.of(DType.I8, 2, 32, 1, 1, 1), "'dtype'", "i8");
            refusedPlan(rig, HstuAttentionDesc.of(DType.F32, 2, 512, 1, 1, 1), "'head_dim_qk'", "512");
            refusedPlan(rig, HstuAttentionDesc.of(DType.F32, 257, 32, 1, 1, 1), "'num_heads'", "257");
            refusedPlan(rig, HstuAttentionDesc.of(DType.F32, 2, 32, 0, 1, 1), "'scaling_seqlen'", "> 0", "0");
            refusedPlan(rig, HstuAttentionDesc.of(DType.F32, 2, 32, Float.NaN, 1, 1), "'scaling_seqlen'", "nan");
            refusedPlan(rig, HstuAttentionDesc.of(DType.F32, 2, 32, 1, 1, 131073), "'max_seq_len'", "131072", "131073");
            refusedPlan(rig, HstuAttentionDesc.of(DType.F32, 2, 32, 1, -1, 1), "'max_batch'", "-1");
            refusedPlan(rig, good.withAlpha(Float.NaN), "'alpha'", "finite", "nan");
            refusedPlan(rig, good.withHeadDimV(40), "'head_dim_v'", "192", "40");
            refusedPlan(rig, good.withOutDType(DType.F16), "'out_dtype'", "f16");
            refusedPlan(rig, good.withBounds(Bounds.TRUST), "'bounds'", "2");
            refusedPlan(rig, good.withMask(HstuMask.causalOnly().withContextualSeqLen(-1)), "'contextual_seq_len'", "-1");
            refusedPlan(rig, good.withMask(HstuMask.causalOnly().withMaxAttnLen(-1)), "'max_attn_len'", "-1");
            refusedPlan(rig, good.withMask(HstuMask.causalOnly().withMinFullAttnSeqLen(-1)), "'min_full_attn_seq_len'", "-1");
            refused(NullPointerException.class, () -> good.withMask(null), "mask");
            refused(NullPointerException.class, () -> HstuAttention.plan(rig.device, null), "desc");
            refused(NullPointerException.class, () -> HstuAttention.plan(null, good), "'device'");
        }
    }

    private static void refusedPlan(Rig rig, HstuAttentionDesc desc, String... fragments) {
        refused(InvalidArgumentException.class, () -> HstuAttention.plan(rig.device, desc), fragments);
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_arguments_of_a_run_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name);
                Rig other = new Rig(name)) {
            HstuAttention attention =
                    rig.keep(HstuAttention.plan(rig.device, HstuAttentionDesc.of(DType.F32, 1, 32, 8, 2, 4)));
            Tensor q = rig.floats(new float[5 * 32], 5, 1, 32);
            Tensor k = rig.floats(new float[5 * 32], 5, 1, 32);
            Tensor v = rig.floats(new float[5 * 32], 5, 1, 32);
            Tensor out = rig.keep(Tensor.create(rig.device, DType.F32, 5, 1, 32));
            Tensor offsets = rig.longs(0, 2, 5);
            JaggedTensor queries = new JaggedTensor(q, offsets);
            Stream stream = rig.stream;

            refused(NullPointerException.class, () -> attention.run(stream, null, k, v, out), "'queries'");
            refused(NullPointerException.class, () -> attention.run(stream, queries, null, v, out), "'keys'");
            refused(NullPointerException.class, () -> attention.run(stream, queries, k, null, out), "'values'");
            refused(NullPointerException.class, () -> attention.run(stream, queries, k, v, null), "'out'");
            refused(NullPointerException.class, () -> attention.run(null, queries, k, v, out), "'stream'");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, queries, rig.floats(new float[4 * 32], 4, 1, 32), v, out),
                    "hstu_attention", "'keys'", "[5, 1, 32]", "[4, 1, 32]");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, queries, k, rig.floats(new float[5 * 64], 5, 1, 64), out), "'values'", "[5, 1, 64]");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, queries, k, v, rig.ints(1, 2, 3), null, out), "'num_targets'", "[2]", "[3]");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, queries, k, v, rig.longs(1, 2), null, out), "'num_targets'", "i32", "i64");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, queries, k, v, null, rig.floats(new float[4]), out), "'attn_scale'", "[5]", "[4]");
            refused(InvalidArgumentException.class, () -> attention.run(stream, queries, k, v, k), "'out'", "overlap");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, queries, other.floats(new float[5 * 32], 5, 1, 32), v, out), "belongs to device");
            Tensor odd = rig.keep(rig.floats(new float[6 * 32]).view(1, new long[] {5, 1, 32}, null));
            refused(InvalidArgumentException.class, () -> attention.run(stream, queries, odd, v, out), "'keys'", "aligned to 16");

            bad(rig, () -> attention.run(stream, new JaggedTensor(q, rig.longs(1, 2, 5)), k, v, out), "first offset", "got 1");
            bad(rig, () -> attention.run(stream, new JaggedTensor(q, rig.longs(0, 6, 5)), k, v, out), "'offsets'");
            bad(rig, () -> attention.run(stream, new JaggedTensor(q, rig.longs(0, 5, 5)), k, v, out), "at most 4 rows", "got 5");
            bad(rig, () -> attention.run(stream, queries, k, v, rig.ints(3, 0), null, out), "'num_targets'", "0..2", "got 3");
            bad(rig, () -> attention.run(stream, queries, k, v, rig.ints(0, -1), null, out), "'num_targets'", "got -1");

            attention.run(stream, queries, k, v, rig.ints(2, 3), null, out);
            stream.synchronize();
        }
    }

    private static void bad(Rig rig, Runnable run, String... fragments) {
        EmbeddingBagTest.badOffsets(rig, run, fragments);
    }
}
