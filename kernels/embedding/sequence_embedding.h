// sequence_embedding: rows of several tables side by side or summed, a position's and a time bucket's row added, one output row an
// event.
//
//   out[i, :] = scale * (row of ids[t, i] of every table t) + position_table[position(i)] + time_table[bucket(i)]
//
// Layouts: ids [T, total]; offsets [B + 1]; timestamps [total], query_times and num_targets [B] or null; out [total, width]. Tables,
// those of positions and times too, as in embedding_bag (table.h), all read four elements at a time: 16 bytes of f32, 8 of f16 and bf16,
// 4 codes.
//
// Work: a group of 8, 16 or 32 lanes owns 8 consecutive events and one chunk of their columns, four columns a lane. Lanes 0..7 each
// find one event's sequence (binary search among the offsets), position and bucket, and pass them round by shuffles. The lanes of
// a table read the same ids (broadcasts), turn them into addresses, and have eight rows under way before they use the first; side by
// side a lane knows one table, summed it walks them all in order. Sums stay in registers until the output is written. The offsets and
// targets are checked by all threads on the way; an event that no sequence holds, which only bad offsets can make, gives zeros.
//
// Floor: bytes = total * (ids + rows of the tables + output row), and the position and time tables, which L2 holds: a gather.
// Bandwidth bound.
#ifndef JINDOU_KERNELS_EMBEDDING_SEQUENCE_EMBEDDING_H
#define JINDOU_KERNELS_EMBEDDING_SEQUENCE_EMBEDDING_H

#include "embedding/bags.h"
#include "embedding/sequence_places.h"
#include "embedding/table.h"

namespace jindou::embedding {

// Rows of positions or buckets; `data` is null for an absent table.
struct PlaceTable {
  const char *data;
  int64_t row_bytes;
  int32_t kind;  // kRowF32, kRowF16Narrow, kRowBF16Narrow or kRowCodesNarrow
  CodeLayout layout;
};

struct SequenceEmbeddingKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 2;
  static constexpr int kRows = 8;  // events a group
  static constexpr size_t shared_bytes() { return 0; }

  struct Params {
    Jagged in;            // ids: of the first table; bags = batch
    int64_t ids_stride;   // from one table's ids to the next
    const TableMeta *tables;  // [num_tables], in the caller's order
    const void *zero_row;     // zero bytes, as many as the widest row has
    PlaceTable positions, times;
    SequencePlaces places;
    const int64_t *timestamps;
    const int64_t *query_times;  // or null
    const int32_t *num_targets;  // or null
    void *out;
    int64_t out_stride;  // elements
    float scale;
    int32_t out_dtype;   // JD_F32, JD_F16, JD_BF16
    int32_t num_tables;  // with rows side by side counted one by one
    int32_t summed;      // 1: all tables have the columns of out
    int32_t lanes_log2;  // 3, 4, 5: lanes of a group
    int32_t chunks;      // groups that share an event
    int32_t vectors;     // columns of out / 4
  };

  struct Group {
    int lanes, base, lane;
    int64_t first;    // event
    uint32_t events;  // bit u: event first + u is some sequence's
    int vector;       // column of this lane, in fours
    bool active;      // the lane has one
  };

  // Where an event stands.
  struct Place {
    bool inside;
    int64_t position;
    int32_t bucket;
  };

