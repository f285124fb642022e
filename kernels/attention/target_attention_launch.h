// target_attention: from a description to scratch, and from a run to kernel launches (dispatch.h).
#ifndef JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_LAUNCH_H

#include <cmath>
#include <cstdio>
#include <memory>

#include "attention/fma_core.h"
#include "attention/hopper_target_attention.h"
#include "attention/launch_support.h"
#include "attention/mma_core.h"
#include "attention/target_attention.h"
#include "attention/target_attention_merge.h"
#include "plan.h"

namespace jindou {

namespace attention {

template <int kColumns, int kRows>
using TargetAttentionHalf = TargetAttentionKernel<MmaCore<MmaTraits<kColumns, kRows>>>;
template <int kColumns>
using TargetAttentionF32 = TargetAttentionKernel<FmaCore<FmaTraits<kColumns>>>;

using TargetAttentionKernels =
    KernelList<TargetAttentionHalf<32, kLargeTile>, TargetAttentionHalf<64, kLargeTile>, TargetAttentionHalf<96, kLargeTile>,
               TargetAttentionHalf<128, kLargeTile>, TargetAttentionHalf<32, kSmallTile>, TargetAttentionHalf<64, kSmallTile>,
               TargetAttentionHalf<96, kSmallTile>, TargetAttentionHalf<128, kSmallTile>, TargetAttentionHalf<192, kSmallTile>,
               TargetAttentionHalf<256, kSmallTile>, TargetAttentionF32<32>, TargetAttentionF32<64>,
               TargetAttentionF32<128>, TargetAttentionF32<256>>;

// On a GPU of compute capability 9.0, bf16.
template <int kHeadDim, int kTileKeys, bool kOverlap>
using HopperTargetAttentionBf16 = HopperTargetAttentionKernel<HopperCore<HopperTraits<kHeadDim, kTileKeys, kOverlap>>>;
using HopperTargetAttentionKernels = KernelList<HopperTargetAttentionBf16<64, 128, true>, HopperTargetAttentionBf16<128, 128, true>,
                                                HopperTargetAttentionBf16<256, 64, false>>;

}  // namespace attention

// How a run is spread over blocks. Every choice gives the same bits.
struct TargetAttentionSchedule {
  int32_t tile_rows;
  bool split;          // blocks take one piece of a history each, and a second kernel merges
  int64_t items;       // at most
  int64_t pieces;      // of them a tile of one head has
  int64_t most_blocks;
};

struct TargetAttentionPlan : KernelPlan {
  // A split run keeps rows * pieces * (dv + 2) floats of partial results: never more than this.
  static constexpr int64_t kScratchBudget = int64_t{128} << 20;
  // Without a split each block parks one tile between pieces.
  static constexpr int64_t kParkingBlocksAMultiprocessor = 4;

  // op_number: the operator that this one is a part of, for its reports.
  TargetAttentionPlan(const PlanResources &resources, const jd_target_attention_desc &description, int32_t op_number = JDB_OP_TARGET_ATTENTION)
      : KernelPlan(op_number, resources), desc(description),
        shape{description.dtype, description.head_dim_qk, description.head_dim_v},
        columns(attention::TargetAttentionKernels::columns(shape)),
        on_hopper(resources.hopper && attention::has_hopper_kernel<attention::HopperTargetAttentionKernels>(shape) &&
                  attention::kLargeTile % (description.num_heads / description.num_kv_heads) == 0) {
    const int64_t a_tile = int64_t{attention::kLargeTile} * pieces(desc.max_history) * (desc.head_dim_v + 2) * 4;
    // Two blocks a multiprocessor are busy without a split.
    split_limit = std::min(int64_t{2} * multiprocessors, std::max<int64_t>(1, kScratchBudget / a_tile));
  }

  static jd_status create(const PlanResources &resources, const jd_target_attention_desc &desc, KernelPlan **plan,
                          jd_error *error) {
    auto made = std::make_unique<TargetAttentionPlan>(resources, desc);
    if (made->columns == 0) return attention::refuse_head_dims(error, "target_attention", made->shape);
    const jd_status status = made->allocate(error);
    if (status != JD_OK) return status;
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity,
             "target_attention %s%s, head dims %d and %d in %d: %s, tiles of %s keys, at most %d pieces a history%s",
             attention::dtype_name(desc.dtype), is_silu() ? ", silu" : "", desc.head_dim_qk, desc.head_dim_v, columns,
             attention::core_name(desc.dtype), attention::tile_names(desc.dtype, columns), pieces(desc.max_history),
             desc.self_key ? ", own keys" : "");
    if (on_hopper)
      attention::append_hopper_text<attention::HopperTargetAttentionKernels>(text, capacity, "rows that the copy engine can address", shape);
  }

