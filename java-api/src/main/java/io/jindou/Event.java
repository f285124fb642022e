package io.jindou;

import io.jindou.bindings.JindouAbi;
import java.lang.ref.Reference;

/** A point in the work of a stream, to wait for or to measure time between. Every method may be called from any thread. */
public final class Event extends NativeObject {
    private final Device device;

    private Event(Device device, long handle) {
        super(handle, JindouAbi::jd_event_destroy);
        this.device = device;
    }

    /**
     * A new event, not yet recorded.
     *
     * @param device its device
     * @return the event, to be closed
     */
    public static Event create(Device device) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_event_create(handle(device, "device"), call.result, call.error));
            return new Event(device, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    /**
     * The device of the event.
     *
     * @return the device
     */
    public Device device() {
        return device;
    }

    /**
     * Marks the end of what is now enqueued on a stream.
     *
     * @param stream a stream of the same device
     */
    public void record(Stream stream) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_event_record(handle, handle(stream, "stream"), call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
        }
    }

    /**
     * Lets what is enqueued on a stream from now on wait for this event. Does not block the caller.
     *
     * @param stream a stream of the same device
     */
    public void holdBack(Stream stream) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_event_wait(handle, handle(stream, "stream"), call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
        }
    }

    /** Blocks until the event has happened. One that was never recorded counts as happened. */
    public void synchronize() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_event_synchronize(handle, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Whether the event has happened. Does not block.
     *
     * @return true when it has
     */
    public boolean isDone() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_event_query(handle, call.result, call.error));
            return call.resultInt() != 0;
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * The time from this event to a later one. Blocks until both have happened.
     *
     * @param end another recorded event of the same device
     * @return milliseconds
     */
    public double millisUntil(Event end) {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_event_elapsed(handle, handle(end, "end"), call.result, call.error));
            return call.resultDouble();
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(end);
        }
    }

    @Override
    public String toString() {
        return "Event[" + device.name() + "]";
    }
}
