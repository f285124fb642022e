package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_top_k_inner_product_args;
import io.jindou.bindings.jd_top_k_inner_product_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Objects;

/**
 * Exact maximum-inner-product search: the k best of all items for each query, as retrieval with two towers, SASRec or HSTU ends.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="top-k-inner-product"}
 *
 * <p>The largest product comes first; of equals the item with the lower index does. An item whose score is NaN or -infinity is
 * never found. Past the last item found come index -1 and score -infinity. A bitmap says which items are allowed, for all
 * queries or for each.
 *
 * <p>The items are read from memory once for all queries as a rule, scores are filtered where they are summed, and no matrix of
 * them is ever in memory. A query's result depends on that query, the items and the bitmap alone. Products are summed in f32.
 *
 * <p>Items may be the rows of a table of codes ({@link EmbeddingTable#quantize}, or one that PyTorch quantised): a quarter of the memory, and the
 * bits of every score those of F32 rows of what the codes stand for.
 *
 * <p>Rows of queries and of items that are numbers are aligned to 16 bytes, everything else to its elements; the last dimension of every tensor is
 * contiguous.
 *
 * <p>The function of Faiss' IndexFlatIP (Johnson et al., arXiv 1702.08734).
 */
public final class TopKInnerProduct extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_top_k_inner_product_args.sizeof();

    private final TopKInnerProductDesc desc;

    private TopKInnerProduct(Device device, TopKInnerProductDesc desc, long handle) {
        super(device, handle);
        this.desc = desc;
    }

    /**
     * Makes a plan. What it holds does not grow with the number of items.
     *
     * @param device where it runs
     * @param desc what to find
     * @return the plan, to be closed
     * @throws InvalidArgumentException when the description breaks a rule; the message names the field
     */
    public static TopKInnerProduct plan(Device device, TopKInnerProductDesc desc) {
        Objects.requireNonNull(desc, "desc");
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_top_k_inner_product_desc.sizeof());
            jd_top_k_inner_product_desc.struct_size(given, (int) jd_top_k_inner_product_desc.sizeof());
            jd_top_k_inner_product_desc.dtype(given, desc.dtype().code());
            jd_top_k_inner_product_desc.dim(given, desc.dim());
            jd_top_k_inner_product_desc.k(given, desc.k());
            jd_top_k_inner_product_desc.max_queries(given, desc.maxQueries());
            jd_top_k_inner_product_desc.row_format(given, desc.rowFormat().code);
            call.check(JindouAbi.jd_top_k_inner_product_plan(handle(device, "device"), given, call.result, call.error));
            return new TopKInnerProduct(device, desc, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    /**
     * A bitmap of allowed items, as {@link #run(Stream, Tensor, Tensor, Tensor, Tensor, Tensor)} takes it.
     *
     * @param stream a stream of the device
     * @param allowed the items that may be found
     * @param items how many there are; bits past them are dropped
     * @return a tensor {@code [(items + 7) / 8]} {@link DType#U8}, to be closed
     * @throws InvalidArgumentException when {@code items} is negative
     */
    public static Tensor bitmap(Stream stream, BitSet allowed, int items) {
        Objects.requireNonNull(allowed, "allowed");
        if (items < 0) {
            throw new InvalidArgumentException("argument 'items': expected at least 0, got " + items);
        }
        byte[] bits = Arrays.copyOf(allowed.get(0, items).toByteArray(), (int) ((items + 7L) / 8));
        return Tensor.of(stream, new HostTensor(DType.U8, MemorySegment.ofArray(bits), bits.length));
    }

    /**
     * The description that the plan was made from.
     *
     * @return the description
     */
    public TopKInnerProductDesc desc() {
        return desc;
    }

    /**
     * Enqueues a search among all items that gives the indices alone.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [m, d]}
     * @param items {@code [N, d]}
     * @param indices {@code [m, k]} {@link DType#I64}, written: rows of {@code items}, best first; -1 past the last found
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, Tensor queries, Tensor items, Tensor indices) {
        run(stream, queries, items, null, indices, null);
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param queries {@code [m, d]}
     * @param items {@code [N, d]}, up to 2^31 - 1 rows; of codes {@code [N, bytes]} {@link DType#U8}
     * @param allowed {@code [(N + 7) / 8]} {@link DType#U8} for all queries, or {@code [m, (N + 7) / 8]}: bit {@code j % 8} of byte
     *     {@code j / 8} says whether item j may be found; null: all may
     * @param indices {@code [m, k]} {@link DType#I64}, written: rows of {@code items}, best first; -1 past the last found
     * @param scores {@code [m, k]} {@link DType#F32}, written; -infinity past the last found; null: not wanted
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap; the message names it, and
     *     nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, Tensor queries, Tensor items, Tensor allowed, Tensor indices, Tensor scores) {
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_top_k_inner_product_args.struct_size(args, ARGS_SIZE);
            jd_top_k_inner_product_args.reserved(args, 0);
            jd_top_k_inner_product_args.queries(args, handle(queries, "queries"));
            jd_top_k_inner_product_args.items(args, handle(items, "items"));
            jd_top_k_inner_product_args.allowed(args, handleOrNone(allowed));
            jd_top_k_inner_product_args.indices(args, Tensor.output(indices, "indices"));
            jd_top_k_inner_product_args.scores(args, scores == null ? 0 : Tensor.output(scores, "scores"));
            call.check(JindouAbi.jd_top_k_inner_product_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(queries);
            Reference.reachabilityFence(items);
            Reference.reachabilityFence(allowed);
            Reference.reachabilityFence(indices);
            Reference.reachabilityFence(scores);
        }
    }
}
