package io.jindou.examples;

import io.jindou.Activation;
import io.jindou.Blocks;
import io.jindou.DType;
import io.jindou.Device;
import io.jindou.EmbeddingBag;
import io.jindou.EmbeddingBagDesc;
import io.jindou.HstuAttention;
import io.jindou.HstuAttentionDesc;
import io.jindou.JaggedTensor;
import io.jindou.Pooling;
import io.jindou.Stream;
import io.jindou.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;

/**
 * Next-item retrieval with HSTU layers (Zhai et al., arXiv 2402.17152): a batch of users' histories goes in, a score for every
 * item comes out.
 *
 * <pre>
 * x = item[id] * sqrt(D) + position[t]                          embedding_bag: each event is a bag of two rows (EventRows)
 * per layer:
 *   n = LayerNorm(x);  u = SiLU(n Wu);  [v|q|k] = n Wvqk          layer_norm, linear
 *   o = SiLU(q k / sqrt(d)) / maxSeqLen * mask  v               hstu_attention
 *   x = x + [u | o | u * LayerNorm(o)] Wout                     layer_norm, linear
 * score(item) = x_last/|x_last| . item/|item|                   embedding_bag (gather), l2_normalize, linear
 * </pre>
 *
 * <p>All memory is allocated by the constructor, for the largest batch. Not thread-safe: one retriever a thread, or a lock.
 */
final class HstuRetriever implements AutoCloseable {
    /** Weights of one layer, on the device. */
    private record Layer(
            Tensor inputNormWeight,
            Tensor inputNormBias,
            Tensor uWeight,
            Tensor uBias,
            Tensor vqkWeight,
            Tensor vqkBias,
            Tensor outputNormWeight,
            Tensor outputNormBias,
            Tensor outputWeight) {}

    private final Scope scope = new Scope();
    private final HstuModel.Config config;
    private final Stream stream;
    private final int maxUsers;
    private final int width; // heads * dim = one of the four parts of uvqk
    private final Layer[] layers;
    private final Tensor normalizedItems; // [numItems + 1, D]
    private final EventRows events;
    private final EmbeddingBag embed;
    private final HstuAttention attention;
    private final EmbeddingBag last;
    private final Tensor ids;
    private final Tensor bagOffsets;
    private final Tensor offsets;
    private final Tensor lastRows;
    private final Tensor lastOffsets;
    private final Tensor x;
    private final Tensor normed;
    private final Tensor vqk;
    private final Tensor parts; // [tokens, u | o | y]
    private final Tensor hidden;
    private final Tensor scores;

    HstuRetriever(HstuModel model, Device device, Stream stream, int maxUsers) throws IOException {
        this(model, device, stream, maxUsers, null);
    }

    /** With `store`, item embeddings of events come from a tiered table in that directory; those that are scored against are on the device. */
    HstuRetriever(HstuModel model, Device device, Stream stream, int maxUsers, Path store) throws IOException {
        this.config = model.config();
        this.stream = stream;
        this.maxUsers = maxUsers;
        this.width = config.numHeads() * config.attentionDim();
        long tokens = (long) maxUsers * config.maxSeqLen();
        int dim = config.embeddingDim();

        // Every item is scored, so that every row is on the device: normalised, and not a second time as it was.
        normalizedItems = keep(Tensor.of(stream, model.weights().get("item.weight")));
        Blocks.l2Normalize(stream, normalizedItems, config.l2Eps(), normalizedItems);
        events = keep(store == null ? EventRows.onDevice(model, stream) : EventRows.tiered(model, device, stream, tokens, store));
        layers = new Layer[config.numLayers()];
        for (int l = 0; l < layers.length; l++) {
            layers[l] = layer(model, "layers." + l + ".");
        }

        ids = keep(Tensor.create(device, DType.I64, 2 * tokens));
        bagOffsets = keep(Tensor.create(device, DType.I64, tokens + 1));
        offsets = keep(Tensor.create(device, DType.I64, maxUsers + 1));
        lastRows = keep(Tensor.create(device, DType.I64, maxUsers));
        lastOffsets = keep(Tensor.create(device, DType.I64, maxUsers + 1));
        x = keep(Tensor.create(device, DType.F32, tokens, dim));
        normed = keep(Tensor.create(device, DType.F32, tokens, dim));
        vqk = keep(Tensor.create(device, DType.F32, tokens, 3L * width));
        parts = keep(Tensor.create(device, DType.F32, tokens, 3L * width));
        hidden = keep(Tensor.create(device, DType.F32, maxUsers, dim));
        scores = keep(Tensor.create(device, DType.F32, maxUsers, normalizedItems.dim(0)));

        embed = keep(EmbeddingBag.plan(device, EmbeddingBagDesc.of(events.table(), Pooling.SUM, tokens, 2 * tokens)));
        last = keep(EmbeddingBag.plan(device, EmbeddingBagDesc.of(x, Pooling.NONE, maxUsers, maxUsers)));
        attention = keep(HstuAttention.plan(
                device,
                HstuAttentionDesc.of(
                        DType.F32, config.numHeads(), config.attentionDim(), config.maxSeqLen(), maxUsers, config.maxSeqLen())));
        stream.synchronize();
    }

