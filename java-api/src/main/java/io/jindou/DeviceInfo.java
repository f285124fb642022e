package io.jindou;

/**
 * What a device is.
 *
 * @param backend {@code "cpu"}, {@code "cuda"} or {@code "simt"}
 * @param ordinal n of {@code "cuda:n"}; 0 elsewhere
 * @param name the product's name
 * @param isa cpu: the SIMD level chosen at run time, for example {@code "avx2"}; empty elsewhere
 * @param numThreads cpu, simt: threads that run kernels; cuda: multiprocessors
 * @param computeCapability cuda: 10 * major + minor; 0 elsewhere
 * @param totalMemoryBytes physical memory of the device
 * @param hostMemory whether the host may read and write the device's tensors directly
 * @param driverVersion cuda: as {@code cudaDriverGetVersion}; 0 elsewhere
 */
public record DeviceInfo(
        String backend,
        int ordinal,
        String name,
        String isa,
        int numThreads,
        int computeCapability,
        long totalMemoryBytes,
        boolean hostMemory,
        int driverVersion) {}
