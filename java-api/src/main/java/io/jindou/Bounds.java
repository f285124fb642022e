package io.jindou;

/** What a kernel does with an id, offset or length that is out of range and that only the device can see. */
public enum Bounds {
    /** The first offender is reported by the next synchronisation as an {@link OutOfBoundsException}. */
    STRICT(0),
    /** It is skipped and counted: {@link Stream#takeSkipped()}. */
    ZERO(1),
    /** Ids are not checked: the caller answers for them (embedding operators only). Offsets and lengths are, all the same. */
    TRUST(2);

    final int code;

    Bounds(int code) {
        this.code = code;
    }
}
