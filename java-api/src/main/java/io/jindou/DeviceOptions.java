package io.jindou;

/**
 * How a device is opened.
 *
 * @param numThreads cpu, simt: threads that run kernels; 0: one a core that the process may use
 * @param memoryLimitBytes allocations past this many live bytes fail; 0: no limit
 * @param simtSeed simt: order in which emulated threads run; 0: in order
 */
public record DeviceOptions(int numThreads, long memoryLimitBytes, long simtSeed) {
    /** All cores, no limit. */
    public static final DeviceOptions DEFAULT = new DeviceOptions(0, 0, 0);

    /**
     * The same with another number of threads.
     *
     * @param value threads; 0: one a core
     * @return the options
     */
    public DeviceOptions withNumThreads(int value) {
        return new DeviceOptions(value, memoryLimitBytes, simtSeed);
    }

    /**
     * The same with another memory limit.
     *
     * @param value bytes; 0: no limit
     * @return the options
     */
    public DeviceOptions withMemoryLimitBytes(long value) {
        return new DeviceOptions(numThreads, value, simtSeed);
    }

    /**
     * The same with another order of emulated threads.
     *
     * @param value seed; 0: in order
     * @return the options
     */
    public DeviceOptions withSimtSeed(long value) {
        return new DeviceOptions(numThreads, memoryLimitBytes, value);
    }
}
