// softmax_attention and merge_attention_states: from a description to scratch, and from a run to kernel launches
// (dispatch.h).
#ifndef JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_LAUNCH_H

#include <cmath>
#include <cstdio>
#include <memory>

#include "attention/fma_core.h"
#include "attention/hopper_softmax_attention.h"
#include "attention/launch_support.h"
#include "attention/merge_states.h"
#include "attention/mma_core.h"
#include "attention/softmax_attention.h"
#include "attention/softmax_attention_merge.h"
#include "plan.h"

namespace jindou {

namespace attention {

template <int kColumns, int kRows, bool kOptions = false>
using SoftmaxAttentionHalf = SoftmaxAttentionKernel<MmaCore<MmaTraits<kColumns, kRows>>, kOptions>;
template <int kColumns, bool kOptions = false>
using SoftmaxAttentionF32 = SoftmaxAttentionKernel<FmaCore<FmaTraits<kColumns>>, kOptions>;

using SoftmaxAttentionKernels =
    KernelList<SoftmaxAttentionHalf<32, kLargeTile>, SoftmaxAttentionHalf<64, kLargeTile>, SoftmaxAttentionHalf<96, kLargeTile>,
               SoftmaxAttentionHalf<128, kLargeTile>, SoftmaxAttentionHalf<32, kSmallTile>, SoftmaxAttentionHalf<64, kSmallTile>,
               SoftmaxAttentionHalf<96, kSmallTile>, SoftmaxAttentionHalf<128, kSmallTile>, SoftmaxAttentionHalf<192, kSmallTile>,
               SoftmaxAttentionHalf<256, kSmallTile>, SoftmaxAttentionF32<32>, SoftmaxAttentionF32<64>, SoftmaxAttentionF32<128>,
               SoftmaxAttentionF32<256>>;

// With a soft-cap or a bias: bound by the arithmetic on scores, so the larger tile would bring nothing.
using SoftmaxAttentionOptionKernels =
    KernelList<SoftmaxAttentionHalf<64, kSmallTile, true>, SoftmaxAttentionHalf<128, kSmallTile, true>,
               SoftmaxAttentionHalf<256, kSmallTile, true>, SoftmaxAttentionF32<64, true>, SoftmaxAttentionF32<128, true>,
               SoftmaxAttentionF32<256, true>>;

// On a GPU of compute capability 9.0, bf16 without options.
// Tiles of 64 keys at d = 128, because masks and running maxima besides 128 would spill.
template <int kHeadDim, int kTileKeys, bool kOverlap>
using HopperSoftmaxAttentionBf16 = HopperSoftmaxAttentionKernel<HopperCore<HopperTraits<kHeadDim, kTileKeys, kOverlap>>>;
using HopperSoftmaxAttentionKernels = KernelList<HopperSoftmaxAttentionBf16<64, 128, true>, HopperSoftmaxAttentionBf16<128, 64, true>,
                                                 HopperSoftmaxAttentionBf16<256, 64, false>>;

}  // namespace attention

// How a run is spread over blocks. Every choice gives the same bits.
struct SoftmaxAttentionSchedule {
  int32_t tile_rows;
  bool split;          // blocks take one piece of the keys each, and a second kernel merges
  int64_t items;       // at most
  int64_t pieces;      // of them a tile of one head has
  int64_t most_blocks;
};

struct SoftmaxAttentionPlan : KernelPlan {
  // A split run keeps rows * pieces * (dv + 2) floats of partial results: never more than this.
  static constexpr int64_t kScratchBudget = int64_t{128} << 20;
  // Without a split each block parks one tile between pieces.
  static constexpr int64_t kParkingBlocksAMultiprocessor = 4;

  SoftmaxAttentionPlan(const PlanResources &resources, const jd_softmax_attention_desc &description)
      : KernelPlan(JDB_OP_SOFTMAX_ATTENTION, resources),
        desc(description),
        shape{description.dtype, description.head_dim_qk, description.head_dim_v},
        columns(has_options() ? attention::SoftmaxAttentionOptionKernels::columns(shape)
                              : attention::SoftmaxAttentionKernels::columns(shape)),
        on_hopper(resources.hopper && !has_options() &&
                  attention::has_hopper_kernel<attention::HopperSoftmaxAttentionKernels>(shape) &&
                  attention::kLargeTile % (description.num_heads / description.num_kv_heads) == 0),
        split_limit(int64_t{2} * multiprocessors) {
    const int64_t rows = attention::bounded_product(attention::bounded_product(desc.max_batch, desc.max_queries), desc.num_heads);
    const int64_t pieces = attention::SoftmaxPieces::most(desc.max_keys);
    const int64_t affordable = kScratchBudget / (int64_t{desc.head_dim_v} * 4 + int64_t{sizeof(attention::SoftmaxState)});
    partial_rows = pieces == 1 ? 0 : std::min(attention::bounded_product(rows, pieces), affordable);
  }