  JD_DEVICE static void run(const Params &p, char *) {
    Faults faults;
    const int64_t block = prim::block_idx().x;
    const int thread = prim::thread_idx().x;
    const int64_t threads = static_cast<int64_t>(prim::grid_dim().x) * kThreads;
    for (int64_t b = block * kThreads + thread; b < p.in.batch; b += threads) check_sequence(p, b, faults);

    Group g;
    g.lanes = 1 << p.lanes_log2;
    g.lane = prim::lane_id() & (g.lanes - 1);
    g.base = prim::lane_id() - g.lane;
    const int64_t unit = block * (kThreads >> p.lanes_log2) + (thread >> p.lanes_log2);
    const int chunk = static_cast<int>(unit % p.chunks);
    g.first = unit / p.chunks * kRows;
    const int vectors_per_chunk = (p.vectors + p.chunks - 1) / p.chunks;
    g.vector = chunk * vectors_per_chunk + g.lane;
    g.active = g.lane < vectors_per_chunk && g.vector < p.vectors;

    // Lane j finds event first + j.
    Place place{false, 0, 0};
    if (g.lane < kRows && g.first + g.lane < p.in.total) place = find(p, g.first + g.lane);
    g.events = prim::ballot(place.inside) >> g.base & 0xffu;

    float sum[kRows][4] = {};
    if (g.active && g.events != 0) add_tables(p, g, faults, sum);
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[u][e] *= p.scale;
    }
    if (p.positions.data) add_places(p, p.positions, g, place.position, sum);
    if (p.times.data) add_places(p, p.times, g, static_cast<int64_t>(place.bucket), sum);
    if (g.active) {
#pragma unroll
      for (int u = 0; u < kRows; ++u) {
        if (g.first + u >= p.in.total) break;
        store_row(element_address(p.out, p.out_dtype, (g.first + u) * p.out_stride + 4 * g.vector), p.out_dtype, sum[u]);
      }
    }
    faults.settle(p.in);
  }

 private:
  JD_DEVICE JD_INLINE static void check_sequence(const Params &p, int64_t b, Faults &faults) {
    int64_t begin, length;
    if (!read_bag(p.in, b, -1, true, faults, begin, length) || !p.num_targets) return;
    const int32_t targets = p.num_targets[b];
    if (targets < 0 || targets > length) faults.meet(p.in, Fault{JDB_FAULT_TARGETS, -1, b, targets, length});
  }

  JD_DEVICE JD_INLINE static Place find(const Params &p, int64_t event) {
    int64_t low = 0, high = p.in.batch;  // low: the last sequence known to begin at or before the event, if any does
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      if (load_offset(p.in, middle) <= event) {
        low = middle;
      } else {
        high = middle;
      }
    }
    Place place{false, 0, 0};
    if (p.in.batch == 0) return place;
    const int64_t begin = load_offset(p.in, low), end = load_offset(p.in, low + 1);
    place.inside = begin >= 0 && begin <= event && event < end && end <= p.in.total;
    if (!place.inside) return place;
    int64_t targets = p.num_targets ? p.num_targets[low] : 0;
    if (targets < 0 || targets > end - begin) targets = 0;
    if (p.positions.data) place.position = p.places.position(event - begin, end - begin, targets);
    if (p.times.data) {
      place.bucket = p.places.bucket(p.query_times ? p.query_times[low] : p.timestamps[end - 1], p.timestamps[event]);
    }
    return place;
  }

  JD_DEVICE JD_INLINE static void add_tables(const Params &p, const Group &g, Faults &faults, float (&sum)[kRows][4]) {
    int table = 0, end = p.num_tables;
    if (!p.summed) {  // the one that holds this lane's columns
      while (end - table > 1) {
        const int middle = table + (end - table) / 2;
        if (p.tables[middle].out_column <= 4 * g.vector) {
          table = middle;
        } else {
          end = middle;
        }
      }
    }
#pragma unroll 1
    for (; table < end; ++table) {
      const TableMeta &t = p.tables[table];
      // Of rows side by side in a sum, those with this lane's columns.
      if (g.vector - static_cast<uint32_t>(t.out_column / 4) >= static_cast<uint32_t>(t.vectors)) continue;
      switch (t.kind) {
        case kRowF32: add_rows<RowF32>(p, t, g, faults, sum); break;
        case kRowF16Narrow: add_rows<Row16Narrow<prim::f16>>(p, t, g, faults, sum); break;
        case kRowBF16Narrow: add_rows<Row16Narrow<prim::bf16>>(p, t, g, faults, sum); break;
        default: add_rows<RowCodesNarrow>(p, t, g, faults, sum); break;
      }
    }
  }

  // This lane's columns of one table's rows. No lane waits for another here: side by side they may be at different tables.
  template <class Row>
  JD_DEVICE JD_INLINE static void add_rows(const Params &p, const TableMeta &t, const Group &g, Faults &faults,
                                           float (&sum)[kRows][4]) {
    const uint32_t column = g.vector - static_cast<uint32_t>(t.out_column / 4);
    const int64_t ids = t.table * p.ids_stride + g.first;
    int64_t id[kRows];
#pragma unroll
    for (int u = 0; u < kRows; ++u) id[u] = g.events >> u & 1u ? load_id(p.in, ids + u) : 0;
    const int functions = t.num_functions > 1 ? t.num_functions : 1;
#pragma unroll 1
    for (int f = 0; f < functions; ++f) {
      typename Row::Vector rows[kRows];
#pragma unroll
      for (int u = 0; u < kRows; ++u) {
        uint64_t row = reinterpret_cast<uint64_t>(p.zero_row);
        // The lane of a table's first columns reports.
        const bool reports = column == 0 && f == 0 && t.reports != 0;
        if ((g.events >> u & 1u) && check_id(p.in, t, id[u], t.table * p.in.total + g.first + u, reports, faults)) {
          row = t.row(id[u], f);
        }
        rows[u] = Row::load(reinterpret_cast<const char *>(row), column, t.layout);
      }
      prim::keep(rows);
#pragma unroll
      for (int u = 0; u < kRows; ++u) {
        float x[4];
        Row::widen(rows[u], t.layout, x);
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[u][e] += x[e];
      }
    }
  }

  // Row `own` of a place table for the event of each lane.
  JD_DEVICE JD_INLINE static void add_places(const Params &p, const PlaceTable &table, const Group &g, int64_t own,
                                             float (&sum)[kRows][4]) {
    switch (table.kind) {
      case kRowF32: add_place_rows<RowF32>(p, table, g, own, sum); break;
      case kRowF16Narrow: add_place_rows<Row16Narrow<prim::f16>>(p, table, g, own, sum); break;
      case kRowBF16Narrow: add_place_rows<Row16Narrow<prim::bf16>>(p, table, g, own, sum); break;
      default: add_place_rows<RowCodesNarrow>(p, table, g, own, sum); break;
    }
  }

  template <class Row>
  JD_DEVICE JD_INLINE static void add_place_rows(const Params &p, const PlaceTable &table, const Group &g, int64_t own,
                                                 float (&sum)[kRows][4]) {
    const uint32_t column = g.active ? g.vector : 0;
    typename Row::Vector rows[kRows];
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
      const int64_t row = prim::shfl(own, u, g.lanes);
      const void *from = g.events >> u & 1u ? static_cast<const void *>(table.data + row * table.row_bytes) : p.zero_row;
      rows[u] = Row::load(static_cast<const char *>(from), column, table.layout);
    }
    prim::keep(rows);
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
      float x[4];
      Row::widen(rows[u], table.layout, x);
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[u][e] += x[e];
    }
  }
};

}  // namespace jindou::embedding

#endif
