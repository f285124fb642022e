package io.jindou.store;

import io.jindou.DType;
import io.jindou.InvalidArgumentException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.ByteBufferGetStatus;
import org.rocksdb.Cache;
import org.rocksdb.CompressionType;
import org.rocksdb.DataBlockIndexType;
import org.rocksdb.FlushOptions;
import org.rocksdb.HyperClockCache;
import org.rocksdb.Options;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.RocksIterator;
import org.rocksdb.Snapshot;
import org.rocksdb.Status;
import org.rocksdb.WALRecoveryMode;
import org.rocksdb.WriteBatch;
import org.rocksdb.WriteOptions;

/**
 * Rows by key on disk. A key is 8 bytes, big-endian, a value the bytes of a row; RocksDB's log makes a batch all or
 * nothing, its checksums turn a damaged block into an error instead of wrong rows.
 *
 * <p>The directory holds one database a generation, {@code rows-1}, {@code rows-2}..., and the file {@link Current}
 * with the name of the one in use. A restore fills the next generation and replaces that file at once, so that a
 * crash leaves the old or the new rows. The file is written when the database it names is there, durably, and nothing
 * that it names is ever deleted or made anew. {@link Acknowledged} turns a damaged log or manifest into an error
 * instead of lost rows.
 */
final class RocksStore implements AutoCloseable {
    private static final int KEY_BYTES = Long.BYTES;
    private static final int RESTORE_BATCH = 4096;
    private static final String SCRATCH = "snapshot";

    static {
        RocksDB.loadLibrary();
    }

    private final Path directory;
    private final Disk disk;
    private final int rowBytes;
    private final Options options = new Options();
    private final BloomFilter filter = new BloomFilter(10);
    private final Cache blocks; // null: none
    private final ReadOptions reads = new ReadOptions();
    private final WriteOptions writes = new WriteOptions();
    private DirectoryLock lock;
    private RocksDB rows;
    private Acknowledged acknowledged;
    private Current current;

    /** memtableBytes: of rows in memory before RocksDB writes them into a file, 0: as it sees fit. */
    RocksStore(
            Path directory, DType dtype, int dim, Durability durability, long blockCacheBytes, long memtableBytes, Disk disk)
            throws IOException {
        this.directory = directory;
        this.disk = disk;
        rowBytes = Math.toIntExact(dtype.size() * (long) dim);
        // A cache of 0 bytes, or of more than TieredTableDesc allows, is the end of the process. 0: entries of any size; -1:
        // shards as it sees fit.
        blocks = blockCacheBytes == 0 ? null : new HyperClockCache(blockCacheBytes, 0, -1, false);
        BlockBasedTableConfig files = new BlockBasedTableConfig()
                .setFilterPolicy(filter)
                .setCacheIndexAndFilterBlocks(false)
                .setDataBlockIndexType(DataBlockIndexType.kDataBlockBinaryAndHash);
        options.setParanoidChecks(true)
                .setCompressionType(CompressionType.NO_COMPRESSION) // rows of floats do not compress
                .setTableFormatConfig(blocks == null ? files.setNoBlockCache(true) : files.setBlockCache(blocks));
        if (memtableBytes > 0) {
            options.setWriteBufferSize(memtableBytes);
        }
        writes.setSync(durability == Durability.SYNC);
        try {
            disk.create(directory);
            lock = DirectoryLock.take(directory);
            current = Current.read(directory);
            if (current == null) {
                make(new Current(1, dtype, dim));
            } else {
                reopen(dtype, dim);
            }
            deleteLeftovers();
        } catch (RocksDBException e) {
            close();
            throw failure("cannot open", e);
        } catch (IOException | RuntimeException | Error e) {
            close();
            throw e;
        }
    }

    /** The first generation. One that is there already is of a creation that was cut short, or CURRENT was lost. */
    private void make(Current first) throws IOException, RocksDBException {
        for (Path each : generations()) {
            if (!each.getFileName().toString().equals(first.name())) {
                throw new IOException(directory + ": expected the file CURRENT beside " + each.getFileName());
            }
        }
        rows = open(first, WALRecoveryMode.TolerateCorruptedTailRecords);
        try (RocksIterator any = rows.newIterator()) {
            any.seekToFirst();
            any.status();
            if (any.isValid()) {
                throw new IOException(directory + ": expected the file CURRENT beside " + first.name() + ", which has rows");
            }
        }
        acknowledged = acknowledged(first, rows);
        disk.force(path(first));
        settle(first);
        current = first;
    }

