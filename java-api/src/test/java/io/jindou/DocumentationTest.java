package io.jindou;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every example of the documentation is a region of this class: it compiles, runs, and gives what the text says. */
class DocumentationTest {
    private Device device;
    private Stream stream;

    @BeforeEach
    void open() {
        device = Device.open("cpu");
        stream = Stream.create(device);
    }

    @AfterEach
    void close() {
        stream.close();
        device.close();
    }

    @Test
    void overview() {
        // @start region="overview"
        try (Device device = Device.best();
                Stream stream = Stream.create(device);
                Tensor table = Tensor.of(stream, new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4);
                EmbeddingBag bag = EmbeddingBag.plan(device, EmbeddingBagDesc.of(table, Pooling.SUM, 16, 1000));
                JaggedTensor ids = JaggedTensor.of(stream, new long[] {0, 1}, new long[] {1});
                Tensor out = Tensor.create(device, DType.F32, 2, 4)) {
            bag.run(stream, ids, out);
            float[] sums = out.readFloats(stream); // 6 8 10 12 5 6 7 8
            // @end
            assertArrayEquals(new float[] {6, 8, 10, 12, 5, 6, 7, 8}, sums);
        }
    }

    @Test
    void device() {
        // @start region="device"
        for (DeviceAvailability found : Device.available()) {
            System.out.println(found); // cuda: ...the reason why not...
        }
        DeviceOptions options = DeviceOptions.DEFAULT.withNumThreads(2).withMemoryLimitBytes(1L << 30);
        try (Device cpu = Device.open("cpu", options)) {
            System.out.println(cpu.info().name() + ", " + cpu.info().isa() + ", " + cpu.memory().usedBytes() + " bytes in use");
        }
        // @end
    }

    @Test
    void tensor() {
        // @start region="tensor"
        try (Tensor matrix = Tensor.create(device, DType.BF16, 100, 64);
                Tensor row = matrix.slice(0, 7, 8)) {
            matrix.fill(stream, 0);
            row.write(stream, new float[64]); // rounded to bf16
            float[] values = row.readFloats(stream); // waits for the stream
            assert values.length == row.elements();
        }
        // @end
    }

    @Test
    void graph() {
        Tensor x = Tensor.of(stream, new float[] {3, 4, 0, 0}, 1, 4);
        Tensor unit = Tensor.create(device, DType.F32, 1, 4);
        // @start region="graph"
        try (Graph graph = Graph.capture(stream, () -> Blocks.l2Normalize(stream, x, 1e-6f, unit))) {
            for (int request = 0; request < 3; request++) {
                x.write(stream, new float[] {3, 4, 0, request});
                graph.launch(stream);
                float[] result = unit.readFloats(stream);
                assert Math.abs(result[0] - 3 / Math.sqrt(25 + request * request)) < 1e-6;
            }
        }
        // @end
        x.close();
        unit.close();
    }

    @Test
    void embedding_bag() {
        Tensor items = Tensor.of(stream, new float[1000 * 32], 1000, 32);
        Tensor shops = Tensor.of(stream, new float[50 * 16], 50, 16);
        // @start region="embedding-bag"
        EmbeddingBagDesc desc = EmbeddingBagDesc.of(java.util.List.of(items, shops), Pooling.MEAN, 256, 10_000)
                .withBounds(Bounds.ZERO);
        try (EmbeddingBag bag = EmbeddingBag.plan(device, desc);
                // two bags for table 0, then two for table 1
                JaggedTensor ids = JaggedTensor.of(
                        stream, new long[] {1, 2, 3}, new long[] {999}, new long[] {7}, new long[] {});
                Tensor out = Tensor.create(device, DType.F32, 2, 32 + 16)) {
            bag.run(stream, ids, out);
            assert stream.takeSkipped() == 0;
        }
        // @end
        items.close();
        shops.close();
    }

    @Test
    void embeddingTable() throws java.io.IOException {
        float[] weights = new float[1000 * 64];
        // @start region="embedding-table"
        HostTensor trained = HostTensor.of(weights, 1000, 64);
        try (EmbeddingTable items = EmbeddingTable.quantize(stream, RowFormat.INT8, trained); // 68 bytes a row, padded to 80
                EmbeddingTable shops = EmbeddingTable.plain(Tensor.create(device, DType.F16, 100, 16))) {
            EmbeddingBagDesc desc = EmbeddingBagDesc.ofTables(List.of(items, shops), Pooling.SUM, 256, 10_000);
            EmbeddingBag.plan(device, desc).close();
        }
        // @end
    }

