package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.EmbeddingTable;
import io.jindou.HostTensor;
import io.jindou.RowFormat;
import io.jindou.RqDecode;
import io.jindou.RqEncode;
import io.jindou.RqEncodeDesc;
import io.jindou.SequenceEmbedding;
import io.jindou.SequenceEmbeddingDesc;
import io.jindou.SequenceEvents;
import io.jindou.SequencePositions;
import io.jindou.SequenceTimes;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.TimeFunction;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Parity cases of histories of ids, and of semantic ids. */
final class ParityIds {
    private static final int DIM_STEP = 8; // rows of 16 bytes and more; columns of zeros change no distance

    private ParityIds() {}

    /** sequence_embedding: {@code ids} [T, total], output {@code out}. */
    static Map<String, HostTensor> sequenceEmbedding(ParityCase given, Device device, Stream stream, Scope scope)
            throws IOException {
        List<EmbeddingTable> tables = ParityBags.tables(given, stream, scope);
        Tensor ids = scope.keep(Tensor.of(stream, ids(given)));
        HostTensor offsets = given.integers("offsets");
        boolean summed = given.word("combine", "concat", Set.of("concat", "sum")).equals("sum");
        SequenceEvents events = new SequenceEvents(
                ids,
                scope.keep(Tensor.of(stream, offsets)),
                ParityOperators.optional(stream, scope, given, "timestamps", name -> given.integersAs(name, DType.I64)),
                ParityOperators.optional(stream, scope, given, "query_times", name -> given.integersAs(name, DType.I64)),
                ParityOperators.optional(stream, scope, given, "num_targets", name -> given.integersAs(name, DType.I32)));
        RowFormat positionFormat = rowFormat(given, "position"), timeFormat = rowFormat(given, "time");
        SequencePositions positions = new SequencePositions(
                ParityOperators.optional(stream, scope, given, "position_table", name -> places(given, name, positionFormat)),
                positionFormat,
                given.word("position_mode", "from_start", Set.of("from_start", "from_end")).equals("from_end"),
                Math.toIntExact(given.integer("contextual_seq_len", 0)));
        SequenceTimes times = new SequenceTimes(
                ParityOperators.optional(stream, scope, given, "time_table", name -> places(given, name, timeFormat)),
                timeFormat,
                given.word("time_function", "sqrt", Set.of("sqrt", "log")).equals("log") ? TimeFunction.LOG : TimeFunction.SQRT,
                given.integer("time_unit", 60),
                lastBucket(given, timeFormat));
        SequenceEmbeddingDesc desc = SequenceEmbeddingDesc.of(tables, offsets.elements() - 1, ids.dim(1))
                .withSummed(summed)
                .withScale((float) given.number("scale", 1))
                .withPositions(positions)
                .withTimes(times)
                .withBounds(ParityOperators.bounds(given))
                .withIndexDTypes(DType.I64, offsets.dtype())
                .withNumTargets(events.numTargets() != null)
                .withQueryTimes(events.queryTimes() != null);
        if (given.hasParam("padding_id")) {
            desc = desc.withPaddingId(given.integer("padding_id", 0));
        }
        given.checkAllUsed();
        long width = summed ? tables.getFirst().columns() : tables.stream().mapToLong(EmbeddingTable::columns).sum();
        Tensor out = ParityOperators.output(device, stream, scope, ids.dim(1), width);
        scope.keep(SequenceEmbedding.plan(device, desc)).run(stream, events, out);
        return Map.of("out", out.readHost(stream));
    }

    /** Where time differences are cut: at the table's end at the latest. */
    private static int lastBucket(ParityCase given, RowFormat format) throws IOException {
        int last = given.intParam("max_time_bucket", 0);
        return given.hasInput("time_table")
                ? Math.min(last, Math.toIntExact(places(given, "time_table", format).shape()[0]) - 1)
                : last;
    }

    /** Of the position or time table, where there is one. */
    private static RowFormat rowFormat(ParityCase given, String of) throws IOException {
        String name = of + "_row_format";
        return given.hasParam(name) ? ParityBags.ROW_FORMATS.get(given.word(name, "plain", ParityBags.ROW_FORMATS.keySet())) : RowFormat.PLAIN;
    }

    /** A table of positions or times: numbers, or rows of codes. */
    private static HostTensor places(ParityCase given, String name, RowFormat format) throws IOException {
        return format == RowFormat.PLAIN ? given.floats(name, 2) : given.rows(name, 2);
    }

    /** {@code [T, total]}, or the vector of the only table. */
    private static HostTensor ids(ParityCase given) throws IOException {
        if (given.rankOf("ids") != 1) {
            return given.matrixOfIntegers("ids", DType.I64);
        }
        HostTensor ids = given.integersAs("ids", DType.I64);
        return ParityCase.reshaped(ids, 1, ids.elements());
    }

    /** rq_encode: outputs {@code codes} and {@code residual_norm}. */
    static Map<String, HostTensor> rqEncode(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor x = ParityCase.padded(given.floats("x", 2), DIM_STEP);
        Tensor codebooks = scope.keep(Tensor.of(stream, ParityCase.padded(given.floats32("codebooks", 3), DIM_STEP)));
        given.checkAllUsed();
        RqEncodeDesc desc = RqEncodeDesc.of(codebooks).withDType(x.dtype());
        Tensor codes = scope.keep(Tensor.create(device, DType.I32, x.shape()[0], desc.numLevels()));
        codes.fill(stream, 0xff);
        Tensor residualNorm = ParityOperators.output(device, stream, scope, x.shape()[0]);
        RqEncode plan = scope.keep(RqEncode.plan(device, desc));
        plan.run(stream, scope.keep(Tensor.of(stream, x)), codebooks, codes, residualNorm);
        return Map.of("codes", codes.readHost(stream), "residual_norm", residualNorm.readHost(stream));
    }

    /** rq_decode: output {@code out}. */
    static Map<String, HostTensor> rqDecode(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor codes = scope.keep(Tensor.of(stream, given.matrixOfIntegers("codes", DType.I32)));
        HostTensor asGiven = given.floats32("codebooks", 3);
        Tensor codebooks = scope.keep(Tensor.of(stream, ParityCase.padded(asGiven, DIM_STEP)));
        var bounds = ParityOperators.bounds(given);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, codes.dim(0), codebooks.dim(2));
        RqDecode.run(stream, codes, codebooks, bounds, out);
        return Map.of("out", ParityCase.columns(out.readHost(stream), Math.toIntExact(asGiven.shape()[2])));
    }
}
