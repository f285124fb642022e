package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.DinActivation;
import io.jindou.DinAttention;
import io.jindou.DinAttentionDesc;
import io.jindou.DinLayer;
import io.jindou.DinNetwork;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;

/** The parity cases of din_attention. */
final class ParityDin {
    private ParityDin() {}

    static Map<String, HostTensor> dinAttention(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor candidates = given.floats("candidates", 2);
        HostTensor candidateOffsets = given.integers("candidate_offsets");
        HostTensor keys = given.floats("keys", 2);
        HostTensor values = given.floats("values", 2);
        HostTensor historyOffsets = given.integersAs("history_offsets", candidateOffsets.dtype());
        Tensor first = scope.keep(Tensor.of(stream, given.floats32("weight_1", 2)));
        Tensor second = scope.keep(Tensor.of(stream, given.floats32("weight_2", 2)));
        int dim = Math.toIntExact(candidates.shape()[1]);
        int valueDim = Math.toIntExact(values.shape()[1]);
        DinActivation activation =
                switch (given.word("activation", "sigmoid", Set.of("sigmoid", "prelu", "dice"))) {
                    case "prelu" -> DinActivation.prelu();
                    case "dice" -> DinActivation.dice((float) given.number("dice_eps", 1e-9));
                    default -> DinActivation.sigmoid();
                };
        DinAttentionDesc desc = DinAttentionDesc.of(
                        candidates.dtype(),
                        dim,
                        Math.toIntExact(first.dim(0)),
                        Math.toIntExact(second.dim(0)),
                        activation,
                        candidateOffsets.elements() - 1,
                        ParityOperators.longest(candidateOffsets),
                        ParityOperators.longest(historyOffsets))
                .withOutDType(DType.F32)
                .withOffsetDType(candidateOffsets.dtype())
                .withDimV(valueDim)
                .withSoftmax(given.flag("softmax", false))
                .withScale((float) given.number("scale", 1))
                .withNumLatest(given.integer("num_latest", 0))
                .withBounds(ParityOperators.bounds(given));
        DinNetwork network = new DinNetwork(
                layer(given, stream, scope, first, 1),
                layer(given, stream, scope, second, 2),
                scope.keep(Tensor.of(stream, weight3(given))),
                scope.keep(Tensor.of(stream, given.floats32("bias_3", 1))));
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, candidates.shape()[0], valueDim);
        DinAttention plan = scope.keep(DinAttention.plan(device, desc));
        plan.run(
                stream,
                ParityOperators.jagged(stream, scope, candidates, candidateOffsets),
                ParityOperators.jagged(stream, scope, keys, historyOffsets),
                scope.keep(Tensor.of(stream, values)),
                network,
                out);
        return Map.of("out", out.readHost(stream));
    }

    private static DinLayer layer(ParityCase given, Stream stream, Scope scope, Tensor weight, int number) throws IOException {
        return new DinLayer(
                weight,
                scope.keep(Tensor.of(stream, given.floats32("bias_" + number, 1))),
                optional(given, stream, scope, "slope_" + number, weight.dim(0)),
                optional(given, stream, scope, "mean_" + number, weight.dim(0)),
                optional(given, stream, scope, "variance_" + number, weight.dim(0)));
    }

    /** {@code [1, h2]}, or the vector. */
    private static HostTensor weight3(ParityCase given) throws IOException {
        HostTensor weight = given.floats32("weight_3", given.rankOf("weight_3") == 1 ? 1 : 2);
        return weight.shape().length == 2 ? weight : ParityCase.reshaped(weight, 1, weight.elements());
    }

    /** A number a unit, or one for all. */
    private static Tensor optional(ParityCase given, Stream stream, Scope scope, String name, long units) throws IOException {
        return ParityOperators.optional(stream, scope, given, name, input -> {
            HostTensor numbers = given.floats32(input, 1);
            if (numbers.elements() != 1) {
                return numbers;
            }
            float[] all = new float[Math.toIntExact(units)];
            Arrays.fill(all, numbers.toFloats()[0]);
            return HostTensor.of(all);
        });
    }
}