    @Test
    void tableKeys() {
        // @start region="table-keys"
        try (Tensor rows = Tensor.create(device, DType.F32, 100_000, 32);
                Tensor pairs = Tensor.create(device, DType.F32, 1_000 + 1_000, 32)) {
            EmbeddingTable users = EmbeddingTable.plain(rows).withKeys(TableKeys.hashed(1, 2)); // the sum of two hashed rows
            EmbeddingTable items = EmbeddingTable.plain(pairs) // a million items, a pair of rows each, side by side
                    .withKeys(TableKeys.quotientRemainder(1_000, 1_000).withSideBySide(true));
            EmbeddingBagDesc desc = EmbeddingBagDesc.ofTables(List.of(users, items), Pooling.SUM, 256, 10_000);
            try (EmbeddingBag bag = EmbeddingBag.plan(device, desc);
                    JaggedTensor ids = JaggedTensor.of(stream, new long[] {-7_000_000_000L, 42}, new long[] {999_999});
                    Tensor out = Tensor.create(device, DType.F32, 1, 32 + 2 * 32)) {
                bag.run(stream, ids, out);
                stream.synchronize();
            }
        }
        // @end
    }

    @Test
    void hostMemory() {
        try (Device device = Device.open("cpu"); Tensor batch = Tensor.create(device, DType.F32, 4)) {
            // @start region="host-memory"
            try (HostMemory memory = HostMemory.create(device, batch.sizeBytes());
                    Stream copies = Stream.create(device);
                    Event copied = Event.create(device);
                    Stream stream = Stream.create(device)) {
                memory.segment().setAtIndex(ValueLayout.JAVA_FLOAT, 0, 7);
                batch.writeFrom(copies, memory, 0); // beside the work of other streams
                copied.record(copies);
                copied.holdBack(stream); // what is enqueued on it from now on sees the batch
                assertEquals(7, batch.readFloats(stream)[0]);
            }
            // @end
        }
    }

    @Test
    void shardPlan() {
        long[] ids = {5, 9, 2};
        long[] offsets = {0, 2, 3};
        // @start region="shard-plan"
        ShardPlan plan = ShardPlan.rowWise(List.of(new ShardPlan.Table(10, 4, Pooling.SUM)), 2); // rows 0..4 and 5..9
        ShardedIds routed = plan.route(ids, null, offsets); // bags {5, 9} and {2}
        List<float[]> results = new ArrayList<>();
        for (int shard = 0; shard < plan.shards(); shard++) {
            results.add(lookUp(shard, routed.request(shard))); // one EmbeddingBag over there
        }
        float[] sums = routed.merge(results); // [2, 4]
        // @end
        assertArrayEquals(new float[] {14, 14, 14, 14, 2, 2, 2, 2}, sums);
    }

    /** Row r of the table is r, r, r, r. */
    private float[] lookUp(int shard, ShardedIds.Request request) {
        float[] rows = new float[20];
        for (int i = 0; i < rows.length; i++) {
            rows[i] = shard * 5 + i / 4;
        }
        try (Tensor table = Tensor.of(stream, rows, 5, 4);
                EmbeddingBag bag = EmbeddingBag.plan(device, EmbeddingBagDesc.of(table, Pooling.SUM, 2, 3));
                Tensor ids = Tensor.of(stream, request.ids(), request.ids().length);
                Tensor offsets = Tensor.of(stream, request.offsets(), request.offsets().length);
                Tensor out = Tensor.create(device, DType.F32, 2, 4)) {
            bag.run(stream, new JaggedTensor(ids, offsets), out);
            return out.readFloats(stream);
        }
    }

