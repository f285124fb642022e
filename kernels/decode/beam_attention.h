// beam_attention: the beams of a request against the prefix they share, and each against its own suffix.
//
//   out_w = sum_j softmax_j(scale * q_w . k_j) v_j      j over the request's prefix and, through the ancestry, w's suffix
//
// Shapes: queries [sum W, H, dqk]; the prefix in rows [total, Hkv, d] or pages [num_pages, page_size, Hkv, d]; the suffix
// [B, L, S, Hkv, d]; out [sum W, H, dv]; dqk and dv up to Core::kD columns.
//
// The beams meet the prefix as target_attention's candidates meet a history, with its cores, tiles and pieces: a block owns Core::kRows
// packed rows (beam_attention_problem.h) of one request and key/value head, against one piece of the prefix or all of it, whose tiles
// pass through a ring of asynchronous copies. decode_attention's tiles of 16 rows would read the prefix from L2 ceil(W * group / 16)
// times, 16 FLOPs a byte: at 512 rows, head dim 128, 32 times, five times as long as the products take. Tiles of 128 (64) rows do 128
// (64) FLOPs a byte of L2, and with a few rows only are still bound by memory: 128 rows x 32 keys x 128 columns are some 820 clocks of
// an sm_90's tensor cores, reading the tile's 16 KiB takes 1,100 of its share of HBM. So there is no kernel for few beams.
//
// The suffix is the first keys of the online softmax of piece 0: a level is one dot product and one row of values a row of the tile,
// each at an address of its own, while the prefix is on its way. By count of its dependent loads a level costs about as much as
// 100 keys.
//
// longer_attention runs these kernels too. Its events see of the prefix what came before them: a tile of rows stops behind the last key
// that one of them sees, and hides scores in tiles that not all see. The shared globals are tiles of their own before the first of piece 0.
//
// kCodes: fp8 or int8 pages. Codes travel as bytes, are widened (exactly) into a tile of elements when their turn comes, and their
// scales, one a key, meet the scores and the weights.
//
// FLOPs 2 * (dqk + dv) * H * sum(W * n). Bytes: the prefix once from HBM, the suffix rows once. Bound: tensor cores (FMA units) from
// about 100 rows (beams x heads of a group) on, else HBM.
#ifndef JINDOU_KERNELS_DECODE_BEAM_ATTENTION_H
#define JINDOU_KERNELS_DECODE_BEAM_ATTENTION_H

#include "attention/key_value_loop.h"
#include "attention/target_attention_merge.h"
#include "attention/target_attention_rows.h"
#include "attention/tile_copy.h"
#include "attention/work_list.h"
#include "decode/beam_attention_problem.h"

namespace jindou::decode {

// Rows of codes in shared memory, as they come.
template <int kD>
struct CodeTile {
  using Element = uint8_t;
  static constexpr int kChunks = kD / 16;
  static constexpr int kRowBytes = kD;
  JD_DEVICE static int offset(int row, int chunk) { return row * kD + chunk * 16; }
};

template <class Core, bool kWithCodes>
struct BeamKernel {
  using Element = typename Core::Element;
  using Params = BeamParams<Element>;

  static constexpr int kThreads = Core::kThreads;
  static constexpr int kMinBlocks = Core::kMinBlocks;
  static constexpr int32_t kColumns = Core::kD;
  static constexpr int32_t kTileRows = Core::kRows;
  static constexpr bool kCodes = kWithCodes;

  static constexpr int kKeys = Core::kKeys, kSlots = Core::kSlots;
  static constexpr int kSlotBytes = kCodes ? kKeys * Core::kD : Core::kSlotBytes;

