package io.jindou.store;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Threads that read beside their callers, so many at a time; what comes beyond waits for its turn. A reading gives up
 * its turn before its caller learns that it is done: what the caller does then on the same thread, more readings that
 * it waits for or {@link #close}, stands in nobody's way.
 *
 * <p>What was promised is done, however long the queue. A guess has its turn when no promise waits; the oldest of too
 * many is dropped, since its moment has passed, and so are all that have not begun when these are closed.
 */
final class Fetchers implements AutoCloseable {
    /** They wait for a disk or a device more than they compute. */
    static final int TURNS = Math.max(8, 2 * Runtime.getRuntime().availableProcessors());

    /** Platform threads: reading from disk and waiting for a device hold the carrier of a virtual one. */
    private final ExecutorService threads =
            Executors.newCachedThreadPool(Thread.ofPlatform().daemon().name("jindou-tiers-", 0).factory());

    private final int mostGuesses;
    private final Queue<Task> promises = new ArrayDeque<>(), guesses = new ArrayDeque<>(); // that wait
    private int running;
    private boolean closed;

    interface Reading {
        void run() throws IOException;
    }

    private record Task(Reading reading, CompletableFuture<Void> answer) {}

    /** mostGuesses: that wait at a time. */
    Fetchers(int mostGuesses) {
        this.mostGuesses = mostGuesses;
    }

    /** Null once these are closed. */
    CompletableFuture<Void> promise(Reading reading) {
        return submit(reading, promises);
    }

    /** One that may be dropped: the answer is then cancelled. To cancel it before it has begun drops it too. Null once these are closed. */
    CompletableFuture<Void> guess(Reading reading) {
        return submit(reading, guesses);
    }

    private CompletableFuture<Void> submit(Reading reading, Queue<Task> kind) {
        Task task = new Task(reading, new CompletableFuture<>()), tooOld = null;
        boolean waits;
        synchronized (this) {
            if (closed) {
                return null;
            }
            waits = running == TURNS;
            if (waits) {
                if (guesses.size() >= mostGuesses) {
                    guesses.removeIf(each -> each.answer.isDone()); // cancelled by who asked
                }
                kind.add(task);
                tooOld = guesses.size() > mostGuesses ? guesses.poll() : null;
            } else {
                running++;
            }
        }
        if (tooOld != null) {
            drop(tooOld, "a prefetch was dropped before it began: more than " + mostGuesses + " wait");
        }
        if (waits) {
            return task.answer;
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
        Task next = promises.poll();
        while (next == null && !guesses.isEmpty()) {
            Task guess = guesses.poll();
            next = guess.answer.isDone() ? null : guess; // cancelled by who asked for it
        }
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

    /** What is chained to it runs on no caller's thread, unless no other can be had. */
    private void drop(Task guess, String why) {
        Runnable tell = () -> guess.answer.completeExceptionally(new CancellationException(why));
        try {
            threads.execute(tell);
        } catch (RuntimeException | Error e) {
            tell.run();
        }
    }

    /** Waits for what was promised and for guesses that have begun, not for what callers do when they learn of it. */
    @Override
    public void close() {
        List<Task> dropped;
        synchronized (this) {
            closed = true;
            dropped = List.copyOf(guesses);
            guesses.clear();
        }
        dropped.forEach(each -> drop(each, "a prefetch was dropped before it began: the table is closed"));
        boolean interrupted = false;
        synchronized (this) {
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
