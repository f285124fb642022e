package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_target_attention_args;
import io.jindou.bindings.jd_target_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * Many candidates, one history: every candidate of a user attends to the whole history of that user and, with
 * {@link TargetAttentionDesc#selfKey()}, to a key and value of its own; never to another candidate.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="target-attention"}
 *
 * <p>For candidate i: {@code out_i = sum_j softmax_j(scale * q_i . k_j) v_j}. Query head h reads key and value head
 * {@code h / (numHeads / numKvHeads)}. A candidate with no key at all gives zeros. The history is read from memory once a tile of
 * candidates, not once a candidate.
 *
 * <p>Values are jagged {@code [total, heads, headDim]}; token and head strides are free multiples of 16 bytes, the last dimension is
 * contiguous, data is aligned to 16 bytes. Accumulation is f32.
 *
 * <p>STCA ("Make It Long, Keep It Fast"); M-FALCON (arXiv 2402.17152).
 */
public final class TargetAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_target_attention_args.sizeof();

    private final TargetAttentionDesc desc;

    private TargetAttention(Device device, TargetAttentionDesc desc, long handle) {
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
     * @throws UnsupportedException when no kernel of the device does it; the message says what is supported
     */
    public static TargetAttention plan(Device device, TargetAttentionDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_target_attention_desc.sizeof());
            jd_target_attention_desc.struct_size(given, (int) jd_target_attention_desc.sizeof());
            jd_target_attention_desc.dtype(given, desc.dtype().code());
            jd_target_attention_desc.out_dtype(given, desc.outDType().code());
            jd_target_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_target_attention_desc.num_heads(given, desc.numHeads());
            jd_target_attention_desc.num_kv_heads(given, desc.numKvHeads());
            jd_target_attention_desc.head_dim_qk(given, desc.headDimQk());
            jd_target_attention_desc.head_dim_v(given, desc.headDimV());
            jd_target_attention_desc.scale(given, desc.scale());
            switch (desc.activation()) {
                case AttentionActivation.Softmax softmax ->
                        jd_target_attention_desc.activation(given, JindouAbi.JD_ACTIVATION_SOFTMAX());
                case AttentionActivation.Silu silu -> {
                    jd_target_attention_desc.activation(given, JindouAbi.JD_ACTIVATION_SILU());
                    jd_target_attention_desc.scaling_seqlen(given, silu.scalingSeqlen());
                }
            }
            jd_target_attention_desc.self_key(given, desc.selfKey() ? 1 : 0);
            jd_target_attention_desc.bounds(given, desc.bounds().code);
            jd_target_attention_desc.num_latest(given, desc.numLatest());
            jd_target_attention_desc.max_batch(given, desc.maxBatch());
            jd_target_attention_desc.max_candidates(given, desc.maxCandidates());
            jd_target_attention_desc.max_history(given, desc.maxHistory());
            call.check(JindouAbi.jd_target_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new TargetAttention(device, desc, call.resultLong());
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
    public TargetAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run without keys of the candidates' own.
     *
     * @param stream a stream of the plan's device
     * @param candidates {@code [candidates of all users, H, dqk]} with offsets {@code [B + 1]}
     * @param keys {@code [events of all users, Hkv, dqk]} with offsets {@code [B + 1]}
     * @param values {@code [events of all users, Hkv, dv]}
     * @param out {@code [candidates of all users, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor candidates, JaggedTensor keys, Tensor values, Tensor out) {
        run(stream, candidates, null, null, keys, values, out);
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param candidates {@code [candidates of all users, H, dqk]} with offsets {@code [B + 1]}
     * @param candidateKeys {@code [candidates of all users, Hkv, dqk]}; null without {@link TargetAttentionDesc#selfKey()}
     * @param candidateValues {@code [candidates of all users, Hkv, dv]}; null without {@link TargetAttentionDesc#selfKey()}
     * @param keys {@code [events of all users, Hkv, dqk]} with offsets {@code [B + 1]}
     * @param values {@code [events of all users, Hkv, dv]}
     * @param out {@code [candidates of all users, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream,
            JaggedTensor candidates,
            Tensor candidateKeys,
            Tensor candidateValues,
            JaggedTensor keys,
            Tensor values,
            Tensor out) {
        if (candidates == null) {
            throw missing("candidates");
        }
        if (keys == null) {
            throw missing("keys");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_target_attention_args.struct_size(args, ARGS_SIZE);
            jd_target_attention_args.reserved(args, 0);
            jd_target_attention_args.candidates(args, candidates.values().handle);
            jd_target_attention_args.candidate_offsets(args, candidates.offsets().handle);
            jd_target_attention_args.keys(args, keys.values().handle);
            jd_target_attention_args.values(args, handle(values, "values"));
            jd_target_attention_args.history_offsets(args, keys.offsets().handle);
            jd_target_attention_args.candidate_keys(args, handleOrNone(candidateKeys));
            jd_target_attention_args.candidate_values(args, handleOrNone(candidateValues));
            jd_target_attention_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_target_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(candidates.values());
            Reference.reachabilityFence(candidates.offsets());
            Reference.reachabilityFence(candidateKeys);
            Reference.reachabilityFence(candidateValues);
            Reference.reachabilityFence(keys.values());
            Reference.reachabilityFence(keys.offsets());
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(out);
        }
    }
}
