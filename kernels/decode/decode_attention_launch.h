// decode_attention: from a description to scratch, and from a run to kernel launches (dispatch.h).
#ifndef JINDOU_KERNELS_DECODE_DECODE_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_DECODE_DECODE_ATTENTION_LAUNCH_H

#include <cstdio>
#include <memory>

#include "decode/decode_attention.h"
#include "decode/pages_launch.h"
#include "plan.h"

namespace jindou {

struct DecodeAttentionPlan : KernelPlan {
  // A split run keeps rows * pieces * (dv + 2) floats of partial results: never more than this.
  static constexpr int64_t kScratchBudget = int64_t{128} << 20;
  // Without a split each block parks one tile between pieces.
  static constexpr int64_t kParkingBlocksAMultiprocessor = 4;

  DecodeAttentionPlan(const PlanResources &resources, const jd_decode_attention_desc &description)
      : KernelPlan(JDB_OP_DECODE_ATTENTION, resources),
        desc(description),
        most_pieces(decode::decode_pieces().most_up_to(description.max_seq_len)) {}

  static jd_status create(const PlanResources &resources, const jd_decode_attention_desc &desc, KernelPlan **plan,
                          jd_error *error) {
    auto made = std::make_unique<DecodeAttentionPlan>(resources, desc);
    if (const jd_status status = made->allocate(error)) return status;
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "decode_attention %s, head dims %d and %d in %d: %s, tiles of 16 rows, pieces of %d keys and more",
             desc.dtype == JD_F32 ? "f32" : desc.dtype == JD_F16 ? "f16" : "bf16", desc.head_dim_qk, desc.head_dim_v, kernel_dim(),
             desc.dtype == JD_F32 ? "FMA" : "mma.sync m16n8k16", decode::decode_pieces().least);
  }

  // Kernels have 64, 128 and 256 columns; heads between them are filled up with zeros that no memory is read for.
  int32_t kernel_dim() const {
    const int32_t dim = std::max(desc.head_dim_qk, desc.head_dim_v);
    return dim <= 64 ? 64 : dim <= 128 ? 128 : 256;
  }

  int64_t tiles(int64_t batch, int64_t queries) const {
    return attention::max_tiles(queries, desc.num_heads / desc.num_kv_heads, batch, decode::kTileRows) * desc.num_kv_heads;
  }
  int64_t parking_blocks() const { return kParkingBlocksAMultiprocessor * multiprocessors; }

  // Whether blocks take one piece each: where there is room, and where tiles alone would not fill the device.
  bool split(int64_t batch, int64_t queries) const {
    return most_pieces > 1 && queries * desc.num_heads <= split_rows && tiles(batch, queries) < parking_blocks();
  }

  const jd_decode_attention_desc desc;
  const int32_t most_pieces;
  int64_t split_rows = 0;  // (query, head), of the largest run that is split
  float *partial_outputs = nullptr;
  decode::State *partial_states = nullptr;

 private:
  jd_status allocate(jd_error *error) {
    if (most_pieces == 1) return JD_OK;
    const int64_t a_row = most_pieces * (int64_t{desc.head_dim_v} * 4 + int64_t{sizeof(decode::State)});
    const int64_t rows = attention::bounded_product(attention::bounded_product(desc.max_batch, desc.max_queries), desc.num_heads);
    split_rows = std::min(rows, std::max<int64_t>(kScratchBudget / a_row, desc.num_heads));
    const int64_t parked = parking_blocks() * decode::kTileRows;
    void *outputs = nullptr, *states = nullptr;
    const int64_t output_floats = std::max(split_rows * most_pieces * desc.head_dim_v, parked * kernel_dim());
    const int64_t state_count = std::max(split_rows * most_pieces, parked * (kernel_dim() / 8));
    jd_status status = buffers.alloc(static_cast<size_t>(output_floats) * sizeof(float), &outputs, error);
    if (status == JD_OK) status = buffers.alloc(static_cast<size_t>(state_count) * sizeof(decode::State), &states, error);
    partial_outputs = static_cast<float *>(outputs);
    partial_states = static_cast<decode::State *>(states);
    return status;
  }
};