    @Test
    void sharded_keys() {
        HashTableDesc desc = HashTableDesc.of(DType.F32, 4, 10);
        try (HashTable first = HashTable.create(device, desc);
                HashTable second = HashTable.create(device, desc)) {
            List<HashTable> tables = List.of(first, second);
            long[] keys = {70, -5, 1L << 40};
            HostTensor rows = HostTensor.of(new float[] {1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}, 3, 4);
            // @start region="sharded-keys"
            ShardedKeys routed = ShardedKeys.route(keys, tables.size());
            for (int shard = 0; shard < tables.size(); shard++) { // over there
                long[] mine = routed.request(shard);
                try (Tensor given = Tensor.of(stream, mine, mine.length);
                        Tensor values = Tensor.of(stream, routed.split(shard, rows))) {
                    tables.get(shard).insert(stream, given, values);
                }
            }
            List<HostTensor> results = new ArrayList<>();
            for (int shard = 0; shard < tables.size(); shard++) {
                long[] mine = routed.request(shard);
                try (Tensor given = Tensor.of(stream, mine, mine.length);
                        Tensor found = Tensor.create(device, DType.F32, mine.length, 4)) {
                    tables.get(shard).lookup(stream, given, found);
                    results.add(found.readHost(stream));
                }
            }
            HostTensor all = routed.merge(results); // [3, 4], in the order of the keys
            // @end
            assertArrayEquals(rows.toFloats(), all.toFloats());
        }
    }

    @Test
    void target_attention() {
        // @start region="target-attention"
        int heads = 4, headDim = 64, candidates = 10, events = 500;
        var desc = TargetAttentionDesc.of(DType.F32, heads, headDim, 8, 512, 10_000);
        try (TargetAttention attention = TargetAttention.plan(device, desc);
                Tensor q = Tensor.of(stream, new float[candidates * heads * headDim], candidates, heads, headDim);
                Tensor k = Tensor.of(stream, new float[events * heads * headDim], events, heads, headDim);
                Tensor v = Tensor.of(stream, new float[events * heads * headDim], events, heads, headDim);
                Tensor candidateOffsets = Tensor.of(stream, JaggedTensor.offsets(candidates));
                Tensor historyOffsets = Tensor.of(stream, JaggedTensor.offsets(events));
                Tensor out = Tensor.create(device, DType.F32, candidates, heads, headDim)) {
            attention.run(stream, new JaggedTensor(q, candidateOffsets), new JaggedTensor(k, historyOffsets), v, out);
            stream.synchronize();
        }
        // @end
    }

    @Test
    void history_search() {
        // @start region="history-search"
        int dim = 64, candidates = 10, events = 500, k = 32;
        var desc = HistorySearchDesc.of(SearchMethod.dot(DType.F32, dim), k, 8, 512, 1_000_000);
        try (HistorySearch search = HistorySearch.plan(device, desc);
                Tensor q = Tensor.of(stream, new float[candidates * dim], candidates, dim);
                Tensor keys = Tensor.of(stream, new float[events * dim], events, dim);
                Tensor candidateOffsets = Tensor.of(stream, JaggedTensor.offsets(candidates));
                Tensor historyOffsets = Tensor.of(stream, JaggedTensor.offsets(events));
                Tensor indices = Tensor.create(device, DType.I32, candidates, k)) {
            search.run(stream, new JaggedTensor(q, candidateOffsets), new JaggedTensor(keys, historyOffsets), indices);
            int[] found = indices.readInts(stream); // all scores are equal: the most recent come first
            assert found[0] == events - 1 && found[1] == events - 2;
        }
        // @end
    }

    @Test
    void top_k_inner_product() {
        int m = 3, n = 500, dim = 64;
        // @start region="top-k-inner-product"
        try (Tensor items = Tensor.of(stream, new float[n * dim], n, dim); // once
                TopKInnerProduct search = TopKInnerProduct.plan(device, TopKInnerProductDesc.of(items, 100, 16));
                Tensor queries = Tensor.of(stream, new float[m * dim], m, dim);
                Tensor allowed = TopKInnerProduct.bitmap(stream, java.util.BitSet.valueOf(new long[] {0b1101}), n);
                Tensor indices = Tensor.create(device, DType.I64, m, 100);
                Tensor scores = Tensor.create(device, DType.F32, m, 100)) {
            search.run(stream, queries, items, allowed, indices, scores);
            long[] found = indices.readLongs(stream); // all scores are equal: the lower indices come first
            assert found[0] == 0 && found[1] == 2 && found[2] == 3 && found[3] == -1;
        }
        // @end
    }

