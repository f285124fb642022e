package io.jindou;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * Keys and values of many users in pages of one pool: a user's rows grow without being copied, and an evicted user's pages serve
 * the next.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="paged-cache"}
 *
 * <p>The pool is device memory, allocated once. Which page holds what is kept on the host: {@link #batch} gives attention the page
 * table of the users of a request. Rows are rounded or quantised as they are appended ({@link PagedCacheDesc#cacheDType()}).
 *
 * <p>Methods may be called from any thread, one at a time. The work they enqueue is ordered by the stream: after an eviction, appends
 * to the pages it freed must come on the stream of the last reads of the evicted user, or behind an {@link Event} of it.
 *
 * <p>Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention", arXiv 2309.06180.
 */
public final class PagedCache implements AutoCloseable {
    /** A user's pages, in the order of its rows. */
    private static final class Rows {
        int[] pages = new int[0];
        int length;
    }

    private final PagedCacheDesc desc;
    private final Device device;
    private final List<AutoCloseable> owned = new ArrayList<>();
    private final Tensor keyPages;
    private final Tensor valuePages;
    private final Tensor keyScales;
    private final Tensor valueScales;
    private final PagedCopy append;
    private final PagedCopy gather;
    private final Map<Long, Rows> users = new HashMap<>();
    /** A stack: the page freed last is taken first, while it may still be in a cache of the device. */
    private final int[] free;
    private int freeCount;
    private boolean closed;

    private PagedCache(Device device, PagedCacheDesc desc, Tensor keyScales, Tensor valueScales) {
        this.device = device;
        this.desc = desc;
        try {
            append = own(PagedCopy.plan(device, desc, true));
            gather = own(PagedCopy.plan(device, desc, false));
            if (desc.numPages() < 1 || desc.numPages() > Integer.MAX_VALUE - 8) {
                throw new InvalidArgumentException(
                        "argument 'numPages': expected 1.." + (Integer.MAX_VALUE - 8) + ", got " + desc.numPages());
            }
            keyPages = own(pages(desc.headDimK()));
            valuePages = own(pages(desc.headDimV()));
            boolean rowScales = desc.cacheDType() == DType.I8;
            this.keyScales = rowScales ? own(rowScales()) : keyScales;
            this.valueScales = rowScales ? own(rowScales()) : valueScales;
            free = new int[(int) desc.numPages()];
        } catch (RuntimeException | Error e) {
            closeOwned();
            throw e;
        }
        for (int page = free.length - 1; page >= 0; page--) {
            free[freeCount++] = page;
        }
    }

    /**
     * An empty cache whose pages are not {@link DType#F8_E4M3}.
     *
     * @param device where the pages lie
     * @param desc its shape
     * @return the cache, to be closed
     * @throws InvalidArgumentException when the description breaks a rule; the message names the field
     * @throws OutOfDeviceMemoryException when the device has no room for the pages
     */
    public static PagedCache create(Device device, PagedCacheDesc desc) {
        Objects.requireNonNull(desc, "desc");
        if (desc.cacheDType() == DType.F8_E4M3) {
            throw new InvalidArgumentException("argument 'cacheDType': expected scales for F8_E4M3 (the other create), got none");
        }
        return new PagedCache(device, desc, null, null);
    }

    /**
     * An empty cache of {@link DType#F8_E4M3} pages. A number x becomes the code of {@code x / scale}, cut at 448 of its sign:
     * a good scale is the largest magnitude to come, divided by 448. The scales must not change while pages hold rows.
     *
     * @param device where the pages lie
     * @param desc its shape
     * @param keyScales {@code [1]} or {@code [numPages, Hkv]} {@link DType#F32}; stays the caller's
     * @param valueScales likewise
     * @return the cache, to be closed
     * @throws InvalidArgumentException when the description breaks a rule; the message names the field
     * @throws OutOfDeviceMemoryException when the device has no room for the pages
     */
    public static PagedCache create(Device device, PagedCacheDesc desc, Tensor keyScales, Tensor valueScales) {
        Objects.requireNonNull(desc, "desc");
        if (desc.cacheDType() != DType.F8_E4M3) {
            throw new InvalidArgumentException("argument 'cacheDType': expected F8_E4M3 with scales, got " + desc.cacheDType());
        }
        if (keyScales == null) {
            throw NativeObject.missing("keyScales");
        }
        if (valueScales == null) {
            throw NativeObject.missing("valueScales");
        }
        return new PagedCache(device, desc, keyScales, valueScales);
    }

    /**
     * The shape of the cache.
     *
     * @return the description it was made from
     */
    public PagedCacheDesc desc() {
        return desc;
    }

    /**
     * Enqueues the rows of one user behind those it has; a user not seen before has none.
     *
     * @param stream orders the write
     * @param user any number
     * @param keys {@code [n, Hkv, dk]}
     * @param values {@code [n, Hkv, dv]}
     * @throws OutOfPagesException when there are too few free pages; nothing was changed
     */
    public void append(Stream stream, long user, Tensor keys, Tensor values) {
        if (keys == null) {
            throw NativeObject.missing("keys");
        }
        append(stream, new long[] {user}, new int[] {Math.toIntExact(keys.dim(0))}, keys, values);
    }

    /**
     * Enqueues the rows of several users, all or none.
     *
     * @param stream orders the write
     * @param of users, each once
     * @param counts new rows of each
     * @param keys {@code [total, Hkv, dk]}, the rows of the first user first
     * @param values {@code [total, Hkv, dv]}
     * @throws OutOfPagesException when there are too few free pages; nothing was changed
     */
    public synchronized void append(Stream stream, long[] of, int[] counts, Tensor keys, Tensor values) {
        expectOpen();
        expectDistinct(of);
        if (counts.length != of.length) {
            throw new InvalidArgumentException("argument 'counts': expected " + of.length + " (one a user), got " + counts.length);
        }
        long needed = 0;
        for (int i = 0; i < of.length; i++) {
            if (counts[i] < 0) {
                throw new InvalidArgumentException("argument 'counts': expected at least 0, got " + counts[i] + " at position " + i);
            }
            Rows rows = users.get(of[i]);
            needed += pagesOf((rows == null ? 0 : rows.length) + (long) counts[i]) - (rows == null ? 0 : rows.pages.length);
        }
        if (needed > freeCount) {
            throw new OutOfPagesException(needed, freeCount);
        }
        Rows[] after = new Rows[of.length];
        int taken = 0;
        for (int i = 0; i < of.length; i++) {
            Rows rows = users.getOrDefault(of[i], new Rows());
            after[i] = new Rows();
            after[i].length = rows.length + counts[i];
            after[i].pages = Arrays.copyOf(rows.pages, pagesOf(after[i].length));
            for (int p = rows.pages.length; p < after[i].pages.length; p++) {
                after[i].pages[p] = free[freeCount - ++taken];
            }
        }
        try (PagedKeysValues before = table(stream, of, after, true);
                Tensor offsets = Tensor.of(stream, JaggedTensor.offsets(counts))) {
            append.run(stream, keys, values, offsets, before);
        }
        freeCount -= taken;
        for (int i = 0; i < of.length; i++) {
            users.put(of[i], after[i]);
        }
    }

    /**
     * Enqueues the reading of all rows of some users, as numbers of {@link PagedCacheDesc#dtype()}.
     *
     * @param stream orders the read
     * @param of users, in the order their rows are wanted
     * @param keys {@code [total, Hkv, dk]}, total the sum of their {@linkplain #length lengths}
     * @param values {@code [total, Hkv, dv]}
     */
    public synchronized void gather(Stream stream, long[] of, Tensor keys, Tensor values) {
        expectOpen();
        int[] counts = Arrays.stream(of).mapToInt(this::length).toArray();
        try (PagedKeysValues all = batch(stream, of);
                Tensor offsets = Tensor.of(stream, JaggedTensor.offsets(counts))) {
            gather.run(stream, keys, values, offsets, all);
        }
    }

    /**
     * What attention reads: the pages, and the page table and lengths of some users.
     *
     * @param stream orders the write of the table
     * @param of the users of a request, in the order of its queries; a user without rows has length 0
     * @return to be closed, which closes the table and the lengths only
     */
    public synchronized PagedKeysValues batch(Stream stream, long... of) {
        expectOpen();
        Rows[] rows = new Rows[of.length];
        for (int i = 0; i < of.length; i++) {
            rows[i] = users.getOrDefault(of[i], new Rows());
        }
        return table(stream, of, rows, false);
    }

    /**
     * Forgets a user and gives its pages back.
     *
     * @param user any number
     * @return how many pages that freed; 0 for a user without rows
     */
    public synchronized int evict(long user) {
        expectOpen();
        Rows rows = users.remove(user);
        if (rows == null) {
            return 0;
        }
        for (int page : rows.pages) {
            free[freeCount++] = page;
        }
        return rows.pages.length;
    }

    /**
     * Forgets a user's last rows and gives their pages back: those of candidates that were scored, say. The next append comes behind
     * what is left.
     *
     * @param user any number
     * @param rows how many rows stay, at most those it has; with 0 the user stays known
     * @return how many pages that freed
     */
    public synchronized int truncate(long user, int rows) {
        expectOpen();
        int length = length(user);
        if (rows < 0 || rows > length) {
            throw new InvalidArgumentException("argument 'rows': expected 0.." + length + " (rows of the user), got " + rows);
        }
        Rows before = users.get(user);
        if (before == null) {
            return 0;
        }
        int kept = pagesOf(rows);
        for (int p = before.pages.length - 1; p >= kept; p--) {
            free[freeCount++] = before.pages[p];
        }
        int freed = before.pages.length - kept;
        before.pages = Arrays.copyOf(before.pages, kept);
        before.length = rows;
        return freed;
    }

    /**
     * Rows that a user has.
     *
     * @param user any number
     * @return 0 for a user not seen, or evicted
     */
    public synchronized int length(long user) {
        Rows rows = users.get(user);
        return rows == null ? 0 : rows.length;
    }

    /**
     * The users in the cache, in no order.
     *
     * @return a copy
     */
    public synchronized Set<Long> users() {
        return Set.copyOf(users.keySet());
    }

    /**
     * Pages that no user has.
     *
     * @return how many
     */
    public synchronized int freePages() {
        return freeCount;
    }

    /**
     * Whether {@link #close()} was called.
     *
     * @return true when it was
     */
    public synchronized boolean isClosed() {
        return closed;
    }

    /** Releases the pages; work already enqueued completes first. Closing again does nothing. */
    @Override
    public synchronized void close() {
        closed = true;
        closeOwned();
    }

    @Override
    public synchronized String toString() {
        return "PagedCache[" + users.size() + " users, " + freeCount + " of " + free.length + " pages free, " + desc.cacheDType() + "]";
    }

    private PagedKeysValues table(Stream stream, long[] of, Rows[] rows, boolean lengthsBefore) {
        int width = 1;
        for (Rows each : rows) {
            width = Math.max(width, each.pages.length);
        }
        int[] table = new int[Math.multiplyExact(rows.length, width)];
        int[] lengths = new int[rows.length];
        for (int i = 0; i < rows.length; i++) {
            System.arraycopy(rows[i].pages, 0, table, i * width, rows[i].pages.length);
            lengths[i] = lengthsBefore ? length(of[i]) : rows[i].length;
        }
        Tensor pageTable = Tensor.of(stream, table, rows.length, width);
        try {
            return new PagedKeysValues(
                    keyPages, valuePages, pageTable, Tensor.of(stream, lengths, rows.length), keyScales, valueScales);
        } catch (RuntimeException e) {
            pageTable.close();
            throw e;
        }
    }

    private int pagesOf(long rows) {
        return Math.toIntExact((rows + desc.pageSize() - 1) / desc.pageSize());
    }

    private Tensor pages(int dim) {
        return Tensor.create(device, desc.cacheDType(), desc.numPages(), desc.pageSize(), desc.numKvHeads(), dim);
    }

    private Tensor rowScales() {
        return Tensor.create(device, DType.F32, desc.numPages(), desc.pageSize(), desc.numKvHeads());
    }

    private <T extends AutoCloseable> T own(T object) {
        owned.add(object);
        return object;
    }

    private void closeOwned() {
        for (AutoCloseable object : owned) {
            ((NativeObject) object).close();
        }
        owned.clear();
    }

    private void expectOpen() {
        if (closed) {
            throw new ClosedException("the paged cache has been closed");
        }
    }

    private static void expectDistinct(long[] of) {
        Set<Long> seen = new HashSet<>();
        for (int i = 0; i < of.length; i++) {
            if (!seen.add(of[i])) {
                throw new InvalidArgumentException("argument 'of': expected each user once, got " + of[i] + " again at position " + i);
            }
        }
    }
}
