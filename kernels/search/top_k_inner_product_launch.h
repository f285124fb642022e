// top_k_inner_product: from a description to scratch, and from a run to kernel launches (dispatch.h).
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_INNER_PRODUCT_LAUNCH_H
#define JINDOU_KERNELS_SEARCH_TOP_K_INNER_PRODUCT_LAUNCH_H

#include <cstdio>
#include <memory>

#include "attention/launch_support.h"
#include "plan.h"
#include "search/top_k_codes.h"
#include "search/top_k_inner_product.h"
#include "search/top_k_rounds.h"
#include "search/top_k_slices.h"

namespace jindou {

// How a run is cut. Every choice gives the same result.
struct TopKSchedule {
  int64_t window;     // queries a round
  int64_t pieces;     // of a round's items, at most
  int64_t first;      // items of the first round
  bool few_queries;   // the shape of blocks
};

struct TopKInnerProductPlan : KernelPlan {
  static constexpr int64_t kScratchBudget = int64_t{128} << 20;
  static constexpr int64_t kLeastPiece = 256;           // items: a piece costs a block's start and end
  static constexpr int64_t kBlocksAMultiprocessor = 4;  // wanted

  TopKInnerProductPlan(const PlanResources &resources, const jd_top_k_inner_product_desc &description)
      : KernelPlan(JDB_OP_TOP_K_INNER_PRODUCT, resources), desc(description), room(search::top_k_room(description.k)) {}

  static jd_status create(const PlanResources &resources, const jd_top_k_inner_product_desc &desc, KernelPlan **plan, jd_error *error) {
    auto made = std::make_unique<TopKInnerProductPlan>(resources, desc);
    // A list for each piece, and one that is carried from round to round.
    const int64_t list_bytes = int64_t{made->room} * 8;
    made->capacity = std::max<int64_t>(2, std::min(kScratchBudget / list_bytes,
                                                   attention::bounded_product(desc.max_queries, made->wanted_blocks() + 1)));
    void *lists = nullptr, *counts = nullptr, *thresholds = nullptr;
    if (const jd_status status = made->buffers.alloc(static_cast<size_t>(made->capacity * list_bytes), &lists, error)) return status;
    if (const jd_status status = made->buffers.alloc(static_cast<size_t>(made->capacity) * sizeof(int32_t), &counts, error)) return status;
    if (const jd_status status = made->buffers.alloc(static_cast<size_t>(made->capacity / 2) * sizeof(float), &thresholds, error))
      return status;
    made->lists = static_cast<uint64_t *>(lists);
    made->counts = static_cast<int32_t *>(counts);
    made->thresholds = static_cast<float *>(thresholds);
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity_bytes) const override {
    snprintf(text, capacity_bytes,
             "top_k_inner_product, the %d best: %s, tiles of %d queries (16 for few)%s, lists of up to %d in scratch", desc.k,
             desc.row_format != JD_ROWS_PLAIN ? "FMA on widened codes" : desc.dtype == JD_F32 ? "FMA" : "mma.sync m16n8k16",
             search::kTileCandidates, desc.dim > 256 || desc.row_format != JD_ROWS_PLAIN ? ", rows in slices" : "", room);
  }

  int64_t wanted_blocks() const { return kBlocksAMultiprocessor * multiprocessors; }

  TopKSchedule schedule(int64_t queries, int64_t items) const {
    TopKSchedule s;
    s.window = std::min(queries, capacity / 2);
    s.few_queries = s.window <= search::kWarpCandidates;
    const int64_t rows = s.few_queries ? search::kWarpCandidates : search::kTileCandidates;
    const int64_t tiles = (s.window + rows - 1) / rows;
    s.pieces = std::max<int64_t>(1, std::min(capacity / s.window - 1, (wanted_blocks() + tiles - 1) / tiles));
    s.first = search::first_round(desc.k, items, s.pieces, s.window, multiprocessors);
    return s;
  }

