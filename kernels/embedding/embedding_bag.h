// embedding_bag, pooled: many tables, many bags, one launch.
//
//   sum   out[b, columns of t] = sum_i w_i * row_t(ids[i]),  i over bag b of table t
//   mean  the same over the number of valid ids, the sum of their weights, or the bag's length
//   max   elementwise maximum of w_i * row_t(ids[i])
//
// Layouts: ids, weights [total]; offsets [T*B + 1], bag b of table t at t*B + b; rows of table t `row_bytes` apart,
// read in vectors of 16 bytes (8 for narrow rows, 8 codes for quantised ones, table.h); out [B, sum dims], or a block [B, columns of
// t] a table.
//
// Work: a group of 8, 16 or 32 lanes owns a run of 1..8 consecutive bags of one table and one chunk of their columns,
// one vector a lane: 32 lanes x 16 bytes = 512 bytes of a row; wider rows are cut into chunks. The ids of a run are
// consecutive in memory, so the group walks them as one stream: it keeps the next `lanes` ids in registers (one a lane,
// prefetched while rows of the current ones arrive), issues kRowsInFlight row loads before it uses the first, and moves
// on to the next bag in the middle of such a batch. So bags of one id keep as many loads in flight as long bags do. A
// thread block is kThreads / lanes groups on one table. An id with k rows to sum (core/table_keys.h) is k places of the stream. The groups of a warp take the same number of steps (the
// longest), so that shuffles and votes are always made by whole warps.
//
// Order: a bag is summed by one accumulator a column, id after id, with one fused multiply-add each: the bits depend
// neither on the batch nor on the length of runs.
//
// Floor: bytes = sum over bags of (length * (row bytes + id [+ weight])) + T*B offsets + output; no reuse but the
// cache's. Two FLOPs an element: bandwidth bound. In flight per multiprocessor: 20 warps x 8 rows x 512 bytes = 80 KiB,
// more than two times what latency x bandwidth of an H200 asks for (4.8 TB/s x 1 us / 132 = 36 KB).
#ifndef JINDOU_KERNELS_EMBEDDING_EMBEDDING_BAG_H
#define JINDOU_KERNELS_EMBEDDING_EMBEDDING_BAG_H

#include "embedding/bags.h"
#include "embedding/table.h"

namespace jindou::embedding {

// Tables of one launch geometry; their blocks are consecutive.
struct BagClass {
  uint32_t first_block;
  uint32_t blocks_per_table;
  int32_t first_table;     // in the plan's sorted array
  int32_t lanes_log2;      // 3, 4, 5: lanes of a group
  int32_t chunks;          // groups that share a row
  int32_t bags_per_group;  // 1, 2, 4, 8
};

// lanes_log2 3 and 4 with one chunk, 5 with 1..16 chunks (dim 2048 of f32).
constexpr int kMaxBagClasses = 18;

struct EmbeddingBagKernel {
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 5;  // 96 registers a thread, 20 warps a multiprocessor
  static constexpr int kRowsInFlight = 8;
  static constexpr int kMaxBags = 8;
  static constexpr int kMaxGroups = kThreads / 8;

  // The stream of every group's run: position s of the run holds ids[s + shift of its bag]; with k rows an id, row
  // (s + shift) mod k of ids[(s + shift) / k].
  struct Run {
    int64_t start[kMaxBags];  // position where bag j begins
    int64_t shift[kMaxBags];  // index in ids (times k) minus position
    int64_t total;            // positions
    uint32_t occupied;        // bit j: bag j has ids
    int32_t bags;             // of the run: 0 past the end of the table
  };
  static constexpr size_t shared_bytes() { return sizeof(Run) * kMaxGroups; }

  struct Params {
    Jagged in;
    const TableMeta *tables;  // [T], sorted by class
    const void *zero_row;     // zero bytes, as many as the widest row has
    void *out;
    int64_t out_stride;  // elements; 0: every table has a block of rows of its own
    int32_t out_dtype;   // JD_F32, JD_F16, JD_BF16
    int32_t mean_length;  // 1: mean divides by the bag's length
    int32_t num_classes;
    BagClass classes[kMaxBagClasses];
  };

