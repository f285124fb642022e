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
     * What a shard is asked: ids are rows of its parts.
     *
     * @param ids ids {@code [total of the shard]}
     * @param weights as many, or null
     * @param offsets {@code [P*B + 1]}, P the parts of the shard
     */
    public record Request(long[] ids, float[] weights, long[] offsets) {}

    private final ShardPlan plan;
    private final int batch;
    private final Request[] requests;
    /** With pooling NONE: for each shard, the position in the batch of each of its ids. */
    private final int[][] positions;
    /** What sums are divided by, [T][B]: numbers of ids or sums of weights; null where there is nothing to divide. */
    private final float[][] divisors;

    private ShardedIds(ShardPlan plan, int batch, Request[] requests, int[][] positions, float[][] divisors) {
        this.plan = plan;
        this.batch = batch;
        this.requests = requests;
        this.positions = positions;
        this.divisors = divisors;
    }

    static ShardedIds route(ShardPlan plan, long[] ids, float[] weights, long[] offsets) {
        int tables = plan.tables().size();
        check(ids, weights, offsets, tables);
        int batch = (offsets.length - 1) / tables;
        boolean pooled = plan.tables().getFirst().pooling() != Pooling.NONE;

        // Ids a bag of each shard; then their sums are the offsets.
        long[][] ends = new long[plan.shards()][];
        for (int s = 0; s < ends.length; s++) {
            ends[s] = new long[plan.parts(s).size() * batch + 1];
        }
        int[] places = new int[ids.length];
        float[][] divisors = new float[tables][];
        for (int t = 0; t < tables; t++) {
            long rows = plan.tables().get(t).rows();
            divisors[t] = plan.dividesLater(t) ? new float[batch] : null;
            for (int b = 0; b < batch; b++) {
                float divisor = 0;
                for (int i = (int) offsets[t * batch + b]; i < offsets[t * batch + b + 1]; i++) {
                    if (ids[i] < 0 || ids[i] >= rows) {
                        throw new OutOfBoundsException("argument 'ids': expected an id in 0.." + (rows - 1) + " (table " + t + " has "
                                + rows + " rows), got " + ids[i] + " at position " + i, t, i, ids[i]);
                    }
                    places[i] = plan.place(t, ids[i]);
                    ends[plan.shardOf(t, places[i])][plan.partOf(t, places[i]) * batch + b + 1]++;
                    divisor += weights == null ? 1 : weights[i];
                }
                if (divisors[t] != null) {
                    divisors[t][b] = divisor;
                }
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
        for (int t = 0; t < tables; t++) {
            for (int b = 0; b < batch; b++) {
                for (int i = (int) offsets[t * batch + b]; i < offsets[t * batch + b + 1]; i++) {
                    int shard = plan.shardOf(t, places[i]);
                    int at = next[shard][plan.partOf(t, places[i]) * batch + b]++;
                    requests[shard].ids[at] = ids[i] - plan.firstRow(t, places[i]);
                    if (weights != null) {
                        requests[shard].weights[at] = weights[i];
                    }
                    if (!pooled) {
                        positions[shard][at] = i;
                    }
                }
            }
        }
        return new ShardedIds(plan, batch, requests, positions, divisors);
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
     * Puts the shards' results together.
     *
     * @param results for each shard what {@link EmbeddingBag} gave for its request: {@code [B, sum of its parts' dims]} row by row, or
     *     with {@link Pooling#NONE} a row an id: {@code [total of the shard, dim]}, or a block {@code [its ids, its dim]} a part
     *     ({@link EmbeddingBagDesc#splitOut()}) where tables have several dims; null for a shard without parts
     * @return {@code [B, sum of dims]}, or with {@link Pooling#NONE} a row an id, table after table
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
        // Where the row of each position begins.
        int[] starts = new int[Arrays.stream(positions).mapToInt(of -> of.length).sum() + 1];
        for (int s = 0; s < requests.length; s++) {
            for (int p = 0; p < plan.parts(s).size(); p++) {
                for (int i = first(s, p); i < first(s, p + 1); i++) {
                    starts[positions[s][i] + 1] = dim(s, p);
                }
            }
        }
        Arrays.parallelPrefix(starts, Math::addExact);
        float[] out = new float[starts[starts.length - 1]];
        for (int s = 0; s < requests.length; s++) {
            long size = 0;
            for (int p = 0; p < plan.parts(s).size(); p++) {
                size += (long) (first(s, p + 1) - first(s, p)) * dim(s, p);
            }
            float[] rows = checked(results, s, size);
            int from = 0;
            for (int p = 0; p < plan.parts(s).size(); p++) {
                for (int i = first(s, p); i < first(s, p + 1); i++) {
                    System.arraycopy(rows, from, out, starts[positions[s][i]], dim(s, p));
                    from += dim(s, p);
                }
            }
        }
        return out;
    }

    /** The first id of a shard's part. */
    private int first(int shard, int part) {
        return (int) requests[shard].offsets[part * batch];
    }

    private int dim(int shard, int part) {
        return plan.tables().get(plan.parts(shard).get(part).table()).dim();
    }

    private float[] pool(List<float[]> results) {
        int[] columns = new int[plan.tables().size() + 1];
        for (int t = 0; t < plan.tables().size(); t++) {
            columns[t + 1] = columns[t] + plan.tables().get(t).dim();
        }
        int width = columns[plan.tables().size()];
        float[] out = new float[Math.multiplyExact(batch, width)];
        boolean[] begun = new boolean[plan.tables().size() * batch];
        for (int s = 0; s < requests.length; s++) {
            List<ShardPlan.Part> parts = plan.parts(s);
            int shardWidth = parts.stream().mapToInt(part -> columns[part.table() + 1] - columns[part.table()]).sum();
            float[] rows = checked(results, s, (long) batch * shardWidth);
            int column = 0;
            for (int p = 0; p < parts.size(); p++) {
                int t = parts.get(p).table();
                int dim = columns[t + 1] - columns[t];
                for (int b = 0; b < batch; b++) {
                    if (requests[s].offsets[p * batch + b] == requests[s].offsets[p * batch + b + 1]) {
                        continue; // nothing of this bag is here
                    }
                    join(rows, b * shardWidth + column, out, b * width + columns[t], dim,
                            plan.tables().get(t).pooling(), begun[t * batch + b]);
                    begun[t * batch + b] = true;
                }
                column += dim;
            }
        }
        for (int t = 0; t < plan.tables().size(); t++) {
            for (int b = 0; divisors[t] != null && b < batch; b++) {
                for (int c = columns[t]; begun[t * batch + b] && c < columns[t + 1]; c++) {
                    out[b * width + c] = divisors[t][b] == 0 ? 0 : out[b * width + c] / divisors[t][b];
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
