package io.jindou.store;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.CRC32C;

/**
 * How far a file of RocksDB's records, a log or a manifest, is whole. RocksDB reads them itself; but a flipped bit
 * that makes a fragment one of a recycled file, which this store does not write, it never returns from.
 *
 * <p>The format: blocks of 32 KiB; records in fragments, none beyond its block; before each fragment its CRC-32C,
 * length and kind.
 *
 * @param end what comes after the last fragment that is whole
 * @param bytes where it does
 */
record RecordFile(End end, long bytes) {
    /** Nothing; something cut short or wrong, which RocksDB sees; what it must not be shown. */
    enum End {
        WHOLE,
        BROKEN,
        FOREIGN
    }

    private static final int BLOCK = 32 << 10, HEADER = 7;
    private static final int FULL = 1, FIRST = 2, LAST = 4, RECYCLED = 5;

    static RecordFile read(Path file) throws IOException {
        boolean within = false; // a record whose last fragment is to come
        try (InputStream in = Files.newInputStream(file)) {
            for (long first = 0; ; first += BLOCK) {
                ByteBuffer block = ByteBuffer.wrap(in.readNBytes(BLOCK)).order(ByteOrder.LITTLE_ENDIAN);
                while (block.remaining() >= HEADER) {
                    long here = first + block.position();
                    int sum = block.getInt(), length = block.getShort() & 0xffff, kind = block.get() & 0xff;
                    if (kind >= RECYCLED) {
                        return new RecordFile(End.FOREIGN, here);
                    }
                    boolean begins = kind == FULL || kind == FIRST;
                    if (kind < FULL || begins == within || length > block.remaining() || sum != sum(block, length)) {
                        return new RecordFile(End.BROKEN, here);
                    }
                    within = kind != FULL && kind != LAST;
                    block.position(block.position() + length);
                }
                if (block.limit() < BLOCK) {
                    boolean whole = !within && !block.hasRemaining();
                    return new RecordFile(whole ? End.WHOLE : End.BROKEN, first + block.position());
                }
            }
        }
    }

    /**
     * Of the kind, which lies before the fragment, and the fragment; masked, as sums are that are stored beside what
     * they are of.
     */
    private static int sum(ByteBuffer block, int length) {
        CRC32C sum = new CRC32C();
        sum.update(block.array(), block.position() - 1, length + 1);
        return Integer.rotateRight((int) sum.getValue(), 15) + 0xa282ead8;
    }
}
