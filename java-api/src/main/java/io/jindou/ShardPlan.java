package io.jindou;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;

/**
 * How embedding tables are spread over shards: devices, processes or hosts. Each shard holds some whole tables, or ranges of rows of
 * tables, as plain tables of its own; a plan says which, sends the ids of a batch to the shards that hold their rows, and puts the shards'
 * results together. It moves nothing itself: that is for the service's own RPC, or an existing engine.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="shard-plan"}
 *
 * <p>A shard answers a request with one {@link EmbeddingBag} over the tables that {@link #lookups(int)} lists, pooled as
 * {@link #poolings(int)} and with ids taken as {@link #keys(int)} says, with {@link MeanDenominator#VALID}. Whole tables give the bits of an
 * unsharded lookup (means over {@link MeanDenominator#LENGTH} up to the last bit: they are divided when the results are put together). A
 * table cut by rows gives sums of partial sums, added in the order of the shards: deterministic, but rounded differently; maxima and
 * unpooled rows are exact.
 *
 * <p>Ids are what an unsharded {@link EmbeddingBag} takes: rows, or ids of any number where a table has {@link TableKeys}; ids that are no
 * rows follow {@link #withBounds}, and a {@linkplain #withPaddingId padding id} contributes nothing. Neither is sent to a shard.
 *
 * <p>For tables by 64-bit keys, {@link HashTable} and tiered ones, see {@link ShardedKeys}.
 *
 * <p>Immutable and thread-safe. Table-wise and row-wise sharding follow TorchRec's.
 */
public final class ShardPlan {
    /**
     * A table to spread.
     *
     * @param rows its rows, at least 1
     * @param dim elements a row
     * @param pooling how its rows are joined; {@link Pooling#NONE} for all tables or for none; with it tables may have several dims
     * @param keys how ids choose rows
     */
    public record Table(long rows, int dim, Pooling pooling, TableKeys keys) {
        /**
         * Checks.
         *
         * @throws InvalidArgumentException when a number is not positive, or the keys do not fit rows and pooling
         */
        public Table {
            Objects.requireNonNull(pooling, "pooling");
            Objects.requireNonNull(keys, "keys");
            if (rows < 1 || dim < 1) {
                throw new InvalidArgumentException("argument 'tables': expected at least 1 row and 1 column, got " + rows + " x " + dim);
            }
            keys.check(rows);
            if (keys.functions().size() > 1 && (pooling == Pooling.NONE || (pooling == Pooling.MAX && !keys.sideBySide()))) {
                throw new InvalidArgumentException("argument 'keys': expected several functions with pooling SUM or MEAN, or side by side with "
                        + "MAX, got " + pooling);
            }
        }

        /**
         * A table whose ids are rows.
         *
         * @param rows its rows, at least 1
         * @param dim elements a row
         * @param pooling how its rows are joined
         */
        public Table(long rows, int dim, Pooling pooling) {
            this(rows, dim, pooling, TableKeys.ROWS);
        }

        /** Of the result. */
        int columns() {
            return Math.multiplyExact(dim, keys.rows());
        }
    }

    /**
     * A range of rows of a table, held by one shard as a table of its own.
     *
     * @param table index of the table
     * @param firstRow its first row
     * @param rows how many
     */
    public record Part(int table, long firstRow, long rows) {}

    /** Where a table's rows are: parts in order of rows, and the first of each among the lookups of its shard. */
    private record Home(long[] firstRows, int[] shards, int[] lookups) {
        int find(long row) {
            int at = Arrays.binarySearch(firstRows, row);
            return at >= 0 ? at : -at - 2;
        }
    }

    private final List<Table> tables;
    private final List<List<Part>> parts;
    private final Home[] homes;
    private final Bounds bounds;
    private final OptionalLong paddingId;
    private final MeanDenominator meanDenominator;

