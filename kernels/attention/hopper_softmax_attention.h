// softmax_attention on sm_90a, for bf16 without score options: the function of softmax_attention.h with tensor copies and wgmma.
//
//   out_i = sum_j softmax_j(scale * q_i . k_j) v_j      lse_i = log sum_j exp(scale * q_i . k_j)
//
// Shapes: queries [sum nq, H, d], keys and values [sum nk, Hkv, d], out [sum nq, H, d] in bf16 or f32, lse [sum nq, H] f32; d = 64, 128, 256;
// H / Hkv a power of two up to 128, so that the packed rows of a tile are a box of the queries' tensor.
//
// One block a multiprocessor: a producer warp and two consumer warpgroups (hopper_pipeline.h) over items of 128 packed query rows of one
// sequence and key/value head (softmax_attention_problem.h), against one piece of the keys or all pieces in turn. A warpgroup skips tiles
// that the mask empties for its 64 rows, and masks element by element only where a tile is neither full nor empty or ends the sequence.
//
// FLOPs 4 * d * H * allowed pairs: 4 d / 4096 clocks a pair on the tensor cores; one exp2 a pair at 16 a clock: 0.0625, as much as the
// tensor cores need at d = 64. Bytes: queries and out once, keys and values visited tiles times from L2: 128 FLOPs a byte.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_SOFTMAX_ATTENTION_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_SOFTMAX_ATTENTION_H

#include "attention/hopper_pipeline.h"
#include "attention/hopper_schedule.h"
#include "attention/softmax_attention_rows.h"

namespace jindou::attention {

struct HopperSoftmaxParams {
  prim::TensorMap queries;  // as [d / 64][queries][heads][64]: boxes of all panels, 128 / group queries, group heads
  TileSource keys, values;
  SoftmaxAttentionParams<uint16_t> problem;
};

template <class Core>
struct HopperSoftmaxAttentionKernel {
  using Params = HopperSoftmaxParams;
  using Problem = SoftmaxAttentionParams<uint16_t>;
  using Element = uint16_t;  // bf16
  static constexpr bool kHopper = true;
  static constexpr int kThreads = Core::kThreads;
  static constexpr int kMinBlocks = 1;
  static constexpr int32_t kColumns = Core::kD;
  static constexpr int32_t kTileRows = Core::kRows;
  static constexpr int32_t kTileKeys = Core::kKeys;

  struct Shared {
    HopperShared<Core, SoftmaxItem> pipeline;
    HopperSchedule schedule;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    const SoftmaxAttentionSequences &sequences = p.problem.sequences;
    shared.pipeline.init();
    shared.schedule.make(
        sequences.batch, sequences.kv_heads, Core::kRows / 2 % sequences.group == 0,  // a half is whole queries
        [&](int64_t b) { return costs(sequences, read_softmax_sequence(sequences, b)); },
        [&](int64_t b) {
          const Fault fault = read_softmax_sequence(sequences, b).fault;
          if (fault.fault != JDB_FAULT_NONE) report_fault(sequences.fault_sink, fault);
        });
    const int warp = prim::shfl(prim::warp_id(), 0);
    if (warp < 4) {
      prim::give_up_registers<Core::kProducerRegisters>();
      if (warp == 0) produce(p, shared);
    } else {
      prim::take_registers<Core::kConsumerRegisters>();
      consume(p.problem, shared.pipeline);
    }
  }

 private:
  using Place = typename Core::Place;
  static constexpr int kConsumerThreads = kThreads - prim::kWarpgroupThreads;

  // What a block that takes all pieces of its tiles parks, as the portable kernels have it.
  static constexpr int64_t kBlockOutputs = int64_t{Core::kRows} * Core::kD;
  static constexpr int64_t kBlockStates = int64_t{kConsumerThreads} * Core::Accumulators::kRows;