    @Test
    void search_attention() {
        // @start region="search-attention"
        int heads = 2, headDim = 32, candidates = 10, events = 500, k = 16;
        var desc = SearchAttentionDesc.of(DType.F32, heads, headDim, k, 8, 512, 1_000_000);
        try (HistorySearch search =
                        HistorySearch.plan(device, HistorySearchDesc.of(SearchMethod.hard(DType.I64), k, 8, 512, 1_000_000));
                SearchAttention attention = SearchAttention.plan(device, desc);
                Tensor wanted = Tensor.of(stream, new long[candidates], candidates); // categories
                Tensor categories = Tensor.of(stream, new long[events], events);
                Tensor q = Tensor.of(stream, new float[candidates * heads * headDim], candidates, heads, headDim);
                Tensor kv = Tensor.of(stream, new float[events * heads * headDim], events, heads, headDim);
                Tensor candidateOffsets = Tensor.of(stream, JaggedTensor.offsets(candidates));
                Tensor historyOffsets = Tensor.of(stream, JaggedTensor.offsets(events));
                Tensor indices = Tensor.create(device, DType.I32, candidates, k);
                Tensor out = Tensor.create(device, DType.F32, candidates, heads, headDim)) {
            search.run(stream, new JaggedTensor(wanted, candidateOffsets), new JaggedTensor(categories, historyOffsets), indices);
            attention.run(stream, new JaggedTensor(q, candidateOffsets), new JaggedTensor(kv, historyOffsets), kv, indices, out);
            stream.synchronize();
        }
        // @end
    }

    @Test
    void hstu_attention() {
        // @start region="hstu-attention"
        int heads = 2, headDim = 32;
        int[] lengths = {20, 5, 33};
        long total = 20 + 5 + 33;
        var desc = HstuAttentionDesc.of(DType.F32, heads, headDim, 128f, 16, 128);
        try (HstuAttention attention = HstuAttention.plan(device, desc);
                // queries, keys and values side by side, as one linear layer writes them
                Tensor qkv = Tensor.of(stream, new float[(int) total * 3 * heads * headDim], total, 3 * heads, headDim);
                Tensor q = qkv.slice(1, 0, heads);
                Tensor k = qkv.slice(1, heads, 2 * heads);
                Tensor v = qkv.slice(1, 2 * heads, 3 * heads);
                Tensor offsets = Tensor.of(stream, JaggedTensor.offsets(lengths));
                Tensor out = Tensor.create(device, DType.F32, total, heads, headDim)) {
            attention.run(stream, new JaggedTensor(q, offsets), k, v, out);
            stream.synchronize();
        }
        // @end
    }

    @Test
    void paged_cache() {
        Tensor history = Tensor.of(stream, new float[100 * 2 * 64], 100, 2, 64);
        Tensor more = Tensor.of(stream, new float[3 * 2 * 64], 3, 2, 64);
        // @start region="paged-cache"
        long user = 4711;
        try (PagedCache cache = PagedCache.create(device, PagedCacheDesc.of(DType.F32, 1000, 2, 64))) {
            cache.append(stream, user, history, history); // keys and values [100, 2, 64]
            cache.append(stream, user, more, more); // behind them
            assert cache.length(user) == 103 && cache.freePages() == 998;
            try (PagedKeysValues batch = cache.batch(stream, user)) {
                assert batch.pageTable().dim(1) == 2; // two pages of 64 rows
            }
            assert cache.evict(user) == 2;
        }
        // @end
        history.close();
        more.close();
    }

    @Test
    void hash_table() {
        Tensor users = Tensor.of(stream, new long[] {900000000001L, 17}, 2);
        Tensor embeddings = Tensor.of(stream, new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4);
        // @start region="hash-table"
        try (HashTable table = HashTable.create(device, HashTableDesc.of(DType.F32, 4, 1_000_000).withEviction(Eviction.LRU));
                Tensor rows = Tensor.create(device, DType.F32, 2, 4)) {
            table.insert(stream, users, embeddings); // keys [2], rows [2, 4]
            table.lookup(stream, users, rows); // a key that is not there gives zeros
            assert rows.readFloats(stream)[4] == 5;
            table.erase(stream, users);
            assert table.size(stream) == 0;
        }
        // @end
        users.close();
        embeddings.close();
    }

