package io.jindou.store;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.UUID;
import java.util.function.LongSupplier;
import java.util.zip.CRC32C;

/**
 * The file {@code ACKNOWLEDGED} of a generation: up to which of RocksDB's sequence numbers updates were acknowledged.
 * RocksDB cannot tell a record at the end of its log that a death cut short, which nobody was promised, from one that
 * was damaged later, and passes over either; opened again with less than this file says, the table has lost
 * something.
 *
 * <p>The file is written in place after each update, and not forced: it may say less than was acknowledged, never
 * more. What the operating system has taken outlives the process; only after a loss of power it may be some seconds
 * old. Buffered updates too bind while the machine is up, which the kernel's id of its start tells.
 */
final class Acknowledged implements AutoCloseable {
    private static final String NAME = "ACKNOWLEDGED";
    private static final int BYTES = 32;
    private static final UUID NO_START = new UUID(0, 0);
    private static final UUID START = start();

    /** Content of the file. durable: a loss of power takes nothing back. */
    record Mark(long sequence, boolean durable, UUID start) {
        /** Whether a table that has less has lost what it may not lose. */
        boolean binds() {
            return durable || (start.equals(START) && !start.equals(NO_START));
        }

        private byte[] bytes() {
            ByteBuffer bytes = ByteBuffer.allocate(BYTES).putLong(sequence).putLong(start.getMostSignificantBits());
            bytes.putLong(start.getLeastSignificantBits()).putInt(durable ? 1 : 0);
            return bytes.putInt(sum(bytes)).array();
        }

        private static int sum(ByteBuffer bytes) {
            CRC32C sum = new CRC32C();
            sum.update(bytes.array(), 0, BYTES - Integer.BYTES);
            return (int) sum.getValue();
        }
    }

    private final RandomAccessFile file; // a FileChannel would be closed by the interruption of an updating thread
    private final boolean durable;
    private final LongSupplier latest;
    private long marked;
    private int running; // updates
    private boolean failed; // an update has: RocksDB may have counted it

    private Acknowledged(RandomAccessFile file, boolean durable, LongSupplier latest) throws IOException {
        this.file = file;
        this.durable = durable;
        this.latest = latest;
        marked = latest.getAsLong();
        boolean isNew = file.length() == 0;
        write(new Mark(marked, true, START)); // what there is when a table is opened is in forced files
        if (isNew) {
            file.getFD().sync();
        }
    }

    /**
     * What the file says; null: there is none. An empty one promises nothing: its making was cut short, or a user has
     * given up what is lost.
     */
    static Mark read(Path generation) throws IOException {
        Path path = generation.resolve(NAME);
        if (!Files.exists(path)) {
            return null;
        }
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(path));
        if (bytes.capacity() == 0) {
            return new Mark(0, false, NO_START);
        }
        if (bytes.capacity() != BYTES || bytes.getInt(BYTES - Integer.BYTES) != Mark.sum(bytes)) {
            throw new IOException(path + ": damaged");
        }
        return new Mark(bytes.getLong(0), bytes.getInt(24) != 0, new UUID(bytes.getLong(8), bytes.getLong(16)));
    }

    /** For a generation that was opened and has what it must have; latest: its last sequence number. */
    static Acknowledged open(Path generation, boolean durable, LongSupplier latest) throws IOException {
        RandomAccessFile file = new RandomAccessFile(generation.resolve(NAME).toFile(), "rw");
        try {
            return new Acknowledged(file, durable, latest);
        } catch (IOException | RuntimeException | Error e) {
            file.close();
            throw e;
        }
    }

    /** Refuses a generation, or the part of it that is damaged, which has less than it must have. */
    static void check(Path path, Mark mark, long reached) throws IOException {
        if (mark != null && mark.binds() && reached < mark.sequence()) {
            throw new IOException(path + ": damaged: updates that were acknowledged are lost, " + reached + " of " + mark.sequence()
                    + " changes of rows are there; restore a copy, or empty the file " + NAME + " to go on without the others");
        }
    }

    /** Before an update is written; for {@link #end}. */
    synchronized long begin() {
        running++;
        return latest.getAsLong();
    }

    /** An update of so many changes, begun at a sequence number, is acknowledged after this. */
    synchronized void end(long begun, int changes) throws IOException {
        running--;
        // Beside other updates the last number may be of one that fails yet: then only what this one has at least.
        long reached = running == 0 && !failed ? latest.getAsLong() : begun + changes;
        if (reached > marked) {
            write(new Mark(reached, durable, START));
            marked = reached;
        }
    }

    /** An update was not written. */
    synchronized void fail() {
        running--;
        failed = true;
    }

    /** All that was acknowledged lies in files that were forced. */
    synchronized void settle() throws IOException {
        write(new Mark(marked, true, START));
    }

    private void write(Mark mark) throws IOException {
        file.seek(0);
        file.write(mark.bytes());
    }

    private static UUID start() {
        try {
            return UUID.fromString(Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip());
        } catch (IOException | RuntimeException e) {
            return NO_START; // not Linux: buffered updates bind as little as after a loss of power
        }
    }

    @Override
    public void close() {
        try {
            file.close();
        } catch (IOException e) {
            // Nothing is lost: it was written.
        }
    }
}
