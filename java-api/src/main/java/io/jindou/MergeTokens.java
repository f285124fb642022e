package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_merge_tokens_args;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * k adjacent events side by side in one row (LONGER's token merge, arXiv 2505.04421): {@code [n, d]} becomes
 * {@code [ceil(n/k), k * d]}.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="longer-attention"}
 *
 * <p>Where k does not divide n, the first row begins with zeros: the padding is on the oldest side, the latest event always the
 * last of its row. Elements are copied as they are, of any dtype; rows are a multiple of 16 bytes and aligned to 16 bytes, at
 * any stride that keeps them so. It needs no plan; it enqueues and returns.
 */
public final class MergeTokens {
    private static final int ARGS_SIZE = (int) jd_merge_tokens_args.sizeof();

    private MergeTokens() {}

    /**
     * Offsets of the merged sequences, for the second tensor of a run.
     *
     * @param k events in a row
     * @param lengths events of each sequence
     * @return one more than there are lengths, the first 0
     */
    public static long[] offsets(int k, int... lengths) {
        int[] merged = new int[lengths.length];
        for (int i = 0; i < lengths.length; i++) {
            merged[i] = Math.ceilDiv(lengths[i], k);
        }
        return JaggedTensor.offsets(merged);
    }

    /**
     * Enqueues a run.
     *
     * @param stream orders the work
     * @param x {@code [sum n, d]} with offsets {@code [B + 1]}: any dtype, rows of a multiple of 16 bytes
     * @param k events in a row, 1 to 1024
     * @param bounds {@link Bounds#STRICT} or {@link Bounds#ZERO}, for offsets that only the device sees
     * @param out {@code [sum ceil(n/k), k * d]} of the same dtype, with offsets {@code [B + 1]} as {@link #offsets} makes them
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void run(Stream stream, JaggedTensor x, int k, Bounds bounds, JaggedTensor out) {
        if (x == null) {
            throw NativeObject.missing("x");
        }
        if (bounds == null) {
            throw NativeObject.missing("bounds");
        }
        if (out == null) {
            throw NativeObject.missing("out");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_merge_tokens_args.struct_size(args, ARGS_SIZE);
            jd_merge_tokens_args.k(args, k);
            jd_merge_tokens_args.bounds(args, bounds.code);
            jd_merge_tokens_args.reserved(args, 0);
            jd_merge_tokens_args.x(args, x.values().handle);
            jd_merge_tokens_args.offsets(args, x.offsets().handle);
            jd_merge_tokens_args.out(args, Tensor.output(out.values(), "out"));
            jd_merge_tokens_args.out_offsets(args, out.offsets().handle);
            call.check(JindouAbi.jd_merge_tokens(NativeObject.handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(x);
            Reference.reachabilityFence(out);
        }
    }
}