  // A group of lanes and the run of bags it owns.
  struct Group {
    int lanes, lane;           // own lane in the group
    int bags_per_group, bags;  // capacity of a run; bags in this run, 0 past the end of the table
    int64_t first_bag;         // 0..B-1
    int chunk, chunks;
    Run *run;                  // shared memory
  };

  JD_DEVICE JD_INLINE static void run(const Params &p, char *shared) { run_block(p, shared, prim::block_idx().x, prim::grid_dim().x); }

  // Inlined by force: as a function of its own, with what a call may not clobber saved, it would spill.
  JD_DEVICE JD_INLINE static void run_block(const Params &p, char *shared, uint32_t block, uint32_t) {
    int c = 0;
    while (c + 1 < p.num_classes && block >= p.classes[c + 1].first_block) ++c;
    const BagClass &geometry = p.classes[c];
    const uint32_t local = block - geometry.first_block;
    const TableMeta &table = p.tables[geometry.first_table + local / geometry.blocks_per_table];

    Group g;
    g.lanes = 1 << geometry.lanes_log2;
    g.lane = prim::lane_id() & (g.lanes - 1);
    g.chunks = geometry.chunks;
    g.bags_per_group = geometry.bags_per_group;
    const int group = prim::thread_idx().x >> geometry.lanes_log2;
    const int64_t unit =
        static_cast<int64_t>(local % geometry.blocks_per_table) * (kThreads >> geometry.lanes_log2) + group;
    g.run = reinterpret_cast<Run *>(shared) + group;
    g.chunk = static_cast<int>(unit % g.chunks);
    g.first_bag = unit / g.chunks * g.bags_per_group;
    const int64_t left = p.in.batch - g.first_bag;
    g.bags = left <= 0 ? 0 : left < g.bags_per_group ? static_cast<int>(left) : g.bags_per_group;
    start_run(p, table, g);

    switch (table.kind) {
      case kRowF32: pool<RowF32>(p, table, g); break;
      case kRowF16: pool<Row16<prim::f16>>(p, table, g); break;
      case kRowBF16: pool<Row16<prim::bf16>>(p, table, g); break;
      case kRowF16Narrow: pool<Row16Narrow<prim::f16>>(p, table, g); break;
      case kRowBF16Narrow: pool<Row16Narrow<prim::bf16>>(p, table, g); break;
      case kRowBytes: pool<RowCodes<8>>(p, table, g); break;
      case kRowInt4: pool<RowCodes<4>>(p, table, g); break;
      case kRowInt2: pool<RowCodes<2>>(p, table, g); break;
      default: pool<RowCodesNarrow>(p, table, g); break;
    }
  }

 private:
  // The maximum of codes is the narrow kind's affair.
  template <class Row>
  JD_DEVICE JD_INLINE static void pool(const Params &p, const TableMeta &table, const Group &g) {
    if (Row::kMaximum && table.pooling == JD_POOL_MAX) {
      pool_run<Row, Row::kMaximum>(p, table, g);
    } else {
      pool_run<Row, false>(p, table, g);
    }
  }

  // Where a position of the run lies.
  struct Place {
    int64_t index;  // in ids
    int function;   // which of the id's rows
    bool head;      // first place of its bag
  };
  JD_DEVICE JD_INLINE static Place place(const TableMeta &table, const Group &g, int64_t position) {
    int slot = 0;
    int64_t bag_start = 0;
#pragma unroll 1
    for (int j = 1; j < g.bags_per_group; ++j) {
      const int64_t start = g.run->start[j];
      if (position >= start) {
        slot = j;
        bag_start = start;
      }
    }
    const int64_t at = position + g.run->shift[slot];
    const int k = table.num_functions;
    if (k <= 1) return Place{at, 0, position == bag_start};
    const auto index = static_cast<int64_t>(table.by_functions.quotient(static_cast<uint64_t>(at)));
    return Place{index, static_cast<int>(at - index * k), position == bag_start};
  }

