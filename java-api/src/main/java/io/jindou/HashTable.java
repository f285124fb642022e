package io.jindou;

import io.jindou.bindings.JindouAbi;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;

/**
 * Rows of an embedding table by 64-bit keys, on a device: lookup, insert or assign, erase, export ({@code jindou/hash_table.h}).
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="hash-table"}
 *
 * <p>A lookup reads little more than one cache line before the row at any load factor up to 0.95. With an {@link Eviction} the table is
 * a cache: a new key takes the place of the worst of the sixteen it competes with. Results and the table itself depend on the order of
 * calls alone, not on the device, the number of threads or how a call was split. The key -1 is reserved: never found, and left
 * out by insertions.
 *
 * <p>All methods may be called from any thread and with any streams of the device. Lookups run beside each other; an insertion,
 * erasure or {@link #clear} waits for the lookups enqueued before it and holds back those after it, on whatever streams. That order is made
 * call by call, so a {@linkplain Stream#isCapturing() capturing} stream is an {@link InvalidArgumentException} on every device, before
 * anything is recorded; operators over {@link #rows()} may be captured.
 *
 * <p>{@link ShardedKeys} spreads keys over tables of several devices or hosts.
 *
 * <p>Bucketed cuckoo hashing: Erlingsson, Manasse, McSherry 2006. Hash tables for recommendation: HierarchicalKV; Monolith, arXiv
 * 2209.07663.
 */
public final class HashTable implements AutoCloseable {
    private final Device device;
    private final HashTableDesc desc;
    private final List<NativeObject> owned = new ArrayList<>();
    private final HashCall lookup;
    private final HashCall insert;
    private final HashCall erase;
    private final HashCall.State state;
    private final long slots;
    private final StreamOrder order;
    /** The time of LRU: the number of the call. */
    private final AtomicLong tick = new AtomicLong();

    private HashTable(Device device, HashTableDesc desc) {
        this.device = device;
        this.desc = desc;
        try {
            lookup = own(HashCall.plan(device, desc, HashCall.Operator.LOOKUP));
            insert = own(HashCall.plan(device, desc, HashCall.Operator.INSERT));
            erase = own(HashCall.plan(device, desc, HashCall.Operator.ERASE));
            slots = JindouAbi.jd_hash_table_slots(desc.capacity());
            if (slots == 0) {
                throw new InvalidArgumentException("argument 'capacity': expected 1.." + (1L << 40) + ", got " + desc.capacity());
            }
            long buckets = JindouAbi.jd_hash_table_buckets(slots, 0, MemorySegment.NULL, MemorySegment.NULL);
            state = new HashCall.State(
                    own(Tensor.create(device, DType.I64, buckets, slots / buckets)),
                    own(Tensor.create(device, desc.dtype(), slots, desc.dim())),
                    desc.eviction() == Eviction.NONE ? null : own(Tensor.create(device, DType.I64, slots)),
                    desc.admission() == 1 ? null : own(Tensor.create(device, DType.U8, slots)),
                    own(Tensor.create(device, DType.I64, 1)));
            order = new StreamOrder(device);
            try (Stream stream = Stream.create(device)) {
                clear(stream);
                stream.synchronize();
            }
        } catch (RuntimeException | Error e) {
            closeOwned();
            throw e;
        }
    }

    /**
     * An empty table.
     *
     * @param device where it lies
     * @param desc its shape and rules
     * @return the table, to be closed
     * @throws InvalidArgumentException when the description breaks a rule; the message names the field
     * @throws OutOfDeviceMemoryException when the device has no room
     */
    public static HashTable create(Device device, HashTableDesc desc) {
        Objects.requireNonNull(desc, "desc");
        if (device == null) {
            throw NativeObject.missing("device");
        }
        return new HashTable(device, desc);
    }

    /**
     * The shape and the rules of the table.
     *
     * @return the description it was made from
     */
    public HashTableDesc desc() {
        return desc;
    }

    /**
     * The device that the table lies on.
     *
     * @return the device
     */
    public Device device() {
        return device;
    }

    /**
     * Places for keys: {@link HashTableDesc#capacity()} / 0.95 and 16 more, from about 31,000 keys on / 0.925; for up to 15 keys 16.
     *
     * @return the number of rows of {@link #rows()}
     */
    public long slots() {
        return slots;
    }

    /**
     * The rows, by slot, for operators over plain tables: {@link EmbeddingBag} with the slots of a lookup as ids and -1 as
     * padding id gives bags over keys.
     *
     * <p>What reads or writes them through this tensor is outside the order of readers and writers that the table keeps: it is
     * the caller's to have it run between the lookup that gave the slots and the next insertion, erasure or {@link #clear}, on one stream
     * or with events.
     *
     * @return {@code [slots, dim]}; closed with the table
     */
    public Tensor rows() {
        return state.rows();
    }

