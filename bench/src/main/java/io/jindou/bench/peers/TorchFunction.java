package io.jindou.bench.peers;

import ai.djl.Model;
import ai.djl.engine.Engine;
import ai.djl.inference.Predictor;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.translate.NoopTranslator;
import ai.djl.translate.TranslateException;
import io.jindou.DType;
import java.io.IOException;
import java.nio.ByteBuffer;

/** A libtorch function called through DJL, with its inputs held ready. Not thread-safe. */
public final class TorchFunction implements AutoCloseable {
    private final Model model;
    private final NDManager manager;
    private final Predictor<NDList, NDList> predictor;
    private final int threads;

    /**
     * @param forward TorchScript, see {@link TorchScript#archive}
     * @param threads threads libtorch may use within an operator
     */
    public TorchFunction(String forward, int threads) throws IOException {
        this.threads = threads;
        System.setProperty("ai.djl.offline", "true");
        System.setProperty("ai.djl.pytorch.num_threads", Integer.toString(threads));
        System.setProperty("ai.djl.pytorch.num_interop_threads", "1");
        Engine engine = Engine.getEngine("PyTorch");
        model = engine.newModel("m", ai.djl.Device.cpu());
        try {
            model.load(TorchScript.archive(forward));
        } catch (ai.djl.MalformedModelException malformed) {
            throw new IOException(malformed);
        }
        manager = engine.newBaseManager(ai.djl.Device.cpu());
        predictor = model.newPredictor(new NoopTranslator());
    }

    /** A tensor of this function's manager. */
    public NDArray tensor(float[] values, long... shape) {
        return manager.create(values, new Shape(shape));
    }

    /** A tensor of this function's manager. */
    public NDArray tensor(long[] values, long... shape) {
        return manager.create(values, new Shape(shape));
    }

    /** A tensor of this function's manager, in f32 or bf16. */
    public NDArray tensor(DType dtype, float[] values, long... shape) throws IOException {
        NDArray wide = tensor(values, shape);
        if (dtype == DType.F32) {
            return wide;
        }
        if (dtype != DType.BF16) {
            throw new IllegalArgumentException("expected F32 or BF16, got " + dtype);
        }
        try (TorchFunction narrow = new TorchFunction("x: Tensor) -> Tensor:\n    return torch.to(x, 15)\n", threads)) {
            NDArray result = narrow.run(new NDList(wide)).get(0);
            result.attach(manager);
            return result;
        }
    }

    /** Runs the function; its first result, whatever its dtype. */
    public float[] floats(NDList inputs) throws IOException {
        try (TorchFunction widen = new TorchFunction("x: Tensor) -> Tensor:\n    return torch.to(x, 6)\n", threads);
                NDList out = run(inputs);
                NDList wide = widen.run(new NDList(out.get(0)))) {
            return wide.get(0).toFloatArray();
        }
    }

    /** A tensor of unsigned bytes of this function's manager. */
    public NDArray bytes(ByteBuffer values, long... shape) {
        return manager.create(values, new Shape(shape), DataType.UINT8);
    }

    /** Runs the function. The caller closes the result. */
    public NDList run(NDList inputs) {
        try {
            return predictor.predict(inputs);
        } catch (TranslateException failed) {
            throw new IllegalStateException(failed);
        }
    }

    @Override
    public void close() {
        predictor.close();
        manager.close();
        model.close();
    }
}