    private void reopen(DType dtype, int dim) throws IOException, RocksDBException {
        if (current.dtype() != dtype || current.dim() != dim) {
            boolean other = current.dtype() != dtype;
            throw new InvalidArgumentException(
                    "argument '" + (other ? "dtype" : "dim") + "': expected " + (other ? current.dtype() : current.dim())
                            + ", as the table in " + directory + " was made, got " + (other ? dtype : dim));
        }
        // RocksDB's own CURRENT: without it, it would take the directory for an empty one.
        if (!Files.exists(path(current).resolve("CURRENT"))) {
            throw new IOException(directory + ": " + current.name() + ", the generation in use, is missing");
        }
        Acknowledged.Mark mark = Acknowledged.read(path(current));
        // A process killed while it writes leaves a record cut short at the end of the log, of an update that was not
        // acknowledged: that is passed over. So is damage, with all that follows it; but that the mark tells. Without
        // one, damage before the end is an error.
        WALRecoveryMode recovery =
                mark == null ? WALRecoveryMode.TolerateCorruptedTailRecords : WALRecoveryMode.PointInTimeRecovery;
        if (isBroken(path(current), mark != null && mark.binds())) {
            // Before anything is changed: what a log has lost is gone when the rest of it was recovered.
            try (RocksDB look = RocksDB.openReadOnly(options.setWalRecoveryMode(recovery), path(current).toString())) {
                Acknowledged.check(path(current), mark, look.getLatestSequenceNumber());
            }
        }
        rows = open(current, recovery);
        Acknowledged.check(path(current), mark, rows.getLatestSequenceNumber()); // a manifest that was cut
        acknowledged = acknowledged(current, rows);
        disk.force(path(current)); // where the mark was made now, or by an opening that died before this
        disk.force(directory); // a rename that was not durable yet, before what it replaced is deleted
    }

    private RocksDB open(Current which, WALRecoveryMode recovery) throws RocksDBException {
        options.setCreateIfMissing(!which.equals(current)).setWalRecoveryMode(recovery);
        return RocksDB.open(options, path(which).toString());
    }

    /**
     * Whether a log is cut short or damaged. What RocksDB must not be shown is refused or, where nothing is promised,
     * cut off.
     */
    private static boolean isBroken(Path generation, boolean promised) throws IOException {
        boolean broken = false;
        for (Path each : children(generation, name -> name.endsWith(".log") || name.startsWith("MANIFEST"))) {
            RecordFile file = RecordFile.read(each);
            boolean isLog = each.toString().endsWith(".log");
            if (file.end() == RecordFile.End.FOREIGN) {
                if (promised || !isLog) {
                    throw new IOException(each + ": damaged at byte " + file.bytes());
                }
                try (FileChannel channel = FileChannel.open(each, StandardOpenOption.WRITE)) {
                    channel.truncate(file.bytes());
                }
            }
            broken |= isLog && file.end() != RecordFile.End.WHOLE;
        }
        return broken;
    }

    private Acknowledged acknowledged(Current which, RocksDB of) throws IOException {
        return Acknowledged.open(path(which), writes.sync(), of::getLatestSequenceNumber);
    }

    /** Makes a durable generation the one in use. */
    private void settle(Current to) throws IOException {
        disk.force(directory);
        to.write(directory, disk);
    }

    /** Reads rows into `target` (off the heap, keys.length rows), each at its key's place. */
    boolean[] get(long[] keys, MemorySegment target) throws IOException {
        int n = keys.length;
        ByteBuffer keyBytes = ByteBuffer.allocateDirect(n * KEY_BYTES);
        List<ByteBuffer> asked = new ArrayList<>(n), values = new ArrayList<>(n);
        for (int i = 0; i < n; i++) {
            keyBytes.putLong(i * KEY_BYTES, keys[i]);
            asked.add(keyBytes.slice(i * KEY_BYTES, KEY_BYTES));
            values.add(target.asSlice((long) i * rowBytes, rowBytes).asByteBuffer());
        }
        boolean[] present = new boolean[n];
        try {
            List<ByteBufferGetStatus> answers = rows.multiGetByteBuffers(reads, asked, values);
            for (int i = 0; i < n; i++) {
                Status status = answers.get(i).status;
                if (status.getCode() == Status.Code.Ok) {
                    if (answers.get(i).requiredSize != rowBytes) {
                        throw wrongSize(keys[i], answers.get(i).requiredSize);
                    }
                    present[i] = true;
                } else if (status.getCode() != Status.Code.NotFound) {
                    throw new IOException(directory + ": cannot read the row of key " + keys[i] + ": " + status.getCodeString());
                }
            }
        } catch (RocksDBException e) {
            throw failure("cannot read", e);
        }
        return present;
    }