    @Test
    void hstu_attention_paged() {
        int heads = 2, headDim = 32;
        // @start region="hstu-attention-paged"
        long user = 4711;
        int fresh = 5;
        try (PagedCache cache = PagedCache.create(device, PagedCacheDesc.of(DType.F32, 100, heads, headDim));
                HstuAttention attention =
                        HstuAttention.plan(device, HstuAttentionDesc.of(DType.F32, heads, headDim, 128f, 16, 4096));
                // queries, keys and values of the new rows, side by side
                Tensor qkv = Tensor.of(stream, new float[fresh * 3 * heads * headDim], fresh, 3 * heads, headDim);
                Tensor q = qkv.slice(1, 0, heads);
                Tensor k = qkv.slice(1, heads, 2 * heads);
                Tensor v = qkv.slice(1, 2 * heads, 3 * heads);
                Tensor offsets = Tensor.of(stream, JaggedTensor.offsets(fresh));
                Tensor out = Tensor.create(device, DType.F32, fresh, heads, headDim)) {
            cache.append(stream, user, k, v); // behind the user's earlier rows
            try (PagedKeysValues all = cache.batch(stream, user)) {
                attention.runPaged(stream, new JaggedTensor(q, offsets), all, null, null, HstuBias.NONE, out);
            }
            stream.synchronize();
        }
        // @end
    }

    @Test
    void decode_attention() {
        int heads = 8, kvHeads = 2, headDim = 64;
        Tensor history = Tensor.of(stream, new float[500 * kvHeads * headDim], 500, kvHeads, headDim);
        // @start region="decode-attention"
        long user = 4711;
        try (PagedCache cache = PagedCache.create(device, PagedCacheDesc.of(DType.F32, 100, kvHeads, headDim));
                DecodeAttention attention =
                        DecodeAttention.plan(device, DecodeAttentionDesc.of(DType.F32, heads, kvHeads, headDim, 16, 4096));
                Tensor q = Tensor.of(stream, new float[heads * headDim], 1, heads, headDim);
                Tensor k = Tensor.of(stream, new float[kvHeads * headDim], 1, kvHeads, headDim);
                Tensor v = Tensor.of(stream, new float[kvHeads * headDim], 1, kvHeads, headDim);
                Tensor offsets = Tensor.of(stream, JaggedTensor.offsets(1));
                Tensor out = Tensor.create(device, DType.F32, 1, heads, headDim)) {
            cache.append(stream, user, history, history);
            cache.append(stream, user, k, v); // the new row sees itself
            try (PagedKeysValues all = cache.batch(stream, user)) {
                attention.run(stream, new JaggedTensor(q, offsets), all, out);
            }
            stream.synchronize();
        }
        // @end
        history.close();
    }

    @Test
    void softmax_attention() {
        int heads = 4, headDim = 64, n = 50;
        float[] zeros = new float[n * heads * headDim];
        // @start region="softmax-attention"
        SoftmaxAttentionDesc desc = SoftmaxAttentionDesc.of(DType.F32, heads, headDim, 16, 4096) // causal
                .withMask(AttentionMask.window(255, 0).withSink(4))
                .withBias(AttentionBias.alibi());
        try (SoftmaxAttention attention = SoftmaxAttention.plan(device, desc);
                Tensor offsets = Tensor.of(stream, JaggedTensor.offsets(20, 30)); // two sequences
                Tensor q = Tensor.of(stream, zeros, n, heads, headDim);
                Tensor k = Tensor.of(stream, zeros, n, heads, headDim);
                Tensor v = Tensor.of(stream, zeros, n, heads, headDim);
                Tensor slopes = Tensor.of(stream, AttentionBias.alibiSlopes(heads), heads);
                Tensor out = Tensor.create(device, DType.F32, n, heads, headDim);
                Tensor lse = Tensor.create(device, DType.F32, n, heads)) {
            attention.run(stream, new JaggedTensor(q, offsets), new JaggedTensor(k, offsets), v, slopes, out, lse);
            stream.synchronize();
        }
        // @end
    }

    @Test
    void merge_attention_states() {
        int rows = 3, heads = 2, headDim = 32;
        Tensor ofHistory = Tensor.of(stream, new float[rows * heads * headDim], rows, heads, headDim);
        Tensor sumsOfHistory = Tensor.of(stream, new float[rows * heads], rows, heads);
        Tensor ofSession = Tensor.of(stream, new float[rows * heads * headDim], rows, heads, headDim);
        Tensor sumsOfSession = Tensor.of(stream, new float[rows * heads], rows, heads);
        // @start region="merge-attention-states"
        // out and lse of attention over the history, computed once, and over the session's events: merged in place
        MergeAttentionStates.run(
                stream, ofHistory, sumsOfHistory, ofSession, sumsOfSession, ofSession, sumsOfSession);
        // @end
        assert Math.abs(sumsOfSession.readFloats(stream)[0] - Math.log(2)) < 1e-6;
        ofHistory.close();
        sumsOfHistory.close();
        ofSession.close();
        sumsOfSession.close();
    }

