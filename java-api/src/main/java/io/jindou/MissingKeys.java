package io.jindou;

/** What a lookup in a {@link HashTable} writes for a key that is not there. */
public enum MissingKeys {
    /** Zeros. */
    ZERO(0),
    /** A row given to the lookup. */
    DEFAULT(1),
    /** Zeros; {@link HashTableDesc#bounds()} decides whether the first is reported or all are counted. */
    REPORT(2),
    /** Nothing: a row that is there already, found elsewhere, stays. */
    KEEP(3);

    final int code;

    MissingKeys(int code) {
        this.code = code;
    }
}