    private ShardPlan(
            List<Table> tables,
            List<List<Part>> parts,
            Home[] homes,
            Bounds bounds,
            OptionalLong paddingId,
            MeanDenominator meanDenominator) {
        this.tables = tables;
        this.parts = parts;
        this.homes = homes;
        this.bounds = bounds;
        this.paddingId = paddingId;
        this.meanDenominator = meanDenominator;
    }

    /**
     * Whole tables, spread so that the shards hold about as many elements each: the largest first, each to the shard with the least so far.
     *
     * @param tables the tables, at least one
     * @param shards how many shards, at least one
     * @return the plan
     */
    public static ShardPlan tableWise(List<Table> tables, int shards) {
        List<List<Part>> parts = empty(shards);
        long[] elements = new long[shards];
        List<Integer> order = new ArrayList<>();
        for (int t = 0; t < tables.size(); t++) {
            order.add(t);
        }
        order.sort(Comparator.comparingLong((Integer t) -> -size(tables.get(t))));
        for (int t : order) {
            int least = 0;
            for (int s = 1; s < shards; s++) {
                least = elements[s] < elements[least] ? s : least;
            }
            elements[least] += size(tables.get(t));
            parts.get(least).add(new Part(t, 0, tables.get(t).rows()));
        }
        parts.forEach(of -> of.sort(Comparator.comparingInt(Part::table)));
        return of(tables, parts);
    }

    /**
     * Every table cut into ranges of as many rows, one a shard. A table of fewer rows than shards is missing from the last ones.
     *
     * @param tables the tables, at least one
     * @param shards how many shards, at least one
     * @return the plan
     */
    public static ShardPlan rowWise(List<Table> tables, int shards) {
        List<List<Part>> parts = empty(shards);
        for (int t = 0; t < tables.size(); t++) {
            long rows = tables.get(t).rows();
            for (int s = 0; s < shards; s++) {
                long first = cut(rows, s, shards);
                long end = cut(rows, s + 1, shards);
                if (first < end) {
                    parts.get(s).add(new Part(t, first, end - first));
                }
            }
        }
        return of(tables, parts);
    }

    /**
     * Any placement that holds every row of every table exactly once.
     *
     * @param tables the tables, at least one
     * @param parts what each shard holds, in the order of its own tables; a shard may hold nothing
     * @return the plan
     * @throws InvalidArgumentException when a row is held twice or by nobody, or a part is not within its table
     */
    public static ShardPlan of(List<Table> tables, List<List<Part>> parts) {
        List<Table> ofPlan = List.copyOf(Objects.requireNonNull(tables, "tables"));
        if (ofPlan.isEmpty()) {
            throw new InvalidArgumentException("argument 'tables': expected at least one, got none");
        }
        if (ofPlan.stream().map(t -> t.pooling() == Pooling.NONE).distinct().count() > 1) {
            throw new InvalidArgumentException("argument 'tables': expected pooling NONE for all tables or for none");
        }
        if (parts.isEmpty()) {
            throw new InvalidArgumentException("argument 'shards': expected at least 1, got 0");
        }
        List<List<Part>> ofShards = parts.stream().map(List::copyOf).toList();
        return new ShardPlan(
                ofPlan, ofShards, homes(ofPlan, ofShards), Bounds.STRICT, OptionalLong.empty(), MeanDenominator.VALID);
    }

    /**
     * The same with another answer to ids that are no rows of their table, as {@link EmbeddingBagDesc#withBounds}.
     *
     * @param value {@link Bounds#STRICT}: {@link #route} throws at the first (the default); {@link Bounds#ZERO}: they are skipped and counted,
     *     {@link ShardedIds#skipped()}; {@link Bounds#TRUST}: as STRICT, since every id is looked at here
     * @return the plan
     */
    public ShardPlan withBounds(Bounds value) {
        return new ShardPlan(tables, parts, homes, Objects.requireNonNull(value, "bounds"), paddingId, meanDenominator);
    }