  struct Shared {
    alignas(1024) char queries[Core::kQueryBytes];
    alignas(1024) char ring[kSlots * kSlotBytes];
    alignas(1024) char widened[kCodes ? Core::kSlotBytes : 16];
    alignas(16) char weights[Core::kWeightBytes + 16];
    alignas(16) float scales[kCodes ? kSlots * kKeys : 4];  // of the keys or values in each slot of the ring
    attention::WorkListShared<kThreads> list;
    alignas(8) char item[sizeof(BeamItem)];  // a BeamItem: here rather than in every thread's registers
    attention::ParkedRows parked;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  // Scratch of one block that takes all pieces of its tiles, in floats and states: every thread keeps the states of its rows.
  static constexpr int64_t kBlockOutputs = int64_t{Core::kRows} * Core::kD;
  static constexpr int64_t kBlockStates = int64_t{kThreads} * Core::Accumulators::kRows;

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    attention::for_each_item(
        p.problem.batch, shared.list, [&](int64_t b) { return count_items<Core::kRows>(p.problem, b); },
        [&](int64_t b, uint32_t index) {
          BeamItem &item = *reinterpret_cast<BeamItem *>(shared.item);
          if (prim::thread_idx().x == 0) {
            item = read_item<Core::kRows>(p.problem, b, index);
            shared.parked.outputs = p.problem.partial_outputs + prim::block_idx().x * kBlockOutputs;
            shared.parked.states = p.problem.partial_states + prim::block_idx().x * kBlockStates;
          }
          prim::sync_threads();
          if (index == 0) check(p.problem, item);
          run_item(p, shared, item);
        });
  }

 private:
  using Place = typename Core::Place;
  using TileCopy = typename Core::TileCopy;
  using CodeCopy = attention::TileCopy<CodeTile<Core::kD>, kThreads>;

  struct Accumulators : Core::Accumulators {
    float top[Core::Accumulators::kRows];
    float sum[Core::Accumulators::kRows];
  };

  // Reports every refused page and ancestor of a request, once: the block of its first item, all threads.
  JD_DEVICE static void check(const BeamProblem &p, const BeamItem &item) {
    const int thread = static_cast<int>(prim::thread_idx().x);
    const int32_t keys = item.request.prefix.length;
    const int32_t pages = item.pages == nullptr || keys == 0 ? 0 : p.table.index(keys - 1) + 1;
    for (int32_t i = thread; i < pages; i += kThreads) {
      const int32_t page = item.pages[i];
      if (p.table.valid(page)) continue;
      report_fault(p.sink, Fault{JDB_FAULT_PAGE, -1, item.number * p.table.max_pages + i, page, p.table.num_pages});
    }
    for (int32_t level = 0; level < item.request.levels && p.ancestry.data != nullptr; ++level) {
      for (int32_t beam = thread; beam < item.request.beams.length; beam += kThreads) {
        const int32_t slot = p.ancestry.slot(item.number, level, beam);
        if (p.ancestry.valid(slot)) continue;
        const int64_t at = (item.number * p.ancestry.levels + level) * p.ancestry.slots + beam;
        report_fault(p.sink, Fault{JDB_FAULT_ANCESTRY, -1, at, slot, p.ancestry.slots});
      }
    }
  }

