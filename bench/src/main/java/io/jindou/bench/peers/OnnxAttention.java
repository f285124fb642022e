package io.jindou.bench.peers;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.FloatBuffer;
import java.util.Map;

/** Attention for ONNX Runtime: inputs q [1, H, nq, d], k [1, H, d, nk] (transposed), v [1, H, nk, d], output out [1, H, nq, d]. */
public final class OnnxAttention implements AutoCloseable {
    private final OnnxFunction function;

    private OnnxAttention(OnnxGraph graph, int threads) throws OrtException {
        function = new OnnxFunction(graph, threads);
    }

    private static OnnxGraph graph(int heads, int queries, int keys, int dim) {
        return new OnnxGraph(17)
                .input("q", OnnxGraph.FLOAT, 1, heads, queries, dim)
                .input("k", OnnxGraph.FLOAT, 1, heads, dim, keys)
                .input("v", OnnxGraph.FLOAT, 1, heads, keys, dim)
                .output("out", OnnxGraph.FLOAT, 1, heads, queries, dim)
                .initializer("scale", new long[] {}, new float[] {(float) (1 / Math.sqrt(dim))})
                .node("MatMul", new String[] {"q", "k"}, "product")
                .node("Mul", new String[] {"product", "scale"}, "scores");
    }

    /** Every query sees every key. */
    public static OnnxAttention softmax(int heads, int queries, int keys, int dim, int threads) throws OrtException {
        OnnxGraph graph = graph(heads, queries, keys, dim)
                .node("Softmax", new String[] {"scores"}, "weights", "axis", -1L)
                .node("MatMul", new String[] {"weights", "v"}, "out");
        return new OnnxAttention(graph, threads);
    }

    /** A query sees the keys up to its own. */
    public static OnnxAttention causal(int heads, int tokens, int dim, int threads) throws OrtException {
        float[] mask = new float[tokens * tokens];
        for (int i = 0; i < tokens; i++) {
            java.util.Arrays.fill(mask, i * tokens + i + 1, (i + 1) * tokens, Float.NEGATIVE_INFINITY);
        }
        OnnxGraph graph = graph(heads, tokens, tokens, dim)
                .initializer("mask", new long[] {1, 1, tokens, tokens}, mask)
                .node("Add", new String[] {"scores", "mask"}, "masked")
                .node("Softmax", new String[] {"masked"}, "weights", "axis", -1L)
                .node("MatMul", new String[] {"weights", "v"}, "out");
        return new OnnxAttention(graph, threads);
    }

    /** HSTU: SiLU(score) / tokens where the key is not after the query. */
    public static OnnxAttention silu(int heads, int tokens, int dim, int threads) throws OrtException {
        float[] mask = new float[tokens * tokens];
        for (int i = 0; i < tokens; i++) {
            for (int j = 0; j <= i; j++) {
                mask[i * tokens + j] = 1f / tokens;
            }
        }
        OnnxGraph graph = graph(heads, tokens, tokens, dim)
                .initializer("mask", new long[] {1, 1, tokens, tokens}, mask)
                .node("Sigmoid", new String[] {"scores"}, "gate")
                .node("Mul", new String[] {"scores", "gate"}, "silu")
                .node("Mul", new String[] {"silu", "mask"}, "weights")
                .node("MatMul", new String[] {"weights", "v"}, "out");
        return new OnnxAttention(graph, threads);
    }

    /** A tensor over a direct buffer. */
    public OnnxTensor tensor(FloatBuffer values, long... shape) throws OrtException {
        return function.tensor(values, shape);
    }

    /** Runs into given outputs. The caller closes the result. */
    public OrtSession.Result run(Map<String, OnnxTensor> inputs, Map<String, OnnxTensor> outputs) throws OrtException {
        return function.run(inputs, outputs);
    }

    @Override
    public void close() throws OrtException {
        function.close();
    }
}
