package io.jindou;

import io.jindou.bindings.JindouAbi;
import java.lang.ref.Reference;

/**
 * Recorded work of a stream that is enqueued again as a whole, on {@code cuda} at the cost of a single launch.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="graph"}
 *
 * <p>A graph runs with the tensors that were given when it was recorded; new inputs are written into them. It may be launched
 * from any thread.
 */
public final class Graph extends NativeObject {
    private final Device device;

    Graph(Device device, long handle) {
        super(handle, JindouAbi::jd_graph_destroy);
        this.device = device;
    }

    /**
     * Records what a piece of code enqueues on a stream.
     *
     * @param stream the stream
     * @param work enqueues operators, copies and fills on that stream
     * @return the graph, to be closed
     */
    public static Graph capture(Stream stream, Runnable work) {
        java.util.Objects.requireNonNull(work, "work");
        if (stream == null) {
            throw missing("stream");
        }
        stream.beginCapture();
        try {
            work.run();
        } catch (RuntimeException | Error e) {
            try {
                stream.endCapture().close();
            } catch (RuntimeException suppressed) {
                e.addSuppressed(suppressed);
            }
            throw e;
        }
        return stream.endCapture();
    }

    /**
     * The device of the graph.
     *
     * @return the device
     */
    public Device device() {
        return device;
    }

    /**
     * Enqueues the recorded work.
     *
     * @param stream a stream of the same device
     */
    public void launch(Stream stream) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_graph_launch(handle, handle(stream, "stream"), call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
        }
    }

    @Override
    public String toString() {
        return "Graph[" + device.name() + "]";
    }
}
