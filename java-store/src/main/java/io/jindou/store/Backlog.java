package io.jindou.store;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.HashTable;
import io.jindou.HashTableResults;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Fetched rows on their way into a cache that the host looks up in. An insertion into it has to wait until nobody looks up any more, and
 * then others wait for it. So rows are put off while others look up, and go in together with those of a later call that finds the cache free, or
 * when there is no room for more. Lookups of several threads would else spend more time on waiting than on rows.
 *
 * <p>Rows that are put off are found here meanwhile, so that nobody reads them from the disk again, and stay right: an update takes its keys out when it
 * begins. All methods but {@link #isEmpty} are called under {@link UpdateLog#caches}.
 */
final class Backlog implements AutoCloseable {
    /** The tests play a crowd. */
    boolean crowded;

    private final HashTable table;
    private final long rowBytes;
    private final Stream stream;
    private final Tensor keys;
    private final Tensor rows;
    private final Tensor evicted;
    private final MemorySegment keysInHost;
    private final MemorySegment rowsInHost;
    private final MemorySegment evictedInHost;
    private final int room;
    /** Of each key the number of its row + 1, from its {@link #home} on; 0: no key. Null: nobody searches. */
    private final int[] places;

    private volatile int count;

    /** searched: whether {@link #find} is asked. */
    Backlog(Device device, TieredTableDesc desc, HashTable table, boolean searched) {
        this.table = table;
        room = desc.maxKeys();
        places = searched ? new int[Integer.highestOneBit(room) << 2] : null;
        rowBytes = desc.rowBytes();
        Stream on = null;
        Tensor first = null, second = null, third = null;
        try {
            on = Stream.create(device);
            first = Tensor.create(device, DType.I64, room);
            second = Tensor.create(device, desc.dtype(), room, desc.dim());
            third = Tensor.create(device, DType.I64, room);
        } catch (RuntimeException | Error e) {
            RowCache.closeAll(on, first, second, third);
            throw e;
        }
        stream = on;
        keys = first;
        rows = second;
        evicted = third;
        keysInHost = keys.hostMemory();
        rowsInHost = rows.hostMemory();
        evictedInHost = evicted.hostMemory();
    }

    /**
     * Puts rows into the cache, now or later.
     *
     * @param on the stream of the insertion
     * @param given the keys, -1 for those that are left out
     * @param values their rows, in host memory
     * @param gone written, when the answer is true: the evicted keys
     * @param more how many there are; behind them is nothing but -1
     * @return whether they are there now
     */
    boolean put(Stream on, Tensor given, Tensor values, Tensor gone, int more) {
        HashTableResults results = new HashTableResults(null, null, gone);
        if (!crowded && table.tryInsert(on, given, values, results)) {
            return true;
        }
        if (more <= room - count) {
            putOff(given.hostMemory(), values.hostMemory(), more);
            return false;
        }
        table.insert(on, given, values, null, results);
        return true;
    }

    private void putOff(MemorySegment given, MemorySegment values, int more) {
        int n = count;
        for (int i = 0; i < more; i++) {
            long key = given.getAtIndex(ValueLayout.JAVA_LONG, i);
            int place = key == -1 || places == null ? -1 : place(key);
            if (key == -1 || place >= 0 && places[place] != 0) {
                continue; // left out, or there
            }
            keysInHost.setAtIndex(ValueLayout.JAVA_LONG, n, key);
            MemorySegment.copy(values, i * rowBytes, rowsInHost, n * rowBytes, rowBytes);
            n++;
            if (place >= 0) {
                places[place] = n;
            }
        }
        count = n;
    }

    /** Where the number of the key's row is, or would be. */
    private int place(long key) {
        int at = home(key);
        while (places[at] != 0 && keysInHost.getAtIndex(ValueLayout.JAVA_LONG, places[at] - 1) != key) {
            at = at + 1 & places.length - 1; // half of the places are free at least
        }
        return at;
    }

    private int home(long key) {
        return (int) (key * 0x9E3779B97F4A7C15L >>> 32) & places.length - 1;
    }

    /** The row of a key in {@link #rows}, or -1. */
    int find(long key) {
        return places[place(key)] - 1;
    }

    /** Rows, by what {@link #find} gives. */
    MemorySegment rows() {
        return rowsInHost;
    }

    /** The rows that were put off go into the cache, if it is free or they are many; gives how many it evicted for them. */
    int work() {
        if (count == 0) {
            return 0;
        }
        try (Tensor given = keys.slice(0, 0, count); Tensor values = rows.slice(0, 0, count); Tensor gone = evicted.slice(0, 0, count)) {
            HashTableResults results = new HashTableResults(null, null, gone);
            if (count > room / 2) {
                table.insert(stream, given, values, null, results);
            } else if (!table.tryInsert(stream, given, values, results)) {
                return 0;
            }
        }
        int replaced = RowCache.countEvicted(evictedInHost, count);
        clear();
        return replaced;
    }

    /** These keys get other rows. */
    void takeOut(long[] updated) {
        if (count == 0) {
            return;
        }
        long[] sorted = updated.clone();
        Arrays.sort(sorted);
        for (int row = 0; row < count; row++) {
            if (Arrays.binarySearch(sorted, keysInHost.getAtIndex(ValueLayout.JAVA_LONG, row)) >= 0) {
                keysInHost.setAtIndex(ValueLayout.JAVA_LONG, row, -1); // who looks for another key goes on over its place
            }
        }
    }

    void clear() {
        count = 0;
        if (places != null) {
            Arrays.fill(places, 0);
        }
    }

    /** Without the lock: what comes just now may be missed. */
    boolean isEmpty() {
        return count == 0;
    }

    /** Rows that wait. */
    int size() {
        return count;
    }

    @Override
    public void close() {
        RowCache.closeAll(keys, rows, evicted, stream);
    }
}
