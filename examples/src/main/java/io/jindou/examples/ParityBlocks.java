package io.jindou.examples;

import io.jindou.Activation;
import io.jindou.Blocks;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;

/** Parity cases of the plain operators between the others: rank 2, F32 but where a case says more. */
final class ParityBlocks {
    private static final int DIM_STEP = 4; // columns of zeros change neither products nor lengths

    private ParityBlocks() {}

    /** linear: output {@code out} = activation(x weight^T + bias) + residual. */
    static Map<String, HostTensor> linear(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor x = scope.keep(Tensor.of(stream, ParityCase.padded(given.floats32("x", 2), DIM_STEP)));
        HostTensor asGiven = given.floats32("weight", 2);
        HostTensor wide = withRows(ParityCase.padded(asGiven, DIM_STEP), DIM_STEP);
        Tensor weight = scope.keep(Tensor.of(stream, wide));
        Tensor bias = ParityOperators.optional(
                stream, scope, given, "bias", name -> ParityCase.padded(given.floats32(name, 1), DIM_STEP));
        Tensor residual = ParityOperators.optional(
                stream, scope, given, "residual", name -> ParityCase.padded(given.floats32(name, 2), DIM_STEP));
        Activation activation =
                given.word("activation", "identity", Set.of("identity", "none", "silu")).equals("silu") ? Activation.SILU : Activation.IDENTITY;
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, x.dim(0), weight.dim(0));
        Blocks.linear(stream, x, weight, bias, activation, residual, out);
        return Map.of("out", ParityCase.columns(out.readHost(stream), Math.toIntExact(asGiven.shape()[0])));
    }

    /** layer_norm: output {@code out}, times {@code multiplier} where there is one. */
    static Map<String, HostTensor> layerNorm(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor x = matrix(given, stream, scope, "x");
        Tensor weight = vector(given, stream, scope, "weight", 1, x.dim(1));
        Tensor bias = vector(given, stream, scope, "bias", 0, x.dim(1));
        Tensor multiplier = ParityOperators.optional(stream, scope, given, "multiplier", name -> given.floats32(name, 2));
        float eps = (float) given.number("eps", 1e-5);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, x.dim(0), x.dim(1));
        Blocks.layerNorm(stream, x, weight, bias, eps, multiplier, out);
        return Map.of("out", out.readHost(stream));
    }

    /** l2_normalize: output {@code out} = x / max(|x|, eps), in the dtype of the rows. */
    static Map<String, HostTensor> l2Normalize(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor asGiven = given.floats("x", 2);
        int step = Math.max(DIM_STEP, 16 / asGiven.dtype().size()); // rows begin at 16 bytes
        Tensor x = scope.keep(Tensor.of(stream, ParityCase.padded(asGiven, step)));
        float eps = (float) given.number("eps", 1e-12);
        given.checkAllUsed();
        Tensor out = scope.keep(Tensor.create(device, x.dtype(), x.dim(0), x.dim(1)));
        out.fill(stream, 0xff);
        Blocks.l2Normalize(stream, x, eps, out);
        return Map.of("out", ParityCase.columns(out.readHost(stream), Math.toIntExact(asGiven.shape()[1])));
    }

    /** A vector of the case; where it has none, of a number. */
    private static Tensor vector(ParityCase given, Stream stream, Scope scope, String name, float otherwise, long count)
            throws IOException {
        if (given.hasInput(name)) {
            return scope.keep(Tensor.of(stream, given.floats32(name, 1)));
        }
        float[] all = new float[Math.toIntExact(count)];
        Arrays.fill(all, otherwise);
        return scope.keep(Tensor.of(stream, all, count));
    }

    /** Rows of zeros behind a matrix, to a multiple of {@code step}. */
    private static HostTensor withRows(HostTensor matrix, int step) {
        int rows = Math.toIntExact(matrix.shape()[0]), columns = Math.toIntExact(matrix.shape()[1]), all = Math.ceilDiv(rows, step) * step;
        return all == rows ? matrix : HostTensor.of(Arrays.copyOf(matrix.toFloats(), all * columns), all, columns);
    }

    private static Tensor matrix(ParityCase given, Stream stream, Scope scope, String name) throws IOException {
        return scope.keep(Tensor.of(stream, given.floats32(name, 2)));
    }
}
