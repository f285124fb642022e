package io.jindou;

/** No such device, or none that can be used. The message gives the reason of every device that was considered. */
public sealed class DeviceUnavailableException extends JindouException permits NativeLibraryException {
    private static final long serialVersionUID = 1L;

    DeviceUnavailableException(String message) {
        super(Status.NO_DEVICE, 0, message);
    }
}