    @Test
    void sequence_embedding() {
        int dim = 64;
        Tensor itemRows = Tensor.of(stream, new float[1000 * dim], 1000, dim);
        Tensor actionRows = Tensor.of(stream, new float[10 * dim], 10, dim);
        // @start region="sequence-embedding"
        EmbeddingTable items = EmbeddingTable.plain(itemRows), actions = EmbeddingTable.plain(actionRows);
        try (Tensor positions = Tensor.of(stream, new float[8192 * dim], 8192, dim);
                Tensor buckets = Tensor.of(stream, new float[2049 * dim], 2049, dim);
                SequenceEmbedding embedding = SequenceEmbedding.plan(
                        device,
                        SequenceEmbeddingDesc.of(List.of(items, actions), 16, 65536)
                                .withSummed(true)
                                .withScale((float) Math.sqrt(dim))
                                .withPositions(SequencePositions.fromEnd(positions))
                                .withTimes(SequenceTimes.sqrtOfMinutes(buckets))
                                .withNumTargets(true));
                Tensor ids = Tensor.of(stream, new long[] {5, 6, 7, 999, 1, 1, 3, 0}, 2, 4); // items, then actions
                Tensor offsets = Tensor.of(stream, JaggedTensor.offsets(3, 1)); // two users
                Tensor seconds = Tensor.of(stream, new long[] {1000, 2000, 3000, 3000}, 4);
                Tensor targets = Tensor.of(stream, new int[] {1, 1}, 2);
                Tensor x = Tensor.create(device, DType.F32, 4, dim)) {
            embedding.run(
                    stream, SequenceEvents.of(ids, offsets).withTimestamps(seconds).withNumTargets(targets), x);
            stream.synchronize();
        }
        // @end
        itemRows.close();
        actionRows.close();
    }

    @Test
    void rq() {
        int levels = 3, codes = 256, dim = 64, n = 100;
        // @start region="rq"
        try (Tensor codebooks = Tensor.of(stream, new float[levels * codes * dim], levels, codes, dim);
                RqEncode encode = RqEncode.plan(device, RqEncodeDesc.of(codebooks));
                Tensor x = Tensor.of(stream, new float[n * dim], n, dim);
                Tensor semanticIds = Tensor.create(device, DType.I32, n, levels);
                Tensor decoded = Tensor.create(device, DType.F32, n, dim)) {
            encode.run(stream, x, codebooks, semanticIds);
            RqDecode.run(stream, semanticIds, codebooks, Bounds.STRICT, decoded);
            stream.synchronize();
        }
        // @end
    }

    @Test
    void din_attention() {
        int dim = 64, hidden1 = 80, hidden2 = 40;
        Tensor weight1 = Tensor.of(stream, new float[hidden1 * 4 * dim], hidden1, 4 * dim);
        Tensor bias1 = Tensor.of(stream, new float[hidden1]);
        Tensor weight2 = Tensor.of(stream, new float[hidden2 * hidden1], hidden2, hidden1);
        Tensor bias2 = Tensor.of(stream, new float[hidden2]);
        Tensor weight3 = Tensor.of(stream, new float[hidden2], 1, hidden2);
        Tensor bias3 = Tensor.of(stream, new float[] {0.5f}, 1);
        // @start region="din-attention"
        DinNetwork network = new DinNetwork(
                DinLayer.sigmoid(weight1, bias1), DinLayer.sigmoid(weight2, bias2), weight3, bias3);
        DinAttentionDesc desc =
                DinAttentionDesc.of(DType.F32, dim, hidden1, hidden2, DinActivation.sigmoid(), 16, 512, 1000);
        try (DinAttention attention = DinAttention.plan(device, desc);
                JaggedTensor candidates = new JaggedTensor(
                        Tensor.of(stream, new float[3 * dim], 3, dim), Tensor.of(stream, JaggedTensor.offsets(2, 1)));
                JaggedTensor history = new JaggedTensor(
                        Tensor.of(stream, new float[30 * dim], 30, dim), Tensor.of(stream, JaggedTensor.offsets(10, 20)));
                Tensor out = Tensor.create(device, DType.F32, 3, dim)) {
            attention.run(stream, candidates, history, history.values(), network, out); // events are their own values
            float[] interests = out.readFloats(stream);
            // @end
            assertArrayEquals(new float[3 * dim], interests);
        }
        for (Tensor tensor : List.of(weight1, bias1, weight2, bias2, weight3, bias3)) {
            tensor.close();
        }
    }

