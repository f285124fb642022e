package io.jindou.bench.peers;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.util.Map;

/** Embedding bags of equal length for ONNX Runtime: inputs table [rows, dim], ids [bags, length], output out [bags, dim]. */
public final class OnnxGather implements AutoCloseable {
    private final OnnxFunction function;

    /** A model for one shape. */
    public OnnxGather(int rows, int dim, int bags, int length, int threads) throws OrtException {
        OnnxGraph graph = new OnnxGraph(12)
                .input("table", OnnxGraph.FLOAT, rows, dim)
                .input("ids", OnnxGraph.INT64, bags, length)
                .output("out", OnnxGraph.FLOAT, bags, dim)
                .node("Gather", new String[] {"table", "ids"}, "rows", "axis", 0L)
                .node("ReduceSum", new String[] {"rows"}, "out", "axes", new long[] {1}, "keepdims", 0L);
        function = new OnnxFunction(graph, threads);
    }

    /** A tensor over a direct buffer. */
    public OnnxTensor tensor(FloatBuffer values, long... shape) throws OrtException {
        return function.tensor(values, shape);
    }

    /** A tensor over a direct buffer. */
    public OnnxTensor tensor(LongBuffer values, long... shape) throws OrtException {
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
