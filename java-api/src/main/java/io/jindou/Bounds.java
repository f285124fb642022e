package io.jindou;

import io.jindou.bindings.JindouAbi;

/** What a kernel does with an id, offset or length that is out of range and that only the device can see. */
public enum Bounds {
    /** The first offender is reported by the next synchronisation as an {@link OutOfBoundsException}. */
    STRICT(JindouAbi.JD_BOUNDS_STRICT()),
    /** It is skipped and counted: {@link Stream#takeSkipped()}. */
    ZERO(JindouAbi.JD_BOUNDS_ZERO()),
    /** No check: the caller answers for every id (embedding operators only). */
    TRUST(JindouAbi.JD_BOUNDS_TRUST());

    final int code;

    Bounds(int code) {
        this.code = code;
    }
}
