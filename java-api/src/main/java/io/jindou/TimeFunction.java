package io.jindou;

/** How {@link SequenceTimes} puts distances in time into buckets; exact for 64-bit timestamps. */
public enum TimeFunction {
    /** {@code floor(sqrt(distance / unit))}. */
    SQRT(0),
    /** {@code max(0, floor(ln(distance / unit)))}. */
    LOG(1);

    final int code;

    TimeFunction(int code) {
        this.code = code;
    }
}
