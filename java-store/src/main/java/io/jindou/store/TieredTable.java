package io.jindou.store;

import io.jindou.DType;
import io.jindou.Device;
import io.jindou.Eviction;
import io.jindou.HashTable;
import io.jindou.HashTableResults;
import io.jindou.HostTensor;
import io.jindou.InvalidArgumentException;
import io.jindou.KeyOutcome;
import io.jindou.Safetensors;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Cleaner;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * An embedding table larger than the device, by 64-bit keys: a cache of rows on the device, one in host memory, all rows on disk
 * (RocksDB). On the cpu device, whose memory is the host's, the first two are one unless {@link TieredTableDesc#hostRows()} says
 * otherwise, and the rest is the same.
 *
 * <p>A lookup gives the row of every key that exists, complete, wherever it lies: hits are read on the device, in the order of the caller's
 * stream; missing rows come from below, through page-locked memory and on a stream of the table's own, into the result and into the caches.
 * An update is durable ({@link Durability}) when it returns, and lookups that begin after that see it; one that runs beside it sees of each
 * row the old or the new one, never a mixture. The key -1 is reserved.
 *
 * <p>All methods may be called from any thread. A crash at any moment, in the middle of an update, a snapshot, a restore or RocksDB's
 * compaction, loses nothing that was durable and leaves nothing half written.
 *
 * <p>Tiers for recommendation: HugeCTR's hierarchical parameter server; FBGEMM's UVM and SSD caches; Monolith, arXiv 2209.07663.
 */
public final class TieredTable implements AutoCloseable {
    private static final String KEYS = "keys", ROWS = "rows";
    private static final int MISSING = KeyOutcome.MISSING.ordinal();
    private static final int GROUP = 64;
    private static final int IDLE_WORKSPACES = Math.max(4, Runtime.getRuntime().availableProcessors());
    private static final Cleaner CLEANER = Cleaner.create();

    /** How many prefetches of a table wait for a thread; beyond that the oldest is dropped: its lookup has most likely been there already. */
    public static final int MAX_WAITING_PREFETCHES = 256;

    private final Device device;
    /** Whether the device's rows are written to directly. An emulated device is not asked to, so that a GPU's way is tested without one. */
    private final boolean inHost;

    private final TieredTableDesc desc;
    private final RowCache cache;
    final Backlog backlog; // of cache; null where the device's rows are not written to directly
    private final Device host; // null: no cache in host memory
    private final RowCache hostCache;
    final RocksStore store; // the tests play a writer
    final UpdateLog log = new UpdateLog();
    /** Held by the update that brings the caches in line with the disk. */
    private final Object writing = new Object();
    /** Read: lookups and updates; write: for the moment in which the table is replaced or ends. */
    private final ReadWriteLock life = new ReentrantReadWriteLock();
    /** Taken before {@link #life}. Read: what copies or merges all rows and takes long; write: what replaces or ends the table, all the time. */
    private final ReadWriteLock upkeep = new ReentrantReadWriteLock();

    /** Of no call now; of a burst no more stay than can be of use at once. */
    private final BlockingQueue<Workspace> workspaces = new ArrayBlockingQueue<>(IDLE_WORKSPACES);
    private final Fetchers fetchers = new Fetchers(MAX_WAITING_PREFETCHES);
    private final Disk disk;
    private final Release release;
    private final Cleaner.Cleanable cleanable;

    private final LongAdder lookups = new LongAdder(), keysSeen = new LongAdder(), deviceHits = new LongAdder();
    private final LongAdder hostHits = new LongAdder(), storeHits = new LongAdder(), missingKeys = new LongAdder();
    private final LongAdder evictions = new LongAdder();
    /** How often all rows were replaced; read and written under {@link #life}. */
    private int restores;
    /** Why caches and disk may no longer agree; null: they do. */
    private volatile Throwable broken;

