package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_longer_attention_args;
import io.jindou.bindings.jd_longer_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * A few global tokens and the latest events over a whole history (LONGER, arXiv 2505.04421).
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="longer-attention"}
 *
 * <p>{@code out_i = sum_j softmax_j(scale * q_i . k_j) v_j}. A user has a history of n events ({@link MergeTokens}) and global
 * tokens: s shared ones, the same for all candidates, and c more of each candidate. The rows of a user's queries, in this
 * order: the shared globals, which see each other and all events; the globals of each candidate, which see the shared ones,
 * those of their own candidate and all events; the latest r events, which see the shared globals and the events up to
 * themselves. With as many shared globals as there are globals there is no candidate.
 *
 * <p>Nothing sees a candidate but itself. So the keys and values of events are computed once for a user and kept, as rows or in
 * a {@link PagedCache}, and a plan with {@link LongerAttentionDesc#candidatesOnly()} runs the rows of candidates alone: with
 * the same bits as a run of all rows. The history is read once for a tile of candidates. Query head h reads key and value head
 * {@code h / (numHeads / numKvHeads)}. Accumulation is f32; the bits of a row depend on its query, on the keys and values it
 * sees, and on n.
 *
 * <p>Every stride but the last is a free multiple of 16 bytes, the last dimension is contiguous, data is aligned to 16 bytes;
 * offsets, lengths, page tables, scales and lse are aligned to their elements only. What only the device can see (offsets,
 * lengths, page numbers) follows the plan's {@link Bounds}.
 */
public final class LongerAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_longer_attention_args.sizeof();

    private final LongerAttentionDesc desc;

    private LongerAttention(Device device, LongerAttentionDesc desc, long handle) {
        super(device, handle);
        this.desc = desc;
    }

    /**
     * Makes a plan.
     *
     * @param device where it runs
     * @param desc what to compute
     * @return the plan, to be closed
     * @throws InvalidArgumentException when the description breaks a rule; the message names the field
     */
    public static LongerAttention plan(Device device, LongerAttentionDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_longer_attention_desc.sizeof());
            jd_longer_attention_desc.struct_size(given, (int) jd_longer_attention_desc.sizeof());
            jd_longer_attention_desc.dtype(given, desc.dtype().code());
            jd_longer_attention_desc.out_dtype(given, desc.outDType().code());
            jd_longer_attention_desc.cache_dtype(given, desc.cacheDType().code());
            jd_longer_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_longer_attention_desc.num_heads(given, desc.numHeads());
            jd_longer_attention_desc.num_kv_heads(given, desc.numKvHeads());
            jd_longer_attention_desc.head_dim_qk(given, desc.headDimQk());
            jd_longer_attention_desc.head_dim_v(given, desc.headDimV());
            jd_longer_attention_desc.scale(given, desc.scale());
            jd_longer_attention_desc.num_global(given, desc.numGlobal());
            jd_longer_attention_desc.num_shared_globals(given, desc.numSharedGlobals());
            jd_longer_attention_desc.candidates_only(given, desc.candidatesOnly() ? 1 : 0);
            jd_longer_attention_desc.bounds(given, desc.bounds().code);
            jd_longer_attention_desc.max_batch(given, desc.maxBatch());
            jd_longer_attention_desc.max_candidates(given, desc.maxCandidates());
            jd_longer_attention_desc.max_recent(given, desc.maxRecent());
            jd_longer_attention_desc.max_history(given, desc.maxHistory());
            call.check(JindouAbi.jd_longer_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new LongerAttention(device, desc, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    /**
     * The description that the plan was made from.
     *
     * @return the description
     */
    public LongerAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run over histories in pages.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [rows, H, dqk]} with offsets {@code [B + 1]}: of each user the rows named above
     * @param globalKeys {@code [globals, Hkv, dqk]} with offsets {@code [B + 1]}: of each user the s shared globals, then c for each
     *     candidate; null: there is no global
     * @param globalValues {@code [globals, Hkv, dv]}, with globalKeys
     * @param history keys and values of each user's events
     * @param out {@code [rows, H, dv]}
     * @param lse {@code [rows, H]} {@link DType#F32}: natural logarithms of each softmax's sum; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream,
            JaggedTensor queries,
            JaggedTensor globalKeys,
            Tensor globalValues,
            PagedKeysValues history,
            Tensor out,
            Tensor lse) {
        if (history == null) {
            throw missing("history");
        }
        run(stream, queries, globalKeys, globalValues, null, null, history, out, lse);
    }

    /**
     * Enqueues a run over histories in rows.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [rows, H, dqk]} with offsets {@code [B + 1]}: of each user the rows named above
     * @param globalKeys {@code [globals, Hkv, dqk]} with offsets {@code [B + 1]}: of each user the s shared globals, then c for each
     *     candidate; null: there is no global
     * @param globalValues {@code [globals, Hkv, dv]}, with globalKeys
     * @param keys {@code [sum n, Hkv, dqk]} with offsets {@code [B + 1]}: of each user's events
     * @param values {@code [sum n, Hkv, dv]}
     * @param out {@code [rows, H, dv]}
     * @param lse {@code [rows, H]} {@link DType#F32}: natural logarithms of each softmax's sum; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream,
            JaggedTensor queries,
            JaggedTensor globalKeys,
            Tensor globalValues,
            JaggedTensor keys,
            Tensor values,
            Tensor out,
            Tensor lse) {
        if (keys == null) {
            throw missing("keys");
        }
        if (values == null) {
            throw missing("values");
        }
        run(stream, queries, globalKeys, globalValues, keys, values, null, out, lse);
    }

    private void run(
            Stream stream,
            JaggedTensor queries,
            JaggedTensor globalKeys,
            Tensor globalValues,
            JaggedTensor keys,
            Tensor values,
            PagedKeysValues pages,
            Tensor out,
            Tensor lse) {
        if (queries == null) {
            throw missing("queries");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_longer_attention_args.struct_size(args, ARGS_SIZE);
            jd_longer_attention_args.reserved(args, 0);
            jd_longer_attention_args.queries(args, queries.values().handle);
            jd_longer_attention_args.q_offsets(args, queries.offsets().handle);
            jd_longer_attention_args.global_keys(args, globalKeys == null ? 0 : globalKeys.values().handle);
            jd_longer_attention_args.global_values(args, handleOrNone(globalValues));
            jd_longer_attention_args.global_offsets(args, globalKeys == null ? 0 : globalKeys.offsets().handle);
            jd_longer_attention_args.keys(args, keys == null ? 0 : keys.values().handle);
            jd_longer_attention_args.values(args, handleOrNone(values));
            jd_longer_attention_args.k_offsets(args, keys == null ? 0 : keys.offsets().handle);
            jd_longer_attention_args.key_pages(args, pages == null ? 0 : pages.keyPages().handle);
            jd_longer_attention_args.value_pages(args, pages == null ? 0 : pages.valuePages().handle);
            jd_longer_attention_args.page_table(args, pages == null ? 0 : pages.pageTable().handle);
            jd_longer_attention_args.seq_lens(args, pages == null ? 0 : pages.seqLens().handle);
            jd_longer_attention_args.key_scales(args, pages == null ? 0 : handleOrNone(pages.keyScales()));
            jd_longer_attention_args.value_scales(args, pages == null ? 0 : handleOrNone(pages.valueScales()));
            jd_longer_attention_args.out(args, Tensor.output(out, "out"));
            jd_longer_attention_args.lse(args, lse == null ? 0 : Tensor.output(lse, "lse"));
            call.check(JindouAbi.jd_longer_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(queries);
            Reference.reachabilityFence(globalKeys);
            Reference.reachabilityFence(globalValues);
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(pages);
            Reference.reachabilityFence(out);
            Reference.reachabilityFence(lse);
        }
    }
}
