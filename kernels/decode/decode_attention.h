// decode_attention: a few queries against a long paged cache.
//
//   out_i = sum_j softmax_j(scale * q_i . k_j) v_j      j up to i's own position: the last nq rows of the cache are the queries'
//
// Shapes: queries [sum nq, H, dqk], pages [num_pages, page_size, Hkv, d], out [sum nq, H, dv]; dqk and dv up to kD.
//
// A block owns 16 packed rows (decode_attention_problem.h) of one sequence and key/value head against one piece of its keys, or all
// in turn. Its warps share the keys, not the rows: warp w takes tiles w, w + kWarps, ... of the piece through a ring of asynchronous
// copies of its own, with no barrier of the block, and they merge once, in the order of the warps. 16 rows are the least an mma has:
// with fewer, products are wasted, bytes are not.
//
// kCodes: fp8 or int8 pages. Codes travel as bytes and are widened (exactly) tile by tile; their scales, one a key, meet the scores
// and the weights.
//
// Bytes: the cache once, (dqk + dv) * Hkv * element a key; FLOPs 4 * 16 * kD * Hkv * ceil(nq * group / 16) a key: 16 to 64 FLOPs a
// byte in 16 bit, against some 250 that the tensor cores of sm_90 could do: bound by memory. In flight, a warp: kSlots - 2 tiles of 4
// to 8 KiB; a multiprocessor 50 KiB and more.
#ifndef JINDOU_KERNELS_DECODE_DECODE_ATTENTION_H
#define JINDOU_KERNELS_DECODE_DECODE_ATTENTION_H

#include "attention/work_list.h"
#include "decode/decode_attention_problem.h"
#include "decode/decode_core.h"

namespace jindou::decode {

template <class T>
struct DecodeParams {
  DecodeProblem problem;
  attention::Rows<const T> queries;
  paged::Pages keys, values;
  paged::PageScales key_scales, value_scales;
  float scale;  // * log2(e)
  int32_t cache_is_i8;
};

template <class Core, bool kWithCodes>
struct DecodeKernel {
  using Element = typename Core::Element;
  using Params = DecodeParams<Element>;
  using Tile = typename Core::Tile;
  static constexpr bool kCodes = kWithCodes;
  static constexpr int kD = Core::kD, kKeys = Core::kKeys, kWarps = Core::kWarps, kSlots = Core::kSlots;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kMinBlocks = Core::kMinBlocks;

  static constexpr int kTileBytes = kKeys * Tile::kRowBytes;
  static constexpr int kSlotBytes = kCodes ? kKeys * kD : kTileBytes;  // as it comes from memory
  static constexpr int kRingBytes = kSlots * kSlotBytes;
  static constexpr int kResultBytes = kTileRows * kD * 4;

  // One warp's.
  struct WarpShared {
    alignas(128) char ring[kRingBytes > kResultBytes ? kRingBytes : kResultBytes];  // in the end, its outputs
    alignas(128) char widened[kCodes ? kTileBytes : 16];
    alignas(16) char weights[Core::kWeightBytes + 16];
    alignas(16) float scales[kCodes ? kSlots * kKeys : 4];
    State states[kTileRows];
  };
  struct Shared {
    alignas(128) char queries[kTileRows * Tile::kRowBytes];
    WarpShared warps[kWarps];
    attention::WorkListShared<kThreads> list;
    alignas(8) char item[sizeof(DecodeItem)];
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    attention::for_each_item(
        p.problem.batch, shared.list, [&](int64_t b) { return count_items(p.problem, b); },
        [&](int64_t b, uint32_t index) {
          DecodeItem &item = *reinterpret_cast<DecodeItem *>(shared.item);
          if (prim::thread_idx().x == 0) item = read_item(p.problem, b, index);
          prim::sync_threads();
          if (index == 0) check_pages(p.problem, b, item);
          copy_queries(p, shared, item);
          for (int32_t piece = item.first_piece; piece < item.last_piece; ++piece) {
            attend(p, shared, item, piece);
            prim::sync_threads();
            finish_piece(p, shared, item, piece);
            prim::sync_threads();
          }
        });
  }

 private:
  // Reports every refused page of a sequence, once.
  JD_DEVICE static void check_pages(const DecodeProblem &p, int64_t b, const DecodeItem &item) {
    const int32_t pages = item.sequence.keys == 0 ? 0 : p.table.index(item.sequence.keys - 1) + 1;
    for (int32_t i = static_cast<int32_t>(prim::thread_idx().x); i < pages; i += kThreads) {
      const int32_t page = item.pages[i];
      if (!p.table.valid(page)) report_fault(p.sink, Fault{JDB_FAULT_PAGE, -1, b * p.table.max_pages + i, page, p.table.num_pages});
    }
  }

