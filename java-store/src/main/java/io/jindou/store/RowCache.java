package io.jindou.store;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HashTable;
import io.jindou.HashTableDesc;
import io.jindou.HashTableResults;
import io.jindou.HostMemory;
import io.jindou.KeyOutcome;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.function.LongPredicate;

/**
 * A cache of rows in the memory of a device, with a stream and the memory that updates need: an update whose rows are on disk must not
 * fail here for want of memory. One thread at a time: {@link #find}, which waits for the device, then {@link #erase} and {@link #replace}, which
 * only enqueue, then {@link #synchronize}.
 */
final class RowCache implements AutoCloseable {
    final HashTable table;
    final Stream stream;
    private final Tensor keys;
    private final Tensor outcomes;
    private final Tensor rows;
    private final HostMemory memory; // two times keys, then rows: what is enqueued is copied from here
    private final long part;
    private final long rowBytes;
    private long[] cached; // what find was asked for, -1 where it was not there; null: nothing was

    RowCache(Device device, TieredTableDesc desc, long capacity) {
        HashTable table = null;
        Stream stream = null;
        Tensor keys = null, outcomes = null, rows = null;
        HostMemory memory = null;
        rowBytes = desc.rowBytes();
        part = 8L * desc.maxKeys();
        try {
            table = HashTable.create(device, HashTableDesc.of(desc.dtype(), desc.dim(), capacity).withEviction(desc.eviction()));
            stream = Stream.create(device);
            keys = Tensor.create(device, DType.I64, desc.maxKeys());
            outcomes = Tensor.create(device, DType.I32, desc.maxKeys());
            rows = Tensor.create(device, desc.dtype(), desc.maxKeys(), desc.dim());
            memory = HostMemory.create(device, 2 * part + rowBytes * desc.maxKeys());
        } catch (RuntimeException | Error e) {
            closeAll(table, keys, outcomes, rows, stream, memory);
            throw e;
        }
        this.table = table;
        this.stream = stream;
        this.keys = keys;
        this.outcomes = outcomes;
        this.rows = rows;
        this.memory = memory;
    }

    /** Learns which keys are cached, and keeps their new rows for {@link #replace}. */
    void find(long[] those, MemorySegment newRows) {
        int n = those.length;
        try (Tensor given = upload(those, 0); Tensor found = outcomes.slice(0, 0, n)) {
            table.lookup(stream, given, null, null, new HashTableResults(null, found, null));
            int[] each = found.readInts(stream);
            cached = null;
            for (int i = 0; i < n; i++) {
                if (each[i] != KeyOutcome.MISSING.ordinal()) {
                    if (cached == null) {
                        cached = new long[n];
                        Arrays.fill(cached, -1); // which an insertion leaves out
                    }
                    cached[i] = those[i];
                }
            }
        }
        if (cached != null) {
            MemorySegment.copy(newRows, 0, memory.segment(), 2 * part, n * rowBytes);
        }
    }

    /** Gives the keys that were found their new rows; but for those that are out of question, and others stay out. */
    void replace(LongPredicate outOfQuestion) {
        if (cached == null) {
            return;
        }
        long[] those = Arrays.stream(cached).map(key -> outOfQuestion.test(key) ? -1 : key).toArray();
        try (Tensor given = upload(those, 0); Tensor values = rows.slice(0, 0, those.length)) {
            values.writeFrom(stream, memory, 2 * part);
            table.insert(stream, given, values);
        }
    }

    void erase(long[] those) {
        try (Tensor given = upload(those, part)) {
            table.erase(stream, given);
        }
    }

    private Tensor upload(long[] those, long through) {
        MemorySegment.copy(those, 0, memory.segment(), ValueLayout.JAVA_LONG, through, those.length);
        Tensor given = keys.slice(0, 0, those.length);
        given.writeFrom(stream, memory, through);
        return given;
    }

    void synchronize() {
        stream.synchronize();
    }

    void clear() {
        table.clear(stream);
        stream.synchronize();
    }

    @Override
    public void close() {
        closeAll(table, keys, outcomes, rows, stream, memory);
    }

    /** Of the keys that insertions say were evicted, -1 where none was, how many there are. */
    static int countEvicted(MemorySegment keys, int count) {
        int evicted = 0;
        for (int i = 0; i < count; i++) {
            evicted += keys.getAtIndex(ValueLayout.JAVA_LONG, i) == -1 ? 0 : 1;
        }
        return evicted;
    }

    /** Null is left out. */
    static void closeAll(AutoCloseable... objects) {
        for (AutoCloseable object : objects) {
            try {
                if (object != null) {
                    object.close();
                }
            } catch (Exception e) {
                throw new IllegalStateException(e); // none of them throws
            }
        }
    }
}