  JD_DEVICE static void run_item(const Params &p, Shared &shared, const BeamItem &work) {
    copy_queries(p, shared, work);

    float scale = 1.0f;
    for (int32_t piece = work.first_piece; piece < work.last_piece; ++piece) {
      // Phase 1: copies start.
      const int32_t length = attention::target_pieces().length(work.request.prefix.length);
      const int32_t first = piece * length;
      const int32_t last = work.most_seen - first < length ? work.most_seen - first : length, keys = last > 0 ? last : 0;
      // Read again from shared memory wherever it is asked for: the loop needs the registers.
      const auto shared_keys = [&] { return piece == 0 ? work.request.shared : 0; };
      const auto shared_tiles = [&] { return (shared_keys() + kKeys - 1) / kKeys; };
      const auto copy = [&](int i, char *slot) {
        const int tile = i / 2 - shared_tiles();
        if (tile < 0) {
          copy_globals(p, work, i % 2 == 0, i / 2 * kKeys, slot);
        } else {
          copy_tile(p, shared, work, i % 2 == 0, first + tile * kKeys, first + keys, slot);
        }
      };
      const int tiles = shared_tiles() + (keys + kKeys - 1) / kKeys;
      attention::KeyValueLoop<kSlots, kSlotBytes> loop(shared.ring, tiles, copy);

      // Phase 2: queries arrive; the suffix is the first keys.
      if (piece == work.first_piece) {
        loop.wait_for_earlier_copies();
        scale = Core::prepare_softmax(shared.queries, p.scale);
        prim::sync_threads();
      }
      Accumulators acc;
      attention::start_empty(false, acc);
      if (piece == 0) {
        for (int32_t level = 0; level < work.levels; ++level) attend_level(p, shared, work, level, scale, acc);
      }
      const typename Core::Queries queries = Core::queries(shared.queries);

      // Phase 3: the shared globals and the prefix.
      typename Core::Scores scores;
      loop.run(
          tiles, copy,
          [&](int tile, const char *slot) {
            const bool is_global = tile < shared_tiles();
            Core::multiply_keys(scores, queries, elements(p, shared, work, true, is_global ? tile : -1, slot), p.problem.shape);
            if constexpr (kCodes) {
              if (!is_global) scale_columns(scores, shared, slot);
            }
            const int32_t begin = is_global ? tile * kKeys : (tile - shared_tiles()) * kKeys;
            const int32_t left = (is_global ? shared_keys() : keys) - begin;
            if (left < kKeys) attention::hide_keys_from<Core>(scores, left);
            if (!is_global && first + begin + (left < kKeys ? left : kKeys) > work.least_seen) hide_unseen(p, work, first + begin, scores);
            attention::weigh_tile<Place>(scores, scale, acc);
          },
          [&](int tile, const char *slot) {
            const bool is_global = tile < shared_tiles();
            const char *values = elements(p, shared, work, false, is_global ? tile : -1, slot);
            if constexpr (kCodes) {
              if (!is_global) scale_columns(scores, shared, slot);
            }
            Core::multiply_values(acc, scores, values, shared.weights, p.problem.shape);
          });

      // Phase 4: this piece's result.
      const Place place;
      attention::finish_states(place, scale, acc);
      if (piece > work.first_piece) attention::merge_parked<kThreads>(shared.parked, place, acc);
      if (piece + 1 < work.last_piece) {
        attention::park<kThreads>(shared.parked, place, acc);
      } else if (work.pieces > 1 && p.problem.split) {
        store_partial(p.problem, work, piece, acc);
      } else {
        store_out(p.problem, work, acc);
      }
    }
  }

  // Rows past the request's last become zeros.
  JD_DEVICE static void copy_queries(const Params &p, Shared &shared, const BeamItem &work) {
    TileCopy(prim::opaque_thread_index()).template for_each_chunk<Core::kRows>([&](int local, int element, int offset) {
      const BeamRow row = read_row(p.problem, work, local);
      prim::cp_async_16(shared.queries + offset, p.queries.at(row.token, row.head) + element,
                        row.valid && element < p.problem.shape.dim_qk);
    });
    prim::cp_async_commit();
  }

  // Keys or values `first`.. of the prefix, those from `end` on and those of refused pages as zeros.
  JD_DEVICE static void copy_tile(const Params &p, Shared &shared, const BeamItem &work, bool is_keys, int32_t first, int32_t end,
                                  char *slot) {
    const int thread = prim::opaque_thread_index();
    const int32_t dim = is_keys ? p.problem.shape.dim_qk : p.problem.shape.dim_v;
    if (!kCodes && work.pages == nullptr) {
      const TileCopy mine(thread);
      const attention::Rows<const Element> &rows = is_keys ? p.keys : p.values;
      const int64_t stride = rows.token_stride;
      mine.template copy<kKeys>(slot, mine.first(rows.at(work.request.prefix.begin + first, work.kv_head), stride), stride,
                                end - first, dim);
      return;
    }
    const paged::PageTable &table = p.problem.table;
    const paged::Pages &pages = is_keys ? p.key_pages : p.value_pages;
    // f(page, row of the page) where the row exists, else `missing`.
    const auto find = [&](int row, auto missing, const auto &f) {
      if (first + row >= end) return missing;
      const int32_t page = work.pages[table.index(first + row)];
      return table.valid(page) ? f(page, table.within(first + row)) : missing;
    };
    const auto row_of = [&](int row) {
      using Stored = std::conditional_t<kCodes, uint8_t, Element>;
      return find(row, static_cast<const Stored *>(nullptr), [&](int32_t page, int32_t within) {
        return static_cast<const Stored *>(pages.data) + pages.at(page, within, work.kv_head);
      });
    };
    if constexpr (kCodes) {
      CodeCopy(thread).template copy_scattered<kKeys>(slot, row_of, dim);
      if (thread >= kKeys) return;
      const paged::PageScales &scales = is_keys ? p.key_scales : p.value_scales;
      const float *scale = find(thread, static_cast<const float *>(nullptr), [&](int32_t page, int32_t within) {
        return static_cast<const float *>(scales.at(page, within, work.kv_head));
      });
      prim::cp_async_4(scales_of(shared, slot) + thread, scale, scale != nullptr);
    } else {
      TileCopy(thread).template copy_scattered<kKeys>(slot, row_of, dim);
    }
  }

