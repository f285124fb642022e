package io.jindou;

import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;

/**
 * What an {@link EmbeddingBag} computes.
 *
 * @param tables 1 to 4096 tables, of any mixture of rows, dims, dtypes and formats
 * @param pooling one for all tables, or one a table
 * @param meanDenominator what {@link Pooling#MEAN} divides by
 * @param bounds what happens to ids and offsets out of range
 * @param idDType {@link DType#I32} or {@link DType#I64}
 * @param offsetDType {@link DType#I32} or {@link DType#I64}
 * @param outDType {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#I8} with a scale a row
 * @param weighted whether each run gives a weight an id
 * @param paddingId an id that contributes nothing and is not counted
 * @param maxBatch the largest number of bags a table in a run
 * @param maxIds the largest number of ids in a run
 * @param splitOut whether the result is a tensor for each table, see {@link EmbeddingBag#split}; with {@link Pooling#NONE} a block of rows
 *     each, see {@link EmbeddingBag#splitRows}, and tables may then have several dims and stand beside pooled ones, see
 *     {@link EmbeddingBag#splitTables}
 */
public record EmbeddingBagDesc(
        List<EmbeddingTable> tables,
        List<Pooling> pooling,
        MeanDenominator meanDenominator,
        Bounds bounds,
        DType idDType,
        DType offsetDType,
        DType outDType,
        boolean weighted,
        OptionalLong paddingId,
        long maxBatch,
        long maxIds,
        boolean splitOut) {

    /**
     * Checks for null.
     *
     * @throws NullPointerException when a component is null, naming it
     */
    public EmbeddingBagDesc {
        tables = List.copyOf(Objects.requireNonNull(tables, "tables"));
        pooling = List.copyOf(Objects.requireNonNull(pooling, "pooling"));
        Objects.requireNonNull(meanDenominator, "meanDenominator");
        Objects.requireNonNull(bounds, "bounds");
        Objects.requireNonNull(idDType, "idDType");
        Objects.requireNonNull(offsetDType, "offsetDType");
        Objects.requireNonNull(outDType, "outDType");
        Objects.requireNonNull(paddingId, "paddingId");
    }

    /**
     * Unweighted bags of I64 ids with I64 offsets, F32 results, {@link Bounds#STRICT}.
     *
     * @param tables one tensor {@code [rows, dim]} a table: {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or
     *     {@link DType#F8_E4M3}
     * @param pooling for all tables
     * @param maxBatch the largest number of bags a table in a run
     * @param maxIds the largest number of ids in a run
     * @return the description
     */
    public static EmbeddingBagDesc of(List<Tensor> tables, Pooling pooling, long maxBatch, long maxIds) {
        List<Tensor> given = Objects.requireNonNull(tables, "tables");
        return ofTables(given.stream().map(EmbeddingTable::plain).toList(), pooling, maxBatch, maxIds);
    }

    /**
     * The same over tables of any format.
     *
     * @param tables the tables
     * @param pooling for all tables
     * @param maxBatch the largest number of bags a table in a run
     * @param maxIds the largest number of ids in a run
     * @return the description
     */
    public static EmbeddingBagDesc ofTables(List<EmbeddingTable> tables, Pooling pooling, long maxBatch, long maxIds) {
        return new EmbeddingBagDesc(
                tables,
                List.of(Objects.requireNonNull(pooling, "pooling")),
                MeanDenominator.VALID,
                Bounds.STRICT,
                DType.I64,
                DType.I64,
                DType.F32,
                false,
                OptionalLong.empty(),
                maxBatch,
                maxIds,
                false);
    }

    /**
     * The same over a single table.
     *
     * @param table the table
     * @param pooling how rows are joined
     * @param maxBatch the largest number of bags in a run
     * @param maxIds the largest number of ids in a run
     * @return the description
     */
    public static EmbeddingBagDesc of(Tensor table, Pooling pooling, long maxBatch, long maxIds) {
        if (table == null) {
            throw NativeObject.missing("table");
        }
        return of(List.of(table), pooling, maxBatch, maxIds);
    }

    /**
     * The same with a pooling for each table.
     *
     * @param value one for all tables, or one a table
     * @return the description
     */
    public EmbeddingBagDesc withPooling(List<Pooling> value) {
        return new EmbeddingBagDesc(
                tables, value, meanDenominator, bounds, idDType, offsetDType, outDType, weighted, paddingId, maxBatch, maxIds,
                splitOut);
    }

    /**
     * The same with another divisor of means.
     *
     * @param value what means are divided by
     * @return the description
     */
    public EmbeddingBagDesc withMeanDenominator(MeanDenominator value) {
        return new EmbeddingBagDesc(
                tables, pooling, value, bounds, idDType, offsetDType, outDType, weighted, paddingId, maxBatch, maxIds,
                splitOut);
    }

    /**
     * The same with another bounds mode.
     *
     * @param value what happens to ids and offsets out of range
     * @return the description
     */
    public EmbeddingBagDesc withBounds(Bounds value) {
        return new EmbeddingBagDesc(
                tables, pooling, meanDenominator, value, idDType, offsetDType, outDType, weighted, paddingId, maxBatch, maxIds,
                splitOut);
    }

    /**
     * The same with other integer types.
     *
     * @param ids dtype of ids
     * @param offsets dtype of offsets
     * @return the description
     */
    public EmbeddingBagDesc withIndexDTypes(DType ids, DType offsets) {
        return new EmbeddingBagDesc(
                tables, pooling, meanDenominator, bounds, ids, offsets, outDType, weighted, paddingId, maxBatch, maxIds,
                splitOut);
    }

    /**
     * The same with another result dtype.
     *
     * @param value {@link DType#F32}, {@link DType#F16}, {@link DType#BF16} or {@link DType#I8}
     * @return the description
     */
    public EmbeddingBagDesc withOutDType(DType value) {
        return new EmbeddingBagDesc(
                tables, pooling, meanDenominator, bounds, idDType, offsetDType, value, weighted, paddingId, maxBatch, maxIds,
                splitOut);
    }

    /**
     * The same with or without weights.
     *
     * @param value whether each run gives a weight an id
     * @return the description
     */
    public EmbeddingBagDesc withWeighted(boolean value) {
        return new EmbeddingBagDesc(
                tables, pooling, meanDenominator, bounds, idDType, offsetDType, outDType, value, paddingId, maxBatch, maxIds,
                splitOut);
    }

    /**
     * The same with a padding id.
     *
     * @param value the id that contributes nothing and is not counted
     * @return the description
     */
    public EmbeddingBagDesc withPaddingId(long value) {
        return new EmbeddingBagDesc(
                tables, pooling, meanDenominator, bounds, idDType, offsetDType, outDType, weighted, OptionalLong.of(value), maxBatch,
                maxIds, splitOut);
    }

    /**
     * The same with one result for all tables, or one for each.
     *
     * @param value whether each table has a result of its own
     * @return the description
     */
    public EmbeddingBagDesc withSplitOut(boolean value) {
        return new EmbeddingBagDesc(
                tables, pooling, meanDenominator, bounds, idDType, offsetDType, outDType, weighted, paddingId, maxBatch, maxIds,
                value);
    }

    /** That of table {@code t}. */
    Pooling poolingOf(int t) {
        return pooling.get(pooling.size() == 1 ? 0 : t);
    }

    /** Columns of a result. */
    long columns() {
        return tables.stream().mapToLong(EmbeddingTable::columns).sum();
    }
}