    private TieredTable(Device device, Path directory, TieredTableDesc desc, Disk disk, long memtableBytes) throws IOException {
        if (desc.eviction() != Eviction.LRU && desc.eviction() != Eviction.LFU) {
            throw new InvalidArgumentException("argument 'eviction': expected LRU or LFU, got " + desc.eviction());
        }
        if (desc.maxKeys() < 1) {
            throw new InvalidArgumentException("argument 'maxKeys': expected at least 1, got " + desc.maxKeys());
        }
        if (desc.deviceRows() < 1) {
            throw new InvalidArgumentException("argument 'deviceRows': expected at least 1, got " + desc.deviceRows());
        }
        if (desc.hostRows() < 0 && desc.hostRows() != TieredTableDesc.DEFAULT_HOST_ROWS) {
            throw new InvalidArgumentException("argument 'hostRows': expected at least 0, got " + desc.hostRows());
        }
        if (desc.blockCacheBytes() < 0 || desc.blockCacheBytes() > TieredTableDesc.MAX_BLOCK_CACHE_BYTES) {
            throw new InvalidArgumentException("argument 'blockCacheBytes': expected 0 to " + TieredTableDesc.MAX_BLOCK_CACHE_BYTES
                    + " (MAX_BLOCK_CACHE_BYTES), got " + desc.blockCacheBytes());
        }
        this.device = device;
        inHost = device.info().backend().equals("cpu");
        this.desc = desc;
        RowCache onDevice = null, onHost = null;
        Backlog waiting = null;
        Device cpu = null;
        try {
            onDevice = new RowCache(device, desc, desc.deviceRows());
            long hostRows = desc.hostRowsBeside(inHost);
            waiting = inHost ? new Backlog(device, desc, onDevice.table, hostRows == 0) : null;
            if (hostRows > 0) {
                cpu = inHost ? null : Device.open("cpu");
                onHost = new RowCache(inHost ? device : cpu, desc, hostRows);
            }
            store = new RocksStore(
                    directory, desc.dtype(), desc.dim(), desc.durability(), desc.blockCacheBytes(), memtableBytes, disk);
        } catch (RuntimeException | IOException | Error e) {
            RowCache.closeAll(waiting, onDevice, onHost, cpu);
            throw e;
        }
        this.disk = disk;
        cache = onDevice;
        backlog = waiting;
        hostCache = onHost;
        host = onHost == null ? null : inHost ? device : cpu;
        release = new Release(
                new Lock[] {upkeep.writeLock(), life.writeLock()}, fetchers, workspaces, backlog, cache, hostCache, cpu, store);
        cleanable = CLEANER.register(this, release);
    }

    /** What is left to do when the table is closed or forgotten; refers to nothing that refers to the table. */
    private static final class Release implements Runnable {
        private final Lock[] locks;
        private final Fetchers fetchers;
        private final Collection<Workspace> workspaces;
        private final AutoCloseable[] tiers;
        private volatile boolean asked;
        private boolean closed; // written under the locks

        private Release(Lock[] locks, Fetchers fetchers, Collection<Workspace> workspaces, AutoCloseable... tiers) {
            this.locks = locks;
            this.fetchers = fetchers;
            this.workspaces = workspaces;
            this.tiers = tiers;
        }

        /** Once. Calls under way hold a lock, be the table forgotten in the middle of its last one. */
        @Override
        public void run() {
            if (!asked && Boolean.getBoolean("jindou.warn.unclosed")) {
                System.getLogger("io.jindou").log(
                        System.Logger.Level.WARNING, "never closed: {0} (released by the garbage collector)", "TieredTable");
            }
            fetchers.close();
            for (Lock lock : locks) {
                lock.lock();
            }
            try {
                if (!closed) {
                    closed = true;
                    workspaces.forEach(Workspace::close);
                    RowCache.closeAll(tiers);
                }
            } finally {
                for (Lock lock : locks) {
                    lock.unlock();
                }
            }
        }
    }

    /**
     * Opens the table in a directory, or makes an empty one.
     *
     * @param device where its first cache lies
     * @param directory of this table alone; one process at a time
     * @param desc its shape; dtype and dim are those it was made with
     * @return the table, to be closed
     * @throws IOException when the directory cannot be used, is in use, or what is there is damaged or missing
     * @throws InvalidArgumentException when the description breaks a rule, or is of other rows than those that are there; the message
     *     names the field
     */
    public static TieredTable open(Device device, Path directory, TieredTableDesc desc) throws IOException {
        Objects.requireNonNull(device, "device");
        Objects.requireNonNull(directory, "directory");
        Objects.requireNonNull(desc, "desc");
        return new TieredTable(device, directory, desc, Disk.REAL, 0);
    }

    static TieredTable open(Device device, Path directory, TieredTableDesc desc, Disk disk) throws IOException {
        return new TieredTable(device, directory, desc, disk, 0);
    }

    /** One whose rows go to files after so many bytes, and are merged as soon. */
    static TieredTable openBusy(Device device, Path directory, TieredTableDesc desc, long memtableBytes) throws IOException {
        return new TieredTable(device, directory, desc, Disk.REAL, memtableBytes);
    }