    @Test
    void stca_attention() {
        int modelDim = 256, heads = 4, headDim = 64, width = heads * headDim;
        Tensor wq = Tensor.of(stream, new float[width * modelDim], width, modelDim);
        Tensor wk = Tensor.of(stream, new float[width * modelDim], width, modelDim);
        Tensor wv = Tensor.of(stream, new float[width * modelDim], width, modelDim);
        // @start region="stca-attention"
        StcaWeights weights = new StcaWeights(wq, wk, wv);
        StcaAttentionDesc desc = StcaAttentionDesc.of(DType.F32, modelDim, heads, headDim, 2, 16, 1000);
        try (StcaAttention attention = StcaAttention.plan(device, desc);
                JaggedTensor candidates = new JaggedTensor(
                        Tensor.of(stream, new float[3 * modelDim], 3, modelDim), Tensor.of(stream, JaggedTensor.offsets(2, 1)));
                JaggedTensor events = new JaggedTensor(
                        Tensor.of(stream, new float[30 * modelDim], 30, modelDim), Tensor.of(stream, JaggedTensor.offsets(10, 20)));
                Tensor out = Tensor.create(device, DType.F32, 3, width)) {
            String way = attention.describe(); // "stca_attention reordered ...": 16 candidates are fewer than 85
            attention.run(stream, candidates, events, weights, out);
            float[] result = out.readFloats(stream);
            // @end
            assertTrue(way.contains("reordered"), way);
            assertArrayEquals(new float[3 * width], result);
        }
        for (Tensor tensor : List.of(wq, wk, wv)) {
            tensor.close();
        }
    }

    @Test
    void beam_attention() {
        int heads = 8, kvHeads = 2, headDim = 64, beams = 16, levels = 3;
        Tensor history = Tensor.of(stream, new float[500 * kvHeads * headDim], 500, kvHeads, headDim);
        // @start region="beam-attention"
        long user = 4711;
        try (PagedCache cache = PagedCache.create(device, PagedCacheDesc.of(DType.F32, 100, kvHeads, headDim));
                BeamAttention attention = BeamAttention.plan(
                        device, BeamAttentionDesc.of(DType.F32, heads, kvHeads, headDim, beams, 1, 4096));
                Tensor suffixKeys = Tensor.create(device, DType.F32, 1, levels, beams, kvHeads, headDim);
                Tensor suffixValues = Tensor.create(device, DType.F32, 1, levels, beams, kvHeads, headDim);
                Tensor ancestors = Tensor.create(device, DType.I32, 1, levels, beams);
                Tensor lengths = Tensor.create(device, DType.I32, 1);
                Tensor q = Tensor.of(stream, new float[beams * heads * headDim], beams, heads, headDim);
                Tensor k = Tensor.of(stream, new float[beams * kvHeads * headDim], beams, kvHeads, headDim);
                Tensor v = Tensor.of(stream, new float[beams * kvHeads * headDim], beams, kvHeads, headDim);
                Tensor offsets = Tensor.of(stream, JaggedTensor.offsets(beams));
                Tensor out = Tensor.create(device, DType.F32, beams, heads, headDim)) {
            cache.append(stream, user, history, history); // the prefix, once for all beams
            BeamAncestry ancestry = new BeamAncestry(1, levels, beams);
            BeamSuffix suffix = new BeamSuffix(suffixKeys, suffixValues, ancestors, lengths);
            try (PagedKeysValues prefix = cache.batch(stream, user)) {
                for (int step = 0; step < levels; step++) {
                    int[] parents = new int[beams]; // of the search: here all continue beam 0
                    int level = ancestry.descend(0, parents);
                    ancestry.write(stream, ancestors, lengths);
                    try (Tensor keySlots = suffixKeys.slice(1, level, level + 1);
                            Tensor valueSlots = suffixValues.slice(1, level, level + 1)) {
                        keySlots.copyFrom(stream, k); // of the token that each beam continues with
                        valueSlots.copyFrom(stream, v);
                    }
                    attention.run(stream, new JaggedTensor(q, offsets), prefix, suffix, out, null);
                }
            }
            stream.synchronize();
        }
        // @end
        history.close();
    }