    /**
     * The same with an id that contributes nothing and is not counted, as {@link EmbeddingBagDesc#withPaddingId}.
     *
     * @param value the id
     * @return the plan
     */
    public ShardPlan withPaddingId(long value) {
        return new ShardPlan(tables, parts, homes, bounds, OptionalLong.of(value), meanDenominator);
    }

    /**
     * The same with another divisor of means, as {@link EmbeddingBagDesc#withMeanDenominator}.
     *
     * @param value what {@link Pooling#MEAN} divides by
     * @return the plan
     */
    public ShardPlan withMeanDenominator(MeanDenominator value) {
        return new ShardPlan(tables, parts, homes, bounds, paddingId, Objects.requireNonNull(value, "meanDenominator"));
    }

    private static Home[] homes(List<Table> tables, List<List<Part>> parts) {
        record Place(Part part, int shard, int index) {}
        List<List<Place>> places = new ArrayList<>();
        tables.forEach(table -> places.add(new ArrayList<>()));
        for (int s = 0; s < parts.size(); s++) {
            for (int p = 0; p < parts.get(s).size(); p++) {
                Part part = parts.get(s).get(p);
                if (part.table() < 0 || part.table() >= tables.size()) {
                    throw new InvalidArgumentException("argument 'parts': expected a table in 0.." + (tables.size() - 1) + ", got "
                            + part + " in shard " + s);
                }
                long rows = tables.get(part.table()).rows();
                if (part.firstRow() < 0 || part.rows() < 1 || part.rows() > rows - part.firstRow()) {
                    throw new InvalidArgumentException("argument 'parts': expected at least one row within the " + rows + " of the table, got "
                            + part + " in shard " + s);
                }
                places.get(part.table()).add(new Place(part, s, p));
            }
        }
        int[][] lookups = new int[parts.size()][]; // by shard and part: how many come before
        for (int s = 0; s < lookups.length; s++) {
            List<Part> of = parts.get(s);
            lookups[s] = new int[of.size()];
            for (int p = 1; p < of.size(); p++) {
                lookups[s][p] = lookups[s][p - 1] + copies(tables.get(of.get(p - 1).table()), of.get(p - 1));
            }
        }
        Home[] homes = new Home[tables.size()];
        for (int t = 0; t < homes.length; t++) {
            List<Place> of = places.get(t);
            of.sort(Comparator.comparingLong(place -> place.part().firstRow()));
            long next = 0;
            for (Place place : of) {
                if (place.part().firstRow() != next) {
                    throw new InvalidArgumentException("argument 'parts': expected every row of table " + t + " once, got row "
                            + Math.min(next, place.part().firstRow()) + (place.part().firstRow() < next ? " twice" : " nowhere"));
                }
                next += place.part().rows();
            }
            if (next != tables.get(t).rows()) {
                throw new InvalidArgumentException(
                        "argument 'parts': expected every row of table " + t + " once, got row " + next + " nowhere");
            }
            homes[t] = new Home(
                    of.stream().mapToLong(place -> place.part().firstRow()).toArray(),
                    of.stream().mapToInt(Place::shard).toArray(),
                    of.stream().mapToInt(place -> lookups[place.shard()][place.index()]).toArray());
        }
        return homes;
    }

    /** A part of a table whose ids have rows side by side is looked up once for each of them; a whole table sees to that by itself. */
    private static int copies(Table table, Part part) {
        return part.rows() == table.rows() ? 1 : table.keys().rows();
    }

    private static List<List<Part>> empty(int shards) {
        if (shards < 1) {
            throw new InvalidArgumentException("argument 'shards': expected at least 1, got " + shards);
        }
        List<List<Part>> parts = new ArrayList<>();
        for (int s = 0; s < shards; s++) {
            parts.add(new ArrayList<>());
        }
        return parts;
    }

    /** The largest shards come first, and no product of rows and shards is needed. */
    private static long cut(long rows, int shard, int shards) {
        return rows / shards * shard + Math.min(rows % shards, shard);
    }

    private static long size(Table table) {
        return Math.multiplyExact(table.rows(), (long) table.dim());
    }

