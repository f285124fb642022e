package io.jindou;

/**
 * An operator under {@link Bounds#STRICT} met an id, offset or length out of range. It was found by the kernel, so it is
 * reported by the next call that synchronises the stream, which then is usable again.
 */
public final class OutOfBoundsException extends JindouException {
    private static final long serialVersionUID = 1L;

    /** The embedding table, or -1. */
    private final int table;
    /** Index of the first offender within its tensor, or -1. */
    private final long position;
    /** The offending value. */
    private final long value;

    OutOfBoundsException(String message, int table, long position, long value) {
        super(Status.OUT_OF_BOUNDS, 0, message);
        this.table = table;
        this.position = position;
        this.value = value;
    }

    /**
     * Where the first bad value was.
     *
     * @return its index within its tensor (ids), or the sequence (offsets, lengths); -1 when not known
     */
    public long position() {
        return position;
    }

    /**
     * The bad value itself.
     *
     * @return the id, offset, length or number of targets
     */
    public long id() {
        return value;
    }

    /**
     * Which embedding table the id was meant for.
     *
     * @return its index, or -1 when no table is concerned
     */
    public int table() {
        return table;
    }
}
