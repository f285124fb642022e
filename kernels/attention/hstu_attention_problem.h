// Parameters of hstu_attention and how a sequence's work is cut up: one item is a tile of query rows of one head. The
// last tiles, which see the most keys, come first; the heads of a tile follow each other, so that blocks running
// together read the same rows of memory.
//
// Keys are summed in pieces, whose borders depend on nothing but the position of a key: out = norm * (0 + sum of piece 0 + sum of piece 1
// ...), of pieces that a row sees something of; of another it would add a 0. A block takes a tile's pieces in turn, its totals resting in
// scratch memory meanwhile; or, in runs with few tiles (`split`), an item is a piece of a tile, whose sums are left in scratch memory, and a
// second kernel adds them. So few rows over a long sequence fill a device, and a row's bits are the same in every run of every plan. A split
// launch serves a window of query rows: as many as scratch memory holds the pieces of.
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

// How a sequence is cut over its keys: every kKeys, whole tiles of every kernel. A tile's totals go to memory and back (a quarter of what the
// piece itself reads at 128 rows) in about a tenth of the time that the piece is multiplied in.
struct HstuPieces {
  static constexpr int32_t kKeys = 1024;

  // One at least.
  JD_HOST_DEVICE static int32_t of(int64_t keys) { return keys <= kKeys ? 1 : static_cast<int32_t>((keys + kKeys - 1) / kKeys); }
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
  int32_t split;                   // 1: items are pieces
  int32_t most_pieces;             // of a sequence; with `split`
  int64_t first_query, end_query;  // the window of query rows
  float *partials;                 // split: [rows of the window, heads, most_pieces, dim_v], see partial_sums; else a tile's totals a block

  // Items of a tile of rows.
  JD_DEVICE int32_t pieces(int32_t keys) const { return split ? HstuPieces::of(keys) : 1; }
  // This window has the first query of a sequence; with q_offsets.
  JD_DEVICE bool begins(int64_t b) const { return q_offsets[b] >= first_query; }
  // Where the sums of a piece of a row lie.
  JD_DEVICE int64_t partial_sums(int64_t token, int32_t head, int32_t piece) const {
    return (((token - first_query) * heads + head) * most_pieces + piece) * shape.dim_v;
  }
  JD_DEVICE HstuMask mask_of(int32_t keys, int32_t targets) const {
    return HstuMask(mask.causal != 0, keys, targets, mask.contextual_seq_len, mask.max_attn_len, mask.min_full_attn_seq_len);
  }
};

struct HstuSequence {
  Sequence rows;      // of keys and values; paged: begin is that of the timestamps
  Sequence queries;   // the last of these rows, of them those in the window
  int32_t first_row;  // that the first of them is
  int32_t targets;
  Fault fault;
};

template <class T>
JD_DEVICE HstuSequence read_hstu_sequence(const HstuAttentionParams<T> &p, int64_t b) {
  HstuSequence sequence;
  sequence.targets = sequence.first_row = 0;
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
  Sequence &queries = sequence.queries;
  sequence.first_row = sequence.rows.length - queries.length;
  if (sequence.fault.fault != JDB_FAULT_NONE) {
    queries.length = 0;
  } else if (p.split) {
    const int64_t begin = queries.begin > p.first_query ? queries.begin : p.first_query, last = queries.begin + queries.length;
    const int64_t end = last < p.end_query ? last : p.end_query;
    sequence.first_row += static_cast<int32_t>(begin < last ? begin - queries.begin : 0);
    queries = Sequence{begin, static_cast<int32_t>(begin < end ? end - begin : 0)};
  }
  return sequence;
}

