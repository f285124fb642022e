package io.jindou;

import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * Readers beside each other, a writer alone, for work that is enqueued on streams: a writer's stream waits for what readers enqueued
 * on others, and readers' streams for the last writer. Enqueuing a read and a write never overlap either.
 *
 * <p>On a device whose calls are done when they return there is nothing to wait for but the call itself.
 */
final class StreamOrder implements AutoCloseable {
    private final Device device;
    private final boolean asynchronous;
    private final ReadWriteLock lock = new ReentrantReadWriteLock();
    private final Map<Stream, Event> reads = new IdentityHashMap<>(); // guarded by itself; read by a writer alone
    private final List<Event> events = new ArrayList<>(); // guarded by `reads`
    private Event lastWrite; // written by a writer alone
    private Stream lastWriter;

    StreamOrder(Device device) {
        this.device = device;
        this.asynchronous = !device.info().hostMemory();
    }

    void read(Stream stream, Runnable enqueue) {
        lock.readLock().lock();
        try {
            if (asynchronous && lastWrite != null && lastWriter != stream) {
                lastWrite.holdBack(stream);
            }
            enqueue.run();
            if (asynchronous) {
                synchronized (reads) {
                    reads.computeIfAbsent(stream, s -> event()).record(stream);
                }
            }
        } finally {
            lock.readLock().unlock();
        }
    }

    void write(Stream stream, Runnable enqueue) {
        lock.writeLock().lock();
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
            enqueue.run();
            if (asynchronous) {
                reads.clear();
                lastWrite = lastWrite == null ? event() : lastWrite;
                lastWrite.record(stream);
                lastWriter = stream;
            }
        } finally {
            lock.writeLock().unlock();
        }
    }

    private Event event() {
        Event event = Event.create(device);
        synchronized (reads) {
            events.add(event);
        }
        return event;
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
