// beam_attention and longer_attention: from a description to scratch, and from a run to kernel launches (dispatch.h).
#ifndef JINDOU_KERNELS_DECODE_BEAM_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_DECODE_BEAM_ATTENTION_LAUNCH_H

#include <cstdio>
#include <memory>

#include "attention/fma_core.h"
#include "attention/launch_support.h"
#include "attention/mma_core.h"
#include "core/longer_as_beams.h"
#include "decode/beam_attention.h"
#include "decode/pages_launch.h"
#include "plan.h"

namespace jindou {

namespace decode {

template <int kColumns, int kRows, bool kCodes>
using BeamHalf = BeamKernel<attention::MmaCore<attention::MmaTraits<kColumns, kRows>>, kCodes>;
template <int kColumns, bool kCodes>
using BeamF32 = BeamKernel<attention::FmaCore<attention::FmaTraits<kColumns>>, kCodes>;

// Head dims between them are filled up with zeros that no memory is read for.
template <bool kCodes>
using BeamKernelsOf =
    attention::KernelList<BeamHalf<64, attention::kLargeTile, kCodes>, BeamHalf<64, attention::kSmallTile, kCodes>,
                          BeamHalf<128, attention::kLargeTile, kCodes>, BeamHalf<128, attention::kSmallTile, kCodes>,
                          BeamHalf<256, attention::kSmallTile, kCodes>, BeamF32<64, kCodes>, BeamF32<128, kCodes>,
                          BeamF32<256, kCodes>>;
using BeamKernels = BeamKernelsOf<false>;
using BeamCodeKernels = BeamKernelsOf<true>;

}  // namespace decode

// How a run is spread over blocks. Every choice gives the same bits.
struct BeamAttentionSchedule {
  int32_t tile_rows;
  bool split;          // blocks take one piece of a prefix each, and a second kernel merges
  int64_t items;       // at most
  int64_t most_blocks;
};

struct BeamAttentionPlan : KernelPlan {
  // A split run keeps rows * pieces * (dv + 2) floats of partial results: never more than this.
  static constexpr int64_t kScratchBudget = int64_t{128} << 20;
  // Without a split each block parks one tile between pieces.
  static constexpr int64_t kParkingBlocksAMultiprocessor = 4;

  BeamAttentionPlan(const PlanResources &resources, int32_t op_number, const jd_beam_attention_desc &description,
                    const Globals &of_plan)
      : KernelPlan(op_number, resources),
        desc(description),
        globals(of_plan),
        shape{description.dtype, description.head_dim_qk, description.head_dim_v},
        columns(decode::BeamKernels::columns(shape)),
        most_pieces(attention::target_pieces().most_up_to(description.max_prefix)) {
    const int64_t a_tile = int64_t{attention::kLargeTile} * most_pieces * (desc.head_dim_v + 2) * 4;
    // Two blocks a multiprocessor are busy without a split.
    split_limit = std::min(int64_t{2} * multiprocessors, std::max<int64_t>(1, kScratchBudget / a_tile));
  }

  static jd_status create(const PlanResources &resources, const jd_beam_attention_desc &desc, KernelPlan **plan, jd_error *error) {
    return create(resources, JDB_OP_BEAM_ATTENTION, desc, Globals(), plan, error);
  }
  static jd_status create(const PlanResources &resources, const jd_longer_attention_desc &desc, KernelPlan **plan, jd_error *error) {
    return create(resources, JDB_OP_LONGER_ATTENTION, as_beams(desc), Globals(desc), plan, error);
  }

  void describe(char *text, size_t capacity) const override {
    const bool is_longer = op == JDB_OP_LONGER_ATTENTION;
    snprintf(text, capacity, "%s %s, head dims %d and %d in %d: %s, tiles of %s keys, at most %d pieces a %s",
             is_longer ? "longer_attention" : "beam_attention", attention::dtype_name(desc.dtype), desc.head_dim_qk, desc.head_dim_v,
             columns, attention::core_name(desc.dtype), attention::tile_names(desc.dtype, columns), most_pieces,
             is_longer ? "history" : "prefix");
  }

  BeamAttentionSchedule schedule(int64_t batch, int64_t beams) const {
    const int64_t large = tile_heads(beams, batch, attention::kLargeTile);
    BeamAttentionSchedule s;
    s.split = most_pieces > 1 && large <= split_limit &&
              attention::bounded_product(beams, desc.num_heads) * most_pieces <= split_rows();
    const int64_t pieces_an_item = s.split ? most_pieces : 1;
    s.tile_rows = attention::tile_rows_for(desc.dtype, columns, large * pieces_an_item, multiprocessors);
    s.items = tile_heads(beams, batch, s.tile_rows) * pieces_an_item;
    const bool parks = most_pieces > 1 && !s.split;
    s.most_blocks = parks ? parking_blocks() : attention::kBlocksAMultiprocessor * multiprocessors;
    return s;
  }

