package io.jindou.examples;

import io.jindou.Bounds;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.HstuAttention;
import io.jindou.HstuAttentionDesc;
import io.jindou.HstuBias;
import io.jindou.HstuMask;
import io.jindou.JaggedTensor;
import io.jindou.Stream;
import io.jindou.TargetAttention;
import io.jindou.TargetAttentionDesc;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** Runs a parity case through the public API: one method an operator, from the case's names to a plan and a run. */
final class ParityOperators {
    interface Operator {
        Map<String, HostTensor> run(ParityCase given, Device device, Stream stream, Scope scope) throws IOException;
    }

    private static final Map<String, Operator> OPERATORS = new TreeMap<>(Map.ofEntries(
            entry("beam_attention", ParityBeams::beamAttention),
            entry("cached_hstu_attention", ParityOperators::cachedHstuAttention),
            entry("decode_attention", ParityPaged::decodeAttention),
            entry("din_attention", ParityDin::dinAttention),
            entry("dequantize_rows", ParityRows::dequantizeRows),
            entry("embedding_bag", ParityBags::embeddingBag),
            entry("hash_erase", ParityRows::hashErase),
            entry("hash_insert", ParityRows::hashInsert),
            entry("hash_lookup", ParityRows::hashLookup),
            entry("history_search", ParitySearch::historySearch),
            entry("hstu_attention", ParityOperators::hstuAttention),
            entry("l2_normalize", ParityBlocks::l2Normalize),
            entry("layer_norm", ParityBlocks::layerNorm),
            entry("linear", ParityBlocks::linear),
            entry("longer_attention", ParityLonger::longerAttention),
            entry("lsh_signatures", ParitySearch::lshSignatures),
            entry("merge_attention_states", ParitySoftmax::mergeAttentionStates),
            entry("merge_tokens", ParityLonger::mergeTokens),
            entry("paged_append", ParityPages::pagedAppend),
            entry("paged_gather", ParityPages::pagedGather),
            entry("quantize_rows", ParityRows::quantizeRows),
            entry("rq_decode", ParityIds::rqDecode),
            entry("rq_encode", ParityIds::rqEncode),
            entry("search_attention", ParitySearch::searchAttention),
            entry("softmax_attention", ParitySoftmax::softmaxAttention),
            entry("sequence_embedding", ParityIds::sequenceEmbedding),
            entry("stca_attention", ParityStca::stcaAttention),
            entry("target_attention", ParityOperators::targetAttention),
            entry("top_k_inner_product", ParityTopK::topKInnerProduct)));

    private ParityOperators() {}

    private static Map.Entry<String, Operator> entry(String name, Operator operator) {
        return Map.entry(name, operator);
    }

    /** The outputs of a case, by name: F32, or integers. */
    static Map<String, HostTensor> run(ParityCase given, Device device, Stream stream) throws IOException {
        Operator operator = OPERATORS.get(given.op());
        if (operator == null) {
            throw given.unknownOp(OPERATORS.keySet());
        }
        try (Scope scope = new Scope()) {
            return operator.run(given, device, stream, scope);
        } catch (io.jindou.UnsupportedException missing) {
            throw given.unsupported(missing, device);
        } catch (RuntimeException refused) { // of this case alone: the others still run
            throw given.refused(refused);
        }
    }

