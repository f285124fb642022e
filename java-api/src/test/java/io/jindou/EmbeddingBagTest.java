package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class EmbeddingBagTest {
    /** Two tables, mixed pooling, weights, both id dtypes; compared with the formula in float64. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void weighted_sum_and_mean_follow_the_formula(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(7);
            float[][] tables = {Rig.random(random, 37, 8), Rig.random(random, 11, 12)};
            int[] dims = {8, 12}, rows = {37, 11}, lengths = {0, 1, 5, 13, 3, 0, 2, 1};
            int bags = 4, total = 25;
            long[] ids = new long[total];
            float[] weights = Rig.random(random, total);
            long[] offsets = JaggedTensor.offsets(lengths);
            for (int t = 0; t < 2; t++) {
                for (long i = offsets[t * bags]; i < offsets[(t + 1) * bags]; i++) {
                    ids[(int) i] = random.nextInt(rows[t]);
                }
            }
            double[] expected = new double[bags * 20];
            for (int t = 0; t < 2; t++) {
                for (int b = 0; b < bags; b++) {
                    double weightSum = 0;
                    for (long i = offsets[t * bags + b]; i < offsets[t * bags + b + 1]; i++) {
                        weightSum += weights[(int) i];
                    }
                    for (int c = 0; c < dims[t]; c++) {
                        double sum = 0;
                        for (long i = offsets[t * bags + b]; i < offsets[t * bags + b + 1]; i++) {
                            sum += (double) weights[(int) i] * tables[t][(int) ids[(int) i] * dims[t] + c];
                        }
                        boolean mean = t == 1 && lengths[t * bags + b] > 0;
                        expected[b * 20 + (t == 0 ? c : 8 + c)] = mean ? sum / weightSum : sum;
                    }
                }
            }
            EmbeddingBagDesc desc = EmbeddingBagDesc.of(
                            List.of(rig.floats(tables[0], 37, 8), rig.floats(tables[1], 11, 12)), Pooling.SUM, bags, total)
                    .withPooling(List.of(Pooling.SUM, Pooling.MEAN))
                    .withWeighted(true);
            for (DType idDType : List.of(DType.I64, DType.I32)) {
                Tensor idTensor = rig.keep(Tensor.create(rig.device, idDType, total));
                idTensor.write(rig.stream, ids);
                EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, desc.withIndexDTypes(idDType, DType.I64)));
                Tensor out = rig.poisoned(DType.F32, bags, 20);
                bag.run(rig.stream, new JaggedTensor(idTensor, rig.longs(offsets)), rig.floats(weights), out);
                float[] actual = out.readFloats(rig.stream);
                for (int i = 0; i < expected.length; i++) {
                    assertEquals(expected[i], actual[i], 1e-5 + 1e-5 * Math.abs(expected[i]), "element " + i);
                }
                assertTrue(bag.describe().contains("embedding_bag"), bag.describe());
                assertTrue(bag.memoryBytes() >= 0);
                assertEquals(rig.device, bag.device());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_result_for_each_table_and_codes_with_scales(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor small = rig.floats(new float[] {1, 2, 3, 5, -127, 6, 7, 8}, 2, 4);
            Tensor wide = rig.floats(new float[] {0.5f, 0, -0.2f, 0, 0, 0, 0, 0}, 1, 8);
            JaggedTensor ids = rig.bags(new long[] {0, 0}, new long[] {1}, new long[] {0}, new long[] {});
            EmbeddingBagDesc desc = EmbeddingBagDesc.of(List.of(small, wide), Pooling.SUM, 2, 9).withSplitOut(true);
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, desc));
            Tensor out = rig.poisoned(DType.F32, 2 * 12);
            bag.run(rig.stream, ids, out);
            List<Tensor> each = bag.split(out);
            assertArrayEquals(new float[] {2, 4, 6, 10, -127, 6, 7, 8}, rig.keep(each.get(0)).readFloats(rig.stream));
            assertArrayEquals(new float[] {0.5f, 0, -0.2f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, rig.keep(each.get(1)).readFloats(rig.stream));

            EmbeddingBag codes = rig.keep(EmbeddingBag.plan(rig.device, desc.withOutDType(DType.I8)));
            Tensor bytes = rig.poisoned(DType.I8, 2 * 12);
            Tensor scales = rig.poisoned(DType.F32, 2, 2);
            codes.run(rig.stream, ids, null, bytes, scales);
            assertArrayEquals(new float[] {10f / 127, 0.5f / 127, 1, 0}, scales.readFloats(rig.stream), 1e-8f);
            byte[] got = bytes.readHost(rig.stream).data().toArray(java.lang.foreign.ValueLayout.JAVA_BYTE);
            assertArrayEquals(
                    new byte[] {25, 51, 76, 127, -127, 6, 7, 8, 127, 0, -51, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, got);
            refused(
                    InvalidArgumentException.class,
                    () -> codes.run(rig.stream, ids, bytes),
                    "'out_scales'", "out_dtype is i8");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void rows_of_tables_of_several_dims(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor small = rig.floats(new float[] {1, 2, 3, 4, -127, 6, 7, 8}, 2, 4);
            Tensor wide = rig.floats(new float[] {0.5f, 0, -0.25f, 0, 0, 0, 0, 1}, 1, 8);
            JaggedTensor ids = rig.bags(new long[] {0, 1}, new long[] {}, new long[] {0}, new long[] {});
            EmbeddingBagDesc desc = EmbeddingBagDesc.of(List.of(small, wide), Pooling.NONE, 2, 3).withSplitOut(true);
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, desc));
            Tensor out = rig.poisoned(DType.F32, 3 * 8);
            bag.run(rig.stream, ids, out);
            List<Tensor> each = bag.splitRows(out, 2, 1);
            assertArrayEquals(new float[] {1, 2, 3, 4, -127, 6, 7, 8}, rig.keep(each.get(0)).readFloats(rig.stream));
            assertArrayEquals(new float[] {0.5f, 0, -0.25f, 0, 0, 0, 0, 1}, rig.keep(each.get(1)).readFloats(rig.stream));
            refused(InvalidArgumentException.class, () -> bag.splitRows(out, 3), "'ids'", "expected 2", "got 1");

            EmbeddingBag codes = rig.keep(EmbeddingBag.plan(rig.device, desc.withOutDType(DType.I8)));
            Tensor bytes = rig.poisoned(DType.I8, 3 * 8);
            Tensor scales = rig.poisoned(DType.F32, 3, 1);
            codes.run(rig.stream, ids, null, bytes, scales);
            assertArrayEquals(new float[] {4f / 127, 1, 1f / 127}, scales.readFloats(rig.stream), 1e-8f);
            byte[] got = bytes.readHost(rig.stream).data().toArray(java.lang.foreign.ValueLayout.JAVA_BYTE);
            assertArrayEquals(
                    new byte[] {32, 64, 95, 127, -127, 6, 7, 8, 64, 0, -32, 0, 0, 0, 0, 127}, java.util.Arrays.copyOf(got, 16));
            refused(
                    InvalidArgumentException.class,
                    () -> EmbeddingBag.plan(rig.device, desc.withSplitOut(false)),
                    "'tables[1]'", "split_out");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void tables_with_pooling_and_without_in_one_plan(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor rows = rig.floats(new float[] {1, 2, 3, 4, -127, 6, 7, 8}, 2, 4);
            Tensor sums = rig.floats(new float[] {0.5f, 0, -0.25f, 0, 0, 0, 0, 1}, 1, 8);
            JaggedTensor ids = rig.bags(new long[] {0, 1}, new long[] {}, new long[] {0, 0}, new long[] {});
            EmbeddingBagDesc desc = EmbeddingBagDesc.of(List.of(rows, sums), Pooling.SUM, 2, 4)
                    .withPooling(List.of(Pooling.NONE, Pooling.SUM))
                    .withSplitOut(true);
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, desc));
            Tensor out = rig.poisoned(DType.F32, 2 * 8 + 4 * 4);
            bag.run(rig.stream, ids, out);
            List<Tensor> each = bag.splitTables(out, 2, 2, 2);
            each.forEach(rig::keep);
            assertArrayEquals(new float[] {1, 2, 3, 4, -127, 6, 7, 8}, each.get(0).readFloats(rig.stream));
            assertArrayEquals(new float[] {1, 0, -0.5f, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0}, each.get(1).readFloats(rig.stream));
            assertArrayEquals(new long[] {2, 4}, each.get(0).shape());
            assertArrayEquals(new long[] {2, 8}, each.get(1).shape());
            refused(InvalidArgumentException.class, () -> bag.splitTables(out, 2, 2), "'ids'", "expected 2", "got 1");
            refused(InvalidArgumentException.class, () -> bag.split(out), "'out'", "splitTables", "NONE");
            refused(InvalidArgumentException.class, () -> bag.splitRows(out, 2, 2), "'out'", "splitTables", "SUM");
            refused(
                    InvalidArgumentException.class,
                    () -> bag.run(rig.stream, ids, rig.poisoned(DType.F32, 31)),
                    "'out'", "at least 32", "got 31");

            EmbeddingBag codes = rig.keep(EmbeddingBag.plan(rig.device, desc.withOutDType(DType.I8)));
            Tensor bytes = rig.poisoned(DType.I8, 2 * 8 + 4 * 4);
            Tensor scales = rig.poisoned(DType.F32, 2 + 4);
            codes.run(rig.stream, ids, null, bytes, scales);
            assertArrayEquals(
                    new float[] {2f / 127, 0, 4f / 127, 1}, java.util.Arrays.copyOf(scales.readFloats(rig.stream), 4), 1e-8f);
            byte[] got = bytes.readHost(rig.stream).data().toArray(java.lang.foreign.ValueLayout.JAVA_BYTE);
            assertArrayEquals(
                    new byte[] {64, 0, -32, 0, 0, 0, 0, 127, 0, 0, 0, 0, 0, 0, 0, 0, 32, 64, 95, 127, -127, 6, 7, 8},
                    java.util.Arrays.copyOf(got, 24));
            refused(
                    InvalidArgumentException.class,
                    () -> EmbeddingBag.plan(rig.device, desc.withSplitOut(false)),
                    "'table_pooling[1]'", "split_out");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void pooling_none_gives_a_row_an_id(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor table = rig.floats(DType.BF16, new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4);
            EmbeddingBag rows = rig.keep(EmbeddingBag.plan(
                    rig.device, EmbeddingBagDesc.of(table, Pooling.NONE, 1, 10).withPaddingId(0)));
            Tensor out = rig.poisoned(DType.F32, 3, 4);
            rows.run(rig.stream, rig.bags(new long[] {1, 0, 1}), out);
            assertArrayEquals(new float[] {5, 6, 7, 8, 0, 0, 0, 0, 5, 6, 7, 8}, out.readFloats(rig.stream));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void strict_reports_position_id_and_table(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor a = rig.floats(new float[40], 10, 4);
            Tensor b = rig.floats(new float[20], 5, 4);
            EmbeddingBag bag = rig.keep(
                    EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(List.of(a, b), Pooling.SUM, 2, 100)));
            Tensor out = rig.keep(Tensor.create(rig.device, DType.F32, 2, 8));
            JaggedTensor ids = rig.bags(new long[] {1, 9}, new long[] {3}, new long[] {4, 4}, new long[] {2, 5, 77});
            bag.run(rig.stream, ids, out);
            OutOfBoundsException e = refused(
                    OutOfBoundsException.class, rig.stream::synchronize, "embedding_bag", "'ids'", "0..4", "got 5", "position 6");
            assertEquals(6, e.position());
            assertEquals(5, e.id());
            assertEquals(1, e.table());
            assertEquals(Status.OUT_OF_BOUNDS, e.status());
            rig.stream.synchronize();

            JaggedTensor negative = rig.bags(new long[] {-1}, new long[0], new long[0], new long[0]);
            bag.run(rig.stream, negative, out);
            e = refused(OutOfBoundsException.class, () -> out.readFloats(rig.stream), "got -1");
            assertEquals(0, e.table());
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void zero_skips_and_counts(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor table = rig.floats(new float[] {1, 1, 1, 1, 2, 2, 2, 2}, 2, 4);
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(
                    rig.device, EmbeddingBagDesc.of(table, Pooling.MEAN, 1, 10).withBounds(Bounds.ZERO)));
            Tensor out = rig.poisoned(DType.F32, 1, 4);
            bag.run(rig.stream, rig.bags(new long[] {1, 2, -5, 0}), out);
            assertEquals(2, rig.stream.takeSkipped());
            assertEquals(0, rig.stream.takeSkipped());
            assertArrayEquals(new float[] {1.5f, 1.5f, 1.5f, 1.5f}, out.readFloats(rig.stream));
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_offsets_are_found(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor table = rig.floats(new float[40], 10, 4);
            EmbeddingBag bag =
                    rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(table, Pooling.SUM, 2, 100)));
            Tensor ids = rig.longs(1, 2, 3, 4);
            Tensor out = rig.keep(Tensor.create(rig.device, DType.F32, 2, 4));
            badOffsets(rig, () -> bag.run(rig.stream, new JaggedTensor(ids, rig.longs(1, 2, 4)), out), "first offset to be 0", "got 1");
            badOffsets(rig, () -> bag.run(rig.stream, new JaggedTensor(ids, rig.longs(0, 3, 2)), out), "non-decreasing");
            badOffsets(rig, () -> bag.run(rig.stream, new JaggedTensor(ids, rig.longs(0, 2, 5)), out), "at most 4", "got 5");
        }
    }

    /** Found before the run where the host sees the offsets, at the synchronisation elsewhere. */
    static void badOffsets(Rig rig, Runnable run, String... fragments) {
        if (rig.device.info().hostMemory()) {
            refused(InvalidArgumentException.class, run::run, fragments);
        } else {
            run.run();
            refused(OutOfBoundsException.class, rig.stream::synchronize, fragments);
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_arguments_of_a_run_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name);
                Rig other = new Rig(name)) {
            Tensor table = rig.floats(new float[40], 10, 4);
            EmbeddingBag bag =
                    rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(table, Pooling.SUM, 2, 4)));
            JaggedTensor ids = rig.bags(new long[] {1, 2}, new long[] {3});
            Tensor out = rig.keep(Tensor.create(rig.device, DType.F32, 2, 4));
            Stream stream = rig.stream;

            refused(NullPointerException.class, () -> bag.run(stream, null, out), "'ids'");
            refused(NullPointerException.class, () -> bag.run(stream, ids, null), "'out'");
            refused(NullPointerException.class, () -> bag.run(null, ids, out), "'stream'");
            refused(NullPointerException.class, () -> new JaggedTensor(null, ids.offsets()), "'values'");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, ids.withValues(rig.ints(1, 2, 3)), out), "embedding_bag", "'ids'", "i64", "i32");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, new JaggedTensor(ids.values(), rig.ints(0, 2, 3)), out), "'offsets'", "i64", "i32");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, ids.withValues(rig.keep(Tensor.create(rig.device, DType.I64, 3, 1))), out), "'ids'", "rank 1");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, ids, rig.keep(Tensor.create(rig.device, DType.BF16, 2, 4))), "'out'", "f32", "bf16");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, ids, rig.keep(Tensor.create(rig.device, DType.F32, 2, 8))), "'out'", "[2, 4]", "[2, 8]");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, rig.bags(new long[] {1, 2, 3, 4, 5}), out), "'ids'", "at most 4", "got 5");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, rig.bags(new long[0], new long[0], new long[0]), out), "'offsets'", "at most 2", "got 3");
            refused(InvalidArgumentException.class, () -> bag.run(stream, ids, rig.floats(new float[3]), out), "'weights'", "no tensor");
            Tensor wide = rig.keep(Tensor.create(rig.device, DType.F32, 2, 8));
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, ids, rig.keep(wide.view(1, new long[] {2, 4}, new long[] {8, 1}))), "'out'", "aligned to 16");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, ids, rig.keep(wide.view(0, new long[] {2, 4}, new long[] {6, 1}))), "'out'", "16 bytes", "[6, 1]");
            refused(InvalidArgumentException.class,
                    () -> bag.run(stream, ids, rig.keep(wide.view(0, new long[] {2, 4}, new long[] {4, 2}))), "'out'", "stride 1");
            refused(InvalidArgumentException.class, () -> bag.run(stream, ids, rig.keep(table.slice(0, 0, 2))), "'out'", "overlap");

            InvalidArgumentException foreign = refused(InvalidArgumentException.class,
                    () -> bag.run(stream, ids, other.keep(Tensor.create(other.device, DType.F32, 2, 4))), "'out'", "belongs to device");
            assertEquals(Status.INVALID_HANDLE, foreign.status());
            refused(InvalidArgumentException.class, () -> bag.run(other.stream, ids, out), "belongs to device");

            Tensor closed = Tensor.create(rig.device, DType.F32, 2, 4);
            closed.close();
            ClosedException e = refused(ClosedException.class, () -> bag.run(stream, ids, closed), "'out'", "closed");
            assertEquals(Status.CLOSED, e.status());
            bag.run(stream, ids, out);
            bag.close();
            refused(ClosedException.class, () -> bag.run(stream, ids, out), "'plan'", "closed");
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bad_descriptions_are_refused(String name) throws Exception {
        try (Rig rig = new Rig(name);
                Rig other = new Rig(name)) {
            Tensor table = rig.floats(new float[40], 10, 4);
            EmbeddingBagDesc good = EmbeddingBagDesc.of(table, Pooling.SUM, 2, 4);
            refusedPlan(rig, EmbeddingBagDesc.of(List.of(), Pooling.SUM, 1, 1), "'num_tables'", "1..4096", "0");
            refusedPlan(rig, EmbeddingBagDesc.of(rig.longs(1, 2), Pooling.SUM, 1, 1), "'tables[0]'", "i64");
            refusedPlan(rig, EmbeddingBagDesc.of(rig.floats(new float[4]), Pooling.SUM, 1, 1), "'tables[0]'", "rank 2");
            refusedPlan(rig, EmbeddingBagDesc.of(rig.floats(new float[6], 1, 6), Pooling.SUM, 1, 1), "'tables[0]'", "multiple of 4");
            refusedPlan(rig, EmbeddingBagDesc.of(table, Pooling.SUM, -1, 1), "'max_batch'", "-1");
            refusedPlan(rig, EmbeddingBagDesc.of(table, Pooling.SUM, 1, -1), "'max_ids'", "-1");
            refusedPlan(rig, good.withIndexDTypes(DType.F32, DType.I64), "'index_dtype'", "f32");
            refusedPlan(rig, good.withIndexDTypes(DType.I64, DType.U8), "'offset_dtype'", "u8");
            refusedPlan(rig, good.withOutDType(DType.U8), "'out_dtype'", "u8");
            refusedPlan(rig, good.withPooling(List.of(Pooling.SUM, Pooling.MAX)), "'pooling'", "1", "got 2");
            EmbeddingBagDesc mixed = EmbeddingBagDesc.of(List.of(table, table), Pooling.SUM, 1, 1)
                    .withPooling(List.of(Pooling.NONE, Pooling.SUM));
            refusedPlan(rig, mixed, "'table_pooling[1]'", "NONE");
            refusedPlan(rig, EmbeddingBagDesc.of(other.floats(new float[40], 10, 4), Pooling.SUM, 1, 1), "'tables[0]'", "belongs to device");
            refused(NullPointerException.class, () -> EmbeddingBag.plan(rig.device, null), "desc");
            refused(NullPointerException.class, () -> EmbeddingBag.plan(null, good), "'device'");
            refused(NullPointerException.class, () -> good.withBounds(null), "bounds");
            Tensor closed = Tensor.create(rig.device, DType.F32, 10, 4);
            closed.close();
            refused(ClosedException.class,
                    () -> EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(closed, Pooling.SUM, 1, 1)), "'tables[0]'");
        }
    }

    private static void refusedPlan(Rig rig, EmbeddingBagDesc desc, String... fragments) {
        refused(InvalidArgumentException.class, () -> EmbeddingBag.plan(rig.device, desc), fragments);
    }

    /** The plan keeps its tables alive when the user closes them first. */
    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void plan_outlives_the_close_of_its_tables(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Tensor table = Tensor.of(rig.stream, new float[] {1, 2, 3, 4}, 1, 4);
            EmbeddingBag bag =
                    rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(table, Pooling.SUM, 1, 4)));
            table.close();
            Tensor out = rig.poisoned(DType.F32, 1, 4);
            bag.run(rig.stream, rig.bags(new long[] {0, 0}), out);
            assertArrayEquals(new float[] {2, 4, 6, 8}, out.readFloats(rig.stream));
        }
    }
}