  // Rows (beam, head) of the largest run that is split, times pieces. A tensor may have more rows than the plan's requests together: those of
  // requests that are refused. Such a run parks.
  int64_t split_rows() const {
    if (most_pieces == 1) return 0;
    const int64_t rows = attention::bounded_product(attention::bounded_product(desc.max_batch, desc.max_beams), desc.num_heads);
    return std::min(rows, split_limit * attention::kLargeTile) * most_pieces;
  }

  const jd_beam_attention_desc desc;
  const Globals globals;
  const attention::HeadShape shape;
  const int32_t columns, most_pieces;
  int64_t split_limit;  // tiles of 128 rows, all heads counted, up to which a run is split over pieces
  float *partial_outputs = nullptr;
  attention::SoftmaxState *partial_states = nullptr;

 private:
  static jd_status create(const PlanResources &resources, int32_t op, const jd_beam_attention_desc &desc, const Globals &globals,
                          KernelPlan **plan, jd_error *error) {
    auto made = std::make_unique<BeamAttentionPlan>(resources, op, desc, globals);
    if (made->columns == 0) {
      return attention::refuse_head_dims(error, op == JDB_OP_LONGER_ATTENTION ? "longer_attention" : "beam_attention", made->shape);
    }
    if (const jd_status status = made->allocate(error)) return status;
    *plan = made.release();
    return JD_OK;
  }

  jd_status allocate(jd_error *error) {
    if (most_pieces == 1) return JD_OK;
    int64_t states = split_rows(), outputs = states * desc.head_dim_v;
    decode::BeamKernels::visit([&](auto tag) {
      using Kernel = typename decltype(tag)::type;
      if (Kernel::kColumns == columns) {
        states = std::max(states, parking_blocks() * Kernel::kBlockStates);
        outputs = std::max(outputs, parking_blocks() * Kernel::kBlockOutputs);
      }
      return false;
    });
    void *output_memory = nullptr, *state_memory = nullptr;
    jd_status status = buffers.alloc(static_cast<size_t>(outputs) * sizeof(float), &output_memory, error);
    if (status == JD_OK) status = buffers.alloc(static_cast<size_t>(states) * sizeof(attention::SoftmaxState), &state_memory, error);
    partial_outputs = static_cast<float *>(output_memory);
    partial_states = static_cast<attention::SoftmaxState *>(state_memory);
    return status;
  }