    private static Map<String, HostTensor> targetAttention(ParityCase given, Device device, Stream stream, Scope scope)
            throws IOException {
        HostTensor candidates = given.floats("candidates", 3);
        HostTensor candidateOffsets = given.integers("candidate_offsets");
        HostTensor keys = given.floats("keys", 3);
        HostTensor values = given.floats("values", 3);
        HostTensor historyOffsets = given.integersAs("history_offsets", candidateOffsets.dtype());
        boolean selfKey = given.flag("self_key", given.hasInput("candidate_keys"));
        int heads = Math.toIntExact(candidates.shape()[1]);
        int dim = Math.toIntExact(candidates.shape()[2]);
        int valueDim = Math.toIntExact(values.shape()[2]);
        TargetAttentionDesc desc = TargetAttentionDesc.of(
                        candidates.dtype(),
                        heads,
                        dim,
                        candidateOffsets.elements() - 1,
                        longest(candidateOffsets),
                        longest(historyOffsets))
                .withOutDType(DType.F32)
                .withOffsetDType(candidateOffsets.dtype())
                .withNumKvHeads(Math.toIntExact(keys.shape()[1]))
                .withHeadDimV(valueDim)
                .withScale((float) given.number("scale", 1 / Math.sqrt(dim)))
                .withSelfKey(selfKey)
                .withNumLatest(given.integer("num_latest", 0))
                .withBounds(bounds(given));
        if (given.word("activation", "softmax", Set.of("softmax", "silu")).equals("silu")) {
            desc = desc.withActivation(
                    io.jindou.AttentionActivation.silu((float) given.number("scaling_seqlen", Double.NaN)));
        } else {
            given.number("scaling_seqlen", 1);
        }
        if (!selfKey) {
            given.ignoreInput("candidate_keys");
            given.ignoreInput("candidate_values");
        }
        Tensor candidateKeys = selfKey ? scope.keep(Tensor.of(stream, given.floats("candidate_keys", 3))) : null;
        Tensor candidateValues = selfKey ? scope.keep(Tensor.of(stream, given.floats("candidate_values", 3))) : null;
        repeatedShapes(given, heads, keys.shape()[1], dim, valueDim, candidateOffsets.elements() - 1);
        given.checkAllUsed();
        Tensor out = output(device, stream, scope, candidates.shape()[0], heads, valueDim);
        TargetAttention plan = scope.keep(TargetAttention.plan(device, desc));
        plan.run(
                stream,
                jagged(stream, scope, candidates, candidateOffsets),
                candidateKeys,
                candidateValues,
                jagged(stream, scope, keys, historyOffsets),
                scope.keep(Tensor.of(stream, values)),
                out);
        return Map.of("out", out.readHost(stream));
    }

    private static Map<String, HostTensor> hstuAttention(ParityCase given, Device device, Stream stream, Scope scope)
            throws IOException {
        return hstuAttention(given, device, stream, scope, false);
    }

    /** Queries are the last rows of each sequence. */
    private static Map<String, HostTensor> cachedHstuAttention(
            ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        return given.hasInput("key_pages")
                ? ParityPaged.hstuAttention(given, device, stream, scope)
                : hstuAttention(given, device, stream, scope, true);
    }

    private static Map<String, HostTensor> hstuAttention(
            ParityCase given, Device device, Stream stream, Scope scope, boolean lastRows) throws IOException {
        HostTensor queries = given.floats("queries", 3);
        HostTensor keys = given.floats("keys", 3);
        HostTensor values = given.floats("values", 3);
        HostTensor offsets = given.integers("offsets");
        HostTensor queryOffsets = lastRows ? given.integersAs("q_offsets", offsets.dtype()) : offsets;
        int heads = Math.toIntExact(queries.shape()[1]);
        int valueDim = Math.toIntExact(values.shape()[2]);
        Tensor numTargets = optional(stream, scope, given, "num_targets", name -> given.integersAs(name, DType.I32));
        Tensor attnScale = optional(stream, scope, given, "attn_scale", name -> ofQueries(given.floats32(name, 1), queryOffsets, offsets));
        Tensor timeBias = optional(stream, scope, given, "time_bias", name -> given.bias(name, heads));
        if (timeBias == null) {
            given.ignoreInput("timestamps");
        }
        HstuBias bias = new HstuBias(
                optional(stream, scope, given, "position_bias", name -> given.bias(name, heads)),
                timeBias,
                timeBias == null ? null : scope.keep(Tensor.of(stream, given.integersAs("timestamps", DType.I64))));
        HstuAttentionDesc desc = hstuDesc(given, queries, attnScale != null, offsets, longest(offsets)).withHeadDimV(valueDim);
        repeatedShapes(given, heads, heads, queries.shape()[2], valueDim, offsets.elements() - 1);
        given.checkAllUsed();
        Tensor out = output(device, stream, scope, queries.shape()[0], heads, valueDim);
        HstuAttention plan = scope.keep(HstuAttention.plan(device, desc));
        JaggedTensor asked = jagged(stream, scope, queries, queryOffsets);
        Tensor allValues = scope.keep(Tensor.of(stream, values));
        if (lastRows) {
            plan.runLastRows(
                    stream, asked, jagged(stream, scope, keys, offsets), allValues, numTargets, attnScale, bias, out);
        } else {
            plan.run(stream, asked, scope.keep(Tensor.of(stream, keys)), allValues, numTargets, attnScale, bias, out);
        }
        return Map.of("out", out.readHost(stream));
    }

