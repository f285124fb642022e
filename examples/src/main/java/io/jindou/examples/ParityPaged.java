package io.jindou.examples;

import io.jindou.DType;
import io.jindou.DecodeAttention;
import io.jindou.DecodeAttentionDesc;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.HstuAttention;
import io.jindou.HstuBias;
import io.jindou.PagedKeysValues;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Arrays;
import java.util.Map;

/** Parity cases whose keys and values lie in pages: {@code key_pages}, {@code value_pages}, {@code page_table}, {@code seq_lens}. */
final class ParityPaged {
    private ParityPaged() {}

    /** cached_hstu_attention: the queries are the last rows of each sequence. */
    static Map<String, HostTensor> hstuAttention(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor queries = given.floats("queries", 3);
        HostTensor queryOffsets = given.integers("q_offsets");
        PagedKeysValues cache = cache(given, stream, scope);
        int heads = Math.toIntExact(queries.shape()[1]);
        Tensor numTargets =
                ParityOperators.optional(stream, scope, given, "num_targets", name -> given.integersAs(name, DType.I32));
        Tensor attnScale = ParityOperators.optional(stream, scope, given, "attn_scale", name -> given.floats32(name, 1));
        HstuBias bias = new HstuBias(
                ParityOperators.optional(stream, scope, given, "position_bias", name -> given.bias(name, heads)),
                ParityOperators.optional(stream, scope, given, "time_bias", name -> given.bias(name, heads)),
                ParityOperators.optional(stream, scope, given, "timestamps", name -> given.matrixOfIntegers(name, DType.I64)));
        long longest = longest(cache, stream);
        int valueDim = Math.toIntExact(cache.valuePages().dim(3));
        var desc = ParityOperators.hstuDesc(given, queries, attnScale != null, queryOffsets, longest).withHeadDimV(valueDim);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, queries.shape()[0], desc.numHeads(), valueDim);
        HstuAttention plan = scope.keep(HstuAttention.plan(device, desc));
        plan.runPaged(
                stream,
                ParityOperators.jagged(stream, scope, queries, queryOffsets),
                cache,
                numTargets,
                attnScale,
                bias,
                out);
        return Map.of("out", out.readHost(stream));
    }

    /** decode_attention: outputs {@code out} and {@code lse}. */
    static Map<String, HostTensor> decodeAttention(ParityCase given, Device device, Stream stream, Scope scope)
            throws IOException {
        HostTensor queries = given.floats("queries", 3);
        HostTensor queryOffsets = given.integers("q_offsets");
        PagedKeysValues cache = cache(given, stream, scope);
        int heads = Math.toIntExact(queries.shape()[1]);
        int dim = Math.toIntExact(queries.shape()[2]);
        int valueDim = Math.toIntExact(cache.valuePages().dim(3));
        DecodeAttentionDesc desc = DecodeAttentionDesc.of(
                        queries.dtype(),
                        heads,
                        Math.toIntExact(cache.keyPages().dim(2)),
                        dim,
                        queryOffsets.elements() - 1,
                        longest(cache, stream))
                .withCacheDType(cache.keyPages().dtype())
                .withOutDType(DType.F32)
                .withOffsetDType(queryOffsets.dtype())
                .withHeadDimV(valueDim)
                .withScale((float) given.number("scale", 1 / Math.sqrt(dim)))
                .withMaxQueries(Math.toIntExact(ParityOperators.longest(queryOffsets)))
                .withBounds(ParityOperators.bounds(given));
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, queries.shape()[0], heads, valueDim);
        Tensor lse = ParityOperators.output(device, stream, scope, queries.shape()[0], heads);
        DecodeAttention plan = scope.keep(DecodeAttention.plan(device, desc));
        plan.run(stream, ParityOperators.jagged(stream, scope, queries, queryOffsets), cache, out, lse);
        return Map.of("out", out.readHost(stream), "lse", lse.readHost(stream));
    }

    static PagedKeysValues cache(ParityCase given, Stream stream, Scope scope) throws IOException {
        return new PagedKeysValues(
                scope.keep(Tensor.of(stream, given.pages("key_pages"))),
                scope.keep(Tensor.of(stream, given.pages("value_pages"))),
                scope.keep(Tensor.of(stream, given.matrixOfIntegers("page_table", DType.I32))),
                scope.keep(Tensor.of(stream, given.integersAs("seq_lens", DType.I32))),
                ParityOperators.optional(stream, scope, given, "key_scales", given::scales),
                ParityOperators.optional(stream, scope, given, "value_scales", given::scales));
    }

    static long longest(PagedKeysValues cache, Stream stream) {
        return Math.max(1, Arrays.stream(cache.seqLens().readInts(stream)).max().orElse(1));
    }
}
