package io.jindou;

import java.util.Objects;

/**
 * Sequences of different lengths: the rows of all of them one after another, and where each begins.
 *
 * @param values {@code [total, ...]}
 * @param offsets {@code [batch + 1]}, {@link DType#I32} or {@link DType#I64}: the first 0, none less than the one before, the last
 *     the total; sequence b is rows {@code offsets[b]} to {@code offsets[b + 1]}
 */
public record JaggedTensor(Tensor values, Tensor offsets) implements AutoCloseable {
    /**
     * Joins values and offsets.
     *
     * @throws NullPointerException when one is null
     */
    public JaggedTensor {
        if (values == null) {
            throw NativeObject.missing("values");
        }
        if (offsets == null) {
            throw NativeObject.missing("offsets");
        }
    }

    /**
     * Ids by bag: an {@link DType#I64} jagged tensor of rank 1.
     *
     * @param stream orders the write
     * @param rows one array a sequence; may be empty
     * @return the tensor, to be closed
     */
    public static JaggedTensor of(Stream stream, long[]... rows) {
        Objects.requireNonNull(rows, "rows");
        int[] lengths = new int[rows.length];
        int total = 0;
        for (int i = 0; i < rows.length; i++) {
            lengths[i] = Objects.requireNonNull(rows[i], "rows").length;
            total = Math.addExact(total, lengths[i]);
        }
        long[] joined = new long[total];
        int position = 0;
        for (long[] row : rows) {
            System.arraycopy(row, 0, joined, position, row.length);
            position += row.length;
        }
        Tensor values = Tensor.of(stream, joined, joined.length);
        try {
            return new JaggedTensor(values, Tensor.of(stream, offsets(lengths), lengths.length + 1L));
        } catch (RuntimeException e) {
            values.close();
            throw e;
        }
    }

    /**
     * Offsets of sequences with the given lengths.
     *
     * @param lengths one a sequence
     * @return one more than there are lengths, the first 0
     */
    public static long[] offsets(int... lengths) {
        long[] offsets = new long[lengths.length + 1];
        for (int i = 0; i < lengths.length; i++) {
            offsets[i + 1] = offsets[i] + lengths[i];
        }
        return offsets;
    }

    /**
     * The same offsets with other values.
     *
     * @param other values with as many rows
     * @return the pair
     */
    public JaggedTensor withValues(Tensor other) {
        return new JaggedTensor(other, offsets);
    }

    /**
     * The number of sequences.
     *
     * @return the length of the offsets less one
     */
    public long batch() {
        return offsets.elements() - 1;
    }

    /** Closes values and offsets. */
    @Override
    public void close() {
        try (offsets) {
            values.close();
        }
    }
}