namespace decode {

// f(Tag<Kernel>{}) for the kernel of these values: element type x columns x codes.
template <class F>
void select_kernel(int32_t dtype, int32_t dim, bool codes, const F &f) {
  const auto of_codes = [&](auto core) {
    using Core = decltype(core);
    if (codes) {
      f(static_cast<DecodeKernel<Core, true> *>(nullptr));
    } else {
      f(static_cast<DecodeKernel<Core, false> *>(nullptr));
    }
  };
  const auto of_type = [&](auto at_64, auto at_128, auto at_256) {
    if (dim == 64) return of_codes(at_64);
    if (dim == 128) return of_codes(at_128);
    of_codes(at_256);
  };
  using prim::bf16;
  using prim::f16;
  if (dtype == JD_F32) return of_type(DecodeFmaCore<64>{}, DecodeFmaCore<128>{}, DecodeFmaCore<256>{});
  if (dtype == JD_F16) return of_type(DecodeMmaCore<f16, 64>{}, DecodeMmaCore<f16, 128>{}, DecodeMmaCore<f16, 256>{});
  of_type(DecodeMmaCore<bf16, 64>{}, DecodeMmaCore<bf16, 128>{}, DecodeMmaCore<bf16, 256>{});
}

inline DecodeProblem problem_of(const DecodeAttentionPlan &plan, const jdb_decode_attention_args &args, FaultRecord *record,
                                uint32_t launch) {
  const jd_decode_attention_desc &desc = plan.desc;
  DecodeProblem p{};
  p.q_offsets = attention::offsets_of(args.q_offsets);
  p.seq_lens = static_cast<const int32_t *>(args.seq_lens.data);
  p.batch = args.batch;
  p.query_rows = args.queries.shape[0];
  p.max_queries = desc.max_queries;
  p.most_rows = std::min(desc.max_seq_len, args.page_table.shape[1] * args.key_pages.shape[1]);
  p.kv_heads = desc.num_kv_heads;
  p.group = desc.num_heads / desc.num_kv_heads;
  p.dim_qk = desc.head_dim_qk;
  p.dim_v = desc.head_dim_v;
  p.table = paged::page_table_of(args.page_table, args.key_pages);
  p.out = args.out.data;
  p.out_row = attention::stride_of(args.out, 0);
  p.out_head = attention::stride_of(args.out, 1);
  p.out_dtype = args.out.dtype;
  p.lse = static_cast<float *>(args.lse.data);
  if (args.lse.dtype != 0) {
    p.lse_row = attention::stride_of(args.lse, 0);
    p.lse_head = attention::stride_of(args.lse, 1);
  }
  p.split = plan.split(args.batch, p.query_rows);
  p.most_pieces = plan.most_pieces;
  p.partial_outputs = plan.partial_outputs;
  p.partial_states = plan.partial_states;
  p.sink = FaultSink{record, launch, JDB_OP_DECODE_ATTENTION, desc.bounds};
  return p;
}

}  // namespace decode

template <class Exec>
jd_status launch_decode_attention(Exec &exec, const DecodeAttentionPlan &plan, const jdb_decode_attention_args &args) {
  using namespace decode;
  if (args.batch == 0) return JD_OK;
  const jd_decode_attention_desc &desc = plan.desc;
  const DecodeProblem problem = problem_of(plan, args, exec.faults(), exec.launch_number());
  const int64_t tiles = plan.tiles(args.batch, problem.query_rows);
  const int64_t most = attention::kBlocksAMultiprocessor * plan.multiprocessors;

  jd_status status = JD_INTERNAL;
  select_kernel(desc.dtype, plan.kernel_dim(), desc.cache_dtype != desc.dtype, [&](auto *kernel) {
    using Kernel = std::remove_pointer_t<decltype(kernel)>;
    typename Kernel::Params params{};
    params.problem = problem;
    params.queries = attention::rows_of<typename Kernel::Element>(args.queries);
    params.keys = paged::pages_of(args.key_pages);
    params.values = paged::pages_of(args.value_pages);
    params.key_scales = paged::scales_of(args.key_scales);
    params.value_scales = paged::scales_of(args.value_scales);
    params.scale = desc.scale * 1.4426950408889634f;
    params.cache_is_i8 = desc.cache_dtype == JD_I8;
    const prim::Grid grid = problem.split              ? attention::grid_for(tiles * plan.most_pieces, most)
                            : plan.most_pieces > 1 ? attention::grid_for(tiles, plan.parking_blocks())
                                                   : attention::grid_for(tiles, most);
    status = exec.template launch<Kernel>(grid, params);
  });
  if (status != JD_OK || !problem.split) return status;
  const int64_t groups = int64_t{desc.num_heads} * (desc.head_dim_v / 8);
  const int64_t items = attention::max_tiles(problem.query_rows, groups, args.batch, DecodeMergeKernel::kThreads);
  return exec.template launch<DecodeMergeKernel>(attention::grid_for(items, most), problem);
}

}  // namespace jindou

#endif
