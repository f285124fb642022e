package io.jindou.examples;

import io.jindou.AttentionBias;
import io.jindou.AttentionMask;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.MergeAttentionStates;
import io.jindou.SoftmaxAttention;
import io.jindou.SoftmaxAttentionDesc;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Map;
import java.util.Set;

/** Parity cases of softmax attention and of the merge of its results. */
final class ParitySoftmax {
    private ParitySoftmax() {}

    /** softmax_attention: outputs {@code out} and {@code lse}. */
    static Map<String, HostTensor> softmaxAttention(ParityCase given, Device device, Stream stream, Scope scope)
            throws IOException {
        HostTensor queries = given.floats("queries", 3);
        HostTensor queryOffsets = given.integers("q_offsets");
        HostTensor keys = given.floats("keys", 3);
        HostTensor values = given.floats("values", 3);
        HostTensor keyOffsets = given.integersAs("k_offsets", queryOffsets.dtype());
        int heads = Math.toIntExact(queries.shape()[1]);
        int dim = Math.toIntExact(queries.shape()[2]);
        int valueDim = Math.toIntExact(values.shape()[2]);
        AttentionBias bias = AttentionBias.none();
        Tensor biasValues = null;
        if (given.hasInput("alibi_slopes")) {
            bias = AttentionBias.alibi();
            biasValues = scope.keep(Tensor.of(stream, given.floats32("alibi_slopes", 1)));
        } else if (given.hasInput("t5_bias")) {
            biasValues = scope.keep(Tensor.of(stream, given.floats32("t5_bias", 2)));
            bias = AttentionBias.t5(
                    Math.toIntExact(biasValues.dim(0)),
                    given.intParam("t5_max_distance", 128),
                    given.flag("t5_bidirectional", true));
        } else if (given.hasInput("bias")) {
            bias = AttentionBias.dense();
            biasValues = scope.keep(Tensor.of(stream, given.matrices("bias")));
        }
        SoftmaxAttentionDesc desc = SoftmaxAttentionDesc.of(queries.dtype(), heads, dim, queryOffsets.elements() - 1, 1)
                .withMaxQueries(ParityOperators.longest(queryOffsets))
                .withMaxKeys(ParityOperators.longest(keyOffsets))
                .withOutDType(DType.F32)
                .withOffsetDType(queryOffsets.dtype())
                .withNumKvHeads(Math.toIntExact(keys.shape()[1]))
                .withHeadDimV(valueDim)
                .withScale((float) given.number("scale", 1 / Math.sqrt(dim)))
                .withSoftcap((float) given.number("softcap", 0))
                .withMask(mask(given))
                .withBias(bias)
                .withBounds(ParityOperators.bounds(given));
        ParityOperators.repeatedShapes(given, heads, keys.shape()[1], dim, valueDim, queryOffsets.elements() - 1);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, queries.shape()[0], heads, valueDim);
        Tensor lse = ParityOperators.output(device, stream, scope, queries.shape()[0], heads);
        SoftmaxAttention plan = scope.keep(SoftmaxAttention.plan(device, desc));
        plan.run(
                stream,
                ParityOperators.jagged(stream, scope, queries, queryOffsets),
                ParityOperators.jagged(stream, scope, keys, keyOffsets),
                scope.keep(Tensor.of(stream, values)),
                biasValues,
                out,
                lse);
        return Map.of("out", out.readHost(stream), "lse", lse.readHost(stream));
    }

    private static AttentionMask mask(ParityCase given) throws IOException {
        int left = integer(given, "left", -1), right = integer(given, "right", -1);
        AttentionMask mask =
                switch (given.word("mask", "none", Set.of("none", "causal", "window"))) {
                    case "causal" -> AttentionMask.causal();
                    case "window" -> AttentionMask.window(left, right);
                    default -> AttentionMask.none();
                };
        return mask.withSink(integer(given, "sink", 0))
                .withPrefix(integer(given, "prefix", 0))
                .withNumGlobal(integer(given, "num_global", 0));
    }

    private static int integer(ParityCase given, String name, int otherwise) throws IOException {
        return given.intParam(name, otherwise);
    }

    /** merge_attention_states: outputs {@code out} and {@code lse}. */
    static Map<String, HostTensor> mergeAttentionStates(ParityCase given, Device device, Stream stream, Scope scope)
            throws IOException {
        Tensor outA = scope.keep(Tensor.of(stream, given.floats("out_a", 3)));
        Tensor lseA = scope.keep(Tensor.of(stream, given.floats32("lse_a", 2)));
        Tensor outB = scope.keep(Tensor.of(stream, given.floats("out_b", 3)));
        Tensor lseB = scope.keep(Tensor.of(stream, given.floats32("lse_b", 2)));
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, outA.dim(0), outA.dim(1), outA.dim(2));
        Tensor lse = ParityOperators.output(device, stream, scope, outA.dim(0), outA.dim(1));
        MergeAttentionStates.run(stream, outA, lseA, outB, lseB, out, lse);
        return Map.of("out", out.readHost(stream), "lse", lse.readHost(stream));
    }
}