  // What the mask leaves a tile of rows, about: all keys, those before, or a window. In units of 128 keys or, where it grows with the rows, of
  // as many as a tile has queries; of those within a window all pieces are taken for alike.
  JD_DEVICE static TileCosts costs(const SoftmaxAttentionSequences &p, const SoftmaxSequence &s) {
    const bool causal = p.right >= 0, windowed = causal && p.left >= 0;
    const int32_t unit = causal && !windowed ? Core::kRows / p.group : 128;
    const auto units = [&](int64_t keys) { return static_cast<int32_t>((keys + unit - 1) / unit); };
    const int32_t rows = static_cast<int32_t>(row_tiles<Core::kRows>(p, s));
    int32_t most = units(s.keys.length);
    int64_t first = most;
    if (windowed) {
      const int32_t near = units(int64_t{p.left} + p.right) + 1;
      first = most = near < most ? near : most;
    } else if (causal) {
      first = (int64_t{s.keys.length} - s.queries.length + p.right) / unit;
      first = first < 0 ? 0 : first < most ? first : most;
    }
    const SoftmaxPieces pieces = pieces_of(p, s);
    if (p.split == 0 || pieces.count == 1) return TileCosts{rows, 1, static_cast<int32_t>(first), most, most > 0 ? most : 1};
    if (!windowed) return TileCosts{rows, pieces.count, static_cast<int32_t>(first), most, pieces.length / unit};
    const int32_t each = (most + pieces.count - 1) / pieces.count;
    return TileCosts{rows, pieces.count, each * pieces.count, each * pieces.count, each};
  }

  // Up to piece -1, if there is no work.
  JD_DEVICE static void read_work(const SoftmaxAttentionSequences &p, const HopperWork &work, SoftmaxItem &made) {
    if (work.sequence < 0) {
      made.last_piece = -1;
      return;
    }
    made = make_softmax_item(p, work.sequence, read_softmax_sequence(p, work.sequence), work.tile * Core::kRows + work.before(Core::kRows),
                             work.count(Core::kRows), work.head, work.piece);
  }

  // With the tiles of keys to visit in a piece. (Of the copy only what is asked for is made.)
  JD_DEVICE static SoftmaxItem visiting(const SoftmaxItem &item, int32_t piece) {
    SoftmaxItem copy = item;
    copy.template visit<Core::kKeys>(piece);
    return copy;
  }

  JD_DEVICE static void produce(const Params &p, Shared &shared) {
    const SoftmaxAttentionSequences &sequences = p.problem.sequences;
    prim::prefetch_tensor_map(p.queries);
    prim::prefetch_tensor_map(p.keys.map);
    prim::prefetch_tensor_map(p.values.map);
    HopperProducer<Core, SoftmaxItem> producer(shared.pipeline);
    for (;;) {
      producer.lead([&] {
        shared.schedule.advance(sequences.batch, sequences.kv_heads,
                                [&](int64_t b) { return costs(sequences, read_softmax_sequence(sequences, b)); });
      });
      const SoftmaxItem &item = producer.begin_item([&](SoftmaxItem &made) { read_work(sequences, shared.schedule.work(), made); });
      if (item.last_piece < 0) break;
      const bool empty = item.first_row >= item.last_row;  // a half may be
      producer.sync();
      if (empty) continue;
      producer.copy_queries([&](char *target, prim::Mbarrier *barrier) {
        prim::tensor_copy(target, p.queries, 0, item.kv_head * sequences.group,
                          static_cast<int32_t>(item.queries.begin) + item.first_row / sequences.group, 0, barrier);
      });
      for (int32_t piece = item.first_piece; piece < item.last_piece; ++piece) {
        const SoftmaxItem visit = visiting(item, piece);
        for (int32_t i = 0; i < visit.tiles; ++i) {
          const int32_t key = visit.tile(i) * Core::kKeys;
          producer.template copy_tile<false>(p.keys, item.keys.begin + key, item.kv_head, 0);
          producer.template copy_tile<true>(p.values, item.keys.begin + key, item.kv_head, item.keys.length - key);
        }
      }
    }
    producer.end();
  }

