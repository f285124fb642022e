package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.jindou.ShardPlan.Part;
import io.jindou.ShardPlan.Table;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Sharded lookups over several devices of one process against one lookup over whole tables. */
class ShardPlanTest {
    private static final int BATCH = 7;

    /** Tables with their rows, and a batch of ids. */
    private record Inputs(List<Table> tables, float[][] rows, long[] ids, float[] weights, long[] offsets) {
        static Inputs random(long seed, boolean weighted, Table... tables) {
            Random random = new Random(seed);
            float[][] rows = new float[tables.length][];
            int[] lengths = new int[tables.length * BATCH];
            for (int i = 0; i < lengths.length; i++) {
                lengths[i] = random.nextInt(6) == 0 ? 0 : random.nextInt(9);
            }
            long[] offsets = JaggedTensor.offsets(lengths);
            long[] ids = new long[(int) offsets[lengths.length]];
            for (int t = 0; t < tables.length; t++) {
                rows[t] = Rig.random(random, tables[t].rows(), tables[t].dim());
                for (long i = offsets[t * BATCH]; i < offsets[(t + 1) * BATCH]; i++) {
                    ids[(int) i] = random.nextLong(tables[t].rows());
                }
            }
            return new Inputs(List.of(tables), rows, ids, weighted ? Rig.random(random, ids.length) : null, offsets);
        }

        /** The same with a third of the ids replaced: by padding, and by ids of any size and sign. */
        Inputs wild(long seed, long padding) {
            Random random = new Random(seed);
            long[] wild = ids.clone();
            for (int t = 0; t < tables.size(); t++) {
                for (long i = offsets[t * BATCH]; i < offsets[(t + 1) * BATCH]; i++) {
                    long rows = tables.get(t).rows();
                    wild[(int) i] = switch (random.nextInt(15)) {
                        case 0 -> padding;
                        case 1 -> -1 - random.nextLong(3);
                        case 2 -> rows + random.nextLong(rows);
                        case 3 -> random.nextLong();
                        case 4 -> random.nextBoolean() ? Long.MIN_VALUE : Long.MAX_VALUE;
                        default -> wild[(int) i];
                    };
                }
            }
            return new Inputs(tables, rows, wild, weights, offsets);
        }

        float[] rows(Part part) {
            int dim = tables.get(part.table()).dim();
            return Arrays.copyOfRange(
                    rows[part.table()], (int) part.firstRow() * dim, (int) (part.firstRow() + part.rows()) * dim);
        }
    }

