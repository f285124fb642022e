package io.jindou.store;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Threads that read beside their callers, so many at a time; what comes beyond waits for its turn. A reading gives up
 * its turn before its caller learns that it is done: what the caller does then on the same thread, more readings that
 * it waits for or {@link #close}, stands in nobody's way.
 */
final class Fetchers implements AutoCloseable {
    /** They wait for a disk or a device more than they compute. */
    private static final int TURNS = Math.max(8, 2 * Runtime.getRuntime().availableProcessors());

    /** Platform threads: reading from disk and waiting for a device hold the carrier of a virtual one. */
    private final ExecutorService threads =
            Executors.newCachedThreadPool(Thread.ofPlatform().daemon().name("jindou-tiers-", 0).factory());

    private final Queue<Task> waiting = new ArrayDeque<>();
    private int running;
    private boolean closed;

    interface Reading {
        void run() throws IOException;
    }

    private record Task(Reading reading, CompletableFuture<Void> answer) {}

    /** Null once these are closed. */
    CompletableFuture<Void> submit(Reading reading) {
        Task task = new Task(reading, new CompletableFuture<>());
        synchronized (this) {
            if (closed) {
                return null;
            }
            if (running == TURNS) {
                waiting.add(task);
                return task.answer;
            }
            running++;
        }
        try {
            threads.execute(() -> run(task));
        } catch (RuntimeException | Error e) { // no thread to be had
            Task other = next();
            if (other != null) {
                run(other);
            }
            throw e;
        }
        return task.answer;
    }

    private void run(Task first) {
        for (Task task = first; task != null; ) {
            Throwable failure = null;
            try {
                task.reading.run();
            } catch (IOException e) {
                failure = new UncheckedIOException(e);
            } catch (RuntimeException | Error e) {
                failure = e;
            }
            Task next = elsewhere(next());
            if (failure == null) {
                task.answer.complete(null);
            } else {
                task.answer.completeExceptionally(failure);
            }
            task = next;
        }
    }

    /** Whose turn it is now; null: nobody waits. */
    private synchronized Task next() {
        Task next = waiting.poll();
        if (next == null) {
            running--;
            notifyAll();
        }
        return next;
    }

    /** On a thread of its own; gives it back where none can be had. */
    private Task elsewhere(Task task) {
        if (task == null) {
            return null;
        }
        try {
            threads.execute(() -> run(task));
            return null;
        } catch (RuntimeException | Error e) {
            return task;
        }
    }

    /** Waits for what was submitted, not for what callers do when they learn of it. */
    @Override
    public void close() {
        boolean interrupted = false;
        synchronized (this) {
            closed = true;
            while (running > 0) {
                try {
                    wait();
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
        }
        threads.shutdown();
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
