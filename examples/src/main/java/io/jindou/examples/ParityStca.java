package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.JaggedTensor;
import io.jindou.StcaAttention;
import io.jindou.StcaAttentionDesc;
import io.jindou.StcaPath;
import io.jindou.StcaWeights;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** The parity cases of stca_attention. */
final class ParityStca {
    private ParityStca() {}

    /** Outputs {@code out}, and with {@code keep_keys} {@code keys} and {@code values}. */
    static Map<String, HostTensor> stcaAttention(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor candidates = given.floats("candidates", 2);
        HostTensor candidateOffsets = given.integers("candidate_offsets");
        HostTensor events = given.floats("events", 2);
        HostTensor historyOffsets = given.integersAs("history_offsets", candidateOffsets.dtype());
        StcaWeights weights = new StcaWeights(
                scope.keep(Tensor.of(stream, given.floats32("query_weight", 2))),
                scope.keep(Tensor.of(stream, given.floats32("key_weight", 2))),
                scope.keep(Tensor.of(stream, given.floats32("value_weight", 2))));
        int width = Math.toIntExact(weights.query().dim(0));
        int heads = given.requiredInteger("num_heads");
        if (heads <= 0 || width % heads != 0) {
            throw given.wrongParam("num_heads", "expected a divisor of " + width + ", the rows of query_weight, got " + heads);
        }
        given.repeats("head_dim", width / heads);
        StcaPath path =
                switch (given.word("path", "auto", Set.of("auto", "materialised", "reordered"))) {
                    case "materialised" -> StcaPath.MATERIALISED;
                    case "reordered" -> StcaPath.REORDERED;
                    default -> StcaPath.AUTO;
                };
        boolean keep = given.flag("keep_keys", false);
        StcaAttentionDesc desc = StcaAttentionDesc.of(
                        candidates.dtype(),
                        Math.toIntExact(candidates.shape()[1]),
                        heads,
                        width / heads,
                        candidateOffsets.elements() - 1,
                        ParityOperators.longest(candidateOffsets),
                        ParityOperators.longest(historyOffsets))
                .withMaxTotals(Math.max(1, candidates.shape()[0]), Math.max(1, events.shape()[0]))
                .withOutDType(DType.F32)
                .withOffsetDType(candidateOffsets.dtype())
                .withScale((float) given.number("scale", 1 / Math.sqrt((double) width / heads)))
                .withPath(path)
                .withKeepKeys(keep)
                .withBounds(ParityOperators.bounds(given));
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, candidates.shape()[0], width);
        StcaAttention plan = scope.keep(StcaAttention.plan(device, desc));
        JaggedTensor asked = ParityOperators.jagged(stream, scope, candidates, candidateOffsets);
        JaggedTensor history = ParityOperators.jagged(stream, scope, events, historyOffsets);
        Map<String, HostTensor> results = new LinkedHashMap<>();
        if (keep) {
            Tensor keys = scope.keep(Tensor.create(device, candidates.dtype(), events.shape()[0], width));
            Tensor values = scope.keep(Tensor.create(device, candidates.dtype(), events.shape()[0], width));
            plan.run(stream, asked, history, weights, keys, values, out);
            results.put("keys", keys.readHost(stream));
            results.put("values", values.readHost(stream));
        } else {
            plan.run(stream, asked, history, weights, out);
        }
        results.put("out", out.readHost(stream));
        return results;
    }
}
