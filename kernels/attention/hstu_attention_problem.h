// Parameters of hstu_attention and how a sequence's work is cut up: one item is a tile of query rows of one head. The
// last tiles, which see the most keys, come first; the heads of a tile follow each other, so that blocks running
// together read the same rows of memory.
#ifndef JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_PROBLEM_H
#define JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_PROBLEM_H

#include "attention/hstu_mask.h"
#include "attention/jagged.h"
#include "attention/time_buckets.h"
#include "decode/pages.h"

namespace jindou::attention {

// What the mask is made from besides a sequence's rows and targets.
struct HstuMaskParams {
  int32_t causal, contextual_seq_len, max_attn_len, min_full_attn_seq_len;
};

// What is added to scores: position[center + j - i] and time[bucket], for each head or (stride 0) for all. Null: none.
struct HstuBias {
  const float *position, *time;
  int64_t position_head_stride, time_head_stride;
  int32_t center;  // of `position`: distance 0
  int32_t num_buckets;
  const int64_t *timestamps;  // [rows]; paged: [batch, timestamp_stride]
  const TimeBuckets *buckets;
};

// Keys and values in pages (jindou/paged_cache.h) instead of rows.
struct HstuPages {
  paged::PageTable table;
  paged::Pages keys, values;
  paged::PageScales key_scales, value_scales;
  const int32_t *seq_lens;  // [batch]; null: keys and values are rows
  int64_t timestamp_stride;
  int64_t most_rows;        // of a sequence, by the table, the plan and the timestamps
  int32_t dtype;            // of the pages
};

template <class T>
struct HstuAttentionParams {
  Rows<const T> queries, keys, values;
  OutRows out;
  Offsets offsets;
  Offsets q_offsets;           // the last rows of each sequence; data null: all
  const int32_t *num_targets;  // [batch], or null
  const float *attn_scale;     // [query rows], or null: `norm`
  int64_t batch;
  int64_t rows;                // of keys and values
  int64_t query_rows;          // of queries and out
  int64_t max_seq_len;
  int32_t heads;
  HeadShape shape;
  HstuMaskParams mask;
  float alpha;
  float norm;                  // 1 / scaling_seqlen
  HstuBias bias;
  HstuPages pages;
  FaultSink sink;
};

struct HstuSequence {
  Sequence rows;     // of keys and values; paged: begin is that of the timestamps
  Sequence queries;  // the last of these rows
  int32_t targets;
  Fault fault;
};

template <class T>
JD_DEVICE HstuSequence read_hstu_sequence(const HstuAttentionParams<T> &p, int64_t b) {
  HstuSequence sequence;
  sequence.targets = 0;
  sequence.queries = Sequence{0, 0};
  if (p.pages.seq_lens != nullptr) {
    const int64_t length = p.pages.seq_lens[b];
    const bool bad = length < 0 || length > p.pages.most_rows;
    sequence.rows = Sequence{b * p.pages.timestamp_stride, bad ? 0 : static_cast<int32_t>(length)};
    sequence.fault = Fault{bad ? JDB_FAULT_CACHE_LENGTH : JDB_FAULT_NONE, -1, b, length, p.pages.most_rows};
  } else {
    sequence.fault = read_sequence(p.offsets, b, p.batch, p.rows, p.max_seq_len, sequence.rows);
  }
  if (sequence.fault.fault != JDB_FAULT_NONE) return sequence;
  if (p.q_offsets.data != nullptr) {
    sequence.fault = read_sequence(p.q_offsets, b, p.batch, p.query_rows, p.max_seq_len, sequence.queries);
    sequence.fault.table = 1;  // which tensor of offsets
    if (sequence.fault.fault == JDB_FAULT_NONE && sequence.queries.length > sequence.rows.length)
      sequence.fault = Fault{JDB_FAULT_QUERIES, 1, b, sequence.queries.length, sequence.rows.length};
  } else {
    sequence.queries = sequence.rows;
  }
  if (sequence.fault.fault == JDB_FAULT_NONE && p.num_targets != nullptr) {
    sequence.targets = p.num_targets[b];
    if (sequence.targets < 0 || sequence.targets > sequence.rows.length)
      sequence.fault = Fault{JDB_FAULT_TARGETS, -1, b, sequence.targets, sequence.rows.length};
  }
  if (sequence.fault.fault != JDB_FAULT_NONE) sequence.queries.length = 0;
  return sequence;
}

template <int kRows, class T>
JD_DEVICE uint32_t count_hstu_items(const HstuAttentionParams<T> &p, int64_t b) {
  const HstuSequence sequence = read_hstu_sequence(p, b);
  if (sequence.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, sequence.fault);
  return static_cast<uint32_t>((sequence.queries.length + kRows - 1) / kRows) * p.heads;
}

// A tile of query rows of one head, and the tiles of keys the mask leaves it: a first run, for rows of one interval of
// keys, and a second for the diagonal where that lies apart (a tile of targets skips the targets before it).
struct HstuItem {
  Sequence sequence;  // keys and values
  const int32_t *pages;  // of the sequence; null: rows
  int64_t first_query;  // where row 0 of the sequence would lie in queries and out: before them if it is not asked for
  HstuMask mask;
  int32_t first_row, last_row;  // [first_row, last_row)
  int32_t head;
  int32_t first_run, first_run_tiles, second_run;  // in tiles of keys
  int32_t tiles;                                   // of both

  JD_DEVICE int32_t tile(int32_t i) const {
    return i < first_run_tiles ? first_run + i : second_run + (i - first_run_tiles);
  }
};

template <int kRows, int kKeys, class T>
JD_DEVICE HstuItem read_hstu_item(const HstuAttentionParams<T> &p, int64_t b, uint32_t item) {
  const HstuSequence sequence = read_hstu_sequence(p, b);
  const int32_t n = sequence.rows.length;
  const HstuMask mask(p.mask.causal != 0, n, sequence.targets, p.mask.contextual_seq_len, p.mask.max_attn_len,
                      p.mask.min_full_attn_seq_len);
  const int32_t before = n - sequence.queries.length;  // rows that are not asked for
  const int32_t tile = (sequence.queries.length - 1) / kRows - static_cast<int32_t>(item / p.heads);
  const int32_t first_row = before + tile * kRows;
  const int32_t last_row = n - first_row < kRows ? n : first_row + kRows;

  const HstuMask::TileKeys seen = mask.tile_keys(first_row, last_row);
  const int32_t first_run = seen.begin / kKeys;
  const int32_t first_run_end = seen.begin < seen.end ? (seen.end + kKeys - 1) / kKeys : first_run;
  const int32_t diagonal = first_row / kKeys, diagonal_end = (last_row + kKeys - 1) / kKeys;
  const int32_t second_run = diagonal > first_run_end ? diagonal : first_run_end;
  const int32_t second_run_tiles = diagonal_end > second_run ? diagonal_end - second_run : 0;

  const int32_t first_run_tiles = first_run_end - first_run;
  const int32_t head = static_cast<int32_t>(item % p.heads);
  const int64_t first_query = sequence.queries.begin - before;
  const int32_t *pages = p.pages.seq_lens != nullptr ? p.pages.table.row(b) : nullptr;
  return HstuItem{sequence.rows, pages, first_query, mask,      first_row,       last_row,
                  head,          first_run,   first_run_tiles, second_run, first_run_tiles + second_run_tiles};
}

}  // namespace jindou::attention

#endif
