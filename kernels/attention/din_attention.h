// din_attention: DIN's activation unit, many candidates against one history (jindou/din_attention.h).
//
//   logit_ij = w3 f(W2 f(A_i k_j + c_i) + b2) + b3      A_i = (Wk - Wd) + Wp diag(q_i)      c_i = b1 + (Wq + Wd) q_i
//   out_i = sum_j logit_ij v_j, or with a softmax over j
//
// W1 = [Wq Wk Wd Wp], the columns of q, k, q - k and q * k. Shapes: candidates [sum nc, d], keys [sum nk, d], values [sum nk, dv],
// d and dv to 256, hidden layers h1 and h2 to 256.
//
// A block of four warps owns Core::kCandidates candidates of one user against one piece of the history or all in turn. It folds A_i into
// shared memory (rounded to the inputs' dtype), once if the first layer has at most kGroup units, else group by group for each tile.
// A tile is kEvents events a warp. A warp copies its own keys, and takes its events through both layers alone (din_core.h); with tensor
// cores the keys of a tile stay in registers for all candidates. Then the block weighs the values: a thread owns two columns and every
// first, second or fourth event.
//
// A pair costs 2 (d h1 + h1 h2 + h2 + dv) FLOPs (d = 64, h 80 and 40: 16.8 k; 47.6 k if q, k, q - k and q * k were laid out) and
// h1 + h2 activations; bytes d + dv elements from L2 for each kCandidates pairs. In 16 bit a sigmoid is one tanh of the special
// function unit: 120 of them take 7.5 cycles of a multiprocessor of sm_90, the products some 5: bound by the two about alike. PReLU: tensor
// cores. f32: FMA units.
#ifndef JINDOU_KERNELS_ATTENTION_DIN_ATTENTION_H
#define JINDOU_KERNELS_ATTENTION_DIN_ATTENTION_H

#include "attention/din_attention_problem.h"
#include "attention/din_core.h"
#include "attention/work_list.h"

namespace jindou::din {

constexpr int kMaxUnits = 256, kMaxColumns = 256;

// What a hidden unit needs beside its weights.
struct alignas(16) Unit {
  float bias;  // the second layer's; the first's is a candidate's own
  float slope, mean, rate;  // rate: 1 / sqrt(variance + eps)
};

template <class C>
struct DinAttentionKernel {
  using Core = C;
  using Element = typename Core::Element;
  using Params = DinProblem;
  using KeyTile = typename Core::KeyTile;
  using SecondTile = typename Core::SecondTile;
  static constexpr int kWarps = Core::kWarps, kThreads = kWarps * 32, kMinBlocks = Core::kMinBlocks;
  static constexpr int kCandidates = Core::kCandidates, kGroup = Core::kGroup;
  static constexpr int kTile = kWarps * Core::kEvents;
  static_assert(din_pieces().granule % kTile == 0 && kMaxColumns == 2 * kThreads, "");

  struct Shared {
    alignas(128) char keys[kWarps][Core::kEvents * KeyTile::kPitch];
    alignas(128) char folded[kCandidates][kGroup * KeyTile::kPitch];
    alignas(128) char second[Core::kHidden2 * SecondTile::kPitch];
    alignas(16) char hidden[kWarps][Core::kHiddenBytes + 16];
    Unit units_1[kMaxUnits], units_2[Core::kHidden2];
    float third[Core::kHidden2];
    float constants[kCandidates][kMaxUnits];
    float queries[kCandidates][Core::kD];
    float weights[2][kCandidates][kTile];
    float factors[2][kCandidates];
    float reduced[kCandidates][kMaxColumns], totals[kCandidates][kMaxColumns];
    attention::SoftmaxState piece_states[kCandidates], total_states[kCandidates];
    attention::WorkListShared<kThreads> list;
    DinItem item;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    load_units(p, p.first, p.hidden_1, shared.units_1, kMaxUnits);
    load_units(p, p.second, p.hidden_2, shared.units_2, Core::kHidden2);
    for (int i = static_cast<int>(prim::thread_idx().x); i < Core::kHidden2; i += kThreads) {
      shared.third[i] = i < p.hidden_2 ? p.weight_3[i] * p.scale : 0.0f;
    }
    attention::for_each_item(
        p.batch, shared.list, [&](int64_t b) { return count_items<kCandidates>(p, b); },
        [&](int64_t b, uint32_t index) {
          if (prim::thread_idx().x == 0) shared.item = read_item<kCandidates>(p, b, index);
          prim::sync_threads();
          run_item(p, shared);
        });
  }

