// stca_attention: from a description to a way and its scratch, and from a run to kernel launches (dispatch.h).
//
//   materialised                                                 reordered
//   q   16 bit: stca_project.h, f32: linear;                     q     StcaRowProduct, exact
//       few candidates: StcaRowProduct                           q'_h  StcaWideQuery: q_h Wk_h, rounded to the inputs' dtype
//   K   stca_project.h or linear                                 e_h   over the events: target_attention up to 256 columns, else stca_attention.h
//   V   the same                                                 out_h StcaRowProduct: e_h Wv_h^T, exact
//   out target_attention
//
// A user whose offsets are refused is skipped by the attention; its rows of e are zeros then (StcaWideQuery), and nothing of another run's.
#ifndef JINDOU_KERNELS_ATTENTION_STCA_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_ATTENTION_STCA_ATTENTION_LAUNCH_H

#include <cstdio>
#include <memory>

#include "attention/stca_attention.h"
#include "attention/stca_products.h"
#include "attention/stca_project.h"
#include "attention/target_attention_launch.h"
#include "blocks/blocks_launch.h"
#include "core/stca_way.h"
#include "plan.h"

namespace jindou {

namespace attention {

template <int kColumns>
using StcaAttentionHalf = StcaAttentionKernel<StcaMmaCore<kColumns>>;
template <int kColumns>
using StcaAttentionF32 = StcaAttentionKernel<StcaFmaCore<kColumns>>;
using StcaAttentionKernels = KernelList<StcaAttentionHalf<512>, StcaAttentionHalf<1024>, StcaAttentionF32<512>, StcaAttentionF32<1024>>;

struct StcaMergeKernel : PiecesMerge<StcaUsers> {};

}  // namespace attention

struct StcaAttentionPlan : KernelPlan {
  // As TargetAttentionPlan's, for rows as wide as the model.
  static constexpr int64_t kScratchBudget = int64_t{256} << 20;
  static constexpr int64_t kFewCandidates = 64;

  StcaAttentionPlan(const PlanResources &resources, const jd_stca_attention_desc &description)
      : KernelPlan(JDB_OP_STCA_ATTENTION, resources), desc(description), width(int64_t{description.num_heads} * description.head_dim),
        reordered(description.path == JD_STCA_REORDERED), wide(reordered && description.model_dim > 256),
        few(description.max_total_candidates <= kFewCandidates), shape{description.dtype, description.model_dim, description.model_dim},
        piece_keys(attention::stca_piece_keys(description.max_candidates, description.num_heads)) {
    const int64_t a_row = int64_t{pieces(desc.max_history)} * (desc.model_dim + 2) * 4;
    if (wide && pieces(desc.max_history) > 1) {
      split_rows = std::min(attention::bounded_product(desc.max_total_candidates, desc.num_heads), std::max<int64_t>(1, kScratchBudget / a_row));
    }
  }

  static jd_status create(const PlanResources &resources, const jd_stca_attention_desc &desc, KernelPlan **plan, jd_error *error) {
    auto made = std::make_unique<StcaAttentionPlan>(resources, desc);
    if (const jd_status status = made->allocate(resources, error)) return status;
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    const size_t written = describe_stca_way(desc, text, capacity);
    if (written >= capacity) return;
    if (!wide) return inner->describe(text + written, capacity - written);
    snprintf(text + written, capacity - written, "%s, %d columns in %d: %s, tiles of %s events, columns shared by 8 warps, at most %d pieces a history",
             attention::dtype_name(desc.dtype), desc.model_dim, attention::StcaAttentionKernels::columns(shape),
             attention::core_name(desc.dtype), desc.dtype == JD_F32 ? "8 rows x 8" : "32 rows x 16", pieces(desc.max_history));
  }

  int32_t pieces(int64_t history) const { return attention::stca_pieces(piece_keys).most_up_to(std::min(history, desc.max_history)); }
  int32_t tile_rows() const { return desc.dtype == JD_F32 ? 8 : 32; }
  // Blocks of a run that parks results between the pieces of a history.
  int64_t parking_blocks() const { return multiprocessors; }

  const jd_stca_attention_desc desc;
  const int64_t width;
  const bool reordered, wide, few;
  const attention::HeadShape shape;  // of the events
  const int32_t piece_keys;
  int64_t split_rows = 0;            // rows of a run up to which a block takes one piece
  std::unique_ptr<TargetAttentionPlan> inner;  // null: stca_attention.h
  void *query = nullptr, *wide_query = nullptr, *keys = nullptr, *values = nullptr;
  float *mixed = nullptr;            // e: [candidates, heads, model_dim]
  float *partial_outputs = nullptr;
  attention::SoftmaxState *partial_states = nullptr;

