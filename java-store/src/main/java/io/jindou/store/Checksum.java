package io.jindou.store;

import java.lang.foreign.MemorySegment;
import java.util.zip.CRC32C;

/** What a snapshot says of its own content, so that a page that was damaged since is not restored. */
final class Checksum {
    /** The entry of the file's metadata. */
    static final String NAME = "jindou.crc32c";

    private static final long PIECE = 1 << 30; // what a buffer holds

    private Checksum() {}

    /** Of one part after the other. */
    static String of(MemorySegment... parts) {
        CRC32C sum = new CRC32C();
        for (MemorySegment part : parts) {
            for (long at = 0; at < part.byteSize(); at += PIECE) {
                sum.update(part.asSlice(at, Math.min(PIECE, part.byteSize() - at)).asByteBuffer());
            }
        }
        return String.format("%08x", sum.getValue());
    }
}
