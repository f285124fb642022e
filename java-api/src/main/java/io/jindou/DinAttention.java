package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_din_attention_args;
import io.jindou.bindings.jd_din_attention_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.util.Objects;

/**
 * The activation unit of DIN: every candidate of a user weighs every event of the user's history by a small network of the two, and
 * its result is the weighted sum of the events' values.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="din-attention"}
 *
 * <p>For candidate i: {@code out_i = sum_j scale * weight_ij * v_j}, or {@code sum_j softmax_j(scale * weight_ij) v_j}, where
 * {@code weight_ij} is what the {@link DinNetwork} makes of {@code [q_i; k_j; q_i - k_j; q_i * k_j]}. These four are never laid out
 * side by side: the first layer is folded into one matrix a candidate, a quarter of the work, and nothing of the pairs is ever in
 * memory. A candidate without events gives zeros.
 *
 * <p>Candidates and history are jagged {@code [total, width]}; row strides are free multiples of 16 bytes, the last dimension is
 * contiguous, data is aligned to 16 bytes. The network is f32. With 16-bit inputs the folded weights and the first layer's hidden
 * units may be rounded to the inputs' dtype.
 *
 * <p>Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", arXiv 1706.06978.
 */
public final class DinAttention extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_din_attention_args.sizeof();

    private final DinAttentionDesc desc;

    private DinAttention(Device device, DinAttentionDesc desc, long handle) {
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
    public static DinAttention plan(Device device, DinAttentionDesc desc) {
        Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_din_attention_desc.sizeof());
            jd_din_attention_desc.struct_size(given, (int) jd_din_attention_desc.sizeof());
            jd_din_attention_desc.dtype(given, desc.dtype().code());
            jd_din_attention_desc.out_dtype(given, desc.outDType().code());
            jd_din_attention_desc.offset_dtype(given, desc.offsetDType().code());
            jd_din_attention_desc.dim(given, desc.dim());
            jd_din_attention_desc.dim_v(given, desc.dimV());
            jd_din_attention_desc.hidden_1(given, desc.hidden1());
            jd_din_attention_desc.hidden_2(given, desc.hidden2());
            switch (desc.activation()) {
                case DinActivation.Sigmoid sigmoid -> jd_din_attention_desc.activation(given, JindouAbi.JD_DIN_SIGMOID());
                case DinActivation.Prelu prelu -> jd_din_attention_desc.activation(given, JindouAbi.JD_DIN_PRELU());
                case DinActivation.Dice dice -> {
                    jd_din_attention_desc.activation(given, JindouAbi.JD_DIN_DICE());
                    jd_din_attention_desc.dice_eps(given, dice.eps());
                }
            }
            jd_din_attention_desc.softmax(given, desc.softmax() ? 1 : 0);
            jd_din_attention_desc.scale(given, desc.scale());
            jd_din_attention_desc.bounds(given, desc.bounds().code);
            jd_din_attention_desc.num_latest(given, desc.numLatest());
            jd_din_attention_desc.max_batch(given, desc.maxBatch());
            jd_din_attention_desc.max_candidates(given, desc.maxCandidates());
            jd_din_attention_desc.max_history(given, desc.maxHistory());
            call.check(JindouAbi.jd_din_attention_plan(handle(device, "device"), given, call.result, call.error));
            return new DinAttention(device, desc, call.resultLong());
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
    public DinAttentionDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param candidates {@code [candidates of all users, d]} with offsets {@code [B + 1]}
     * @param keys {@code [events of all users, d]} with offsets {@code [B + 1]}
     * @param values {@code [events of all users, dv]}
     * @param network the weights
     * @param out {@code [candidates of all users, dv]}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream, JaggedTensor candidates, JaggedTensor keys, Tensor values, DinNetwork network, Tensor out) {
        if (candidates == null) {
            throw missing("candidates");
        }
        if (keys == null) {
            throw missing("keys");
        }
        if (network == null) {
            throw missing("network");
        }
        DinLayer first = network.first();
        DinLayer second = network.second();
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_din_attention_args.struct_size(args, ARGS_SIZE);
            jd_din_attention_args.reserved(args, 0);
            jd_din_attention_args.candidates(args, candidates.values().handle);
            jd_din_attention_args.candidate_offsets(args, candidates.offsets().handle);
            jd_din_attention_args.keys(args, keys.values().handle);
            jd_din_attention_args.values(args, handle(values, "values"));
            jd_din_attention_args.history_offsets(args, keys.offsets().handle);
            jd_din_attention_args.weight_1(args, handle(first.weight(), "first.weight"));
            jd_din_attention_args.bias_1(args, handle(first.bias(), "first.bias"));
            jd_din_attention_args.slope_1(args, handleOrNone(first.slope()));
            jd_din_attention_args.mean_1(args, handleOrNone(first.mean()));
            jd_din_attention_args.variance_1(args, handleOrNone(first.variance()));
            jd_din_attention_args.weight_2(args, handle(second.weight(), "second.weight"));
            jd_din_attention_args.bias_2(args, handle(second.bias(), "second.bias"));
            jd_din_attention_args.slope_2(args, handleOrNone(second.slope()));
            jd_din_attention_args.mean_2(args, handleOrNone(second.mean()));
            jd_din_attention_args.variance_2(args, handleOrNone(second.variance()));
            jd_din_attention_args.weight_3(args, handle(network.outWeight(), "outWeight"));
            jd_din_attention_args.bias_3(args, handle(network.outBias(), "outBias"));
            jd_din_attention_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_din_attention_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(candidates.values());
            Reference.reachabilityFence(candidates.offsets());
            Reference.reachabilityFence(keys.values());
            Reference.reachabilityFence(keys.offsets());
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(network);
            Reference.reachabilityFence(out);
        }
    }
}