  static jd_status create(const PlanResources &resources, const jd_softmax_attention_desc &desc, KernelPlan **plan,
                          jd_error *error) {
    auto made = std::make_unique<SoftmaxAttentionPlan>(resources, desc);
    if (made->columns == 0) return attention::refuse_head_dims(error, "softmax_attention", made->shape);
    if (const jd_status status = made->allocate(error)) return status;
    if (desc.bias == JD_BIAS_T5) {
      void *memory = nullptr;
      if (const jd_status status = made->buffers.alloc(sizeof(T5Buckets), &memory, error)) return status;
      const T5Buckets table = T5Buckets::make(desc.t5_num_buckets, desc.t5_max_distance, desc.t5_bidirectional != 0);
      if (const jd_status status = resources.upload(resources.upload_context, memory, &table, sizeof table, error))
        return status;
      made->buckets = static_cast<const T5Buckets *>(memory);
    }
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity,
             "softmax_attention %s%s, head dims %d and %d in %d: %s, tiles of %s keys, at most %d pieces a sequence",
             attention::dtype_name(desc.dtype), has_options() ? " with score options" : "", desc.head_dim_qk,
             desc.head_dim_v, columns, attention::core_name(desc.dtype), attention::tile_names(desc.dtype, columns),
             attention::SoftmaxPieces::most(desc.max_keys));
    if (on_hopper)
      attention::append_hopper_text<attention::HopperSoftmaxAttentionKernels>(text, capacity, "rows that the copy engine can address", shape);
  }

  SoftmaxAttentionSchedule schedule(int64_t batch, int64_t queries, int64_t keys) const {
    const int64_t pieces = most_pieces(batch, queries, keys);
    const int64_t large = tile_heads(queries, batch, attention::kLargeTile);
    SoftmaxAttentionSchedule s;
    s.split = pieces > 1 && large <= split_limit &&
              attention::bounded_product(attention::bounded_product(queries, desc.num_heads), pieces) <= partial_rows;
    const int64_t pieces_an_item = s.split ? pieces : 1;
    s.pieces = pieces_an_item;
    s.tile_rows = has_options()
                      ? attention::small_tile(desc.dtype, columns)
                      : attention::tile_rows_for(desc.dtype, columns, large * pieces_an_item, multiprocessors);
    s.items = tile_heads(queries, batch, s.tile_rows) * pieces_an_item;
    const bool parks = pieces > 1 && !s.split;
    s.most_blocks = parks ? parking_blocks() : attention::kBlocksAMultiprocessor * multiprocessors;
    return s;
  }

  bool has_options() const { return desc.softcap != 0.0f || desc.bias != JD_BIAS_NONE; }

  const jd_softmax_attention_desc desc;
  const attention::HeadShape shape;
  const int32_t columns;
  const bool on_hopper;  // the packed rows of a tile must be a box of the queries' tensor besides
  int64_t split_limit;   // tiles of 128 rows, all heads counted, up to which a run is split over pieces
  int64_t partial_rows;  // (query, head, piece) that the scratch has room for
  float *partial_outputs = nullptr;
  attention::SoftmaxState *partial_states = nullptr;
  const T5Buckets *buckets = nullptr;

  jd_status allocate(jd_error *error) {
    if (attention::SoftmaxPieces::most(desc.max_keys) == 1) return JD_OK;
    int64_t parked_states = 0;
    attention::SoftmaxAttentionKernels::visit([&](auto tag) {
      parked_states = std::max(parked_states, parking_blocks() * decltype(tag)::type::Parking::kStates);
      return false;
    });
    const int64_t parked_outputs = parking_blocks() * attention::kLargeTile * columns;
    const int64_t output_floats = std::max(partial_rows * desc.head_dim_v, parked_outputs);
    const int64_t states = std::max(partial_rows, parked_states);
    void *outputs_memory = nullptr, *states_memory = nullptr;
    jd_status status = buffers.alloc(static_cast<size_t>(output_floats) * sizeof(float), &outputs_memory, error);
    if (status == JD_OK)
      status = buffers.alloc(static_cast<size_t>(states) * sizeof(attention::SoftmaxState), &states_memory, error);
    partial_outputs = static_cast<float *>(outputs_memory);
    partial_states = static_cast<attention::SoftmaxState *>(states_memory);
    return status;
  }

