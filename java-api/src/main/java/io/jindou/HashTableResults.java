package io.jindou;

/**
 * Tensors that a call on a {@link HashTable} writes besides rows; any of them may be null.
 *
 * @param slots {@code [n]} {@link DType#I64}: the row of {@link HashTable#rows()} that each key has, or -1; good until the next
 *     insertion
 * @param outcomes {@code [n]} {@link DType#I32}: see {@link KeyOutcome}
 * @param evictedKeys {@code [n]} {@link DType#I64}, insertions only: the key that each one replaced, or -1
 */
public record HashTableResults(Tensor slots, Tensor outcomes, Tensor evictedKeys) {
    /** Nothing but the rows. */
    public static final HashTableResults NONE = new HashTableResults(null, null, null);
}
