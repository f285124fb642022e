package io.jindou.store;

import io.jindou.Bounds;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.Event;
import io.jindou.HashTable;
import io.jindou.HashTableDesc;
import io.jindou.HostMemory;
import io.jindou.MissingKeys;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;

/**
 * The memory of one call under way, kept for the next call: tensors for its keys and for the rows that were missing, host memory that they are
 * copied from and to, and the stream of these copies. A call on a device with memory of its own leaves copies under way when it returns;
 * {@link #settle} waits for them.
 */
final class Workspace implements AutoCloseable {
    private static final int ALIGNMENT = 64;

    private final List<AutoCloseable> owned = new ArrayList<>();

    /** Whatever concerns missing rows, beside the work of the caller's stream. */
    final Stream copies;

    final Prefix keys;
    final Prefix outcomes;
    final Prefix evicted;
    final Prefix fetchedKeys;
    final Prefix fetchedRows;
    /**
     * The rows that this call fetched, by their numbers: a second lookup in it completes the first. It has all numbers from the beginning and
     * keeps them, so that no row is ever refused for want of a place. Null where the device's rows are written to directly.
     */
    final HashTable fetched;
    /** All numbers: 0, 1, 2... Null where {@link #fetched} is. */
    final Prefix numbers;
    /** For each key of the call the number of its row, or -1. Null where {@link #fetched} is. */
    final Prefix numbersAsked;
    /** Host memory for fetched rows; on the cpu device it is that of {@link #fetchedRows}. */
    final Staging rows;
    /** For the cache in host memory; null without one. */
    final Stream hostStream;

    private final Prefix hostKeys;

    final Prefix hostFound;
    final Prefix hostRows;
    final MemorySegment outcomesOfHost;
    private final MemorySegment keysOfHost;

    /** Of keys in a call: room for as many as there may be, for who goes through {@link #outcomes}. */
    final int[] positions;

    private final int[] outcomesInJava;
    private final Staging askedKeys;
    private final Staging seenOutcomes;
    private final Staging numbersForResult;
    private final Staging keysForCache;
    private final Staging seenEvicted;
    private final boolean inHost;
    private final Event looked;
    private final Event copied;
    private int inserted; // keys whose evictions are not counted yet

