package io.jindou;

/** A well-formed request that no kernel of this device answers. The message says what is supported. */
public final class UnsupportedException extends UnsupportedOperationException implements JindouFailure {
    private static final long serialVersionUID = 1L;

    UnsupportedException(String message) {
        super(message);
    }

    @Override
    public Status status() {
        return Status.UNSUPPORTED;
    }
}
