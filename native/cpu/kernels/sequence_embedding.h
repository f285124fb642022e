// sequence_embedding: rows of several tables side by side or summed, a position's and a time bucket's row added
// (jindou/sequence_embedding.h).
//
// Bytes: every row once, from random places in memory, and every output row: memory is the bound. Rows are found, read and
// prefetched by embedding_bag's reader, a table at a time for a block of events whose f32 rows stay in L1; then position and time are
// added and the block is written. Their rows of codes are widened first: those tables are small, and mostly in L2. An output row depends
// on its own event alone.
#ifndef JINDOU_CPU_KERNELS_SEQUENCE_EMBEDDING_H
#define JINDOU_CPU_KERNELS_SEQUENCE_EMBEDDING_H

#include <type_traits>

#include "cpu/kernels/embedding_bag.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/typed_rows.h"

namespace jindou::cpu {
namespace {

template <class Isa>
struct SequenceEmbedding {
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;

  const SequenceTask &t;
  SequenceFindings &findings;

  // Calls f with the reader of the table's rows; `found` gets its bad ids.
  template <class Function>
  static void with_reader(const EmbeddingTask &table, EmbeddingFindings &found, const Function &f) {
    switch (table.elements) {
      case RowElements::f32: return f(EmbeddingBag<Isa, RowElements::f32>(table, found));
      case RowElements::f16: return f(EmbeddingBag<Isa, RowElements::f16>(table, found));
      case RowElements::bf16: return f(EmbeddingBag<Isa, RowElements::bf16>(table, found));
      case RowElements::e4m3: return f(EmbeddingBag<Isa, RowElements::e4m3>(table, found));
      case RowElements::u8: return f(EmbeddingBag<Isa, RowElements::u8>(table, found));
      case RowElements::u4: return f(EmbeddingBag<Isa, RowElements::u4>(table, found));
      case RowElements::u2: return f(EmbeddingBag<Isa, RowElements::u2>(table, found));
    }
  }

  void run() const {
    EmbeddingFindings none{};
    for (int i = 0; i < t.num_tables; ++i) {
      with_reader(t.tables[i], none, [&](const auto &reader) { reader.start(t.first, t.last); });
    }
    Place place = find(t.first);
    for (int64_t first = t.first; first < t.last; first += t.block) {
      const int64_t end = first + t.block < t.last ? first + t.block : t.last;
      memset(t.scratch, 0, sizeof(float) * (end - first) * t.width);
      for (int i = 0; i < t.num_tables; ++i) gather(i, first, end);
      for (int64_t event = first; event < end; ++event) write(event, t.scratch + (event - first) * t.width, place);
    }
  }

  void gather(int table, int64_t first, int64_t end) const {
    EmbeddingFindings found{};
    with_reader(t.tables[table], found, [&](const auto &reader) {
      using Reader = std::decay_t<decltype(reader)>;
      typename Reader::Rows rows;
      const int64_t step = Reader::kBatch / reader.functions;
      for (int64_t from = first; from < end; from += step) {
        reader.resolve(from, from + step < end ? from + step : end, t.last, rows);
        if (Reader::kTogether) reader.prefetch_all(rows);
        for (int i = 0; i < rows.count; ++i) {
          if (!Reader::kTogether && rows.prefetch[i]) reader.prefetch(rows.prefetch[i], reader.bytes);
          float *sum = t.scratch + (rows.position[i] - first) * t.width + t.columns[table];
          for_vectors<Isa>(reader.t.dim, [&](int64_t at, int lanes) {
            const F x = reader.load(rows, i, static_cast<int>(at), lanes);
            store_lanes<Isa>(sum + at, Isa::add(load_lanes<Isa>(sum + at, lanes), x), lanes);
          });
        }
      }
    });
    if (found.bad_ids == 0 || !t.tables[table].reports) return;
    const int64_t position = t.tables[table].table * t.total + found.position;
    if (findings.bad_ids == 0 || position < findings.position) {
      findings.position = position;
      findings.id = found.id;
      findings.table = table;
    }
    findings.bad_ids += found.bad_ids;
  }

  // The sequence that events are in.
  struct Place {
    int64_t sequence, begin, end, targets, query_time;
  };

  int64_t offset_at(int64_t i) const {
    return t.offset_dtype == JD_I32 ? static_cast<const int32_t *>(t.offsets)[i] : static_cast<const int64_t *>(t.offsets)[i];
  }

  Place of_sequence(int64_t b) const {
    Place p{b, offset_at(b), offset_at(b + 1), t.num_targets ? t.num_targets[b] : 0, 0};
    if (t.times.rows && p.end > p.begin) p.query_time = t.query_times ? t.query_times[b] : t.timestamps[p.end - 1];
    return p;
  }

  Place find(int64_t event) const {
    int64_t low = 0, high = t.batch - 1;  // the last sequence that begins at or before the event
    while (low < high) {
      const int64_t middle = low + (high - low + 1) / 2;
      if (offset_at(middle) <= event) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return of_sequence(low);
  }

  // A row of positions or times as numbers of the table's dtype.
  static const char *place_row(const PlaceRows &table, int64_t row, float *widened) {
    const char *found = table.rows + row * table.row_bytes;
    if (__builtin_expect(table.codes != nullptr, 0)) return widen(*table.codes, found, widened);
    return found;
  }
  // Apart: inlined, it would cost `write` its registers.
  static __attribute__((noinline)) const char *widen(const EmbeddingTask &codes, const char *row, float *widened) {
    EmbeddingTask one = codes;
    one.rows = row;
    one.out = reinterpret_cast<char *>(widened);
    EmbeddingFindings none{};
    with_reader(one, none, [](const auto &reader) { reader.widen_rows(); });
    return one.out;
  }

  void write(int64_t event, const float *sums, Place &place) const {
    while (event >= place.end) place = of_sequence(place.sequence + 1);
    const char *position = nullptr, *time = nullptr;
    if (t.positions.rows) {
      const int64_t row = t.places->position(event - place.begin, place.end - place.begin, place.targets);
      position = place_row(t.positions, row, t.widened);
    }
    if (t.times.rows) time = place_row(t.times, t.places->bucket(place.query_time, t.timestamps[event]), t.widened + t.width);
    char *out = t.out + event * t.out_row_bytes;
    const F scale = Isa::set(t.scale);
    for_vectors<Isa>(t.width, [&](int64_t at, int lanes) {
      F x = Isa::mul(scale, load_lanes<Isa>(sums + at, lanes));
      if (position) x = Isa::add(x, load_typed<Isa>(position, t.positions.dtype, at, lanes));
      if (time) x = Isa::add(x, load_typed<Isa>(time, t.times.dtype, at, lanes));
      store_typed<Isa>(out, t.out_dtype, at, lanes, x);
    });
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
