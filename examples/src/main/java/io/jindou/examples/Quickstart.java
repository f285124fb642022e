package io.jindou.examples;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.JaggedTensor;
import io.jindou.Stream;
import io.jindou.TargetAttention;
import io.jindou.TargetAttentionDesc;
import io.jindou.Tensor;

/** The example of the README: two candidates attend to one user's history of three events. */
final class Quickstart {
    private Quickstart() {}

    public static void main(String[] arguments) {
        // README: begin
        try (Device device = Device.best();                       // a GPU if there is one, else the CPU
                Stream stream = Stream.create(device);
                Tensor candidates = Tensor.of(stream, new float[2 * 32], 2, 1, 32);      // [candidates, heads, headDim]
                Tensor candidateOffsets = Tensor.of(stream, new long[] {0, 2}, 2);       // one user
                Tensor keys = Tensor.of(stream, new float[3 * 32], 3, 1, 32);            // [events, heads, headDim]
                Tensor values = Tensor.of(stream, ramp(3 * 32), 3, 1, 32);
                Tensor historyOffsets = Tensor.of(stream, new long[] {0, 3}, 2);
                Tensor out = Tensor.create(device, DType.F32, 2, 1, 32);
                TargetAttention attention = TargetAttention.plan(                        // plan once ...
                        device, TargetAttentionDesc.of(DType.F32, 1, 32, 1, 2, 3))) {
            attention.run(                                                               // ... run many times
                    stream,
                    new JaggedTensor(candidates, candidateOffsets),
                    new JaggedTensor(keys, historyOffsets),
                    values,
                    out);
            System.out.println(device.name() + ": " + out.readFloats(stream)[0]);        // the mean of the values: 32.0
        }
        // README: end
    }

    private static float[] ramp(int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = i;
        }
        return values;
    }
}