    /**
     * Enqueues a lookup.
     *
     * @param stream orders it
     * @param keys {@code [n]} {@link DType#I64}
     * @param rows {@code [n, dim]}, written
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the table, the stream or a tensor is closed
     */
    public void lookup(Stream stream, Tensor keys, Tensor rows) {
        lookup(stream, keys, rows, null, HashTableResults.NONE);
    }

    /**
     * Enqueues a lookup.
     *
     * @param stream orders it
     * @param keys {@code [n]} {@link DType#I64}
     * @param rows {@code [n, dim]}, written; or null
     * @param defaultRow {@code [dim]}, for missing keys under {@link MissingKeys#DEFAULT}; else null
     * @param results what else is written
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the table, the stream or a tensor is closed
     */
    public void lookup(Stream stream, Tensor keys, Tensor rows, Tensor defaultRow, HashTableResults results) {
        Objects.requireNonNull(results, "results");
        order.read(stream, () -> lookup.run(stream, state, tick.incrementAndGet(), keys, rows, null, defaultRow, results));
    }

    /**
     * Enqueues an insertion: keys that are there get the new row. Of equal keys the last one's row stays.
     *
     * @param stream orders it
     * @param keys {@code [n]} {@link DType#I64}
     * @param rows {@code [n, dim]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the table, the stream or a tensor is closed
     */
    public void insert(Stream stream, Tensor keys, Tensor rows) {
        insert(stream, keys, rows, null, HashTableResults.NONE);
    }

    /**
     * Enqueues an insertion.
     *
     * @param stream orders it
     * @param keys {@code [n]} {@link DType#I64}
     * @param rows {@code [n, dim]}
     * @param scores {@code [n]} {@link DType#I64} under {@link Eviction#SCORE}; else null
     * @param results what else is written
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the table, the stream or a tensor is closed
     */
    public void insert(Stream stream, Tensor keys, Tensor rows, Tensor scores, HashTableResults results) {
        Objects.requireNonNull(results, "results");
        if (rows == null) {
            throw NativeObject.missing("rows");
        }
        order.write(stream, () -> insert.run(stream, state, tick.incrementAndGet(), keys, rows, scores, null, results));
    }

    /**
     * Enqueues an insertion unless another thread's call on this table is under way: for a cache, where a row that is not kept costs less than
     * waiting. On a device with memory of its own a call is under way while it is enqueued, on cpu until it is done.
     *
     * @param stream orders it
     * @param keys {@code [n]} {@link DType#I64}
     * @param rows {@code [n, dim]}
     * @param results what else is written, if it is enqueued
     * @return whether it was enqueued; if not, nothing has happened
     * @throws InvalidArgumentException as {@link #insert(Stream, Tensor, Tensor, Tensor, HashTableResults)}
     * @throws ClosedException when the table, the stream or a tensor is closed
     */
    public boolean tryInsert(Stream stream, Tensor keys, Tensor rows, HashTableResults results) {
        Objects.requireNonNull(results, "results");
        if (rows == null) {
            throw NativeObject.missing("rows");
        }
        return order.tryWrite(stream, () -> insert.run(stream, state, tick.incrementAndGet(), keys, rows, null, null, results));
    }

    /**
     * Enqueues an erasure; keys that are not there are left out.
     *
     * @param stream orders it
     * @param keys {@code [n]} {@link DType#I64}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the table, the stream or a tensor is closed
     */
    public void erase(Stream stream, Tensor keys) {
        erase(stream, keys, HashTableResults.NONE);
    }

    /**
     * Enqueues an erasure.
     *
     * @param stream orders it
     * @param keys {@code [n]} {@link DType#I64}
     * @param results what is written
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the table, the stream or a tensor is closed
     */
    public void erase(Stream stream, Tensor keys, HashTableResults results) {
        Objects.requireNonNull(results, "results");
        order.write(stream, () -> erase.run(stream, state, tick.incrementAndGet(), keys, null, null, null, results));
    }

    /**
     * Enqueues the erasure of everything, counts of sights included.
     *
     * @param stream orders it
     */
    public void clear(Stream stream) {
        order.write(stream, () -> empty(stream));
    }

    private void empty(Stream stream) {
        state.keys().fill(stream, 0xff);
        state.size().fill(stream, 0);
        if (state.scores() != null) {
            state.scores().fill(stream, 0);
        }
        if (state.sights() != null) {
            state.sights().fill(stream, 0);
        }
    }

