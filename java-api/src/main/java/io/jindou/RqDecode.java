package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_rq_decode_args;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * From the semantic ids of {@link RqEncode} back to vectors: {@code out = sum_l codebooks[l, codes[l]]}, summed in f32 from the first level
 * on. It needs no plan; it enqueues and returns. (RQ-VAE, arXiv 2203.01941.)
 */
public final class RqDecode {
    private static final int ARGS_SIZE = (int) jd_rq_decode_args.sizeof();

    private RqDecode() {}

    /**
     * Enqueues a run. Sums are f32, in the order of levels. A code outside 0..K-1 follows {@code bounds}; under
     * {@link Bounds#ZERO} it is left out of its sum.
     *
     * @param stream orders the work
     * @param codes {@code [n, L]} {@link DType#I32}
     * @param codebooks {@code [L, K, d]} {@link DType#F32}, d a multiple of 4 up to 1024
     * @param bounds what to do with a code that is out of range
     * @param out {@code [n, d]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void run(Stream stream, Tensor codes, Tensor codebooks, Bounds bounds, Tensor out) {
        if (bounds == null) {
            throw NativeObject.missing("bounds");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_rq_decode_args.struct_size(args, ARGS_SIZE);
            jd_rq_decode_args.bounds(args, bounds.code);
            jd_rq_decode_args.codes(args, NativeObject.handle(codes, "codes"));
            jd_rq_decode_args.codebooks(args, NativeObject.handle(codebooks, "codebooks"));
            jd_rq_decode_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_rq_decode(NativeObject.handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(codes);
            Reference.reachabilityFence(codebooks);
            Reference.reachabilityFence(out);
        }
    }
}
