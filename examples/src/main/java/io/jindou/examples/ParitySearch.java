package io.jindou.examples;

import io.jindou.AttentionActivation;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HistorySearch;
import io.jindou.HistorySearchDesc;
import io.jindou.HostTensor;
import io.jindou.SearchAttention;
import io.jindou.SearchAttentionDesc;
import io.jindou.SearchMethod;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/** Parity cases of retrieval inside long histories. */
final class ParitySearch {
    private static final int DIM_STEP = 8; // columns of zeros change no product

    private ParitySearch() {}

    /** history_search: outputs {@code indices}, {@code counts} and, but for {@code hard}, {@code scores}. */
    static Map<String, HostTensor> historySearch(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        String method = given.word("method", "dot", Set.of("hard", "dot", "lsh"));
        HostTensor queries = rows(given, "queries", method);
        HostTensor keys = rows(given, "keys", method);
        HostTensor candidateOffsets = given.integers("candidate_offsets");
        HostTensor historyOffsets = given.integersAs("history_offsets", candidateOffsets.dtype());
        Tensor bias = ParityOperators.optional(stream, scope, given, "bias", name -> given.floats32(name, 1));
        int k = given.requiredInteger("k");
        SearchMethod by = switch (method) {
            case "hard" -> SearchMethod.hard(queries.dtype());
            case "lsh" -> SearchMethod.lsh(Math.toIntExact(queries.shape()[1] * 64));
            default -> SearchMethod.dot(queries.dtype(), Math.toIntExact(queries.shape()[1]));
        };
        HistorySearchDesc desc = HistorySearchDesc.of(
                        by,
                        k,
                        candidateOffsets.elements() - 1,
                        ParityOperators.longest(candidateOffsets),
                        ParityOperators.longest(historyOffsets))
                .withOffsetDType(candidateOffsets.dtype())
                .withBounds(ParityOperators.bounds(given));
        given.checkAllUsed();
        long candidates = queries.shape()[0];
        Tensor indices = scope.keep(Tensor.create(device, DType.I32, candidates, k));
        Tensor counts = scope.keep(Tensor.create(device, DType.I32, candidates));
        Tensor scores = method.equals("hard") ? null : ParityOperators.output(device, stream, scope, candidates, k);
        HistorySearch plan = scope.keep(HistorySearch.plan(device, desc));
        plan.run(
                stream,
                ParityOperators.jagged(stream, scope, queries, candidateOffsets),
                ParityOperators.jagged(stream, scope, keys, historyOffsets),
                bias,
                indices,
                scores,
                counts);
        Map<String, HostTensor> results = new HashMap<>();
        results.put("indices", indices.readHost(stream));
        results.put("counts", counts.readHost(stream));
        if (scores != null) {
            results.put("scores", scores.readHost(stream));
        }
        return results;
    }

    private static HostTensor rows(ParityCase given, String name, String method) throws IOException {
        return switch (method) {
            case "hard" -> given.integers(name);
            case "lsh" -> given.matrixOfIntegers(name, DType.I64);
            default -> ParityCase.padded(given.floats(name, 2), DIM_STEP);
        };
    }

    /** lsh_signatures: output {@code bits} {@code [n, bits]}, the signatures bit by bit. */
    static Map<String, HostTensor> lshSignatures(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor x = ParityCase.padded(given.floats("x", 2), DIM_STEP);
        HostTensor projection = ParityCase.padded(given.floats("projection", 2).as(x.dtype()), DIM_STEP);
        given.checkAllUsed();
        int count = Math.toIntExact(x.shape()[0]), bits = Math.toIntExact(projection.shape()[0]);
        Tensor signatures = scope.keep(Tensor.create(device, DType.I64, count, bits / 64));
        HistorySearch.signatures(
                stream, scope.keep(Tensor.of(stream, x)), scope.keep(Tensor.of(stream, projection)), signatures);
        long[] words = signatures.readLongs(stream);
        float[] unpacked = new float[count * bits];
        for (int i = 0; i < unpacked.length; i++) {
            unpacked[i] = words[i / 64] >>> i & 1; // the shift takes i modulo 64, and rows are whole words
        }
        return Map.of("bits", HostTensor.of(unpacked, count, bits));
    }

    /** search_attention: output {@code out} and, with a softmax, {@code lse}. */
    static Map<String, HostTensor> searchAttention(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor candidates = given.floats("candidates", 3);
        HostTensor keys = given.floats("keys", 3);
        HostTensor values = given.floats("values", 3);
        HostTensor candidateOffsets = given.integers("candidate_offsets");
        HostTensor historyOffsets = given.integersAs("history_offsets", candidateOffsets.dtype());
        HostTensor indices = given.matrixOfIntegers("indices", DType.I32);
        int heads = Math.toIntExact(candidates.shape()[1]);
        int dim = Math.toIntExact(candidates.shape()[2]);
        int valueDim = Math.toIntExact(values.shape()[2]);
        boolean softmax = given.word("activation", "softmax", Set.of("softmax", "silu")).equals("softmax");
        float scalingSeqlen = (float) given.number("scaling_seqlen", softmax ? 1 : Double.NaN);
        SearchAttentionDesc desc = SearchAttentionDesc.of(
                        candidates.dtype(),
                        heads,
                        dim,
                        Math.toIntExact(indices.shape()[1]),
                        candidateOffsets.elements() - 1,
                        ParityOperators.longest(candidateOffsets),
                        ParityOperators.longest(historyOffsets))
                .withOutDType(DType.F32)
                .withOffsetDType(candidateOffsets.dtype())
                .withNumKvHeads(Math.toIntExact(keys.shape()[1]))
                .withHeadDimV(valueDim)
                .withScale((float) given.number("scale", 1 / Math.sqrt(dim)))
                .withActivation(softmax ? AttentionActivation.softmax() : AttentionActivation.silu(scalingSeqlen))
                .withBounds(ParityOperators.bounds(given));
        ParityOperators.repeatedShapes(given, heads, keys.shape()[1], dim, valueDim, candidateOffsets.elements() - 1);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, candidates.shape()[0], heads, valueDim);
        Tensor lse = softmax ? ParityOperators.output(device, stream, scope, candidates.shape()[0], heads) : null;
        SearchAttention plan = scope.keep(SearchAttention.plan(device, desc));
        plan.run(
                stream,
                ParityOperators.jagged(stream, scope, candidates, candidateOffsets),
                ParityOperators.jagged(stream, scope, keys, historyOffsets),
                scope.keep(Tensor.of(stream, values)),
                scope.keep(Tensor.of(stream, indices)),
                out,
                lse);
        return softmax ? Map.of("out", out.readHost(stream), "lse", lse.readHost(stream)) : Map.of("out", out.readHost(stream));
    }
}
