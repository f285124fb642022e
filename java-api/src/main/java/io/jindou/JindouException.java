package io.jindou;

/** A failure that is no mistake of the caller: the driver's, the machine's, the data's, or a bug in Jindou. */
public sealed class JindouException extends RuntimeException implements JindouFailure
        permits DeviceUnavailableException, OutOfDeviceMemoryException, OutOfPagesException, OutOfBoundsException {
    private static final long serialVersionUID = 1L;

    /** Why the call failed. */
    private final Status status;
    /** The driver's error code, or 0. */
    private final int backendCode;

    JindouException(Status status, int backendCode, String message) {
        super(message);
        this.status = status;
        this.backendCode = backendCode;
    }

    @Override
    public final Status status() {
        return status;
    }

    /**
     * The driver's own error code, when {@link #status()} is {@link Status#BACKEND_ERROR}.
     *
     * @return for example a {@code cudaError_t}, or 0
     */
    public final int backendCode() {
        return backendCode;
    }
}
