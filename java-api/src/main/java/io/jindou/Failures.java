package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_error;
import java.lang.foreign.MemorySegment;

/** Turns a {@code jd_error} into the exception that stands for it. */
final class Failures {
    private Failures() {}

    static RuntimeException of(MemorySegment error) {
        Status status = Status.of(jd_error.status(error));
        String message = jd_error.message(error).getString(0);
        return switch (status) {
            case INVALID_ARGUMENT, INVALID_HANDLE -> new InvalidArgumentException(status, message);
            case CLOSED -> new ClosedException(message);
            case UNSUPPORTED -> new UnsupportedException(message);
            case NO_DEVICE -> new DeviceUnavailableException(message);
            case OUT_OF_MEMORY -> new OutOfDeviceMemoryException(message);
            case OUT_OF_BOUNDS -> new OutOfBoundsException(
                    message, jd_error.table(error), jd_error.position(error), jd_error.value(error));
            case BACKEND_ERROR, INTERNAL -> new JindouException(status, jd_error.backend_code(error), message);
        };
    }

    /**
     * What the bindings caught in a call that was given memory of the user's: that its arena is closed, or belongs to another
     * thread. They wrap everything in an AssertionError.
     */
    static RuntimeException ofCall(AssertionError e) {
        if (e.getCause() instanceof RuntimeException cause) {
            return cause;
        }
        throw e;
    }

    static boolean isClosed(int status) {
        return status == JindouAbi.JD_CLOSED();
    }
}
