// Every index computation of the kernels, at the largest shapes that validation admits and past 2^31 elements, against the same formula
// in 128 bits. (native/tests/operators_wide_*.cpp runs the kernels themselves in the emulator over address space of that size.)
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "attention/din_attention_problem.h"
#include "attention/hopper_schedule.h"
#include "attention/hstu_attention_problem.h"
#include "attention/launch_support.h"
#include "attention/merge_states.h"
#include "attention/softmax_attention_problem.h"
#include "attention/target_attention_problem.h"
#include "core/attention_rules.h"
#include "core/hash_geometry.h"
#include "core/paged_rules.h"
#include "core/search_rules.h"
#include "core/longer_as_beams.h"
#include "decode/beam_attention_problem.h"
#include "decode/decode_attention_problem.h"
#include "decode/pages.h"
#include "embedding/bags.h"
#include "embedding/sequence_places.h"
#include "search/search_problem.h"

namespace jindou::testing {
namespace {

using Wide = __int128;

constexpr int64_t kFar = int64_t{1} << 31;
constexpr int32_t kHeads = core::kMaxHeads, kLength = core::kMaxLength, kCandidates = core::kMaxCandidates;
constexpr int32_t kSoftmaxLength = 1 << 20;  // validate_softmax_attention.cpp

// What lies where: an address that nothing is read from.
template <class T>
T *somewhere() {
  return reinterpret_cast<T *>(uintptr_t{1} << 12);
}
template <class T>
Wide elements_from(const T *at) {
  return static_cast<Wide>(reinterpret_cast<uintptr_t>(at) - (uintptr_t{1} << 12)) / static_cast<Wide>(sizeof(T));
}
bool equal(Wide a, Wide b) { return a == b; }

// Offsets of `before` rows, and of a sequence of `length` rows behind them.
struct Behind {
  Behind(int64_t before, int64_t length) : values{0, before, before + length} {}
  attention::Offsets offsets() const { return attention::Offsets{values.data(), 1}; }
  int64_t rows() const { return values[2]; }
  std::vector<int64_t> values;
};

TEST(WideIndex, rows_with_any_strides) {
  for (const int64_t token : {int64_t{0}, int64_t{77}, kFar - 1, kFar, 5 * kFar}) {
    for (const int64_t token_stride : {int64_t{64}, int64_t{65536}, kFar + 8}) {
      for (const int64_t head_stride : {int64_t{64}, kFar, 16 * kFar}) {
        if (static_cast<Wide>(token) * token_stride > (Wide{1} << 60)) continue;
        const int32_t head = kHeads - 1;
        const Wide expected = static_cast<Wide>(token) * token_stride + static_cast<Wide>(head) * head_stride;
        EXPECT_TRUE(equal(elements_from(attention::Rows<char>{somewhere<char>(), token_stride, head_stride}.at(token, head)), expected));
        EXPECT_TRUE(equal((attention::OutRows{nullptr, token_stride, head_stride, JD_F32}.at(token, head)), expected));
        const attention::StateRows states{nullptr, token_stride, head_stride, JD_F32, nullptr, token_stride};
        EXPECT_TRUE(equal(states.out_at(token, head), expected));
        EXPECT_TRUE(equal(states.lse_at(token, head), static_cast<Wide>(token) * token_stride + head));
        EXPECT_TRUE(equal(elements_from(din::Matrix{somewhere<char>(), token_stride}.row<char>(token)),
                          static_cast<Wide>(token) * token_stride));
      }
    }
  }
}

TEST(WideIndex, pages_scales_and_suffixes) {
  const int32_t page = INT32_MAX - 1, row = 127, head = kHeads - 1;
  const int64_t head_stride = 256, row_stride = head_stride * kHeads, page_stride = row_stride * 128;
  const Wide expected = static_cast<Wide>(page) * page_stride + static_cast<Wide>(row) * row_stride + static_cast<Wide>(head) * head_stride;
  EXPECT_TRUE(equal(paged::Pages{nullptr, page_stride, row_stride, head_stride}.at(page, row, head), expected));
  const paged::PageScales scales{somewhere<float>(), 128 * kHeads, kHeads, 1};
  EXPECT_TRUE(equal(elements_from(scales.at(page, row, head)), static_cast<Wide>(page) * 128 * kHeads + row * kHeads + head));

  // The widest page table: 2^30 rows of every sequence.
  const int32_t most = static_cast<int32_t>(core::kMaxPagedRows / 16);
  const paged::PageTable table{somewhere<int32_t>(), most, most, INT32_MAX, 4};
  EXPECT_EQ(table.rows(), core::kMaxPagedRows);
  EXPECT_TRUE(equal(elements_from(table.row(core::kMaxBatch - 1)), static_cast<Wide>(core::kMaxBatch - 1) * most));
  const int32_t last = static_cast<int32_t>(core::kMaxPagedRows - 1);
  EXPECT_EQ(table.index(last), most - 1);
  EXPECT_EQ(table.within(last), 15);
  EXPECT_TRUE(table.valid(INT32_MAX - 1));
  EXPECT_FALSE(table.valid(INT32_MAX));
  EXPECT_FALSE(table.valid(-1));

  const int64_t request = core::kMaxBatch - 1, slot_stride = row_stride, level_stride = slot_stride * 4096, request_stride = level_stride * 64;
  const decode::SuffixRows<char> suffix{somewhere<char>(), request_stride, level_stride, slot_stride, head_stride};
  EXPECT_TRUE(equal(elements_from(suffix.at(request, 63, 4095, head)),
                    static_cast<Wide>(request) * request_stride + Wide{63} * level_stride + Wide{4095} * slot_stride + Wide{head} * head_stride));
}

TEST(WideIndex, sequences_behind_2_31_rows) {
  for (const int64_t before : {kFar - 1, kFar, 9 * kFar}) {
    const Behind b(before, kLength);
    attention::Sequence sequence;
    EXPECT_EQ(attention::read_sequence(b.offsets(), 1, 2, b.rows(), kLength, sequence).fault, JDB_FAULT_NONE);
    EXPECT_EQ(sequence.begin, before);
    EXPECT_EQ(sequence.length, kLength);
    // A length that is no int32 is refused, not cut.
    EXPECT_EQ(attention::read_sequence(b.offsets(), 0, 2, b.rows(), kLength, sequence).fault, JDB_FAULT_LENGTH);
    EXPECT_EQ(sequence.length, 0);
  }
}

TEST(WideIndex, target_attention_items) {
  for (const int32_t group : {1, kHeads}) {
    const Behind candidates(kFar, kCandidates), history(9 * kFar, kLength);
    attention::TargetAttentionUsers p{};
    p.candidate_offsets = candidates.offsets();
    p.history_offsets = history.offsets();
    p.batch = 2;
    p.candidate_rows = candidates.rows();
    p.history_rows = history.rows();
    p.max_candidates = kCandidates;
    p.max_history = kLength;
    p.num_latest = INT64_MAX;
    p.kv_heads = kHeads / group;
    p.group = group;
    p.split = 1;
    const attention::User user = attention::read_user(p, 1);
    const int32_t pieces = attention::target_pieces().number(kLength);
    const Wide tiles = (static_cast<Wide>(kCandidates) * group + 63) / 64, items = tiles * p.kv_heads * pieces;
    EXPECT_TRUE(equal(attention::num_items<64>(p, user), items));
    const attention::TargetAttentionItem last = attention::read_item<64>(p, 1, static_cast<uint32_t>(items - 1));
    EXPECT_TRUE(equal(last.first_row, (tiles - 1) * 64));
    EXPECT_EQ(last.first_piece, pieces - 1);
    const attention::TargetAttentionRow row = attention::read_row(p, last, 63);
    EXPECT_TRUE(row.valid);
    EXPECT_EQ(row.candidate, candidates.rows() - 1);
    EXPECT_EQ(row.head, kHeads - 1);
    EXPECT_TRUE(equal(attention::partial_row(p, pieces - 1, row.candidate, row.head),
                      (static_cast<Wide>(pieces - 1) * p.candidate_rows + row.candidate) * kHeads + row.head));
    EXPECT_LT((last.last_piece - 1) * static_cast<Wide>(attention::target_pieces().length(kLength)), kLength);
  }
}

TEST(WideIndex, softmax_attention_items) {
  for (const int32_t group : {1, kHeads}) {
    const Behind queries(kFar, kSoftmaxLength), keys(9 * kFar, kSoftmaxLength);
    attention::SoftmaxAttentionSequences p{};
    p.q_offsets = queries.offsets();
    p.k_offsets = keys.offsets();
    p.batch = 2;
    p.query_rows = queries.rows();
    p.key_rows = keys.rows();
    p.max_queries = p.max_keys = kSoftmaxLength;
    p.kv_heads = kHeads / group;
    p.group = group;
    p.left = p.right = INT32_MAX;
    p.sink = p.prefix = p.num_global = INT32_MAX;
    const Wide tiles = (static_cast<Wide>(kSoftmaxLength) * group + 31) / 32, items = tiles * p.kv_heads;
    EXPECT_TRUE(equal(attention::count_softmax_items<32>(p, 1), items));
    const attention::SoftmaxItem first = attention::read_softmax_item<32>(p, 1, 0);  // the last rows come first
    EXPECT_TRUE(equal(first.first_row, (tiles - 1) * 32));
    EXPECT_TRUE(equal(first.last_row, static_cast<Wide>(kSoftmaxLength) * group));
    const attention::SoftmaxRow row = attention::read_row(p, first, 31);
    EXPECT_EQ(row.token, queries.rows() - 1);
    EXPECT_EQ(row.query, kSoftmaxLength - 1);
    EXPECT_TRUE(equal(attention::partial_row(p, 63, row.token, kHeads - 1),
                      (Wide{63} * p.query_rows + row.token) * kHeads + kHeads - 1));
  }
}

TEST(WideIndex, hstu_attention_items) {
  const Behind rows(kFar, kLength);
  attention::HstuAttentionParams<float> p{};
  p.offsets = rows.offsets();
  p.q_offsets.data = nullptr;
  p.batch = 2;
  p.rows = p.query_rows = rows.rows();
  p.max_seq_len = kLength;
  p.heads = kHeads;
  p.mask = attention::HstuMaskParams{1, kLength, kLength, kLength};
  const Wide items = static_cast<Wide>((kLength + 31) / 32) * kHeads;
  EXPECT_TRUE(equal(attention::count_hstu_items<32>(p, 1), items));
  const attention::HstuItem first = attention::read_hstu_item<32, 16>(p, 1, kHeads - 1);
  EXPECT_EQ(first.first_row, kLength - 32);
  EXPECT_EQ(first.head, kHeads - 1);
  EXPECT_EQ(first.first_query + first.first_row, rows.rows() - 32);

  // Timestamps of paged sequences: a row each.
  const std::vector<int32_t> lengths(2, kLength), table(2, 0);
  p.pages.seq_lens = lengths.data();
  p.pages.table = paged::PageTable{table.data(), 1, 1, 1, 7};
  p.pages.most_rows = kLength;
  p.pages.timestamp_stride = 5 * kFar;
  const Behind queries(kFar, 10);
  p.q_offsets = queries.offsets();
  p.query_rows = queries.rows();
  const attention::HstuSequence paged = attention::read_hstu_sequence(p, 1);
  EXPECT_EQ(paged.rows.begin, 5 * kFar);
  EXPECT_EQ(paged.queries.begin, kFar);
}

TEST(WideIndex, decode_and_beam_attention_items) {
  const Behind queries(kFar, 16), beams(kFar, 4096), prefix(9 * kFar, kLength);
  const std::vector<int32_t> lengths(2, kLength), table(2, 0);
  decode::DecodeProblem d{};
  d.q_offsets = queries.offsets();
  d.seq_lens = lengths.data();
  d.batch = 2;
  d.query_rows = queries.rows();
  d.max_queries = 16;
  d.most_rows = kLength;
  d.kv_heads = 1;
  d.group = kHeads;
  d.table = paged::PageTable{table.data(), 1, 1, 1, 7};
  d.split = 1;
  d.most_pieces = decode::decode_pieces().number(kLength);
  const uint32_t items = decode::count_items(d, 1);
  EXPECT_EQ(items, static_cast<uint32_t>(16 * kHeads / 16 * d.most_pieces));
  const decode::DecodeRow row = decode::read_row(d, decode::read_item(d, 1, items - 1), 15);
  EXPECT_EQ(row.token, queries.rows() - 1);
  EXPECT_TRUE(equal(decode::partial_row(d, row.token, row.head, d.most_pieces - 1),
                    (static_cast<Wide>(row.token) * kHeads + row.head) * d.most_pieces + d.most_pieces - 1));

  decode::BeamProblem b{};
  b.beam_offsets = beams.offsets();
  b.prefix_offsets = prefix.offsets();
  b.batch = 2;
  b.beam_rows = beams.rows();
  b.prefix_rows = prefix.rows();
  b.max_beams = 4096;
  b.max_prefix = kLength;
  b.kv_heads = 1;
  b.group = kHeads;
  b.split = 1;
  b.ancestry = decode::Ancestry{nullptr, 0, 0, 0, 4096};
  const uint32_t beam_items = decode::count_items<32>(b, 1);
  const decode::BeamItem last = decode::read_item<32>(b, 1, beam_items - 1);
  EXPECT_EQ(last.first_row, 4096 * kHeads - 32);
  const decode::BeamRow beam = decode::read_row(b, last, 31);
  EXPECT_EQ(beam.token, beams.rows() - 1);
  EXPECT_TRUE(equal(decode::partial_row(b, 31, beam.token, beam.head), (Wide{31} * b.beam_rows + beam.token) * kHeads + beam.head));
}

// A user of the most rows: 4,096 candidates with 256 globals each and 131,072 events, all heads on one of keys and values.
TEST(WideIndex, longer_attention_rows) {
  jd_longer_attention_desc d{};
  d.num_global = 256;
  d.max_candidates = kCandidates;
  d.max_recent = d.max_history = kLength;
  const int32_t most = as_beams(d).max_beams, globals = 256 * kCandidates;
  EXPECT_EQ(most, globals + kLength);
  const Behind rows(kFar, most), of_globals(2 * kFar, globals), history(9 * kFar, kLength);
  decode::BeamProblem p{};
  p.beam_offsets = rows.offsets();
  p.prefix_offsets = history.offsets();
  p.batch = 2;
  p.beam_rows = rows.rows();
  p.prefix_rows = history.rows();
  p.max_beams = most;
  p.max_prefix = kLength;
  p.kv_heads = 1;
  p.group = kHeads;
  p.is_longer = 1;
  p.globals.offsets = of_globals.offsets();
  p.globals.rows = of_globals.rows();
  p.globals.most = globals;
  p.globals.most_recent = kLength;
  p.globals.own = 256;
  const uint32_t items = decode::count_items<32>(p, 1);
  EXPECT_TRUE(equal(items, static_cast<Wide>(most) * kHeads / 32));
  const decode::BeamItem last = decode::read_item<32>(p, 1, items - 1);
  const decode::BeamRow event = decode::read_row(p, last, 31);
  EXPECT_EQ(event.token, rows.rows() - 1);
  EXPECT_EQ(last.request.rows.seen(event.beam), kLength);
  EXPECT_EQ(last.request.rows.candidate(globals - 1), kCandidates - 1);
  EXPECT_EQ(last.suffix, 2 * kFar);
}

TEST(WideIndex, searches_and_their_lists) {
  constexpr int64_t kEvents = core::kMaxSearchHistory;
  const Behind candidates(kFar, core::kMaxSearchCandidates), history(9 * kFar, kEvents);
  search::SearchProblem p{};
  p.candidate_offsets = candidates.offsets();
  p.history_offsets = history.offsets();
  p.batch = 2;
  p.candidate_rows = candidates.rows();
  p.history_rows = history.rows();
  p.max_candidates = core::kMaxSearchCandidates;
  p.max_history = kEvents;
  p.first_row = 0;
  p.last_row = candidates.rows();
  p.k = core::kMaxFound;
  p.room = search::top_k_room(p.k);
  p.newer = 1 << 21;
  p.events = kEvents - p.newer;
  p.carries = 1;
  p.piece_events = 1 << 21;
  p.slots = p.events / p.piece_events + 1;
  p.lists = somewhere<uint64_t>();
  const Wide tiles = core::kMaxSearchCandidates / 64;
  const uint32_t items = search::count_items<64>(p, 1);
  EXPECT_TRUE(equal(items, tiles * (p.slots - 1)));
  const search::SearchItem last = search::read_item<64>(p, 1, items - 1);
  EXPECT_EQ(last.first_row, candidates.rows() - 64);
  EXPECT_EQ(last.history, 9 * kFar);
  EXPECT_EQ(last.begin, kEvents - 2 * p.piece_events);
  EXPECT_EQ(last.end, kEvents - p.newer);
  EXPECT_EQ(last.slot, p.slots - 1);
  const Wide list = static_cast<Wide>(candidates.rows() - 1) * p.slots;
  EXPECT_TRUE(equal(elements_from(p.list(candidates.rows() - 1, last.slot)), (list + p.slots - 1) * p.room));
  const search::TopKLists lists = p.lists_of(candidates.rows() - 1, kEvents);
  EXPECT_TRUE(equal(elements_from(lists.entries), list * p.room));
  EXPECT_EQ(lists.number, p.slots);
  const uint64_t entry = search::top_k_entry(-3.5f, static_cast<int32_t>(kEvents - 1));
  EXPECT_EQ(search::top_k_index(entry), static_cast<int32_t>(kEvents - 1));
}

TEST(WideIndex, din_attention_items) {
  const Behind candidates(kFar, kCandidates), history(9 * kFar, kLength);
  din::DinProblem p{};
  p.candidate_offsets = candidates.offsets();
  p.history_offsets = history.offsets();
  p.batch = 2;
  p.candidate_rows = candidates.rows();
  p.history_rows = history.rows();
  p.max_candidates = kCandidates;
  p.max_history = kLength;
  p.num_latest = INT64_MAX;
  p.split = 1;
  p.most_pieces = din::din_pieces().number(kLength);
  const uint32_t items = din::count_items<2>(p, 1);
  EXPECT_EQ(items, static_cast<uint32_t>(kCandidates / 2 * p.most_pieces));
  const din::DinItem last = din::read_item<2>(p, 1, items - 1);
  EXPECT_EQ(last.candidate, candidates.rows() - 2);
  EXPECT_EQ(last.event, 9 * kFar);
  EXPECT_TRUE(equal(din::partial_row(p, candidates.rows() - 1, p.most_pieces - 1),
                    static_cast<Wide>(candidates.rows() - 1) * p.most_pieces + p.most_pieces - 1));
}

// The items of 128 sequences and a grid, which a block adds up in 32 bits (work_list.h), at the largest of each operator.
TEST(WideIndex, lists_of_work_have_32_bits) {
  const Wide room = (Wide{1} << 32) - (int64_t{1} << 20);
  EXPECT_LT(Wide{128} * (kCandidates * kHeads / 32) * attention::target_pieces().most, room);            // target_attention, beam_attention
  EXPECT_LT(Wide{128} * (Wide{256 * kCandidates + kLength} * kHeads / 32), room);               // longer_attention: so many are not split
  EXPECT_LT(Wide{128} * (static_cast<Wide>(kSoftmaxLength) * kHeads / 32), room);               // softmax_attention
  EXPECT_LT(Wide{128} * (static_cast<Wide>(kLength) / 32 * kHeads), room);                      // hstu_attention
  EXPECT_LT(Wide{128} * kCandidates * din::din_pieces().most, room);                                   // din_attention
}

TEST(WideIndex, schedules_of_the_largest_batches) {
  // 2^31 rows in sequences of the greatest length, all heads: costs add up in 64 bits, and times two times the number of blocks.
  const int32_t tiles = kLength / 128;
  const attention::TileCosts costs{tiles, 1, 0, tiles, tiles};
  Wide expected = 0;
  for (int32_t t = 0; t < tiles; ++t) expected += costs.of(t, 0);
  EXPECT_TRUE(equal(costs.total(), expected));
  EXPECT_LT(expected * kHeads * (kFar / kLength) * 2 * 256, Wide{1} << 64);
  const attention::TileCosts long_rows{kSoftmaxLength / 128 * kHeads, 1, kSoftmaxLength / 128, kSoftmaxLength / 128, kSoftmaxLength / 128};
  EXPECT_TRUE(equal(long_rows.total(), static_cast<Wide>(long_rows.tiles) * (1 + long_rows.most)));
}

TEST(WideIndex, grids_of_any_run_fit) {
  for (const int64_t rows : {kFar, 5 * kFar, INT64_MAX / 2}) {
    const int64_t tiles = attention::max_tiles(rows, kHeads, core::kMaxBatch, 128);
    EXPECT_GT(tiles, 0);
    const prim::Grid grid = attention::grid_for(tiles * kHeads, int64_t{1} << 30);
    EXPECT_EQ(grid.x, uint32_t{1} << 30);
  }
  EXPECT_EQ(attention::bounded_product(INT64_MAX, INT64_MAX), attention::kMany);
}

// Token numbers of tensor copies have 31 bits: a tensor with more rows is not describable, so that the portable kernels run.
TEST(WideIndex, tensor_copies_are_refused_past_31_bits) {
  prim::TensorGeometry g{somewhere<char>(), {64, static_cast<uint64_t>(kFar), 1, 1}, {128, 128, 128}, {64, 64, 1, 1}};
  EXPECT_TRUE(prim::is_describable(g));
  EXPECT_EQ(static_cast<int32_t>(kFar - 1), INT32_MAX);  // its last row
  ++g.sizes[1];
  EXPECT_FALSE(prim::is_describable(g));
}

TEST(WideIndex, embedding_rows_bags_and_columns) {
  const std::vector<int64_t> offsets = {0, 3 * kFar, 3 * kFar + 7};
  embedding::Jagged in{};
  in.offsets = offsets.data();
  in.offset_bytes = 8;
  in.batch = in.bags = 2;
  in.total = offsets[2];
  embedding::Faults faults;
  int64_t begin = 0, length = 0;
  EXPECT_TRUE(embedding::read_bag(in, 0, 0, false, faults, begin, length));
  EXPECT_EQ(length, 3 * kFar);
  EXPECT_TRUE(embedding::read_bag(in, 1, 0, false, faults, begin, length));
  EXPECT_EQ(begin, 3 * kFar);
  embedding::TableMeta table{};
  table.limit = 5 * kFar;
  EXPECT_TRUE(embedding::check_id(in, table, 5 * kFar - 1, 0, false, faults));
  EXPECT_FALSE(embedding::check_id(in, table, 5 * kFar, 0, false, faults));
  for (const int32_t dtype : {JD_F32, JD_F16}) {
    const void *at = embedding::element_address(somewhere<char>(), dtype, 7 * kFar);
    EXPECT_TRUE(equal(elements_from(static_cast<const char *>(at)), Wide{7} * kFar * (dtype == JD_F32 ? 4 : 2)));
  }

  // The greatest bucket of the greatest time difference.
  SequencePlaces places{};
  places.positions = INT64_MAX;
  places.time_unit = 1;
  places.max_bucket = INT32_MAX;
  EXPECT_EQ(places.bucket(INT64_MAX, INT64_MIN), INT32_MAX);
  const int64_t bucket = INT32_MAX - 1;
  EXPECT_EQ(places.bucket(bucket * bucket + 2 * bucket, 0), bucket);
  EXPECT_EQ(places.position(kFar + 3, kFar + 9, 2), kFar + 3);
}

TEST(WideIndex, hash_tables_of_2_40_keys) {
  const int64_t slots = hashing::Geometry::slots_for(int64_t{1} << 40);
  const hashing::Geometry geometry(slots);
  EXPECT_TRUE(equal(static_cast<Wide>(geometry.partitions) * geometry.buckets_each * 8, slots));
  for (int64_t key = 0; key < 1000; ++key) {
    const hashing::Places places = geometry.places(static_cast<int64_t>(static_cast<uint64_t>(key) * 0x9e3779b97f4a7c15u));
    for (const int64_t b : places.bucket) {
      EXPECT_GE(b, 0);
      EXPECT_LT(b * 8 + 7, slots);
      EXPECT_EQ(b / geometry.buckets_each, places.partition);
    }
  }
}

}  // namespace
}  // namespace jindou::testing
