package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.EmbeddingBag;
import io.jindou.EmbeddingBagDesc;
import io.jindou.EmbeddingTable;
import io.jindou.HostTensor;
import io.jindou.JaggedTensor;
import io.jindou.MeanDenominator;
import io.jindou.Pooling;
import io.jindou.RowFormat;
import io.jindou.Stream;
import io.jindou.TableKeys;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** Parity cases of embedding_bag, and the tables that other cases of embeddings have too. */
final class ParityBags {
    /** Rows of codes. */
    static final Map<String, RowFormat> CODE_FORMATS = new TreeMap<>(Map.of(
            "fbgemm_int8", RowFormat.INT8,
            "fbgemm_int4", RowFormat.INT4,
            "fbgemm_int2", RowFormat.INT2,
            "fbgemm_int8_float", RowFormat.INT8_FLOAT,
            "fbgemm_int4_last", RowFormat.INT4_LAST,
            "fbgemm_int2_last", RowFormat.INT2_LAST,
            "e4m3", RowFormat.E4M3));
    static final Map<String, RowFormat> ROW_FORMATS = new TreeMap<>(CODE_FORMATS);
    private static final Map<String, DType> RESULTS =
            Map.of("f32", DType.F32, "f16", DType.F16, "bf16", DType.BF16, "int8", DType.I8);

    static {
        ROW_FORMATS.put("plain", RowFormat.PLAIN);
    }

    private ParityBags() {}

    /**
     * embedding_bag: output {@code out}, or with {@code split_out} {@code out_0}, {@code out_1}... of the tables; of the
     * {@code out_dtype} int8 the numbers that the codes stand for, and their {@code out_scales}.
     */
    static Map<String, HostTensor> embeddingBag(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        List<EmbeddingTable> tables = tables(given, stream, scope);
        HostTensor ids = given.integers("ids");
        HostTensor offsets = given.integers("offsets");
        HostTensor weights = given.hasInput("weights") ? given.floats32("weights", 1) : null;
        List<Pooling> pooling = Arrays.stream(
                        given.words("pooling", "sum", Set.of("sum", "mean", "max", "none"), tables.size()))
                .map(word -> Pooling.valueOf(word.toUpperCase(Locale.ROOT)))
                .toList();
        long batch = given.integer("batch", (offsets.elements() - 1) / tables.size());
        DType dtype = RESULTS.get(given.word("out_dtype", "f32", RESULTS.keySet()));
        boolean split = given.flag("split_out", false);
        EmbeddingBagDesc desc = EmbeddingBagDesc.ofTables(tables, Pooling.SUM, batch, ids.elements())
                .withPooling(pooling)
                .withBounds(ParityOperators.bounds(given))
                .withMeanDenominator(MeanDenominator.valueOf(
                        given.word("mean_denominator", "valid", Set.of("valid", "length")).toUpperCase(Locale.ROOT)))
                .withIndexDTypes(ids.dtype(), offsets.dtype())
                .withOutDType(dtype)
                .withSplitOut(split)
                .withWeighted(weights != null);
        if (given.hasParam("padding_id")) {
            desc = desc.withPaddingId(given.integer("padding_id", 0));
        }
        given.checkAllUsed();
        boolean rows = pooling.contains(Pooling.NONE);
        if (rows && split) {
            return blocksOfTables(desc, new Given(ids, offsets, weights), device, stream, scope);
        }
        List<EmbeddingTable> across = rows ? tables.subList(0, 1) : tables; // a row of each id has the columns of one table
        Results results = new Results(across, rows ? ids.elements() : batch, columns(across), split);
        EmbeddingBag plan = scope.keep(EmbeddingBag.plan(device, desc));
        Tensor memory = scope.keep(Tensor.create(device, dtype, results.rows(), results.stride(dtype)));
        memory.fill(stream, 0xff);
        Tensor scales = dtype == DType.I8 ? ParityOperators.output(device, stream, scope, results.count, results.blocks()) : null;
        plan.run(
                stream,
                new JaggedTensor(scope.keep(Tensor.of(stream, ids)), scope.keep(Tensor.of(stream, offsets))),
                weights == null ? null : scope.keep(Tensor.of(stream, weights)),
                scope.keep(results.view(memory)),
                scales);
        return results.read(memory.readHost(stream), scales == null ? null : scales.readHost(stream));
    }

