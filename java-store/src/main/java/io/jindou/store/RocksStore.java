package io.jindou.store;

import io.jindou.HostTensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.ByteBufferGetStatus;
import org.rocksdb.Cache;
import org.rocksdb.CompressionType;
import org.rocksdb.DataBlockIndexType;
import org.rocksdb.FlushOptions;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.RocksIterator;
import org.rocksdb.Snapshot;
import org.rocksdb.Status;
import org.rocksdb.WriteBatch;
import org.rocksdb.WriteOptions;

/**
 * Rows by key on disk. A key is 8 bytes, big-endian, a value the bytes of a row; RocksDB's log makes a batch all or nothing, its checksums
 * turn a damaged block into an error instead of a wrong row.
 *
 * <p>The directory holds one database a generation, {@code rows-1}, {@code rows-2}..., and the file {@code CURRENT} with the name of
 * the one in use. A restore fills the next generation and replaces that file at once, so that a crash leaves the old or the new rows.
 */
final class RocksStore implements AutoCloseable {
    private static final String CURRENT = "CURRENT";
    private static final int KEY_BYTES = Long.BYTES;
    private static final int RESTORE_BATCH = 4096;

    static {
        RocksDB.loadLibrary();
    }

    private final Path directory;
    private final int rowBytes;
    private final Options options = new Options();
    private final BloomFilter filter = new BloomFilter(10);
    private final Cache blocks;
    private final ReadOptions reads = new ReadOptions();
    private final WriteOptions writes = new WriteOptions();
    private RocksDB rows;
    private int generation;

