package io.jindou;

import static io.jindou.Rig.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Rows of codes: FBGEMM's bytes, the quantiser, and bags over them. */
class EmbeddingTableTest {
    private static byte[] bytes(int... values) {
        byte[] bytes = new byte[values.length];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) values[i];
        }
        return bytes;
    }

    private static HostTensor row(byte[] bytes) {
        return new HostTensor(DType.U8, MemorySegment.ofArray(bytes), 1, bytes.length);
    }

    /** One row of four or eight elements a format, its bytes written out. 0x3800 is 0.5 in f16, 0xc000 is -2. */
    private static final Map<RowFormat, byte[]> ROWS = Map.of(
            RowFormat.INT8, bytes(0x00, 0x38, 0x00, 0xc0, 0, 1, 255, 4, 5, 6, 7, 8),
            RowFormat.INT4, bytes(0x00, 0x38, 0x00, 0xc0, 0x10, 0xf2, 0x54, 0x76),
            RowFormat.INT2, bytes(0x00, 0x38, 0x00, 0xc0, 0b11_10_01_00, 0b00_01_10_11),
            RowFormat.INT8_FLOAT, bytes(0, 1, 255, 4, 5, 6, 7, 8, 0, 0, 0, 0x3f, 0, 0, 0, 0xc0),
            RowFormat.INT4_LAST, bytes(0x10, 0xf2, 0x54, 0x76, 0x00, 0x38, 0x00, 0xc0),
            RowFormat.INT2_LAST, bytes(0b11_10_01_00, 0b00_01_10_11, 0x00, 0x38, 0x00, 0xc0),
            RowFormat.E4M3, bytes(0, 0, 0, 0x3f, 0x38, 0xb8, 0x00, 0x01, 0x7e, 0xfe, 0x40, 0x08));

    private static float[] numbers(RowFormat format) {
        return switch (format) {
            case INT8, INT8_FLOAT -> new float[] {-2, -1.5f, 125.5f, 0, 0.5f, 1, 1.5f, 2};
            case INT4, INT4_LAST -> new float[] {-2, -1.5f, -1, 5.5f, 0, 0.5f, 1, 1.5f};
            case INT2, INT2_LAST -> new float[] {-2, -1.5f, -1, -0.5f, -0.5f, -1, -1.5f, -2};
            default -> new float[] {0.5f, -0.5f, 0, 0x1p-10f, 224, -224, 1, 0x1p-7f};
        };
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void bytes_of_the_documented_layouts_are_read_as_they_are(String name, @TempDir Path folder) throws Exception {
        Path file = folder.resolve("tables.safetensors");
        Map<String, HostTensor> tensors = new java.util.TreeMap<>();
        ROWS.forEach((format, bytes) -> tensors.put(format.name(), row(bytes)));
        Safetensors.write(file, tensors);
        try (Rig rig = new Rig(name);
                Safetensors tables = Safetensors.open(file)) {
            List<EmbeddingTable> all = new ArrayList<>();
            for (RowFormat format : ROWS.keySet()) {
                assertEquals(ROWS.get(format).length, format.rowBytes(8), format.name());
                assertArrayEquals(numbers(format), QuantizedRows.dequantize(format, tables.get(format.name()), 8).toFloats(), format.name());
                all.add(rig.keep(EmbeddingTable.of(rig.stream, format, tables.get(format.name()), 8)));
            }
            all.add(EmbeddingTable.plain(rig.floats(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 1, 8)));
            EmbeddingBag bag = rig.keep(EmbeddingBag.plan(rig.device, EmbeddingBagDesc.ofTables(all, Pooling.SUM, 1, 20)));
            Tensor out = rig.poisoned(DType.F32, 1, 8L * all.size());
            long[][] bags = new long[all.size()][];
            java.util.Arrays.fill(bags, new long[] {0, 0});
            bag.run(rig.stream, rig.bags(bags), out);
            float[] got = out.readFloats(rig.stream);
            int at = 0;
            for (EmbeddingTable table : all) {
                float[] once = table.format() == RowFormat.PLAIN ? new float[] {1, 2, 3, 4, 5, 6, 7, 8} : numbers(table.format());
                for (float x : once) {
                    assertEquals(2 * x, got[at++], table.format().name());
                }
            }
        }
    }

    /** Every element within the documented distance, for rows of every kind. */
    @ParameterizedTest
    @EnumSource(mode = EnumSource.Mode.EXCLUDE, names = "PLAIN")
    void quantised_numbers_are_as_near_as_documented(RowFormat format) {
        Random random = new Random(format.ordinal());
        int dim = 20;
        int rows = 400;
        float[] values = new float[rows * dim];
        for (int r = 0; r < rows; r++) {
            double scale = Math.pow(2, random.nextInt(-16, 9));
            double shift = r % 3 == 0 ? 0 : scale * random.nextGaussian() * (r % 3 == 1 ? 1 : 20);
            for (int d = 0; d < dim; d++) {
                values[r * dim + d] = (float) (r % 7 == 0 ? shift : scale * random.nextGaussian() + shift);
            }
        }
        HostTensor rowsOfCodes = QuantizedRows.quantize(format, HostTensor.of(values, rows, dim), 16);
        assertEquals(0, rowsOfCodes.shape()[1] % 16);
        float[] back = QuantizedRows.dequantize(format, rowsOfCodes, dim).toFloats();
        for (int r = 0; r < rows; r++) {
            double min = Double.MAX_VALUE;
            double max = -Double.MAX_VALUE;
            for (int d = 0; d < dim; d++) {
                min = Math.min(min, values[r * dim + d]);
                max = Math.max(max, values[r * dim + d]);
            }
            double codes = (1 << format.bits) - 1;
            double largest = Math.max(Math.abs(min), Math.abs(max));
            for (int d = 0; d < dim; d++) {
                double x = values[r * dim + d];
                double allowed = switch (format) {
                    case E4M3 -> Math.max(Math.abs(x) * 0x1p-4, largest / 448 * 0x1p-10);
                    case INT8_FLOAT -> (max - min) / (2 * codes);
                    default -> (max - min) / (2 * codes) + 0x1p-11 * (max - min + Math.abs(min)) + 0x1p-25 * (codes + 1);
                };
                // f32 rounds the product and the sum.
                assertEquals(x, back[r * dim + d], allowed * 1.0001 + 0x1p-22 * largest, "row " + r + " of " + min + " to " + max);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_bag_of_codes_is_the_bag_of_the_numbers_they_stand_for(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            Random random = new Random(3);
            HostTensor values = HostTensor.of(Rig.random(random, 50, 64), 50, 64);
            long[][] bags = new long[9][];
            for (int b = 0; b < bags.length; b++) {
                bags[b] = random.longs(b, 0, 50).toArray();
            }
            JaggedTensor ids = rig.bags(bags);
            for (RowFormat format : RowFormat.values()) {
                if (format == RowFormat.PLAIN) {
                    continue;
                }
                HostTensor numbers = QuantizedRows.dequantize(format, QuantizedRows.quantize(format, values, 1), 64);
                float[][] sums = new float[2][];
                for (int i = 0; i < 2; i++) {
                    EmbeddingTable table = i == 0
                            ? rig.keep(EmbeddingTable.quantize(rig.stream, format, values))
                            : EmbeddingTable.plain(rig.keep(Tensor.of(rig.stream, numbers)));
                    EmbeddingBagDesc desc = EmbeddingBagDesc.ofTables(List.of(table), Pooling.MEAN, 9, 40);
                    Tensor out = rig.poisoned(DType.F32, 9, 64);
                    rig.keep(EmbeddingBag.plan(rig.device, desc)).run(rig.stream, ids, out);
                    sums[i] = out.readFloats(rig.stream);
                }
                assertArrayEquals(sums[1], sums[0], 1e-6f, format.name());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_device_writes_the_bytes_that_the_host_writes(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            float[] values = Rig.random(new Random(4), 30, 36);
            for (int i = 0; i < 36; i++) {
                values[i] = i % 2 == 0 ? -0.0f : 0.0f;
                values[36 + i] *= 1e-4f;
                values[72 + i] += 30;
            }
            HostTensor onHost = HostTensor.of(values, 30, 36);
            Tensor onDevice = rig.floats(values, 30, 36);
            for (RowFormat format : ROWS.keySet()) {
                EmbeddingTable table = rig.keep(EmbeddingTable.quantize(rig.stream, format, onDevice));
                HostTensor expected = QuantizedRows.quantize(format, onHost, 16);
                byte[] got = table.rows().readHost(rig.stream).data().toArray(java.lang.foreign.ValueLayout.JAVA_BYTE);
                assertArrayEquals(expected.data().toArray(java.lang.foreign.ValueLayout.JAVA_BYTE), got, format.name());
                Tensor back = rig.poisoned(DType.F32, 30, 36);
                QuantizedRows.dequantize(rig.stream, format, table.rows(), back);
                assertArrayEquals(QuantizedRows.dequantize(format, expected, 36).toFloats(), back.readFloats(rig.stream), format.name());
            }
            Tensor bad = rig.floats(new float[] {1, 2, 3, 4, 5, Float.NaN, 7, 8}, 2, 4);
            Tensor rows = rig.poisoned(DType.U8, 2, 8);
            QuantizedRows.quantize(rig.stream, RowFormat.INT8, bad, Bounds.STRICT, rows);
            refused(OutOfBoundsException.class, rig.stream::synchronize, "'x'", "finite", "row 1");
            QuantizedRows.quantize(rig.stream, RowFormat.INT8, bad, Bounds.ZERO, rows);
            assertEquals(1, rig.stream.takeSkipped());
            refused(
                    InvalidArgumentException.class,
                    () -> QuantizedRows.quantize(rig.stream, RowFormat.INT8_FLOAT, bad, Bounds.ZERO, rows),
                    "'rows'", "at least 12 bytes");
            refused(
                    InvalidArgumentException.class,
                    () -> QuantizedRows.dequantize(rig.stream, RowFormat.PLAIN, rows, bad),
                    "'format'", "1..7");
        }
    }

    @Test
    void every_fp8_code_survives_the_way_to_float_and_back() {
        for (int code = 0; code < 256; code++) {
            float value = HostData.e4M3ToFloat((byte) code);
            assertEquals((code & 0x7f) == 0x7f ? 0x7f : code, HostData.floatToE4M3(value) & 0xff);
            if ((code & 0x7f) < 0x7e) {
                float next = HostData.e4M3ToFloat((byte) (code + 1));
                float middle = (value + next) / 2;
                assertEquals(code % 2 == 0 ? code : code + 1, HostData.floatToE4M3(middle) & 0xff, "ties go to even");
                assertEquals(code, HostData.floatToE4M3(value + (middle - value) * 0.999f) & 0xff);
                assertEquals(code + 1, HostData.floatToE4M3(value + (middle - value) * 1.001f) & 0xff);
            }
        }
        assertEquals(0x7e, HostData.floatToE4M3(Float.POSITIVE_INFINITY));
        assertEquals((byte) 0xfe, HostData.floatToE4M3(-1e9f));
        assertTrue(Float.isNaN(HostData.e4M3ToFloat((byte) 0xff)));
    }

    @Test
    void a_row_of_one_number_and_rows_of_zeros() {
        for (RowFormat format : RowFormat.values()) {
            if (format == RowFormat.PLAIN) {
                continue;
            }
            float[] values = {0, 0, 0, 0, 1.5f, 1.5f, 1.5f, 1.5f};
            HostTensor rows = QuantizedRows.quantize(format, HostTensor.of(values, 2, 4), 1);
            assertArrayEquals(values, QuantizedRows.dequantize(format, rows, 4).toFloats(), 1e-6f, format.name());
        }
        HostTensor none = QuantizedRows.quantize(RowFormat.INT4, HostTensor.of(new float[0], 0, 8), 16);
        assertArrayEquals(new long[] {0, 16}, none.shape());
    }

    /** FloatToFused8BitRowwiseQuantized and FloatToFusedNBitRowwiseQuantizedSBHalf, worked out by hand for one row. */
    @Test
    void the_quantisers_codes() {
        HostTensor values = HostTensor.of(new float[] {-1, 0, 0.51f, 2}, 1, 4);
        ByteBuffer eight = QuantizedRows.quantize(RowFormat.INT8_FLOAT, values, 1).data().asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
        assertArrayEquals(new byte[] {0, 85, (byte) 128, (byte) 255}, new byte[] {eight.get(0), eight.get(1), eight.get(2), eight.get(3)});
        assertEquals(3f / 255, eight.getFloat(4));
        assertEquals(-1f, eight.getFloat(8));
        ByteBuffer four = QuantizedRows.quantize(RowFormat.INT4_LAST, values, 1).data().asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
        assertEquals(0x50, four.get(0)); // 0 and 5
        assertEquals((byte) 0xf8, four.get(1)); // 8 (of 7.55) and 15
        assertEquals(Float.floatToFloat16(0.2f), four.getShort(2));
        assertEquals(Float.floatToFloat16(-1), four.getShort(4));
        ByteBuffer two = QuantizedRows.quantize(RowFormat.INT2, values, 8).data().asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
        assertEquals(8, two.capacity());
        assertEquals(Float.floatToFloat16(1), two.getShort(0));
        assertEquals((byte) 0b11_10_01_00, two.get(4)); // 0, 1, 2 (of 1.51), 3
        assertEquals(0, two.get(5));
    }

    @Test
    void what_cannot_be_quantised_is_refused() {
        HostTensor good = HostTensor.of(new float[] {1, 2, 3, 4}, 1, 4);
        refused(InvalidArgumentException.class, () -> QuantizedRows.quantize(RowFormat.PLAIN, good, 1), "'format'", "PLAIN");
        refused(InvalidArgumentException.class, () -> QuantizedRows.quantize(RowFormat.INT8, good, 0), "'alignment'", "got 0");
        refused(
                InvalidArgumentException.class,
                () -> QuantizedRows.quantize(RowFormat.INT8, HostTensor.of(new float[] {1, 2}, 1, 2), 1),
                "'dim'", "multiple of 4", "got 2");
        refused(
                InvalidArgumentException.class,
                () -> QuantizedRows.quantize(RowFormat.INT8, HostTensor.of(new float[4]), 1),
                "'values'", "rank 2");
        HostTensor bad = HostTensor.of(new float[] {1, 2, 3, 4, 5, Float.NaN, 7, 8}, 2, 4);
        refused(InvalidArgumentException.class, () -> QuantizedRows.quantize(RowFormat.E4M3, bad, 1), "finite", "NaN", "row 1");
        HostTensor wide = HostTensor.of(new float[] {1e6f, 2, 3, 4}, 1, 4);
        refused(
                InvalidArgumentException.class,
                () -> QuantizedRows.quantize(RowFormat.INT2, HostTensor.of(new float[] {-1e6f, 2, 3, 4}, 1, 4), 1),
                "F16", "INT2", "row 0");
        QuantizedRows.quantize(RowFormat.INT8_FLOAT, wide, 1);
        refused(InvalidArgumentException.class, () -> QuantizedRows.dequantize(RowFormat.INT8, row(new byte[11]), 8), "'rows'", "12 bytes");
        refused(InvalidArgumentException.class, () -> QuantizedRows.dequantize(RowFormat.INT8, good, 4), "'rows'", "U8", "F32");
    }

    @ParameterizedTest
    @MethodSource("io.jindou.TestDevices#names")
    void a_plan_refuses_tables_that_break_a_rule(String name) throws Exception {
        try (Rig rig = new Rig(name)) {
            HostTensor rows = new HostTensor(DType.U8, MemorySegment.ofArray(new byte[24]), 2, 12);
            EmbeddingTable short8 = rig.keep(EmbeddingTable.of(rig.stream, RowFormat.INT8, rows, 12));
            refused(
                    InvalidArgumentException.class,
                    () -> EmbeddingBag.plan(rig.device, EmbeddingBagDesc.ofTables(List.of(short8), Pooling.SUM, 1, 1)),
                    "'tables[0]'", "at least 16 bytes");
            EmbeddingTable odd = new EmbeddingTable(short8.rows(), RowFormat.INT8, 6);
            refused(
                    InvalidArgumentException.class,
                    () -> EmbeddingBag.plan(rig.device, EmbeddingBagDesc.ofTables(List.of(odd), Pooling.SUM, 1, 1)),
                    "'dims[0]'", "multiple of 4");
            refused(
                    InvalidArgumentException.class,
                    () -> EmbeddingBag.plan(rig.device, EmbeddingBagDesc.of(short8.rows(), Pooling.SUM, 1, 1)),
                    "'tables[0]'", "u8");
            refused(NullPointerException.class, () -> new EmbeddingTable(null, RowFormat.INT8, 4), "'rows'");
            refused(NullPointerException.class, () -> new EmbeddingTable(short8.rows(), null, 4), "format");
        }
    }
}