    /**
     * Waits for the stream and counts.
     *
     * @param stream orders the count
     * @return keys in the table
     */
    public long size(Stream stream) {
        long[] size = new long[1];
        order.read(stream, () -> size[0] = state.size().readLongs(stream)[0]);
        return size[0];
    }

    /**
     * Waits for the stream and copies the table to memory of the caller, places and counts included, so that {@link #restore} brings back a
     * table that goes on as this one does: it evicts and admits the same keys. It counts as no lookup.
     *
     * @param stream orders the copy
     * @param arena owns the copy, which has the size of the table
     * @return the state of the table
     */
    public HashTableSnapshot snapshot(Stream stream, Arena arena) {
        Objects.requireNonNull(arena, "arena");
        HashTableSnapshot[] result = new HashTableSnapshot[1];
        order.read(stream, () -> result[0] = new HashTableSnapshot(
                desc,
                copied(stream, arena, state.keys()),
                copied(stream, arena, state.rows()),
                copied(stream, arena, state.scores()),
                copied(stream, arena, state.sights()),
                state.size().readLongs(stream)[0],
                tick.get()));
        return result[0];
    }

    private static MemorySegment copied(Stream stream, Arena arena, Tensor tensor) {
        if (tensor == null) {
            return MemorySegment.NULL;
        }
        MemorySegment copy = arena.allocate(tensor.sizeBytes(), 16);
        tensor.read(stream, copy);
        return copy;
    }

    /**
     * Enqueues putting the table into the state of a snapshot, of a table on any device and of any size; what it held is gone.
     *
     * <p>A table with as many slots as the snapshot's goes on exactly as that one. One of another size has its keys and rows, with the
     * scores that they had, so that it evicts in the same order of worth. Keys compete for their sixteen places there as they do at an insertion:
     * of those that find none free the ones with the higher scores stay. In a table that is too small these are many, and in a larger one,
     * half full, about one in a thousand; a table that evicts nothing moves keys as {@link #insert} does and so has room for all up to its capacity. Its
     * admission starts anew, since sights are counted by size.
     *
     * <p>The snapshot is looked through first, since it may come from a file: the sizes of its parts, that every key lies where it may,
     * once, as many of them as it says, and that ticks and counts are none that could overflow. Should the device fail on the way, the table is empty, or holds some of the keys with their rows.
     *
     * @param stream orders it
     * @param snapshot of a table of one dtype, dim and eviction; where it counted no sights, admission starts anew
     * @throws InvalidArgumentException when the snapshot is of another kind of table, or its parts contradict each other; the message names
     *     the part, and nothing has changed
     */
    public void restore(Stream stream, HashTableSnapshot snapshot) {
        HashTableDesc from = Objects.requireNonNull(snapshot, "snapshot").desc();
        if (from.dtype() != desc.dtype() || from.dim() != desc.dim() || from.eviction() != desc.eviction()) {
            throw new InvalidArgumentException("argument 'snapshot': expected one of a table of rows of " + desc.dim() + " " + desc.dtype()
                    + " and eviction " + desc.eviction() + ", got " + from);
        }
        long fromSlots = snapshot.check();
        if (fromSlots == slots) {
            order.write(stream, () -> copyBack(stream, snapshot));
        } else {
            try (Mover mover = new Mover(fromSlots)) {
                order.write(stream, () -> {
                    empty(stream);
                    mover.insert(stream, snapshot);
                    tick.accumulateAndGet(snapshot.tick(), Math::max);
                });
            }
        }
    }

    /** Keys come last: until then there is none that could find another's row. */
    private void copyBack(Stream stream, HashTableSnapshot snapshot) {
        empty(stream);
        state.rows().write(stream, snapshot.rows());
        if (state.scores() != null) {
            state.scores().write(stream, snapshot.scores());
        }
        if (state.sights() != null && snapshot.sights().byteSize() > 0) {
            state.sights().write(stream, snapshot.sights());
        }
        state.keys().write(stream, snapshot.keys());
        state.size().write(stream, new long[] {snapshot.size()});
        tick.accumulateAndGet(snapshot.tick(), Math::max); // ticks of LRU rise from call to call
    }

    /**
     * Puts the slots of a snapshot into a table of another size, part by part: an insertion by score, whatever the table evicts by, writes the
     * scores that it is given. Empty slots hold the key -1, which an insertion leaves out.
     */
    private final class Mover implements AutoCloseable {
        private static final int SLOTS = 1 << 15;

        private final long from;
        private final List<NativeObject> mine = new ArrayList<>();
        private final HashCall put;
        private final Tensor keys;
        private final Tensor rows;
        private final Tensor scores;
        private final HashCall.State table =
                new HashCall.State(state.keys(), state.rows(), state.scores(), null, state.size());

