// history_search and lsh_signatures: from a description to scratch, and from a run to kernel launches (dispatch.h).
#ifndef JINDOU_KERNELS_SEARCH_HISTORY_SEARCH_LAUNCH_H
#define JINDOU_KERNELS_SEARCH_HISTORY_SEARCH_LAUNCH_H

#include <cstdio>
#include <memory>

#include "attention/launch_support.h"
#include "plan.h"
#include "search/history_search.h"
#include "search/lsh_signatures.h"
#include "search/top_k_rounds.h"

namespace jindou {

// How a run is cut. Every choice gives the same result.
struct HistorySearchSchedule {
  int64_t window;     // candidates whose lists there is memory for
  int64_t tiles;      // of them
  int64_t longest;    // events of a history, at most
  int64_t first;      // of them in the first round
  int64_t lists;      // a candidate: one that is carried and those of a round's pieces, at most

  int64_t rounds() const { return first < longest ? 2 : 1; }
};

struct HistorySearchPlan : KernelPlan {
  static constexpr int64_t kScratchBudget = int64_t{128} << 20;
  static constexpr int64_t kLeastPiece = 128;           // events: a piece costs a block's start and end
  static constexpr int64_t kBlocksAMultiprocessor = 4;  // wanted

  HistorySearchPlan(const PlanResources &resources, const jd_history_search_desc &description)
      : KernelPlan(JDB_OP_HISTORY_SEARCH, resources), desc(description), room(search::top_k_room(description.k)) {}

  static jd_status create(const PlanResources &resources, const jd_history_search_desc &desc, KernelPlan **plan, jd_error *error) {
    auto made = std::make_unique<HistorySearchPlan>(resources, desc);
    const int64_t rows = attention::bounded_product(desc.max_batch, desc.max_candidates);
    const int64_t pieces = std::min(made->wanted_blocks(), (desc.max_history + kLeastPiece - 1) / kLeastPiece);
    const int64_t list_bytes = int64_t{made->room} * 8;
    const int64_t wanted = attention::bounded_product(rows, pieces + 1);
    made->capacity = std::min(kScratchBudget / list_bytes, wanted);
    made->window = made->capacity == wanted ? rows : made->capacity / 4;  // leaves lists for three pieces and more
    void *lists = nullptr, *counts = nullptr, *thresholds = nullptr;
    if (const jd_status status = made->buffers.alloc(static_cast<size_t>(made->capacity * list_bytes), &lists, error)) return status;
    if (const jd_status status = made->buffers.alloc(static_cast<size_t>(made->capacity) * sizeof(int32_t), &counts, error)) return status;
    if (const jd_status status = made->buffers.alloc(static_cast<size_t>(made->window) * sizeof(float), &thresholds, error))
      return status;
    made->lists = static_cast<uint64_t *>(lists);
    made->counts = static_cast<int32_t *>(counts);
    made->thresholds = static_cast<float *>(thresholds);
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity_bytes) const override {
    static const char *const kMethods[] = {"hard", "dot", "lsh"};
    snprintf(text, capacity_bytes, "history_search %s, the %d best: %s, tiles of %d candidates, lists of up to %d in scratch",
             kMethods[desc.method], desc.k,
             desc.method != JD_SEARCH_DOT ? "words" : desc.dtype == JD_F32 ? "FMA" : "mma.sync m16n8k16", search::kTileCandidates,
             room);
  }

  int64_t wanted_blocks() const { return kBlocksAMultiprocessor * multiprocessors; }

  HistorySearchSchedule schedule(int64_t batch, int64_t candidates, int64_t events) const {
    HistorySearchSchedule s;
    s.window = std::min(candidates, window);
    s.tiles = attention::max_tiles(s.window, 1, batch, search::kTileCandidates);
    s.longest = std::min(events, desc.max_history);
    s.lists = capacity / s.window;
    s.first = search::first_round(desc.k, s.longest, pieces(s, s.longest, false), s.window, multiprocessors);
    s.lists = 1 + std::max(pieces(s, s.first, s.rounds() > 1), pieces(s, s.longest - s.first, false));
    return s;
  }

  // Pieces of so many events: as many as fill the device; more where all events pass, so that lists take them in whole.
  int64_t pieces(const HistorySearchSchedule &s, int64_t events, bool all_pass) const {
    const auto of = [&](int64_t size) { return (events + size - 1) / size; };
    const int64_t filling = std::min((wanted_blocks() + s.tiles - 1) / s.tiles, of(kLeastPiece));
    return std::clamp<int64_t>(all_pass ? std::max(filling, of(search::kTopKLeastRoom)) : filling, 1, s.lists - 1);
  }

