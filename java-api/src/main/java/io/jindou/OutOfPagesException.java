package io.jindou;

/** A {@link PagedCache} has fewer free pages than an append needs. Nothing was changed: after an eviction it may succeed. */
public final class OutOfPagesException extends JindouException {
    private static final long serialVersionUID = 1L;

    /** Pages that the append needs beyond those its users have. */
    private final long needed;
    /** Pages that are free. */
    private final long free;

    OutOfPagesException(long needed, long free) {
        super(Status.OUT_OF_MEMORY, 0, "paged cache: expected " + needed + " free pages, got " + free + " (evict a user first)");
        this.needed = needed;
        this.free = free;
    }

    /**
     * What the append needed.
     *
     * @return pages
     */
    public long needed() {
        return needed;
    }

    /**
     * What there was.
     *
     * @return pages
     */
    public long free() {
        return free;
    }
}
