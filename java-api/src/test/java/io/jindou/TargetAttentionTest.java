package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TargetAttentionTest {
    private static final int HEADS = 4, KV_HEADS = 2, DIM = 32;
    private static final int[] CANDIDATES = {3, 0, 17, 1}, EVENTS = {70, 5, 0, 131};

    /** Users without candidates, without history; grouped heads; the last events only; f32 and bf16. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void follows_the_formula(String name) throws Exception {
        for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            for (boolean selfKey : new boolean[] {false, true}) {
                for (int numLatest : new int[] {0, 50}) {
                    check(name, dtype, selfKey, numLatest);
                }
            }
        }
    }

    private static void check(String name, DType dtype, boolean selfKey, int numLatest) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(11);
            int nc = Arrays.stream(CANDIDATES).sum(), nk = Arrays.stream(EVENTS).sum();
            HostTensor q = HostTensor.of(dtype, Rig.random(random, nc, HEADS, DIM), nc, HEADS, DIM);
            HostTensor k = HostTensor.of(dtype, Rig.random(random, nk, KV_HEADS, DIM), nk, KV_HEADS, DIM);
            HostTensor v = HostTensor.of(dtype, Rig.random(random, nk, KV_HEADS, DIM), nk, KV_HEADS, DIM);
            HostTensor ownK = HostTensor.of(dtype, Rig.random(random, nc, KV_HEADS, DIM), nc, KV_HEADS, DIM);
            HostTensor ownV = HostTensor.of(dtype, Rig.random(random, nc, KV_HEADS, DIM), nc, KV_HEADS, DIM);
            double[] expected = reference(
                    q.toDoubles(), k.toDoubles(), v.toDoubles(), selfKey ? ownK.toDoubles() : null, ownV.toDoubles(), numLatest);

            TargetAttentionDesc desc = TargetAttentionDesc.of(dtype, HEADS, DIM, 4, 20, 200)
                    .withNumKvHeads(KV_HEADS)
                    .withScale(0.5f)
                    .withSelfKey(selfKey)
                    .withNumLatest(numLatest)
                    .withOutDType(DType.F32);
            TargetAttention attention = rig.keep(TargetAttention.plan(rig.device, desc));
            assertTrue(attention.describe().contains("target_attention"), attention.describe());
            Tensor out = rig.poisoned(DType.F32, nc, HEADS, DIM);
            attention.run(
                    rig.stream,
                    new JaggedTensor(rig.keep(Tensor.of(rig.stream, q)), rig.longs(JaggedTensor.offsets(CANDIDATES))),
                    selfKey ? rig.keep(Tensor.of(rig.stream, ownK)) : null,
                    selfKey ? rig.keep(Tensor.of(rig.stream, ownV)) : null,
                    new JaggedTensor(rig.keep(Tensor.of(rig.stream, k)), rig.longs(JaggedTensor.offsets(EVENTS))),
                    rig.keep(Tensor.of(rig.stream, v)),
                    out);
            float[] actual = out.readFloats(rig.stream);
            // Inputs are exact in both; bf16 rounds the weights once more.
            double tolerance = dtype == DType.F32 ? 2e-5 : 1e-2;
            for (int i = 0; i < expected.length; i++) {
                assertEquals(expected[i], actual[i], tolerance, "element " + i + " " + dtype);
            }
        }
    }

    /** A history of one event: every candidate gets its value. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void values_of_another_head_dim_and_f16(String name) throws Exception {
        for (DType dtype : new DType[] {DType.F16, DType.F32}) {
            for (int[] dims : new int[][] {{64, 192}, {256, 32}, {192, 192}}) {
                try (Rig rig = new Rig(name)) {
                    TargetAttention attention = rig.planned(() -> TargetAttention.plan(
                            rig.device, TargetAttentionDesc.of(dtype, 1, dims[0], 1, 5, 1).withHeadDimV(dims[1])));
                    if (attention == null) {
                        continue;
                    }
                    Random random = new Random(8);
                    float[] value = Rig.random(random, dims[1]);
                    Tensor out = rig.poisoned(dtype, 5, 1, dims[1]);
                    attention.run(
                            rig.stream,
                            new JaggedTensor(rig.floats(dtype, Rig.random(random, 5, dims[0]), 5, 1, dims[0]), rig.longs(0, 5)),
                            new JaggedTensor(rig.floats(dtype, Rig.random(random, dims[0]), 1, 1, dims[0]), rig.longs(0, 1)),
                            rig.floats(dtype, value, 1, 1, dims[1]),
                            out);
                    double[] actual = out.readHost(rig.stream).toDoubles();
                    for (int i = 0; i < actual.length; i++) {
                        assertEquals(value[i % dims[1]], actual[i], dtype == DType.F32 ? 2e-6 : 2e-3, "element " + i + " " + dtype);
                    }
                }
            }
        }
    }

    private static double[] reference(double[] q, double[] k, double[] v, double[] ownK, double[] ownV, int numLatest) {
        long[] candidateOffsets = JaggedTensor.offsets(CANDIDATES), eventOffsets = JaggedTensor.offsets(EVENTS);
        double[] out = new double[q.length];
        for (int b = 0; b < CANDIDATES.length; b++) {
            int end = (int) eventOffsets[b + 1];
            int begin = numLatest == 0 ? (int) eventOffsets[b] : Math.max((int) eventOffsets[b], end - numLatest);
            for (int i = (int) candidateOffsets[b]; i < candidateOffsets[b + 1]; i++) {
                for (int h = 0; h < HEADS; h++) {
                    int kv = h / (HEADS / KV_HEADS);
                    int keys = end - begin + (ownK == null ? 0 : 1);
                    double[] weights = new double[keys];
                    double sum = 0;
                    for (int j = 0; j < keys; j++) {
                        boolean own = begin + j == end;
                        double dot = 0;
                        for (int c = 0; c < DIM; c++) {
                            int at = ((own ? i : begin + j) * KV_HEADS + kv) * DIM + c;
                            dot += q[(i * HEADS + h) * DIM + c] * (own ? ownK[at] : k[at]);
                        }
                        weights[j] = Math.exp(0.5 * dot);
                        sum += weights[j];
                    }
                    for (int j = 0; j < keys; j++) {
                        boolean own = begin + j == end;
                        for (int c = 0; c < DIM; c++) {
                            int at = ((own ? i : begin + j) * KV_HEADS + kv) * DIM + c;
                            out[(i * HEADS + h) * DIM + c] += weights[j] / sum * (own ? ownV[at] : v[at]);
                        }
                    }
                }
            }
        }
        return out;
    }

    /** Bits of one user's result do not depend on who else is in the batch. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void target_attention_ignores_other_users(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(3);
            float[] q = Rig.random(random, 9, 1, DIM), k = Rig.random(random, 150, 1, DIM), v = Rig.random(random, 150, 1, DIM);
            TargetAttention attention =
                    rig.keep(TargetAttention.plan(rig.device, TargetAttentionDesc.of(DType.F32, 1, DIM, 2, 16, 200)));
            float[] together = run(rig, attention, q, k, v, new int[] {4, 5}, new int[] {50, 100});
            float[] alone = run(
                    rig,
                    attention,
                    Arrays.copyOfRange(q, 4 * DIM, 9 * DIM),
                    Arrays.copyOfRange(k, 50 * DIM, 150 * DIM),
                    Arrays.copyOfRange(v, 50 * DIM, 150 * DIM),
                    new int[] {5},
                    new int[] {100});
            assertArrayEquals(alone, Arrays.copyOfRange(together, 4 * DIM, 9 * DIM));
        }
    }

    private static float[] run(
            Rig rig, TargetAttention attention, float[] q, float[] k, float[] v, int[] candidates, int[] events) {
        Tensor out = rig.poisoned(DType.F32, q.length / DIM, 1, DIM);
        attention.run(
                rig.stream,
                new JaggedTensor(rig.floats(q, q.length / DIM, 1, DIM), rig.longs(JaggedTensor.offsets(candidates))),
                new JaggedTensor(rig.floats(k, k.length / DIM, 1, DIM), rig.longs(JaggedTensor.offsets(events))),
                rig.floats(v, v.length / DIM, 1, DIM),
                out);
        return out.readFloats(rig.stream);
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_descriptions_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            TargetAttentionDesc good = TargetAttentionDesc.of(DType.F32, 4, 64, 2, 16, 100);
            refusedPlan(rig, TargetAttentionDesc.of(DType.I8, 4, 64, 1, 1, 1), "'dtype'", "f32, f16 or bf16", "got i8");
            refusedPlan(rig, TargetAttentionDesc.of(DType.F32, 4, 48, 1, 1, 1), "'head_dim_qk'", "32, 64, 96, 128, 192 or 256", "48");
            refusedPlan(rig, TargetAttentionDesc.of(DType.F32, 0, 64, 1, 1, 1), "'num_heads'", "1..256", "0");
            refusedPlan(rig, good.withHeadDimV(160), "'head_dim_v'", "192", "160");
            refusedPlan(rig, good.withNumKvHeads(3), "'num_kv_heads'", "divisor", "3");
            refusedPlan(rig, good.withScale(Float.NaN), "'scale'", "finite", "nan");
            refusedPlan(rig, good.withScale(Float.POSITIVE_INFINITY), "'scale'", "finite", "inf");
            refusedPlan(rig, good.withOutDType(DType.BF16), "'out_dtype'", "bf16");
            refusedPlan(rig, good.withOffsetDType(DType.F32), "'offset_dtype'", "f32");
            refusedPlan(rig, good.withBounds(Bounds.TRUST), "'bounds'", "2");
            refusedPlan(rig, good.withNumLatest(-1), "'num_latest'", "-1");
            refusedPlan(rig, TargetAttentionDesc.of(DType.F32, 4, 64, -1, 1, 1), "'max_batch'", "-1");
            refusedPlan(rig, TargetAttentionDesc.of(DType.F32, 4, 64, 1, 4097, 1), "'max_candidates'", "4096", "4097");
            refusedPlan(rig, TargetAttentionDesc.of(DType.F32, 4, 64, 1, 1, 131073), "'max_history'", "131072", "131073");
            refusedPlan(rig, good.withActivation(AttentionActivation.silu(0)), "'scaling_seqlen'", "> 0");
            refusedPlan(rig, good.withActivation(AttentionActivation.silu(Float.NaN)), "'scaling_seqlen'", "nan");
            try (TargetAttention silu = TargetAttention.plan(rig.device, good.withActivation(AttentionActivation.silu(100)))) {
                assertTrue(silu.describe().contains("target_attention"), silu.describe());
            }
            refused(NullPointerException.class, () -> TargetAttention.plan(rig.device, null), "desc");
            refused(NullPointerException.class, () -> TargetAttention.plan(null, good), "'device'");
        }
    }

    private static void refusedPlan(Rig rig, TargetAttentionDesc desc, String... fragments) {
        refused(InvalidArgumentException.class, () -> TargetAttention.plan(rig.device, desc), fragments);
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_arguments_of_a_run_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name);
                Rig other = new Rig(name)) {
            TargetAttention attention =
                    rig.keep(TargetAttention.plan(rig.device, TargetAttentionDesc.of(DType.F32, 2, 32, 2, 4, 8)));
            Tensor q = rig.floats(new float[3 * 64], 3, 2, 32);
            Tensor k = rig.floats(new float[5 * 64], 5, 2, 32);
            Tensor v = rig.floats(new float[5 * 64], 5, 2, 32);
            JaggedTensor candidates = new JaggedTensor(q, rig.longs(0, 1, 3));
            JaggedTensor keys = new JaggedTensor(k, rig.longs(0, 2, 5));
            Tensor out = rig.keep(Tensor.create(rig.device, DType.F32, 3, 2, 32));
            Stream stream = rig.stream;

            refused(NullPointerException.class, () -> attention.run(stream, null, keys, v, out), "'candidates'");
            refused(NullPointerException.class, () -> attention.run(stream, candidates, null, v, out), "'keys'");
            refused(NullPointerException.class, () -> attention.run(stream, candidates, keys, null, out), "'values'");
            refused(NullPointerException.class, () -> attention.run(stream, candidates, keys, v, null), "'out'");
            refused(NullPointerException.class, () -> attention.run(null, candidates, keys, v, out), "'stream'");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates.withValues(rig.floats(DType.BF16, new float[3 * 64], 3, 2, 32)), keys, v, out),
                    "target_attention", "'candidates'", "f32", "bf16");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates.withValues(rig.floats(new float[3 * 64], 3, 64)), keys, v, out),
                    "'candidates'", "rank 3");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates, keys.withValues(rig.floats(new float[5 * 32], 5, 1, 32)), v, out),
                    "'keys'", "[5, 1, 32]");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates, keys, rig.floats(new float[4 * 64], 4, 2, 32), out), "'values'", "[4, 2, 32]");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates, keys, v, rig.keep(Tensor.create(rig.device, DType.F32, 4, 2, 32))),
                    "'out'", "[3, 2, 32]", "[4, 2, 32]");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, new JaggedTensor(q, rig.ints(0, 1, 3)), keys, v, out), "'candidate_offsets'", "i64", "i32");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates, new JaggedTensor(k, rig.longs(0, 5)), v, out), "'history_offsets'");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, new JaggedTensor(q, rig.longs(0, 1, 2, 3)), keys, v, out), "0..2", "max_batch");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates, q, q, keys, v, out), "'candidate_keys'", "no tensor");
            refused(InvalidArgumentException.class, () -> attention.run(stream, candidates, keys, v, q), "'out'", "overlap");
            Tensor wide = rig.keep(Tensor.create(rig.device, DType.F32, 5, 2, 33));
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates, keys, rig.keep(wide.slice(2, 0, 32)), out), "'values'", "16 bytes");
            refused(InvalidArgumentException.class,
                    () -> attention.run(stream, candidates, keys, other.floats(new float[5 * 64], 5, 2, 32), out),
                    "'values'", "belongs to device");
            Tensor closed = Tensor.create(rig.device, DType.F32, 5, 2, 32);
            closed.close();
            refused(ClosedException.class, () -> attention.run(stream, candidates, keys, closed, out), "'values'", "closed");

            TargetAttention own = rig.keep(TargetAttention.plan(rig.device, attention.desc().withSelfKey(true)));
            refused(InvalidArgumentException.class, () -> own.run(stream, candidates, keys, v, out), "'candidate_keys'", "a tensor");
            refused(InvalidArgumentException.class, () -> own.run(stream, candidates, q, null, keys, v, out), "'candidate_values'");
            attention.run(stream, candidates, keys, v, out);
            stream.synchronize();
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_offsets_and_lengths_are_found(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            TargetAttention attention =
                    rig.keep(TargetAttention.plan(rig.device, TargetAttentionDesc.of(DType.F32, 1, 32, 2, 2, 3)));
            Tensor q = rig.floats(new float[3 * 32], 3, 1, 32);
            Tensor k = rig.floats(new float[5 * 32], 5, 1, 32);
            Tensor out = rig.keep(Tensor.create(rig.device, DType.F32, 3, 1, 32));
            JaggedTensor candidates = new JaggedTensor(q, rig.longs(0, 1, 3));
            JaggedTensor keys = new JaggedTensor(k, rig.longs(0, 2, 5));
            bad(rig, attention, new JaggedTensor(q, rig.longs(1, 1, 3)), keys, k, out, "first offset to be 0", "got 1");
            bad(rig, attention, new JaggedTensor(q, rig.longs(0, 4, 3)), keys, k, out, "candidate_offsets");
            bad(rig, attention, new JaggedTensor(q, rig.longs(0, 0, 3)), keys, k, out, "at most 2 rows", "got 3", "sequence 1");
            bad(rig, attention, candidates, new JaggedTensor(k, rig.longs(0, 4, 5)), k, out, "at most 3 rows", "got 4", "sequence 0");
            bad(rig, attention, candidates, new JaggedTensor(k, rig.longs(0, 3, 6)), k, out, "at most 5", "got 6");
            bad(rig, attention, candidates, new JaggedTensor(k, rig.longs(0, 3, 2)), k, out, "non-decreasing");
            bad(rig, attention, candidates, new JaggedTensor(k, rig.longs(0, Long.MIN_VALUE, 5)), k, out, "non-decreasing");
        }
    }

    private static void bad(
            Rig rig, TargetAttention attention, JaggedTensor candidates, JaggedTensor keys, Tensor v, Tensor out, String... fragments) {
        EmbeddingBagTest.badOffsets(rig, () -> attention.run(rig.stream, candidates, keys, v, out), fragments);
    }
}
