package io.jindou.examples;

import java.io.IOException;

/** A failure with a message for whoever started the program: it is found by its class among all that Flink wraps around it. */
final class EmbedLogException extends IOException {
    private static final long serialVersionUID = 1L;

    EmbedLogException(String message) {
        super(message);
    }

    EmbedLogException(String message, Throwable cause) {
        super(message, cause);
    }
}
