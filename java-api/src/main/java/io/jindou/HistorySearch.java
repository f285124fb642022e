package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_history_search_args;
import io.jindou.bindings.jd_history_search_desc;
import io.jindou.bindings.jd_lsh_signatures_args;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * The k best events of a long history for each candidate: the first half of retrieval inside histories of 10,000 to 1,000,000
 * events. {@link SearchAttention} attends to what was found.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="history-search"}
 *
 * <p>The best come first; of equals the more recent event, the one with the larger index, does. An event whose score is NaN or
 * -infinity is never found. The result is exact, and depends on the candidate's own query and its user's history alone. Scores
 * are filtered where they are summed: no matrix of them is ever in memory.
 *
 * <p>Rows are jagged; the last dimension is contiguous. Rows of numbers are aligned to 16 bytes, everything else to its
 * elements. Offsets and lengths that only the device can see follow the plan's {@link Bounds}.
 *
 * <p>SIM (arXiv 2006.05639); ETA (arXiv 2108.04468); TWIN (arXiv 2302.02352).
 */
public final class HistorySearch extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_history_search_args.sizeof();
    private static final int SIGNATURES_SIZE = (int) jd_lsh_signatures_args.sizeof();

    private final HistorySearchDesc desc;

    private HistorySearch(Device device, HistorySearchDesc desc, long handle) {
        super(device, handle);
        this.desc = desc;
    }

    /**
     * Makes a plan.
     *
     * @param device where it runs
     * @param desc what to find
     * @return the plan, to be closed
     * @throws InvalidArgumentException when the description breaks a rule; the message names the field
     */
    public static HistorySearch plan(Device device, HistorySearchDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_history_search_desc.sizeof());
            jd_history_search_desc.struct_size(given, (int) jd_history_search_desc.sizeof());
            switch (desc.method()) {
                case SearchMethod.Hard hard -> method(given, JindouAbi.JD_SEARCH_HARD(), hard.dtype(), 0);
                case SearchMethod.Dot dot -> method(given, JindouAbi.JD_SEARCH_DOT(), dot.dtype(), dot.dim());
                case SearchMethod.Lsh lsh -> method(given, JindouAbi.JD_SEARCH_LSH(), DType.I64, lsh.bits());
            }
            jd_history_search_desc.offset_dtype(given, desc.offsetDType().code());
            jd_history_search_desc.k(given, desc.k());
            jd_history_search_desc.bounds(given, desc.bounds().code);
            jd_history_search_desc.max_batch(given, desc.maxBatch());
            jd_history_search_desc.max_candidates(given, desc.maxCandidates());
            jd_history_search_desc.max_history(given, desc.maxHistory());
            call.check(JindouAbi.jd_history_search_plan(handle(device, "device"), given, call.result, call.error));
            return new HistorySearch(device, desc, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    private static void method(MemorySegment given, int method, DType dtype, int dim) {
        jd_history_search_desc.method(given, method);
        jd_history_search_desc.dtype(given, dtype.code());
        jd_history_search_desc.dim(given, dim);
    }

    /**
     * The description that the plan was made from.
     *
     * @return the description
     */
    public HistorySearchDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run that gives the events alone.
     *
     * @param stream a stream of the plan's device
     * @param queries of the candidates of all users, with offsets {@code [B + 1]}; see {@link SearchMethod}
     * @param keys of the events of all users, with offsets {@code [B + 1]}
     * @param indices {@code [sum nc, k]} {@link DType#I32}: positions in the user's history; -1 past the last found
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor queries, JaggedTensor keys, Tensor indices) {
        run(stream, queries, keys, null, indices, null, null);
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param queries of the candidates of all users, with offsets {@code [B + 1]}; see {@link SearchMethod}
     * @param keys of the events of all users, with offsets {@code [B + 1]}
     * @param bias {@code [sum nk]} {@link DType#F32}, added to the events' scores; -infinity hides one; {@link SearchMethod.Dot}
     *     only, or null
     * @param indices {@code [sum nc, k]} {@link DType#I32}: positions in the user's history; -1 past the last found
     * @param scores {@code [sum nc, k]} {@link DType#F32}: scores, -infinity past the last, or distances, +infinity past it; null: not
     *     wanted
     * @param counts {@code [sum nc]} {@link DType#I32}: how many were found; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(
            Stream stream, JaggedTensor queries, JaggedTensor keys, Tensor bias, Tensor indices, Tensor scores, Tensor counts) {
        if (queries == null) {
            throw missing("queries");
        }
        if (keys == null) {
            throw missing("keys");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_history_search_args.struct_size(args, ARGS_SIZE);
            jd_history_search_args.reserved(args, 0);
            jd_history_search_args.queries(args, queries.values().handle);
            jd_history_search_args.candidate_offsets(args, queries.offsets().handle);
            jd_history_search_args.keys(args, keys.values().handle);
            jd_history_search_args.history_offsets(args, keys.offsets().handle);
            jd_history_search_args.bias(args, handleOrNone(bias));
            jd_history_search_args.indices(args, Tensor.output(indices, "indices"));
            jd_history_search_args.scores(args, scores == null ? 0 : Tensor.output(scores, "scores"));
            jd_history_search_args.counts(args, counts == null ? 0 : Tensor.output(counts, "counts"));
            call.check(JindouAbi.jd_history_search_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(queries);
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(bias);
            Reference.reachabilityFence(indices);
            Reference.reachabilityFence(scores);
            Reference.reachabilityFence(counts);
        }
    }

    /**
     * Signs of random projections, for {@link SearchMethod.Lsh}: bit b of row i is 1 where {@code projection_b . x_i > 0}. Kept beside
     * each event, they are made once; a candidate's are made with each request.
     *
     * @param stream orders the work
     * @param x {@code [n, d]} {@link DType#F32}, {@link DType#F16} or {@link DType#BF16}; d a multiple of 8, to 256
     * @param projection {@code [bits, d]} of the same dtype; bits a multiple of 64, to 1024
     * @param signatures {@code [n, bits / 64]} {@link DType#I64}
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the stream or a tensor is closed
     */
    public static void signatures(Stream stream, Tensor x, Tensor projection, Tensor signatures) {
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_lsh_signatures_args.struct_size(args, SIGNATURES_SIZE);
            jd_lsh_signatures_args.reserved(args, 0);
            jd_lsh_signatures_args.x(args, handle(x, "x"));
            jd_lsh_signatures_args.projection(args, handle(projection, "projection"));
            jd_lsh_signatures_args.signatures(args, Tensor.output(signatures, "signatures"));
            call.check(JindouAbi.jd_lsh_signatures(handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(x);
            Reference.reachabilityFence(projection);
            Reference.reachabilityFence(signatures);
        }
    }
}
