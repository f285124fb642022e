package io.jindou.examples;

import io.jindou.Bounds;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.JaggedTensor;
import io.jindou.LongerAttention;
import io.jindou.LongerAttentionDesc;
import io.jindou.MergeTokens;
import io.jindou.PagedKeysValues;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Map;

/** Parity cases of longer_attention and merge_tokens. */
final class ParityLonger {
    private ParityLonger() {}

    /** longer_attention, over a history in rows or pages: outputs {@code out} and {@code lse}. */
    static Map<String, HostTensor> longerAttention(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor queries = given.queriesOfPages();
        HostTensor queryOffsets = given.integers("q_offsets");
        boolean paged = given.hasInput("key_pages");
        PagedKeysValues pages = paged ? ParityPaged.cache(given, queries.dtype(), stream, scope) : null;
        HostTensor keys = paged ? null : given.floats("keys", 3);
        HostTensor values = paged ? null : given.floats("values", 3);
        HostTensor keyOffsets = paged ? null : given.integersAs("k_offsets", queryOffsets.dtype());
        boolean hasGlobals = given.hasInput("global_keys");
        HostTensor globalKeys = hasGlobals ? given.floats("global_keys", 3) : null;
        HostTensor globalValues = hasGlobals ? given.floats("global_values", 3) : null;
        HostTensor globalOffsets = hasGlobals ? given.integersAs("global_offsets", queryOffsets.dtype()) : null;
        int heads = Math.toIntExact(queries.shape()[1]);
        int dim = Math.toIntExact(queries.shape()[2]);
        int valueDim = Math.toIntExact(paged ? pages.valuePages().dim(3) : values.shape()[2]);
        int numGlobal = given.intParam("num_global", 0);
        int numShared = given.intParam("num_shared_globals", numGlobal);
        long longest = paged ? ParityPaged.longest(pages, stream) : ParityOperators.longest(keyOffsets);
        LongerAttentionDesc desc = LongerAttentionDesc.of(
                        queries.dtype(),
                        heads,
                        Math.toIntExact(paged ? pages.keyPages().dim(2) : keys.shape()[1]),
                        dim,
                        numGlobal,
                        queryOffsets.elements() - 1,
                        longest,
                        longest)
                .withCandidates(numShared, hasGlobals ? ParityOperators.longest(globalOffsets) : 1)
                .withCandidatesOnly(given.flag("candidates_only", false))
                .withOutDType(DType.F32)
                .withOffsetDType(queryOffsets.dtype())
                .withHeadDimV(valueDim)
                .withScale((float) given.number("scale", 1 / Math.sqrt(dim)))
                .withBounds(ParityOperators.bounds(given));
        if (paged) {
            desc = desc.withCacheDType(pages.keyPages().dtype());
        }
        ParityOperators.repeatedShapes(given, heads, desc.numKvHeads(), dim, valueDim, queryOffsets.elements() - 1);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, queries.shape()[0], heads, valueDim);
        Tensor lse = ParityOperators.output(device, stream, scope, queries.shape()[0], heads);
        LongerAttention plan = scope.keep(LongerAttention.plan(device, desc));
        JaggedTensor rows = ParityOperators.jagged(stream, scope, queries, queryOffsets);
        JaggedTensor globals = hasGlobals ? ParityOperators.jagged(stream, scope, globalKeys, globalOffsets) : null;
        Tensor globalRows = hasGlobals ? scope.keep(Tensor.of(stream, globalValues)) : null;
        if (paged) {
            plan.run(stream, rows, globals, globalRows, pages, out, lse);
        } else {
            JaggedTensor history = ParityOperators.jagged(stream, scope, keys, keyOffsets);
            plan.run(stream, rows, globals, globalRows, history, scope.keep(Tensor.of(stream, values)), out, lse);
        }
        return Map.of("out", out.readHost(stream), "lse", lse.readHost(stream));
    }

    /** merge_tokens, of one sequence without {@code offsets}: output {@code out}. */
    static Map<String, HostTensor> mergeTokens(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor x = given.rows("x", 2);
        long[] ends = given.hasInput("offsets") ? given.integers("offsets").toLongs() : new long[] {0, x.shape()[0]};
        int k = given.requiredInteger("k");
        Bounds bounds = ParityOperators.bounds(given);
        given.checkAllUsed();
        int[] lengths = new int[Math.max(0, ends.length - 1)];
        for (int b = 0; b < lengths.length; b++) {
            lengths[b] = Math.toIntExact(ends[b + 1] - ends[b]);
        }
        long[] merged = MergeTokens.offsets(k, lengths);
        Tensor out = scope.keep(Tensor.create(device, x.dtype(), merged[lengths.length], k * x.shape()[1]));
        out.fill(stream, 0xff);
        JaggedTensor events = new JaggedTensor(scope.keep(Tensor.of(stream, x)), scope.keep(Tensor.of(stream, ends, ends.length)));
        MergeTokens.run(
                stream, events, k, bounds,
                new JaggedTensor(out, scope.keep(Tensor.of(stream, merged, merged.length))));
        return Map.of("out", out.readHost(stream));
    }
}
