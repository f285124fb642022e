package io.jindou;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;

/**
 * How embedding tables are spread over shards: devices, processes or hosts. Each shard holds some whole tables, or ranges of rows of
 * tables, as plain tables of its own; a plan says which, sends the ids of a batch to the shards that hold their rows, and puts the shards'
 * results together. It moves nothing itself: that is for the service's own RPC, or an existing engine.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="shard-plan"}
 *
 * <p>A shard answers a request with one {@link EmbeddingBag} over its {@linkplain #parts(int) parts}, pooled as {@link #poolings(int)}
 * says, with {@link MeanDenominator#VALID}. Whole tables give the bits of an unsharded lookup. A table cut by rows gives sums of partial
 * sums, added in the order of the shards: deterministic, but rounded differently; maxima and unpooled rows are exact.
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
     */
    public record Table(long rows, int dim, Pooling pooling) {
        /**
         * Checks.
         *
         * @throws InvalidArgumentException when a number is not positive
         */
        public Table {
            Objects.requireNonNull(pooling, "pooling");
            if (rows < 1 || dim < 1) {
                throw new InvalidArgumentException("argument 'tables': expected at least 1 row and 1 column, got " + rows + " x " + dim);
            }
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

    /** Where a table's rows are: parts in order of rows. */
    private record Home(long[] firstRows, int[] shards, int[] partsOfShards) {
        int find(long row) {
            int at = Arrays.binarySearch(firstRows, row);
            return at >= 0 ? at : -at - 2;
        }
    }

    private final List<Table> tables;
    private final List<List<Part>> parts;
    private final Home[] homes;

    private ShardPlan(List<Table> tables, List<List<Part>> parts) {
        this.tables = tables;
        this.parts = parts;
        this.homes = homes(tables, parts);
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
        return new ShardPlan(ofPlan, parts.stream().map(List::copyOf).toList());
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
                    of.stream().mapToInt(Place::index).toArray());
        }
        return homes;
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
     * How a shard pools: the mean over a table that is cut is a sum there, divided when the results are put together.
     *
     * @param shard the shard
     * @return one for each of its parts
     */
    public List<Pooling> poolings(int shard) {
        return parts(shard).stream()
                .map(part -> dividesLater(part.table()) ? Pooling.SUM : tables.get(part.table()).pooling())
                .toList();
    }

    /** Whether a table's sums are divided when the shards' results are put together. */
    boolean dividesLater(int table) {
        return tables.get(table).pooling() == Pooling.MEAN && homes[table].shards.length > 1;
    }

    /**
     * Sends the ids of a batch to their shards.
     *
     * @param ids ids {@code [total]}, rows of their tables
     * @param weights {@code [total]}, or null
     * @param offsets {@code [T*B + 1]}: bag b of table t holds {@code ids[offsets[t*B + b] .. offsets[t*B + b + 1]]}
     * @return one request a shard, and what is needed to put the results together
     * @throws InvalidArgumentException when offsets or weights do not fit the ids
     * @throws OutOfBoundsException when an id is no row of its table; it names the first
     */
    public ShardedIds route(long[] ids, float[] weights, long[] offsets) {
        return ShardedIds.route(this, ids, weights, offsets);
    }

    /** The place of a row: see {@link #shardOf} and {@link #partOf}. */
    int place(int table, long row) {
        return homes[table].find(row);
    }

    int shardOf(int table, int place) {
        return homes[table].shards[place];
    }

    int partOf(int table, int place) {
        return homes[table].partsOfShards[place];
    }

    long firstRow(int table, int place) {
        return homes[table].firstRows[place];
    }
}