  // Device memory a plan of this description takes.
  size_t scratch_bytes() const { return output_bytes() + state_rows() * sizeof(attention::SoftmaxState); }

  TargetAttentionSchedule schedule(int64_t batch, int64_t candidates, int64_t history) const {
    const int32_t most_pieces = pieces(std::min(history, desc.max_history));
    const int64_t large = tile_heads(candidates, batch, attention::kLargeTile);
    TargetAttentionSchedule s;
    s.split = most_pieces > 1 && large <= split_limit &&
              attention::bounded_product(candidates, desc.num_heads) * most_pieces <= split_rows();
    const int64_t pieces_an_item = s.split ? most_pieces : 1;
    s.pieces = pieces_an_item;
    s.tile_rows = attention::tile_rows_for(desc.dtype, columns, large * pieces_an_item, multiprocessors);
    s.items = tile_heads(candidates, batch, s.tile_rows) * pieces_an_item;
    const bool parks = most_pieces > 1 && !s.split;
    s.most_blocks = parks ? parking_blocks() : attention::kBlocksAMultiprocessor * multiprocessors;
    return s;
  }

  bool is_silu() const { return desc.activation == JD_ACTIVATION_SILU; }

  // Rows (candidate, head) of the largest run that is split, times pieces. A tensor may have more rows than the plan's users together: those
  // of users that are refused. Such a run parks.
  int64_t split_rows() const {
    if (pieces(desc.max_history) == 1) return 0;
    const int64_t rows = attention::bounded_product(attention::bounded_product(desc.max_batch, desc.max_candidates),
                                                    desc.num_heads);
    return std::min(rows, split_limit * attention::kLargeTile) * pieces(desc.max_history);
  }

  const jd_target_attention_desc desc;
  const attention::HeadShape shape;
  const int32_t columns;
  const bool on_hopper;  // the packed rows of a tile must be a box of the candidates' tensor besides
  int64_t split_limit;  // tiles of 128 rows, all heads counted, up to which a run is split over pieces
  float *partial_outputs = nullptr;
  attention::SoftmaxState *partial_states = nullptr;

  jd_status allocate(jd_error *error) {
    void *outputs = nullptr, *states = nullptr;
    jd_status status = buffers.alloc(output_bytes(), &outputs, error);
    if (status == JD_OK) status = buffers.alloc(state_rows() * sizeof(attention::SoftmaxState), &states, error);
    partial_outputs = static_cast<float *>(outputs);
    partial_states = static_cast<attention::SoftmaxState *>(states);
    return status;
  }

 private:
  int32_t pieces(int64_t history) const { return attention::target_pieces().most_up_to(std::min(history, desc.num_latest)); }

  int64_t tile_heads(int64_t candidates, int64_t batch, int32_t rows) const {
    return attention::max_tiles(candidates, desc.num_heads / desc.num_kv_heads, batch, rows) * desc.num_kv_heads;
  }

  int64_t parking_blocks() const { return kParkingBlocksAMultiprocessor * multiprocessors; }

  bool may_park() const { return pieces(desc.max_history) > 1; }  // see split_rows

  size_t output_bytes() const {
    const int64_t parked = may_park() ? parking_blocks() * attention::kLargeTile : 0;
    return std::max(split_rows() * desc.head_dim_v, parked * columns) * sizeof(float);
  }

  size_t state_rows() const {
    int64_t parked = 0;
    if (may_park()) {
      attention::TargetAttentionKernels::visit([&](auto tag) {
        parked = std::max(parked, parking_blocks() * decltype(tag)::type::Parking::kStates);
        return false;
      });
    }
    return std::max(split_rows(), parked);
  }
};

