package io.jindou;

import io.jindou.bindings.JindouAbi;
import java.lang.ref.Reference;

/**
 * The order of work on a device. Operators enqueue on a stream and return; work of one stream runs in the order of the calls.
 *
 * <p>On {@code cpu} and {@code simt} a stream runs its work in the calling thread, with the device's threads, before the call
 * returns; on {@code cuda} it is a {@code cudaStream_t}. Every method may be called from any thread.
 */
public final class Stream extends NativeObject {
    private final Device device;
    private volatile boolean capturing;

    private Stream(Device device, long handle) {
        super(handle, JindouAbi::jd_stream_destroy);
        this.device = device;
    }

    /**
     * A new stream.
     *
     * @param device its device
     * @return the stream, to be closed; closing waits for its work
     */
    public static Stream create(Device device) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_stream_create(handle(device, "device"), call.result, call.error));
            return new Stream(device, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    /**
     * Wraps a {@code cudaStream_t} that others own, so that Jindou's work is ordered with theirs.
     *
     * @param device a cuda device
     * @param cudaStream the {@code cudaStream_t}; 0 is CUDA's default stream
     * @return the stream, to be closed; the {@code cudaStream_t} stays
     * @throws UnsupportedException on other devices
     */
    public static Stream wrap(Device device, long cudaStream) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_stream_wrap(
                    handle(device, "device"), java.lang.foreign.MemorySegment.ofAddress(cudaStream), call.result, call.error));
            return new Stream(device, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    /**
     * The device of the stream.
     *
     * @return the device
     */
    public Device device() {
        return device;
    }

    /**
     * Blocks until all work enqueued so far is done.
     *
     * @throws OutOfBoundsException when, since the last synchronisation, an operator under {@link Bounds#STRICT} met a bad id,
     *     offset or length: it names the first. The stream is then usable again.
     */
    public void synchronize() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_stream_synchronize(handle, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Synchronises, then gives and clears the number of ids and sequences that operators under {@link Bounds#ZERO} skipped.
     *
     * @return how many since the last call
     */
    public long takeSkipped() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_stream_take_skipped(handle, call.result, call.error));
            return call.resultLong();
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * The {@code cudaStream_t} of a cuda stream, for libraries that enqueue on it.
     *
     * @return its address; 0 on other devices
     */
    public long address() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_stream_native(handle, call.result, call.error));
            return call.resultLong();
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * From now on operators, copies and fills enqueued on this stream are recorded, not run, until {@link #endCapture()}. To
     * synchronise, read or write a capturing stream is an {@link InvalidArgumentException}.
     */
    public void beginCapture() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_stream_begin_capture(handle, call.error));
            capturing = true;
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Ends the recording.
     *
     * @return what was recorded, to be closed; it keeps the tensors and plans that it uses alive
     */
    public Graph endCapture() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_stream_end_capture(handle, call.result, call.error));
            return new Graph(device, call.resultLong());
        } finally {
            capturing = false; // whatever happened, the capture is over
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Whether work enqueued on this stream is recorded: from {@link #beginCapture()} to {@link #endCapture()}. Of a capture that others
     * began on a {@linkplain #wrap wrapped} stream Jindou knows nothing.
     *
     * @return true while it is
     */
    public boolean isCapturing() {
        return capturing;
    }

    @Override
    public String toString() {
        return "Stream[" + device.name() + "]";
    }
}