  // Keys or values `first`.. of the shared globals; with codes `elements` reads them when their turn comes.
  JD_DEVICE static void copy_globals(const Params &p, const BeamItem &work, bool is_keys, int32_t first, char *slot) {
    if constexpr (!kCodes) {
      const attention::Rows<const Element> &rows = is_keys ? p.global_keys : p.global_values;
      const TileCopy mine(prim::opaque_thread_index());
      const Element *at = rows.at(work.request.first_global + first, work.kv_head);
      mine.template copy<kKeys>(slot, mine.first(at, rows.token_stride), rows.token_stride, work.request.shared - first,
                                is_keys ? p.problem.shape.dim_qk : p.problem.shape.dim_v);
    }
  }

  // Rows that are events see the keys up to their own.
  JD_DEVICE static void hide_unseen(const Params &p, const BeamItem &work, int32_t first, typename Core::Scores &scores) {
    const Place place;
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      const int32_t seen = work.request.rows.seen(read_row(p.problem, work, place.row(r)).beam) - first;
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        if (place.key(i) >= seen) scores.at(r, i) = -INFINITY;
      }
    }
  }

  JD_DEVICE static float *scales_of(Shared &shared, const char *slot) {
    return shared.scales + static_cast<int>(slot - shared.ring) / kSlotBytes * kKeys;
  }

  // The tile of a slot as the products want it: all threads widen what the codes stand for, or read a tile of shared globals (`global`, or
  // -1), which are no codes.
  JD_DEVICE static const char *elements(const Params &p, Shared &shared, const BeamItem &work, bool is_keys, int global,
                                        const char *slot) {
    if constexpr (!kCodes) {
      return slot;
    } else {
      if (global >= 0) {
        load_globals(p, shared, work, is_keys, global * kKeys);
        prim::sync_threads();
        return shared.widened;
      }
      const bool is_i8 = p.cache_is_i8 != 0;
      CodeCopy(prim::opaque_thread_index()).template for_each_chunk<kKeys>([&](int row, int element, int offset) {
        const prim::Vec4u codes = prim::load_shared16(slot + offset);
        if constexpr (sizeof(Element) == 4) {
          const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
          for (int w = 0; w < 4; ++w) {
            prim::store_shared16(shared.widened + Core::Tile::offset(row, element / 4 + w),
                                 paged::widen_codes<float>(prim::Vec2u{words[w], 0}, is_i8));
          }
        } else {
          const prim::Vec2u halves[2] = {{codes.x, codes.y}, {codes.z, codes.w}};
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            prim::store_shared16(shared.widened + Core::Tile::offset(row, element / 8 + h),
                                 p.problem.shape.dtype == JD_F16 ? paged::widen_codes<prim::f16>(halves[h], is_i8)
                                                                 : paged::widen_codes<prim::bf16>(halves[h], is_i8));
          }
        }
      });
      prim::sync_threads();  // the loop's barrier comes before the next tile is widened
      return shared.widened;
    }
  }

  JD_DEVICE static void load_globals(const Params &p, Shared &shared, const BeamItem &work, bool is_keys, int32_t first) {
    const attention::Rows<const Element> &rows = is_keys ? p.global_keys : p.global_values;
    const int32_t dim = is_keys ? p.problem.shape.dim_qk : p.problem.shape.dim_v, left = work.request.shared - first;
    TileCopy(prim::opaque_thread_index()).template for_each_chunk<kKeys>([&](int row, int element, int offset) {
      prim::Vec4u chunk{0, 0, 0, 0};
      if (row < left && element < dim) {
        chunk = prim::load16(rows.at(work.request.first_global + first + row, work.kv_head) + element);
      }
      prim::store_shared16(shared.widened + offset, chunk);
    });
  }

  // Every score, or weight, of a key times that key's scale.
  JD_DEVICE static void scale_columns(typename Core::Scores &scores, Shared &shared, const char *slot) {
    const Place place;
    const float *scales = scales_of(shared, slot);
#pragma unroll
    for (int i = 0; i < Core::Scores::kCount; ++i) {
      const float scale = scales[place.key(i)];
#pragma unroll
      for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i) *= scale;
    }
  }

  // One more key for every row, that of the beam's ancestor at a level. A row whose ancestor is none, or that is past the last, reads
  // that of slot 0, so that the loads of all rows are on their way together, and stays as it is.
  JD_DEVICE static void attend_level(const Params &p, Shared &shared, const BeamItem &work, int32_t level, float scale,
                                     Accumulators &acc) {
    const BeamProblem &problem = p.problem;
    const Place place;
    int32_t slots[Accumulators::kRows];
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
      const BeamRow row = read_row(problem, work, place.row(r));
      slots[r] = slot_of(problem, work, level, row.beam);
      if (!row.valid) slots[r] = -1;
    }
    typename Core::RowPart keys[Accumulators::kRows];
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
      const int32_t slot = problem.ancestry.valid(slots[r]) ? slots[r] : 0;
      keys[r] = Core::load_part(place, p.suffix_keys.at(work.suffix, level, slot, work.kv_head), problem.shape);
    }
    float factors[Accumulators::kRows], weights[Accumulators::kRows];
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
      const float score = place.add(Core::dot(shared.queries, place, place.row(r), keys[r], problem.shape));
      const bool seen = problem.ancestry.valid(slots[r]);
      const float highest = seen ? prim::max(acc.top[r], score) : acc.top[r], base = highest * scale;
      factors[r] = seen ? prim::exp2_approx(prim::fma(acc.top[r], scale, -base)) : 1.0f;
      weights[r] = seen ? prim::exp2_approx(prim::fma(score, scale, -base)) : 0.0f;
      acc.top[r] = highest;
      acc.sum[r] = prim::fma(acc.sum[r], factors[r], place.leads() ? weights[r] : 0.0f);
    }