    /** Writes all rows or none; durable as the store was opened. */
    void put(long[] keys, MemorySegment newRows) throws IOException {
        try (WriteBatch batch = new WriteBatch()) {
            fill(batch, keys, 0, keys.length, newRows);
            write(batch);
        } catch (RocksDBException e) {
            throw failure("cannot write", e);
        }
    }

    void delete(long[] keys) throws IOException {
        try (WriteBatch batch = new WriteBatch()) {
            for (long key : keys) {
                batch.delete(bytes(key));
            }
            write(batch);
        } catch (RocksDBException e) {
            throw failure("cannot write", e);
        }
    }

    private void write(WriteBatch batch) throws IOException, RocksDBException {
        long begun = acknowledged.begin();
        try {
            rows.write(writes, batch);
        } catch (RocksDBException | RuntimeException | Error e) {
            acknowledged.fail();
            throw e;
        }
        acknowledged.end(begun, batch.count());
    }

    /** Keys and rows as they are now, over a scratch file that lives as long as the arena. */
    HostRows copy(Arena arena) throws IOException {
        Path scratch = Files.createTempFile(directory, SCRATCH, ".tmp");
        Snapshot snapshot = rows.getSnapshot();
        try (FileChannel channel = FileChannel.open(
                        scratch, StandardOpenOption.READ, StandardOpenOption.WRITE, StandardOpenOption.DELETE_ON_CLOSE);
                ReadOptions consistent = new ReadOptions().setSnapshot(snapshot).setVerifyChecksums(true).setFillCache(false)) {
            long count = 0;
            try (RocksIterator each = rows.newIterator(consistent)) {
                for (each.seekToFirst(); each.isValid(); each.next()) {
                    count++;
                }
                each.status();
            }
            // Written, not mapped: a full disk is an IOException of a write, but the end of the process when a page
            // is touched.
            AppendedFile keys = new AppendedFile(channel, 0), values = new AppendedFile(channel, count * KEY_BYTES);
            try (RocksIterator each = rows.newIterator(consistent)) {
                for (each.seekToFirst(); each.isValid(); each.next()) {
                    long key = ByteBuffer.wrap(each.key()).getLong();
                    byte[] row = each.value();
                    if (row.length != rowBytes) {
                        throw wrongSize(key, row.length);
                    }
                    keys.append(ByteBuffer.allocate(KEY_BYTES).order(ByteOrder.nativeOrder()).putLong(0, key).array());
                    values.append(row);
                }
                each.status();
            }
            keys.flush();
            values.flush();
            MemorySegment all = channel.map(FileChannel.MapMode.READ_ONLY, 0, count * (KEY_BYTES + (long) rowBytes), arena);
            return new HostRows(count, all.asSlice(0, count * KEY_BYTES), all.asSlice(count * KEY_BYTES));
        } catch (RocksDBException e) {
            throw failure("cannot copy", e);
        } finally {
            rows.releaseSnapshot(snapshot);
            snapshot.close();
        }
    }

    /** n keys and their rows. */
    record HostRows(long count, MemorySegment keys, MemorySegment rows) {}

    /** A generation that is open. */
    record Generation(Current of, RocksDB rows, Acknowledged acknowledged) {
        private void close() {
            if (acknowledged != null) {
                acknowledged.close();
            }
            rows.close();
        }
    }

    /**
     * Writes the next generation beside the one in use; durable when this returns, and used by nobody before {@link
     * #use}.
     */
    Generation fill(MemorySegment keys, MemorySegment newRows) throws IOException {
        Current next = new Current(current.generation() + 1, current.dtype(), current.dim());
        disk.delete(path(next));
        Generation filled = null;
        try {
            filled = new Generation(next, open(next, WALRecoveryMode.TolerateCorruptedTailRecords), null);
            fill(filled.rows, keys, newRows);
            filled = new Generation(next, filled.rows, acknowledged(next, filled.rows));
            disk.force(path(next));
            return filled;
        } catch (RocksDBException e) {
            drop(next, filled, e);
            throw failure("cannot restore", e);
        } catch (IOException | RuntimeException | Error e) {
            drop(next, filled, e);
            throw e;
        }
    }