    RocksStore(Path directory, int rowBytes, Durability durability, long blockCacheBytes) throws IOException {
        this.directory = directory;
        this.rowBytes = rowBytes;
        blocks = new LRUCache(blockCacheBytes);
        options.setCreateIfMissing(true)
                .setParanoidChecks(true)
                .setCompressionType(CompressionType.NO_COMPRESSION) // rows of floats do not compress
                .setTableFormatConfig(new BlockBasedTableConfig()
                        .setBlockCache(blocks)
                        .setFilterPolicy(filter)
                        .setCacheIndexAndFilterBlocks(false)
                        .setDataBlockIndexType(DataBlockIndexType.kDataBlockBinaryAndHash));
        writes.setSync(durability == Durability.SYNC);
        try {
            Files.createDirectories(directory);
            generation = currentGeneration();
            deleteOtherGenerations();
            rows = RocksDB.open(options, path(generation).toString());
        } catch (RocksDBException e) {
            close();
            throw failure("cannot open", e);
        } catch (IOException | RuntimeException e) {
            close();
            throw e;
        }
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
                        throw new IOException(directory + ": expected rows of " + rowBytes + " bytes, key " + keys[i] + " has "
                                + answers.get(i).requiredSize);
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
            rows.write(writes, batch);
        } catch (RocksDBException e) {
            throw failure("cannot write", e);
        }
    }

    void delete(long[] keys) throws IOException {
        try (WriteBatch batch = new WriteBatch()) {
            for (long key : keys) {
                batch.delete(bytes(key));
            }
            rows.write(writes, batch);
        } catch (RocksDBException e) {
            throw failure("cannot write", e);
        }
    }

    /** Keys and rows as they are now, over a scratch file that lives as long as the arena. */
    HostRows copy(Arena arena) throws IOException {
        Path scratch = Files.createTempFile(directory, "snapshot", ".tmp");
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
            MemorySegment all = channel.map(FileChannel.MapMode.READ_WRITE, 0, count * (KEY_BYTES + (long) rowBytes), arena);
            MemorySegment keys = all.asSlice(0, count * KEY_BYTES), values = all.asSlice(count * KEY_BYTES);
            long at = 0;
            try (RocksIterator each = rows.newIterator(consistent)) {
                for (each.seekToFirst(); each.isValid(); each.next(), at++) {
                    keys.setAtIndex(ValueLayout.JAVA_LONG_UNALIGNED, at, ByteBuffer.wrap(each.key()).getLong());
                    MemorySegment.copy(each.value(), 0, values, ValueLayout.JAVA_BYTE, at * rowBytes, rowBytes);
                }
                each.status();
            }
            return new HostRows(count, keys, values);
        } catch (RocksDBException e) {
            throw failure("cannot copy", e);
        } finally {
            rows.releaseSnapshot(snapshot);
            snapshot.close();
        }
    }

    /** n keys and their rows. */
    record HostRows(long count, MemorySegment keys, MemorySegment rows) {}

    /** Replaces everything by these rows, at once. */
    void replace(HostTensor keys, MemorySegment newRows) throws IOException {
        int next = generation + 1;
        long count = keys.data().byteSize() / KEY_BYTES;
        delete(path(next));
        RocksDB filled = null;
        try {
            filled = RocksDB.open(options, path(next).toString());
            try (WriteOptions unlogged = new WriteOptions().setDisableWAL(true);
                    FlushOptions waiting = new FlushOptions().setWaitForFlush(true)) {
                for (long first = 0; first < count; first += RESTORE_BATCH) {
                    int n = (int) Math.min(RESTORE_BATCH, count - first);
                    long[] some = new long[n];
                    for (int i = 0; i < n; i++) {
                        some[i] = keys.data().getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN), first + i);
                    }
                    try (WriteBatch batch = new WriteBatch()) {
                        fill(batch, some, 0, n, newRows.asSlice(first * rowBytes, (long) n * rowBytes));
                        filled.write(unlogged, batch);
                    }
                }
                filled.flush(waiting);
                filled.syncWal();
            }
            setCurrent(next);
        } catch (RocksDBException e) {
            drop(filled, next);
            throw failure("cannot restore", e);
        } catch (IOException | RuntimeException e) {
            drop(filled, next);
            throw e;
        }
        rows.close();
        rows = filled;
        generation = next;
        deleteOtherGenerations();
    }

    private void drop(RocksDB filled, int of) throws IOException {
        if (filled != null) {
            filled.close();
        }
        delete(path(of));
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

    // -- generations -----------------------------------------------------------------------------------------------------------

    private Path path(int of) {
        return directory.resolve("rows-" + of);
    }

    private int currentGeneration() throws IOException {
        Path file = directory.resolve(CURRENT);
        if (!Files.exists(file)) {
            setCurrent(1);
            return 1;
        }
        String name = Files.readString(file).strip();
        if (!name.matches("rows-[1-9][0-9]{0,8}")) {
            throw new IOException(file + ": expected the name of a generation (rows-1...), got '" + name + "'");
        }
        return Integer.parseInt(name.substring(5));
    }

    private void setCurrent(int to) throws IOException {
        Path part = directory.resolve(CURRENT + ".tmp");
        try (FileChannel channel = FileChannel.open(
                part, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
            ByteBuffer text = ByteBuffer.wrap(("rows-" + to + "\n").getBytes(StandardCharsets.US_ASCII));
            while (text.hasRemaining()) {
                channel.write(text);
            }
            channel.force(true);
        }
        Files.move(part, directory.resolve(CURRENT), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        force(directory);
    }

    /** What a crash in the middle of a restore or snapshot left behind. */
    private void deleteOtherGenerations() throws IOException {
        try (Stream<Path> all = Files.list(directory)) {
            for (Path each : all.toList()) {
                String name = each.getFileName().toString();
                boolean other = name.startsWith("rows-") && !name.equals("rows-" + generation);
                if (other || name.endsWith(".tmp")) {
                    delete(each);
                }
            }
        }
    }

    private static void delete(Path path) throws IOException {
        if (!Files.exists(path)) {
            return;
        }
        try (Stream<Path> all = Files.walk(path)) {
            all.sorted(Comparator.reverseOrder()).forEach(each -> {
                try {
                    Files.deleteIfExists(each);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
    }

    /** Makes renames in a directory durable. */
    static void force(Path directory) throws IOException {
        try (FileChannel channel = FileChannel.open(directory, StandardOpenOption.READ)) {
            channel.force(true);
        }
    }

    private IOException failure(String what, RocksDBException e) {
        return new IOException(directory + ": " + what + ": " + e.getMessage(), e);
    }

    @Override
    public void close() {
        if (rows != null) {
            rows.close();
        }
        reads.close();
        writes.close();
        options.close();
        filter.close();
        blocks.close();
    }
}
