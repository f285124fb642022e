package io.jindou;

/**
 * What every exception of a failed native call has in common.
 *
 * <p>Mistakes of the caller keep the types that Java has for them: {@link InvalidArgumentException} is an
 * {@link IllegalArgumentException}, {@link ClosedException} an {@link IllegalStateException}, {@link UnsupportedException} an
 * {@link UnsupportedOperationException}. Everything else is a {@link JindouException}. All are unchecked, and all messages
 * name the argument, what was expected and what came.
 */
public sealed interface JindouFailure
        permits JindouException, InvalidArgumentException, ClosedException, UnsupportedException {

    /**
     * Why the call failed.
     *
     * @return the status that the native library returned
     */
    Status status();

    /**
     * What went wrong.
     *
     * @return the message of the native library
     */
    String getMessage();
}