 private:
  // Zeros past the last unit.
  JD_DEVICE static void load_units(const Params &p, const Layer &layer, int count, Unit *units, int room) {
    for (int i = static_cast<int>(prim::thread_idx().x); i < room; i += kThreads) {
      Unit unit{0.0f, 0.0f, 0.0f, 0.0f};
      if (i < count) {
        unit.bias = layer.bias[i];
        if (p.activation != JD_DIN_SIGMOID) unit.slope = layer.slope[i];
        if (p.activation == JD_DIN_DICE) {
          unit.mean = layer.mean[i];
          unit.rate = prim::div(1.0f, prim::sqrt(layer.variance[i] + p.dice_eps));
        }
      }
      units[i] = unit;
    }
  }

  // Columns and units that products look at: those past the last are zeros.
  JD_DEVICE static int whole(int count) { return (count + Core::kGranule - 1) / Core::kGranule * Core::kGranule; }
  JD_DEVICE static int depth(const Params &p) { return sizeof(Element) == 4 ? p.dim : whole(p.dim); }

  JD_DEVICE static void run_item(const Params &p, Shared &shared) {
    const DinItem &item = shared.item;
    // Phase 1: candidates, and the weights folded for them.
    for (int i = static_cast<int>(prim::thread_idx().x); i < kCandidates * Core::kD; i += kThreads) {
      const int c = i / Core::kD, e = i % Core::kD;
      const bool present = c < item.count && e < p.dim;
      shared.queries[c][e] = present ? prim::to_float(p.candidates.row<Element>(item.candidate + c)[e]) : 0.0f;
    }
    prim::sync_threads();
    const bool resident = p.hidden_1 <= kGroup;
    if (resident) load_group(p, shared, 0, 0, item.count);

    for (int32_t piece = item.first_piece; piece < item.last_piece; ++piece) {
      // Phase 2: the piece, tile by tile.
      const int32_t length = din_pieces().length(item.events), begin = piece * length;
      const int32_t end = item.events - begin < length ? item.events : begin + length;
      float sums[kCandidates][2] = {};
      if (prim::thread_idx().x < kCandidates) {
        shared.piece_states[prim::thread_idx().x] = attention::SoftmaxState{p.softmax ? -INFINITY : 0.0f, 0.0f};
      }
      if (begin < end) copy_keys(p, shared, begin, end);
      prim::sync_threads();
      int buffer = 0;
      for (int32_t event = begin; event < end; event += kTile) {
        weigh_tile(p, shared, resident, event, end, buffer);
        prim::sync_threads();
        if (p.softmax) {
          softmax(p, shared, buffer);
          prim::sync_threads();
        }
        add_values(p, shared, event, end, buffer, sums);
        buffer ^= 1;
      }
      // Phase 3: its result.
      finish_piece(p, shared, piece, sums);
    }
  }

  // Columns [unit, unit + kGroup) of the second layer's weights, and rows folded for candidates [candidate, candidate + count). A warp takes
  // a unit at a time, its lanes two elements each. Ends with a barrier.
  JD_DEVICE static void load_group(const Params &p, Shared &shared, int unit, int candidate, int count) {
    const int thread = prim::opaque_thread_index(), lane = thread & 31, warp = thread >> 5;
    const int left = p.hidden_1 - unit, units = whole(left < kGroup ? left : kGroup);
    for (int local = warp; local < units; local += kWarps) {
      const bool present = unit + local < p.hidden_1;
      const float *w = p.first.weight.row<float>(present ? unit + local : 0);
      float constant[kCandidates] = {};
      for (int e = lane * 2; e < whole(p.dim); e += 64) {
        float own[2] = {}, key[2] = {}, difference[2] = {}, product[2] = {};
        if (present && e < p.dim) {
          load_pair(w + e, own[0], own[1]);
          load_pair(w + p.dim + e, key[0], key[1]);
          load_pair(w + 2 * p.dim + e, difference[0], difference[1]);
          load_pair(w + 3 * p.dim + e, product[0], product[1]);
        }
#pragma unroll
        for (int c = 0; c < kCandidates; ++c) {
          if (c >= count) break;
          const float *q = shared.queries[candidate + c] + e;
          constant[c] = prim::fma(own[0] + difference[0], q[0], constant[c]);
          constant[c] = prim::fma(own[1] + difference[1], q[1], constant[c]);
          store_pair(shared.folded[candidate + c] + KeyTile::offset(local, 0) + e * static_cast<int>(sizeof(Element)),
                     prim::fma(product[0], q[0], key[0] - difference[0]), prim::fma(product[1], q[1], key[1] - difference[1]));
        }
      }
#pragma unroll
      for (int c = 0; c < kCandidates; ++c) {
        if (c >= count) break;
        float sum = constant[c];
#pragma unroll
        for (int step = 16; step > 0; step /= 2) sum += prim::shfl_xor(sum, step);
        if (lane == 0) shared.constants[candidate + c][unit + local] = present ? sum + shared.units_1[unit + local].bias : 0.0f;
      }
    }
    for (int row = warp; row < whole(p.hidden_2); row += kWarps) {
      const float *w = p.second.weight.row<float>(row < p.hidden_2 ? row : 0) + unit;
      for (int e = lane * 2; e < units; e += 64) {
        float pair[2] = {};
        if (row < p.hidden_2 && e < left) load_pair(w + e, pair[0], pair[1]);
        store_pair(shared.second + SecondTile::offset(row, 0) + e * static_cast<int>(sizeof(Element)), pair[0], pair[1]);
      }
    }
    prim::sync_threads();
  }