  jd_status allocate(const PlanResources &resources, jd_error *error) {
    if (!wide) {
      inner = std::make_unique<TargetAttentionPlan>(resources, stca_target_attention(desc), JDB_OP_STCA_ATTENTION);
      if (inner->columns == 0) return attention::refuse_head_dims(error, "stca_attention", inner->shape);
      if (const jd_status status = inner->allocate(error)) return status;
      buffers.count(inner->buffers);
    }
    const size_t element = desc.dtype == JD_F32 ? 4 : 2;
    const auto candidates = static_cast<size_t>(desc.max_total_candidates), heads = static_cast<size_t>(desc.num_heads);
    const auto events = static_cast<size_t>(desc.max_total_events), columns = static_cast<size_t>(width);
    jd_status status = JD_OK;
    const auto reserve = [&](size_t bytes, auto **data) {
      void *made = nullptr;
      if (status == JD_OK) status = buffers.alloc(bytes, &made, error);
      *data = static_cast<std::remove_reference_t<decltype(*data)>>(made);
    };
    if (!reordered) {
      reserve(candidates * columns * element, &query);
      if (!desc.keep_keys) {
        reserve(events * columns * element, &keys);
        reserve(events * columns * element, &values);
      }
      return status;
    }
    const size_t wide_row = heads * static_cast<size_t>(desc.model_dim);
    reserve(candidates * columns * 4, &query);
    reserve(candidates * wide_row * element, &wide_query);
    reserve(candidates * wide_row * 4, &mixed);
    if (!wide || pieces(desc.max_history) == 1) return status;
    const int64_t partials = split_rows * pieces(desc.max_history);
    int64_t parked = 0, states = 0;
    if (split_rows < attention::bounded_product(desc.max_total_candidates, desc.num_heads)) {
      attention::StcaAttentionKernels::select(shape, tile_rows(), [&](auto tag) {
        using Parking = typename decltype(tag)::type::Parking;
        parked = parking_blocks() * Parking::kOutputs;
        states = parking_blocks() * Parking::kStates;
      });
    }
    reserve(static_cast<size_t>(std::max(partials * desc.model_dim, parked)) * 4, &partial_outputs);
    reserve(static_cast<size_t>(std::max(partials, states)) * sizeof(attention::SoftmaxState), &partial_states);
    return status;
  }
};

namespace attention {

// Dense rows in scratch.
inline jdb_tensor stca_view(void *data, int32_t dtype, std::initializer_list<int64_t> shape) {
  jdb_tensor t{};
  t.data = data;
  t.dtype = dtype;
  t.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), t.shape);
  int64_t stride = 1;
  for (int i = t.rank; i-- > 0; stride *= t.shape[i]) t.strides[i] = stride;
  return t;
}
inline jdb_tensor stca_by_head(const jdb_tensor &t, int64_t heads, int64_t columns) {
  jdb_tensor view = t;
  view.rank = 3;
  view.shape[1] = heads;
  view.shape[2] = columns;
  view.strides[1] = columns;
  view.strides[2] = 1;
  return view;
}

// out = rows W^T where there are many rows.
template <class Exec>
jd_status stca_project(Exec &exec, const jdb_tensor &rows, const jdb_tensor &weight, const jdb_tensor &out) {
  if (rows.shape[0] == 0) return JD_OK;
  if (rows.dtype == JD_F32) {
    jdb_linear_args linear{};
    linear.x = rows;
    linear.weight = weight;
    linear.out = out;
    linear.activation = JD_LINEAR_IDENTITY;
    return launch_linear(exec, linear);
  }
  StcaProjectKernel::Params p{};
  p.x = static_cast<const uint16_t *>(rows.data);
  p.weight = static_cast<const float *>(weight.data);
  p.out = OutRows{out.data, out.strides[0], 0, out.dtype};
  p.rows = rows.shape[0];
  p.x_stride = rows.strides[0];
  p.weight_stride = weight.strides[0];
  p.depth = static_cast<int32_t>(rows.shape[1]);
  p.columns = static_cast<int32_t>(weight.shape[0]);
  p.dtype = rows.dtype;
  p.blocks_across = blocks::ceil_div(p.columns, StcaProjectKernel::kBlockColumns);
  const int64_t grid = blocks::ceil_div(p.rows, StcaProjectKernel::kBlockRows) * p.blocks_across;
  return exec.template launch<StcaProjectKernel>(prim::Grid{static_cast<uint32_t>(grid), 1, 1}, p);
}

