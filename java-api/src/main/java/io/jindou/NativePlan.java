package io.jindou;

import io.jindou.bindings.JindouAbi;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/** What the plans of all operators share. */
abstract class NativePlan extends NativeObject {
    private static final int DESCRIPTION_BYTES = 1024;

    private final Device device;

    NativePlan(Device device, long handle) {
        super(handle, JindouAbi::jd_plan_destroy);
        this.device = device;
    }

    /**
     * The device that the plan was made for.
     *
     * @return the device
     */
    public final Device device() {
        return device;
    }

    /**
     * Device memory that the plan holds.
     *
     * @return bytes of scratch and metadata
     */
    public final long memoryBytes() {
        Call call = Call.begin();
        try {
            call.check(JindouAbi.jd_plan_memory(handle, call.result, call.error));
            return call.resultLong();
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    /**
     * What the plan has chosen.
     *
     * @return one line: operator, device, kernel, tile sizes
     */
    public final String describe() {
        Call call = Call.begin();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocate(DESCRIPTION_BYTES);
            call.check(JindouAbi.jd_plan_describe(handle, text, DESCRIPTION_BYTES, call.error));
            return text.getString(0);
        } finally {
            call.end();
            Reference.reachabilityFence(this);
        }
    }

    @Override
    public final String toString() {
        return isClosed() ? getClass().getSimpleName() + "[closed]" : describe();
    }
}
