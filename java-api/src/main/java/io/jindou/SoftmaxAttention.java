package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_softmax_attention_args;
import io.jindou.bindings.jd_softmax_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * Softmax attention over jagged sequences, with masks, biases and a soft-cap.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="softmax-attention"}
 *
 * <p>{@code s_ij = cap(scale * q_i . k_j + bias_ij)}, {@code out_i = sum_j softmax_j(s_ij) v_j} over the keys of its own sequence
 * that row i sees. Queries and keys have offsets of their own; the last query stands beside the last key. Query head h reads key
 * and value head {@code h / (numHeads / numKvHeads)}. A row that sees no key gives zeros. On request also
 * {@code lse_i = log sum_j exp(s_ij)}, with which results over parts of the keys are merged: {@link MergeAttentionStates}.
 *
 * <p>Values are jagged {@code [total, heads, headDim]}; token and head strides are free multiples of 16 bytes, the last dimension is
 * contiguous, data is aligned to 16 bytes. Accumulation is f32; the bits of a sequence's result depend on nothing else of the batch.
 *
 * <p>FlashAttention-2 (arXiv 2307.08691); FlashInfer.
 */
public final class SoftmaxAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_softmax_attention_args.sizeof();

    private final SoftmaxAttentionDesc desc;

    private SoftmaxAttention(Device device, SoftmaxAttentionDesc desc, long handle) {
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
    public static SoftmaxAttention plan(Device device, SoftmaxAttentionDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_softmax_attention_desc.sizeof());
            jd_softmax_attention_desc.struct_size(given, (int) jd_softmax_attention_desc.sizeof());
            jd_softmax_attention_desc.dtype(given, desc.dtype().code());
            jd_softmax_attention_desc.out_dtype(given, desc.outDType().code());
            jd_softmax_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_softmax_attention_desc.num_heads(given, desc.numHeads());
            jd_softmax_attention_desc.num_kv_heads(given, desc.numKvHeads());
            jd_softmax_attention_desc.head_dim_qk(given, desc.headDimQk());
            jd_softmax_attention_desc.head_dim_v(given, desc.headDimV());
            jd_softmax_attention_desc.scale(given, desc.scale());
            jd_softmax_attention_desc.softcap(given, desc.softcap());
            describe(given, desc.mask());
            describe(given, desc.bias());
            jd_softmax_attention_desc.bounds(given, desc.bounds().code);
            jd_softmax_attention_desc.max_batch(given, desc.maxBatch());
            jd_softmax_attention_desc.max_queries(given, desc.maxQueries());
            jd_softmax_attention_desc.max_keys(given, desc.maxKeys());
            call.check(JindouAbi.jd_softmax_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new SoftmaxAttention(device, desc, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    private static void describe(MemorySegment given, AttentionMask mask) {
        jd_softmax_attention_desc.mask(given, switch (mask) {
            case AttentionMask.None none -> JindouAbi.JD_MASK_NONE();
            case AttentionMask.Causal causal -> JindouAbi.JD_MASK_CAUSAL();
            case AttentionMask.Window window -> {
                jd_softmax_attention_desc.left(given, window.left());
                jd_softmax_attention_desc.right(given, window.right());
                yield JindouAbi.JD_MASK_WINDOW();
            }
        });
        jd_softmax_attention_desc.sink(given, mask.always().sink());
        jd_softmax_attention_desc.prefix(given, mask.always().prefix());
        jd_softmax_attention_desc.num_global(given, mask.always().numGlobal());
    }

    private static void describe(MemorySegment given, AttentionBias bias) {
        jd_softmax_attention_desc.bias(given, switch (bias) {
            case AttentionBias.None none -> JindouAbi.JD_BIAS_NONE();
            case AttentionBias.Alibi alibi -> JindouAbi.JD_BIAS_ALIBI();
            case AttentionBias.T5 t5 -> {
                jd_softmax_attention_desc.t5_num_buckets(given, t5.numBuckets());
                jd_softmax_attention_desc.t5_max_distance(given, t5.maxDistance());
                jd_softmax_attention_desc.t5_bidirectional(given, t5.bidirectional() ? 1 : 0);
                yield JindouAbi.JD_BIAS_T5();
            }
            case AttentionBias.Dense dense -> JindouAbi.JD_BIAS_DENSE();
        });
    }

    /**
     * The description that the plan was made from.
     *
     * @return the description
     */
    public SoftmaxAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run without a bias: of a plan with {@link AttentionBias#none()}.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [sum nq, H, dqk]} with offsets {@code [B + 1]}
     * @param keys {@code [sum nk, Hkv, dqk]} with offsets {@code [B + 1]}
     * @param values {@code [sum nk, Hkv, dv]}
     * @param out {@code [sum nq, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor queries, JaggedTensor keys, Tensor values, Tensor out) {
        run(stream, queries, keys, values, null, out, null);
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [sum nq, H, dqk]} with offsets {@code [B + 1]}
     * @param keys {@code [sum nk, Hkv, dqk]} with offsets {@code [B + 1]}
     * @param values {@code [sum nk, Hkv, dv]}
     * @param bias the tensor of the plan's {@link AttentionBias}: slopes {@code [H]}, T5's table {@code [numBuckets, H]}, or
     *     {@code [H, Q, K]} or {@code [B, H, Q, K]}, {@link DType#F32}; null for a plan without a bias
     * @param out {@code [sum nq, H, dv]}
     * @param lse {@code [sum nq, H]} {@link DType#F32}: natural logarithms of the softmaxes' sums; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream, JaggedTensor queries, JaggedTensor keys, Tensor values, Tensor bias, Tensor out, Tensor lse) {
        if (queries == null) {
            throw missing("queries");
        }
        if (keys == null) {
            throw missing("keys");
        }
        if (bias == null && !(desc.bias() instanceof AttentionBias.None)) {
            throw missing("bias");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_softmax_attention_args.struct_size(args, ARGS_SIZE);
            jd_softmax_attention_args.reserved(args, 0);
            jd_softmax_attention_args.queries(args, queries.values().handle);
            jd_softmax_attention_args.q_offsets(args, queries.offsets().handle);
            jd_softmax_attention_args.keys(args, keys.values().handle);
            jd_softmax_attention_args.values(args, handle(values, "values"));
            jd_softmax_attention_args.k_offsets(args, keys.offsets().handle);
            long given = handleOrNone(bias);
            boolean slopes = desc.bias() instanceof AttentionBias.Alibi, table = desc.bias() instanceof AttentionBias.T5;
            jd_softmax_attention_args.alibi_slopes(args, slopes ? given : 0);
            jd_softmax_attention_args.t5_bias(args, table ? given : 0);
            jd_softmax_attention_args.bias(args, slopes || table ? 0 : given);
            jd_softmax_attention_args.out(args, Tensor.output(out, "out"));
            jd_softmax_attention_args.lse(args, lse == null ? 0 : Tensor.output(lse, "lse"));
            call.check(JindouAbi.jd_softmax_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(queries);
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(bias);
            Reference.reachabilityFence(out);
            Reference.reachabilityFence(lse);
        }
    }
}
