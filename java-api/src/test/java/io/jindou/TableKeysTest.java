package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Ids of any number to rows of a table. */
class TableKeysTest {
    /** The row of an id, as the Javadoc says it. */
    private static long row(KeyFunction function, long id) {
        return function.firstRow()
                + switch (function) {
                    case KeyFunction.Row row -> id;
                    case KeyFunction.Modulo modulo -> Math.floorMod(id, modulo.numRows());
                    case KeyFunction.Quotient quotient -> id / quotient.divisor();
                    case KeyFunction.Hash hash -> Long.remainderUnsigned(KeyFunction.mix(id ^ KeyFunction.mix(hash.seed())), hash.numRows());
                };
    }

    @Test
    void the_hash_is_murmur3s_finaliser() {
        assertEquals(0xb456bcfc34c2cb2cL, KeyFunction.mix(1));
        assertEquals(0, KeyFunction.mix(0));
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bags_are_those_of_the_rows_that_a_host_would_choose(String name) throws Exception {
        Random random = new Random(5);
        int rows = 60, dim = 8;
        float[] values = Rig.random(random, rows, dim);
        List<TableKeys> all = List.of(
                new TableKeys(List.of(new KeyFunction.Hash(-3, 0, rows), new KeyFunction.Hash(4, 0, rows)), false),
                new TableKeys(List.of(new KeyFunction.Hash(1, 5, 11), new KeyFunction.Modulo(20, 40), new KeyFunction.Row(0, rows)), true),
                TableKeys.quotientRemainder(10, 50),
                TableKeys.ROWS);
        try (Rig rig = new Rig(name)) {
            Tensor table = rig.floats(values, rows, dim);
            List<EmbeddingTable> tables = new ArrayList<>();
            int width = 0;
            for (TableKeys keys : all) {
                tables.add(EmbeddingTable.plain(table).withKeys(keys));
                width += tables.getLast().columns();
            }
            assertEquals(8 + 24 + 8 + 8, width);
            int batch = 3;
            long[][] bags = new long[batch * all.size()][];
            float[] expected = new float[batch * width];
            int column = 0;
            for (int t = 0; t < all.size(); t++) {
                for (int b = 0; b < batch; b++) {
                    bags[t * batch + b] = random.longs(4, 0, t == 2 ? 500 : t == 0 ? Long.MAX_VALUE : rows).toArray();
                    for (long id : bags[t * batch + b]) {
                        List<KeyFunction> functions = t == 3 ? List.of(new KeyFunction.Row(0, rows)) : all.get(t).functions();
                        for (int f = 0; f < functions.size(); f++) {
                            int at = b * width + column + (all.get(t).sideBySide() ? f * dim : 0);
                            for (int d = 0; d < dim; d++) {
                                expected[at + d] += values[(int) row(functions.get(f), id) * dim + d];
                            }
                        }
                    }
                }
                column += tables.get(t).columns();
            }
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.ofTables(tables, Pooling.SUM, batch, 100)));
            Tensor out = rig.poisoned(DType.F32, batch, width);
            bag.run(rig.stream, rig.bags(bags), out);
            assertArrayEquals(expected, out.readFloats(rig.stream), 1e-5f);
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void sequences_of_hashed_ids(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            float[] values = Rig.random(new Random(6), 30, 8);
            EmbeddingTable table = EmbeddingTable.plain(rig.floats(values, 30, 8));
            KeyFunction hash = new KeyFunction.Hash(9, 0, 30), modulo = new KeyFunction.Modulo(0, 30);
            List<EmbeddingTable> keyed = List.of(table.withKeys(new TableKeys(List.of(hash, modulo), true)));
            long[] ids = {5_000_000_000L, -1, Long.MIN_VALUE, 29};
            SequenceEmbedding plan = rig.keep(SequenceEmbedding.plan(rig.device, SequenceEmbeddingDesc.of(keyed, 1, 4)));
            Tensor out = rig.poisoned(DType.F32, 4, 16);
            Tensor offsets = rig.longs(0, 4);
            plan.run(rig.stream, SequenceEvents.of(rig.keep(Tensor.of(rig.stream, ids, 1, 4)), offsets), out);
            float[] got = out.readFloats(rig.stream);
            for (int i = 0; i < 4; i++) {
                for (int d = 0; d < 8; d++) {
                    assertEquals(values[(int) row(hash, ids[i]) * 8 + d], got[16 * i + d]);
                    assertEquals(values[(int) row(modulo, ids[i]) * 8 + d], got[16 * i + 8 + d]);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void what_breaks_a_rule_is_refused(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            EmbeddingTable table = EmbeddingTable.plain(rig.floats(new float[40], 10, 4));
            refused(
                    InvalidArgumentException.class,
                    () -> EmbeddingBag.plan(rig.device, EmbeddingBagDesc.ofTables(
                            List.of(table.withKeys(TableKeys.hashed(1, 2))), Pooling.MAX, 1, 1)),
                    "'table_keys[0].num_functions'", "sum or mean");
            refused(
                    InvalidArgumentException.class,
                    () -> EmbeddingBag.plan(rig.device, EmbeddingBagDesc.ofTables(
                            List.of(table, table.withKeys(TableKeys.quotientRemainder(11, 2))), Pooling.SUM, 1, 1)),
                    "'table_keys[1].functions[0].num_rows'", "0..10", "got 11");
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.ofTables(
                    List.of(table.withKeys(TableKeys.quotientRemainder(7, 3))), Pooling.SUM, 1, 1)));
            Tensor out = rig.poisoned(DType.F32, 1, 4);
            bag.run(rig.stream, rig.bags(new long[] {21}), out);
            refused(OutOfBoundsException.class, rig.stream::synchronize, "0..20", "key functions of table 0", "got 21");
            refused(NullPointerException.class, () -> table.withKeys(null), "keys");
        }
    }
}