#pragma unroll
    for (int first = 0; first < Accumulators::kColumns; first += kBatch) {
      Pair pairs[Accumulators::kRows][kBatch / 2];
#pragma unroll
      for (int r = 0; r < Accumulators::kRows; ++r) {
        const bool seen = problem.ancestry.valid(slots[r]);
        const Element *value = p.suffix_values.at(work.suffix, level, seen ? slots[r] : 0, work.kv_head);
#pragma unroll
        for (int c = 0; c < kBatch; c += 2) {
          pairs[r][c / 2] = Pair{};
          const int column = place.column(first + c);
          if (column < problem.shape.dim_v) pairs[r][c / 2] = load_pair(value + column);
          if (!seen) pairs[r][c / 2] = Pair{};  // a NaN of slot 0 is nobody's
        }
      }
      if (problem.shape.dtype == JD_F16) {
        add_values<prim::f16>(pairs, factors, weights, first, acc);
      } else {
        add_values<prim::bf16>(pairs, factors, weights, first, acc);
      }
    }
  }

  // Columns of each row of values that a thread has on their way at once.
  static constexpr int kMostColumns = 32 / Accumulators::kRows;
  static constexpr int kBatch = Accumulators::kColumns < kMostColumns ? Accumulators::kColumns : kMostColumns;

  // Two neighbouring elements as they lie in memory.
  using Pair = std::conditional_t<sizeof(Element) == 4, prim::Vec2u, uint32_t>;
  JD_DEVICE static Pair load_pair(const Element *address) {
    if constexpr (sizeof(Element) == 4) {
      return prim::load8(address);
    } else {
      return prim::load4(address);
    }
  }

  // Every row of outputs, times its factor, and its weight times its row of values: of T where an Element has 16 bits.
  template <class T>
  JD_DEVICE static void add_values(const Pair (&pairs)[Accumulators::kRows][kBatch / 2], const float (&factors)[Accumulators::kRows],
                                   const float (&weights)[Accumulators::kRows], int first, Accumulators &acc) {
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kBatch; c += 2) {
        float low, high;
        if constexpr (sizeof(Element) == 4) {
          low = prim::as_float(pairs[r][c / 2].x);
          high = prim::as_float(pairs[r][c / 2].y);
        } else {
          prim::unpack2<T>(pairs[r][c / 2], low, high);
        }
        float &even = acc.out(r, first + c), &odd = acc.out(r, first + c + 1);
        even = prim::fma(even, factors[r], weights[r] * low);
        odd = prim::fma(odd, factors[r], weights[r] * high);
      }
    }
  }

  // For the merge kernel.
  JD_DEVICE static void store_partial(const BeamProblem &p, const BeamItem &work, int32_t piece, Accumulators &acc) {
    const Place place;
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
      const BeamRow row = read_row(p, work, place.row(r));
      if (!row.valid) continue;
      const int64_t at = partial_row(p, piece, row.token, row.head);
      if (place.leads()) p.partial_states[at] = attention::SoftmaxState{acc.top[r], acc.sum[r]};
      float *out = p.partial_outputs + at * p.shape.dim_v;
#pragma unroll
      for (int c = 0; c < Accumulators::kColumns; c += 2) {
        if (place.column(c) >= p.shape.dim_v) continue;
        prim::store8(out + place.column(c), prim::Vec2u{prim::as_uint(acc.out(r, c)), prim::as_uint(acc.out(r, c + 1))});
      }
    }
  }

  JD_DEVICE static void store_out(const BeamProblem &p, const BeamItem &work, Accumulators &acc) {
    const Place place;
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
      const BeamRow row = read_row(p, work, place.row(r));
      if (!row.valid) continue;
      if (place.leads()) store_lse(p, row.token, row.head, attention::SoftmaxState{acc.top[r], acc.sum[r]});
      const float normalizer = attention::softmax_normalizer(acc.sum[r]);
      const int64_t at = p.out.at(row.token, row.head);
#pragma unroll
      for (int c = 0; c < Accumulators::kColumns; c += 2) {
        if (place.column(c) >= p.shape.dim_v) continue;
        p.out.store_pair(at + place.column(c), acc.out(r, c) * normalizer, acc.out(r, c + 1) * normalizer);
      }
    }
  }
};

