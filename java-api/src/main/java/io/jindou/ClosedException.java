package io.jindou;

/** A closed object was used, or an object of a closed device. */
public final class ClosedException extends IllegalStateException implements JindouFailure {
    private static final long serialVersionUID = 1L;

    ClosedException(String message) {
        super(message);
    }

    @Override
    public Status status() {
        return Status.CLOSED;
    }
}
