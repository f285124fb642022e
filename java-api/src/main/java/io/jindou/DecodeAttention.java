package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_decode_attention_args;
import io.jindou.bindings.jd_decode_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * One to sixteen queries a sequence against a long {@link PagedCache}.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="decode-attention"}
 *
 * <p>{@code out_i = sum_j softmax_j(scale * q_i . k_j) v_j} over the keys up to the query's own position: a sequence's queries
 * are the last of its rows, whose keys and values have been appended. Query head h reads key and value head
 * {@code h / (numHeads / numKvHeads)}. The cache is read once. Accumulation is f32; the bits of a sequence's result depend on
 * nothing else of the batch.
 *
 * <p>Every stride but the last is a free multiple of 16 bytes, the last dimension is contiguous, data is aligned to 16 bytes;
 * offsets, lengths, page tables, scales and lse are aligned to their elements only. What only the device can see (offsets,
 * lengths, page numbers) follows the plan's {@link Bounds}.
 *
 * <p>FlashDecoding; FlashInfer; PagedAttention (arXiv 2309.06180).
 */
public final class DecodeAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_decode_attention_args.sizeof();

    private final DecodeAttentionDesc desc;

    private DecodeAttention(Device device, DecodeAttentionDesc desc, long handle) {
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
    public static DecodeAttention plan(Device device, DecodeAttentionDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_decode_attention_desc.sizeof());
            jd_decode_attention_desc.struct_size(given, (int) jd_decode_attention_desc.sizeof());
            jd_decode_attention_desc.dtype(given, desc.dtype().code());
            jd_decode_attention_desc.out_dtype(given, desc.outDType().code());
            jd_decode_attention_desc.cache_dtype(given, desc.cacheDType().code());
            jd_decode_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_decode_attention_desc.num_heads(given, desc.numHeads());
            jd_decode_attention_desc.num_kv_heads(given, desc.numKvHeads());
            jd_decode_attention_desc.head_dim_qk(given, desc.headDimQk());
            jd_decode_attention_desc.head_dim_v(given, desc.headDimV());
            jd_decode_attention_desc.scale(given, desc.scale());
            jd_decode_attention_desc.bounds(given, desc.bounds().code);
            jd_decode_attention_desc.max_queries(given, desc.maxQueries());
            jd_decode_attention_desc.max_batch(given, desc.maxBatch());
            jd_decode_attention_desc.max_seq_len(given, desc.maxSeqLen());
            call.check(JindouAbi.jd_decode_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new DecodeAttention(device, desc, call.resultLong());
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
    public DecodeAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [sum nq, H, dqk]} with offsets {@code [B + 1]}: the last rows of each sequence
     * @param cache keys and values of the batch's sequences, the queries' own appended
     * @param out {@code [sum nq, H, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor queries, PagedKeysValues cache, Tensor out) {
        run(stream, queries, cache, out, null);
    }

    /**
     * Enqueues a run that also gives the logarithm of each softmax's sum, to merge it with others.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [sum nq, H, dqk]} with offsets {@code [B + 1]}: the last rows of each sequence
     * @param cache keys and values of the batch's sequences, the queries' own appended
     * @param out {@code [sum nq, H, dv]}
     * @param lse {@code [sum nq, H]} {@link DType#F32}: natural logarithms; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor queries, PagedKeysValues cache, Tensor out, Tensor lse) {
        if (queries == null) {
            throw missing("queries");
        }
        if (cache == null) {
            throw missing("cache");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_decode_attention_args.struct_size(args, ARGS_SIZE);
            jd_decode_attention_args.reserved(args, 0);
            jd_decode_attention_args.queries(args, queries.values().handle);
            jd_decode_attention_args.q_offsets(args, queries.offsets().handle);
            jd_decode_attention_args.key_pages(args, cache.keyPages().handle);
            jd_decode_attention_args.value_pages(args, cache.valuePages().handle);
            jd_decode_attention_args.page_table(args, cache.pageTable().handle);
            jd_decode_attention_args.seq_lens(args, cache.seqLens().handle);
            jd_decode_attention_args.key_scales(args, handleOrNone(cache.keyScales()));
            jd_decode_attention_args.value_scales(args, handleOrNone(cache.valueScales()));
            jd_decode_attention_args.out(args, Tensor.output(out, "out"));
            jd_decode_attention_args.lse(args, lse == null ? 0 : Tensor.output(lse, "lse"));
            call.check(JindouAbi.jd_decode_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(queries);
            Reference.reachabilityFence(cache);
            Reference.reachabilityFence(out);
            Reference.reachabilityFence(lse);
        }
    }
}
