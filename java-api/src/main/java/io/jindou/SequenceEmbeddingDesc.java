package io.jindou;

import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;

/**
 * What a {@link SequenceEmbedding} computes. D is the width of its result: the sum of the tables' dims, or their common dim.
 *
 * @param tables 1 to 256 tables, of any mixture of rows, dtypes and formats
 * @param summed whether the tables' rows are summed (all of one dim), else they stand side by side
 * @param scale what rows are multiplied by before positions and times are added; finite
 * @param positions position embeddings, or {@link SequencePositions#NONE}
 * @param times time embeddings, or {@link SequenceTimes#NONE}
 * @param bounds what happens to ids out of range
 * @param idDType {@link DType#I32} or {@link DType#I64}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param outDType {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
 * @param paddingId an id that stands for a row of zeros and is not counted
 * @param hasNumTargets whether each run gives numbers of targets
 * @param hasQueryTimes whether each run gives query times
 * @param maxBatch the largest number of sequences in a run
 * @param maxEvents the largest number of events in a run
 */
public record SequenceEmbeddingDesc(
        List<EmbeddingTable> tables,
        boolean summed,
        float scale,
        SequencePositions positions,
        SequenceTimes times,
        Bounds bounds,
        DType idDType,
        DType offsetDType,
        DType outDType,
        OptionalLong paddingId,
        boolean hasNumTargets,
        boolean hasQueryTimes,
        long maxBatch,
        long maxEvents) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public SequenceEmbeddingDesc {
        tables = List.copyOf(Objects.requireNonNull(tables, "tables"));
        Objects.requireNonNull(positions, "positions");
        Objects.requireNonNull(times, "times");
        Objects.requireNonNull(bounds, "bounds");
        Objects.requireNonNull(idDType, "idDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(paddingId, "paddingId");
    }

    /**
     * Rows side by side as they are, of I64 ids with I64 offsets, without positions and times; F32 results, {@link Bounds#STRICT}.
     *
     * @param tables the tables
     * @param maxBatch the largest number of sequences in a run
     * @param maxEvents the largest number of events in a run
     * @return the description
     */
    public static SequenceEmbeddingDesc of(List<EmbeddingTable> tables, long maxBatch, long maxEvents) {
        return new SequenceEmbeddingDesc(
                tables,
                false,
                1,
                SequencePositions.NONE,
                SequenceTimes.NONE,
                Bounds.STRICT,
                DType.I64,
                DType.I64,
                DType.F32,
                OptionalLong.empty(),
                false,
                false,
                maxBatch,
                maxEvents);
    }

    /**
     * The same with rows summed, or side by side.
     *
     * @param value whether they are summed
     * @return the description
     */
    public SequenceEmbeddingDesc withSummed(boolean value) {
        return new SequenceEmbeddingDesc(
                tables, value, scale, positions, times, bounds, idDType, offsetDType, outDType, paddingId, hasNumTargets,
                hasQueryTimes, maxBatch, maxEvents);
    }

    /**
     * The same with another scale.
     *
     * @param value what rows are multiplied by
     * @return the description
     */
    public SequenceEmbeddingDesc withScale(float value) {
        return new SequenceEmbeddingDesc(
                tables, summed, value, positions, times, bounds, idDType, offsetDType, outDType, paddingId, hasNumTargets,
                hasQueryTimes, maxBatch, maxEvents);
    }

    /**
     * The same with position embeddings.
     *
     * @param value what is added by position
     * @return the description
     */
    public SequenceEmbeddingDesc withPositions(SequencePositions value) {
        return new SequenceEmbeddingDesc(
                tables, summed, scale, value, times, bounds, idDType, offsetDType, outDType, paddingId, hasNumTargets,
                hasQueryTimes, maxBatch, maxEvents);
    }

    /**
     * The same with time embeddings.
     *
     * @param value what is added by time
     * @return the description
     */
    public SequenceEmbeddingDesc withTimes(SequenceTimes value) {
        return new SequenceEmbeddingDesc(
                tables, summed, scale, positions, value, bounds, idDType, offsetDType, outDType, paddingId, hasNumTargets,
                hasQueryTimes, maxBatch, maxEvents);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value what happens to ids out of range
     * @return the description
     */
    public SequenceEmbeddingDesc withBounds(Bounds value) {
        return new SequenceEmbeddingDesc(
                tables, summed, scale, positions, times, value, idDType, offsetDType, outDType, paddingId, hasNumTargets,
                hasQueryTimes, maxBatch, maxEvents);
    }

    /**
     * The same with other integer dtypes.
     *
     * @param ids {@link DType#I32} or {@link DType#I64}
     * @param offsets {@link DType#I32} or {@link DType#I64}
     * @return the description
     */
    public SequenceEmbeddingDesc withIndexDTypes(DType ids, DType offsets) {
        return new SequenceEmbeddingDesc(
                tables, summed, scale, positions, times, bounds, ids, offsets, outDType, paddingId, hasNumTargets, hasQueryTimes,
                maxBatch, maxEvents);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @return the description
     */
    public SequenceEmbeddingDesc withOutDType(DType value) {
        return new SequenceEmbeddingDesc(
                tables, summed, scale, positions, times, bounds, idDType, offsetDType, value, paddingId, hasNumTargets,
                hasQueryTimes, maxBatch, maxEvents);
    }

    /**
     * The same with a padding id.
     *
     * @param value the id that stands for a row of zeros
     * @return the description
     */
    public SequenceEmbeddingDesc withPaddingId(long value) {
        return new SequenceEmbeddingDesc(
                tables, summed, scale, positions, times, bounds, idDType, offsetDType, outDType, OptionalLong.of(value),
                hasNumTargets, hasQueryTimes, maxBatch, maxEvents);
    }

    /**
     * The same with numbers of targets given by each run, or not.
     *
     * @param value whether they are given
     * @return the description
     */
    public SequenceEmbeddingDesc withNumTargets(boolean value) {
        return new SequenceEmbeddingDesc(
                tables, summed, scale, positions, times, bounds, idDType, offsetDType, outDType, paddingId, value, hasQueryTimes,
                maxBatch, maxEvents);
    }

    /**
     * The same with query times given by each run, or not.
     *
     * @param value whether they are given
     * @return the description
     */
    public SequenceEmbeddingDesc withQueryTimes(boolean value) {
        return new SequenceEmbeddingDesc(
                tables, summed, scale, positions, times, bounds, idDType, offsetDType, outDType, paddingId, hasNumTargets, value,
                maxBatch, maxEvents);
    }
}
