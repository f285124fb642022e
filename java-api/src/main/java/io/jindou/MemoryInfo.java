package io.jindou;

/**
 * Memory held through one device: tensors that Jindou allocated and the scratch memory of plans.
 *
 * @param usedBytes now
 * @param peakBytes the most since the device was opened
 * @param limitBytes what {@link DeviceOptions#memoryLimitBytes()} allows; 0: no limit
 */
public record MemoryInfo(long usedBytes, long peakBytes, long limitBytes) {}