  int64_t tile_heads(int64_t beams, int64_t batch, int32_t rows) const {
    return attention::max_tiles(beams, desc.num_heads / desc.num_kv_heads, batch, rows) * desc.num_kv_heads;
  }
  int64_t parking_blocks() const { return kParkingBlocksAMultiprocessor * multiprocessors; }
};

namespace decode {

inline Ancestry ancestry_of(const jdb_tensor &t) {
  if (t.dtype == 0) return Ancestry{nullptr, 0, 0, 0, 0};
  return Ancestry{static_cast<const int32_t *>(t.data), attention::stride_of(t, 0), attention::stride_of(t, 1),
                  static_cast<int32_t>(t.shape[1]), static_cast<int32_t>(t.shape[2])};
}

// The globals of candidates as suffixes: row l of the c of candidate i lies at level l, slot i.
template <class T>
SuffixRows<T> own_globals_of(const jdb_tensor &t, int32_t own) {
  if (t.dtype == 0) return SuffixRows<T>{nullptr, 0, 0, 0, 0};
  const int64_t row = attention::stride_of(t, 0);
  return SuffixRows<T>{static_cast<const T *>(t.data), row, row, row * own, attention::stride_of(t, 1)};
}

template <class T>
SuffixRows<T> suffix_rows_of(const jdb_tensor &t) {
  if (t.dtype == 0) return SuffixRows<T>{nullptr, 0, 0, 0, 0};
  return SuffixRows<T>{static_cast<const T *>(t.data), attention::stride_of(t, 0), attention::stride_of(t, 1),
                       attention::stride_of(t, 2), attention::stride_of(t, 3)};
}

inline BeamProblem problem_of(const BeamAttentionPlan &plan, const jdb_beam_attention_args &args, const jdb_global_rows *globals,
                              bool split, FaultRecord *record, uint32_t launch) {
  const jd_beam_attention_desc &desc = plan.desc;
  BeamProblem p{};
  p.beam_offsets = attention::offsets_of(args.beam_offsets);
  p.max_prefix = desc.max_prefix;
  if (args.keys.dtype != 0) {
    p.prefix_offsets = attention::offsets_of(args.prefix_offsets);
    p.prefix_rows = args.keys.shape[0];
  } else {
    p.seq_lens = static_cast<const int32_t *>(args.seq_lens.data);
    p.max_prefix = std::min(desc.max_prefix, args.page_table.shape[1] * args.key_pages.shape[1]);
    p.table = paged::page_table_of(args.page_table, args.key_pages);
  }
  p.suffix_lens = static_cast<const int32_t *>(args.suffix_lens.data);
  p.batch = args.batch;
  p.beam_rows = args.queries.shape[0];
  p.max_beams = args.most_beams;
  p.kv_heads = desc.num_kv_heads;
  p.group = desc.num_heads / desc.num_kv_heads;
  p.shape = plan.shape;
  p.ancestry = ancestry_of(args.ancestry);
  p.is_longer = globals != nullptr;
  if (globals != nullptr) {
    p.ancestry.levels = plan.globals.own;
    p.ancestry.slots = INT32_MAX;
    p.globals.shared = plan.globals.shared;
    p.globals.own = plan.globals.own;
    p.globals.candidates_only = plan.globals.candidates_only;
    p.globals.most = plan.globals.most;
    p.globals.most_recent = plan.globals.most_recent;
    if (globals->keys.dtype != 0) {
      p.globals.offsets = attention::offsets_of(globals->offsets);
      p.globals.rows = globals->keys.shape[0];
    }
  }
  p.out = attention::out_rows_of(args.out);
  p.lse = static_cast<float *>(args.lse.data);
  if (args.lse.dtype != 0) {
    p.lse_row = attention::stride_of(args.lse, 0);
    p.lse_head = attention::stride_of(args.lse, 1);
  }
  p.split = split;
  p.partial_outputs = plan.partial_outputs;
  p.partial_states = plan.partial_states;
  p.sink = FaultSink{record, launch, plan.op, desc.bounds};
  return p;
}

}  // namespace decode

// `globals`: of longer_attention, else null.
template <class Exec>
jd_status launch_beam_attention(Exec &exec, const BeamAttentionPlan &plan, const jdb_beam_attention_args &args,
                                const jdb_global_rows *globals) {
  using namespace decode;
  if (args.batch == 0) return JD_OK;
  const jd_beam_attention_desc &desc = plan.desc;
  const BeamAttentionSchedule schedule = plan.schedule(args.batch, args.queries.shape[0]);
  const BeamProblem problem = problem_of(plan, args, globals, schedule.split, exec.faults(), exec.launch_number());

  jd_status status = JD_INTERNAL;
  const auto start = [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    using Element = typename Kernel::Element;
    typename Kernel::Params params{};
    params.problem = problem;
    params.queries = attention::rows_of<Element>(args.queries);
    if (args.keys.dtype != 0) {
      params.keys = attention::rows_of<Element>(args.keys);
      params.values = attention::rows_of<Element>(args.values);
    } else {
      params.key_pages = paged::pages_of(args.key_pages);
      params.value_pages = paged::pages_of(args.value_pages);
      params.key_scales = paged::scales_of(args.key_scales);
      params.value_scales = paged::scales_of(args.value_scales);
    }
    if (globals != nullptr) {
      params.global_keys = attention::rows_of<Element>(globals->keys);
      params.global_values = attention::rows_of<Element>(globals->values);
      params.suffix_keys = own_globals_of<Element>(globals->keys, plan.globals.own);
      params.suffix_values = own_globals_of<Element>(globals->values, plan.globals.own);
    } else {
      params.suffix_keys = suffix_rows_of<Element>(args.suffix_keys);
      params.suffix_values = suffix_rows_of<Element>(args.suffix_values);
    }
    params.scale = desc.scale * 1.4426950408889634f;
    params.cache_is_i8 = desc.cache_dtype == JD_I8;
    status = exec.template launch<Kernel>(attention::grid_for(schedule.items, schedule.most_blocks), params);
  };
  if (desc.cache_dtype == desc.dtype) {
    BeamKernels::select(plan.shape, schedule.tile_rows, start);
  } else {
    BeamCodeKernels::select(plan.shape, schedule.tile_rows, start);
  }
  if (status != JD_OK || !schedule.split) return status;
  const int64_t groups = int64_t{desc.num_heads} * (desc.head_dim_v / 4);
  const int64_t items = attention::max_tiles(problem.beam_rows, groups, args.batch, BeamMergeKernel::kThreads);
  return exec.template launch<BeamMergeKernel>(attention::grid_for(items, schedule.most_blocks), problem);
}

}  // namespace jindou

#endif