  JD_DEVICE static void store_pair(char *at, float low, float high) {
    if constexpr (sizeof(Element) == 4) {
      prim::store_shared8(at, prim::Vec2u{prim::as_uint(low), prim::as_uint(high)});
    } else {
      *reinterpret_cast<uint32_t *>(at) = prim::pack2<Element>(low, high);
    }
  }

  // Starts the copy of this warp's keys of the tile at `event`; events from `end` on and columns past the last become zeros.
  JD_DEVICE static void copy_keys(const Params &p, Shared &shared, int32_t event, int32_t end) {
    const int thread = prim::opaque_thread_index(), lane = thread & 31, warp = thread >> 5;
    const int32_t first = event + warp * Core::kEvents;
    const Element *rows = p.keys.row<Element>(shared.item.event);
#pragma unroll 4
    for (int i = lane; i < Core::kEvents * KeyTile::kChunks; i += 32) {
      const int row = i / KeyTile::kChunks, chunk = i % KeyTile::kChunks, element = chunk * KeyTile::kElements;
      if (element >= whole(p.dim)) continue;
      const bool present = first + row < end && element < p.dim;
      prim::cp_async_16(shared.keys[warp] + KeyTile::offset(row, chunk), present ? rows + (first + row) * p.keys.stride + element : rows,
                        present);
    }
    prim::cp_async_commit();
  }