    /** inHost: the device's rows are written to directly; host: where the cache in host memory is, null: there is none. */
    Workspace(Device device, boolean inHost, Device host, TieredTableDesc desc) {
        this.inHost = inHost;
        int most = desc.maxKeys();
        positions = new int[most];
        outcomesInJava = new int[most];
        long rowBytes = desc.rowBytes();
        try {
            copies = own(Stream.create(device));
            looked = own(Event.create(device));
            copied = own(Event.create(device));
            rows = Staging.of(own(HostMemory.create(device, most * rowBytes)), 0, most * rowBytes);
            keys = prefix(Tensor.create(device, DType.I64, most));
            outcomes = prefix(Tensor.create(device, DType.I32, most));
            evicted = prefix(Tensor.create(device, DType.I64, most));
            fetchedKeys = prefix(Tensor.create(device, DType.I64, most));
            fetchedRows = prefix(
                    inHost
                            ? Tensor.wrap(device, rows.segment, desc.dtype(), most, desc.dim())
                            : Tensor.create(device, desc.dtype(), most, desc.dim()));
            numbers = inHost ? null : prefix(Tensor.of(copies, LongStream.range(0, most).toArray(), most));
            numbersAsked = inHost ? null : prefix(Tensor.create(device, DType.I64, most));
            fetched = inHost ? null : own(byNumber(device, desc));
            long part = (8L * most + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            HostMemory memory = inHost ? null : own(HostMemory.create(device, 5 * part));
            askedKeys = inHost ? Staging.itself(keys.all) : Staging.of(memory, 0, part);
            numbersForResult = inHost ? null : Staging.of(memory, part, part);
            keysForCache = inHost ? Staging.itself(fetchedKeys.all) : Staging.of(memory, 2 * part, part);
            seenOutcomes = inHost ? Staging.itself(outcomes.all) : Staging.of(memory, 3 * part, part);
            seenEvicted = inHost ? Staging.itself(evicted.all) : Staging.of(memory, 4 * part, part);
            hostStream = host == null ? null : own(Stream.create(host));
            hostKeys = host == null ? null : prefix(Tensor.create(host, DType.I64, most));
            hostFound = host == null ? null : prefix(Tensor.create(host, DType.I32, most));
            hostRows = host == null ? null : prefix(Tensor.wrap(host, rows.segment, desc.dtype(), most, desc.dim()));
            keysOfHost = host == null ? null : hostKeys.all.hostMemory();
            outcomesOfHost = host == null ? null : hostFound.all.hostMemory();
        } catch (RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    /** A table that holds all numbers. One that is half full has room for two buckets a key, but for bad luck: then twice as large. */
    private HashTable byNumber(Device device, TieredTableDesc desc) {
        int most = desc.maxKeys();
        for (long capacity = 2L * most; ; capacity *= 2) {
            HashTableDesc shape = HashTableDesc.of(desc.dtype(), desc.dim(), capacity);
            HashTable table = HashTable.create(device, shape.withMissing(MissingKeys.KEEP).withBounds(Bounds.ZERO));
            try {
                table.insert(copies, numbers.all, fetchedRows.all);
                if (table.size(copies) == most) {
                    return table;
                }
            } catch (RuntimeException | Error e) {
                table.close();
                throw e;
            }
            table.close();
        }
    }

    /** A part of host memory, or the memory of a tensor that lies in it. */
    record Staging(HostMemory memory, long offset, MemorySegment segment) {
        private static Staging of(HostMemory memory, long offset, long bytes) {
            return new Staging(memory, offset, memory.segment().asSlice(offset, bytes));
        }

        private static Staging itself(Tensor tensor) {
            return new Staging(null, 0, tensor.hostMemory());
        }
    }

    /** The keys of the call, on the device. */
    Tensor ask(Stream stream, long[] those) {
        return write(stream, keys.first(those.length), those, askedKeys);
    }

    /** For each key of the call the number of its row, or -1, on the device. */
    Tensor forResult(long[] those) {
        return write(copies, numbersAsked.first(those.length), those, numbersForResult);
    }

    /** The keys of fetched rows, on the device, for the cache. */
    Tensor forCache(long[] those) {
        return write(copies, fetchedKeys.first(those.length), those, keysForCache);
    }

    private Tensor write(Stream stream, Tensor target, long[] those, Staging through) {
        MemorySegment.copy(those, 0, through.segment, ValueLayout.JAVA_LONG, 0, those.length);
        if (!inHost) {
            target.writeFrom(stream, through.memory, through.offset);
        }
        return target;
    }

    /** The keys of the call that the cache in host memory is asked for. */
    Tensor askHost(long[] those) {
        MemorySegment.copy(those, 0, keysOfHost, ValueLayout.JAVA_LONG, 0, those.length);
        return hostKeys.first(those.length);
    }

    /** The rows at the front of {@link #rows}, on the device. */
    Tensor rows(int count) {
        Tensor target = fetchedRows.first(count);
        if (!inHost) {
            target.writeFrom(copies, rows.memory, rows.offset);
        }
        return target;
    }

    /** The lookup of hits is enqueued on the stream: what is enqueued on {@link #copies} from now on comes after it. */
    void looked(Stream stream) {
        if (!inHost) {
            looked.record(stream);
            looked.holdBack(copies);
        }
    }

    /** Waits for the lookup of hits, and for nothing that was enqueued on its stream later; gives what became of the keys. */
    int[] outcomes(int count) {
        if (!inHost) {
            outcomes.first(count).readInto(copies, seenOutcomes.memory, seenOutcomes.offset);
            copies.synchronize();
        }
        MemorySegment.copy(seenOutcomes.segment, ValueLayout.JAVA_INT, 0, outcomesInJava, 0, count);
        return outcomesInJava;
    }

    /** The insertion into the cache is enqueued. */
    void inserted(int count, Tensor evictedKeys) {
        if (!inHost) {
            evictedKeys.readInto(copies, seenEvicted.memory, seenEvicted.offset);
            copied.record(copies);
        }
        inserted = count;
    }

    /** What is enqueued on a stream from now on comes after all that this call has enqueued. */
    void holdBack(Stream stream) {
        if (inserted > 0) {
            copied.holdBack(stream);
        }
    }

    /** Waits for what the call left under way, and gives the number of rows that it evicted; the workspace may serve another. */
    int settle() {
        if (inserted == 0) {
            return 0;
        }
        copies.synchronize();
        int count = RowCache.countEvicted(seenEvicted.segment, inserted);
        inserted = 0;
        return count;
    }

    private Prefix prefix(Tensor all) {
        return own(new Prefix(all));
    }

    private <T extends AutoCloseable> T own(T object) {
        owned.add(object);
        return object;
    }

    /** Waits for what is under way. */
    @Override
    public void close() {
        for (AutoCloseable object : owned) {
            try {
                object.close();
            } catch (Exception e) {
                throw new IllegalStateException(e); // none of them throws
            }
        }
        owned.clear();
    }

    /** The first elements of a tensor, or rows; the last such view is kept, because the next call often asks for as many. */
    static final class Prefix implements AutoCloseable {
        final Tensor all;
        private Tensor last;

        private Prefix(Tensor all) {
            this.all = all;
        }

        Tensor first(int n) {
            if (n == all.dim(0)) {
                return all;
            }
            if (last == null || last.dim(0) != n) {
                if (last != null) {
                    last.close();
                }
                last = all.slice(0, 0, n);
            }
            return last;
        }

        @Override
        public void close() {
            if (last != null) {
                last.close();
            }
            all.close();
        }
    }
}
