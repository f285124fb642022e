package io.jindou;

/**
 * Histories of a batch of users, for {@link SequenceEmbedding}: event i of the batch has one id a table.
 *
 * @param ids {@code [T, total]} {@link DType#I32} or {@link DType#I64}
 * @param offsets {@code [B + 1]} {@link DType#I32} or {@link DType#I64}: sequence b has the events from {@code offsets[b]} to
 *     {@code offsets[b + 1]}
 * @param timestamps {@code [total]} {@link DType#I64}, where time embeddings are added; else null
 * @param queryTimes {@code [B]} {@link DType#I64}, what distances in time are counted from; null: the timestamp of each sequence's last
 *     event
 * @param numTargets {@code [B]} {@link DType#I32}: how many of each sequence's last events are targets; null: none
 */
public record SequenceEvents(Tensor ids, Tensor offsets, Tensor timestamps, Tensor queryTimes, Tensor numTargets) {
    /**
     * Checks for null.
     *
     * @throws NullPointerException when ids or offsets are null, naming it
     */
    public SequenceEvents {
        if (ids == null) {
            throw NativeObject.missing("ids");
        }
        if (offsets == null) {
            throw NativeObject.missing("offsets");
        }
    }

    /**
     * Events without timestamps and targets.
     *
     * @param ids {@code [T, total]}
     * @param offsets {@code [B + 1]}
     * @return the events
     */
    public static SequenceEvents of(Tensor ids, Tensor offsets) {
        return new SequenceEvents(ids, offsets, null, null, null);
    }

    /**
     * The same with timestamps; distances are counted from each sequence's last event.
     *
     * @param value {@code [total]}
     * @return the events
     */
    public SequenceEvents withTimestamps(Tensor value) {
        return new SequenceEvents(ids, offsets, value, queryTimes, numTargets);
    }

    /**
     * The same with times that distances are counted from.
     *
     * @param value {@code [B]}
     * @return the events
     */
    public SequenceEvents withQueryTimes(Tensor value) {
        return new SequenceEvents(ids, offsets, timestamps, value, numTargets);
    }

    /**
     * The same with targets.
     *
     * @param value {@code [B]}
     * @return the events
     */
    public SequenceEvents withNumTargets(Tensor value) {
        return new SequenceEvents(ids, offsets, timestamps, queryTimes, value);
    }
}
