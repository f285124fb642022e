package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_stca_attention_args;
import io.jindou.bindings.jd_stca_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.util.Objects;

/**
 * The attention of an STCA layer: every candidate of a user attends to the user's whole history, whose keys and values are
 * projections of one tensor of events, the model's {@code LN(SwiGLU(history))}.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="stca-attention"}
 *
 * <p>{@code q = c Wq^T}, {@code K = X Wk^T}, {@code V = X Wv^T}, and for each head
 * {@code out_h = softmax(scale * q_h K_h^T) V_h}. There are two ways to compute it. <em>Materialised</em>, K and V are made and
 * then attended to; they depend on the user alone, and with {@code keepKeys} they stay with the caller, for
 * {@link TargetAttention} over the user's next candidates. <em>Reordered</em>, {@code q_h K_h^T = (q_h Wk_h) X^T} and
 * {@code sum_j p_j V_hj = (sum_j p_j X_j) Wv_h^T}: K and V never exist, and the events are read once for all heads. Few
 * candidates are cheaper reordered; a plan of {@link StcaPath#AUTO} takes the cheaper way for its {@code maxCandidates}.
 *
 * <p>Candidates and events are jagged {@code [total, modelDim]}; row strides are free multiples of 16 bytes, the last dimension
 * is contiguous, data is aligned to 16 bytes. With 16-bit inputs queries, keys and values (materialised) or queries (reordered)
 * are rounded to the inputs' dtype, and so are weights where tensor cores or a CPU's bf16 products multiply many rows by them;
 * sums are f32. A candidate without events gives zeros.
 *
 * <p>STCA ("Make It Long, Keep It Fast").
 */
public final class StcaAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_stca_attention_args.sizeof();

    private final StcaAttentionDesc desc;

    private StcaAttention(Device device, StcaAttentionDesc desc, long handle) {
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
    public static StcaAttention plan(Device device, StcaAttentionDesc desc) {
        Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_stca_attention_desc.sizeof());
            jd_stca_attention_desc.struct_size(given, (int) jd_stca_attention_desc.sizeof());
            jd_stca_attention_desc.dtype(given, desc.dtype().code());
            jd_stca_attention_desc.out_dtype(given, desc.outDType().code());
            jd_stca_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_stca_attention_desc.model_dim(given, desc.modelDim());
            jd_stca_attention_desc.num_heads(given, desc.numHeads());
            jd_stca_attention_desc.head_dim(given, desc.headDim());
            jd_stca_attention_desc.scale(given, desc.scale());
            jd_stca_attention_desc.path(given, desc.path().code);
            jd_stca_attention_desc.keep_keys(given, desc.keepKeys() ? 1 : 0);
            jd_stca_attention_desc.bounds(given, desc.bounds().code);
            jd_stca_attention_desc.max_batch(given, desc.maxBatch());
            jd_stca_attention_desc.max_candidates(given, desc.maxCandidates());
            jd_stca_attention_desc.max_history(given, desc.maxHistory());
            jd_stca_attention_desc.max_total_candidates(given, desc.maxTotalCandidates());
            jd_stca_attention_desc.max_total_events(given, desc.maxTotalEvents());
            call.check(JindouAbi.jd_stca_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new StcaAttention(device, desc, call.resultLong());
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
    public StcaAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run that keeps nothing.
     *
     * @param stream a stream of the plan's device
     * @param candidates {@code [candidates of all users, modelDim]} with offsets {@code [B + 1]}
     * @param events {@code [events of all users, modelDim]} with offsets {@code [B + 1]}
     * @param weights the projections
     * @param out {@code [candidates of all users, numHeads * headDim]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor candidates, JaggedTensor events, StcaWeights weights, Tensor out) {
        enqueue(stream, candidates, events, weights, 0, 0, out);
    }

    /**
     * Enqueues a run of a plan with {@code keepKeys}, which writes the keys and values of all events too. Seen as
     * {@code [events, numHeads, headDim]} they are what {@link TargetAttention} takes.
     *
     * @param stream a stream of the plan's device
     * @param candidates {@code [candidates of all users, modelDim]} with offsets {@code [B + 1]}
     * @param events {@code [events of all users, modelDim]} with offsets {@code [B + 1]}
     * @param weights the projections
     * @param keys {@code [events of all users, numHeads * headDim]}, written
     * @param values {@code [events of all users, numHeads * headDim]}, written
     * @param out {@code [candidates of all users, numHeads * headDim]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream,
            JaggedTensor candidates,
            JaggedTensor events,
            StcaWeights weights,
            Tensor keys,
            Tensor values,
            Tensor out) {
        try {
            enqueue(stream, candidates, events, weights, Tensor.output(keys, "keys"), Tensor.output(values, "values"), out);
        } finally {
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(values);
        }
    }

    private void enqueue(
            Stream stream, JaggedTensor candidates, JaggedTensor events, StcaWeights weights, long keys, long values, Tensor out) {
        if (candidates == null) {
            throw missing("candidates");
        }
        if (events == null) {
            throw missing("events");
        }
        if (weights == null) {
            throw missing("weights");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_stca_attention_args.struct_size(args, ARGS_SIZE);
            jd_stca_attention_args.reserved(args, 0);
            jd_stca_attention_args.candidates(args, candidates.values().handle);
            jd_stca_attention_args.candidate_offsets(args, candidates.offsets().handle);
            jd_stca_attention_args.events(args, events.values().handle);
            jd_stca_attention_args.history_offsets(args, events.offsets().handle);
            jd_stca_attention_args.query_weight(args, weights.query().handle);
            jd_stca_attention_args.key_weight(args, weights.key().handle);
            jd_stca_attention_args.value_weight(args, weights.value().handle);
            jd_stca_attention_args.keys(args, keys);
            jd_stca_attention_args.values(args, values);
            jd_stca_attention_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_stca_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(candidates.values());
            Reference.reachabilityFence(candidates.offsets());
            Reference.reachabilityFence(events.values());
            Reference.reachabilityFence(events.offsets());
            Reference.reachabilityFence(weights);
            Reference.reachabilityFence(out);
        }
    }
}