 private:
  // Of any sequence of a run; exact for one alone.
  int64_t most_pieces(int64_t batch, int64_t queries, int64_t keys) const {
    const int64_t longest = std::min(keys, desc.max_keys);
    if (batch > 1) return attention::SoftmaxPieces::most(longest);
    const int64_t group = desc.num_heads / desc.num_kv_heads;
    return attention::SoftmaxPieces::of(std::min(queries, desc.max_queries) * group, desc.num_kv_heads,
                                        static_cast<int32_t>(longest))
        .count;
  }

  int64_t tile_heads(int64_t queries, int64_t batch, int32_t rows) const {
    return attention::max_tiles(queries, desc.num_heads / desc.num_kv_heads, batch, rows) * desc.num_kv_heads;
  }

  int64_t parking_blocks() const { return kParkingBlocksAMultiprocessor * multiprocessors; }
};

namespace attention {

inline SoftmaxAttentionSequences softmax_attention_sequences(const SoftmaxAttentionPlan &plan,
                                                             const jdb_softmax_attention_args &args, bool split,
                                                             FaultRecord *record, uint32_t launch) {
  const jd_softmax_attention_desc &desc = plan.desc;
  SoftmaxAttentionSequences s{};
  s.q_offsets = offsets_of(args.q_offsets);
  s.k_offsets = offsets_of(args.k_offsets);
  s.batch = args.batch;
  s.query_rows = args.queries.shape[0];
  s.key_rows = args.keys.shape[0];
  s.max_queries = desc.max_queries;
  s.max_keys = desc.max_keys;
  if (args.bias.dtype != 0) {  // sequences longer than the matrices are refused
    s.max_queries = std::min(s.max_queries, args.bias.shape[args.bias.rank - 2]);
    s.max_keys = std::min(s.max_keys, args.bias.shape[args.bias.rank - 1]);
  }
  s.kv_heads = desc.num_kv_heads;
  s.group = desc.num_heads / desc.num_kv_heads;
  s.shape = plan.shape;
  s.left = desc.left;
  s.right = desc.right;
  s.sink = desc.sink;
  s.prefix = desc.prefix;
  s.num_global = desc.num_global;
  s.split = split;
  s.out = out_rows_of(args.out);
  s.lse = static_cast<float *>(args.lse.data);
  s.lse_stride = args.lse.dtype != 0 ? stride_of(args.lse, 0) : 0;
  s.partial_outputs = plan.partial_outputs;
  s.partial_states = plan.partial_states;
  s.fault_sink = FaultSink{record, launch, JDB_OP_SOFTMAX_ATTENTION, desc.bounds};
  return s;
}

inline ScoreOptions score_options(const SoftmaxAttentionPlan &plan, const jdb_softmax_attention_args &args) {
  ScoreOptions o{};
  o.softcap = plan.desc.softcap;
  o.inverse_softcap = o.softcap == 0.0f ? 0.0f : 1.0f / o.softcap;
  o.bias = plan.desc.bias;
  o.buckets = plan.buckets;
  if (o.bias == JD_BIAS_ALIBI) {
    o.data = static_cast<const float *>(args.alibi_slopes.data);
  } else if (o.bias == JD_BIAS_T5) {
    o.data = static_cast<const float *>(args.t5_bias.data);
    o.row_stride = stride_of(args.t5_bias, 0);
  } else if (o.bias == JD_BIAS_DENSE) {
    const int32_t rank = args.bias.rank;
    o.data = static_cast<const float *>(args.bias.data);
    o.row_stride = stride_of(args.bias, rank - 2);
    o.head_stride = stride_of(args.bias, rank - 3);
    o.batch_stride = rank == 4 ? stride_of(args.bias, 0) : 0;
  }
  return o;
}

}  // namespace attention

namespace attention {

template <class Element>
SoftmaxAttentionParams<Element> softmax_attention_params(const SoftmaxAttentionPlan &plan, const jdb_softmax_attention_args &args,
                                                         const SoftmaxAttentionSequences &sequences) {
  SoftmaxAttentionParams<Element> params{};
  params.sequences = sequences;
  params.queries = rows_of<Element>(args.queries);
  params.keys = rows_of<Element>(args.keys);
  params.values = rows_of<Element>(args.values);
  params.scale = plan.has_options() ? plan.desc.scale : plan.desc.scale * 1.4426950408889634f;
  params.options = score_options(plan, args);
  return params;
}

}  // namespace attention

