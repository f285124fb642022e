package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_search_attention_args;
import io.jindou.bindings.jd_search_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * Each candidate attends to events of its user's history that were found for it alone ({@link HistorySearch}); their rows are
 * read where they lie.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="search-attention"}
 *
 * <p>For candidate i: {@code out_i = sum_j softmax_j(scale * q_i . k_e) v_e}, e being its j-th event, or with SiLU weights. An
 * index of -1 stands for no event; a candidate without any gives zeros. Query head h reads key and value head
 * {@code h / (numHeads / numKvHeads)}. Accumulation is f32.
 *
 * <p>Every stride but the last is a free multiple of 16 bytes, the last dimension is contiguous, data is aligned to 16 bytes;
 * offsets, indices and lse are aligned to their elements only. What only the device can see (indices, offsets, lengths) follows
 * the plan's {@link Bounds}.
 *
 * <p>SIM (arXiv 2006.05639); TWIN (arXiv 2302.02352).
 */
public final class SearchAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_search_attention_args.sizeof();

    private final SearchAttentionDesc desc;

    private SearchAttention(Device device, SearchAttentionDesc desc, long handle) {
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
    public static SearchAttention plan(Device device, SearchAttentionDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_search_attention_desc.sizeof());
            jd_search_attention_desc.struct_size(given, (int) jd_search_attention_desc.sizeof());
            jd_search_attention_desc.dtype(given, desc.dtype().code());
            jd_search_attention_desc.out_dtype(given, desc.outDType().code());
            jd_search_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_search_attention_desc.num_heads(given, desc.numHeads());
            jd_search_attention_desc.num_kv_heads(given, desc.numKvHeads());
            jd_search_attention_desc.head_dim_qk(given, desc.headDimQk());
            jd_search_attention_desc.head_dim_v(given, desc.headDimV());
            jd_search_attention_desc.scale(given, desc.scale());
            switch (desc.activation()) {
                case AttentionActivation.Softmax softmax ->
                        jd_search_attention_desc.activation(given, JindouAbi.JD_ACTIVATION_SOFTMAX());
                case AttentionActivation.Silu silu -> {
                    jd_search_attention_desc.activation(given, JindouAbi.JD_ACTIVATION_SILU());
                    jd_search_attention_desc.scaling_seqlen(given, silu.scalingSeqlen());
                }
            }
            jd_search_attention_desc.k(given, desc.k());
            jd_search_attention_desc.bounds(given, desc.bounds().code);
            jd_search_attention_desc.max_batch(given, desc.maxBatch());
            jd_search_attention_desc.max_candidates(given, desc.maxCandidates());
            jd_search_attention_desc.max_history(given, desc.maxHistory());
            call.check(JindouAbi.jd_search_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new SearchAttention(device, desc, call.resultLong());
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
    public SearchAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param candidates {@code [sum nc, H, dqk]} with offsets {@code [B + 1]}
     * @param keys {@code [sum nk, Hkv, dqk]} with offsets {@code [B + 1]}
     * @param values {@code [sum nk, Hkv, dv]}
     * @param indices {@code [sum nc, k]} {@link DType#I32}: positions in the user's history, or -1
     * @param out {@code [sum nc, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor candidates, JaggedTensor keys, Tensor values, Tensor indices, Tensor out) {
        run(stream, candidates, keys, values, indices, out, null);
    }

    /**
     * Enqueues a run that also gives the logarithm of each softmax's sum, to merge it with others.
     *
     * @param stream a stream of the plan's device
     * @param candidates {@code [sum nc, H, dqk]} with offsets {@code [B + 1]}
     * @param keys {@code [sum nk, Hkv, dqk]} with offsets {@code [B + 1]}
     * @param values {@code [sum nk, Hkv, dv]}
     * @param indices {@code [sum nc, k]} {@link DType#I32}: positions in the user's history, or -1
     * @param out {@code [sum nc, H, dv]}
     * @param lse {@code [sum nc, H]} {@link DType#F32}: natural logarithms, with a softmax only; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream, JaggedTensor candidates, JaggedTensor keys, Tensor values, Tensor indices, Tensor out, Tensor lse) {
        if (candidates == null) {
            throw missing("candidates");
        }
        if (keys == null) {
            throw missing("keys");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_search_attention_args.struct_size(args, ARGS_SIZE);
            jd_search_attention_args.reserved(args, 0);
            jd_search_attention_args.candidates(args, candidates.values().handle);
            jd_search_attention_args.candidate_offsets(args, candidates.offsets().handle);
            jd_search_attention_args.keys(args, keys.values().handle);
            jd_search_attention_args.values(args, handle(values, "values"));
            jd_search_attention_args.history_offsets(args, keys.offsets().handle);
            jd_search_attention_args.indices(args, handle(indices, "indices"));
            jd_search_attention_args.out(args, Tensor.output(out, "out"));
            jd_search_attention_args.lse(args, lse == null ? 0 : Tensor.output(lse, "lse"));
            call.check(JindouAbi.jd_search_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(candidates);
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(indices);
            Reference.reachabilityFence(out);
            Reference.reachabilityFence(lse);
        }
    }
}
