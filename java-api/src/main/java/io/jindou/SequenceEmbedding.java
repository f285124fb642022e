package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_sequence_embedding_args;
import io.jindou.bindings.jd_sequence_embedding_desc;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Reference;
import java.util.List;
import java.util.Objects;

/**
 * The input rows of attention from the ids of jagged histories, in one pass: rows of several tables side by side or summed, with
 * position and time-bucket embeddings added.
 *
 * {@snippet file="io/jindou/DocumentationTest.java" region="sequence-embedding"}
 *
 * <p>{@code out_i = scale * (row of ids[0, i] | ... | row of ids[T-1, i]) + position row + time row}. Tables may hold numbers or codes, as
 * those of {@link EmbeddingBag}. An id out of range and the padding id stand for a row of zeros. Sums are f32, rounded once; a row of
 * the result depends on its own event and sequence alone.
 *
 * <p>Positions and time buckets as in HSTU (arXiv 2402.17152, generative-recommenders).
 */
public final class SequenceEmbedding extends NativePlan implements Plan {
    private static final int ARGS_SIZE = (int) jd_sequence_embedding_args.sizeof();

    private final SequenceEmbeddingDesc desc;

    private SequenceEmbedding(Device device, SequenceEmbeddingDesc desc, long handle) {
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
    public static SequenceEmbedding plan(Device device, SequenceEmbeddingDesc desc) {
        Objects.requireNonNull(desc, "desc");
        List<EmbeddingTable> tables = desc.tables();
        Call call = Call.begin();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment handles = arena.allocate(ValueLayout.JAVA_LONG, Math.max(1, tables.size()));
            MemorySegment formats = arena.allocate(ValueLayout.JAVA_INT, Math.max(1, tables.size()));
            MemorySegment dims = arena.allocate(ValueLayout.JAVA_INT, Math.max(1, tables.size()));
            for (int i = 0; i < tables.size(); i++) {
                EmbeddingTable table = tables.get(i);
                handles.setAtIndex(ValueLayout.JAVA_LONG, i, table.rows().handle);
                formats.setAtIndex(ValueLayout.JAVA_INT, i, table.format().code);
                dims.setAtIndex(ValueLayout.JAVA_INT, i, table.dim());
            }
            MemorySegment given = call.cleared(jd_sequence_embedding_desc.sizeof());
            jd_sequence_embedding_desc.struct_size(given, (int) jd_sequence_embedding_desc.sizeof());
            jd_sequence_embedding_desc.num_tables(given, tables.size());
            jd_sequence_embedding_desc.tables(given, handles);
            jd_sequence_embedding_desc.row_formats(given, formats);
            jd_sequence_embedding_desc.dims(given, dims);
            jd_sequence_embedding_desc.table_keys(given, TableKeys.of(arena, tables));
            jd_sequence_embedding_desc.combine(
                    given, desc.summed() ? JindouAbi.JD_SEQUENCE_SUM() : JindouAbi.JD_SEQUENCE_CONCAT());
            jd_sequence_embedding_desc.bounds(given, desc.bounds().code);
            jd_sequence_embedding_desc.index_dtype(given, desc.idDType().code());
            jd_sequence_embedding_desc.offset_dtype(given, desc.offsetDType().code());
            jd_sequence_embedding_desc.out_dtype(given, desc.outDType().code());
            jd_sequence_embedding_desc.has_padding_id(given, desc.paddingId().isPresent() ? 1 : 0);
            jd_sequence_embedding_desc.padding_id(given, desc.paddingId().orElse(0));
            jd_sequence_embedding_desc.position_table(given, handleOrNone(desc.positions().table()));
            jd_sequence_embedding_desc.time_table(given, handleOrNone(desc.times().table()));
            jd_sequence_embedding_desc.position_format(given, desc.positions().format().code);
            jd_sequence_embedding_desc.time_format(given, desc.times().format().code);
            jd_sequence_embedding_desc.scale(given, desc.scale());
            jd_sequence_embedding_desc.position_mode(
                    given,
                    desc.positions().fromEnd() ? JindouAbi.JD_POSITION_FROM_END() : JindouAbi.JD_POSITION_FROM_START());
            jd_sequence_embedding_desc.contextual_len(given, desc.positions().contextualLen());
            jd_sequence_embedding_desc.time_function(given, desc.times().function().code);
            jd_sequence_embedding_desc.max_time_bucket(given, desc.times().maxBucket());
            jd_sequence_embedding_desc.time_unit(given, desc.times().unit());
            jd_sequence_embedding_desc.has_num_targets(given, desc.hasNumTargets() ? 1 : 0);
            jd_sequence_embedding_desc.has_query_times(given, desc.hasQueryTimes() ? 1 : 0);
            jd_sequence_embedding_desc.max_batch(given, desc.maxBatch());
            jd_sequence_embedding_desc.max_events(given, desc.maxEvents());
            call.check(JindouAbi.jd_sequence_embedding_plan(handle(device, "device"), given, call.result, call.error));
            return new SequenceEmbedding(device, desc, call.resultLong());
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
    public SequenceEmbeddingDesc desc() {
        return desc;
    }

    /**
     * Enqueues a run.
     *
     * @param stream a stream of the plan's device
     * @param events ids, offsets, and what the plan needs besides
     * @param out {@code [total, D]}; rows aligned to 16 bytes
     * @throws InvalidArgumentException when a tensor breaks a rule of shape, dtype, strides, alignment or overlap, or an offset or length
     *     that the host can read is wrong; the message names it, and nothing has run
     * @throws ClosedException when the plan, the stream or a tensor is closed
     */
    public void run(Stream stream, SequenceEvents events, Tensor out) {
        if (events == null) {
            throw missing("events");
        }
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_sequence_embedding_args.struct_size(args, ARGS_SIZE);
            jd_sequence_embedding_args.reserved(args, 0);
            jd_sequence_embedding_args.ids(args, events.ids().handle);
            jd_sequence_embedding_args.offsets(args, events.offsets().handle);
            jd_sequence_embedding_args.timestamps(args, handleOrNone(events.timestamps()));
            jd_sequence_embedding_args.query_times(args, handleOrNone(events.queryTimes()));
            jd_sequence_embedding_args.num_targets(args, handleOrNone(events.numTargets()));
            jd_sequence_embedding_args.out(args, Tensor.output(out, "out"));
            call.check(JindouAbi.jd_sequence_embedding_run(handle, handle(stream, "stream"), args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(events);
            Reference.reachabilityFence(out);
        }
    }
}