    /**
     * The tables that are spread.
     *
     * @return them, in order
     */
    public List<Table> tables() {
        return tables;
    }

    /**
     * How many shards there are.
     *
     * @return the number
     */
    public int shards() {
        return parts.size();
    }

    /**
     * What a shard holds: the tables of its own, in order.
     *
     * @param shard the shard
     * @return ranges of rows
     */
    public List<Part> parts(int shard) {
        return parts.get(shard);
    }

    /**
     * The tables of a shard's {@link EmbeddingBag}, in order: its parts. A part of a table that is cut and whose ids have rows
     * {@linkplain TableKeys#sideBySide() side by side} is listed once for each of those; the same tensor stands for all of them.
     *
     * @param shard the shard
     * @return parts
     */
    public List<Part> lookups(int shard) {
        List<Part> all = new ArrayList<>();
        for (Part part : parts(shard)) {
            for (int i = 0; i < copies(tables.get(part.table()), part); i++) {
                all.add(part);
            }
        }
        return List.copyOf(all);
    }

    /**
     * How a shard pools: what is divided when the results are put together is a sum there: the mean over a table that is cut, or over
     * {@link MeanDenominator#LENGTH}.
     *
     * @param shard the shard
     * @return one for each of its {@linkplain #lookups lookups}
     */
    public List<Pooling> poolings(int shard) {
        return lookups(shard).stream()
                .map(part -> dividesLater(part.table()) ? Pooling.SUM : tables.get(part.table()).pooling())
                .toList();
    }

    /**
     * How a shard takes the ids it is sent: as the table's own keys say where it holds the whole table, else as rows of its part.
     *
     * @param shard the shard
     * @return one for each of its {@linkplain #lookups lookups}
     */
    public List<TableKeys> keys(int shard) {
        return lookups(shard).stream()
                .map(part -> isCut(part.table()) ? TableKeys.ROWS : tables.get(part.table()).keys())
                .toList();
    }

    /** Whether a table's sums are divided when the shards' results are put together. */
    boolean dividesLater(int table) {
        return tables.get(table).pooling() == Pooling.MEAN && (isCut(table) || meanDenominator == MeanDenominator.LENGTH);
    }

    boolean isCut(int table) {
        return homes[table].shards.length > 1;
    }

    /** Columns of the result that one lookup of the table gives. */
    int columnsOfLookup(int table) {
        return isCut(table) ? tables.get(table).dim() : tables.get(table).columns();
    }

    Bounds bounds() {
        return bounds;
    }

    boolean isPadding(long id) {
        return paddingId.isPresent() && paddingId.getAsLong() == id;
    }

    boolean dividesByLength() {
        return meanDenominator == MeanDenominator.LENGTH;
    }

    /**
     * Sends the ids of a batch to their shards.
     *
     * @param ids ids {@code [total]}, of their tables
     * @param weights {@code [total]}, or null
     * @param offsets {@code [T*B + 1]}: bag b of table t holds {@code ids[offsets[t*B + b] .. offsets[t*B + b + 1]]}
     * @return one request a shard, and what is needed to put the results together
     * @throws InvalidArgumentException when offsets or weights do not fit the ids
     * @throws OutOfBoundsException under {@link Bounds#STRICT} when an id is no row of its table, or one that its keys do not take; it
     *     names the first
     */
    public ShardedIds route(long[] ids, float[] weights, long[] offsets) {
        return ShardedIds.route(this, ids, weights, offsets);
    }

    /** The place of a row: see {@link #shardOf} and {@link #lookupOf}. */
    int place(int table, long row) {
        return homes[table].find(row);
    }

    int shardOf(int table, int place) {
        return homes[table].shards[place];
    }

    /** Among the lookups of its shard; with rows side by side the first of several. */
    int lookupOf(int table, int place) {
        return homes[table].lookups[place];
    }

    long firstRow(int table, int place) {
        return homes[table].firstRows[place];
    }
}