  const jd_top_k_inner_product_desc desc;
  const int32_t room;
  int64_t capacity = 0;  // lists
  uint64_t *lists = nullptr;
  int32_t *counts = nullptr;
  float *thresholds = nullptr;
};

namespace search {

// f(kernel pointer) for the kernel of a description and a shape of block.
template <class F>
void select_top_k_kernel(const jd_top_k_inner_product_desc &desc, bool few_queries, const F &f) {
  if (desc.row_format != JD_ROWS_PLAIN) {
    if (few_queries) return f(static_cast<TopKCodesKernel<FewQueriesSliced<TopKFmaCore<32, 16>, 16>> *>(nullptr));
    return f(static_cast<TopKCodesKernel<ManyQueriesSliced<TopKFmaCore<32, 32>, 32>> *>(nullptr));
  }
  const auto by_dim = [&](auto at_64, auto at_128, auto at_256, auto sliced) {
    const auto of = [&](auto shape) { f(static_cast<TopKScanKernel<decltype(shape)> *>(nullptr)); };
    if (desc.dim <= 64) return of(at_64);
    if (desc.dim <= 128) return of(at_128);
    if (desc.dim <= 256) return of(at_256);
    f(static_cast<TopKSliceKernel<decltype(sliced)> *>(nullptr));
  };
  if (desc.dtype == JD_F32) {
    if (few_queries) {
      return by_dim(FewQueries<TopKFmaCore<64, 16>, 16>{}, FewQueries<TopKFmaCore<128, 8>, 8>{}, FewQueries<TopKFmaCore<256, 8>, 8>{},
                    FewQueriesSliced<TopKFmaCore<32, 16>, 16>{});
    }
    return by_dim(ManyQueries<TopKFmaCore<64>, 32>{}, ManyQueries<TopKFmaCore<128>, 32>{}, ManyQueries<TopKFmaCore<256>, 32>{},
                  ManyQueriesSliced<TopKFmaCore<32, 64>, 64>{});
  }
  if (few_queries) {
    return by_dim(FewQueries<TopKMmaCore<64, 32>, 32>{}, FewQueries<TopKMmaCore<128, 16>, 16>{}, FewQueries<TopKMmaCore<256, 16>, 16>{},
                  FewQueriesSliced<TopKMmaCore<64, 16>, 16>{});
  }
  by_dim(ManyQueries<TopKMmaCore<64>, 32>{}, ManyQueries<TopKMmaCore<128>, 32>{}, ManyQueries<TopKMmaCore<256>, 32>{},
         ManyQueriesSliced<TopKMmaCore<64, 64>, 64>{});
}

template <class T>
void set_rows(TopKScanParams<T> &params, const jd_top_k_inner_product_desc &desc, const jdb_top_k_inner_product_args &args) {
  params.queries = static_cast<const T *>(args.queries.data);
  params.items = static_cast<const T *>(args.items.data);
  params.query_row = attention::stride_of(args.queries, 0);
  params.item_row = attention::stride_of(args.items, 0);
  params.dim = desc.dim;
  params.is_f16 = desc.dtype == JD_F16;
}

inline void set_rows(TopKCodesParams &params, const jd_top_k_inner_product_desc &desc, const jdb_top_k_inner_product_args &args) {
  const RowLayout layout = row_layout(desc.row_format, desc.dim);
  params.queries = static_cast<const char *>(args.queries.data);
  params.items = static_cast<const char *>(args.items.data);
  params.query_bytes = attention::stride_of(args.queries, 0) * (desc.dtype == JD_F32 ? 4 : 2);
  params.item_bytes = attention::stride_of(args.items, 0);
  params.dim = desc.dim;
  params.dtype = desc.dtype;
  const bool words = layout.header_at % 4 == 0 && params.item_bytes % 4 == 0 && reinterpret_cast<uintptr_t>(params.items) % 4 == 0;
  params.layout = embedding::CodeLayout::of(layout, desc.row_format == JD_ROWS_E4M3, words);
}

}  // namespace search

template <class Exec>
jd_status launch_top_k_inner_product(Exec &exec, const TopKInnerProductPlan &plan, const jdb_top_k_inner_product_args &args) {
  using namespace search;
  const jd_top_k_inner_product_desc &desc = plan.desc;
  const int64_t queries = args.queries.shape[0], items = args.items.shape[0];
  if (queries == 0) return JD_OK;
  const TopKSchedule schedule = plan.schedule(queries, items);
  TopKProblem problem{};
  problem.k = desc.k;
  problem.room = plan.room;
  problem.slots = static_cast<int32_t>(schedule.pieces + 1);
  problem.allowed = static_cast<const uint8_t *>(args.allowed.data);
  problem.allowed_row = args.allowed.rank == 2 ? attention::stride_of(args.allowed, 0) : 0;
  problem.lists = plan.lists;
  problem.counts = plan.counts;
  problem.thresholds = plan.thresholds;
  problem.indices = static_cast<int64_t *>(args.indices.data);
  problem.index_row = attention::stride_of(args.indices, 0);
  problem.scores = static_cast<float *>(args.scores.data);
  problem.score_row = args.scores.dtype ? attention::stride_of(args.scores, 0) : 0;

  // One round of the window: items first..end-1.
  const auto run_round = [&](int64_t first, int64_t end) -> jd_status {
    problem.first_item = first;
    problem.last_item = end;
    problem.carries = first > 0;
    problem.last = end == items;
    problem.pieces = 0;
    jd_status status = JD_OK;
    if (first < end) {
      select_top_k_kernel(desc, schedule.few_queries, [&](auto *kernel) {
        using Kernel = std::remove_pointer_t<decltype(kernel)>;
        const int64_t pieces = std::min(schedule.pieces, (end - first + plan.kLeastPiece - 1) / plan.kLeastPiece);
        const int64_t even = (end - first + pieces - 1) / pieces;
        problem.piece_items = (even + Kernel::kItems - 1) / Kernel::kItems * Kernel::kItems;
        problem.pieces = static_cast<int32_t>((end - first + problem.piece_items - 1) / problem.piece_items);
        typename Kernel::Params params{};
        params.problem = problem;
        set_rows(params, desc, args);
        const int64_t tiles = (problem.queries + Kernel::kQueries - 1) / Kernel::kQueries;
        status = exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>(tiles * problem.pieces), 1, 1}, params);
      });
    }
    if (status != JD_OK) return status;
    const prim::Grid grid{static_cast<uint32_t>(problem.queries), 1, 1};
    return schedule.few_queries ? exec.template launch<TopKMergeKernel<1024>>(grid, problem)
                                : exec.template launch<TopKMergeKernel<256>>(grid, problem);
  };

  for (int64_t first = 0; first < queries; first += schedule.window) {
    problem.first_query = first;
    problem.queries = std::min(schedule.window, queries - first);
    if (const jd_status status = run_round(0, schedule.first)) return status;
    if (schedule.first == items) continue;
    if (const jd_status status = run_round(schedule.first, items)) return status;
  }
  return JD_OK;
}

}  // namespace jindou

#endif
