package io.jindou;

import io.jindou.bindings.JindouAbi;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Reference;

/**
 * Host memory that a device copies from and to beside other work, {@link Tensor#writeFrom} and {@link Tensor#readInto}: page-locked on cuda, plain
 * memory on cpu and simt.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="host-memory"}
 *
 * <p>Such a copy is work of its stream like any other. Until the stream is synchronised, or an {@link Event} recorded behind the copy has
 * happened, what it reads must stay as it is, and what it writes must not be looked at. Locking pages takes time: allocate once.
 */
public final class HostMemory extends NativeObject {
    private final Device device;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment segment;

    private HostMemory(Device device, long handle, long address, long bytes) {
        super(handle, JindouAbi::jd_host_memory_destroy);
        this.device = device;
        // The segment knows of this object, so that neither is released while the other is in use.
        this.segment = MemorySegment.ofAddress(address).reinterpret(bytes, arena, unused -> Reference.reachabilityFence(this));
    }

    /**
     * Allocates memory; its contents are undefined. It is not counted as memory of the device.
     *
     * @param device the device that copies
     * @param bytes how much, 0 or more
     * @return the memory, to be closed
     * @throws OutOfDeviceMemoryException when the system has not so much
     */
    public static HostMemory create(Device device, long bytes) {
        Call call = Call.begin();
        try {
            MemorySegment data = call.result.asSlice(8, 8);
            call.check(JindouAbi.jd_host_memory_create(handle(device, "device"), bytes, call.result, data, call.error));
            return new HostMemory(device, call.resultLong(), data.get(ValueLayout.JAVA_LONG, 0), bytes);
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    /**
     * The device that copies.
     *
     * @return the device
     */
    public Device device() {
        return device;
    }

    /**
     * The memory, aligned to 64 bytes. Access to it after {@link #close()} is an {@link IllegalStateException}.
     *
     * @return all of it
     */
    public MemorySegment segment() {
        return segment;
    }

    /** Releases the memory, when the copies enqueued so far are done. Closing it again does nothing. */
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
        super.close();
    }

    @Override
    public String toString() {
        return "HostMemory[" + segment.byteSize() + " bytes, " + device.name() + "]";
    }
}