        private Mover(long from) {
            this.from = from;
            long most = Math.min(SLOTS, from);
            try {
                Eviction by = desc.eviction() == Eviction.NONE ? Eviction.NONE : Eviction.SCORE;
                put = mine(HashCall.plan(device, desc.withEviction(by).withAdmission(1), HashCall.Operator.INSERT));
                keys = mine(Tensor.create(device, DType.I64, most));
                rows = mine(Tensor.create(device, desc.dtype(), most, desc.dim()));
                scores = by == Eviction.NONE ? null : mine(Tensor.create(device, DType.I64, most));
            } catch (RuntimeException | Error e) {
                close();
                throw e;
            }
        }

        private void insert(Stream stream, HashTableSnapshot snapshot) {
            for (long first = 0; first < from; first += SLOTS) {
                long count = Math.min(SLOTS, from - first);
                try (Tensor someKeys = keys.slice(0, 0, count);
                        Tensor someRows = rows.slice(0, 0, count);
                        Tensor someScores = scores == null ? null : scores.slice(0, 0, count)) {
                    someKeys.write(stream, part(snapshot.keys(), first, count));
                    someRows.write(stream, part(snapshot.rows(), first, count));
                    if (someScores != null) {
                        someScores.write(stream, part(snapshot.scores(), first, count));
                    }
                    put.run(stream, table, 0, someKeys, someRows, someScores, null, HashTableResults.NONE);
                }
            }
        }

        private MemorySegment part(MemorySegment ofSlots, long first, long count) {
            long bytes = ofSlots.byteSize() / from;
            return ofSlots.asSlice(first * bytes, count * bytes);
        }

        private <T extends NativeObject> T mine(T object) {
            mine.add(object);
            return object;
        }

        /** What is enqueued keeps what it needs. */
        @Override
        public void close() {
            mine.forEach(NativeObject::close);
        }
    }

    /**
     * Waits for the stream and copies the keys of the table and what belongs to them to the Java heap. It counts as no lookup: scores stay.
     *
     * <p>To insert them into a table: {@link #insert} takes keys and rows and, under {@link Eviction#SCORE}, scores. Under
     * {@link Eviction#LRU} and {@link Eviction#LFU} an insertion is a use as any other: for a table of any size with the scores of this one
     * take a {@link #snapshot}.
     *
     * @param stream orders the copy
     * @return keys, rows and scores
     * @throws InvalidArgumentException when the table has more than 2^31 - 1 slots, or bytes of rows, as the heap's arrays can have;
     *     {@link #snapshot} takes any
     */
    public HashTableEntries export(Stream stream) {
        if (Math.max(slots, state.rows().sizeBytes()) > Integer.MAX_VALUE - 8) {
            throw new InvalidArgumentException("argument 'table': expected at most 2^31 bytes of rows for the Java heap, got "
                    + state.rows().sizeBytes() + " (" + slots + " slots); snapshot takes more");
        }
        HashTableEntries[] result = new HashTableEntries[1];
        order.read(stream, () -> {
            long[] all = state.keys().readLongs(stream);
            HostTensor rows = state.rows().readHost(stream);
            long[] scores = state.scores() == null ? new long[0] : state.scores().readLongs(stream);
            int[] used = IntStream.range(0, all.length).filter(slot -> all[slot] != -1).toArray();
            result[0] = new HashTableEntries(
                    Arrays.stream(used).mapToLong(slot -> all[slot]).toArray(),
                    picked(rows, used),
                    scores.length == 0 ? scores : Arrays.stream(used).mapToLong(slot -> scores[slot]).toArray());
        });
        return result[0];
    }

    private HostTensor picked(HostTensor rows, int[] slots) {
        long rowBytes = rows.data().byteSize() / this.slots;
        byte[] data = new byte[Math.toIntExact(rowBytes * slots.length)];
        MemorySegment target = MemorySegment.ofArray(data);
        for (int i = 0; i < slots.length; i++) {
            MemorySegment.copy(rows.data(), slots[i] * rowBytes, target, i * rowBytes, rowBytes);
        }
        return new HostTensor(desc.dtype(), target, slots.length, desc.dim());
    }

    /**
     * Releases the table. Closing it again does nothing.
     */
    @Override
    public void close() {
        order.close();
        closeOwned();
    }

    @Override
    public String toString() {
        return "HashTable[" + desc + ", " + slots + " slots on " + device.name() + "]";
    }

    private <T extends NativeObject> T own(T object) {
        owned.add(object);
        return object;
    }

    private void closeOwned() {
        owned.forEach(NativeObject::close);
    }
}
