package io.jindou;

/** What a call on a {@link HashTable} did with a key; {@link #of} reads {@link HashTableResults#outcomes()}. */
public enum KeyOutcome {
    /** It was there: an insertion gave it a new row, a lookup found it, an erasure took it out. */
    ASSIGNED,
    /** Inserted into an empty slot. */
    INSERTED,
    /** Inserted in the place of another key. */
    REPLACED,
    /** Not inserted: seen less often than {@link HashTableDesc#admission()} asks. */
    NOT_ADMITTED,
    /** Not inserted: the table is full, the score too low, or the key -1. */
    REFUSED,
    /** Not in the table. */
    MISSING;

    private static final KeyOutcome[] ALL = values();

    /**
     * The outcome behind a number.
     *
     * @param code an element of {@link HashTableResults#outcomes()}
     * @return the outcome
     */
    public static KeyOutcome of(int code) {
        return ALL[code];
    }
}
