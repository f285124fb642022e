package io.jindou.bench.peers;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.util.Map;

/** An ONNX model run by ONNX Runtime. Not thread-safe. */
public final class OnnxFunction implements AutoCloseable {
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;

    /** @param threads threads ONNX Runtime may use within an operator */
    public OnnxFunction(OnnxGraph graph, int threads) throws OrtException {
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setIntraOpNumThreads(threads);
            options.setInterOpNumThreads(1);
            options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.ALL_OPT);
            session = environment.createSession(graph.build(), options);
        }
    }

    /** A tensor. Direct buffers are used in place. */
    public OnnxTensor tensor(FloatBuffer values, long... shape) throws OrtException {
        return OnnxTensor.createTensor(environment, values, shape);
    }

    /** A tensor. Direct buffers are used in place. */
    public OnnxTensor tensor(LongBuffer values, long... shape) throws OrtException {
        return OnnxTensor.createTensor(environment, values, shape);
    }

    /** Runs into a given output, so that no result is allocated. The caller closes what is returned. */
    public OrtSession.Result run(Map<String, OnnxTensor> inputs, Map<String, OnnxTensor> outputs) throws OrtException {
        return session.run(inputs, outputs);
    }

    @Override
    public void close() throws OrtException {
        session.close();
    }
}
