package io.jindou;

import io.jindou.bindings.JindouAbi;
import io.jindou.bindings.jd_paged_cache_args;
import io.jindou.bindings.jd_paged_cache_desc;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/** The plan of {@code paged_append} or of {@code paged_gather}. */
final class PagedCopy extends NativePlan {
    private static final int ARGS_SIZE = (int) jd_paged_cache_args.sizeof();

    private final boolean append;

    private PagedCopy(Device device, boolean append, long handle) {
        super(device, handle);
        this.append = append;
    }

    static PagedCopy plan(Device device, PagedCacheDesc desc, boolean append) {
        Call call = Call.begin();
        try {
            MemorySegment given = call.cleared(jd_paged_cache_desc.sizeof());
            jd_paged_cache_desc.struct_size(given, (int) jd_paged_cache_desc.sizeof());
            jd_paged_cache_desc.dtype(given, desc.dtype().code());
            jd_paged_cache_desc.cache_dtype(given, desc.cacheDType().code());
            jd_paged_cache_desc.offset_dtype(given, DType.I64.code());
            jd_paged_cache_desc.page_size(given, desc.pageSize());
            jd_paged_cache_desc.num_kv_heads(given, desc.numKvHeads());
            jd_paged_cache_desc.head_dim_k(given, desc.headDimK());
            jd_paged_cache_desc.head_dim_v(given, desc.headDimV());
            jd_paged_cache_desc.bounds(given, Bounds.STRICT.code);
            jd_paged_cache_desc.max_batch(given, desc.maxBatch());
            long owner = handle(device, "device");
            call.check(
                    append
                            ? JindouAbi.jd_paged_append_plan(owner, given, call.result, call.error)
                            : JindouAbi.jd_paged_gather_plan(owner, given, call.result, call.error));
            return new PagedCopy(device, append, call.resultLong());
        } finally {
            call.end();
            Reference.reachabilityFence(device);
        }
    }

    void run(Stream stream, Tensor keys, Tensor values, Tensor offsets, PagedKeysValues cache) {
        Call call = Call.begin();
        try {
            MemorySegment args = call.params;
            jd_paged_cache_args.struct_size(args, ARGS_SIZE);
            jd_paged_cache_args.reserved(args, 0);
            jd_paged_cache_args.keys(args, append ? handle(keys, "keys") : Tensor.output(keys, "keys"));
            jd_paged_cache_args.values(args, append ? handle(values, "values") : Tensor.output(values, "values"));
            jd_paged_cache_args.offsets(args, offsets.handle);
            jd_paged_cache_args.key_pages(args, cache.keyPages().handle);
            jd_paged_cache_args.value_pages(args, cache.valuePages().handle);
            jd_paged_cache_args.page_table(args, cache.pageTable().handle);
            jd_paged_cache_args.seq_lens(args, cache.seqLens().handle);
            jd_paged_cache_args.key_scales(args, handleOrNone(cache.keyScales()));
            jd_paged_cache_args.value_scales(args, handleOrNone(cache.valueScales()));
            long on = handle(stream, "stream");
            call.check(
                    append
                            ? JindouAbi.jd_paged_append_run(handle, on, args, call.error)
                            : JindouAbi.jd_paged_gather_run(handle, on, args, call.error));
        } finally {
            call.end();
            Reference.reachabilityFence(this);
            Reference.reachabilityFence(stream);
            Reference.reachabilityFence(keys);
            Reference.reachabilityFence(values);
            Reference.reachabilityFence(offsets);
            Reference.reachabilityFence(cache);
        }
    }
}
