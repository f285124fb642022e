package io.jindou;

/**
 * What the beams of some requests have written since their prefix: a row a level and slot, never moved, and the ancestry through
 * which {@link BeamAttention} finds the rows that a beam descends from.
 *
 * <p>Beam w of request b sees, at each level l that counts, the row {@code [b, l, ancestry[b, l, w]]}. {@link BeamAncestry} keeps such a
 * table on the host.
 *
 * @param keys {@code [B, L, S, Hkv, dqk]}
 * @param values {@code [B, L, S, Hkv, dv]}
 * @param ancestry {@code [B, L, S]} {@link DType#I32}: slots, 0 to S - 1
 * @param lengths {@code [B]} {@link DType#I32}: levels that count, 0 to L; null: all of them
 */
public record BeamSuffix(Tensor keys, Tensor values, Tensor ancestry, Tensor lengths) {
    /**
     * Joins the tensors.
     *
     * @throws NullPointerException when one but the lengths is null
     */
    public BeamSuffix {
        if (keys == null) {
            throw NativeObject.missing("keys");
        }
        if (values == null) {
            throw NativeObject.missing("values");
        }
        if (ancestry == null) {
            throw NativeObject.missing("ancestry");
        }
    }

    /**
     * Of which all levels count.
     *
     * @param keys {@code [B, L, S, Hkv, dqk]}
     * @param values {@code [B, L, S, Hkv, dv]}
     * @param ancestry {@code [B, L, S]} {@link DType#I32}
     */
    public BeamSuffix(Tensor keys, Tensor values, Tensor ancestry) {
        this(keys, values, ancestry, null);
    }
}