    /**
     * The shape of the table.
     *
     * @return the description it was opened with
     */
    public TieredTableDesc desc() {
        return desc;
    }

    /**
     * Looks up rows. Hits are read in the order of the stream. Missing rows are fetched meanwhile, and this returns when they were; they are
     * copied to the device from page-locked memory, on a stream of the table's own. What is enqueued on the caller's stream after this
     * returns comes after them: the result is complete in the order of the stream. What was enqueued on it before need not be done.
     *
     * @param stream of the table's device; not capturing
     * @param keys at most {@link TieredTableDesc#maxKeys()}; -1 is never there
     * @param rows {@code [keys.length, dim]}, written: the rows, zeros for keys that do not exist
     * @throws IOException when the disk cannot be read, or a block is damaged
     */
    public void lookup(Stream stream, long[] keys, Tensor rows) throws IOException {
        Objects.requireNonNull(stream, "stream");
        Objects.requireNonNull(rows, "rows");
        look(stream, keys, rows);
    }

    /**
     * Looks up rows as {@link #lookup} does, and returns before missing ones are fetched: a thread of the table's goes on with them. On a device
     * with memory of its own this only enqueues the lookup of hits; on cpu hits are there when it returns. Where a {@link #restore} comes between
     * hits and missing rows, all are looked up again: the rows of one call are all of before it or all of after.
     *
     * <p>Every lookup that was accepted is done, before prefetches that wait, and {@link #close} waits for it. How many there are at a time
     * is the caller's to bound: each has memory for {@link TieredTableDesc#maxKeys()} rows until it is done.
     *
     * @param stream of the table's device; not capturing
     * @param keys as {@link #lookup}; copied
     * @param rows {@code [keys.length, dim]}, written until the lookup is done: not to be used, or closed, before
     * @return done when all rows are there, for every stream; fails with an {@link UncheckedIOException}. To cancel it stops nothing
     * @throws IOException when an earlier failure has made the table useless
     * @throws IllegalStateException when the table is closed
     */
    public CompletableFuture<Void> lookupAsync(Stream stream, long[] keys, Tensor rows) throws IOException {
        Objects.requireNonNull(stream, "stream");
        Objects.requireNonNull(rows, "rows");
        checkKeys(keys);
        open(life.readLock());
        try {
            if (keys.length == 0) {
                return CompletableFuture.completedFuture(null);
            }
            Call call = new Call(take(), keys.clone(), rows);
            boolean handedOver = false;
            try {
                call.ask(stream);
                CompletableFuture<Void> answer = unlessClosed(fetchers.promise(() -> {
                    try (call) {
                        open(life.readLock());
                        try {
                            call.askAgainIfRestored();
                            call.answer();
                            call.done(null);
                        } finally {
                            life.readLock().unlock();
                        }
                    }
                }));
                handedOver = true;
                return answer;
            } finally {
                if (!handedOver) {
                    call.close();
                }
            }
        } finally {
            life.readLock().unlock();
        }
    }

    /**
     * Brings rows into the caches, beside the caller's work: for the keys of the next lookup. It is a guess, and lookups do not depend on it:
     * where more than {@link #MAX_WAITING_PREFETCHES} wait, because the disk is slower than they come, the oldest is dropped; {@link #close}
     * drops all that have not begun.
     *
     * @param keys as {@link #lookup}; copied
     * @return done when the rows are there; fails with an {@link UncheckedIOException}, or with a
     *     {@link java.util.concurrent.CancellationException} ({@link CompletableFuture#isCancelled()}) when it was dropped. To cancel it drops
     *     it as well, unless it has begun
     * @throws IllegalStateException when the table is closed
     */
    public CompletableFuture<Void> prefetch(long[] keys) {
        checkKeys(keys);
        long[] copy = keys.clone();
        return unlessClosed(fetchers.guess(() -> look(null, copy, null)));
    }

    private static CompletableFuture<Void> unlessClosed(CompletableFuture<Void> answer) {
        if (answer == null) {
            throw closed();
        }
        return answer;
    }

