package io.jindou;

/** Which key of a {@link HashTable} makes room for a new one when both buckets of that are full. */
public enum Eviction {
    /** None: keys are moved, and an insertion into a full table is refused. */
    NONE(0),
    /** The one looked up or inserted longest ago; of the new key's second bucket only where that was half as long again as in the first. */
    LRU(1),
    /**
     * The one looked up and inserted least often of late: a new key always gets in, with a count one above that of the key it replaces, and none
     * of those it competes with stays more than 16 above it. So what was popular once goes when it is not used any more, however often it was.
     */
    LFU(2),
    /** The one with the least score, given at insertion; a new key with a score below all of them is refused. */
    SCORE(3);

    final int code;

    Eviction(int code) {
        this.code = code;
    }
}