  // Rows past the last and columns past dqk are zeros.
  JD_DEVICE static void copy_queries(const Params &p, Shared &shared, const DecodeItem &item) {
    for (int i = static_cast<int>(prim::thread_idx().x); i < kTileRows * Tile::kChunks; i += kThreads) {
      const int local = i / Tile::kChunks, element = i % Tile::kChunks * Tile::kElements;
      const DecodeRow row = read_row(p.problem, item, local);
      const bool present = row.valid && element < p.problem.dim_qk;
      prim::Vec4u chunk{0, 0, 0, 0};
      if (present) chunk = prim::load16(p.queries.at(row.token, row.head) + element);
      prim::store_shared16(shared.queries + Tile::offset(local, i % Tile::kChunks), chunk);
    }
    prim::sync_threads();
  }

  // One warp's keys of a piece: its state and outputs end in its shared memory.
  JD_DEVICE static void attend(const Params &p, Shared &shared, const DecodeItem &item, int32_t piece) {
    const int thread = prim::opaque_thread_index(), lane = thread & 31, warp = thread >> 5;
    WarpShared &mine = shared.warps[warp];
    const int32_t length = decode_pieces().length(item.sequence.keys), begin = piece * length;
    const int32_t end = item.sequence.keys - begin < length ? item.sequence.keys : begin + length;
    const int32_t all_tiles = (end - begin + kKeys - 1) / kKeys;
    const int32_t tiles = all_tiles > warp ? (all_tiles - warp + kWarps - 1) / kWarps : 0;
    const auto first_key = [&](int32_t tile) { return begin + (tile * kWarps + warp) * kKeys; };

    // The i-th copy: keys of tile i / 2 when i is even, else its values.
    const auto copy = [&](int32_t i) {
      const int32_t slot = i % kSlots;
      copy_tile(p, item, i % 2 == 0, first_key(i / 2), end, mine.ring + slot * kSlotBytes,
                mine.scales + (kCodes ? slot * kKeys : 0), lane);
    };
    const int32_t copies = 2 * tiles;
    int32_t started = 0;
    const auto start_next = [&] {
      if (started < copies) copy(started);
      prim::cp_async_commit();
      ++started;
    };
#pragma unroll
    for (int i = 0; i < kSlots - 1; ++i) start_next();

    typename Core::Outputs out;
    Core::start(out);
    float top[Core::Scores::kRows], sum[Core::Scores::kRows];
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      top[r] = -INFINITY;
      sum[r] = 0.0f;
    }

    // Waits for the next tile; gives its slot, widened where it holds codes.
    int32_t at = 0;
    const float *scales = nullptr;
    const auto next = [&]() -> const char * {
      prim::cp_async_wait<kSlots - 2>();
      prim::sync_warp();
      start_next();
      const int32_t slot = at % kSlots;
      ++at;
      if constexpr (kCodes) {
        scales = mine.scales + slot * kKeys;
        widen(mine.ring + slot * kSlotBytes, mine.widened, p.cache_is_i8 != 0, lane);
        prim::sync_warp();
        return mine.widened;
      } else {
        return mine.ring + slot * kSlotBytes;
      }
    };

