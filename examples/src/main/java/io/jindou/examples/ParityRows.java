package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HashTable;
import io.jindou.HashTableDesc;
import io.jindou.HashTableResults;
import io.jindou.HostTensor;
import io.jindou.MissingKeys;
import io.jindou.QuantizedRows;
import io.jindou.RowFormat;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Map;
import java.util.Set;

/** Parity cases of rows of codes, and of rows by key. */
final class ParityRows {
    private static final String NONE = "";

    private ParityRows() {}

    /** quantize_rows: outputs {@code rows}, the bytes, and {@code out}, what they stand for. */
    static Map<String, HostTensor> quantizeRows(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor x = scope.keep(Tensor.of(stream, given.floats("x", 2)));
        RowFormat format = format(given);
        int dim = Math.toIntExact(x.dim(1));
        int rowBytes = given.intParam("row_bytes", format.rowBytes(dim));
        var bounds = ParityOperators.bounds(given);
        given.checkAllUsed();
        Tensor rows = scope.keep(Tensor.create(device, DType.U8, x.dim(0), rowBytes));
        rows.fill(stream, 0xff);
        QuantizedRows.quantize(stream, format, x, bounds, rows);
        Tensor out = ParityOperators.output(device, stream, scope, x.dim(0), dim);
        QuantizedRows.dequantize(stream, format, rows, out);
        return Map.of("rows", rows.readHost(stream), "out", out.readHost(stream));
    }

    /** dequantize_rows: output {@code out}. */
    static Map<String, HostTensor> dequantizeRows(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor rows = scope.keep(Tensor.of(stream, given.table("rows", true)));
        RowFormat format = format(given);
        int dim = given.requiredInteger("dim");
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, rows.dim(0), dim);
        QuantizedRows.dequantize(stream, format, rows, out);
        return Map.of("out", out.readHost(stream));
    }

    private static RowFormat format(ParityCase given) throws IOException {
        String name = given.word("row_format", NONE, ParityBags.CODE_FORMATS.keySet());
        if (name.equals(NONE)) {
            throw given.wrongParam("row_format", "missing; " + given.op() + " needs it");
        }
        return ParityBags.CODE_FORMATS.get(name);
    }

    /** hash_lookup of {@code ids} in a table of {@code keys} and {@code rows}: output {@code out}. */
    static Map<String, HostTensor> hashLookup(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor keys = scope.keep(Tensor.of(stream, given.integersAs("keys", DType.I64)));
        Tensor rows = scope.keep(Tensor.of(stream, given.rows("rows", 2)));
        Tensor ids = scope.keep(Tensor.of(stream, given.integersAs("ids", DType.I64)));
        boolean byDefault = given.word("missing", given.hasInput("default_row") ? "default" : "zero", Set.of("zero", "default")).equals("default");
        Tensor defaultRow = byDefault ? scope.keep(Tensor.of(stream, given.rows("default_row", 1).as(rows.dtype()))) : null;
        given.checkAllUsed();
        HashTable table = scope.keep(HashTable.create(
                device,
                HashTableDesc.of(rows.dtype(), Math.toIntExact(rows.dim(1)), Math.max(1, keys.dim(0)))
                        .withMissing(byDefault ? MissingKeys.DEFAULT : MissingKeys.ZERO)));
        table.insert(stream, keys, rows);
        Tensor out = scope.keep(Tensor.create(device, rows.dtype(), ids.dim(0), rows.dim(1)));
        out.fill(stream, 0xff);
        table.lookup(stream, ids, out, defaultRow, HashTableResults.NONE);
        return Map.of("out", out.readHost(stream));
    }

    /** hash_insert of {@code keys} and {@code rows}: {@code outcomes}, and {@code out}, what a lookup of {@code ids} gives afterwards. */
    static Map<String, HostTensor> hashInsert(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        return written(given, device, stream, scope, false);
    }

    /** hash_erase of {@code erased} from a table of {@code keys} and {@code rows}: outputs as of hash_insert. */
    static Map<String, HostTensor> hashErase(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        return written(given, device, stream, scope, true);
    }

    private static Map<String, HostTensor> written(ParityCase given, Device device, Stream stream, Scope scope, boolean erases)
            throws IOException {
        Tensor keys = scope.keep(Tensor.of(stream, given.integersAs("keys", DType.I64)));
        Tensor rows = scope.keep(Tensor.of(stream, given.rows("rows", 2)));
        Tensor erased = erases ? scope.keep(Tensor.of(stream, given.integersAs("erased", DType.I64))) : null;
        Tensor ids = scope.keep(Tensor.of(stream, given.integersAs("ids", DType.I64)));
        given.checkAllUsed();
        HashTable table = scope.keep(HashTable.create(
                device, HashTableDesc.of(rows.dtype(), Math.toIntExact(rows.dim(1)), Math.max(1, keys.dim(0)))));
        Tensor outcomes = scope.keep(Tensor.create(device, DType.I32, (erases ? erased : keys).dim(0)));
        HashTableResults results = new HashTableResults(null, outcomes, null);
        table.insert(stream, keys, rows, null, erases ? HashTableResults.NONE : results);
        if (erases) {
            table.erase(stream, erased, results);
        }
        Tensor out = scope.keep(Tensor.create(device, rows.dtype(), ids.dim(0), rows.dim(1)));
        out.fill(stream, 0xff);
        table.lookup(stream, ids, out);
        return Map.of("outcomes", outcomes.readHost(stream), "out", out.readHost(stream));
    }
}