    /** One lookup on a device; skipped, where it is given, gets the number of ids that were. */
    private static float[] lookUp(
            String device,
            List<float[]> rows,
            List<Integer> dims,
            List<TableKeys> keys,
            UnaryOperator<EmbeddingBagDesc> options,
            long[] ids,
            float[] weights,
            long[] offsets,
            long[] skipped) {
        try (Rig rig = new Rig(device, DeviceOptions.DEFAULT.withNumThreads(1))) {
            List<EmbeddingTable> tables = new ArrayList<>();
            for (int t = 0; t < rows.size(); t++) {
                Tensor table = rig.floats(rows.get(t), rows.get(t).length / dims.get(t), dims.get(t));
                tables.add(EmbeddingTable.plain(table).withKeys(keys.get(t)));
            }
            EmbeddingBagDesc desc = options.apply(EmbeddingBagDesc.ofTables(tables, Pooling.SUM, BATCH, Math.max(1, ids.length))
                    .withWeighted(weights != null));
            boolean unpooled = desc.pooling().contains(Pooling.NONE), blocks = unpooled && dims.stream().distinct().count() > 1;
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, desc.withSplitOut(blocks)));
            int widest = dims.stream().mapToInt(d -> d).max().orElseThrow();
            Tensor out = blocks
                    ? rig.poisoned(DType.F32, (long) ids.length * widest)
                    : unpooled
                    ? rig.poisoned(DType.F32, ids.length, dims.getFirst())
                    : rig.poisoned(DType.F32, BATCH, tables.stream().mapToInt(EmbeddingTable::columns).sum());
            bag.run(
                    rig.stream,
                    new JaggedTensor(rig.longs(ids), rig.longs(offsets)),
                    weights == null ? null : rig.floats(weights, weights.length),
                    out);
            float[] all = out.readFloats(rig.stream);
            long count = rig.stream.takeSkipped();
            if (skipped != null) {
                skipped[0] = count;
            }
            int filled = 0;
            for (int t = 0; t < dims.size(); t++) {
                filled += (int) (offsets[(t + 1) * BATCH] - offsets[t * BATCH]) * dims.get(t);
            }
            return blocks ? Arrays.copyOf(all, filled) : all;
        }
    }

    private static float[] whole(String device, Inputs inputs) {
        return whole(device, inputs, desc -> desc, null);
    }

    private static float[] whole(String device, Inputs inputs, UnaryOperator<EmbeddingBagDesc> options, long[] skipped) {
        return lookUp(
                device,
                List.of(inputs.rows),
                inputs.tables.stream().map(Table::dim).toList(),
                inputs.tables.stream().map(Table::keys).toList(),
                desc -> options.apply(desc.withPooling(inputs.tables.stream().map(Table::pooling).toList())),
                inputs.ids,
                inputs.weights,
                inputs.offsets,
                skipped);
    }

    private static float[] sharded(String device, ShardPlan plan, Inputs inputs) {
        return sharded(device, plan, inputs, plan.route(inputs.ids, inputs.weights, inputs.offsets));
    }

    /** Each shard on a device of its own, one after the other. */
    private static float[] sharded(String device, ShardPlan plan, Inputs inputs, ShardedIds routed) {
        List<float[]> results = new ArrayList<>();
        for (int s = 0; s < plan.shards(); s++) {
            List<Part> parts = plan.lookups(s);
            List<Pooling> poolings = plan.poolings(s);
            ShardedIds.Request request = routed.request(s);
            results.add(parts.isEmpty() ? null : lookUp(
                    device,
                    parts.stream().map(inputs::rows).toList(),
                    parts.stream().map(part -> inputs.tables.get(part.table()).dim()).toList(),
                    plan.keys(s),
                    desc -> desc.withPooling(poolings),
                    request.ids(),
                    request.weights(),
                    request.offsets(),
                    null));
        }
        return routed.merge(results);
    }

    private static Table[] tables(Pooling... pooling) {
        int[] rows = {1, 37, 5, 101};
        int[] dims = {4, 8, 12, 4};
        Table[] tables = new Table[4];
        Arrays.setAll(tables, t -> new Table(rows[t], dims[t], pooling[t % pooling.length]));
        return tables;
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void whole_tables_give_the_bits_of_one_lookup(String device) {
        for (boolean weighted : new boolean[] {false, true}) {
            Inputs inputs = Inputs.random(3, weighted, tables(Pooling.SUM, Pooling.MEAN, Pooling.MAX));
            for (int shards : new int[] {1, 2, 3, 6}) {
                ShardPlan plan = ShardPlan.tableWise(inputs.tables, shards);
                assertArrayEquals(whole(device, inputs), sharded(device, plan, inputs), shards + " shards");
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void tables_cut_by_rows_give_the_same_sums_up_to_rounding(String device) {
        for (boolean weighted : new boolean[] {false, true}) {
            Inputs inputs = Inputs.random(4, weighted, tables(Pooling.SUM, Pooling.MEAN));
            for (int shards : new int[] {1, 2, 3, 6}) {
                ShardPlan plan = ShardPlan.rowWise(inputs.tables, shards);
                float[] expected = whole(device, inputs);
                float[] got = sharded(device, plan, inputs);
                for (int i = 0; i < expected.length; i++) {
                    assertEquals(expected[i], got[i], 1e-5 + 1e-4 * Math.abs(expected[i]), shards + " shards, element " + i);
                }
                assertArrayEquals(got, sharded(device, plan, inputs), "the same bits again");
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void maxima_and_rows_of_tables_cut_by_rows_are_exact(String device) {
        Inputs maxima = Inputs.random(5, true, tables(Pooling.MAX));
        assertArrayEquals(whole(device, maxima), sharded(device, ShardPlan.rowWise(maxima.tables, 3), maxima));
        Inputs rows = Inputs.random(
                6, false, new Table(37, 8, Pooling.NONE), new Table(3, 8, Pooling.NONE), new Table(101, 8, Pooling.NONE));
        assertArrayEquals(whole(device, rows), sharded(device, ShardPlan.rowWise(rows.tables, 4), rows));
        assertArrayEquals(whole(device, rows), sharded(device, ShardPlan.tableWise(rows.tables, 2), rows));
        Inputs mixed = Inputs.random(
                7, true, new Table(37, 8, Pooling.NONE), new Table(3, 20, Pooling.NONE), new Table(101, 4, Pooling.NONE));
        assertArrayEquals(whole(device, mixed), sharded(device, ShardPlan.rowWise(mixed.tables, 4), mixed));
        assertArrayEquals(whole(device, mixed), sharded(device, ShardPlan.tableWise(mixed.tables, 2), mixed));
    }

    /** Padding and ids that are no rows: skipped, counted and divided by as in one lookup over whole tables. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void ids_that_are_skipped_give_what_one_lookup_gives(String device) {
        List<Table[]> cases = List.of(
                tables(Pooling.SUM, Pooling.MEAN),
                tables(Pooling.MAX),
                new Table[] {new Table(37, 8, Pooling.NONE), new Table(3, 20, Pooling.NONE), new Table(101, 4, Pooling.NONE)});
        for (Table[] tables : cases) {
            for (MeanDenominator denominator : MeanDenominator.values()) {
                for (long padding : new long[] {-1, 0}) { // no row, and a row of every table
                    boolean weighted = denominator == MeanDenominator.VALID;
                    Inputs inputs = Inputs.random(10, weighted, tables).wild(11, padding);
                    long[] skipped = new long[1];
                    float[] expected = whole(
                            device,
                            inputs,
                            desc -> desc.withBounds(Bounds.ZERO).withPaddingId(padding).withMeanDenominator(denominator),
                            skipped);
                    for (ShardPlan plan : List.of(ShardPlan.tableWise(inputs.tables, 2), ShardPlan.rowWise(inputs.tables, 3))) {
                        ShardPlan lenient =
                                plan.withBounds(Bounds.ZERO).withPaddingId(padding).withMeanDenominator(denominator);
                        ShardedIds routed = lenient.route(inputs.ids, inputs.weights, inputs.offsets);
                        assertEquals(skipped[0], routed.skipped());
                        assertClose(expected, sharded(device, lenient, inputs, routed), tables[0].pooling() + ", padding " + padding);
                    }
                }
            }
        }
    }

    /** Hashed, divided and combined ids choose the rows that one lookup over whole tables chooses, wherever they lie. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void keys_choose_the_same_rows(String device) {
        TableKeys parts = new TableKeys(List.of(new KeyFunction.Row(0, 20), new KeyFunction.Modulo(20, 30), new KeyFunction.Hash(7, 3, 40)), true);
        List<Table[]> cases = List.of(
                new Table[] {
                    new Table(37, 8, Pooling.SUM, TableKeys.modulo()),
                    new Table(101, 4, Pooling.MEAN, TableKeys.hashed(1, 2, 3)),
                    new Table(11, 8, Pooling.SUM),
                    new Table(60, 4, Pooling.MEAN, TableKeys.quotientRemainder(40, 20)),
                    new Table(60, 8, Pooling.SUM, parts),
                    new Table(50, 4, Pooling.MEAN, TableKeys.hashed(4, 5).withSideBySide(true))
                },
                new Table[] {new Table(60, 8, Pooling.MAX, parts), new Table(30, 4, Pooling.MAX, TableKeys.hashed(9))},
                new Table[] {new Table(60, 8, Pooling.NONE, TableKeys.hashed(9)), new Table(30, 8, Pooling.NONE, TableKeys.modulo())});
        for (Table[] tables : cases) {
            for (boolean weighted : new boolean[] {false, true}) {
                Inputs inputs = Inputs.random(12, weighted, tables).wild(13, -1);
                long[] skipped = new long[1];
                float[] expected = whole(device, inputs, desc -> desc.withBounds(Bounds.ZERO).withPaddingId(-1), skipped);
                ShardPlan whole = ShardPlan.tableWise(inputs.tables, 2).withBounds(Bounds.ZERO).withPaddingId(-1);
                assertArrayEquals(expected, sharded(device, whole, inputs), "whole tables: the same bits");
                for (int shards : new int[] {2, 5}) {
                    ShardPlan cut = ShardPlan.rowWise(inputs.tables, shards).withBounds(Bounds.ZERO).withPaddingId(-1);
                    ShardedIds routed = cut.route(inputs.ids, inputs.weights, inputs.offsets);
                    assertEquals(skipped[0], routed.skipped());
                    assertClose(expected, sharded(device, cut, inputs, routed), tables[0].pooling() + ", " + shards + " shards");
                }
            }
        }
    }

    private static void assertClose(float[] expected, float[] got, String what) {
        assertEquals(expected.length, got.length, what);
        for (int i = 0; i < expected.length; i++) {
            assertEquals(expected[i], got[i], 1e-5 + 1e-4 * Math.abs(expected[i]), what + ", element " + i);
        }
    }

    @Test
    void shards_may_answer_at_the_same_time_from_devices_of_their_own() throws Exception {
        Inputs inputs = Inputs.random(8, false, tables(Pooling.SUM));
        ShardPlan plan = ShardPlan.rowWise(inputs.tables, 3);
        ShardedIds routed = plan.route(inputs.ids, null, inputs.offsets);
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            List<Device> devices = new ArrayList<>();
            List<Future<float[]>> answers = new ArrayList<>();
            for (int s = 0; s < plan.shards(); s++) {
                int shard = s;
                Device device = Device.open("cpu", DeviceOptions.DEFAULT.withNumThreads(1));
                devices.add(device);
                answers.add(threads.submit(() -> answer(device, plan, routed, shard, inputs)));
            }
            List<float[]> results = new ArrayList<>();
            for (Future<float[]> answer : answers) {
                results.add(answer.get());
            }
            devices.forEach(Device::close);
            float[] expected = whole("cpu", inputs);
            float[] got = routed.merge(results);
            for (int i = 0; i < expected.length; i++) {
                assertEquals(expected[i], got[i], 1e-5);
            }
        }
    }

    private static float[] answer(Device device, ShardPlan plan, ShardedIds routed, int shard, Inputs inputs) {
        List<Tensor> tables = new ArrayList<>();
        int columns = 0;
        try (Stream stream = Stream.create(device)) {
            for (Part part : plan.parts(shard)) {
                int dim = inputs.tables.get(part.table()).dim();
                tables.add(Tensor.of(stream, inputs.rows(part), part.rows(), dim));
                columns += dim;
            }
            ShardedIds.Request request = routed.request(shard);
            try (EmbeddingBag bag = EmbeddingBag.plan(
                            device,
                            EmbeddingBagDesc.of(tables, Pooling.SUM, BATCH, 1000).withPooling(plan.poolings(shard)));
                    Tensor ids = Tensor.of(stream, request.ids(), request.ids().length);
                    Tensor offsets = Tensor.of(stream, request.offsets(), request.offsets().length);
                    Tensor out = Tensor.create(device, DType.F32, BATCH, columns)) {
                bag.run(stream, new JaggedTensor(ids, offsets), out);
                return out.readFloats(stream);
            }
        } finally {
            tables.forEach(Tensor::close);
        }
    }

    @Test
    void table_wise_shards_hold_about_as_much() {
        List<Table> tables = List.of(
                new Table(100, 4, Pooling.SUM), new Table(60, 4, Pooling.SUM), new Table(50, 4, Pooling.SUM), new Table(10, 4, Pooling.SUM));
        ShardPlan plan = ShardPlan.tableWise(tables, 2);
        assertEquals(List.of(new Part(0, 0, 100), new Part(3, 0, 10)), plan.parts(0));
        assertEquals(List.of(new Part(1, 0, 60), new Part(2, 0, 50)), plan.parts(1));
    }

    @Test
    void row_wise_shards_differ_by_at_most_one_row() {
        ShardPlan plan = ShardPlan.rowWise(List.of(new Table(10, 4, Pooling.SUM), new Table(2, 4, Pooling.SUM)), 3);
        assertEquals(List.of(new Part(0, 0, 4), new Part(1, 0, 1)), plan.parts(0));
        assertEquals(List.of(new Part(0, 4, 3), new Part(1, 1, 1)), plan.parts(1));
        assertEquals(List.of(new Part(0, 7, 3)), plan.parts(2));
        long many = Long.MAX_VALUE / 8;
        assertEquals(many - 2 * (many / 3), ShardPlan.rowWise(List.of(new Table(many, 4, Pooling.SUM)), 3).parts(0).getFirst().rows());
    }

    @Test
    void bad_placements_are_refused() {
        List<Table> tables = List.of(new Table(10, 4, Pooling.SUM));
        refused(InvalidArgumentException.class, () -> ShardPlan.tableWise(tables, 0), "shards");
        refused(InvalidArgumentException.class, () -> ShardPlan.rowWise(List.of(), 2), "tables", "none");
        refused(InvalidArgumentException.class, () -> new Table(0, 4, Pooling.SUM), "0 x 4");
        refused(InvalidArgumentException.class, () -> ShardPlan.of(tables, List.of(List.of(new Part(1, 0, 10)))), "0..0");
        refused(InvalidArgumentException.class, () -> ShardPlan.of(tables, List.of(List.of(new Part(0, 0, 11)))), "within the 10");
        refused(InvalidArgumentException.class, () -> ShardPlan.of(tables, List.of(List.of(new Part(0, 0, 9)))), "row 9 nowhere");
        refused(InvalidArgumentException.class,
                () -> ShardPlan.of(tables, List.of(List.of(new Part(0, 0, 6)), List.of(new Part(0, 5, 5)))), "row 5 twice");
        refused(InvalidArgumentException.class,
                () -> ShardPlan.rowWise(List.of(new Table(1, 4, Pooling.SUM), new Table(1, 4, Pooling.NONE)), 1), "NONE");
    }

    @Test
    void bad_keys_are_refused() {
        refused(InvalidArgumentException.class, () -> new Table(9, 4, Pooling.NONE, TableKeys.hashed(1, 2)), "'keys'", "NONE");
        refused(InvalidArgumentException.class, () -> new Table(9, 4, Pooling.MAX, TableKeys.hashed(1, 2)), "'keys'", "MAX");
        refused(InvalidArgumentException.class, () -> new Table(9, 4, Pooling.SUM, TableKeys.quotientRemainder(5, 5)), "'keys'", "9");
        refused(InvalidArgumentException.class, () -> new Table(9, 4, Pooling.SUM, TableKeys.hashed(new long[9])), "at most 8");
        Table divided = new Table(9, 4, Pooling.SUM, TableKeys.quotientRemainder(5, 4));
        ShardPlan plan = ShardPlan.rowWise(List.of(divided), 2);
        for (long id : new long[] {-1, 20}) {
            OutOfBoundsException outside = refused(
                    OutOfBoundsException.class, () -> plan.route(new long[] {19, id}, null, new long[] {0, 2}), "'ids'", "got " + id);
            assertEquals(1, outside.position());
            refused(OutOfBoundsException.class,
                    () -> plan.withBounds(Bounds.TRUST).route(new long[] {19, id}, null, new long[] {0, 2}), "got " + id);
        }
    }

    @Test
    void bad_batches_are_refused() {
        ShardPlan plan = ShardPlan.rowWise(List.of(new Table(10, 4, Pooling.SUM), new Table(3, 4, Pooling.SUM)), 2);
        OutOfBoundsException outside =
                refused(OutOfBoundsException.class, () -> plan.route(new long[] {1, 3}, null, new long[] {0, 1, 2}), "0..2", "got 3");
        assertEquals(1, outside.table());
        assertEquals(1, outside.position());
        assertEquals(3, outside.id());
        refused(InvalidArgumentException.class, () -> plan.route(new long[] {1}, null, new long[] {0, 1}), "T * B + 1");
        refused(InvalidArgumentException.class, () -> plan.route(new long[] {1}, null, new long[] {0, 1, 0}), "no decrease");
        refused(InvalidArgumentException.class, () -> plan.route(new long[] {1}, null, new long[] {1, 1, 1}), "0 first");
        refused(InvalidArgumentException.class, () -> plan.route(new long[] {1, 1}, null, new long[] {0, 1, 1}), "to be 2");
        refused(InvalidArgumentException.class, () -> plan.route(new long[] {1}, new float[2], new long[] {0, 1, 1}), "weights");
        ShardedIds routed = plan.route(new long[] {1}, null, new long[] {0, 1, 1});
        refused(InvalidArgumentException.class, () -> routed.merge(List.of(new float[8])), "one a shard");
        refused(InvalidArgumentException.class, () -> routed.merge(List.of(new float[8], new float[7])), "shard 1");
    }
}
