package io.jindou.examples;

import io.jindou.BeamAttention;
import io.jindou.BeamAttentionDesc;
import io.jindou.BeamSuffix;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.JaggedTensor;
import io.jindou.PagedKeysValues;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.LongStream;

/** Parity cases of beam_attention: a prefix in rows or pages, and a suffix through an ancestry. */
final class ParityBeams {
    private ParityBeams() {}

    /** beam_attention: outputs {@code out} and {@code lse}. */
    static Map<String, HostTensor> beamAttention(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor queries = given.queriesOfPages();
        HostTensor beamOffsets = given.integers("beam_offsets");
        boolean paged = given.hasInput("key_pages");
        PagedKeysValues pages = paged ? ParityPaged.cache(given, queries.dtype(), stream, scope) : null;
        HostTensor keys = paged ? null : given.floats("keys", 3);
        HostTensor values = paged ? null : given.floats("values", 3);
        HostTensor prefixOffsets = paged ? null : given.integersAs("prefix_offsets", beamOffsets.dtype());
        BeamSuffix suffix = given.hasInput("suffix_keys") ? suffix(given, stream, scope) : null;
        int heads = Math.toIntExact(queries.shape()[1]);
        int dim = Math.toIntExact(queries.shape()[2]);
        int valueDim = Math.toIntExact(paged ? pages.valuePages().dim(3) : values.shape()[2]);
        BeamAttentionDesc desc = BeamAttentionDesc.of(
                        queries.dtype(),
                        heads,
                        Math.toIntExact(paged ? pages.keyPages().dim(2) : keys.shape()[1]),
                        dim,
                        Math.toIntExact(ParityOperators.longest(beamOffsets)),
                        beamOffsets.elements() - 1,
                        paged ? ParityPaged.longest(pages, stream) : ParityOperators.longest(prefixOffsets))
                .withOutDType(DType.F32)
                .withOffsetDType(beamOffsets.dtype())
                .withHeadDimV(valueDim)
                .withScale((float) given.number("scale", 1 / Math.sqrt(dim)))
                .withBounds(ParityOperators.bounds(given));
        if (paged) {
            desc = desc.withCacheDType(pages.keyPages().dtype());
        }
        ParityOperators.repeatedShapes(given, heads, desc.numKvHeads(), dim, valueDim, beamOffsets.elements() - 1);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, queries.shape()[0], heads, valueDim);
        Tensor lse = ParityOperators.output(device, stream, scope, queries.shape()[0], heads);
        BeamAttention plan = scope.keep(BeamAttention.plan(device, desc));
        JaggedTensor beams = ParityOperators.jagged(stream, scope, queries, beamOffsets);
        if (paged) {
            plan.run(stream, beams, pages, suffix, out, lse);
        } else {
            Tensor prefixValues = scope.keep(Tensor.of(stream, values));
            plan.run(stream, beams, ParityOperators.jagged(stream, scope, keys, prefixOffsets), prefixValues, suffix, out, lse);
        }
        return Map.of("out", out.readHost(stream), "lse", lse.readHost(stream));
    }

    /** An input of the suffix, of which a single request may leave out the first dimension. */
    private static HostTensor ofRequests(ParityCase given, String name, int rank) throws IOException {
        int read = given.rankOf(name) == rank - 1 ? rank - 1 : rank;
        HostTensor tensor = name.equals("ancestry") ? given.integersOfRank(name, read, DType.I32) : given.floats(name, read);
        return read == rank ? tensor : ParityCase.reshaped(
                tensor, LongStream.concat(LongStream.of(1), Arrays.stream(tensor.shape())).toArray());
    }

    private static BeamSuffix suffix(ParityCase given, Stream stream, Scope scope) throws IOException {
        return new BeamSuffix(
                scope.keep(Tensor.of(stream, ofRequests(given, "suffix_keys", 5))),
                scope.keep(Tensor.of(stream, ofRequests(given, "suffix_values", 5))),
                scope.keep(Tensor.of(stream, ofRequests(given, "ancestry", 3))),
                ParityOperators.optional(stream, scope, given, "suffix_lens", name -> given.integersAs(name, DType.I32)));
    }
}
