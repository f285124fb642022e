package io.jindou.examples;

import io.jindou.HostTensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Rows under online updates, of which a reader can tell whether one was lost or mixed with another. Version v of a
 * table has every 4 bytes of the row of a key changed by what key and v give, version 0 is the table itself, and a
 * row of its own, written with the others, says v.
 */
final class RowVersions {
    private static final long VERSION_KEY = -2;
    private static final ValueLayout.OfInt WORD = ValueLayout.JAVA_INT_UNALIGNED;

    private RowVersions() {}

    /** Of the rows of a version: their numbers, and the key of the row that says it. */
    static long[] keys(int count) {
        long[] keys = new long[count + 1];
        Arrays.setAll(keys, i -> i < count ? i : VERSION_KEY);
        return keys;
    }

    /** Version v of {@code [count, dim]}: {@code [count + 1, dim]}. */
    static HostTensor of(HostTensor rows, int version) {
        int count = Math.toIntExact(rows.shape()[0]), words = words(rows);
        int[] all = new int[(count + 1) * words];
        for (int i = 0; i < count; i++) {
            for (int w = 0; w < words; w++) {
                all[i * words + w] = rows.data().getAtIndex(WORD, (long) i * words + w) ^ change(i, version);
            }
        }
        Arrays.fill(all, count * words, all.length, version);
        byte[] bytes = MemorySegment.ofArray(all).toArray(ValueLayout.JAVA_BYTE);
        return new HostTensor(rows.dtype(), MemorySegment.ofArray(bytes), count + 1, rows.shape()[1]);
    }

    /** Which version of the rows was found, all of one; 0 where no row says it. */
    static int check(HostTensor found, HostTensor rows) throws IOException {
        int count = Math.toIntExact(rows.shape()[0]);
        long rowBytes = 4L * words(rows);
        int version = found.data().getAtIndex(WORD, (long) count * words(rows));
        long differs = version == 0 ? -1 : found.data().mismatch(of(rows, version).data());
        if (differs >= 0) {
            throw new IOException("row " + differs / rowBytes + ": not of version " + version + ", which was written last");
        }
        return version;
    }

    private static int words(HostTensor rows) {
        return Math.toIntExact(rows.data().byteSize() / rows.shape()[0] / 4);
    }

    /** Zero for version 0 alone. */
    private static int change(int key, int version) {
        return version == 0 ? 0 : (version * 0x9E3779B1 ^ key * 0x85EBCA6B) | 1;
    }
}
