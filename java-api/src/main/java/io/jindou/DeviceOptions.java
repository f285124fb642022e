package io.jindou;

/**
 * How a device is opened.
 *
 * @param numThreads cpu, simt: threads that run kernels; 0: one a core that the process may use
 * @param memoryLimitBytes allocations past this many live bytes fail; 0: no limit
 * @param simtSeed simt: order in which emulated threads run; 0: in order
 * @param lateStreams simt: the work of a stream waits until something asks for it: a synchronisation, a read or write of host memory other than
 *     {@link HostMemory}, or another stream or the host waiting for an {@link Event} behind it. A test of code that uses several
 *     streams: what relies on an order that nothing establishes fails, as it may on a GPU. {@link Device#synchronize()} is unsupported then
 */
public record DeviceOptions(int numThreads, long memoryLimitBytes, long simtSeed, boolean lateStreams) {
    /** All cores, no limit. */
    public static final DeviceOptions DEFAULT = new DeviceOptions(0, 0, 0);

    /**
     * Options of streams that run as soon as they can.
     *
     * @param numThreads cpu, simt: threads that run kernels; 0: one a core that the process may use
     * @param memoryLimitBytes allocations past this many live bytes fail; 0: no limit
     * @param simtSeed simt: order in which emulated threads run; 0: in order
     */
    public DeviceOptions(int numThreads, long memoryLimitBytes, long simtSeed) {
        this(numThreads, memoryLimitBytes, simtSeed, false);
    }

    /**
     * The same with another number of threads.
     *
     * @param value threads; 0: one a core
     * @return the options
     */
    public DeviceOptions withNumThreads(int value) {
        return new DeviceOptions(value, memoryLimitBytes, simtSeed, lateStreams);
    }

    /**
     * The same with another memory limit.
     *
     * @param value bytes; 0: no limit
     * @return the options
     */
    public DeviceOptions withMemoryLimitBytes(long value) {
        return new DeviceOptions(numThreads, value, simtSeed, lateStreams);
    }

    /**
     * The same with another order of emulated threads.
     *
     * @param value seed; 0: in order
     * @return the options
     */
    public DeviceOptions withSimtSeed(long value) {
        return new DeviceOptions(numThreads, memoryLimitBytes, value, lateStreams);
    }

    /**
     * The same with streams that run late, or do not.
     *
     * @param value whether their work waits until something asks for it
     * @return the options
     */
    public DeviceOptions withLateStreams(boolean value) {
        return new DeviceOptions(numThreads, memoryLimitBytes, simtSeed, value);
    }
}