// out_h = x_h W_h^T, head by head, in f32; rows of rank 2 are all heads' own.
template <class T, class Exec>
jd_status stca_row_product(Exec &exec, const jdb_tensor &x, const jdb_tensor &weight, int32_t head_dim, const jdb_tensor &out) {
  using Kernel = StcaRowProductKernel<T>;
  if (x.shape[0] == 0) return JD_OK;
  typename Kernel::Params p{};
  p.x = Rows<const T>{static_cast<const T *>(x.data), x.strides[0], x.rank == 3 ? x.strides[1] : 0};
  p.weight = static_cast<const float *>(weight.data);
  p.out = OutRows{out.data, out.strides[0], 0, out.dtype};
  p.rows = x.shape[0];
  p.weight_stride = weight.strides[0];
  p.depth = static_cast<int32_t>(x.shape[x.rank - 1]);
  p.head_dim = head_dim;
  p.dtype = x.dtype;
  p.blocks_across = weight.shape[0] / Kernel::kBlockColumns;
  const int64_t grid = blocks::ceil_div(p.rows, kProductRows) * p.blocks_across;
  return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>(grid), 1, 1}, p);
}

template <class Exec>
jd_status stca_exact_query(Exec &exec, const StcaAttentionPlan &plan, const jdb_stca_attention_args &args, const jdb_tensor &out) {
  if (plan.desc.dtype == JD_F32) return stca_row_product<float>(exec, args.candidates, args.query_weight, plan.desc.head_dim, out);
  return stca_row_product<uint16_t>(exec, args.candidates, args.query_weight, plan.desc.head_dim, out);
}

// e = attention of the wide queries to the events.
template <class Exec>
jd_status stca_attend_events(Exec &exec, const StcaAttentionPlan &plan, const jdb_stca_attention_args &args) {
  const jd_stca_attention_desc &desc = plan.desc;
  const int64_t candidates = args.candidates.shape[0], heads = desc.num_heads, dim = desc.model_dim;
  StcaUsers users{};
  users.candidate_offsets = offsets_of(args.candidate_offsets);
  users.history_offsets = offsets_of(args.history_offsets);
  users.batch = args.batch;
  users.candidate_rows = candidates;
  users.history_rows = args.events.shape[0];
  users.max_candidates = desc.max_candidates;
  users.max_history = desc.max_history;
  users.num_latest = INT64_MAX;
  users.kv_heads = 1;
  users.group = desc.num_heads;
  users.shape = plan.shape;
  users.out = OutRows{plan.mixed, heads * dim, dim, JD_F32};
  users.partial_outputs = plan.partial_outputs;
  users.partial_states = plan.partial_states;
  users.sink = FaultSink{exec.faults(), exec.launch_number(), plan.op, desc.bounds};
  users.piece_keys = plan.piece_keys;

  const int32_t pieces = plan.pieces(users.history_rows);
  users.split = pieces > 1 && candidates * heads <= plan.split_rows;
  const int64_t items = max_tiles(candidates, heads, users.batch, plan.tile_rows()) * (users.split ? pieces : 1);
  const bool parks = pieces > 1 && !users.split;
  const int64_t most_blocks = parks ? plan.parking_blocks() : kBlocksAMultiprocessor * plan.multiprocessors;
  jd_status status = JD_INTERNAL;
  StcaAttentionKernels::select(plan.shape, plan.tile_rows(), [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    using Element = typename Kernel::Element;
    typename Kernel::Params params{};
    params.users = users;
    params.candidates = Rows<const Element>{static_cast<const Element *>(plan.wide_query), heads * dim, dim};
    params.events = Rows<const Element>{static_cast<const Element *>(args.events.data), args.events.strides[0], 0};
    params.scale = desc.scale * 1.4426950408889634f;
    status = exec.template launch<Kernel>(grid_for(items, most_blocks), params);
  });
  if (status != JD_OK || !users.split) return status;
  const int64_t merged = max_tiles(candidates, heads * (dim / 4), users.batch, StcaMergeKernel::kThreads);
  return exec.template launch<StcaMergeKernel>(grid_for(merged, most_blocks), users);
}