  // This lane's id of the chunk that begins at `first`.
  JD_DEVICE JD_INLINE static int64_t fetch(const Params &p, const TableMeta &table, const Group &g, int64_t first, int count) {
    return g.lane < count ? load_id(p.in, place(table, g, first + g.lane).index) : 0;
  }

  // Where the columns of a bag begin in the output.
  JD_DEVICE JD_INLINE static int64_t out_element(const Params &p, const TableMeta &table, int64_t bag) {
    if (p.out_stride != 0) return bag * p.out_stride + table.out_column;
    return table.table_column * p.in.batch + bag * table.table_columns + (table.out_column - table.table_column);
  }

  // Votes of the group in the low bits.
  JD_DEVICE JD_INLINE static uint32_t group_mask(const Group &g, bool predicate) {
    return prim::ballot(predicate) >> (prim::lane_id() & -g.lanes);
  }

  // Positions of the chunk that begins at `first`: 0..lanes.
  JD_DEVICE JD_INLINE static int chunk_length(const Group &g, int64_t first) {
    const int64_t left = g.run->total - first;
    return left <= 0 ? 0 : left < g.lanes ? static_cast<int>(left) : g.lanes;
  }

  // The chunks of a row, and rows side by side, meet the same ids: one of them reports.
  JD_DEVICE JD_INLINE static bool reports_faults(const TableMeta &table, const Group &g) {
    return g.chunk == 0 && table.reports != 0;
  }

  // Lays out the group's run, in shared memory: registers are what limits the rows in flight.
  JD_DEVICE JD_INLINE static void start_run(const Params &p, const TableMeta &table, const Group &g) {
    const int64_t k = table.num_functions > 1 ? table.num_functions : 1;

    // Offsets: lane j reads bag j of the run; an exclusive sum of lengths gives the stream.
    int64_t begin = 0, length = 0;
    Faults bad_bags;
    if (g.lane < g.bags) {
      read_bag(p.in, table.table * p.in.batch + g.first_bag + g.lane, table.table, reports_faults(table, g), bad_bags,
               begin, length);
    }
    bad_bags.settle(p.in);
    int64_t end = length * k;
    for (int step = 1; step < g.bags_per_group; step *= 2) {
      const int64_t before = prim::shfl_up(end, step, g.lanes);
      if (g.lane >= step) end += before;
    }
    if (g.lane < g.bags_per_group) {
      g.run->start[g.lane] = end - length * k;
      g.run->shift[g.lane] = begin * k - (end - length * k);
      if (g.lane == g.bags_per_group - 1) g.run->total = end;
    }
    prim::sync_warp();
    const uint32_t occupied = group_mask(g, length > 0) & ((1u << g.bags_per_group) - 1u);
    if (g.lane == 0) {
      g.run->occupied = occupied;
      g.run->bags = g.bags;
    }
    prim::sync_warp();
  }