    private Layer layer(HstuModel model, String prefix) throws IOException {
        Tensor uvqkWeight = weight(model, prefix + "uvqk.weight");
        Tensor uvqkBias = weight(model, prefix + "uvqk.bias");
        return new Layer(
                weight(model, prefix + "input_norm.weight"),
                weight(model, prefix + "input_norm.bias"),
                keep(uvqkWeight.slice(0, 0, width)),
                keep(uvqkBias.slice(0, 0, width)),
                keep(uvqkWeight.slice(0, width, 4L * width)),
                keep(uvqkBias.slice(0, width, 4L * width)),
                weight(model, prefix + "output_norm.weight"),
                weight(model, prefix + "output_norm.bias"),
                weight(model, prefix + "output.weight"));
    }

    private Tensor weight(HstuModel model, String name) throws IOException {
        return keep(Tensor.of(stream, model.weights().get(name)));
    }

    private <T extends AutoCloseable> T keep(T resource) {
        return scope.keep(resource);
    }

    /** Scores a row; the first is item 0, which is padding. */
    int rowLength() {
        return config.numItems() + 1;
    }

    /** What is behind the embeddings of events, in words. */
    String embeddings() {
        return events.toString();
    }

    int maxUsers() {
        return maxUsers;
    }

    /**
     * Scores every item for every user.
     *
     * @param histories items a user, oldest first; the last maxSeqLen of them count; none may be empty
     * @param target receives [users, numItems + 1] f32 scores
     */
    void score(List<int[]> histories, MemorySegment target) {
        try (Scope views = new Scope()) {
            Tensor last = encode(histories, views);
            Tensor out = views.keep(scores.slice(0, 0, histories.size()));
            Blocks.linear(stream, last, normalizedItems, null, Activation.IDENTITY, null, out);
            out.read(stream, target);
        }
    }

    /** The normalised last hidden state of each user, [users, D]. */
    float[] encode(List<int[]> histories) {
        try (Scope views = new Scope()) {
            return encode(histories, views).readFloats(stream);
        }
    }

