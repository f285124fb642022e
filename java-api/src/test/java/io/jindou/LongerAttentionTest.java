package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class LongerAttentionTest {
    private static final int HEADS = 4, KV_HEADS = 2, DIM = 32, SHARED = 2, OWN = 3, CANDIDATES = 4, RECENT = 7, HISTORY = 50;
    private static final int GLOBALS = SHARED + OWN * CANDIDATES, ROWS = GLOBALS + RECENT, ROW = HEADS * DIM, KEY = KV_HEADS * DIM;

    private final Random random = new Random(1);
    private final float[] queries = Rig.random(random, ROWS, HEADS, DIM);
    private final float[] globals = Rig.random(random, GLOBALS, KV_HEADS, DIM);
    private final float[] events = Rig.random(random, HISTORY, KV_HEADS, DIM); // their own values, as are the globals

    private static final LongerAttentionDesc DESC = LongerAttentionDesc.of(
                    DType.F32, HEADS, KV_HEADS, DIM, SHARED + OWN, 1, RECENT, HISTORY)
            .withCandidates(SHARED, CANDIDATES);

    private static JaggedTensor jagged(Rig rig, float[] values, int heads) {
        int rows = values.length / heads / DIM;
        return new JaggedTensor(rig.floats(values, rows, heads, DIM), rig.longs(JaggedTensor.offsets(rows)));
    }

    /** Whether a row sees the j-th of the globals and then the events. */
    private static boolean sees(int row, int j) {
        if (j < SHARED) {
            return true;
        }
        if (j < GLOBALS) {
            return row >= SHARED && row < GLOBALS && (row - SHARED) / OWN == (j - SHARED) / OWN;
        }
        return row < GLOBALS || j - GLOBALS <= HISTORY - ROWS + row;
    }

    private double[] reference() {
        double[] out = new double[queries.length];
        for (int i = 0; i < ROWS; i++) {
            for (int h = 0; h < HEADS; h++) {
                double[] weights = new double[GLOBALS + HISTORY];
                double sum = 0;
                for (int pass = 0; pass < 2; pass++) {
                    for (int j = 0; j < weights.length; j++) {
                        float[] of = j < GLOBALS ? globals : events;
                        int at = (j < GLOBALS ? j : j - GLOBALS) * KEY + h / (HEADS / KV_HEADS) * DIM;
                        if (!sees(i, j)) {
                            continue;
                        }
                        double dot = 0;
                        for (int x = 0; x < DIM; x++) {
                            if (pass == 0) {
                                dot += queries[(i * HEADS + h) * DIM + x] * of[at + x];
                            } else {
                                out[(i * HEADS + h) * DIM + x] += weights[j] / sum * of[at + x];
                            }
                        }
                        if (pass == 0) {
                            weights[j] = Math.exp(dot / Math.sqrt(DIM));
                            sum += weights[j];
                        }
                    }
                }
            }
        }
        return out;
    }

    /** All rows in one run; the user's over rows and the candidates' over pages: the same bits. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void candidates_over_what_was_kept_are_candidates_in_one_run(String name) {
        try (Rig rig = new Rig(name)) {
            LongerAttention all = rig.keep(LongerAttention.plan(rig.device, DESC));
            assertTrue(all.describe().contains("longer_attention"), all.describe());
            JaggedTensor keys = jagged(rig, events, KV_HEADS), everyGlobal = jagged(rig, globals, KV_HEADS);
            Tensor out = rig.poisoned(DType.F32, ROWS, HEADS, DIM), lse = rig.poisoned(DType.F32, ROWS, HEADS);
            all.run(rig.stream, jagged(rig, queries, HEADS), everyGlobal, everyGlobal.values(), keys, keys.values(), out, lse);
            float[] actual = out.readFloats(rig.stream);
            double[] expected = reference();
            for (int i = 0; i < expected.length; i++) {
                assertEquals(expected[i], actual[i], 1e-5, "element " + i);
            }

            float[] userRows = new float[(SHARED + RECENT) * ROW];
            System.arraycopy(queries, 0, userRows, 0, SHARED * ROW);
            System.arraycopy(queries, GLOBALS * ROW, userRows, SHARED * ROW, RECENT * ROW);
            JaggedTensor shared = jagged(rig, Arrays.copyOf(globals, SHARED * KEY), KV_HEADS);
            Tensor user = rig.poisoned(DType.F32, SHARED + RECENT, HEADS, DIM);
            all.run(rig.stream, jagged(rig, userRows, HEADS), shared, shared.values(), keys, keys.values(), user, null);
            float[] ofUser = user.readFloats(rig.stream);
            assertArrayEquals(Arrays.copyOf(actual, SHARED * ROW), Arrays.copyOf(ofUser, SHARED * ROW));
            assertArrayEquals(
                    Arrays.copyOfRange(actual, GLOBALS * ROW, actual.length), Arrays.copyOfRange(ofUser, SHARED * ROW, ofUser.length));

            PagedCache cache = rig.keep(PagedCache.create(
                    rig.device, PagedCacheDesc.of(DType.F32, 12, KV_HEADS, DIM).withPageSize(16)));
            cache.append(rig.stream, 8, keys.values(), keys.values());
            LongerAttention candidates = rig.keep(LongerAttention.plan(rig.device, DESC.withCandidatesOnly(true)));
            float[] own = Arrays.copyOfRange(queries, SHARED * ROW, GLOBALS * ROW);
            Tensor cached = rig.poisoned(DType.F32, OWN * CANDIDATES, HEADS, DIM);
            candidates.run(
                    rig.stream, jagged(rig, own, HEADS), everyGlobal, everyGlobal.values(), rig.keep(cache.batch(rig.stream, 8)),
                    cached, null);
            assertArrayEquals(Arrays.copyOfRange(actual, SHARED * ROW, GLOBALS * ROW), cached.readFloats(rig.stream));
        }
    }

    @Test
    void without_globals_it_is_causal() {
        try (Rig rig = new Rig("cpu")) {
            LongerAttention plan = rig.keep(LongerAttention.plan(
                    rig.device, LongerAttentionDesc.of(DType.F32, KV_HEADS, KV_HEADS, DIM, 0, 1, 1, 1)));
            JaggedTensor one = jagged(rig, Arrays.copyOf(events, KEY), KV_HEADS);
            Tensor out = rig.poisoned(DType.F32, 1, KV_HEADS, DIM);
            plan.run(rig.stream, one, null, null, one, one.values(), out, null);
            assertArrayEquals(Arrays.copyOf(events, KEY), out.readFloats(rig.stream)); // one event sees itself
        }
    }

    @Test
    void what_breaks_a_rule_is_refused() {
        try (Rig rig = new Rig("cpu")) {
            refused(InvalidArgumentException.class, () -> LongerAttention.plan(rig.device, DESC.withHeadDimV(48)), "'head_dim_v'");
            refused(InvalidArgumentException.class, () -> LongerAttention.plan(rig.device, DESC.withScale(Float.NaN)), "'scale'");
            refused(
                    InvalidArgumentException.class,
                    () -> LongerAttention.plan(rig.device, DESC.withCandidates(6, 1)),
                    "'num_shared_globals'", "0..5");
            LongerAttention plan = rig.keep(LongerAttention.plan(rig.device, DESC));
            assertEquals(DESC, plan.desc());
            JaggedTensor q = jagged(rig, queries, HEADS), g = jagged(rig, globals, KV_HEADS), k = jagged(rig, events, KV_HEADS);
            Tensor out = rig.poisoned(DType.F32, ROWS, HEADS, DIM);
            refused(NullPointerException.class, () -> plan.run(rig.stream, null, g, g.values(), k, k.values(), out, null), "queries");
            refused(NullPointerException.class, () -> plan.run(rig.stream, q, g, g.values(), null, out, null), "history");
            refused(NullPointerException.class, () -> plan.run(rig.stream, q, g, g.values(), k, null, out, null), "values");
            refused(
                    InvalidArgumentException.class,
                    () -> plan.run(rig.stream, q, null, null, k, k.values(), out, null),
                    "longer_attention: argument 'global_keys'");
            JaggedTensor uneven = new JaggedTensor(g.values(), rig.longs(0, GLOBALS - 1));
            refused(
                    InvalidArgumentException.class,
                    () -> plan.run(rig.stream, q, uneven, g.values(), k, k.values(), out, null),
                    "'global_offsets'");
        }
    }
}
