/* The machine's limits, measured: what no kernel can beat on the CPU at hand. Called by the JMH benchmarks beside the
 * operators. Nothing here is part of Jindou's library. */
#ifndef JINDOU_BENCH_LIMITS_H
#define JINDOU_BENCH_LIMITS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define JL_API __attribute__((visibility("default")))

/* Does at least `flops` floating-point operations as f32 fused multiply-adds held in registers, shared evenly by `threads`
 * threads, with the widest vectors of this CPU. Returns a value that depends on all of them. */
JL_API float jl_fma(double flops, int32_t threads);

/* The same with bf16 dot products (AVX512-BF16). Returns NaN where the CPU has none: see jl_has_bf16_dot. */
JL_API float jl_bf16_dot(double flops, int32_t threads);
JL_API int32_t jl_has_bf16_dot(void);

/* Reads every cache line of the rows table[ids[i]], i < count, prefetching `ahead` rows ahead, shared by `threads` threads. */
JL_API uint64_t jl_gather(const void *table, int64_t row_bytes, const int64_t *ids, int64_t count, int32_t ahead,
                          int32_t threads);

/* The same of rows of which only the first used_bytes are read, row_bytes apart. */
JL_API uint64_t jl_gather_rows(const void *table, int64_t row_bytes, int64_t used_bytes, const int64_t *ids, int64_t count,
                               int32_t ahead, int32_t threads);

/* Calls run(plan, stream, args, error) `times` times; the last status. An operator's cost without Java. */
JL_API int32_t jl_repeat_run(int32_t (*run)(uint64_t, uint64_t, const void *, void *), uint64_t plan, uint64_t stream,
                             const void *args, void *error, int64_t times);

/* io.jindou.bench.CallBenchmark.jniNoop: a JNI call that does nothing. */
JL_API void Java_io_jindou_bench_CallBenchmark_jniNoop(void *environment, void *type);

/* Memory on huge pages where the system grants them, 2 MiB aligned; released by jl_free. */
JL_API void *jl_alloc(int64_t bytes);
JL_API void jl_free(void *memory, int64_t bytes);

#ifdef __cplusplus
}
#endif
#endif