    private Tensor encode(List<int[]> histories, Scope views) {
        long tokens = write(histories, views);
        int users = histories.size();
        Tensor x = views.keep(this.x.slice(0, 0, tokens));
        Tensor normed = views.keep(this.normed.slice(0, 0, tokens));
        Tensor vqk = views.keep(this.vqk.slice(0, 0, tokens));
        Tensor parts = views.keep(this.parts.slice(0, 0, tokens));
        Tensor u = views.keep(parts.slice(1, 0, width));
        Tensor o = views.keep(parts.slice(1, width, 2L * width));
        Tensor y = views.keep(parts.slice(1, 2L * width, 3L * width));
        Tensor v = views.keep(heads(vqk, tokens, 0));
        Tensor q = views.keep(heads(vqk, tokens, width));
        Tensor k = views.keep(heads(vqk, tokens, 2L * width));
        Tensor oHeads = views.keep(heads(parts, tokens, width));
        Tensor offsets = views.keep(this.offsets.slice(0, 0, users + 1L));

        embed.run(
                stream,
                new JaggedTensor(
                        views.keep(ids.slice(0, 0, 2 * tokens)), views.keep(bagOffsets.slice(0, 0, tokens + 1))),
                x);
        for (Layer layer : layers) {
            Blocks.layerNorm(stream, x, layer.inputNormWeight, layer.inputNormBias, config.normEps(), normed);
            Blocks.linear(stream, normed, layer.uWeight, layer.uBias, Activation.SILU, null, u);
            Blocks.linear(stream, normed, layer.vqkWeight, layer.vqkBias, Activation.IDENTITY, null, vqk);
            attention.run(stream, new JaggedTensor(q, offsets), k, v, oHeads);
            Blocks.layerNorm(stream, o, layer.outputNormWeight, layer.outputNormBias, config.normEps(), u, y);
            Blocks.linear(stream, parts, layer.outputWeight, null, Activation.IDENTITY, x, x);
        }

        Tensor hidden = views.keep(this.hidden.slice(0, 0, users));
        last.run(
                stream,
                new JaggedTensor(
                        views.keep(lastRows.slice(0, 0, users)), views.keep(lastOffsets.slice(0, 0, users + 1L))),
                hidden);
        Blocks.l2Normalize(stream, hidden, config.l2Eps(), hidden);
        return hidden;
    }

    /** Columns of a [tokens, 3 * width] tensor as [tokens, heads, dim]. */
    private Tensor heads(Tensor wide, long tokens, long column) {
        long dim = config.attentionDim();
        return wide.view(column, new long[] {tokens, config.numHeads(), dim}, new long[] {3L * width, dim, 1});
    }

    /** Copies ids and offsets of a batch to the device; returns the number of events. */
    private long write(List<int[]> histories, Scope views) {
        int users = histories.size();
        if (users < 1 || users > maxUsers) {
            throw new IllegalArgumentException("histories: expected 1.." + maxUsers + " users, got " + users);
        }
        long[] userOffsets = new long[users + 1];
        for (int b = 0; b < users; b++) {
            int length = Math.min(histories.get(b).length, config.maxSeqLen());
            if (length == 0) {
                throw new IllegalArgumentException("histories: user " + b + " has no events");
            }
            userOffsets[b + 1] = userOffsets[b] + length;
        }
        int tokens = Math.toIntExact(userOffsets[users]);
        long[] bagItems = new long[tokens];
        int[] positions = new int[tokens];
        long[] lastOfUser = new long[users];
        int at = 0;
        for (int b = 0; b < users; b++) {
            int[] items = histories.get(b);
            int length = (int) (userOffsets[b + 1] - userOffsets[b]);
            for (int t = 0; t < length; t++) {
                bagItems[at] = items[items.length - length + t];
                positions[at++] = t;
            }
            lastOfUser[b] = userOffsets[b + 1] - 1;
        }
        views.keep(ids.slice(0, 0, 2L * tokens)).write(stream, events.bags(bagItems, positions));
        views.keep(bagOffsets.slice(0, 0, tokens + 1L)).write(stream, steps(tokens + 1, 2));
        views.keep(offsets.slice(0, 0, users + 1L)).write(stream, userOffsets);
        views.keep(lastRows.slice(0, 0, users)).write(stream, lastOfUser);
        views.keep(lastOffsets.slice(0, 0, users + 1L)).write(stream, steps(users + 1, 1));
        return tokens;
    }

    private static long[] steps(int count, int step) {
        long[] values = new long[count];
        for (int i = 0; i < count; i++) {
            values[i] = (long) i * step;
        }
        return values;
    }

    @Override
    public void close() {
        scope.close();
    }
}
