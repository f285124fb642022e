package io.jindou.examples;

import java.util.ArrayDeque;
import java.util.Deque;

/** Closes what it was given, last first. Not thread-safe. */
final class Scope implements AutoCloseable {
    private final Deque<AutoCloseable> kept = new ArrayDeque<>();

    <T extends AutoCloseable> T keep(T resource) {
        kept.push(resource);
        return resource;
    }

    @Override
    public void close() {
        RuntimeException failure = null;
        while (!kept.isEmpty()) {
            try {
                kept.pop().close();
            } catch (Exception failed) {
                if (failure == null) {
                    failure = new IllegalStateException("cannot close", failed);
                } else {
                    failure.addSuppressed(failed);
                }
            }
        }
        if (failure != null) {
            throw failure;
        }
    }
}
