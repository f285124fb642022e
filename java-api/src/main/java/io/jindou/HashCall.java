package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_hash_table_args;
import io.jindou.bindings.jd_hash_table_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/** The plan of {@code hash_lookup}, {@code hash_insert} or {@code hash_erase}. */
final class HashCall extends NativePlan {
    private static final int ARGS_SIZE = (int) jd_hash_table_args.sizeof();

    enum Operator {
        LOOKUP,
        INSERT,
        ERASE
    }

    /** The tensors that are the table; null where it has none. */
    record State(Tensor keys, Tensor rows, Tensor scores, Tensor sights, Tensor size) {}

    private final Operator operator;

    private HashCall(Device device, Operator operator, long handle) {
        super(device, handle);
        this.operator = operator;
    }

    static HashCall plan(Device device, HashTableDesc desc, Operator operator) {
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_hash_table_desc.sizeof());
            jd_hash_table_desc.struct_size(given, (int) jd_hash_table_desc.sizeof());
            jd_hash_table_desc.dtype(given, desc.dtype().code());
            jd_hash_table_desc.dim(given, desc.dim());
            jd_hash_table_desc.eviction(given, desc.eviction().code);
            jd_hash_table_desc.admission(given, desc.admission());
            jd_hash_table_desc.missing(given, desc.missing().code);
            jd_hash_table_desc.bounds(given, desc.bounds().code);
            long owner = handle(device, "device");
            call.check(
                    switch (operator) {
                        case LOOKUP -> JindouAbi.jd_hash_lookup_plan(owner, given, call.result, call.error);
                        case INSERT -> JindouAbi.jd_hash_insert_plan(owner, given, call.result, call.error);
                        case ERASE -> JindouAbi.jd_hash_erase_plan(owner, given, call.result, call.error);
                    });
            return new HashCall(device, operator, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    void run(
            Stream stream,
            State table,
            long tick,
            Tensor keys,
            Tensor rows,
            Tensor scores,
            Tensor defaultRow,
            HashTableResults results) {
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            boolean looks = operator == Operator.LOOKUP;
            jd_hash_table_args.struct_size(args, ARGS_SIZE);
            jd_hash_table_args.reserved(args, 0);
            jd_hash_table_args.tick(args, tick);
            jd_hash_table_args.table_keys(args, table.keys.handle);
            jd_hash_table_args.table_rows(args, table.rows.handle);
            jd_hash_table_args.table_scores(args, handleOrNone(table.scores));
            jd_hash_table_args.table_sights(args, operator == Operator.INSERT ? handleOrNone(table.sights) : 0);
            jd_hash_table_args.table_size(args, looks ? 0 : table.size.handle);
            jd_hash_table_args.keys(args, handle(keys, "keys"));
            jd_hash_table_args.rows(args, rows == null ? 0 : looks ? Tensor.output(rows, "rows") : rows.handle);
            jd_hash_table_args.scores(args, handleOrNone(scores));
            jd_hash_table_args.default_row(args, handleOrNone(defaultRow));
            jd_hash_table_args.slots(args, outputOrNone(results.slots(), "slots"));
            jd_hash_table_args.outcomes(args, outputOrNone(results.outcomes(), "outcomes"));
            jd_hash_table_args.evicted_keys(args, outputOrNone(results.evictedKeys(), "evictedKeys"));
            long on = handle(stream, "stream");
            call.check(
                    switch (operator) {
                        case LOOKUP -> JindouAbi.jd_hash_lookup_run(handle, on, args, call.error);
                        case INSERT -> JindouAbi.jd_hash_insert_run(handle, on, args, call.error);
                        case ERASE -> JindouAbi.jd_hash_erase_run(handle, on, args, call.error);
                    });
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(table);
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(rows);
            Reference.reachabilityFence(scores);
            Reference.reachabilityFence(defaultRow);
            Reference.reachabilityFence(results);
        }
    }

    private static long outputOrNone(Tensor tensor, String argument) {
        return tensor == null ? 0 : Tensor.output(tensor, argument);
    }
}
