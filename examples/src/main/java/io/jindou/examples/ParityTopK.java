package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.RowFormat;
import io.jindou.Stream;
import io.jindou.Tensor;
import io.jindou.TopKInnerProduct;
import io.jindou.TopKInnerProductDesc;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Map;

/** Parity cases of maximum-inner-product search. */
final class ParityTopK {
    private ParityTopK() {}

    /** top_k_inner_product: outputs {@code indices} and {@code scores}. */
    static Map<String, HostTensor> topKInnerProduct(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor asked = ParityCase.padded(given.floats("queries", 2), 8);
        Tensor queries = scope.keep(Tensor.of(stream, asked));
        RowFormat format = ParityBags.ROW_FORMATS.get(given.word("row_format", "plain", ParityBags.ROW_FORMATS.keySet()));
        Tensor items = scope.keep(
                format == RowFormat.PLAIN
                        ? Tensor.of(stream, ParityCase.padded(given.floats("items", 2), 8).as(asked.dtype()))
                        : Tensor.of(stream, given.table("items", true)));
        Tensor allowed = ParityOperators.optional(stream, scope, given, "allowed", name -> bitmaps(given.flags(name)));
        int k = given.requiredInteger("k");
        given.checkAllUsed();
        long m = queries.dim(0);
        TopKInnerProduct plan = scope.keep(TopKInnerProduct.plan(
                device,
                new TopKInnerProductDesc(queries.dtype(), Math.toIntExact(queries.dim(1)), k, Math.max(1, m), format)));
        Tensor indices = scope.keep(Tensor.create(device, DType.I64, m, k));
        indices.fill(stream, 0x77);
        Tensor scores = ParityOperators.output(device, stream, scope, m, k);
        plan.run(stream, queries, items, allowed, indices, scores);
        return Map.of("indices", indices.readHost(stream), "scores", scores.readHost(stream));
    }

    /** A bit for each flag, rows padded to whole bytes. */
    private static HostTensor bitmaps(HostTensor flags) {
        long[] shape = flags.shape();
        int last = shape.length - 1, columns = Math.toIntExact(shape[last]), bytes = (columns + 7) / 8;
        int rows = last == 0 ? 1 : Math.toIntExact(shape[0]);
        byte[] bits = new byte[rows * bytes];
        for (int row = 0; row < rows; row++) {
            for (int j = 0; j < columns; j++) {
                if (flags.data().get(ValueLayout.JAVA_BYTE, (long) row * columns + j) != 0) {
                    bits[row * bytes + j / 8] |= (byte) (1 << j % 8);
                }
            }
        }
        shape[last] = bytes;
        return new HostTensor(DType.U8, MemorySegment.ofArray(bits), shape);
    }
}
