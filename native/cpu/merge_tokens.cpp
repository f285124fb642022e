// merge_tokens on the CPU: copies, and zeros before the first event of a sequence. Bound by memory.
//
// A task is a run of rows of out, wherever sequences begin and end in it.
#include <algorithm>
#include <cstring>

#include "core/dtype.h"
#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kBytesOfTask = 256 << 10;

// Rows of x side by side in one row of out. Where rows of x are dense it is one copy.
class Rows {
 public:
  explicit Rows(const jdb_merge_tokens_args &a)
      : a_(a), size_(core::element_size(a.x.dtype)), bytes_(a.x.shape[1] * size_), step_(a.x.strides[0] * size_) {}

  int64_t out_bytes() const { return bytes_ * a_.k; }

  // Row `row` of out is the j-th of its sequence, whose events are rows first..first+n-1 of x and whose rows are m.
  void write(int64_t row, int64_t j, int64_t first, int64_t n, int64_t m) const {
    char *to = static_cast<char *>(a_.out.data) + row * a_.out.strides[0] * size_;
    const int64_t padding = m * a_.k - n, event = j * a_.k - padding;  // the first, below 0 in padding
    const int64_t missing = std::max<int64_t>(0, -event);
    std::memset(to, 0, static_cast<size_t>(missing * bytes_));
    to += missing * bytes_;
    const char *from = static_cast<const char *>(a_.x.data) + (first + event + missing) * step_;
    const int64_t count = a_.k - missing;
    if (step_ == bytes_) {
      std::memcpy(to, from, static_cast<size_t>(count * bytes_));
      return;
    }
    for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * bytes_, from + i * step_, static_cast<size_t>(bytes_));
  }

 private:
  const jdb_merge_tokens_args &a_;
  const int64_t size_, bytes_, step_;
};

// The sequence that holds row `row` of out: the last that begins at or before it and is not empty.
int64_t sequence_of(const jdb_tensor &offsets, int64_t batch, int64_t row) {
  int64_t low = 0, high = batch;  // offsets[low] <= row < offsets[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (integer_at(offsets, middle) <= row ? low : high) = middle;
  }
  return low;
}

}  // namespace

// Offsets were checked before (host_checks.cpp).
jd_status run_merge_tokens(Stream &stream, const jdb_merge_tokens_args &a, jd_error *) {
  const int64_t rows = a.out.shape[0];
  if (rows == 0) return JD_OK;
  const Rows all(a);
  const int64_t rows_of_task = std::max<int64_t>(1, kBytesOfTask / all.out_bytes());
  stream.device.pool.run(divide(rows, rows_of_task), rows * all.out_bytes() / 4, [&](int64_t index, int) {
    int64_t row = index * rows_of_task;
    const int64_t end = std::min(rows, row + rows_of_task);
    for (int64_t b = sequence_of(a.out_offsets, a.batch, row); row < end; ++b) {
      const int64_t first = integer_at(a.offsets, b), n = integer_at(a.offsets, b + 1) - first;
      const int64_t out_first = integer_at(a.out_offsets, b), out_end = integer_at(a.out_offsets, b + 1);
      for (; row < std::min(end, out_end); ++row) all.write(row, row - out_first, first, n, out_end - out_first);
    }
  });
  return JD_OK;
}

}  // namespace jindou::cpu