    /** The inputs of a case; weights may be null. */
    private record Given(HostTensor ids, HostTensor offsets, HostTensor weights) {}

    /**
     * A block {@code out_0}, {@code out_1}... a table, of which some have a row an id: those of pooled tables lie first. {@code out_scales}
     * are first those of bags, then one an id, zero for ids of pooled tables.
     */
    private static Map<String, HostTensor> blocksOfTables(
            EmbeddingBagDesc desc, Given given, Device device, Stream stream, Scope scope) {
        List<EmbeddingTable> tables = desc.tables();
        int total = Math.toIntExact(given.ids.elements());
        long[] offsets = given.offsets.toLongs();
        int batch = (offsets.length - 1) / tables.size(), columns = 0, blocks = 0, widest = 0;
        for (int t = 0; t < tables.size(); t++) {
            if (unpooled(desc, t)) {
                widest = Math.max(widest, tables.get(t).dim());
            } else {
                columns += Math.toIntExact(tables.get(t).columns());
                blocks += Math.toIntExact(tables.get(t).columns() / tables.get(t).dim());
            }
        }
        boolean codes = desc.outDType() == DType.I8;
        EmbeddingBag plan = scope.keep(EmbeddingBag.plan(device, desc));
        Tensor out = scope.keep(Tensor.create(device, desc.outDType(), (long) batch * columns + (long) total * widest));
        out.fill(stream, 0xff);
        Tensor scales = null;
        if (codes && blocks == 0) {
            scales = ParityOperators.output(device, stream, scope, total, 1);
        } else if (codes) {
            scales = scope.keep(Tensor.create(device, DType.F32, (long) batch * blocks + total));
            scales.fill(stream, 0);
        }
        plan.run(
                stream,
                new JaggedTensor(scope.keep(Tensor.of(stream, given.ids)), scope.keep(Tensor.of(stream, given.offsets))),
                given.weights == null ? null : scope.keep(Tensor.of(stream, given.weights)),
                out,
                scales);
        float[] numbers = Results.numbers(out.readHost(stream));
        float[] factors = codes ? scales.readHost(stream).toFloats() : null;
        float[][] found = new float[tables.size()][];
        int at = 0, block = 0;
        for (boolean pooled : new boolean[] {true, false}) {
            for (int t = 0; t < found.length; t++) {
                if (pooled == unpooled(desc, t)) {
                    continue;
                }
                int dim = tables.get(t).dim(), wide = Math.toIntExact(tables.get(t).columns());
                int first = Math.toIntExact(offsets[t * batch]), count = Math.toIntExact(offsets[(t + 1) * batch]) - first;
                found[t] = Arrays.copyOfRange(numbers, at, at += (pooled ? batch : count) * wide);
                for (int i = 0; codes && i < found[t].length; i++) {
                    int row = i / wide;
                    found[t][i] *= factors[pooled ? row * blocks + block + i % wide / dim : batch * blocks + first + row];
                }
                block += pooled ? wide / dim : 0;
            }
        }
        Map<String, HostTensor> named = new LinkedHashMap<>();
        for (int t = 0; t < found.length; t++) {
            long wide = tables.get(t).columns();
            named.put("out_" + t, HostTensor.of(found[t], found[t].length / wide, wide));
        }
        if (codes) {
            named.put("out_scales", scales.readHost(stream));
        }
        return named;
    }

    private static boolean unpooled(EmbeddingBagDesc desc, int table) {
        return desc.pooling().get(desc.pooling().size() == 1 ? 0 : table) == Pooling.NONE;
    }

