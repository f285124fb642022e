package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class MergeTokensTest {
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void the_oldest_row_of_a_sequence_is_padded(String name) {
        try (Rig rig = new Rig(name)) {
            int[] lengths = {5, 0, 2};
            float[] x = new float[7 * 4];
            for (int i = 0; i < x.length; i++) {
                x[i] = i + 1;
            }
            long[] ends = MergeTokens.offsets(3, lengths);
            assertArrayEquals(new long[] {0, 2, 2, 3}, ends);
            JaggedTensor events = new JaggedTensor(rig.floats(x, 7, 4), rig.longs(JaggedTensor.offsets(lengths)));
            JaggedTensor merged = new JaggedTensor(rig.poisoned(DType.F32, ends[3], 12), rig.longs(ends));
            MergeTokens.run(rig.stream, events, 3, Bounds.STRICT, merged);
            float[] expected = new float[3 * 12];
            System.arraycopy(x, 0, expected, 4, 20);
            System.arraycopy(x, 20, expected, 28, 8);
            assertArrayEquals(expected, merged.values().readFloats(rig.stream));
        }
    }

    @Test
    void what_breaks_a_rule_is_refused() {
        try (Rig rig = new Rig("cpu")) {
            JaggedTensor x = new JaggedTensor(rig.floats(new float[8], 2, 4), rig.longs(0, 2));
            JaggedTensor out = new JaggedTensor(rig.poisoned(DType.F32, 1, 8), rig.longs(0, 1));
            refused(InvalidArgumentException.class, () -> MergeTokens.run(rig.stream, x, 0, Bounds.STRICT, out), "'k'", "1..1024");
            refused(InvalidArgumentException.class, () -> MergeTokens.run(rig.stream, x, 2, Bounds.TRUST, out), "'bounds'");
            refused(InvalidArgumentException.class, () -> MergeTokens.run(rig.stream, x, 4, Bounds.STRICT, out), "'out'");
            refused(
                    InvalidArgumentException.class,
                    () -> MergeTokens.run(rig.stream, x, 2, Bounds.STRICT, new JaggedTensor(out.values(), rig.longs(0, 0))),
                    "'out_offsets'");
            refused(NullPointerException.class, () -> MergeTokens.run(rig.stream, null, 2, Bounds.STRICT, out), "x");
            refused(NullPointerException.class, () -> MergeTokens.run(rig.stream, x, 2, null, out), "bounds");
            refused(NullPointerException.class, () -> MergeTokens.run(rig.stream, x, 2, Bounds.STRICT, null), "out");
            assertEquals(0, MergeTokens.offsets(3).length - 1);
        }
    }
}
