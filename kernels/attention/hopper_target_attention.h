// target_attention on sm_90a, for bf16: the function of target_attention.h with tensor copies and wgmma.
//
//   out_i = sum_j softmax_j(scale * q_i . k_j) v_j      j over the user's latest events and, with self_key, i's own row
//   out_i = sum_j SiLU(scale * q_i . k_j) v_j * norm    with silu_norm
//
// Shapes: candidates [sum nc, H, d], keys and values [sum nk, Hkv, d], out [sum nc, H, d] in bf16 or f32; d = 64, 128, 256; H / Hkv a power
// of two up to 128, so that the packed rows of a tile are a box of the candidates' tensor.
//
// One block a multiprocessor: a producer warp and two consumer warpgroups (hopper_pipeline.h) over items of 128 packed query rows of one
// user and key/value head (target_attention_problem.h), against one piece of the history or all pieces in turn; the arithmetic of both is
// the same. Own keys are one dot product a row.
//
// FLOPs 4 * d * H * sum(nc * nk): 4 d / 4096 clocks a pair on the tensor cores; one exp2 a pair at 16 a clock: 0.0625, as much as the
// tensor cores need at d = 64, half of what they need at 128 and a quarter of 256. Bytes: the history once from HBM, ceil(nc * group / 128) times from L2.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_TARGET_ATTENTION_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_TARGET_ATTENTION_H

#include "attention/hopper_pipeline.h"
#include "attention/hopper_schedule.h"
#include "attention/target_attention_rows.h"

namespace jindou::attention {

struct HopperTargetParams {
  prim::TensorMap candidates;  // as [d / 64][candidates][heads][64]: boxes of all panels, 128 / group candidates, group heads
  TileSource keys, values;
  TargetAttentionParams<uint16_t> problem;
};

template <class Core>
struct HopperTargetAttentionKernel {
  using Params = HopperTargetParams;
  static constexpr bool kHopper = true;
  static constexpr int kThreads = Core::kThreads;
  static constexpr int kMinBlocks = 1;
  using Element = uint16_t;  // bf16
  static constexpr int32_t kColumns = Core::kD;
  static constexpr int32_t kTileRows = Core::kRows;
  static constexpr int32_t kTileKeys = Core::kKeys;