namespace attention {

inline TargetAttentionUsers target_attention_users(const TargetAttentionPlan &plan,
                                                   const jdb_target_attention_args &args, bool split,
                                                   FaultRecord *record, uint32_t launch) {
  const jd_target_attention_desc &desc = plan.desc;
  TargetAttentionUsers users{};
  users.candidate_offsets = offsets_of(args.candidate_offsets);
  users.history_offsets = offsets_of(args.history_offsets);
  users.batch = args.batch;
  users.candidate_rows = args.candidates.shape[0];
  users.history_rows = args.keys.shape[0];
  users.max_candidates = desc.max_candidates;
  users.max_history = desc.max_history;
  users.num_latest = desc.num_latest;
  users.kv_heads = desc.num_kv_heads;
  users.group = desc.num_heads / desc.num_kv_heads;
  users.shape = plan.shape;
  users.split = split;
  users.silu_norm = plan.is_silu() ? 1.0f / desc.scaling_seqlen : 0.0f;
  users.out = out_rows_of(args.out);
  users.partial_outputs = plan.partial_outputs;
  users.partial_states = plan.partial_states;
  users.sink = FaultSink{record, launch, plan.op, desc.bounds};
  return users;
}

}  // namespace attention

namespace attention {

template <class Element>
TargetAttentionParams<Element> target_attention_params(const TargetAttentionPlan &plan, const jdb_target_attention_args &args,
                                                       const TargetAttentionUsers &users) {
  TargetAttentionParams<Element> params{};
  params.users = users;
  params.candidates = rows_of<Element>(args.candidates);
  params.keys = rows_of<Element>(args.keys);
  params.values = rows_of<Element>(args.values);
  params.candidate_keys = rows_of<Element>(args.candidate_keys);
  params.candidate_values = rows_of<Element>(args.candidate_values);
  params.self_key = plan.desc.self_key;
  params.scale = plan.is_silu() ? plan.desc.scale : plan.desc.scale * 1.4426950408889634f;
  return params;
}

}  // namespace attention

// The first kernel of a run, of sm_90a. `launched` stays false, and nothing is launched, where it does not serve: the portable ones do. In
// a file of its own, so that the kernels build in parallel.
template <class Exec>
jd_status launch_target_attention_hopper(Exec &exec, const TargetAttentionPlan &plan, const jdb_target_attention_args &args,
                                         const TargetAttentionSchedule &schedule, const attention::TargetAttentionUsers &users,
                                         bool &launched) {
  using namespace attention;
  jd_status status = JD_OK;
  HopperTargetAttentionKernels::select(plan.shape, kLargeTile, [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    // Device memory that stands for tensors without rows: the 16 bytes at hand, of which nothing is read.
    const void *instead = reinterpret_cast<const void *>(reinterpret_cast<uintptr_t>(args.candidate_offsets.data) / 16 * 16);
    HopperTargetParams params{};
    const bool addressable =
        exec.tensor_map(packed_geometry(args.candidates, users.group, Kernel::kTileRows, instead), &params.candidates) &&
        exec.tensor_map(tile_geometry(args.keys, Kernel::kTileKeys, instead), &params.keys.map) &&
        exec.tensor_map(tile_geometry(args.values, Kernel::kTileKeys, instead), &params.values.map);
    if (!addressable) return;
    params.problem = target_attention_params<typename Kernel::Element>(plan, args, users);
    launched = true;
    const int64_t items = max_tiles(users.candidate_rows, users.group, users.batch, Kernel::kTileRows) * users.kv_heads * schedule.pieces;
    status = exec.template launch<Kernel>(hopper_grid(items, plan.multiprocessors), params);
  });
  return status;
}

template <class Exec>
jd_status launch_target_attention(Exec &exec, const TargetAttentionPlan &plan, const jdb_target_attention_args &args) {
  using namespace attention;
  if (args.batch == 0) return JD_OK;
  const TargetAttentionSchedule schedule = plan.schedule(args.batch, args.candidates.shape[0], args.keys.shape[0]);
  const TargetAttentionUsers users =
      target_attention_users(plan, args, schedule.split, exec.faults(), exec.launch_number());

  jd_status status = JD_INTERNAL;
  bool launched = false;
  if (plan.on_hopper) status = launch_target_attention_hopper(exec, plan, args, schedule, users, launched);
  if (!launched) {
    TargetAttentionKernels::select(plan.shape, schedule.tile_rows, [&](auto tag) {
      using Kernel = typename decltype(tag)::type;
      status = exec.template launch<Kernel>(grid_for(schedule.items, schedule.most_blocks),
                                            target_attention_params<typename Kernel::Element>(plan, args, users));
    });
  }
  if (status != JD_OK || !schedule.split) return status;

  const int64_t groups = int64_t{plan.desc.num_heads} * (plan.desc.head_dim_v / 4);
  const int64_t items = max_tiles(users.candidate_rows, groups, users.batch, TargetAttentionMergeKernel::kThreads);
  return exec.template launch<TargetAttentionMergeKernel>(grid_for(items, schedule.most_blocks), users);
}

}  // namespace jindou

#endif
