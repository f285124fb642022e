package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_merge_attention_states_args;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * The softmax over two disjoint sets of keys, from the results over each: {@code lse = log(exp(lseA) + exp(lseB))},
 * {@code out = exp(lseA - lse) * outA + exp(lseB - lse) * outB}. A side that saw no key, with an lse of -infinity, is not
 * looked at; where both saw none, out is zeros and lse -infinity.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="merge-attention-states"}
 *
 * <p>Row strides are free multiples of 16 bytes; the last dimension is contiguous. Without a plan; it enqueues and returns.
 * Results come from {@link SoftmaxAttention} or {@link DecodeAttention}. (FlashInfer.)
 */
public final class MergeAttentionStates {
    private static final int ARGS_SIZE = (int) jd_merge_attention_states_args.sizeof();

    private MergeAttentionStates() {}

    /**
     * Enqueues a run.
     *
     * @param stream orders the work
     * @param outA {@code [rows, H, d]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}, d a multiple of 32 to 256
     * @param lseA {@code [rows, H]} {@link DType#F32}, natural logarithms
     * @param outB as {@code outA}
     * @param lseB as {@code lseA}
     * @param out {@code [rows, H, d]}, of the same dtype or {@link DType#F32}, or of any of the three where the inputs are
     *     {@link DType#F32}; may be {@code outA} or {@code outB}
     * @param lse {@code [rows, H]} {@link DType#F32}; may be {@code lseA} or {@code lseB}; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void run(Stream stream, Tensor outA, Tensor lseA, Tensor outB, Tensor lseB, Tensor out, Tensor lse) {
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_merge_attention_states_args.struct_size(args, ARGS_SIZE);
            jd_merge_attention_states_args.reserved(args, 0);
            jd_merge_attention_states_args.out_a(args, NativeObject.handle(outA, "outA"));
            jd_merge_attention_states_args.lse_a(args, NativeObject.handle(lseA, "lseA"));
            jd_merge_attention_states_args.out_b(args, NativeObject.handle(outB, "outB"));
            jd_merge_attention_states_args.lse_b(args, NativeObject.handle(lseB, "lseB"));
            jd_merge_attention_states_args.out(args, Tensor.output(out, "out"));
            jd_merge_attention_states_args.lse(args, lse == null ? 0 : Tensor.output(lse, "lse"));
            call.check(JindouAbi.jd_merge_attention_states(NativeObject.handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(outA);
            Reference.reachabilityFence(lseA);
            Reference.reachabilityFence(outB);
            Reference.reachabilityFence(lseB);
            Reference.reachabilityFence(out);
            Reference.reachabilityFence(lse);
        }
    }
}
