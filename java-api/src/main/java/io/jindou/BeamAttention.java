package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_beam_attention_args;
import io.jindou.bindings.jd_beam_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * The beams of a search: those of a request share one prefix, and each has a suffix of a few tokens of its own.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="beam-attention"}
 *
 * <p>{@code out_w = sum_j softmax_j(scale * q_w . k_j) v_j} over the request's prefix and beam w's suffix ({@link BeamSuffix});
 * one query a beam, that of its newest token. The prefix is read once for all beams, not once a beam, and reordering beams
 * copies no row: their ancestry says where their rows lie. Query head h reads key and value head
 * {@code h / (numHeads / numKvHeads)}. Accumulation is f32; the bits of a beam's result depend on its query and on the keys and
 * values it sees alone, not on other beams, nor on its slot.
 *
 * <p>Every stride but the last is a free multiple of 16 bytes, the last dimension is contiguous, data is aligned to 16 bytes;
 * offsets, lengths, page tables, ancestry, scales and lse are aligned to their elements only. What only the device can see
 * (offsets, lengths, page numbers, ancestry) follows the plan's {@link Bounds}.
 *
 * <p>Beam attention of xGR and xLLM; FlashInfer's cascade attention.
 */
public final class BeamAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_beam_attention_args.sizeof();

    private final BeamAttentionDesc desc;

    private BeamAttention(Device device, BeamAttentionDesc desc, long handle) {
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
    public static BeamAttention plan(Device device, BeamAttentionDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_beam_attention_desc.sizeof());
            jd_beam_attention_desc.struct_size(given, (int) jd_beam_attention_desc.sizeof());
            jd_beam_attention_desc.dtype(given, desc.dtype().code());
            jd_beam_attention_desc.out_dtype(given, desc.outDType().code());
            jd_beam_attention_desc.cache_dtype(given, desc.cacheDType().code());
            jd_beam_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_beam_attention_desc.num_heads(given, desc.numHeads());
            jd_beam_attention_desc.num_kv_heads(given, desc.numKvHeads());
            jd_beam_attention_desc.head_dim_qk(given, desc.headDimQk());
            jd_beam_attention_desc.head_dim_v(given, desc.headDimV());
            jd_beam_attention_desc.scale(given, desc.scale());
            jd_beam_attention_desc.bounds(given, desc.bounds().code);
            jd_beam_attention_desc.max_beams(given, desc.maxBeams());
            jd_beam_attention_desc.max_batch(given, desc.maxBatch());
            jd_beam_attention_desc.max_prefix(given, desc.maxPrefix());
            call.check(JindouAbi.jd_beam_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new BeamAttention(device, desc, call.resultLong());
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
    public BeamAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run over prefixes in pages.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [sum W, H, dqk]} with offsets {@code [B + 1]}: one a beam
     * @param prefix keys and values of each request's prefix
     * @param suffix what the beams have written since; null: nothing
     * @param out {@code [sum W, H, dv]}
     * @param lse {@code [sum W, H]} {@link DType#F32}: natural logarithms of each softmax's sum; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor queries, PagedKeysValues prefix, BeamSuffix suffix, Tensor out, Tensor lse) {
        if (prefix == null) {
            throw missing("prefix");
        }
        run(stream, queries, null, null, prefix, suffix, out, lse);
    }

    /**
     * Enqueues a run over prefixes in rows.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [sum W, H, dqk]} with offsets {@code [B + 1]}: one a beam
     * @param keys {@code [total, Hkv, dqk]} with offsets {@code [B + 1]}: of each request's prefix
     * @param values {@code [total, Hkv, dv]}
     * @param suffix what the beams have written since; null: nothing
     * @param out {@code [sum W, H, dv]}
     * @param lse {@code [sum W, H]} {@link DType#F32}: natural logarithms of each softmax's sum; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream, JaggedTensor queries, JaggedTensor keys, Tensor values, BeamSuffix suffix, Tensor out, Tensor lse) {
        if (keys == null) {
            throw missing("keys");
        }
        if (values == null) {
            throw missing("values");
        }
        run(stream, queries, keys, values, null, suffix, out, lse);
    }

    private void run(
            Stream stream,
            JaggedTensor queries,
            JaggedTensor keys,
            Tensor values,
            PagedKeysValues pages,
            BeamSuffix suffix,
            Tensor out,
            Tensor lse) {
        if (queries == null) {
            throw missing("queries");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_beam_attention_args.struct_size(args, ARGS_SIZE);
            jd_beam_attention_args.reserved(args, 0);
            jd_beam_attention_args.queries(args, queries.values().handle);
            jd_beam_attention_args.beam_offsets(args, queries.offsets().handle);
            jd_beam_attention_args.keys(args, keys == null ? 0 : keys.values().handle);
            jd_beam_attention_args.values(args, handleOrNone(values));
            jd_beam_attention_args.prefix_offsets(args, keys == null ? 0 : keys.offsets().handle);
            jd_beam_attention_args.key_pages(args, pages == null ? 0 : pages.keyPages().handle);
            jd_beam_attention_args.value_pages(args, pages == null ? 0 : pages.valuePages().handle);
            jd_beam_attention_args.page_table(args, pages == null ? 0 : pages.pageTable().handle);
            jd_beam_attention_args.seq_lens(args, pages == null ? 0 : pages.seqLens().handle);
            jd_beam_attention_args.key_scales(args, pages == null ? 0 : handleOrNone(pages.keyScales()));
            jd_beam_attention_args.value_scales(args, pages == null ? 0 : handleOrNone(pages.valueScales()));
            jd_beam_attention_args.suffix_keys(args, suffix == null ? 0 : suffix.keys().handle);
            jd_beam_attention_args.suffix_values(args, suffix == null ? 0 : suffix.values().handle);
            jd_beam_attention_args.ancestry(args, suffix == null ? 0 : suffix.ancestry().handle);
            jd_beam_attention_args.suffix_lens(args, suffix == null ? 0 : handleOrNone(suffix.lengths()));
            jd_beam_attention_args.out(args, Tensor.output(out, "out"));
            jd_beam_attention_args.lse(args, lse == null ? 0 : Tensor.output(lse, "lse"));
            call.check(JindouAbi.jd_beam_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(queries);
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(pages);
            Reference.reachabilityFence(suffix);
            Reference.reachabilityFence(out);
            Reference.reachabilityFence(lse);
        }
    }
}