// The first kernel of a run, of sm_90a. `launched` stays false, and nothing is launched, where it does not serve: the portable ones do. In
// a file of its own, too.
template <class Exec>
jd_status launch_softmax_attention_hopper(Exec &exec, const SoftmaxAttentionPlan &plan, const jdb_softmax_attention_args &args,
                                          const SoftmaxAttentionSchedule &schedule,
                                          const attention::SoftmaxAttentionSequences &sequences, bool &launched) {
  using namespace attention;
  jd_status status = JD_OK;
  HopperSoftmaxAttentionKernels::select(plan.shape, kLargeTile, [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    // Device memory that stands for tensors without rows: the 16 bytes at hand, of which nothing is read.
    const void *instead = reinterpret_cast<const void *>(reinterpret_cast<uintptr_t>(args.q_offsets.data) / 16 * 16);
    HopperSoftmaxParams params{};
    const bool addressable =
        exec.tensor_map(packed_geometry(args.queries, sequences.group, Kernel::kTileRows, instead), &params.queries) &&
        exec.tensor_map(tile_geometry(args.keys, Kernel::kTileKeys, instead), &params.keys.map) &&
        exec.tensor_map(tile_geometry(args.values, Kernel::kTileKeys, instead), &params.values.map);
    if (!addressable) return;
    params.problem = softmax_attention_params<typename Kernel::Element>(plan, args, sequences);
    launched = true;
    const int64_t items =
        max_tiles(sequences.query_rows, sequences.group, sequences.batch, Kernel::kTileRows) * sequences.kv_heads * schedule.pieces;
    status = exec.template launch<Kernel>(hopper_grid(items, plan.multiprocessors), params);
  });
  return status;
}

template <class Kernels, class Exec>
jd_status launch_softmax_attention_of(Exec &exec, const SoftmaxAttentionPlan &plan, const jdb_softmax_attention_args &args) {
  using namespace attention;
  const SoftmaxAttentionSchedule schedule = plan.schedule(args.batch, args.queries.shape[0], args.keys.shape[0]);
  const SoftmaxAttentionSequences sequences =
      softmax_attention_sequences(plan, args, schedule.split, exec.faults(), exec.launch_number());
  jd_status status = JD_INTERNAL;
  bool launched = false;
  if (plan.on_hopper) status = launch_softmax_attention_hopper(exec, plan, args, schedule, sequences, launched);
  if (!launched) {
    Kernels::select(plan.shape, schedule.tile_rows, [&](auto tag) {
      using Kernel = typename decltype(tag)::type;
      status = exec.template launch<Kernel>(grid_for(schedule.items, schedule.most_blocks),
                                            softmax_attention_params<typename Kernel::Element>(plan, args, sequences));
    });
  }
  if (status != JD_OK || !schedule.split) return status;

  const int64_t groups = int64_t{plan.desc.num_heads} * (plan.desc.head_dim_v / 4);
  const int64_t items = max_tiles(sequences.query_rows, groups, sequences.batch, SoftmaxAttentionMergeKernel::kThreads);
  return exec.template launch<SoftmaxAttentionMergeKernel>(grid_for(items, schedule.most_blocks), sequences);
}

// In a file of its own (launch_softmax_attention_options), so that the kernels build in parallel.
template <class Exec>
jd_status launch_softmax_attention_options(Exec &exec, const SoftmaxAttentionPlan &plan,
                                           const jdb_softmax_attention_args &args) {
  return launch_softmax_attention_of<attention::SoftmaxAttentionOptionKernels>(exec, plan, args);
}

template <class Exec>
jd_status launch_softmax_attention(Exec &exec, const SoftmaxAttentionPlan &plan, const jdb_softmax_attention_args &args) {
  if (args.batch == 0) return JD_OK;
  if (plan.has_options()) return launch_softmax_attention_options(exec, plan, args);
  return launch_softmax_attention_of<attention::SoftmaxAttentionKernels>(exec, plan, args);
}

template <class Exec>
jd_status launch_merge_attention_states(Exec &exec, const jdb_merge_attention_states_args &args) {
  using namespace attention;
  const auto states = [](const jdb_tensor &out, const jdb_tensor &lse) {
    return StateRows{out.data, stride_of(out, 0), stride_of(out, 1), out.dtype, static_cast<float *>(lse.data),
                     lse.dtype != 0 ? stride_of(lse, 0) : 0};
  };
  MergeStatesParams p{};
  p.a = states(args.out_a, args.lse_a);
  p.b = states(args.out_b, args.lse_b);
  p.merged = states(args.out, args.lse);
  p.rows = args.out.shape[0];
  p.heads = static_cast<int32_t>(args.out.shape[1]);
  p.dim = static_cast<int32_t>(args.out.shape[2]);
  if (p.rows == 0 || p.heads == 0) return JD_OK;
  const int64_t a_block = MergeStatesKernel::rows_a_block(p.dim);
  const int64_t blocks = (p.rows * p.heads + a_block - 1) / a_block;
  return exec.template launch<MergeStatesKernel>(grid_for(blocks, int64_t{32} * exec.multiprocessors()), p);
}

}  // namespace jindou

#endif
