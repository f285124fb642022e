package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HostTensor;
import io.jindou.RqDecode;
import io.jindou.RqEncode;
import io.jindou.RqEncodeDesc;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.util.Map;

/** Parity cases of semantic ids. */
final class ParityIds {
    private ParityIds() {}

    /** rq_encode: outputs {@code codes} and {@code residual_norm}. */
    static Map<String, HostTensor> rqEncode(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        HostTensor x = given.floats("x", 2);
        Tensor codebooks = scope.keep(Tensor.of(stream, given.floats32("codebooks", 3)));
        given.checkAllUsed();
        RqEncodeDesc desc = RqEncodeDesc.of(codebooks).withDType(x.dtype());
        Tensor codes = scope.keep(Tensor.create(device, DType.I32, x.shape()[0], desc.numLevels()));
        codes.fill(stream, 0xff);
        Tensor residualNorm = ParityOperators.output(device, stream, scope, x.shape()[0]);
        RqEncode plan = scope.keep(RqEncode.plan(device, desc));
        plan.run(stream, scope.keep(Tensor.of(stream, x)), codebooks, codes, residualNorm);
        return Map.of("codes", numbers(codes.readHost(stream)), "residual_norm", residualNorm.readHost(stream));
    }

    /** Integers as F32, which expected results are in. */
    static HostTensor numbers(HostTensor integers) {
        long[] values = integers.toLongs();
        float[] floats = new float[values.length];
        for (int i = 0; i < floats.length; i++) {
            floats[i] = values[i];
        }
        return HostTensor.of(floats, integers.shape());
    }

    /** rq_decode: output {@code out}. */
    static Map<String, HostTensor> rqDecode(ParityCase given, Device device, Stream stream, Scope scope) throws IOException {
        Tensor codes = scope.keep(Tensor.of(stream, given.matrixOfIntegers("codes", DType.I32)));
        Tensor codebooks = scope.keep(Tensor.of(stream, given.floats32("codebooks", 3)));
        var bounds = ParityOperators.bounds(given);
        given.checkAllUsed();
        Tensor out = ParityOperators.output(device, stream, scope, codes.dim(0), codebooks.dim(2));
        RqDecode.run(stream, codes, codebooks, bounds, out);
        return Map.of("out", out.readHost(stream));
    }
}
