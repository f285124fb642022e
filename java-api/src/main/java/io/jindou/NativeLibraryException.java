package io.jindou;

/** The native library could not be loaded. The message lists every place that was tried and why it failed. */
public final class NativeLibraryException extends DeviceUnavailableException {
    private static final long serialVersionUID = 1L;

    NativeLibraryException(String message) {
        super(message);
    }
}
