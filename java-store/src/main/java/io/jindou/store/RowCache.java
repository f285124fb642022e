package io.jindou.store;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HashTable;
import io.jindou.HashTableDesc;
import io.jindou.HashTableResults;
import io.jindou.KeyOutcome;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.lang.foreign.MemorySegment;

/**
 * A cache of rows in the memory of a device, with a stream and the memory that updates need: an update whose rows are on disk must not
 * fail here for want of memory. {@link #replace}, {@link #erase} and {@link #clear} are called by one thread at a time and return when
 * the device is done.
 */
final class RowCache implements AutoCloseable {
    final HashTable table;
    final Stream stream;
    private final Tensor keys;
    private final Tensor outcomes;
    private final Tensor rows;

    RowCache(Device device, TieredTableDesc desc, long capacity) {
        HashTable table = null;
        Stream stream = null;
        Tensor keys = null, outcomes = null, rows = null;
        try {
            table = HashTable.create(device, HashTableDesc.of(desc.dtype(), desc.dim(), capacity).withEviction(desc.eviction()));
            stream = Stream.create(device);
            keys = Tensor.create(device, DType.I64, desc.maxKeys());
            outcomes = Tensor.create(device, DType.I32, desc.maxKeys());
            rows = Tensor.create(device, desc.dtype(), desc.maxKeys(), desc.dim());
        } catch (RuntimeException | Error e) {
            closeAll(table, keys, outcomes, rows, stream);
            throw e;
        }
        this.table = table;
        this.stream = stream;
        this.keys = keys;
        this.outcomes = outcomes;
        this.rows = rows;
    }

    /** Keys that are cached get their new row; others stay out. */
    void replace(long[] those, MemorySegment newRows) {
        int n = those.length;
        try (Tensor given = keys.slice(0, 0, n); Tensor found = outcomes.slice(0, 0, n)) {
            given.write(stream, those);
            table.lookup(stream, given, null, null, new HashTableResults(null, found, null));
            int[] each = found.readInts(stream);
            long[] cached = those.clone();
            boolean any = false;
            for (int i = 0; i < n; i++) {
                if (each[i] == KeyOutcome.MISSING.ordinal()) {
                    cached[i] = -1; // which an insertion leaves out
                } else {
                    any = true;
                }
            }
            if (any) {
                try (Tensor values = rows.slice(0, 0, n)) {
                    given.write(stream, cached);
                    values.write(stream, newRows);
                    table.insert(stream, given, values);
                    stream.synchronize();
                }
            }
        }
    }

    void erase(long[] those) {
        try (Tensor given = keys.slice(0, 0, those.length)) {
            given.write(stream, those);
            table.erase(stream, given);
            stream.synchronize();
        }
    }

    void clear() {
        table.clear(stream);
        stream.synchronize();
    }

    @Override
    public void close() {
        closeAll(table, keys, outcomes, rows, stream);
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