    /**
     * Replaces everything by the next generation, at once. Beside nothing else.
     *
     * @return what is of no use any more, for {@link #discard}
     * @throws Current.Unsettled when CURRENT names the new generation, or may, and a loss of power may take that back: both
     *     are left on disk, this store is at the old one, and nothing more may be done with it but {@link #close}
     * @throws IOException otherwise: the old rows stay
     */
    Generation use(Generation next) throws IOException {
        try {
            settle(next.of);
        } catch (Current.Unsettled e) {
            next.close(); // and stays: CURRENT names it
            throw e;
        } catch (IOException | RuntimeException | Error e) {
            drop(next.of, next, e);
            throw e;
        }
        Generation old = new Generation(current, rows, acknowledged);
        rows = next.rows;
        acknowledged = next.acknowledged;
        current = next.of;
        return old;
    }

    void discard(Generation old) {
        old.close();
        try {
            deleteLeftovers();
        } catch (IOException | RuntimeException e) {
            // The new rows are in use; what is left of the old ones goes when the table is opened next.
        }
    }

    private void fill(RocksDB empty, MemorySegment keys, MemorySegment newRows) throws RocksDBException {
        long count = keys.byteSize() / KEY_BYTES;
        try (WriteOptions unlogged = new WriteOptions().setDisableWAL(true);
                FlushOptions waiting = new FlushOptions().setWaitForFlush(true)) {
            for (long first = 0; first < count; first += RESTORE_BATCH) {
                int n = (int) Math.min(RESTORE_BATCH, count - first);
                long[] some = new long[n];
                for (int i = 0; i < n; i++) {
                    some[i] = keys.getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN), first + i);
                }
                try (WriteBatch batch = new WriteBatch()) {
                    fill(batch, some, 0, n, newRows.asSlice(first * rowBytes, (long) n * rowBytes));
                    empty.write(unlogged, batch);
                }
            }
            empty.flush(waiting);
            empty.syncWal();
        }
    }

    private void drop(Current of, Generation filled, Throwable why) {
        try {
            if (filled != null) {
                filled.close();
            }
            disk.delete(path(of));
        } catch (IOException | RuntimeException e) {
            why.addSuppressed(e); // it goes when the table is opened next
        }
    }

    void compact() throws IOException {
        try {
            rows.compactRange();
        } catch (RocksDBException e) {
            throw failure("cannot compact", e);
        }
    }

    private void fill(WriteBatch batch, long[] keys, int from, int to, MemorySegment newRows) throws RocksDBException {
        byte[] row = new byte[rowBytes];
        for (int i = from; i < to; i++) {
            MemorySegment.copy(newRows, ValueLayout.JAVA_BYTE, (long) i * rowBytes, row, 0, rowBytes);
            batch.put(bytes(keys[i]), row);
        }
    }

    private static byte[] bytes(long key) {
        return ByteBuffer.allocate(KEY_BYTES).putLong(0, key).array();
    }

    // -- generations ---------------------------------------------------------------------------------------------------

    private Path path(Current of) {
        return directory.resolve(of.name());
    }

    private List<Path> generations() throws IOException {
        return children(directory, name -> name.startsWith("rows-"));
    }

    private static List<Path> children(Path directory, Predicate<String> names) throws IOException {
        try (Stream<Path> all = Files.list(directory)) {
            return all.filter(each -> names.test(each.getFileName().toString())).toList();
        }
    }

    /** What a crash in the middle of a restore or snapshot left behind. */
    private void deleteLeftovers() throws IOException {
        for (Path each : generations()) {
            if (!each.getFileName().toString().equals(current.name())) {
                disk.delete(each);
            }
        }
        for (Path each : children(directory, name -> name.equals(Current.PART) || (name.startsWith(SCRATCH) && name.endsWith(".tmp")))) {
            disk.delete(each);
        }
    }

    private IOException wrongSize(long key, int bytes) {
        return new IOException(directory + ": expected rows of " + rowBytes + " bytes, key " + key + " has " + bytes);
    }

    private IOException failure(String what, RocksDBException e) {
        return new IOException(directory + ": " + what + ": " + e.getMessage(), e);
    }

    /**
     * Out of the log into files whose blocks have checksums: nothing of a table that was closed hangs on its log's
     * last bytes.
     */
    private void flush() {
        try (FlushOptions waiting = new FlushOptions().setWaitForFlush(true)) {
            rows.flush(waiting);
            acknowledged.settle();
        } catch (RocksDBException | IOException e) {
            // No room, or a disk that fails: the log has the rows as before.
        }
    }

    @Override
    public void close() {
        if (acknowledged != null) {
            flush();
            acknowledged.close();
        }
        if (rows != null) {
            rows.close();
        }
        reads.close();
        writes.close();
        options.close();
        filter.close();
        if (blocks != null) {
            blocks.close();
        }
        if (lock != null) {
            lock.close();
        }
    }
}
