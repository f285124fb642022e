package io.jindou;

/**
 * Device or host memory is exhausted, or the limit of {@link DeviceOptions#memoryLimitBytes()} is reached. Nothing was changed:
 * after closing something else the same call may succeed.
 */
public final class OutOfDeviceMemoryException extends JindouException {
    private static final long serialVersionUID = 1L;

    OutOfDeviceMemoryException(String message) {
        super(Status.OUT_OF_MEMORY, 0, message);
    }
}
