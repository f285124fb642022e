package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_hstu_attention_args;
import io.jindou.bindings.jd_hstu_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * Pointwise (SiLU) attention with HSTU's mask over jagged sequences.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="hstu-attention"}
 *
 * <p>{@code a_ij = SiLU(alpha * q_i . k_j) * norm_i} where {@link HstuMask} allows it, {@code out_i = sum_j a_ij v_j},
 * {@code SiLU(x) = x * sigmoid(x)}; {@code norm_i} is {@code 1 / scalingSeqlen}, or the row's own scale where a run gives one.
 * {@link HstuBias} adds a position and a time bias to the scores.
 *
 * <p>Values are jagged {@code [total, heads, headDim]}; token and head strides are free multiples of 16 bytes, the last
 * dimension is contiguous, data is aligned to 16 bytes. Accumulation is f32.
 *
 * <p>Zhai et al., "Actions Speak Louder than Words", arXiv 2402.17152.
 */
public final class HstuAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_hstu_attention_args.sizeof();

    private final HstuAttentionDesc desc;

    private HstuAttention(Device device, HstuAttentionDesc desc, long handle) {
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
    public static HstuAttention plan(Device device, HstuAttentionDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_hstu_attention_desc.sizeof());
            jd_hstu_attention_desc.struct_size(given, (int) jd_hstu_attention_desc.sizeof());
            jd_hstu_attention_desc.dtype(given, desc.dtype().code());
            jd_hstu_attention_desc.out_dtype(given, desc.outDType().code());
            jd_hstu_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_hstu_attention_desc.num_heads(given, desc.numHeads());
            jd_hstu_attention_desc.head_dim_qk(given, desc.headDimQk());
            jd_hstu_attention_desc.head_dim_v(given, desc.headDimV());
            jd_hstu_attention_desc.alpha(given, desc.alpha());
            jd_hstu_attention_desc.scaling_seqlen(given, desc.scalingSeqlen());
            jd_hstu_attention_desc.causal(given, desc.mask().causal() ? 1 : 0);
            jd_hstu_attention_desc.contextual_seq_len(given, desc.mask().contextualSeqLen());
            jd_hstu_attention_desc.max_attn_len(given, desc.mask().maxAttnLen());
            jd_hstu_attention_desc.min_full_attn_seq_len(given, desc.mask().minFullAttnSeqLen());
            jd_hstu_attention_desc.bounds(given, desc.bounds().code);
            jd_hstu_attention_desc.max_batch(given, desc.maxBatch());
            jd_hstu_attention_desc.max_seq_len(given, desc.maxSeqLen());
            call.check(JindouAbi.jd_hstu_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new HstuAttention(device, desc, call.resultLong());
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
    public HstuAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run without targets and without scales of the rows' own.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [total, H, dqk]} with offsets {@code [B + 1]}
     * @param keys {@code [total, H, dqk]}
     * @param values {@code [total, H, dv]}
     * @param out {@code [total, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor queries, Tensor keys, Tensor values, Tensor out) {
        run(stream, queries, keys, values, null, null, out);
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [total, H, dqk]} with offsets {@code [B + 1]}
     * @param keys {@code [total, H, dqk]}
     * @param values {@code [total, H, dv]}
     * @param numTargets {@code [B]} {@link DType#I32}: how many rows at the end of each sequence are targets; null: none
     * @param attnScale {@code [total]} {@link DType#F32}, instead of {@code 1 / scalingSeqlen}; null: none
     * @param out {@code [total, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream, JaggedTensor queries, Tensor keys, Tensor values, Tensor numTargets, Tensor attnScale, Tensor out) {
        run(stream, queries, keys, values, numTargets, attnScale, HstuBias.NONE, out);
    }

    /**
     * Enqueues a run with position and time bias.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [total, H, dqk]} with offsets {@code [B + 1]}
     * @param keys {@code [total, H, dqk]}
     * @param values {@code [total, H, dv]}
     * @param numTargets {@code [B]} {@link DType#I32}: how many rows at the end of each sequence are targets; null: none
     * @param attnScale {@code [total]} {@link DType#F32}, instead of {@code 1 / scalingSeqlen}; null: none
     * @param bias what is added to the scores
     * @param out {@code [total, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream,
            JaggedTensor queries,
            Tensor keys,
            Tensor values,
            Tensor numTargets,
            Tensor attnScale,
            HstuBias bias,
            Tensor out) {
        if (queries == null) {
            throw missing("queries");
        }
        enqueue(stream, queries.values(), null, keys, queries.offsets(), values, numTargets, attnScale, bias, out);
    }

    /**
     * Enqueues a run whose queries are the last rows of each sequence only, with keys and values of all rows, from a cache say:
     * {@code cached_hstu_attention}. A row's result has the bits that a run of the whole sequence gives it.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [total queries, H, dqk]} with offsets {@code [B + 1]}: at most the rows of its sequence each
     * @param keys {@code [total, H, dqk]} with offsets {@code [B + 1]}: cached and new rows together
     * @param values {@code [total, H, dv]}
     * @param numTargets {@code [B]} {@link DType#I32}: how many rows at the end of each sequence are targets; null: none
     * @param attnScale {@code [total queries]} {@link DType#F32}, instead of {@code 1 / scalingSeqlen}; null: none
     * @param bias what is added to the scores; its timestamps are those of all rows
     * @param out {@code [total queries, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void runLastRows(
            Stream stream,
            JaggedTensor queries,
            JaggedTensor keys,
            Tensor values,
            Tensor numTargets,
            Tensor attnScale,
            HstuBias bias,
            Tensor out) {
        if (queries == null) {
            throw missing("queries");
        }
        if (keys == null) {
            throw missing("keys");
        }
        enqueue(
                stream, queries.values(), queries.offsets(), keys.values(), keys.offsets(), values, numTargets, attnScale, bias, out);
    }

    /**
     * Enqueues a run whose queries are the last rows of each sequence, with keys and values of all rows in a {@link PagedCache}: the
     * rows of the queries themselves have been appended. Pages have the plan's dtype, and the result has the bits of
     * {@link #runLastRows}; or they are {@link DType#F8_E4M3} or {@link DType#I8}.
     *
     * {@snippet file="io/jindou/DocumentationTest.java" region="hstu-attention-paged"}
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [total queries, H, dqk]} with offsets {@code [B + 1]}: at most the rows of its sequence each
     * @param cache keys and values of the batch's sequences
     * @param numTargets {@code [B]} {@link DType#I32}: how many rows at the end of each sequence are targets; null: none
     * @param attnScale {@code [total queries]} {@link DType#F32}, instead of {@code 1 / scalingSeqlen}; null: none
     * @param bias what is added to the scores; its timestamps are {@code [B, T]}, T at least the rows of each sequence
     * @param out {@code [total queries, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void runPaged(
            Stream stream,
            JaggedTensor queries,
            PagedKeysValues cache,
            Tensor numTargets,
            Tensor attnScale,
            HstuBias bias,
            Tensor out) {
        if (queries == null) {
            throw missing("queries");
        }
        if (cache == null) {
            throw missing("cache");
        }
        enqueue(stream, queries.values(), queries.offsets(), null, null, null, cache, numTargets, attnScale, bias, out);
    }

    private void enqueue(
            Stream stream,
            Tensor queries,
            Tensor queryOffsets,
            Tensor keys,
            Tensor offsets,
            Tensor values,
            Tensor numTargets,
            Tensor attnScale,
            HstuBias bias,
            Tensor out) {
        if (keys == null) {
            throw missing("keys");
        }
        if (values == null) {
            throw missing("values");
        }
        enqueue(stream, queries, queryOffsets, keys, offsets, values, null, numTargets, attnScale, bias, out);
    }

    private void enqueue(
            Stream stream,
            Tensor queries,
            Tensor queryOffsets,
            Tensor keys,
            Tensor offsets,
            Tensor values,
            PagedKeysValues cache,
            Tensor numTargets,
            Tensor attnScale,
            HstuBias bias,
            Tensor out) {
        if (bias == null) {
            throw missing("bias");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_hstu_attention_args.struct_size(args, ARGS_SIZE);
            jd_hstu_attention_args.reserved(args, 0);
            jd_hstu_attention_args.queries(args, queries.handle);
            jd_hstu_attention_args.keys(args, handleOrNone(keys));
            jd_hstu_attention_args.values(args, handleOrNone(values));
            jd_hstu_attention_args.offsets(args, handleOrNone(offsets));
            jd_hstu_attention_args.num_targets(args, handleOrNone(numTargets));
            jd_hstu_attention_args.attn_scale(args, handleOrNone(attnScale));
            jd_hstu_attention_args.out(args, Tensor.output(out, "out"));
            jd_hstu_attention_args.q_offsets(args, handleOrNone(queryOffsets));
            jd_hstu_attention_args.timestamps(args, handleOrNone(bias.timestamps()));
            jd_hstu_attention_args.position_bias(args, handleOrNone(bias.position()));
            jd_hstu_attention_args.time_bias(args, handleOrNone(bias.time()));
            jd_hstu_attention_args.key_pages(args, cache == null ? 0 : cache.keyPages().handle);
            jd_hstu_attention_args.value_pages(args, cache == null ? 0 : cache.valuePages().handle);
            jd_hstu_attention_args.page_table(args, cache == null ? 0 : cache.pageTable().handle);
            jd_hstu_attention_args.seq_lens(args, cache == null ? 0 : cache.seqLens().handle);
            jd_hstu_attention_args.key_scales(args, cache == null ? 0 : handleOrNone(cache.keyScales()));
            jd_hstu_attention_args.value_scales(args, cache == null ? 0 : handleOrNone(cache.valueScales()));
            call.check(JindouAbi.jd_hstu_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(queries);
            Reference.reachabilityFence(queryOffsets);
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(offsets);
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(cache);
            Reference.reachabilityFence(numTargets);
            Reference.reachabilityFence(attnScale);
            Reference.reachabilityFence(bias);
            Reference.reachabilityFence(out);
        }
    }
}
