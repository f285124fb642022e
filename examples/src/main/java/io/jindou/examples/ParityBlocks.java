package io.jindou.examples;

import io.jindou.Activation;
import io.jindou.Blocks;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** Parity cases of the plain operators between the others: F32, rank 2. */
final class ParityBlocks {
    private ParityBlocks() {}

    /** linear: output {@code out} = activation(x weight^T + bias) + residual. */
    static Map<String, HostTensor> linear(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor x = matrix(given, stream, scope, "x");
        Tensor weight = matrix(given, stream, scope, "weight");
        Tensor bias = ParityOperators.optional(stream, scope, given, "bias", name -> given.floats32(name, 1));
        Tensor residual = ParityOperators.optional(stream, scope, given, "residual", name -> given.floats32(name, 2));
        Activation activation = Activation.valueOf(given.word("activation", "identity", Set.of("identity", "silu")).toUpperCase(Locale.ROOT));
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, x.dim(0), weight.dim(0));
        Blocks.linear(stream, x, weight, bias, activation, residual, out);
        return Map.of("out", out.readHost(stream));
    }

    /** layer_norm: output {@code out}, times {@code multiplier} where there is one. */
    static Map<String, HostTensor> layerNorm(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor x = matrix(given, stream, scope, "x");
        Tensor weight = scope.keep(Tensor.of(stream, given.floats32("weight", 1)));
        Tensor bias = scope.keep(Tensor.of(stream, given.floats32("bias", 1)));
        Tensor multiplier = ParityOperators.optional(stream, scope, given, "multiplier", name -> given.floats32(name, 2));
        float eps = (float) given.number("eps", 1e-5);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, x.dim(0), x.dim(1));
        Blocks.layerNorm(stream, x, weight, bias, eps, multiplier, out);
        return Map.of("out", out.readHost(stream));
    }

    /** l2_normalize: output {@code out} = x / max(|x|, eps). */
    static Map<String, HostTensor> l2Normalize(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor x = matrix(given, stream, scope, "x");
        float eps = (float) given.number("eps", 1e-12);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, x.dim(0), x.dim(1));
        Blocks.l2Normalize(stream, x, eps, out);
        return Map.of("out", out.readHost(stream));
    }

    private static Tensor matrix(ParityCase given, Stream stream, Scope scope, String name) throws IOException {
        return scope.keep(Tensor.of(stream, given.floats32(name, 2)));
    }
}