    /** {@code count} rows of results, of all tables side by side; or, split, table behind table. */
    private record Results(List<EmbeddingTable> tables, long count, long columns, boolean split) {
        long rows() {
            return split ? 1 : count;
        }

        /** Rows begin at multiples of 16 bytes. */
        long stride(DType dtype) {
            int step = 16 / dtype.size();
            return split ? count * columns : Math.ceilDiv(columns, step) * step;
        }

        Tensor view(Tensor memory) {
            return split
                    ? memory.view(0, new long[] {count * columns}, null)
                    : memory.view(0, new long[] {count, columns}, new long[] {memory.dim(1), 1});
        }

        /** Ranges of columns that have a scale each. */
        int blocks() {
            return tables.stream().mapToInt(table -> table.columns() / table.dim()).sum();
        }

        Map<String, HostTensor> read(HostTensor memory, HostTensor scales) {
            float[] numbers = numbers(memory);
            float[] factors = scales == null ? null : scales.toFloats();
            int stride = Math.toIntExact(memory.shape()[1]);
            float[][] results = new float[split ? tables.size() : 1][];
            int block = 0, before = 0; // scales of a row, and columns, of the tables before this one
            for (int t = 0; t < tables.size(); t++) {
                int wide = Math.toIntExact(tables.get(t).columns()), dim = tables.get(t).dim();
                int result = split ? t : 0, width = Math.toIntExact(split ? wide : columns), first = split ? 0 : before;
                if (results[result] == null) {
                    results[result] = new float[Math.toIntExact(count * width)];
                }
                for (int row = 0; row < count; row++) {
                    int from = split ? Math.toIntExact(count * before) + row * wide : row * stride + before;
                    for (int c = 0; c < wide; c++) {
                        float factor = factors == null ? 1 : factors[row * blocks() + block + c / dim];
                        results[result][row * width + first + c] = numbers[from + c] * factor;
                    }
                }
                block += wide / dim;
                before += wide;
            }
            Map<String, HostTensor> named = new LinkedHashMap<>();
            for (int t = 0; t < results.length; t++) {
                named.put(split ? "out_" + t : "out", HostTensor.of(results[t], count, split ? tables.get(t).columns() : columns));
            }
            if (scales != null) {
                named.put("out_scales", scales);
            }
            return named;
        }

        private static float[] numbers(HostTensor memory) {
            if (memory.dtype() != DType.I8) {
                return memory.toFloats();
            }
            long[] codes = memory.toLongs();
            float[] numbers = new float[codes.length];
            for (int i = 0; i < codes.length; i++) {
                numbers[i] = codes[i];
            }
            return numbers;
        }
    }

    private static long columns(List<EmbeddingTable> tables) {
        return tables.stream().mapToLong(EmbeddingTable::columns).sum();
    }

    /** {@code table_0}, {@code table_1}... of numbers, or of codes as {@code row_format} and {@code dims} say. */
    static List<EmbeddingTable> tables(ParityCase given, Stream stream, Scope scope) throws IOException {
        int count = 1;
        while (given.hasInput("table_" + count)) {
            count++;
        }
        String[] formats = given.words("row_format", "plain", ROW_FORMATS.keySet(), count);
        boolean plain = Arrays.stream(formats).allMatch("plain"::equals);
        long[] dims = plain && !given.hasParam("dims") ? null : given.integers("dims", count);
        List<TableKeys> keys = ParityKeys.of(given, count);
        List<EmbeddingTable> tables = new ArrayList<>();
        for (int t = 0; t < count; t++) {
            RowFormat format = ROW_FORMATS.get(formats[t]);
            Tensor rows = scope.keep(given.tableOn(stream, "table_" + t, format != RowFormat.PLAIN));
            int dim = Math.toIntExact(format == RowFormat.PLAIN ? rows.dim(1) : dims[t]);
            tables.add(new EmbeddingTable(rows, format, dim, keys.get(t)));
        }
        return tables;
    }
}