  struct Item : TargetAttentionItem {
    int32_t rows;  // packed, from first_row on
  };
  struct Shared {
    HopperShared<Core, Item> pipeline;
    HopperSchedule schedule;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  // As the portable kernels have it: what a block that takes all pieces of its tiles parks.
  static constexpr int kConsumerThreads = kThreads - prim::kWarpgroupThreads;
  static constexpr int64_t kBlockOutputs = int64_t{Core::kRows} * Core::kD;
  static constexpr int64_t kBlockStates = int64_t{kConsumerThreads} * Core::Accumulators::kRows;

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    const TargetAttentionUsers &users = p.problem.users;
    shared.pipeline.init();
    shared.schedule.make(
        users.batch, users.kv_heads, Core::kRows / 2 % users.group == 0,  // a half is whole candidates
        [&](int64_t b) { return costs(users, read_user(users, b)); },
        [&](int64_t b) {
          const Fault fault = read_user(users, b).fault;
          if (fault.fault != JDB_FAULT_NONE) report_fault(users.sink, fault);
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

  struct Accumulators : Core::Accumulators {
    float top[Core::Accumulators::kRows];
    float sum[Core::Accumulators::kRows];
  };

  // In tiles of keys, of which all tiles of rows meet all.
  JD_DEVICE static TileCosts costs(const TargetAttentionUsers &p, const User &user) {
    const auto tiles = [](int32_t keys) { return (keys + Core::kKeys - 1) / Core::kKeys; };
    const int32_t n = user.history.length, all = tiles(n), pieces = p.split != 0 ? target_pieces().number(n) : 1;
    const int32_t rows = static_cast<int32_t>(packed_tiles<Core::kRows>(user.candidates, p.group));
    return TileCosts{rows, pieces, all, all, pieces > 1 ? tiles(target_pieces().length(n)) : all > 0 ? all : 1};
  }

  // Of no pieces, -1, if there is no work.
  JD_DEVICE static void read_work(const TargetAttentionUsers &p, const HopperWork &work, Item &made) {
    if (work.sequence < 0) {
      made.pieces = -1;
      return;
    }
    const User user = read_user(p, work.sequence);
    const int32_t first_row = work.tile * Core::kRows + work.before(Core::kRows), count = work.count(Core::kRows);
    const int32_t left = user.candidates.length * p.group - first_row;
    made = Item{make_item(p, user, first_row, work.head, work.piece), left < count ? left : count};
  }

  // Keys of a piece.
  JD_DEVICE static int32_t piece_keys(const User &user, int32_t piece) {
    const int32_t length = target_pieces().length(user.history.length), left = user.history.length - piece * length;
    return left < length ? left : length;
  }

  JD_DEVICE static void produce(const Params &p, Shared &shared) {
    const TargetAttentionUsers &users = p.problem.users;
    prim::prefetch_tensor_map(p.candidates);
    prim::prefetch_tensor_map(p.keys.map);
    prim::prefetch_tensor_map(p.values.map);
    HopperProducer<Core, Item> producer(shared.pipeline);
    for (;;) {
      producer.lead([&] {
        shared.schedule.advance(users.batch, users.kv_heads, [&](int64_t b) { return costs(users, read_user(users, b)); });
      });
      const Item &item = producer.begin_item([&](Item &made) { read_work(users, shared.schedule.work(), made); });
      if (item.pieces < 0) break;
      const bool empty = item.rows <= 0;  // a half may be
      producer.sync();
      if (empty) continue;
      producer.copy_queries([&](char *target, prim::Mbarrier *barrier) {
        prim::tensor_copy(target, p.candidates, 0, item.kv_head * users.group,
                          static_cast<int32_t>(item.user.candidates.begin) + item.first_row / users.group, 0, barrier);
      });
      for (int32_t piece = item.first_piece; piece < item.last_piece; ++piece) {
        const int64_t token = item.user.history.begin + piece * target_pieces().length(item.user.history.length);
        const int32_t keys = piece_keys(item.user, piece);
        for (int32_t key = 0; key < keys; key += Core::kKeys) {
          producer.template copy_tile<false>(p.keys, token + key, item.kv_head, 0);
          producer.template copy_tile<true>(p.values, token + key, item.kv_head, keys - key);
        }
      }
    }
    producer.end();
  }

  JD_DEVICE static void consume(const TargetAttentionParams<uint16_t> &p, HopperShared<Core, Item> &shared) {
    HopperConsumer<Core, Item> consumer(shared);
    // A softmax's scale is positive; of a negative one the scores change sign. Scale 0 weighs all keys alike; a hidden score of -inf must
    // stay -inf, so the smallest normal number stands for 0.
    const bool silu = p.users.is_silu(), negates = !silu && p.scale < 0.0f;
    const float scale = silu ? 1.0f : prim::max(prim::abs(p.scale), 1.17549435e-38f);
    const ParkedRows parked{p.users.partial_outputs + prim::block_idx().x * kBlockOutputs,
                            p.users.partial_states + prim::block_idx().x * kBlockStates};
    for (;;) {
      const Item &work = consumer.next_item();
      if (prim::shfl(work.pieces, 0) < 0) return;
      const int group = prim::shfl(Place().group, 0);
      if (prim::shfl(work.rows, 0) <= group * 64) {  // none of the rows are this warpgroup's
        for (int32_t piece = work.first_piece; piece < work.last_piece; ++piece) {
          for (int32_t left = piece_keys(work.user, piece); left > 0; left -= Core::kKeys) {
            consumer.skip();
            consumer.skip();
          }
        }
        consumer.release_queries();
        continue;
      }
      int32_t piece = prim::shfl(work.first_piece, 0);
#pragma unroll 1
      do {
        const int32_t keys = prim::shfl(piece_keys(work.user, piece), 0);
        Accumulators acc;
#pragma unroll
        for (float &sum : acc.sums) sum = 0.0f;
#pragma unroll
        for (int r = 0; r < Accumulators::kRows; ++r) {
          acc.top[r] = silu ? 0.0f : -INFINITY;  // without a softmax it stays 0, so that merging two results adds them
          acc.sum[r] = 0.0f;
        }
        if (piece == 0 && p.self_key != 0) {
          const Place place;
          start_with_own_keys(
              p, work, place,
              [&](int row, const uint16_t *key) {
                const float part = Core::dot(shared.queries, place, row, key);
                return negates ? -part : part;
              },
              acc);
        }
        float factor[Accumulators::kRows];
        hopper_loop<Core>(
            consumer, shared.queries, group, 0, (keys + Core::kKeys - 1) / Core::kKeys, acc, [](int) { return false; },
            [&](int tile, typename Core::Scores &scores) {
              const int32_t valid = keys - tile * Core::kKeys;
              if (silu) {
                if (valid < Core::kKeys) hide_keys_from(scores, valid, 0.0f);  // SiLU(0) = 0
                weigh_silu_by_twos(scores, p.scale);
              } else {
                if (negates) Core::negate(scores);
                if (valid < Core::kKeys) hide_keys_from(scores, valid, -INFINITY);
#pragma unroll
                for (int r = 0; r < Accumulators::kRows; ++r) {
                  factor[r] = weigh_row<Core::Scores::kCount>([&](int i) -> float & { return scores.at(r, i); }, scale, acc.top[r],
                                                              acc.sum[r], [](float x) { return Place::highest(x); });
                }
              }
            },
            [&](typename Core::Accumulators &sums, typename Core::Scores &) {
              if (!silu) Core::rescale(sums, factor);
            });

        const Place place;
        finish_states(place, scale, acc);
        if (piece > work.first_piece) merge_parked<kConsumerThreads>(parked, place, acc);
        if (piece + 1 < work.last_piece) {
          park<kConsumerThreads>(parked, place, acc);
        } else if (work.pieces > 1 && p.users.split != 0) {
          store_partial(p.users, work, place, piece, acc);
        } else {
          store_out(p.users, work, place, acc);
        }
      } while (++piece < prim::shfl(work.last_piece, 0));
      consumer.release_queries();
    }
  }

  JD_DEVICE static void hide_keys_from(typename Core::Scores &scores, int32_t valid, float hidden) {
    const Place place;
#pragma unroll
    for (int i = 0; i < Core::Scores::kCount; ++i) {
#pragma unroll
      for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i) = place.key(i) < valid ? scores.at(r, i) : hidden;
    }
  }
};

}  // namespace jindou::attention

#endif