    /** Rows of one user, zeros: what a model would project. */
    private JaggedTensor rows(int count) {
        return new JaggedTensor(Tensor.create(device, DType.F32, count, 4, 64), Tensor.of(stream, JaggedTensor.offsets(count)));
    }

    @Test
    void longer_attention() {
        float[] embeddings = new float[4001 * 64];
        int[] events = {4001}; // of each user, here one
        int recent = 100, candidates = 50;
        // @start region="longer-attention"
        long[] tokens = MergeTokens.offsets(4, events); // 1001 tokens, of four events each
        try (JaggedTensor x = new JaggedTensor(
                        Tensor.of(stream, embeddings, 4001, 64), Tensor.of(stream, JaggedTensor.offsets(events)));
                JaggedTensor merged = new JaggedTensor(
                        Tensor.create(device, DType.F32, tokens[1], 4 * 64), Tensor.of(stream, tokens))) {
            MergeTokens.run(stream, x, 4, Bounds.STRICT, merged);
        }

        // Two globals: the user's id, which all candidates share, and the candidate itself.
        LongerAttentionDesc desc = LongerAttentionDesc.of(DType.F32, 4, 4, 64, 2, 1, recent, tokens[1])
                .withCandidates(1, candidates);
        try (LongerAttention ofUser = LongerAttention.plan(device, desc);
                LongerAttention ofCandidates = LongerAttention.plan(device, desc.withCandidatesOnly(true));
                PagedCache cache = PagedCache.create(device, PagedCacheDesc.of(DType.F32, 100, 4, 64));
                JaggedTensor history = rows(1001); // keys and values of the tokens, computed once and kept
                JaggedTensor userRows = rows(1 + recent); // queries, of the user's id and the latest tokens
                JaggedTensor candidateRows = rows(candidates);
                JaggedTensor shared = rows(1); // keys and values of the user's id
                JaggedTensor globals = rows(1 + candidates);
                Tensor ofRows = Tensor.create(device, DType.F32, 1 + recent, 4, 64);
                Tensor ofAll = Tensor.create(device, DType.F32, candidates, 4, 64)) {
            cache.append(stream, 4711, history.values(), history.values());
            try (PagedKeysValues kept = cache.batch(stream, 4711)) {
                ofUser.run(stream, userRows, shared, shared.values(), kept, ofRows, null); // once a user
                ofCandidates.run(stream, candidateRows, globals, globals.values(), kept, ofAll, null); // whenever there are candidates
            }
            stream.synchronize();
        }
        // @end
    }

    @Test
    void blocks() {
        // @start region="blocks"
        try (Tensor x = Tensor.of(stream, new float[] {1, 2, 3, 4}, 1, 4);
                Tensor ones = Tensor.of(stream, new float[] {1, 1, 1, 1});
                Tensor zeros = Tensor.of(stream, new float[4]);
                Tensor weight = Tensor.of(stream, new float[8 * 4], 8, 4);
                Tensor hidden = Tensor.create(device, DType.F32, 1, 8)) {
            Blocks.layerNorm(stream, x, ones, zeros, 1e-5f, x);
            Blocks.linear(stream, x, weight, null, Activation.SILU, null, hidden);
            Blocks.l2Normalize(stream, hidden, 1e-6f, hidden);
            stream.synchronize();
        }
        // @end
    }

    @Test
    void safetensors(@TempDir Path folder) throws Exception {
        // @start region="safetensors"
        Path file = folder.resolve("model.safetensors");
        Map<String, HostTensor> tensors = new LinkedHashMap<>();
        tensors.put("item.weight", HostTensor.of(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4));
        Safetensors.write(file, tensors, Map.of("made by", "an example"));

        try (Safetensors model = Safetensors.open(file);
                Tensor weight = Tensor.of(stream, model.get("item.weight"))) {
            assertEquals(2, weight.dim(0));
            assertTrue(model.names().contains("item.weight"));
        }
        // @end
    }
}