// Over split prefixes: out = the merged pieces of a row, in order. A thread owns four columns of a row; requests of one piece have
// their result already.
struct BeamMergeKernel {
  using Params = BeamProblem;
  using Shared = attention::WorkListShared<128>;
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    const int32_t groups = p.shape.dim_v / 4, heads = p.kv_heads * p.group;
    const auto units = [&](const BeamRequest &r) { return int64_t{r.beams.length} * heads * groups; };
    attention::for_each_item(
        p.batch, *reinterpret_cast<Shared *>(shared_memory),
        [&](int64_t b) -> uint32_t {
          const BeamRequest r = read_request(p, b);
          return attention::target_pieces().number(r.prefix.length) == 1 ? 0 : static_cast<uint32_t>((units(r) + kThreads - 1) / kThreads);
        },
        [&](int64_t b, uint32_t item) {
          const BeamRequest r = read_request(p, b);
          const int64_t unit = int64_t{item} * kThreads + prim::thread_idx().x;
          if (unit >= units(r)) return;
          const int64_t row = unit / groups;
          merge_row(p, attention::target_pieces().number(r.prefix.length), r.beams.begin + row / heads, static_cast<int32_t>(row % heads),
                    static_cast<int32_t>(unit % groups) * 4);
        });
  }

 private:
  JD_DEVICE static void merge_row(const Params &p, int32_t pieces, int64_t token, int32_t head, int32_t column) {
    float out[4] = {};
    const auto row_of = [&](int32_t piece) { return partial_row(p, piece, token, head); };
    const attention::SoftmaxState state = attention::merge_pieces(p, pieces, row_of, column, out);
    if (column == 0) store_lse(p, token, head, state);
    const float normalizer = attention::softmax_normalizer(state.sum);
    const int64_t at = p.out.at(token, head) + column;
    p.out.store_pair(at, out[0] * normalizer, out[1] * normalizer);
    p.out.store_pair(at + 2, out[2] * normalizer, out[3] * normalizer);
  }
};

}  // namespace jindou::decode

#endif
