package io.jindou;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * Readers beside each other, a writer alone, for work that is enqueued on streams: a writer's stream waits for what readers enqueued
 * on others, and readers' streams for the last writer. Enqueuing a read and a write never overlap either.
 *
 * <p>On a device whose calls are done when they return there is nothing to wait for but the call itself.
 */
final class StreamOrder implements AutoCloseable {
    private static final long SPIN_NANOS = 50_000;

    private final Device device;
    private final boolean asynchronous;
    private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
    private final Map<Stream, Event> reads = new IdentityHashMap<>(); // guarded by itself; read by a writer alone
    private final List<Event> events = new ArrayList<>(); // all of them; guarded by `reads`
    private final ArrayDeque<Event> idle = new ArrayDeque<>(); // those that nothing waits for any more; guarded by `reads`
    private Event lastWrite; // written by a writer alone
    private Stream lastWriter;

    StreamOrder(Device device) {
        this.device = device;
        this.asynchronous = !device.info().hostMemory();
    }

    /**
     * Enqueues what reads.
     *
     * @throws InvalidArgumentException when the stream is capturing; nothing is enqueued then
     */
    void read(Stream stream, Runnable enqueue) {
        expectNotCapturing(stream);
        lock(lock.readLock());
        try {
            if (asynchronous && lastWrite != null && lastWriter != stream) {
                lastWrite.holdBack(stream);
            }
            run(stream, enqueue, false);
        } finally {
            lock.readLock().unlock();
        }
    }

    /**
     * Enqueues what writes.
     *
     * @throws InvalidArgumentException when the stream is capturing; nothing is enqueued then
     */
    void write(Stream stream, Runnable enqueue) {
        expectNotCapturing(stream);
        lock(lock.writeLock());
        writeLocked(stream, enqueue);
    }

    /**
     * Enqueues what writes, unless another thread is just enqueuing what reads or writes; on a device whose calls are done when they return
     * that means: unless one of them is under way.
     *
     * @return whether it was enqueued
     * @throws InvalidArgumentException as {@link #write}
     */
    boolean tryWrite(Stream stream, Runnable enqueue) {
        expectNotCapturing(stream);
        if (!lock.writeLock().tryLock()) {
            return false;
        }
        writeLocked(stream, enqueue);
        return true;
    }

    /**
     * Looks a while before it sleeps: waking up takes longer than most calls. Who sleeps already is not overtaken, so that readers who
     * come and go keep no writer away.
     */
    private void lock(Lock either) {
        if (!lock.hasQueuedThreads() && either.tryLock()) {
            return;
        }
        long until = System.nanoTime() + SPIN_NANOS;
        while (!lock.hasQueuedThreads() && System.nanoTime() < until) {
            if (either.tryLock()) {
                return;
            }
            Thread.onSpinWait();
        }
        either.lock();
    }

    /** Unlocks it. */
    private void writeLocked(Stream stream, Runnable enqueue) {
        try {
            if (asynchronous) {
                reads.forEach((reader, event) -> {
                    if (reader != stream) {
                        event.holdBack(stream);
                    }
                });
                if (lastWrite != null && lastWriter != stream) {
                    lastWrite.holdBack(stream);
                }
            }
            run(stream, enqueue, true);
        } finally {
            lock.writeLock().unlock();
        }
    }

    /** A graph would repeat the work later, beside whatever then reads and writes: on every device it is refused. */
    private static void expectNotCapturing(Stream stream) {
        if (stream != null && stream.isCapturing()) {
            throw new InvalidArgumentException("argument 'stream': is capturing: expected one that runs what is enqueued, since a graph would "
                    + "repeat the call out of the order of readers and writers");
        }
    }

    /** Work that fails may have enqueued some of itself: later calls wait for that as well. */
    private void run(Stream stream, Runnable enqueue, boolean writes) {
        try {
            enqueue.run();
        } catch (RuntimeException | Error e) {
            try {
                record(stream, writes);
            } catch (RuntimeException also) { // for example that the stream is closed, as the work said
                e.addSuppressed(also);
            }
            throw e;
        }
        record(stream, writes);
    }

    private void record(Stream stream, boolean writes) {
        if (asynchronous && writes) {
            recordWrite(stream);
        } else if (asynchronous) {
            recordRead(stream);
        }
    }

    private void recordRead(Stream stream) {
        synchronized (reads) {
            Event known = reads.get(stream);
            Event event = known == null ? readEvent() : known;
            boolean recorded = false;
            try {
                event.record(stream);
                recorded = true;
            } finally {
                if (known == null && !recorded) {
                    idle.add(event);
                }
            }
            reads.put(stream, event);
        }
    }

    private void recordWrite(Stream stream) {
        if (lastWrite == null) {
            lastWrite = event(); // until it is recorded nothing waits for it
        }
        lastWrite.record(stream);
        lastWriter = stream;
        idle.addAll(reads.values()); // who waits for one has its point in the stream already, wherever it is recorded next
        reads.clear();
    }

    /** For a stream that has not read since the last write. */
    private Event readEvent() {
        if (idle.isEmpty()) {
            // Streams that came, read and went since then are done, as a rule, and need no event.
            reads.entrySet().removeIf(each -> {
                boolean gone = each.getKey().isClosed() && each.getValue().isDone();
                if (gone) {
                    idle.add(each.getValue());
                }
                return gone;
            });
        }
        return idle.isEmpty() ? event() : idle.pop();
    }

    private Event event() {
        Event event = Event.create(device);
        synchronized (reads) {
            events.add(event);
        }
        return event;
    }

    /** Native events made so far: as many as streams ever read between two writes. */
    int events() {
        synchronized (reads) {
            return events.size();
        }
    }

    @Override
    public void close() {
        lock.writeLock().lock();
        try {
            events.forEach(Event::close);
        } finally {
            lock.writeLock().unlock();
        }
    }
}