  const jd_history_search_desc desc;
  const int32_t room;
  int64_t capacity = 0;  // lists
  int64_t window = 0;    // candidates at once, at most
  uint64_t *lists = nullptr;
  int32_t *counts = nullptr;
  float *thresholds = nullptr;
};

namespace search {

// f(kernel pointer) for the kernel of a description: method, dtype, elements of a row.
template <class F>
void select_search_kernel(const jd_history_search_desc &desc, const F &f) {
  const auto of = [&](auto core) { f(static_cast<SearchKernel<decltype(core)> *>(nullptr)); };
  const auto by_dim = [&](auto at_64, auto at_128, auto at_256) {
    if (desc.dim <= 64) return of(at_64);
    if (desc.dim <= 128) return of(at_128);
    of(at_256);
  };
  using prim::bf16;
  using prim::f16;
  if (desc.method == JD_SEARCH_HARD) return of(SearchWordCore<2, true>{});
  if (desc.method == JD_SEARCH_LSH && desc.dim <= 128) return of(SearchWordCore<4, false>{});
  if (desc.method == JD_SEARCH_LSH) return of(SearchWordCore<32, false>{});
  if (desc.dtype == JD_F32) return by_dim(SearchFmaCore<64>{}, SearchFmaCore<128>{}, SearchFmaCore<256>{});
  if (desc.dtype == JD_F16) return by_dim(SearchMmaCore<f16, 64>{}, SearchMmaCore<f16, 128>{}, SearchMmaCore<f16, 256>{});
  by_dim(SearchMmaCore<bf16, 64>{}, SearchMmaCore<bf16, 128>{}, SearchMmaCore<bf16, 256>{});
}

}  // namespace search

template <class Exec>
jd_status launch_history_search(Exec &exec, const HistorySearchPlan &plan, const jdb_history_search_args &args) {
  using namespace search;
  const jd_history_search_desc &desc = plan.desc;
  const int64_t candidates = args.queries.shape[0], events = args.keys.shape[0];
  if (args.batch == 0) return JD_OK;
  // Offsets of an empty batch of candidates are looked at too.
  const HistorySearchSchedule schedule = plan.schedule(args.batch, std::max<int64_t>(1, candidates), events);
  SearchProblem problem{};
  problem.candidate_offsets = attention::offsets_of(args.candidate_offsets);
  problem.history_offsets = attention::offsets_of(args.history_offsets);
  problem.batch = args.batch;
  problem.candidate_rows = candidates;
  problem.history_rows = events;
  problem.max_candidates = desc.max_candidates;
  problem.max_history = desc.max_history;
  problem.k = desc.k;
  problem.room = plan.room;
  problem.slots = static_cast<int32_t>(schedule.lists);
  problem.lists = plan.lists;
  problem.counts_of_lists = plan.counts;
  problem.thresholds = plan.thresholds;
  problem.indices = static_cast<int32_t *>(args.indices.data);
  problem.index_row = attention::stride_of(args.indices, 0);
  problem.scores = static_cast<float *>(args.scores.data);
  problem.score_row = args.scores.dtype ? attention::stride_of(args.scores, 0) : 0;
  problem.counts = static_cast<int32_t *>(args.counts.data);
  problem.distances = desc.method == JD_SEARCH_LSH;
  problem.sink = FaultSink{exec.faults(), exec.launch_number(), JDB_OP_HISTORY_SEARCH, desc.bounds};
  const int64_t most = attention::kBlocksAMultiprocessor * plan.multiprocessors;

  // Events newer..newer+events-1 of each history, counted from its end.
  const auto run_round = [&](int64_t newer, int64_t events_of_round) -> jd_status {
    problem.newer = static_cast<int32_t>(newer);
    problem.events = static_cast<int32_t>(events_of_round);
    problem.carries = newer > 0;
    problem.last = newer + events_of_round == schedule.longest;
    const int64_t pieces = plan.pieces(schedule, events_of_round, !problem.last);
    problem.piece_events = static_cast<int32_t>(((events_of_round + pieces - 1) / pieces + 63) / 64 * 64);
    jd_status status = JD_INTERNAL;
    select_search_kernel(desc, [&](auto *kernel) {
      using Kernel = std::remove_pointer_t<decltype(kernel)>;
      using Element = typename Kernel::Element;
      // Elements of 8 bytes are two words each.
      const int64_t units = desc.method == JD_SEARCH_DOT ? 1 : desc.dtype == JD_I64 ? 2 : 1;
      typename Kernel::Params params{};
      params.problem = problem;
      params.queries = static_cast<const Element *>(args.queries.data);
      params.keys = static_cast<const Element *>(args.keys.data);
      params.query_row = attention::stride_of(args.queries, 0) * units;
      params.key_row = attention::stride_of(args.keys, 0) * units;
      params.dim = desc.method == JD_SEARCH_LSH ? desc.dim / 32 : desc.method == JD_SEARCH_DOT ? desc.dim : static_cast<int32_t>(units);
      params.bias = static_cast<const float *>(args.bias.data);
      status = exec.template launch<Kernel>(attention::grid_for(schedule.tiles * pieces, most), params);
    });
    if (status != JD_OK) return status;
    const prim::Grid grid = attention::grid_for(problem.last_row - problem.first_row, most);
    return desc.k <= 128 ? exec.template launch<SearchMergeKernel<128>>(grid, problem)
                         : exec.template launch<SearchMergeKernel<2048>>(grid, problem);
  };

  for (int64_t first = 0; first == 0 || first < candidates; first += schedule.window) {
    problem.first_row = first;
    problem.last_row = std::min(candidates, first + schedule.window);
    if (const jd_status status = run_round(0, schedule.first)) return status;
    if (schedule.rounds() == 1) continue;
    if (const jd_status status = run_round(schedule.first, schedule.longest - schedule.first)) return status;
  }
  return JD_OK;
}

template <class Exec>
jd_status launch_lsh_signatures(Exec &exec, const jdb_lsh_signatures_args &args) {
  using Kernel = search::SignatureKernel;
  Kernel::Params params{};
  params.x = args.x.data;
  params.projection = args.projection.data;
  params.x_row = attention::stride_of(args.x, 0);
  params.projection_row = args.projection.strides[0];
  params.rows = args.x.shape[0];
  params.dim = static_cast<int32_t>(args.x.shape[1]);
  params.bits = static_cast<int32_t>(args.projection.shape[0]);
  params.dtype = args.x.dtype;
  params.signatures = static_cast<uint32_t *>(args.signatures.data);
  params.signature_row = attention::stride_of(args.signatures, 0) * 2;
  const int64_t tiles = (params.rows + Kernel::kRows - 1) / Kernel::kRows * (params.bits / Kernel::kBits);
  return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>(tiles), 1, 1}, params);
}

}  // namespace jindou

#endif
