package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_embedding_bag_args;
import io.jindou.bindings.jd_embedding_bag_desc;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Reference;
import java.util.List;

/**
 * Rows of embedding tables, gathered and pooled by bags: many tables, many bags, one launch.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="embedding-bag"}
 *
 * <p>With T tables of dimensions d_t and B bags a table, bag b of table t holds the ids from {@code offsets[t*B + b]} to
 * {@code offsets[t*B + b + 1]}; the result has the shape {@code [B, sum of d_t]} ({@link EmbeddingTable#columns()}).
 * Accumulation is f32, in the order of the ids, so that a bag's bits do not depend on the other bags. {@link Pooling#NONE}
 * gives one row an id, {@code [total ids, dim]}; tables of several dimensions, and tables of it beside pooled ones, have a block of rows
 * each, see {@link EmbeddingBagDesc#splitOut()} and {@link #splitTables}. Tables may hold
 * numbers or codes, see {@link EmbeddingTable} and {@link RowFormat}; one launch takes any mixture. Ids of any number are
 * hashed to rows in the kernel, see {@link TableKeys}.
 *
 * <p>After FBGEMM's table-batched embeddings (Khudia et al., "FBGEMM", arXiv 2101.05615).
 */
public final class EmbeddingBag extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_embedding_bag_args.sizeof();

    private final EmbeddingBagDesc desc;

    private EmbeddingBag(Device device, EmbeddingBagDesc desc, long handle) {
        super(device, handle);
        this.desc = desc;
    }

    /**
     * Makes a plan.
     *
     * @param device the device of the tables
     * @param desc what to compute
     * @return the plan, to be closed
     * @throws InvalidArgumentException when the description breaks a rule; the message names the field
     */
    public static EmbeddingBag plan(Device device, EmbeddingBagDesc desc) {
        java.util.Objects.requireNonNull(desc, "desc");
        List<EmbeddingTable> tables = desc.tables();
        boolean onePooling = desc.pooling().size() == 1;
        if (!onePooling && desc.pooling().size() != tables.size()) {
            throw new InvalidArgumentException("argument 'pooling': expected 1 or " + tables.size() + " (one a table), got "
                    + desc.pooling().size());
        }
        boolean plain = tables.stream().allMatch(table -> table.format() == RowFormat.PLAIN);
        Call call = Call.begin();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment handles = arena.allocate(ValueLayout.JAVA_LONG, Math.max(1, tables.size()));
            MemorySegment pooling = onePooling ? MemorySegment.NULL : arena.allocate(ValueLayout.JAVA_INT, tables.size());
            MemorySegment formats = plain ? MemorySegment.NULL : arena.allocate(ValueLayout.JAVA_INT, tables.size());
            MemorySegment dims = plain ? MemorySegment.NULL : arena.allocate(ValueLayout.JAVA_INT, tables.size());
            for (int i = 0; i < tables.size(); i++) {
                EmbeddingTable table = tables.get(i);
                handles.setAtIndex(ValueLayout.JAVA_LONG, i, table.rows().handle);
                if (!plain) {
                    formats.setAtIndex(ValueLayout.JAVA_INT, i, table.format().code);
                    dims.setAtIndex(ValueLayout.JAVA_INT, i, table.dim());
                }
                if (!onePooling) {
                    pooling.setAtIndex(ValueLayout.JAVA_INT, i, desc.pooling().get(i).code);
                }
            }
            MemorySegment given = call.cleared(jd_embedding_bag_desc.sizeof());
            jd_embedding_bag_desc.struct_size(given, (int) jd_embedding_bag_desc.sizeof());
            jd_embedding_bag_desc.num_tables(given, tables.size());
            jd_embedding_bag_desc.tables(given, handles);
            jd_embedding_bag_desc.table_pooling(given, pooling);
            jd_embedding_bag_desc.pooling(given, onePooling ? desc.pooling().getFirst().code : 0);
            jd_embedding_bag_desc.bounds(given, desc.bounds().code);
            jd_embedding_bag_desc.mean_denominator(given, desc.meanDenominator().code);
            jd_embedding_bag_desc.index_dtype(given, desc.idDType().code());
            jd_embedding_bag_desc.offset_dtype(given, desc.offsetDType().code());
            jd_embedding_bag_desc.out_dtype(given, desc.outDType().code());
            jd_embedding_bag_desc.weighted(given, desc.weighted() ? 1 : 0);
            jd_embedding_bag_desc.has_padding_id(given, desc.paddingId().isPresent() ? 1 : 0);
            jd_embedding_bag_desc.padding_id(given, desc.paddingId().orElse(0));
            jd_embedding_bag_desc.max_batch(given, desc.maxBatch());
            jd_embedding_bag_desc.max_ids(given, desc.maxIds());
            jd_embedding_bag_desc.row_formats(given, formats);
            jd_embedding_bag_desc.dims(given, dims);
            jd_embedding_bag_desc.table_keys(given, TableKeys.of(arena, tables));
            jd_embedding_bag_desc.split_out(given, desc.splitOut() ? 1 : 0);
            call.check(JindouAbi.jd_embedding_bag_plan(handle(device, "device"), given, call.result, call.error));
            return new EmbeddingBag(device, desc, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
            Reference.reachabilityFence(desc);
        }
    }

    /**
     * The description that the plan was made from.
     *
     * @return the description
     */
    public EmbeddingBagDesc desc() {
        return desc;
    }

    /**
     * Enqueues an unweighted run.
     *
     * @param stream a stream of the plan's device
     * @param ids ids {@code [total]} with offsets {@code [T*B + 1]}
     * @param out {@code [B, sum of dims]}, or {@code [total, dim]} with {@link Pooling#NONE}; rows aligned to 16 bytes
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor ids, Tensor out) {
        run(stream, ids, null, out);
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param ids ids {@code [total]} with offsets {@code [T*B + 1]}
     * @param weights {@code [total]} {@link DType#F32}; null when the plan is not weighted
     * @param out {@code [B, sum of dims]}, or {@code [total, dim]} with {@link Pooling#NONE}; rows aligned to 16 bytes
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor ids, Tensor weights, Tensor out) {
        run(stream, ids, weights, out, null);
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param ids ids {@code [total]} with offsets {@code [T*B + 1]}
     * @param weights {@code [total]} {@link DType#F32}; null when the plan is not weighted
     * @param out as above; with {@link EmbeddingBagDesc#splitOut()} {@code [B * sum of columns]}, see {@link #split}, or with
     *     {@link Pooling#NONE} at least {@code total * largest dim} elements, see {@link #splitRows}; where tables of {@link Pooling#NONE}
     *     stand beside others both, {@code B * sum of pooled columns + total * largest dim of the rest}, see {@link #splitTables}
     * @param outScales {@code [B, S]} {@link DType#F32} with results of {@link DType#I8}, S the tables, each counted as often as its ids have
     *     rows side by side: {@code out * scale} is the number; with {@link Pooling#NONE} {@code [total, 1]}, one an id; where such tables
     *     stand beside others {@code [B * S + total]}: {@code [B, S]} of the pooled tables, then one an id at its position in {@code ids}
     *     (those of ids of pooled tables are not written); else null
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, JaggedTensor ids, Tensor weights, Tensor out, Tensor outScales) {
        if (ids == null) {
            throw missing("ids");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_embedding_bag_args.struct_size(args, ARGS_SIZE);
            jd_embedding_bag_args.reserved(args, 0);
            jd_embedding_bag_args.ids(args, ids.values().handle);
            jd_embedding_bag_args.offsets(args, ids.offsets().handle);
            jd_embedding_bag_args.weights(args, handleOrNone(weights));
            jd_embedding_bag_args.out(args, Tensor.output(out, "out"));
            jd_embedding_bag_args.out_scales(args, handleOrNone(outScales));
            call.check(JindouAbi.jd_embedding_bag_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(ids.values());
            Reference.reachabilityFence(ids.offsets());
            Reference.reachabilityFence(weights);
            Reference.reachabilityFence(out);
            Reference.reachabilityFence(outScales);
        }
    }

    /**
     * The results of the tables one by one, where {@link EmbeddingBagDesc#splitOut()} was asked.
     *
     * @param out {@code [B * sum of columns]}, as it was given to {@link #run}
     * @return views {@code [B, columns]} of one piece each, in the order of the tables; to be closed
     * @throws InvalidArgumentException when a table is not pooled: {@link #splitRows}, {@link #splitTables}
     */
    public List<Tensor> split(Tensor out) {
        if (desc.pooling().contains(Pooling.NONE)) {
            throw new InvalidArgumentException("argument 'out': expected that of pooled tables only (splitTables takes any), got pooling "
                    + desc.pooling());
        }
        return splitTables(out, out.dim(0) / desc.columns(), new long[desc.tables().size()]);
    }

    /**
     * The rows of the tables one by one, with {@link Pooling#NONE} where {@link EmbeddingBagDesc#splitOut()} was asked: those of table t
     * are those of its ids in their order, behind those of the tables before it.
     *
     * @param out as it was given to {@link #run}
     * @param ids how many ids each table had: {@code offsets[(t+1)*B] - offsets[t*B]}
     * @return views {@code [ids of t, dim of t]} of one piece each, in the order of the tables; to be closed
     * @throws InvalidArgumentException when a table is pooled, or when there is not one number a table
     */
    public List<Tensor> splitRows(Tensor out, long... ids) {
        if (desc.pooling().stream().anyMatch(pooling -> pooling != Pooling.NONE)) {
            throw new InvalidArgumentException("argument 'out': expected that of tables without pooling only (splitTables takes any), "
                    + "got pooling " + desc.pooling());
        }
        return splitTables(out, 0, ids);
    }

    /**
     * The results of the tables one by one, where {@link EmbeddingBagDesc#splitOut()} was asked, whatever their pooling: pooled tables'
     * blocks lie first in {@code out}, each behind those before it, and those of the tables with {@link Pooling#NONE} behind them.
     *
     * @param out as it was given to {@link #run}
     * @param batch B, as it was in that run
     * @param ids how many ids each table had: {@code offsets[(t+1)*B] - offsets[t*B]}; of pooled tables not looked at
     * @return in the order of the tables views of one piece each, {@code [B, columns of t]} of pooled tables and {@code [ids of t, dim of
     *     t]} of the others; to be closed
     * @throws InvalidArgumentException when there is not one number a table, or {@code out} does not hold as much
     */
    public List<Tensor> splitTables(Tensor out, long batch, long... ids) {
        List<EmbeddingTable> tables = desc.tables();
        if (ids.length != tables.size()) {
            throw new InvalidArgumentException(
                    "argument 'ids': expected " + tables.size() + " numbers (one a table), got " + ids.length);
        }
        Tensor[] each = new Tensor[ids.length];
        try {
            long at = 0;
            for (boolean pooled : new boolean[] {true, false}) {
                for (int t = 0; t < ids.length; t++) {
                    if (pooled == (desc.poolingOf(t) == Pooling.NONE)) {
                        continue;
                    }
                    long rows = pooled ? batch : ids[t];
                    long columns = tables.get(t).columns();
                    each[t] = out.view(at, new long[] {rows, columns}, new long[] {columns, 1});
                    at += rows * columns;
                }
            }
        } catch (RuntimeException | Error e) { // out is too small for a later one
            for (Tensor view : each) {
                if (view != null) {
                    view.close();
                }
            }
            throw e;
        }
        return List.of(each);
    }
}