template <class Exec>
jd_status stca_target_attention_run(Exec &exec, const StcaAttentionPlan &plan, const jdb_stca_attention_args &args, const jdb_tensor &queries,
                                    const jdb_tensor &keys, const jdb_tensor &values, const jdb_tensor &out) {
  jdb_target_attention_args run{};
  run.candidates = queries;
  run.candidate_offsets = args.candidate_offsets;
  run.keys = keys;
  run.values = values;
  run.history_offsets = args.history_offsets;
  run.out = out;
  run.batch = args.batch;
  return launch_target_attention(exec, *plan.inner, run);
}

template <class Exec>
jd_status stca_materialised(Exec &exec, const StcaAttentionPlan &plan, const jdb_stca_attention_args &args) {
  const jd_stca_attention_desc &desc = plan.desc;
  const int64_t candidates = args.candidates.shape[0], events = args.events.shape[0], heads = desc.num_heads;
  const jdb_tensor query = stca_view(plan.query, desc.dtype, {candidates, plan.width});
  const jdb_tensor keys = desc.keep_keys ? args.keys : stca_view(plan.keys, desc.dtype, {events, plan.width});
  const jdb_tensor values = desc.keep_keys ? args.values : stca_view(plan.values, desc.dtype, {events, plan.width});
  jd_status status = plan.few ? stca_exact_query(exec, plan, args, query) : stca_project(exec, args.candidates, args.query_weight, query);
  if (candidates > 0 || desc.keep_keys) {
    if (status == JD_OK) status = stca_project(exec, args.events, args.key_weight, keys);
    if (status == JD_OK) status = stca_project(exec, args.events, args.value_weight, values);
  }
  if (status != JD_OK) return status;
  return stca_target_attention_run(exec, plan, args, stca_by_head(query, heads, desc.head_dim), stca_by_head(keys, heads, desc.head_dim),
                                   stca_by_head(values, heads, desc.head_dim), stca_by_head(args.out, heads, desc.head_dim));
}

template <class Exec>
jd_status stca_reordered(Exec &exec, const StcaAttentionPlan &plan, const jdb_stca_attention_args &args) {
  const jd_stca_attention_desc &desc = plan.desc;
  const int64_t candidates = args.candidates.shape[0], heads = desc.num_heads, dim = desc.model_dim;
  jd_status status = stca_exact_query(exec, plan, args, stca_view(plan.query, JD_F32, {candidates, plan.width}));
  if (status != JD_OK) return status;
  StcaWideQueryKernel::Params p{};
  p.query = static_cast<const float *>(plan.query);
  p.weight = static_cast<const float *>(args.key_weight.data);
  p.out = OutRows{plan.wide_query, heads * dim, dim, desc.dtype};
  p.cleared = plan.mixed;
  p.rows = candidates;
  p.weight_stride = args.key_weight.strides[0];
  p.heads = desc.num_heads;
  p.head_dim = desc.head_dim;
  p.dim = desc.model_dim;
  p.blocks_across = static_cast<int32_t>(blocks::ceil_div(dim, StcaWideQueryKernel::kBlockColumns));
  const int64_t grid = blocks::ceil_div(candidates, kProductRows) * heads * p.blocks_across;
  status = exec.template launch<StcaWideQueryKernel>(prim::Grid{static_cast<uint32_t>(grid), 1, 1}, p);
  if (status != JD_OK) return status;

  const jdb_tensor mixed = stca_view(plan.mixed, JD_F32, {candidates, heads, dim});
  if (plan.wide) {
    status = stca_attend_events(exec, plan, args);
  } else {
    const jdb_tensor events = stca_by_head(args.events, 1, dim);
    status = stca_target_attention_run(exec, plan, args, stca_view(plan.wide_query, desc.dtype, {candidates, heads, dim}), events, events, mixed);
  }
  if (status != JD_OK) return status;
  return stca_row_product<float>(exec, mixed, args.value_weight, desc.head_dim, args.out);
}

}  // namespace attention

template <class Exec>
jd_status launch_stca_attention(Exec &exec, const StcaAttentionPlan &plan, const jdb_stca_attention_args &args) {
  if (args.batch == 0 && !plan.desc.keep_keys) return JD_OK;
  return plan.reordered ? attention::stca_reordered(exec, plan, args) : attention::stca_materialised(exec, plan, args);
}

}  // namespace jindou

#endif
