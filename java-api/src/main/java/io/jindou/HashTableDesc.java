package io.jindou;

import java.util.Objects;

/**
 * The shape and the rules of a {@link HashTable}.
 *
 * @param dtype of rows: {@link DType#F32}, {@link DType#F16}, {@link DType#BF16}, {@link DType#F8_E4M3}, {@link DType#I8} or
 *     {@link DType#U8} (rows of codes, see {@link RowFormat})
 * @param dim elements of a row; its bytes are a multiple of 4, to 8,192
 * @param capacity keys that fit. Without an eviction that many keys find a place, whichever they are but for one set in a billion (not chosen
 *     against the hash), at a load factor of up to 0.95; of more keys any may be refused. With one, keys compete for a place from the start
 * @param eviction which key makes room
 * @param admission a key is inserted when it is seen for the n-th time, 1 to 255: an insertion of a key that is not there is a sight of it. Sights
 *     fade: their counters are halved, each once in {@code (3 n - 4) / 8} sights a slot
 * @param missing what a lookup writes for a key that is not there
 * @param bounds {@link Bounds#STRICT}: the first key that there was no room for, or that is missing
 *     ({@link MissingKeys#REPORT}) is reported at the next synchronisation; {@link Bounds#ZERO}: they are counted
 */
public record HashTableDesc(
        DType dtype, int dim, long capacity, Eviction eviction, int admission, MissingKeys missing, Bounds bounds) {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public HashTableDesc {
        Objects.requireNonNull(dtype, "dtype");
        Objects.requireNonNull(eviction, "eviction");
        Objects.requireNonNull(missing, "missing");
        Objects.requireNonNull(bounds, "bounds");
    }

    /**
     * A table that evicts nothing, admits every key and gives zeros for missing ones.
     *
     * @param dtype of rows
     * @param dim elements of a row
     * @param capacity keys that fit
     * @return the description
     */
    public static HashTableDesc of(DType dtype, int dim, long capacity) {
        return new HashTableDesc(dtype, dim, capacity, Eviction.NONE, 1, MissingKeys.ZERO, Bounds.STRICT);
    }

    /**
     * The same with another eviction.
     *
     * @param value which key makes room
     * @return the description
     */
    public HashTableDesc withEviction(Eviction value) {
        return new HashTableDesc(dtype, dim, capacity, value, admission, missing, bounds);
    }

    /**
     * The same with a frequency filter, which keeps out keys that come once: of those hardly more than one in twenty is inserted, however
     * long the table lives. Keys share counters, so that one may be admitted early.
     *
     * @param value sights after which a key is inserted
     * @return the description
     */
    public HashTableDesc withAdmission(int value) {
        return new HashTableDesc(dtype, dim, capacity, eviction, value, missing, bounds);
    }

    /**
     * The same with other rows for missing keys.
     *
     * @param value what a lookup writes
     * @return the description
     */
    public HashTableDesc withMissing(MissingKeys value) {
        return new HashTableDesc(dtype, dim, capacity, eviction, admission, value, bounds);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value {@link Bounds#STRICT} or {@link Bounds#ZERO}
     * @return the description
     */
    public HashTableDesc withBounds(Bounds value) {
        return new HashTableDesc(dtype, dim, capacity, eviction, admission, missing, value);
    }
}
