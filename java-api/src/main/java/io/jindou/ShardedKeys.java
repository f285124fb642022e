package io.jindou;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * The keys of one call, sent to the shards of a table of rows by 64-bit keys: devices, processes or hosts that each have a {@link HashTable} of
 * their own (or a {@code TieredTable} of {@code jindou-store}). A key belongs to one shard, whoever asks, so that lookups, insertions and
 * erasures of it come to the same one, in their order. It moves nothing itself, as {@link ShardPlan}, which is for tables by row number.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="sharded-keys"}
 *
 * <p>Results are bytes of any dtype, put together without a look at them: rows, or outcomes. To pool rows of several shards, put the merged ones
 * into a tensor and run an {@link EmbeddingBag} over it, with positions as ids.
 *
 * <p>The shard is {@link KeyFunction.Hash} with the seed {@link #SEED}: independent of where a hash table puts a key, so that every shard's table
 * fills evenly. With another number of shards most keys move. Immutable.
 */
public final class ShardedKeys {
    /** The seed of the hash that chooses the shard. */
    public static final long SEED = 0x7368617264L;

    private final long[][] requests;
    /** For each shard the positions of its keys in the call, ascending. */
    private final int[][] positions;

    private final int count;

    private ShardedKeys(long[][] requests, int[][] positions, int count) {
        this.requests = requests;
        this.positions = positions;
        this.count = count;
    }

    /**
     * The shard that a key belongs to.
     *
     * @param key any
     * @param shards how many there are, at least one
     * @return a shard, 0 to {@code shards - 1}
     */
    public static int shardOf(long key, int shards) {
        if (shards < 1) {
            throw new InvalidArgumentException("argument 'shards': expected at least 1, got " + shards);
        }
        return (int) KeyFunction.Hash.choose(key, SEED, shards);
    }

    /**
     * Sends keys to their shards.
     *
     * @param keys of the call; equal ones stay in their order
     * @param shards how many there are, at least one
     * @return the keys by shard
     */
    public static ShardedKeys route(long[] keys, int shards) {
        Objects.requireNonNull(keys, "keys");
        shardOf(0, shards); // refuses no shards, of no keys as well
        int[] chosen = new int[keys.length];
        int[] counts = new int[shards];
        for (int i = 0; i < keys.length; i++) {
            chosen[i] = shardOf(keys[i], shards);
            counts[chosen[i]]++;
        }
        long[][] requests = new long[shards][];
        int[][] positions = new int[shards][];
        for (int s = 0; s < shards; s++) {
            requests[s] = new long[counts[s]];
            positions[s] = new int[counts[s]];
        }
        Arrays.fill(counts, 0);
        for (int i = 0; i < keys.length; i++) {
            int shard = chosen[i], at = counts[shard]++;
            requests[shard][at] = keys[i];
            positions[shard][at] = i;
        }
        return new ShardedKeys(requests, positions, keys.length);
    }

    /**
     * How many shards there are.
     *
     * @return the number
     */
    public int shards() {
        return requests.length;
    }

    /**
     * What a shard is asked.
     *
     * @param shard the shard
     * @return its keys, in the order of the call; none for a shard that no key belongs to. A copy
     */
    public long[] request(int shard) {
        return requests[shard].clone();
    }

    /**
     * What belongs to the keys of a shard, for insertions: rows or scores.
     *
     * @param shard the shard
     * @param all {@code [keys of the call, ...]}
     * @return {@code [keys of the shard, ...]}, a copy on the Java heap
     * @throws InvalidArgumentException when there is not one entry a key
     */
    public HostTensor split(int shard, HostTensor all) {
        long[] shape = expectEntries("all", all, count);
        int[] from = positions[shard];
        long bytes = bytesOfEntry(all);
        MemorySegment target = MemorySegment.ofArray(new byte[Math.toIntExact(from.length * bytes)]);
        for (int i = 0; i < from.length; i++) {
            MemorySegment.copy(all.data(), from[i] * bytes, target, i * bytes, bytes);
        }
        shape[0] = from.length;
        return new HostTensor(all.dtype(), target, shape);
    }

    /**
     * Puts the shards' results together.
     *
     * @param results of each shard {@code [keys of the shard, ...]}, of one dtype and shape; null for a shard that was asked nothing
     * @return {@code [keys of the call, ...]} in their order, on the Java heap
     * @throws InvalidArgumentException when a result has another shape
     */
    public HostTensor merge(List<HostTensor> results) {
        HostTensor like = results.stream().filter(Objects::nonNull).findFirst().orElse(null);
        if (like == null) {
            throw new InvalidArgumentException("argument 'results': expected that of one shard at least, got none");
        }
        long[] shape = like.shape();
        if (shape.length == 0) {
            throw new InvalidArgumentException("argument 'results': expected one entry a key, got a number");
        }
        shape[0] = count;
        long bytes = like.dtype().size();
        for (long dimension : shape) {
            bytes = Math.multiplyExact(bytes, dimension);
        }
        MemorySegment target = MemorySegment.ofArray(new byte[Math.toIntExact(bytes)]);
        merge(results, new HostTensor(like.dtype(), target, shape));
        return new HostTensor(like.dtype(), target, shape);
    }

    /**
     * Puts the shards' results together in memory of the caller.
     *
     * @param results of each shard {@code [keys of the shard, ...]}; null for a shard that was asked nothing
     * @param target {@code [keys of the call, ...]} of the same dtype, written
     * @throws InvalidArgumentException when a result has another shape; nothing is written then
     */
    public void merge(List<HostTensor> results, HostTensor target) {
        if (results.size() != requests.length) {
            throw new InvalidArgumentException("argument 'results': expected one a shard, " + requests.length + ", got " + results.size());
        }
        long[] shape = expectEntries("target", target, count);
        for (int s = 0; s < requests.length; s++) {
            HostTensor result = results.get(s);
            if (result == null && requests[s].length == 0) {
                continue;
            }
            shape[0] = requests[s].length;
            if (result == null || result.dtype() != target.dtype() || !Arrays.equals(result.shape(), shape)) {
                throw new InvalidArgumentException("argument 'results': expected " + target.dtype() + Arrays.toString(shape) + " of shard " + s
                        + ", got " + (result == null ? "null" : result.dtype() + Arrays.toString(result.shape())));
            }
        }
        long bytes = bytesOfEntry(target);
        for (int s = 0; s < requests.length; s++) {
            for (int i = 0; i < positions[s].length; i++) {
                MemorySegment.copy(results.get(s).data(), i * bytes, target.data(), positions[s][i] * bytes, bytes);
            }
        }
    }

    private static long[] expectEntries(String argument, HostTensor tensor, int count) {
        long[] shape = Objects.requireNonNull(tensor, argument).shape();
        if (shape.length == 0 || shape[0] != count) {
            throw new InvalidArgumentException("argument '" + argument + "': expected one entry for each of " + count + " keys, got shape "
                    + Arrays.toString(shape));
        }
        return shape;
    }

    private static long bytesOfEntry(HostTensor tensor) {
        long entries = tensor.shape()[0];
        return entries == 0 ? 0 : tensor.data().byteSize() / entries;
    }
}