    for (int32_t tile = 0; tile < tiles; ++tile) {
      typename Core::Scores scores;
      Core::multiply_keys(scores, shared.queries, next(), lane);
      const int32_t key = first_key(tile);
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        const float scale = kCodes ? scales[Core::key(lane, i)] * p.scale : p.scale;
#pragma unroll
        for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i) *= scale;
      }
      if (key + kKeys > item.sequence.keys - item.sequence.queries.length + 1 || key + kKeys > end) hide(p, item, scores, key, end, lane);
      weigh(scores, out, top, sum, mine.weights, lane);
      const char *values = next();
      if constexpr (kCodes) {
#pragma unroll
        for (int i = 0; i < Core::Scores::kCount; ++i) {
          const float scale = scales[Core::key(lane, i)];
#pragma unroll
          for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i) *= scale;
        }
      }
      Core::multiply_values(out, scores, values, mine.weights, lane);
    }
    prim::cp_async_wait<0>();
    prim::sync_warp();  // the ring is free
    Core::store(out, reinterpret_cast<float *>(mine.ring), lane);
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      const float whole = Core::add(sum[r]);
      if (Core::leads(lane)) mine.states[Core::row(lane, r)] = State{top[r], whole};
    }
  }

  // 16 rows lie in one page, whatever its size; tiles begin at multiples of their own.
  JD_DEVICE static void copy_tile(const Params &p, const DecodeItem &item, bool is_keys, int32_t key, int32_t end, char *slot,
                                  float *scales, int lane) {
    const paged::Pages &pages = is_keys ? p.keys : p.values;
    const int32_t dim = is_keys ? p.problem.dim_qk : p.problem.dim_v;
    constexpr int kBytes = kCodes ? 1 : static_cast<int>(sizeof(Element));
    constexpr int kChunks = kD * kBytes / 16;  // of a row
    constexpr int kPart = kKeys < 16 ? kKeys : 16;
#pragma unroll
    for (int part = 0; part < kKeys; part += kPart) {
      const bool some = key + part < end;
      const int32_t page = some ? item.pages[p.problem.table.index(key + part)] : -1;
      const bool valid = p.problem.table.valid(page);
      const int32_t within = p.problem.table.within(key + part);
      const char *base = static_cast<const char *>(pages.data) + pages.at(valid ? page : 0, within, item.kv_head) * kBytes;
#pragma unroll
      for (int i = 0; i < kPart * kChunks / 32; ++i) {
        const int at = i * 32 + lane, row = at / kChunks, chunk = at % kChunks;
        const bool present = valid && key + part + row < end && chunk * 16 < dim * kBytes;
        const char *from = present ? base + row * pages.row_stride * kBytes + chunk * 16 : base;
        char *to = slot + (kCodes ? (part + row) * kD + chunk * 16 : Tile::offset(part + row, chunk));
        prim::cp_async_16(to, from, present);
      }
      if constexpr (kCodes) {
        const paged::PageScales &s = is_keys ? p.key_scales : p.value_scales;
        if (lane < kPart) {
          const bool present = valid && key + part + lane < end;
          prim::cp_async_4(scales + part + lane, present ? s.at(page, within + lane, item.kv_head) : s.data, present);
        }
      }
    }
  }

  // A tile of codes becomes a tile of Elements.
  JD_DEVICE static void widen(const char *codes, char *tile, bool is_i8, int lane) {
    constexpr int kChunks = kD / 16;
#pragma unroll
    for (int i = 0; i < kKeys * kChunks / 32; ++i) {
      const int at = i * 32 + lane, row = at / kChunks, chunk = at % kChunks;
      const prim::Vec4u c = prim::load_shared16(codes + row * kD + chunk * 16);
      if constexpr (sizeof(Element) == 4) {
        const uint32_t words[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
        for (int w = 0; w < 4; ++w)
          prim::store_shared16(tile + Tile::offset(row, chunk * 4 + w), paged::widen_codes<Element>(prim::Vec2u{words[w], 0}, is_i8));
      } else {
        prim::store_shared16(tile + Tile::offset(row, chunk * 2), paged::widen_codes<Element>(prim::Vec2u{c.x, c.y}, is_i8));
        prim::store_shared16(tile + Tile::offset(row, chunk * 2 + 1), paged::widen_codes<Element>(prim::Vec2u{c.z, c.w}, is_i8));
      }
    }
  }

  // Keys past the end of the piece, and past each row's own position.
  JD_DEVICE static void hide(const Params &p, const DecodeItem &item, typename Core::Scores &scores, int32_t key, int32_t end,
                             int lane) {
    const int32_t before = item.sequence.keys - item.sequence.queries.length;
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      const int32_t own = before + read_row(p.problem, item, Core::row(lane, r)).query;
      const int32_t last = own < end - 1 ? own : end - 1;
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        if (key + Core::key(lane, i) > last) scores.at(r, i) = -INFINITY;
      }
    }
  }

  // Scores, in units of log 2, become weights; the running maximum and sum of each row go on.
  JD_DEVICE static void weigh(typename Core::Scores &scores, typename Core::Outputs &out, float (&top)[Core::Scores::kRows],
                              float (&sum)[Core::Scores::kRows], char *scratch, int lane) {
    float factor[Core::Scores::kRows];
    bool risen = false;
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      float highest = scores.at(r, 0);
#pragma unroll
      for (int i = 1; i < Core::Scores::kCount; ++i) highest = prim::max(highest, scores.at(r, i));
      highest = prim::max(top[r], Core::highest(highest));
      const float base = highest == -INFINITY ? 0.0f : highest;  // no key seen yet: all weights are 0
      factor[r] = prim::exp2_approx(top[r] - base);
      float tile_sum = 0.0f;
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        scores.at(r, i) = prim::exp2_approx(scores.at(r, i) - base);
        tile_sum += scores.at(r, i);
      }
      risen |= highest != top[r];
      top[r] = highest;
      sum[r] = prim::fma(sum[r], factor[r], tile_sum);
    }
    if (prim::any(risen)) Core::scale_rows(out, factor, scratch, lane);
  }

  // The warps' results become the piece's, in order; pieces before it join, in order; then it rests or is finished.
  JD_DEVICE static void finish_piece(const Params &p, Shared &shared, const DecodeItem &item, int32_t piece) {
    const DecodeProblem &problem = p.problem;
    constexpr int kGroups = kD / 8;
    for (int unit = static_cast<int>(prim::thread_idx().x); unit < kTileRows * kGroups; unit += kThreads) {
      const int local = unit / kGroups, column = unit % kGroups * 8;
      const DecodeRow row = read_row(problem, item, local);
      if (!row.valid || column >= problem.dim_v) continue;
      State state = shared.warps[0].states[local];
      float x[8];
      load(shared.warps[0], local, column, x);
#pragma unroll
      for (int w = 1; w < kWarps; ++w) {
        float y[8];
        load(shared.warps[w], local, column, y);
        merge_into(state, x, shared.warps[w].states[local], y);
      }
      const int64_t block_row = int64_t{prim::block_idx().x} * kTileRows + local;
      const bool parks = !problem.split && item.pieces > 1;
      const int64_t at = parks ? block_row : partial_row(problem, row.token, row.head, piece);
      // Without `split` a thread finds here what it left itself: the state once a group of columns.
      float *outputs = problem.partial_outputs + at * (parks ? kD : problem.dim_v) + column;
      State *states = parks ? problem.partial_states + block_row * kGroups + column / 8 : problem.partial_states + at;
      if (parks && piece > 0) {
        State older = *states;
        float y[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) y[i] = outputs[i];
        merge_into(older, y, state, x);
        state = older;
#pragma unroll
        for (int i = 0; i < 8; ++i) x[i] = y[i];
      }
      if (item.pieces == 1 || (parks && piece + 1 == item.pieces)) {
        finish(problem, row.token, row.head, column, state, x);
      } else {
        if (parks || column == 0) *states = state;
        store16_of(outputs, x);
      }
    }
  }

  JD_DEVICE static void load(const WarpShared &from, int local, int column, float (&x)[8]) {
    const char *at = from.ring + (local * kD + column) * 4;
    const prim::Vec4u a = prim::load_shared16(at), b = prim::load_shared16(at + 16);
    const uint32_t words[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = prim::as_float(words[i]);
  }
  JD_DEVICE static void merge_into(State &state, float (&x)[8], const State &newer, const float (&y)[8]) {
    const Factors f = merge(state, newer);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = prim::fma(x[i], f.older, y[i] * f.newer);
  }
  JD_DEVICE static void store16_of(float *to, const float (&x)[8]) { paged::store_elements(to, 0, JD_F32, x); }
};

