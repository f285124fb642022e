package io.jindou;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * The ids of one batch, sent to the shards that hold their rows ({@link ShardPlan#route}). Each shard answers its {@link #request} with
 * what one {@link EmbeddingBag} gives for it; {@link #merge} puts the answers together. Immutable.
 */
public final class ShardedIds {
    /**
     * What a shard is asked: ids of its {@linkplain ShardPlan#lookups lookups}, taken as its {@linkplain ShardPlan#keys keys} say.
     *
     * @param ids ids {@code [total of the shard]}
     * @param weights as many, or null
     * @param offsets {@code [P*B + 1]}, P the lookups of the shard
     */
    public record Request(long[] ids, float[] weights, long[] offsets) {}

    private final ShardPlan plan;
    private final int batch;
    private final Request[] requests;
    /** With pooling NONE: for each shard, the position in the batch of each of its ids. */
    private final int[][] positions;
    /** Where the ids of each table begin, and their end. */
    private final int[] tableStarts;
    /** What sums are divided by, [T][B]: numbers of ids or sums of weights; null where there is nothing to divide. */
    private final float[][] divisors;

    private final long skipped;

    private ShardedIds(
            ShardPlan plan,
            int batch,
            Request[] requests,
            int[][] positions,
            int[] tableStarts,
            float[][] divisors,
            long skipped) {
        this.plan = plan;
        this.batch = batch;
        this.requests = requests;
        this.positions = positions;
        this.tableStarts = tableStarts;
        this.divisors = divisors;
        this.skipped = skipped;
    }

    static ShardedIds route(ShardPlan plan, long[] ids, float[] weights, long[] offsets) {
        int tables = plan.tables().size();
        check(ids, weights, offsets, tables);
        int batch = (offsets.length - 1) / tables;
        boolean pooled = plan.tables().getFirst().pooling() != Pooling.NONE;

        // Ids a bag of each shard; then their sums are the offsets.
        long[][] ends = new long[plan.shards()][];
        for (int s = 0; s < ends.length; s++) {
            ends[s] = new long[plan.lookups(s).size() * batch + 1];
        }
        float[][] divisors = new float[tables][];
        for (int t = 0; t < tables; t++) {
            divisors[t] = plan.dividesLater(t) ? new float[batch] : null;
        }
        long skipped = send(plan, ids, offsets, batch, new Destination() {
            @Override
            public void take(int table, int bag, int position) {
                if (divisors[table] != null) {
                    divisors[table][bag] += weights == null ? 1 : weights[position];
                }
            }

            @Override
            public void send(int shard, int lookup, int bag, int position, long id) {
                ends[shard][lookup * batch + bag + 1]++;
            }
        });
        for (int t = 0; t < tables; t++) {
            for (int b = 0; plan.dividesByLength() && divisors[t] != null && b < batch; b++) {
                divisors[t][b] = offsets[t * batch + b + 1] - offsets[t * batch + b];
            }
        }

        Request[] requests = new Request[plan.shards()];
        int[][] positions = new int[plan.shards()][];
        int[][] next = new int[plan.shards()][];
        for (int s = 0; s < requests.length; s++) {
            Arrays.parallelPrefix(ends[s], Long::sum);
            int total = Math.toIntExact(ends[s][ends[s].length - 1]);
            requests[s] = new Request(new long[total], weights == null ? null : new float[total], ends[s]);
            positions[s] = pooled ? null : new int[total];
            next[s] = new int[ends[s].length - 1];
            for (int i = 0; i < next[s].length; i++) {
                next[s][i] = (int) ends[s][i];
            }
        }
        send(plan, ids, offsets, batch, (shard, lookup, bag, position, id) -> {
            int at = next[shard][lookup * batch + bag]++;
            requests[shard].ids[at] = id;
            if (weights != null) {
                requests[shard].weights[at] = weights[position];
            }
            if (!pooled) {
                positions[shard][at] = position;
            }
        });
        int[] tableStarts = new int[tables + 1];
        Arrays.setAll(tableStarts, t -> (int) offsets[t * batch]);
        return new ShardedIds(plan, batch, requests, positions, tableStarts, divisors, skipped);
    }

    /** Where ids go. */
    @FunctionalInterface
    private interface Destination {
        /** An id that contributes, before what is sent of it. */
        default void take(int table, int bag, int position) {}

        /** An id or a row, for a lookup of a shard. */
        void send(int shard, int lookup, int bag, int position, long id);
    }

    /** Sends every id that contributes, in order; gives how many were skipped, padding apart. */
    private static long send(ShardPlan plan, long[] ids, long[] offsets, int batch, Destination destination) {
        long skipped = 0;
        for (int t = 0; t < plan.tables().size(); t++) {
            ShardPlan.Table table = plan.tables().get(t);
            TableKeys keys = table.keys();
            long[] rows = new long[keys.choices()];
            for (int b = 0; b < batch; b++) {
                for (int i = (int) offsets[t * batch + b]; i < offsets[t * batch + b + 1]; i++) {
                    if (plan.isPadding(ids[i])) {
                        continue;
                    }
                    if (!keys.choose(ids[i], table.rows(), rows)) {
                        if (plan.bounds() != Bounds.ZERO) {
                            throw outside(t, table, i, ids[i]);
                        }
                        skipped++;
                        continue;
                    }
                    destination.take(t, b, i);
                    if (!plan.isCut(t)) { // its shard chooses the rows by itself
                        destination.send(plan.shardOf(t, 0), plan.lookupOf(t, 0), b, i, ids[i]);
                        continue;
                    }
                    for (int k = 0; k < rows.length; k++) {
                        int place = plan.place(t, rows[k]);
                        int lookup = plan.lookupOf(t, place) + (keys.sideBySide() ? k : 0);
                        destination.send(plan.shardOf(t, place), lookup, b, i, rows[k] - plan.firstRow(t, place));
                    }
                }
            }
        }
        return skipped;
    }

    private static OutOfBoundsException outside(int t, ShardPlan.Table table, int position, long id) {
        String expected = table.keys().functions().isEmpty()
                ? "an id in 0.." + (table.rows() - 1) + " (table " + t + " has " + table.rows() + " rows)"
                : "an id that the functions of table " + t + " take";
        return new OutOfBoundsException(
                "argument 'ids': expected " + expected + ", got " + id + " at position " + position, t, position, id);
    }

    private static void check(long[] ids, float[] weights, long[] offsets, int tables) {
        Objects.requireNonNull(ids, "ids");
        Objects.requireNonNull(offsets, "offsets");
        if (weights != null && weights.length != ids.length) {
            throw new InvalidArgumentException(
                    "argument 'weights': expected " + ids.length + " (as many as ids), got " + weights.length);
        }
        if (offsets.length < 1 || (offsets.length - 1) % tables != 0) {
            throw new InvalidArgumentException(
                    "argument 'offsets': expected T * B + 1 with " + tables + " tables, got " + offsets.length);
        }
        for (int i = 0; i < offsets.length; i++) {
            long least = i == 0 ? 0 : offsets[i - 1];
            if (offsets[i] < least || (i == 0 && offsets[i] != 0)) {
                throw new InvalidArgumentException(
                        "argument 'offsets': expected 0 first and no decrease, got " + offsets[i] + " at position " + i);
            }
        }
        if (offsets[offsets.length - 1] != ids.length) {
            throw new InvalidArgumentException("argument 'offsets': expected the last to be " + ids.length + " (the number of ids), got "
                    + offsets[offsets.length - 1]);
        }
    }

    /**
     * What a shard is asked.
     *
     * @param shard the shard
     * @return its ids; empty for a shard that holds nothing of this batch
     */
    public Request request(int shard) {
        return requests[shard];
    }

    /**
     * How many ids were skipped under {@link Bounds#ZERO}, as {@link Stream#takeSkipped()} counts them; padding is not.
     *
     * @return the number
     */
    public long skipped() {
        return skipped;
    }

    /**
     * Puts the shards' results together.
     *
     * @param results for each shard what {@link EmbeddingBag} gave for its request: {@code [B, columns of its lookups]} row by row, or
     *     with {@link Pooling#NONE} a row an id: {@code [total of the shard, dim]}, or a block {@code [its ids, its dim]} a part
     *     ({@link EmbeddingBagDesc#splitOut()}) where tables have several dims; null for a shard without parts
     * @return {@code [B, sum of columns]}, or with {@link Pooling#NONE} a row an id, table after table; zeros where all ids were skipped
     * @throws InvalidArgumentException when a result has another size
     */
    public float[] merge(List<float[]> results) {
        if (results.size() != requests.length) {
            throw new InvalidArgumentException(
                    "argument 'results': expected one a shard, " + requests.length + ", got " + results.size());
        }
        return plan.tables().getFirst().pooling() == Pooling.NONE ? scatter(results) : pool(results);
    }

    private float[] scatter(List<float[]> results) {
        int tables = plan.tables().size();
        int[] blocks = new int[tables + 1]; // where each table's rows begin
        for (int t = 0; t < tables; t++) {
            int rows = tableStarts[t + 1] - tableStarts[t];
            blocks[t + 1] = Math.addExact(blocks[t], Math.multiplyExact(rows, plan.tables().get(t).dim()));
        }
        float[] out = new float[blocks[tables]];
        for (int s = 0; s < requests.length; s++) {
            List<ShardPlan.Part> lookups = plan.lookups(s);
            long size = 0;
            for (int p = 0; p < lookups.size(); p++) {
                size += (long) (first(s, p + 1) - first(s, p)) * dim(lookups.get(p));
            }
            float[] rows = checked(results, s, size);
            int from = 0;
            for (int p = 0; p < lookups.size(); p++) {
                int t = lookups.get(p).table(), dim = dim(lookups.get(p));
                for (int i = first(s, p); i < first(s, p + 1); i++) {
                    System.arraycopy(rows, from, out, blocks[t] + (positions[s][i] - tableStarts[t]) * dim, dim);
                    from += dim;
                }
            }
        }
        return out;
    }

    /** The first id of a shard's lookup. */
    private int first(int shard, int lookup) {
        return (int) requests[shard].offsets[lookup * batch];
    }

    private int dim(ShardPlan.Part part) {
        return plan.tables().get(part.table()).dim();
    }

    private float[] pool(List<float[]> results) {
        int tables = plan.tables().size();
        int[] columns = new int[tables + 1], blocks = new int[tables + 1]; // before each table: columns, and blocks of them
        for (int t = 0; t < tables; t++) {
            columns[t + 1] = columns[t] + plan.tables().get(t).columns();
            blocks[t + 1] = blocks[t] + plan.tables().get(t).columns() / plan.columnsOfLookup(t);
        }
        int width = columns[tables];
        float[] out = new float[Math.multiplyExact(batch, width)];
        boolean[] begun = new boolean[blocks[tables] * batch];
        for (int s = 0; s < requests.length; s++) {
            List<ShardPlan.Part> lookups = plan.lookups(s);
            int shardWidth = lookups.stream().mapToInt(part -> plan.columnsOfLookup(part.table())).sum();
            float[] rows = checked(results, s, (long) batch * shardWidth);
            int column = 0, block = 0;
            for (int p = 0; p < lookups.size(); p++) {
                int t = lookups.get(p).table(), count = plan.columnsOfLookup(t);
                block = p > 0 && lookups.get(p - 1).equals(lookups.get(p)) ? block + 1 : 0; // a part's blocks follow each other
                for (int b = 0; b < batch; b++) {
                    if (requests[s].offsets[p * batch + b] == requests[s].offsets[p * batch + b + 1]) {
                        continue; // nothing of this bag is here
                    }
                    int bag = (blocks[t] + block) * batch + b;
                    join(rows, b * shardWidth + column, out, b * width + columns[t] + block * count, count,
                            plan.tables().get(t).pooling(), begun[bag]);
                    begun[bag] = true;
                }
                column += count;
            }
        }
        for (int t = 0; t < tables; t++) {
            int count = plan.columnsOfLookup(t);
            for (int b = 0; divisors[t] != null && b < batch; b++) {
                for (int block = 0; block < blocks[t + 1] - blocks[t]; block++) {
                    int first = b * width + columns[t] + block * count;
                    for (int c = first; begun[(blocks[t] + block) * batch + b] && c < first + count; c++) {
                        out[c] = divisors[t][b] == 0 ? 0 : out[c] / divisors[t][b];
                    }
                }
            }
        }
        return out;
    }

    private static void join(float[] from, int at, float[] into, int to, int count, Pooling pooling, boolean begun) {
        if (!begun) {
            System.arraycopy(from, at, into, to, count);
            return;
        }
        for (int c = 0; c < count; c++) {
            into[to + c] = pooling == Pooling.MAX ? Math.max(into[to + c], from[at + c]) : into[to + c] + from[at + c];
        }
    }

    private static float[] checked(List<float[]> results, int shard, long expected) {
        float[] rows = results.get(shard) == null ? new float[0] : results.get(shard);
        if (rows.length != expected) {
            throw new InvalidArgumentException("argument 'results': expected " + expected + " numbers of shard " + shard + ", got " + rows.length);
        }
        return rows;
    }
}
