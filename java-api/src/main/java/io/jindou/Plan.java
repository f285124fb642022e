package io.jindou;

/**
 * An operator with its choice of kernel, its metadata and its scratch memory, made once and run many times.
 *
 * <p>A plan may be run from any thread. Runs on one stream follow each other; runs on two streams at once must be ordered by the
 * caller (events), because they share the scratch memory. A run allocates nothing on the Java heap.
 */
public sealed interface Plan extends AutoCloseable
        permits EmbeddingBag, TargetAttention, HstuAttention, DecodeAttention, SoftmaxAttention, RqEncode, DinAttention,
                SequenceEmbedding, HistorySearch, SearchAttention, BeamAttention, LongerAttention, StcaAttention, TopKInnerProduct {
    /**
     * The device that the plan was made for.
     *
     * @return the device
     */
    Device device();

    /**
     * Device memory that the plan holds.
     *
     * @return bytes of scratch and metadata
     */
    long memoryBytes();

    /**
     * What the plan has chosen.
     *
     * @return one line: operator, device, kernel, tile sizes
     */
    String describe();

    /** Releases the plan; work already enqueued completes first. */
    @Override
    void close();
}