template <int kRows, class T>
JD_DEVICE uint32_t count_hstu_items(const HstuAttentionParams<T> &p, int64_t b) {
  const HstuSequence sequence = read_hstu_sequence(p, b);
  if (sequence.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0 && p.first_query == 0) report_fault(p.sink, sequence.fault);
  return packed_tiles<kRows>(sequence.queries, 1) * p.heads * p.pieces(sequence.rows.length);
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
  int32_t piece;                                   // -1: all keys
  int32_t first_run, first_run_tiles, second_run;  // in tiles of keys
  int32_t tiles;                                   // of both

  JD_DEVICE int32_t tile(int32_t i) const {
    return i < first_run_tiles ? first_run + i : second_run + (i - first_run_tiles);
  }
  // The first after `i` that lies in another piece; `tiles` if none does.
  template <int kKeys>
  JD_DEVICE int32_t piece_end(int32_t i) const {
    constexpr int32_t kTiles = HstuPieces::kKeys / kKeys;
    static_assert(kTiles * kKeys == HstuPieces::kKeys, "pieces are whole tiles");
    const int32_t border = (tile(i) / kTiles + 1) * kTiles, second_run_tiles = tiles - first_run_tiles;
    const int32_t first = border - first_run, second = border - second_run;
    return (first < 0 ? 0 : first < first_run_tiles ? first : first_run_tiles) +
           (second < 0 ? 0 : second < second_run_tiles ? second : second_run_tiles);
  }
};

// Of `rows` rows or as many as there are from row `begin` on, the first asked for being 0; `piece` counts where there are several.
template <int kKeys, class T>
JD_DEVICE HstuItem make_hstu_item(const HstuAttentionParams<T> &p, int64_t b, const HstuSequence &sequence, int32_t begin, int32_t rows,
                                  int32_t head, int32_t piece) {
  const int32_t n = sequence.rows.length, end_row = sequence.first_row + sequence.queries.length;
  const HstuMask mask = p.mask_of(n, sequence.targets);
  const int32_t first_row = sequence.first_row + begin;
  const int32_t last_row = end_row - first_row < rows ? end_row : first_row + rows;
  const int32_t pieces = p.pieces(n);
  const int32_t first_tile = piece * (HstuPieces::kKeys / kKeys);  // of the piece
  const int32_t end_tile = pieces == 1 ? INT32_MAX : first_tile + HstuPieces::kKeys / kKeys;
  const auto within = [&](int32_t t) { return t < first_tile ? first_tile : t < end_tile ? t : end_tile; };

  const HstuMask::TileKeys seen = mask.tile_keys(first_row, last_row);
  const int32_t whole_run_end = seen.begin < seen.end ? (seen.end + kKeys - 1) / kKeys : seen.begin / kKeys;
  const int32_t first_run = within(seen.begin / kKeys), first_run_end = within(whole_run_end);
  const int32_t diagonal = first_row / kKeys, diagonal_end = within((last_row + kKeys - 1) / kKeys);
  const int32_t second_run = within(diagonal > whole_run_end ? diagonal : whole_run_end);
  const int32_t second_run_tiles = diagonal_end > second_run ? diagonal_end - second_run : 0;

  const int32_t first_run_tiles = first_run_end - first_run;
  const int64_t first_query = sequence.queries.begin - sequence.first_row;
  const int32_t *pages = p.pages.seq_lens != nullptr ? p.pages.table.row(b) : nullptr;
  return HstuItem{sequence.rows, pages,     first_query,     mask,       first_row, last_row, head, pieces == 1 ? -1 : piece,
                  first_run,     first_run_tiles, second_run, first_run_tiles + second_run_tiles};
}

template <int kRows, int kKeys, class T>
JD_DEVICE HstuItem read_hstu_item(const HstuAttentionParams<T> &p, int64_t b, uint32_t item) {
  const HstuSequence sequence = read_hstu_sequence(p, b);
  const uint32_t heads = static_cast<uint32_t>(p.heads), tiles = packed_tiles<kRows>(sequence.queries, 1);
  const uint32_t tile = tiles - 1 - item / heads % tiles, piece = item / heads / tiles;
  return make_hstu_item<kKeys>(p, b, sequence, static_cast<int32_t>(tile) * kRows, kRows, static_cast<int32_t>(item % heads),
                               static_cast<int32_t>(piece));
}

}  // namespace jindou::attention

#endif