    /** Of a number for each row of the sequences, those of the queries, which are each sequence's last rows. */
    private static HostTensor ofQueries(HostTensor ofRows, HostTensor queryOffsets, HostTensor offsets) {
        long[] asked = queryOffsets.toLongs();
        long[] all = offsets.toLongs();
        float[] given = ofRows.toFloats();
        if (asked.length != all.length || given.length == asked[asked.length - 1] || given.length != all[all.length - 1]) {
            return ofRows;
        }
        float[] last = new float[Math.toIntExact(asked[asked.length - 1])];
        for (int b = 1; b < all.length; b++) {
            int queries = Math.toIntExact(asked[b] - asked[b - 1]);
            System.arraycopy(given, Math.toIntExact(all[b]) - queries, last, Math.toIntExact(asked[b - 1]), queries);
        }
        return HostTensor.of(last, last.length);
    }

    /** Numbers that shapes tell, and that a case may repeat. */
    static void repeatedShapes(ParityCase given, long heads, long kvHeads, long dim, long valueDim, long batch) throws IOException {
        given.repeats("num_heads", heads);
        given.repeats("num_kv_heads", kvHeads);
        given.repeats("head_dim", dim);
        given.repeats("head_dim_qk", dim);
        given.repeats("head_dim_v", valueDim);
        given.repeats("batch", batch);
    }

    /** What the case's params say of an HSTU attention. */
    static HstuAttentionDesc hstuDesc(
            ParityCase given, HostTensor queries, boolean ownScales, HostTensor offsets, long longest) throws IOException {
        int dim = Math.toIntExact(queries.shape()[2]);
        return HstuAttentionDesc.of(
                        queries.dtype(),
                        Math.toIntExact(queries.shape()[1]),
                        dim,
                        (float) given.number("scaling_seqlen", ownScales ? 1 : Double.NaN),
                        offsets.elements() - 1,
                        longest)
                .withOutDType(DType.F32)
                .withOffsetDType(offsets.dtype())
                .withAlpha((float) given.number("alpha", 1 / Math.sqrt(dim)))
                .withBounds(bounds(given))
                .withMask(new HstuMask(
                        given.flag("causal", true),
                        given.intParam("contextual_seq_len", 0),
                        given.intParam("max_attn_len", 0),
                        given.intParam("min_full_attn_seq_len", 0)));
    }

    interface Reader {
        HostTensor read(String name) throws IOException;
    }

    /** An input that a case may leave out: null then. */
    static Tensor optional(Stream stream, Scope scope, ParityCase given, String name, Reader reader)
            throws IOException {
        return given.hasInput(name) ? scope.keep(Tensor.of(stream, reader.read(name))) : null;
    }

    static JaggedTensor jagged(Stream stream, Scope scope, HostTensor values, HostTensor offsets) {
        return new JaggedTensor(scope.keep(Tensor.of(stream, values)), scope.keep(Tensor.of(stream, offsets)));
    }

    /** An F32 output full of NaN, so that an element no one writes is found out. */
    static Tensor output(Device device, Stream stream, Scope scope, long... shape) {
        Tensor out = scope.keep(Tensor.create(device, DType.F32, shape));
        out.fill(stream, 0xff);
        return out;
    }

    static Bounds bounds(ParityCase given) throws IOException {
        return Bounds.valueOf(given.word("bounds", "strict", Set.of("strict", "zero")).toUpperCase(Locale.ROOT));
    }

    /** The longest sequence, for the plan's maximum. Offsets that decrease are the operator's to refuse. */
    static long longest(HostTensor offsets) {
        long[] values = offsets.toLongs();
        long longest = 1;
        for (int i = 1; i < values.length; i++) {
            longest = Math.max(longest, values[i] - values[i - 1]);
        }
        return longest;
    }
}