  template <class Row, bool kMax>
  JD_DEVICE JD_INLINE static void pool_run(const Params &p, const TableMeta &table, const Group &g) {
    constexpr int kElements = Row::kElements;
    const bool reports = reports_faults(table, g);
    // Columns: one vector a lane.
    const int vectors_per_chunk = (table.vectors + g.chunks - 1) / g.chunks;
    const int vector = g.chunk * vectors_per_chunk + g.lane;
    const bool active = g.lane < vectors_per_chunk && vector < table.vectors;
    // A lane without a column reads column 0 with the others and writes nothing.
    const uint32_t column = active ? vector : 0;
    const CodeLayout layout = table.layout;
    void *out = element_address(p.out, p.out_dtype, out_element(p, table, g.first_bag) + vector * kElements);
    const bool mean = !kMax && table.pooling == JD_POOL_MEAN;

    float sum[kElements] = {};
    bool fresh = true;        // max: no row seen yet
    uint32_t count = 0;       // mean: what it divides by...
    float weight_sum = 0.0f;  // ...when weighted
    int slot = -1;            // bag of the run that is being summed

    auto write = [&] {
      if (!active) return;
      if (mean) {
        const float denominator = p.in.weights && !p.mean_length ? weight_sum : static_cast<float>(count);
        const float factor = denominator != 0.0f ? prim::div(1.0f, denominator) : 0.0f;
#pragma unroll
        for (int e = 0; e < kElements; ++e) sum[e] *= factor;
      }
      store_row(element_address(out, p.out_dtype, slot * (p.out_stride != 0 ? p.out_stride : table.table_columns)), p.out_dtype, sum);
    };

    // Empty bags give zeros.
#pragma unroll 1
    for (slot = 0; slot < g.run->bags; ++slot) {
      if (!(g.run->occupied >> slot & 1u)) write();
    }
    slot = -1;

    int64_t first = 0;
    int count_now = chunk_length(g, first);
    int64_t next = fetch(p, table, g, first, count_now);
#pragma unroll 1
    while (prim::any(count_now > 0)) {
      // The ids of this chunk are here; those of the next are on their way while its rows are read.
      const int64_t id = next;
      const int count_next = chunk_length(g, first + g.lanes);
      next = fetch(p, table, g, first + g.lanes, count_next);

      // Each lane turns its id into the address of a row; one that does not contribute reads zeros, with weight zero,
      // so that no load depends on a branch.
      bool valid = false, head = false;
      int function = 0;
      Faults bad_ids;
      float own_weight = 1.0f;
      if (g.lane < count_now) {
        const Place at = place(table, g, first + g.lane);
        head = at.head;
        function = at.function;
        if (p.in.weights) own_weight = p.in.weights[at.index];
        valid = check_id(p.in, table, id, at.index, reports && function == 0, bad_ids);
      }
      bad_ids.settle(p.in);
      if (!valid) own_weight = 0.0f;
      uint64_t own_row = reinterpret_cast<uint64_t>(p.zero_row);
      if (valid) own_row = table.row(id, function);
      // Of the batch at hand in the low bits.
      uint32_t valid_bits = group_mask(g, valid), head_bits = group_mask(g, head);
      // An id counts once, whatever rows it has.
      uint32_t count_bits = group_mask(g, function == 0 && (p.mean_length ? g.lane < count_now : valid));

#pragma unroll 1
      for (int batch = 0; batch < g.lanes; batch += kRowsInFlight) {
        if (!prim::any(batch < count_now)) break;

        // Issue the loads of kRowsInFlight rows...
        typename Row::Vector rows[kRowsInFlight];
#pragma unroll
        for (int u = 0; u < kRowsInFlight; ++u) {
          rows[u] = Row::load(reinterpret_cast<const char *>(prim::shfl(own_row, batch + u, g.lanes)), column, layout);
        }
        prim::keep(rows);

        // ...then add them in order, writing a bag when the next begins.
#pragma unroll
        for (int u = 0; u < kRowsInFlight; ++u) {
          float weight = 1.0f;
          if (p.in.weights) weight = prim::shfl(own_weight, batch + u, g.lanes);
          if (head_bits >> u & 1u) {
            if (slot >= 0) write();
            do ++slot;
            while (!(g.run->occupied >> slot & 1u));
#pragma unroll
            for (int e = 0; e < kElements; ++e) sum[e] = 0.0f;
            fresh = true;
            count = 0;
            weight_sum = 0.0f;
          }
          count += count_bits >> u & 1u;
          if (count_bits >> u & 1u) weight_sum += weight;
          const bool contributes = valid_bits >> u & 1u;
          float x[kElements];
          Row::widen(rows[u], layout, x);
#pragma unroll
          for (int e = 0; e < kElements; ++e) {
            if (kMax) {
              const float y = weight * x[e];
              sum[e] = contributes && (fresh || sum[e] < y || y != y) ? y : sum[e];  // a NaN stays
            } else {
              sum[e] = prim::fma(weight, x[e], sum[e]);
            }
          }
          fresh = fresh && !contributes;
        }
        valid_bits >>= kRowsInFlight;
        head_bits >>= kRowsInFlight;
        count_bits >>= kRowsInFlight;
      }
      first += g.lanes;
      count_now = count_next;
    }
    if (slot >= 0) write();
  }
};

}  // namespace jindou::embedding

#endif
