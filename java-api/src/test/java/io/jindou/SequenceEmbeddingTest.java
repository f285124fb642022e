package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class SequenceEmbeddingTest {
    /** Rows of four equal numbers. */
    private static float[] rows(float... values) {
        float[] all = new float[4 * values.length];
        for (int i = 0; i < all.length; i++) {
            all[i] = values[i / 4];
        }
        return all;
    }

    private static float[] firsts(float[] rows, int width) {
        float[] all = new float[rows.length / width];
        for (int i = 0; i < all.length; i++) {
            all[i] = rows[i * width];
        }
        return all;
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void adds_rows_positions_and_times(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            EmbeddingTable items = EmbeddingTable.plain(rig.floats(rows(1, 2, 3), 3, 4));
            EmbeddingTable categories = EmbeddingTable.plain(rig.floats(DType.BF16, rows(10, 20), 2, 4));
            Tensor positions = rig.floats(rows(0, 100, 200, 300), 4, 4), times = rig.floats(rows(0, 1000, 2000), 3, 4);
            // Two sequences of three events and one; the last of the first is a target.
            Tensor ids = rig.keep(Tensor.of(rig.stream, new long[] {0, 1, 2, 2, 0, 1, 1, 0}, 2, 4));
            Tensor offsets = rig.longs(0, 3, 4);
            SequenceEmbeddingDesc desc = SequenceEmbeddingDesc.of(List.of(items, categories), 2, 4).withSummed(true);
            SequenceEmbedding plain = rig.keep(SequenceEmbedding.plan(rig.device, desc));
            assertTrue(plain.describe().contains("sequence_embedding"), plain.describe());
            assertEquals(desc, plain.desc());
            Tensor out = rig.poisoned(DType.F32, 4, 4);
            plain.run(rig.stream, SequenceEvents.of(ids, offsets), out);
            assertArrayEquals(rows(11, 22, 23, 13), out.readFloats(rig.stream));

            SequenceEmbedding all = rig.keep(SequenceEmbedding.plan(
                    rig.device,
                    desc.withScale(2)
                            .withPositions(SequencePositions.fromEnd(positions))
                            .withTimes(SequenceTimes.sqrtOfMinutes(times))
                            .withNumTargets(true)));
            SequenceEvents events = SequenceEvents.of(ids, offsets)
                    .withTimestamps(rig.longs(0, 3540, 3600, 7))
                    .withNumTargets(rig.ints(1, 0));
            all.run(rig.stream, events, out);
            assertArrayEquals(
                    new float[] {22 + 200 + 2000, 44 + 100 + 1000, 46, 26 + 100}, firsts(out.readFloats(rig.stream), 4));

            // Positions and times of codes: rows of one number are exact.
            EmbeddingTable coded =
                    rig.keep(EmbeddingTable.quantize(rig.stream, RowFormat.INT8, HostTensor.of(rows(0, 100, 200, 300), 4, 4)));
            EmbeddingTable buckets =
                    rig.keep(EmbeddingTable.quantize(rig.stream, RowFormat.INT4_LAST, HostTensor.of(rows(0, 1000, 2000), 3, 4)));
            SequenceEmbeddingDesc described = all.desc()
                    .withPositions(SequencePositions.fromEnd(coded.rows()).withFormat(coded.format()))
                    .withTimes(SequenceTimes.sqrtOfMinutes(buckets.rows()).withFormat(buckets.format()));
            rig.keep(SequenceEmbedding.plan(rig.device, described)).run(rig.stream, events, out);
            assertArrayEquals(
                    new float[] {22 + 200 + 2000, 44 + 100 + 1000, 46, 26 + 100}, firsts(out.readFloats(rig.stream), 4));
            refused(
                    InvalidArgumentException.class,
                    () -> SequenceEmbedding.plan(rig.device, desc.withPositions(SequencePositions.fromEnd(coded.rows()))),
                    "'position_table'", "u8");

            // From the start, logarithms of seconds, counted from a time of each sequence's own.
            SequenceEmbedding other = rig.keep(SequenceEmbedding.plan(
                    rig.device,
                    desc.withPositions(SequencePositions.fromStart(positions))
                            .withTimes(SequenceTimes.sqrtOfMinutes(times)
                                    .withFunction(TimeFunction.LOG)
                                    .withUnit(1)
                                    .withMaxBucket(1))
                            .withQueryTimes(true)));
            other.run(
                    rig.stream,
                    SequenceEvents.of(ids, offsets)
                            .withTimestamps(rig.longs(0, 1, 2, 3))
                            .withQueryTimes(rig.longs(4, 1000)),
                    out);
            assertArrayEquals(
                    new float[] {11 + 1000, 22 + 100 + 1000, 23 + 200, 13 + 1000}, firsts(out.readFloats(rig.stream), 4));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void stands_tables_side_by_side_in_any_dtype(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            EmbeddingTable items = EmbeddingTable.plain(rig.floats(rows(1, 2, 3), 3, 4));
            EmbeddingTable codes = rig.keep(EmbeddingTable.quantize(
                    rig.stream, RowFormat.INT8, HostTensor.of(new float[] {0, 255, 51, 102, 10, 20, 30, 265}, 2, 4)));
            SequenceEmbeddingDesc desc = SequenceEmbeddingDesc.of(List.of(items, codes), 1, 2)
                    .withOutDType(DType.BF16)
                    .withIndexDTypes(DType.I32, DType.I32)
                    .withBounds(Bounds.ZERO)
                    .withPaddingId(9);
            SequenceEmbedding plan = rig.keep(SequenceEmbedding.plan(rig.device, desc));
            Tensor ids = rig.keep(Tensor.of(rig.stream, new int[] {2, 9, 0, 7}, 2, 2));
            Tensor out = rig.poisoned(DType.BF16, 2, 8);
            plan.run(rig.stream, SequenceEvents.of(ids, rig.ints(0, 2)), out);
            assertArrayEquals(
                    new float[] {3, 3, 3, 3, 0, 255, 51, 102, 0, 0, 0, 0, 0, 0, 0, 0}, out.readFloats(rig.stream), 1f);
            assertEquals(1, rig.stream.takeSkipped());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void refuses_what_breaks_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            EmbeddingTable table = EmbeddingTable.plain(rig.floats(rows(1, 2, 3), 3, 4));
            SequenceEmbeddingDesc desc = SequenceEmbeddingDesc.of(List.of(table), 1, 2);
            refused(NullPointerException.class, () -> desc.withTimes(null), "times");
            refused(NullPointerException.class, () -> SequencePositions.fromEnd(null), "'table'");
            refused(NullPointerException.class, () -> SequenceTimes.sqrtOfMinutes(null), "'table'");
            refused(InvalidArgumentException.class, () -> SequenceEmbedding.plan(rig.device, desc.withScale(Float.NaN)), "'scale'");
            refused(
                    InvalidArgumentException.class,
                    () -> SequenceEmbedding.plan(
                            rig.device, desc.withPositions(SequencePositions.fromStart(table.rows()).withContextualLen(-1))),
                    "'contextual_len'");
            SequenceEmbedding plan = rig.keep(SequenceEmbedding.plan(rig.device, desc));
            Tensor ids = rig.keep(Tensor.of(rig.stream, new long[] {0, 3}, 1, 2)), offsets = rig.longs(0, 2);
            Tensor out = rig.poisoned(DType.F32, 2, 4);
            refused(NullPointerException.class, () -> SequenceEvents.of(null, offsets), "'ids'");
            refused(NullPointerException.class, () -> SequenceEvents.of(ids, null), "'offsets'");
            refused(NullPointerException.class, () -> plan.run(rig.stream, null, out), "'events'");
            SequenceEvents events = SequenceEvents.of(ids, offsets);
            refused(
                    InvalidArgumentException.class,
                    () -> plan.run(rig.stream, events.withNumTargets(rig.ints(0)), out),
                    "'num_targets'");
            refused(InvalidArgumentException.class, () -> plan.run(rig.stream, events, ids), "'out'");
            plan.run(rig.stream, events, out);
            OutOfBoundsException found =
                    refused(OutOfBoundsException.class, () -> rig.stream.synchronize(), "table 0 has 3 rows", "got 3 at position 1");
            assertEquals(1, found.position());
        }
    }
}