    /**
     * Writes rows, of new keys and of keys that are there; all of them or, after a crash, none. Of equal keys the last one's row stays.
     * Of updates beside each other one wins, for each key the same one in all tiers.
     *
     * @param keys at most {@link TieredTableDesc#maxKeys()}, none -1
     * @param rows {@code [keys.length, dim]} of the table's dtype
     * @throws IOException when the disk cannot be written; the rows, all or none, may or may not be there after the table is opened again
     */
    public void update(long[] keys, HostTensor rows) throws IOException {
        checkWritten(keys);
        Objects.requireNonNull(rows, "rows");
        if (rows.dtype() != desc.dtype() || !Arrays.equals(rows.shape(), new long[] {keys.length, desc.dim()})) {
            throw new InvalidArgumentException("argument 'rows': expected " + desc.dtype() + "[" + keys.length + ", " + desc.dim()
                    + "], got " + rows.dtype() + Arrays.toString(rows.shape()));
        }
        write(keys, rows.data());
    }

    /**
     * Takes rows out, as durably as an update.
     *
     * @param keys at most {@link TieredTableDesc#maxKeys()}, none -1
     * @throws IOException when the disk cannot be written; all keys or none may or may not be gone after the table is opened again
     */
    public void erase(long[] keys) throws IOException {
        checkWritten(keys);
        write(keys, null);
    }

    /**
     * Writes all rows, as they are at one moment, to a file: tensors {@code keys} {@code [n]} and {@code rows} {@code [n, dim]}, and their
     * CRC-32C among the metadata. Lookups and updates go on meanwhile.
     *
     * @param file replaced at once when everything is written, or not at all; {@link Safetensors#write(Path, Map, Map)} says what a
     *     process that is killed meanwhile leaves beside it
     * @throws IOException when it cannot be written, or a block of the store is damaged
     */
    public void snapshot(Path file) throws IOException {
        Objects.requireNonNull(file, "file");
        open(upkeep.readLock());
        try (Arena arena = Arena.ofShared()) {
            RocksStore.HostRows all = store.copy(arena);
            Map<String, HostTensor> tensors = new LinkedHashMap<>();
            tensors.put(KEYS, new HostTensor(DType.I64, all.keys(), all.count()));
            tensors.put(ROWS, new HostTensor(desc.dtype(), all.rows(), all.count(), desc.dim()));
            Safetensors.write(file, tensors, Map.of(Checksum.NAME, Checksum.of(all.keys(), all.rows())));
            disk.force(file.toAbsolutePath().getParent());
        } finally {
            upkeep.readLock().unlock();
        }
    }

    /**
     * Replaces all rows by those of a snapshot, at once. First they are written beside the old ones, while lookups and updates go on; then they
     * take the place of the old ones and of all updates to these, those that were made and acknowledged meanwhile included: afterwards the table
     * has what the snapshot has, nothing else. It waits for snapshots and compactions. A crash leaves the old rows, updated, or the new ones.
     *
     * @param file of {@link #snapshot}, or any other with these tensors
     * @throws IOException when it cannot be read, has other tensors or is damaged, or the disk cannot be written: the old rows stay. Only where the
     *     disk fails at the very end, old or new rows are there after the table is opened again, and until then every call fails
     */
    public void restore(Path file) throws IOException {
        Objects.requireNonNull(file, "file");
        try (Safetensors given = Safetensors.open(file)) {
            HostTensor keys = given.get(KEYS), rows = given.get(ROWS);
            long[] expected = {keys.shape().length == 1 ? keys.shape()[0] : -1, desc.dim()};
            if (keys.dtype() != DType.I64 || keys.shape().length != 1) {
                throw new IOException(file + ": tensor 'keys': expected I64[n], got " + keys.dtype() + Arrays.toString(keys.shape()));
            }
            if (rows.dtype() != desc.dtype() || !Arrays.equals(rows.shape(), expected)) {
                throw new IOException(file + ": tensor 'rows': expected " + desc.dtype() + Arrays.toString(expected) + ", got "
                        + rows.dtype() + Arrays.toString(rows.shape()));
            }
            String said = given.metadata().get(Checksum.NAME);
            if (said != null && !said.equals(Checksum.of(keys.data(), rows.data()))) {
                throw new IOException(file + ": damaged: keys and rows are not those that were written (" + Checksum.NAME + ")");
            }
            checkRestored(file, keys.data());
            open(upkeep.writeLock());
            try {
                replace(store.fill(keys.data(), rows.data()));
            } finally {
                upkeep.writeLock().unlock();
            }
        }
    }

