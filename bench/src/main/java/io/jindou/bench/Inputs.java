package io.jindou.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.util.Random;

/** Random inputs with fixed seeds. */
final class Inputs {
    private Inputs() {}

    static float[] gaussian(long seed, int count) {
        Random random = new Random(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    /** [tokens, heads, dim] as [heads, tokens, dim]. */
    static float[] headsFirst(float[] values, int tokens, int heads, int dim) {
        float[] out = new float[values.length];
        for (int t = 0; t < tokens; t++) {
            for (int h = 0; h < heads; h++) {
                System.arraycopy(values, (t * heads + h) * dim, out, (h * tokens + t) * dim, dim);
            }
        }
        return out;
    }

    /** [tokens, heads, dim] as [heads, dim, tokens]. */
    static float[] transposed(float[] values, int tokens, int heads, int dim) {
        float[] out = new float[values.length];
        for (int t = 0; t < tokens; t++) {
            for (int h = 0; h < heads; h++) {
                for (int d = 0; d < dim; d++) {
                    out[(h * dim + d) * tokens + t] = values[(t * heads + h) * dim + d];
                }
            }
        }
        return out;
    }

    /** A direct buffer, which ONNX Runtime uses in place. */
    static FloatBuffer direct(float[] values) {
        FloatBuffer buffer = ByteBuffer.allocateDirect(4 * values.length).order(ByteOrder.nativeOrder()).asFloatBuffer();
        return buffer.put(values).rewind();
    }

    /** A direct buffer, which ONNX Runtime uses in place. */
    static LongBuffer direct(long[] values) {
        LongBuffer buffer = ByteBuffer.allocateDirect(8 * values.length).order(ByteOrder.nativeOrder()).asLongBuffer();
        return buffer.put(values).rewind();
    }
}