// Over split sequences: out = the merged pieces of a row, in order. A thread owns eight columns of a row; sequences of one piece
// have their result already.
struct DecodeMergeKernel {
  using Params = DecodeProblem;
  using Shared = attention::WorkListShared<128>;
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    const int32_t groups = p.dim_v / 8, heads = p.kv_heads * p.group;
    const auto units = [&](const DecodeSequence &s) { return int64_t{s.queries.length} * heads * groups; };
    attention::for_each_item(
        p.batch, *reinterpret_cast<Shared *>(shared_memory),
        [&](int64_t b) -> uint32_t {
          const DecodeSequence s = read_sequence(p, b);
          return decode_pieces().number(s.keys) == 1 ? 0 : static_cast<uint32_t>((units(s) + kThreads - 1) / kThreads);
        },
        [&](int64_t b, uint32_t item) {
          const DecodeSequence s = read_sequence(p, b);
          const int64_t unit = int64_t{item} * kThreads + prim::thread_idx().x;
          if (unit >= units(s)) return;
          const int64_t token = s.queries.begin + unit / groups / heads;
          const int32_t head = static_cast<int32_t>(unit / groups % heads), column = static_cast<int32_t>(unit % groups) * 8;
          const int64_t at = partial_row(p, token, head, 0);
          State state = p.partial_states[at];
          float x[8];
#pragma unroll
          for (int i = 0; i < 8; ++i) x[i] = p.partial_outputs[at * p.dim_v + column + i];
          const int32_t pieces = decode_pieces().number(s.keys);
          for (int32_t piece = 1; piece < pieces; ++piece) {
            const float *y = p.partial_outputs + (at + piece) * p.dim_v + column;
            const Factors f = merge(state, p.partial_states[at + piece]);
#pragma unroll
            for (int i = 0; i < 8; ++i) x[i] = prim::fma(x[i], f.older, y[i] * f.newer);
          }
          finish(p, token, head, column, state, x);
        });
  }
};

}  // namespace jindou::decode

#endif