    private void replace(RocksStore.Generation next) throws IOException {
        RocksStore.Generation old = null;
        try {
            life.writeLock().lock();
            try {
                old = store.use(next);
                restores++;
            } catch (Current.Unsettled e) {
                broken = e;
                throw e;
            } finally {
                try {
                    clearCaches(); // after a failure too: whatever the disk has, they hold nothing older
                } finally {
                    life.writeLock().unlock();
                }
            }
        } finally {
            if (old != null) {
                store.discard(old); // also when the caches fail: nothing else knows it
            }
        }
    }

    private static void checkRestored(Path file, MemorySegment keys) throws IOException {
        for (long i = 0; i < keys.byteSize() / Long.BYTES; i++) {
            if (keys.getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED, i) == -1) { // of any byte order
                throw new IOException(file + ": tensor 'keys': expected any key but -1, which is reserved, at position " + i);
            }
        }
    }

    /**
     * Has RocksDB merge its files now, as it otherwise does by itself beside other work.
     *
     * @throws IOException when the disk cannot be written, or a block is damaged
     */
    public void compact() throws IOException {
        open(upkeep.readLock());
        try {
            store.compact();
        } finally {
            upkeep.readLock().unlock();
        }
    }

    /**
     * What the table has counted.
     *
     * @return counts since it was opened
     */
    public TierStatistics statistics() {
        countEvictions();
        return new TierStatistics(
                lookups.sum(),
                keysSeen.sum(),
                deviceHits.sum(),
                hostHits.sum(),
                storeHits.sum(),
                missingKeys.sum(),
                (hostHits.sum() + storeHits.sum()) * desc.rowBytes(),
                storeHits.sum() * desc.rowBytes(),
                evictions.sum());
    }

    /** Of the calls that returned before their copies were done. */
    private void countEvictions() {
        life.readLock().lock();
        try {
            for (int i = release.closed ? 0 : workspaces.size(); i > 0; i--) {
                Workspace w = workspaces.poll();
                if (w == null) {
                    return; // in use again
                }
                settle(w);
                keep(w);
            }
        } finally {
            life.readLock().unlock();
        }
    }

    /**
     * Waits for calls under way, accepted {@link #lookupAsync} included, and closes the table. Prefetches that have not begun are dropped. It does
     * not wait for what was chained to a {@link #lookupAsync} or {@link #prefetch}, which may close the table itself. Rows go from RocksDB's log
     * into its files. Closing it again does nothing.
     */
    @Override
    public void close() {
        release.asked = true;
        release.run();
        cleanable.clean();
    }

    @Override
    public String toString() {
        return "TieredTable[" + desc + " on " + device.name() + "]";
    }

    // -- reading ---------------------------------------------------------------------------------------------------------------

    /** given null: on a stream of the table's own, done when this returns. rows null: only the caches are filled. */
    private void look(Stream given, long[] keys, Tensor rows) throws IOException {
        checkKeys(keys);
        open(life.readLock());
        try {
            if (keys.length > 0) {
                Call call = new Call(take(), keys, rows);
                try (call) {
                    call.ask(given != null ? given : call.w.copies);
                    call.answer();
                    call.done(given == null || inHost ? null : given);
                }
            }
        } finally {
            life.readLock().unlock();
        }
    }

    /** A lookup under way: hits are read in the order of the caller's stream, all else is done on the stream of its workspace. */
    private final class Call implements AutoCloseable {
        private final Workspace w;
        private final long[] keys;
        private final Tensor rows; // null: none are wanted
        private final long start = log.enter();
        private final int restoresBefore = restores;
        private boolean done;

        private Call(Workspace w, long[] keys, Tensor rows) {
            this.w = w;
            this.keys = keys;
            this.rows = rows;
        }

        private void ask(Stream stream) {
            Tensor asked = w.ask(stream, keys);
            HashTableResults results = new HashTableResults(null, w.outcomes.first(keys.length), null);
            cache.table.lookup(stream, asked, rows, null, results);
            w.looked(stream);
        }

        /** Hits of before a restore go with no rows of after it. On the stream of the copies, which comes after the first lookup. */
        private void askAgainIfRestored() {
            if (restoresBefore != restores) {
                ask(w.copies);
            }
        }

        private void answer() throws IOException {
            Missing missing = missing(w, keys);
            if (backlog != null && hostCache == null && missing.keys.length > 0 && !backlog.isEmpty()) {
                missing = withoutBacklog(missing); // a cache in host memory has them, and is asked beside others
            }
            if (missing.keys.length > 0) {
                fetch(this, missing);
            }
        }

        /** The rows on their way into the cache count as there. */
        private Missing withoutBacklog(Missing missing) {
            int count = 0;
            synchronized (log.caches) {
                for (int i = 0; i < missing.keys.length; i++) {
                    int row = backlog.find(missing.keys[i]);
                    if (row < 0) {
                        missing.keys[count] = missing.keys[i];
                        missing.positions[count++] = missing.positions[i];
                    } else if (rows != null) {
                        copyRow(backlog.rows(), row, rows, missing.positions[i]);
                    }
                }
            }
            deviceHits.add(missing.keys.length - count);
            return new Missing(Arrays.copyOf(missing.keys, count), missing.positions);
        }

        /** The result is complete: in the order of a stream or, for null, now. */
        private void done(Stream stream) {
            if (stream == null) {
                evictions.add(w.settle());
            } else {
                w.holdBack(stream);
            }
            done = true;
        }

        @Override
        public void close() {
            log.leave(start);
            if (done) {
                keep(w);
            } else {
                w.close(); // what is on its way into the result has come before the caller learns of the failure
            }
        }
    }

    /** Keys that the device cache has not, and where in the call they stand. */
    private record Missing(long[] keys, int[] positions) {}

    private Missing missing(Workspace w, long[] keys) {
        int[] each = w.outcomes(keys.length), positions = w.positions;
        int count = 0;
        for (int i = 0; i < keys.length; i++) { // which ones are missing nothing foretells: no branch
            positions[count] = i;
            count += each[i] == MISSING ? 1 : 0;
        }
        int reserved = 0;
        for (int i = 0; i < count; i++) {
            if (keys[positions[i]] == -1) {
                reserved++;
            } else {
                positions[i - reserved] = positions[i];
            }
        }
        count -= reserved;
        lookups.increment();
        keysSeen.add(keys.length - reserved);
        deviceHits.add(keys.length - reserved - count);
        long[] missing = new long[count];
        for (int i = 0; i < count; i++) {
            missing[i] = keys[positions[i]];
        }
        return new Missing(missing, positions);
    }

    /** The rows at the front of w.rows, the first `fromHost` of host memory: their keys, and of each missing key its row, or -1. */
    private record Fetched(long[] keys, int count, int fromHost, int[] rowOf) {}

    private void fetch(Call call, Missing missing) throws IOException {
        int n = missing.keys.length;
        long[] keys = new long[n];
        int[] rowOf = new int[n];
        int fromHost = 0;
        if (hostCache == null) {
            Arrays.fill(rowOf, -1);
        } else {
            fromHost = readHost(call.w, missing.keys, keys, rowOf);
        }
        int count = fromHost < n ? readStore(call.w, missing.keys, keys, fromHost, rowOf) : n;
        hostHits.add(fromHost);
        storeHits.add(count - fromHost);
        if (count > 0) {
            deliver(call, missing, new Fetched(keys, count, fromHost, rowOf));
        }
    }

    /** Rows that host memory has, to the front of w.rows; gives how many. */
    private int readHost(Workspace w, long[] missing, long[] keys, int[] rowOf) {
        int n = missing.length, count = 0, padded = padded(n);
        Tensor asked = w.askHost(filledUp(missing, n, padded)), rows = w.hostRows.first(padded);
        hostCache.table.lookup(w.hostStream, asked, rows, null, new HashTableResults(null, w.hostFound.first(padded), null));
        w.hostStream.synchronize();
        MemorySegment each = w.outcomesOfHost;
        for (int i = 0; i < n; i++) {
            if (each.getAtIndex(ValueLayout.JAVA_INT, i) == MISSING) {
                rowOf[i] = -1;
            } else {
                move(w.rows.segment(), i, count);
                rowOf[i] = count;
                keys[count++] = missing[i];
            }
        }
        return count;
    }

    /** The other rows, behind those; gives how many there are now. */
    private int readStore(Workspace w, long[] missing, long[] keys, int fromHost, int[] rowOf) throws IOException {
        long[] below = new long[missing.length - fromHost];
        int asked = 0;
        for (int i = 0; i < missing.length; i++) {
            if (rowOf[i] < 0) {
                below[asked++] = missing[i];
            }
        }
        Arrays.sort(below); // neighbours on disk are read together
        int distinct = 0;
        for (int i = 0; i < asked; i++) {
            if (i == 0 || below[i] != below[i - 1]) {
                below[distinct++] = below[i];
            }
        }
        below = Arrays.copyOf(below, distinct);
        boolean[] present = store.get(below, w.rows.segment().asSlice(fromHost * desc.rowBytes(), distinct * desc.rowBytes()));
        int count = fromHost;
        for (int i = 0; i < distinct; i++) {
            if (present[i]) {
                move(w.rows.segment(), fromHost + i, count);
                keys[count++] = below[i];
            }
        }
        for (int i = 0; i < missing.length; i++) {
            if (rowOf[i] < 0) {
                rowOf[i] = Math.max(-1, Arrays.binarySearch(keys, fromHost, count, missing[i]));
            }
        }
        missingKeys.add(distinct - (count - fromHost));
        return count;
    }

    private void move(MemorySegment rows, int from, int to) {
        if (from != to) {
            long bytes = desc.rowBytes();
            MemorySegment.copy(rows, from * bytes, rows, to * bytes, bytes);
        }
    }

    /** Fetched rows into the result and, unless they may be old by now, into the caches. On a device with memory of its own: enqueues that. */
    private void deliver(Call call, Missing missing, Fetched fetched) {
        Workspace w = call.w;
        int count = fetched.count, padded = padded(count);
        Tensor values = w.rows(padded), evicted = w.evicted.first(padded);
        long[] certain = filledUp(fetched.keys, count, padded);
        if (call.rows != null && inHost) {
            complete(missing, fetched, w.rows.segment(), call.rows);
        } else if (call.rows != null) {
            w.fetched.insert(w.copies, w.numbers.first(padded), values);
            w.fetched.lookup(w.copies, w.forResult(numbers(call.keys.length, missing, fetched)), call.rows);
        }
        synchronized (log.caches) {
            log.takeOutUncertain(certain, count, call.start);
            Tensor given = w.forCache(certain);
            if (backlog == null) {
                fill(cache.table, w.copies, given, values, evicted);
                w.inserted(count, evicted);
            } else if (backlog.put(w.copies, given, values, evicted, count)) {
                w.inserted(count, evicted);
                evictions.add(backlog.work());
            }
            if (hostCache != null && fetched.fromHost < count) {
                long[] read = Arrays.copyOfRange(certain, fetched.fromHost, count);
                try (Tensor hostKeys = Tensor.of(w.hostStream, read, read.length);
                        Tensor hostRows = w.hostRows.all.slice(0, fetched.fromHost, count)) {
                    fill(hostCache.table, w.hostStream, hostKeys, hostRows, null);
                    w.hostStream.synchronize();
                }
            }
        }
    }

    /** Of each key of the call the number of the row that was fetched for it, or -1. */
    private static long[] numbers(int keys, Missing missing, Fetched fetched) {
        long[] numbers = new long[keys];
        Arrays.fill(numbers, -1);
        for (int i = 0; i < missing.keys.length; i++) {
            numbers[missing.positions[i]] = fetched.rowOf[i];
        }
        return numbers;
    }

    /** Whole groups of keys, so that tensors of few lengths are asked for. */
    private int padded(int count) {
        return Math.min(desc.maxKeys(), (count + GROUP - 1) / GROUP * GROUP);
    }

    /** The first `count` keys, and -1 behind them. */
    private static long[] filledUp(long[] keys, int count, int padded) {
        long[] all = Arrays.copyOf(keys, padded);
        Arrays.fill(all, count, padded, -1);
        return all;
    }

    private void complete(Missing missing, Fetched fetched, MemorySegment from, Tensor rows) {
        for (int i = 0; i < missing.keys.length; i++) {
            if (fetched.rowOf[i] >= 0) {
                copyRow(from, fetched.rowOf[i], rows, missing.positions[i]);
            }
        }
    }

    /** A row of host memory to a row of a result there. */
    private void copyRow(MemorySegment from, int row, Tensor result, int position) {
        long bytes = desc.rowBytes(), stride = result.strides()[0] * desc.dtype().size();
        MemorySegment.copy(from, row * bytes, result.hostMemory(), position * stride, bytes);
    }

    /** The key -1 is left out. */
    private static void fill(HashTable table, Stream stream, Tensor keys, Tensor rows, Tensor evicted) {
        table.insert(stream, keys, rows, null, new HashTableResults(null, null, evicted));
    }

    // -- writing ---------------------------------------------------------------------------------------------------------------

    /** rows null: erases. */
    private void write(long[] keys, MemorySegment rows) throws IOException {
        open(life.readLock());
        try {
            if (keys.length == 0) {
                return;
            }
            UpdateLog.Update update = begin(keys);
            try {
                if (rows == null) {
                    store.delete(keys);
                } else {
                    store.put(keys, rows);
                }
            } catch (IOException | RuntimeException | Error e) {
                try {
                    end(update, keys, null); // written or not: the disk alone knows
                } catch (IOException | RuntimeException | Error again) {
                    e.addSuppressed(again);
                }
                throw e;
            }
            end(update, keys, rows);
        } finally {
            life.readLock().unlock();
        }
    }

    UpdateLog.Update begin(long[] keys) {
        synchronized (log.caches) {
            if (backlog != null) {
                backlog.takeOut(keys);
            }
            return log.begin(keys);
        }
    }

    /**
     * The disk was written: caches follow. Keys whose last writer is not known, and all when rows is null, leave them.
     *
     * <p>One update at a time. Lookups go on meanwhile: the log is held while work is enqueued, not while the device is waited for. Which keys are
     * cached can be asked before: no fetch caches a key that is under update.
     */
    void end(UpdateLog.Update update, long[] keys, MemorySegment rows) throws IOException {
        synchronized (writing) {
            boolean known = rows == null || found(keys, rows);
            synchronized (log.caches) {
                try {
                    if (known) {
                        follow(update, keys, rows);
                    } else {
                        clearCaches();
                    }
                } catch (RuntimeException | Error e) {
                    clearCaches(); // empty caches are right as well
                } finally {
                    log.end(update);
                }
            }
            try {
                caches().forEach(RowCache::synchronize);
            } catch (RuntimeException | Error e) {
                clearCaches();
            }
        }
    }

    /** Whether all caches could tell what they have. */
    private boolean found(long[] keys, MemorySegment rows) {
        try {
            caches().forEach(each -> each.find(keys, rows));
            return true;
        } catch (RuntimeException | Error e) {
            return false;
        }
    }

    private void follow(UpdateLog.Update update, long[] keys, MemorySegment rows) {
        long[] gone = rows == null ? keys : Arrays.stream(keys).filter(update::isContended).toArray();
        for (RowCache each : caches()) {
            if (gone.length > 0) {
                each.erase(gone);
            }
            if (rows != null) {
                each.replace(update::isContended);
            }
        }
    }

    private List<RowCache> caches() {
        return hostCache == null ? List.of(cache) : List.of(cache, hostCache);
    }

    /** A table whose caches cannot be brought in line with the disk is of no use until it is opened again. */
    private void clearCaches() throws IOException {
        synchronized (log.caches) {
            if (backlog != null) {
                backlog.clear();
            }
        }
        try {
            caches().forEach(RowCache::clear);
        } catch (RuntimeException | Error e) {
            broken = e;
            throw new IOException("tiered table: the disk was written, but the caches cannot be cleared: open the table again", e);
        }
    }

    // -- small things ----------------------------------------------------------------------------------------------------------

    private Workspace take() {
        Workspace free = workspaces.poll();
        if (free == null) {
            return new Workspace(device, inHost, host, desc);
        }
        settle(free);
        return free;
    }

    int idleWorkspaces() {
        return workspaces.size();
    }

    /** For the next call; those of a burst beyond what can be of use at once go. */
    private void keep(Workspace w) {
        if (!workspaces.offer(w)) {
            settle(w);
            w.close();
        }
    }

    private void settle(Workspace w) {
        try {
            evictions.add(w.settle());
        } catch (RuntimeException | Error e) {
            w.close();
            throw e;
        }
    }

    private void open(Lock lock) throws IOException {
        lock.lock();
        if (release.closed) {
            lock.unlock();
            throw closed();
        }
        if (broken != null) {
            lock.unlock();
            throw new IOException("tiered table: of no use after an earlier failure: open the table again", broken);
        }
    }

    private static IllegalStateException closed() {
        return new IllegalStateException("tiered table: it is closed");
    }

    private void checkKeys(long[] keys) {
        Objects.requireNonNull(keys, "keys");
        if (keys.length > desc.maxKeys()) {
            throw new InvalidArgumentException(
                    "argument 'keys': expected at most " + desc.maxKeys() + " (maxKeys of the table), got " + keys.length);
        }
    }

    private void checkWritten(long[] keys) {
        checkKeys(keys);
        for (int i = 0; i < keys.length; i++) {
            if (keys[i] == -1) {
                throw new InvalidArgumentException("argument 'keys': expected any key but -1, which is reserved, at position " + i);
            }
        }
    }
}
