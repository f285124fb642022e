package io.jindou;

/**
 * An argument that breaks a documented rule: its dtype, rank, shape, strides, alignment or value; or an object of another device.
 * The message names the argument, what was expected and what came. Nothing was enqueued.
 */
public final class InvalidArgumentException extends IllegalArgumentException implements JindouFailure {
    private static final long serialVersionUID = 1L;

    /** Why the call failed. */
    private final Status status;

    InvalidArgumentException(Status status, String message) {
        super(message);
        this.status = status;
    }

    /**
     * For modules beside this one.
     *
     * @param message names the argument, what was expected and what came
     */
    public InvalidArgumentException(String message) {
        this(Status.INVALID_ARGUMENT, message);
    }

    @Override
    public Status status() {
        return status;
    }
}
