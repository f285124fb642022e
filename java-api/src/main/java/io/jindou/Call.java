package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_error;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * The native memory of one call: the error struct, a params struct, results and a shape. Taken from a pool and given back,
 * so that calls allocate nothing.
 *
 * <p>The pool is a fixed array of slots. A call takes whatever it finds by a single exchange and puts it back into a free slot;
 * where it finds nothing it makes a new one, and where there is no room the garbage collector has it. There is no
 * {@link ThreadLocal}: virtual threads come in any number, but only as many calls are under way as there are carrier threads.
 */
final class Call {
    /** Enough for every params, desc and info struct of the ABI. */
    private static final long PARAMS_BYTES = 512;

    private static final int SLOTS = slots();
    private static final AtomicReferenceArray<Call> POOL = new AtomicReferenceArray<>(SLOTS);

    /** The call's {@code jd_error}. */
    final MemorySegment error;
    /** The call's params, desc or info struct. */
    final MemorySegment params;
    /** Where the call writes a handle or number. */
    final MemorySegment result;
    /** {@code JD_MAX_RANK} dimensions. */
    final MemorySegment shape;
    /** {@code JD_MAX_RANK} strides. */
    final MemorySegment strides;

    private Call() {
        // An automatic arena: its segments cost no reference counting in a call, and nobody needs to close it.
        Arena arena = Arena.ofAuto();
        error = arena.allocate(jd_error.layout());
        jd_error.struct_size(error, (int) jd_error.sizeof());
        params = arena.allocate(PARAMS_BYTES, 16);
        result = arena.allocate(16, 16);
        shape = arena.allocate(ValueLayout.JAVA_LONG, JindouAbi.JD_MAX_RANK());
        strides = arena.allocate(ValueLayout.JAVA_LONG, JindouAbi.JD_MAX_RANK());
    }

    private static int slots() {
        int wanted = Math.max(64, 4 * Runtime.getRuntime().availableProcessors());
        return Integer.highestOneBit(wanted - 1) << 1;
    }

    /** Begins a call; {@link #end} must follow. */
    static Call begin() {
        Natives.require();
        int start = start();
        for (int i = 0; i < SLOTS; i++) {
            int slot = (start + i) & (SLOTS - 1);
            if (POOL.getPlain(slot) != null) {
                Call call = POOL.getAndSet(slot, null);
                if (call != null) {
                    return call;
                }
            }
        }
        return new Call();
    }

    void end() {
        int start = start();
        for (int i = 0; i < SLOTS; i++) {
            int slot = (start + i) & (SLOTS - 1);
            if (POOL.getPlain(slot) == null && POOL.compareAndSet(slot, null, this)) {
                return;
            }
        }
    }

    private static int start() {
        return (int) Thread.currentThread().threadId();
    }

    /** The params memory, zeroed, for a struct of {@code size} bytes. */
    MemorySegment cleared(long size) {
        return params.asSlice(0, size).fill((byte) 0);
    }

    /** Throws what the native library reported, unless it reported success. */
    void check(int status) {
        if (status != 0) {
            throw Failures.of(error);
        }
    }

    long resultLong() {
        return result.get(ValueLayout.JAVA_LONG, 0);
    }

    int resultInt() {
        return result.get(ValueLayout.JAVA_INT, 0);
    }

    double resultDouble() {
        return result.get(ValueLayout.JAVA_DOUBLE, 0);
    }
}
