package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_rq_encode_args;
import io.jindou.bindings.jd_rq_encode_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.util.Objects;

/**
 * Residual quantisation: the semantic ids of vectors. {@link RqDecode} is the way back.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="rq"}
 *
 * <p>At each level the code nearest to what the levels before have left of the vector, by Euclidean distance; the first of
 * equal codes. Distances are compared in f32: of codes closer to each other than rounding, any may be chosen. A vector's codes
 * depend on that vector and the codebooks alone. No matrix of distances is laid out.
 *
 * <p>Vectors and codebooks have the last dimension contiguous, other strides that are multiples of 16 bytes, and data aligned
 * to 16 bytes; codes and norms are aligned to their elements only.
 *
 * <p>RQ-VAE (arXiv 2203.01941); TIGER (arXiv 2305.05065); OneRec (arXiv 2502.18965).
 */
public final class RqEncode extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_rq_encode_args.sizeof();

    private final RqEncodeDesc desc;

    private RqEncode(Device device, RqEncodeDesc desc, long handle) {
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
    public static RqEncode plan(Device device, RqEncodeDesc desc) {
        Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_rq_encode_desc.sizeof());
            jd_rq_encode_desc.struct_size(given, (int) jd_rq_encode_desc.sizeof());
            jd_rq_encode_desc.dtype(given, desc.dtype().code());
            jd_rq_encode_desc.dim(given, desc.dim());
            jd_rq_encode_desc.num_levels(given, desc.numLevels());
            jd_rq_encode_desc.num_codes(given, desc.numCodes());
            call.check(JindouAbi.jd_rq_encode_plan(handle(device, "device"), given, call.result, call.error));
            return new RqEncode(device, desc, call.resultLong());
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
    public RqEncodeDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param x {@code [n, d]}
     * @param codebooks {@code [L, K, d]} {@link DType#F32}
     * @param codes {@code [n, L]} {@link DType#I32}, written; always in 0..K-1
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, Tensor x, Tensor codebooks, Tensor codes) {
        run(stream, x, codebooks, codes, null);
    }

    /**
     * Enqueues a run that also gives the length of what all levels have left of each vector.
     *
     * @param stream a stream of the plan's device
     * @param x {@code [n, d]}
     * @param codebooks {@code [L, K, d]} {@link DType#F32}
     * @param codes {@code [n, L]} {@link DType#I32}, written; always in 0..K-1
     * @param residualNorm {@code [n]} {@link DType#F32}, written; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, Tensor x, Tensor codebooks, Tensor codes, Tensor residualNorm) {
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_rq_encode_args.struct_size(args, ARGS_SIZE);
            jd_rq_encode_args.reserved(args, 0);
            jd_rq_encode_args.x(args, handle(x, "x"));
            jd_rq_encode_args.codebooks(args, handle(codebooks, "codebooks"));
            jd_rq_encode_args.codes(args, Tensor.output(codes, "codes"));
            jd_rq_encode_args.residual_norm(args, residualNorm == null ? 0 : Tensor.output(residualNorm, "residualNorm"));
            call.check(JindouAbi.jd_rq_encode_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(x);
            Reference.reachabilityFence(codebooks);
            Reference.reachabilityFence(codes);
            Reference.reachabilityFence(residualNorm);
        }
    }
}