  // This warp's logits of a tile, for all candidates; its keys of the next tile start on their way.
  JD_DEVICE static void weigh_tile(const Params &p, Shared &shared, bool resident, int32_t event, int32_t end, int buffer) {
    const int thread = prim::opaque_thread_index(), lane = thread & 31, warp = thread >> 5;
    prim::cp_async_wait<0>();
    prim::sync_warp();
    typename Core::Keys keys;
    Core::load_keys(keys, shared.keys[warp], depth(p), lane);
    const bool more = event + kTile < end;
    if constexpr (Core::kKeysInRegisters) {
      prim::sync_warp();
      if (more) copy_keys(p, shared, event + kTile, end);
    }
    const float bias = *p.bias_3 * p.scale;
#pragma unroll 1
    for (int c = 0; c < shared.item.count; ++c) {
      typename Core::Sums sums;
      Core::start(sums);
#pragma unroll 1
      for (int group = 0; group < p.hidden_1; group += kGroup) {
        if (!resident) {
          prim::sync_threads();
          load_group(p, shared, group, c, 1);
        }
        const int last = p.hidden_1 - group < kGroup ? p.hidden_1 - group : kGroup;
#pragma unroll 1
        for (int unit = 0; unit < last; unit += Core::kChunk) {
          typename Core::Scores scores;
          Core::first(scores, keys, shared.folded[c] + KeyTile::offset(unit, 0), depth(p), last - unit, lane);
#pragma unroll
          for (int i = 0; i < Core::Scores::kCount; ++i) {
            const int at = group + unit + Core::unit(lane, i);
            const float constant = shared.constants[c][at];
            const Unit &about = shared.units_1[at];
#pragma unroll
            for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i) = activate(p, scores.at(r, i) + constant, about);
          }
          Core::second(sums, scores, shared.second, unit, last - unit, p.hidden_2, shared.hidden[warp], lane);
        }
      }
      float logits[Core::Sums::kRows] = {};
#pragma unroll
      for (int i = 0; i < Core::Sums::kCount; ++i) {
        const int at = Core::unit(lane, i);
        if (at - Core::unit(lane, 0) >= p.hidden_2) break;
        const Unit &about = shared.units_2[at];
#pragma unroll
        for (int r = 0; r < Core::Sums::kRows; ++r) {
          logits[r] = prim::fma(activate(p, sums.at(r, i) + about.bias, about), shared.third[at], logits[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < Core::Sums::kRows; ++r) {
        const float logit = Core::add(logits[r]) + bias;
        const int row = warp * Core::kEvents + Core::row(lane, r);
        const float absent = p.softmax ? -INFINITY : 0.0f;
        if (Core::leads(lane)) shared.weights[buffer][c][row] = event + row < end ? logit : absent;
      }
    }
    if constexpr (!Core::kKeysInRegisters) {
      prim::sync_warp();
      if (more) copy_keys(p, shared, event + kTile, end);
    }
  }

  JD_DEVICE static float activate(const Params &p, float x, const Unit &unit) {
    if (p.activation == JD_DIN_SIGMOID) return sigmoid(x);
    if (p.activation == JD_DIN_PRELU) return prim::fma(unit.slope, prim::min(x, 0.0f), prim::max(x, 0.0f));
    const float part = sigmoid((x - unit.mean) * unit.rate);
    return x * prim::fma(part, 1.0f - unit.slope, unit.slope);
  }
  JD_DEVICE static float sigmoid(float x) {
    if constexpr (sizeof(Element) == 4) return prim::rcp_approx(1.0f + prim::exp_approx(-x));
    return prim::fma(prim::tanh_approx(0.5f * x), 0.5f, 0.5f);
  }

  // Logits of a tile become weights; warp c does candidate c.
  JD_DEVICE static void softmax(const Params &, Shared &shared, int buffer) {
    const int thread = prim::opaque_thread_index(), lane = thread & 31, c = thread >> 5;
    static_assert(kCandidates <= kWarps, "");
    if (c >= shared.item.count) return;
    float *weights = shared.weights[buffer][c];
    float highest = -INFINITY;
#pragma unroll
    for (int j = lane; j < kTile; j += 32) highest = prim::max(highest, weights[j]);
#pragma unroll
    for (int step = 16; step > 0; step /= 2) highest = prim::max(highest, prim::shfl_xor(highest, step));
    const attention::SoftmaxState older = shared.piece_states[c];
    const float top = prim::max(older.top, highest), factor = prim::exp2_approx(older.top - top);
    float sum = 0.0f;
#pragma unroll
    for (int j = lane; j < kTile; j += 32) {
      const float weight = prim::exp2_approx(weights[j] - top);
      weights[j] = weight;
      sum += weight;
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += prim::shfl_xor(sum, step);
    prim::sync_warp();  // all lanes have read the older state
    if (lane == 0) {
      shared.piece_states[c] = attention::SoftmaxState{top, prim::fma(older.sum, factor, sum)};
      shared.factors[buffer][c] = factor;
    }
  }

  // Threads that share a pair of columns, kThreads / lanes of them, take every such event.
  struct Columns {
    int lanes, column, first;
    JD_DEVICE explicit Columns(const Params &p) {
      const int thread = prim::opaque_thread_index();
      lanes = p.dim_v <= kThreads / 2 ? kThreads / 4 : p.dim_v <= kThreads ? kThreads / 2 : kThreads;
      column = thread % lanes * 2;
      first = thread / lanes;
    }
    JD_DEVICE int sharing() const { return kThreads / lanes; }
  };

  JD_DEVICE static void add_values(const Params &p, const Shared &shared, int32_t event, int32_t end, int buffer,
                                   float (&sums)[kCandidates][2]) {
    const Columns mine(p);
    if (p.softmax) {
#pragma unroll
      for (int c = 0; c < kCandidates; ++c) {
        if (c >= shared.item.count) break;
        sums[c][0] *= shared.factors[buffer][c];
        sums[c][1] *= shared.factors[buffer][c];
      }
    }
    if (mine.column >= p.dim_v) return;
    const Element *values = p.values.row<Element>(shared.item.event + event) + mine.column;
    const int events = end - event < kTile ? end - event : kTile;
#pragma unroll 4
    for (int j = mine.first; j < events; j += mine.sharing()) {
      float low, high;
      load_pair(values + j * p.values.stride, low, high);
#pragma unroll
      for (int c = 0; c < kCandidates; ++c) {
        if (c >= shared.item.count) break;
        const float weight = shared.weights[buffer][c][j];
        sums[c][0] = prim::fma(weight, low, sums[c][0]);
        sums[c][1] = prim::fma(weight, high, sums[c][1]);
      }
    }
  }

  // The piece's sums rest for the merge kernel, or join those of the pieces before it, in order.
  JD_DEVICE static void finish_piece(const Params &p, Shared &shared, int32_t piece, const float (&sums)[kCandidates][2]) {
    const DinItem &item = shared.item;
    const Columns mine(p);
    if (mine.column < p.dim_v) {
#pragma unroll
      for (int c = 0; c < kCandidates; ++c) {
        float *at = shared.reduced[c] + mine.first * mine.lanes * 2 + mine.column;
        at[0] = sums[c][0];
        at[1] = sums[c][1];
      }
    }
    prim::sync_threads();
    const bool rests = p.split && item.pieces > 1;
    for (int c = 0; c < item.count; ++c) {
      const int64_t candidate = item.candidate + c, at = partial_row(p, candidate, piece);
      const attention::SoftmaxState newer = shared.piece_states[c];
      for (int column = static_cast<int>(prim::thread_idx().x); column < p.dim_v; column += kThreads) {
        float x = shared.reduced[c][column];
        for (int i = 1; i < mine.sharing(); ++i) x += shared.reduced[c][i * mine.lanes * 2 + column];
        if (rests) {
          p.partial_outputs[at * p.dim_v + column] = x;
          if (column == 0) p.partial_states[at] = newer;
          continue;
        }
        attention::SoftmaxState state = newer;
        if (piece > item.first_piece) {
          state = shared.total_states[c];
          const attention::MergeFactors factors = merge(state, newer);
          x = attention::merge_outputs(shared.totals[c][column], x, factors);
        }
        if (piece + 1 == item.last_piece) {
          store_out(p, candidate, column, x * normalizer(p, state));
        } else {
          shared.totals[c][column] = x;
        }
      }
    }
    prim::sync_threads();
    if (const int c = static_cast<int>(prim::thread_idx().x); c < item.count) {
      if (piece > item.first_piece) {
        merge(shared.total_states[c], shared.piece_states[c]);
      } else {
        shared.total_states[c] = shared.piece_states[c];
      }
    }
  }
};

// The second kernel over split histories: out = the merged results of a candidate's pieces, in order. A thread owns one element; reads
// pieces * (dv + 2) floats a candidate, from L2 as a rule. Candidates with one piece have their result already.
struct DinAttentionMergeKernel {
  using Params = DinProblem;
  using Shared = attention::WorkListShared<128>;
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    attention::for_each_item(
        p.batch, *reinterpret_cast<Shared *>(shared_memory),
        [&](int64_t b) -> uint32_t {
          const User user = read_user(p, b);
          if (din_pieces().number(user.history.length) == 1) return 0;
          return static_cast<uint32_t>((int64_t{user.candidates.length} * p.dim_v + kThreads - 1) / kThreads);
        },
        [&](int64_t b, uint32_t item) {
          const User user = read_user(p, b);
          const int64_t at = int64_t{item} * kThreads + prim::thread_idx().x;
          if (at >= int64_t{user.candidates.length} * p.dim_v) return;
          const int64_t candidate = user.candidates.begin + at / p.dim_v;
          const int32_t column = static_cast<int32_t>(at % p.dim_v);
          attention::SoftmaxState state{};
          float x = 0.0f;
          for (int32_t piece = 0; piece < din_pieces().number(user.history.length); ++piece) {
            const int64_t from = partial_row(p, candidate, piece);
            const attention::SoftmaxState newer = p.partial_states[from];
            const float y = p.partial_outputs[from * p.dim_v + column];
            if (piece == 0) {
              state = newer;
              x = y;
            } else {
              const attention::MergeFactors factors = merge(state, newer);
              x = attention::merge_outputs(x, y, factors);
            }
          }
          store_out(p, candidate, column, x * normalizer(p, state));
        });
  }
};

}  // namespace jindou::din

#endif
