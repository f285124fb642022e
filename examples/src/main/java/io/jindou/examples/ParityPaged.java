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
        HostTensor queries = given.queriesOfPages();
        HostTensor queryOffsets = given.integers("q_offsets");
        PagedKeysValues cache = cache(given, queries.dtype(), stream, scope);
        int heads = Math.toIntExact(queries.shape()[1]);
        Tensor numTargets =
                ParityOperators.optional(stream, scope, given, "num_targets", name -> given.integersAs(name, DType.I32));
        Tensor attnScale = ParityOperators.optional(stream, scope, given, "attn_scale", name -> given.floats32(name, 1));
        Tensor timeBias = ParityOperators.optional(stream, scope, given, "time_bias", name -> given.bias(name, heads));
        if (timeBias == null) {
            given.ignoreInput("timestamps");
        }
        HstuBias bias = new HstuBias(
                ParityOperators.optional(stream, scope, given, "position_bias", name -> given.bias(name, heads)),
                timeBias,
                timeBias == null ? null : scope.keep(Tensor.of(stream, timestamps(given, cache.seqLens().readInts(stream)))));
        long longest = longest(cache, stream);
        int valueDim = Math.toIntExact(cache.valuePages().dim(3));
        var desc = ParityOperators.hstuDesc(given, queries, attnScale != null, queryOffsets, longest).withHeadDimV(valueDim);
        repeatedShapes(given, queries, cache, queryOffsets);
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
        HostTensor queries = given.queriesOfPages();
        PagedKeysValues cache = cache(given, queries.dtype(), stream, scope);
        HostTensor queryOffsets = given.hasInput("q_offsets") ? given.integers("q_offsets") : equalOffsets(queries, cache.batch());
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
        repeatedShapes(given, queries, cache, queryOffsets);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, queries.shape()[0], heads, valueDim);
        Tensor lse = ParityOperators.output(device, stream, scope, queries.shape()[0], heads);
        DecodeAttention plan = scope.keep(DecodeAttention.plan(device, desc));
        plan.run(stream, ParityOperators.jagged(stream, scope, queries, queryOffsets), cache, out, lse);
        return Map.of("out", out.readHost(stream), "lse", lse.readHost(stream));
    }

    /** Where a case gives no offsets: as many queries for each sequence. */
    private static HostTensor equalOffsets(HostTensor queries, long batch) {
        long[] offsets = new long[Math.toIntExact(batch) + 1];
        for (int b = 0; b < offsets.length; b++) {
            offsets[b] = batch == 0 ? 0 : queries.shape()[0] / batch * b;
        }
        return HostTensor.of(offsets);
    }

    /** {@code [B, T]} as they are read, or {@code [total]}, sequence behind sequence. */
    private static HostTensor timestamps(ParityCase given, int[] seqLens) throws IOException {
        if (given.rankOf("timestamps") != 1) {
            return given.matrixOfIntegers("timestamps", DType.I64);
        }
        long[] all = given.integersAs("timestamps", DType.I64).toLongs();
        if (all.length != Arrays.stream(seqLens).sum()) {
            throw given.wrongInput("timestamps", "expected the " + Arrays.stream(seqLens).sum() + " rows of seq_lens, got " + all.length);
        }
        int longest = Math.max(1, Arrays.stream(seqLens).max().orElse(1));
        long[] rows = new long[seqLens.length * longest];
        for (int b = 0, at = 0; b < seqLens.length; at += seqLens[b++]) {
            System.arraycopy(all, at, rows, b * longest, seqLens[b]);
        }
        return HostTensor.of(rows, seqLens.length, longest);
    }

    static void repeatedShapes(ParityCase given, HostTensor queries, PagedKeysValues cache, HostTensor queryOffsets) throws IOException {
        ParityOperators.repeatedShapes(
                given, queries.shape()[1], cache.keyPages().dim(2), queries.shape()[2], cache.valuePages().dim(3), queryOffsets.elements() - 1);
        given.repeats("page_size", cache.keyPages().dim(1));
    }

    /** The pages of a case, of {@code dtype} where they hold no codes; fp8 without scales stands for itself. */
    static PagedKeysValues cache(ParityCase given, DType dtype, Stream stream, Scope scope) throws IOException {
        Tensor keys = scope.keep(Tensor.of(stream, given.pages("key_pages", dtype)));
        Tensor values = scope.keep(Tensor.of(stream, given.pages("value_pages", dtype)));
        return new PagedKeysValues(
                keys,
                values,
                scope.keep(Tensor.of(stream, given.matrixOfIntegers("page_table", DType.I32))),
                scope.keep(Tensor.of(stream, given.integersAs("seq_lens", DType.I32))),
                scales(given, stream, scope, "key_scales", keys),
                scales(given, stream, scope, "value_scales", values));
    }

    private static Tensor scales(ParityCase given, Stream stream, Scope scope, String name, Tensor pages) throws IOException {
        return pages.dtype() == DType.F8_E4M3 && !given.hasInput(name)
                ? scope.keep(Tensor.of(stream, new float[] {1}, 1))
                : ParityOperators.optional(stream, scope, given, name, given::scales);
    }

    static long longest(PagedKeysValues cache, Stream stream) {
        return Math.max(1, Arrays.stream(cache.seqLens().readInts(stream)).max().orElse(1));
    }
}
