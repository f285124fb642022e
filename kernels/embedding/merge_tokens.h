// merge_tokens: k adjacent rows of a sequence side by side, zeros before the first (jindou/merge_tokens.h).
//
// x [sum n, d], out [sum ceil(n / k), k * d], jagged, in chunks of 16 bytes: what the elements are does not matter.
//
// In the order of out a sequence is its own rows behind `padding` rows of zeros. A block owns kChunks of its chunks, 16 KiB, and a
// thread every 128th of them, four loads at a time; neighbours read and write neighbouring chunks. Where a chunk comes from and goes to is
// counted from the block's first, so that divisions are of 32 bits.
//
// Bytes: x read once, out written once; no arithmetic: bound by memory.
#ifndef JINDOU_KERNELS_EMBEDDING_MERGE_TOKENS_H
#define JINDOU_KERNELS_EMBEDDING_MERGE_TOKENS_H

#include "attention/jagged.h"
#include "attention/work_list.h"

namespace jindou::embedding {

struct MergeTokensParams {
  const char *x;
  char *out;
  int64_t x_stride, out_stride;  // bytes
  attention::Offsets offsets, out_offsets;
  int64_t batch, rows, out_rows;
  int32_t k;
  int32_t chunks;  // of a row of x
  FaultSink sink;
};

struct MergeTokensKernel {
  using Params = MergeTokensParams;
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 8;
  static constexpr int kLoads = 4;
  static constexpr int kChunks = 2 * kLoads * kThreads;
  using Shared = attention::WorkListShared<kThreads>;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    attention::for_each_item(
        p.batch, *reinterpret_cast<Shared *>(shared_memory),
        [&](int64_t b) -> uint32_t {
          Range range;
          const Fault fault = read(p, b, range);
          if (fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, fault);
          return static_cast<uint32_t>((range.chunks(p) + kChunks - 1) / kChunks);
        },
        [&](int64_t b, uint32_t item) {
          Range range;
          read(p, b, range);
          copy(p, range, int64_t{item} * kChunks);
        });
  }

 private:
  struct Range {
    attention::Sequence events, merged;
    JD_DEVICE int64_t chunks(const Params &p) const { return int64_t{merged.length} * p.k * p.chunks; }
  };

  // A sequence with any fault has no rows.
  JD_DEVICE static Fault read(const Params &p, int64_t b, Range &range) {
    range.merged = attention::Sequence{0, 0};
    Fault fault = attention::read_sequence(p.offsets, b, p.batch, p.rows, INT32_MAX, range.events);
    fault.table = 0;  // offsets
    if (fault.fault != JDB_FAULT_NONE) return fault;
    fault = attention::read_sequence(p.out_offsets, b, p.batch, p.out_rows, INT32_MAX, range.merged);
    fault.table = 1;  // out_offsets
    if (fault.fault != JDB_FAULT_NONE) return fault;
    const int64_t wanted = (int64_t{range.events.length} + p.k - 1) / p.k;
    if (range.merged.length != wanted) {
      fault = Fault{JDB_FAULT_MERGED_ROWS, -1, b, range.merged.length, wanted};
      range.merged.length = 0;
    }
    return fault;
  }

  JD_DEVICE static void copy(const Params &p, const Range &range, int64_t base) {
    const int64_t first = base / p.chunks, first_row = first / p.k;                     // row of events with padding, row of out
    const auto within = static_cast<uint32_t>(base - first * p.chunks), slot = static_cast<uint32_t>(first - first_row * p.k);
    const int64_t left = range.chunks(p) - base;
    const auto count = static_cast<uint32_t>(left < kChunks ? left : kChunks);
    const int64_t padding = int64_t{range.merged.length} * p.k - range.events.length;
    for (uint32_t from = prim::thread_idx().x; from < count; from += kLoads * kThreads) {
      prim::Vec4u chunks[kLoads];
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        chunks[i] = prim::Vec4u{0, 0, 0, 0};
        const uint32_t at = within + from + i * kThreads;
        const int64_t event = first + at / p.chunks - padding;
        if (from + i * kThreads < count && event >= 0) {
          chunks[i] = prim::load16(p.x + (range.events.begin + event) * p.x_stride + at % p.chunks * 16);
        }
      }
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        if (from + i * kThreads >= count) continue;
        const uint32_t at = within + from + i * kThreads, event = slot + at / p.chunks;
        const int64_t row = range.merged.begin + first_row + event / p.k;
        prim::store16(p.out + row * p.out_stride + (int64_t{event % p.k} * p.chunks + at % p.chunks) * 16, chunks[i]);
      }
    }
  }
};

}  // namespace jindou::embedding

#endif