  JD_DEVICE static void consume(const Problem &p, HopperShared<Core, SoftmaxItem> &shared) {
    HopperConsumer<Core, SoftmaxItem> consumer(shared);
    // As target_attention has it (hopper_target_attention.h).
    const bool negates = p.scale < 0.0f;
    const float scale = prim::max(prim::abs(p.scale), 1.17549435e-38f);
    const ParkedRows parked{p.sequences.partial_outputs + prim::block_idx().x * kBlockOutputs,
                            p.sequences.partial_states + prim::block_idx().x * kBlockStates};
    for (;;) {
      const SoftmaxItem &item = consumer.next_item();
      const int32_t last_piece = prim::shfl(item.last_piece, 0);
      if (last_piece < 0) return;
      const int32_t first_piece = prim::shfl(item.first_piece, 0);
      const int group = prim::shfl(Place().group, 0);
      const bool split = p.sequences.split != 0 && item.pieces.count > 1;
      bool parks = false;
      for (int32_t piece = first_piece; piece < last_piece; ++piece) {
        const SoftmaxItem visit = visiting(item, piece);
        const int32_t tiles = prim::shfl(visit.tiles, 0);
        const bool last = piece + 1 == last_piece;
        if (tiles == 0 && split) store_empty(p, item, piece);
        if (tiles == 0 && (split || !last)) continue;

        TileResults<Core> acc;
        start_empty(false, acc);
        float factor[Core::Accumulators::kRows];
        TileMask state = TileMask::kEmpty;
        hopper_loop<Core>(
            consumer, shared.queries, group, 0, tiles, acc,
            [&](int i) {
              state = static_cast<TileMask>(prim::shfl(static_cast<int>(classify(p, item, group, visit.tile(i) * Core::kKeys)), 0));
              return state == TileMask::kEmpty;
            },
            [&](int i, typename Core::Scores &scores) {
              if (negates) Core::negate(scores);
              if (state == TileMask::kPartial) hide(p, item, visit.tile(i) * Core::kKeys, scores);
#pragma unroll
              for (int r = 0; r < Core::Accumulators::kRows; ++r) {
                factor[r] = weigh_row<Core::Scores::kCount>([&](int j) -> float & { return scores.at(r, j); }, scale, acc.top[r],
                                                            acc.sum[r], [](float x) { return Place::highest(x); });
              }
            },
            [&](typename Core::Accumulators &sums, typename Core::Scores &) { Core::rescale(sums, factor); });

        const Place place;
        finish_states(place, scale, acc);
        if (parks) merge_parked<kConsumerThreads>(parked, place, acc);
        if (!last) {
          park<kConsumerThreads>(parked, place, acc);
          parks = true;
        } else if (split) {
          store_partial(p.sequences, item, place, piece, acc);
        } else {
          store_out(p.sequences, item, place, acc);
        }
      }
      consumer.release_queries();
    }
  }

  // What the mask leaves this warpgroup of a tile of keys, of which one at least exists.
  JD_DEVICE static TileMask classify(const Problem &p, const SoftmaxItem &item, int group, int32_t key) {
    const int32_t first = item.first_row + group * 64;
    if (first >= item.last_row) return TileMask::kEmpty;
    const int32_t last = item.last_row - first < 64 ? item.last_row : first + 64;
    const bool whole = item.keys.length - key >= Core::kKeys;
    const TileMask left = item.mask.classify(query_of(p.sequences, first), query_of(p.sequences, last - 1) + 1, key,
                                             whole ? key + Core::kKeys : item.keys.length);
    return left == TileMask::kFull && !whole ? TileMask::kPartial : left;
  }

  JD_DEVICE static void hide(const Problem &p, const SoftmaxItem &item, int32_t key, typename Core::Scores &scores) {
    const Place place;
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      const SoftmaxMask::Keys seen = item.mask.row_keys(read_row(p.sequences, item, place.row(r)).query);
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        const int32_t j = key + place.key(i);  // without branches: SoftmaxMask::Keys::contains
        const bool shown = (j >= seen.begin) & (j < seen.end) & !((j >= seen.hole_begin) & (j < seen.hole_end));
        scores.at(r, i) = shown ? scores.at(r, i) : -INFINITY;
      }
    }
  }

  // A piece in which these rows see nothing: the merge looks no further than their states.
  JD_DEVICE static void store_empty(const Problem &p, const SoftmaxItem &item, int32_t piece) {
    const int local = Place().thread;
    if (local >= Core::kRows) return;
    const SoftmaxRow row = read_row(p.sequences, item, local);
    if (row.valid)
      p.sequences.partial_states[partial_row(p.sequences, piece, row.token, row.head)] = SoftmaxState{-INFINITY, 0.0f};
  }
};

}  // namespace jindou::attention

#endif
