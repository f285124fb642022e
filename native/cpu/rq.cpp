// rq_encode and rq_decode on the CPU: how the work is cut into tasks. The kernels are in kernels/rq.h. Cuts change no bit: every
// row depends on itself and the codebooks alone.
#include <algorithm>
#include <cstdio>
#include <new>

#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kTasksOfThread = 8;
constexpr int64_t kMostRows = 1024;         // of a task
constexpr int64_t kElementsOfDecode = 1 << 14;  // of a task

class RqEncoder final : public Plan {
 public:
  RqEncoder(Device &d, const jdb_allocator &allocator, const jd_rq_encode_desc &desc) : Plan(d, allocator), desc_(desc) {}

  jd_status prepare(jd_error *error) {
    const RqKernels &kernels = device.kernels;
    panels_ = divide(desc_.num_codes, kernels.rq_lanes);
    scratch_ = divide(kernels.rq_scratch(desc_.dim), 16) * 16;
    const int64_t lanes = desc_.num_levels * panels_ * kernels.rq_lanes;
    Layout layout;
    packed_at_ = layout.add<float>(lanes * desc_.dim);
    start_at_ = layout.add<float>(lanes);
    scratch_at_ = layout.add<float>(scratch_ * device.pool.size());
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "rq_encode on cpu (%s): %d levels of %d codes in panels of %d", device.kernels.isa, desc_.num_levels,
             desc_.num_codes, device.kernels.rq_lanes);
  }

  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_rq_encode_args *>(args);
    const RqKernels &kernels = device.kernels;
    const int64_t rows = a.x.shape[0];
    if (rows == 0) return JD_OK;
    const int64_t elements = static_cast<int64_t>(desc_.num_levels) * desc_.num_codes * desc_.dim;

    device.pool.run(desc_.num_levels * panels_, elements, [&](int64_t index, int) {
      const int64_t level = index / panels_, first = index % panels_ * kernels.rq_lanes;
      RqPackTask t;
      t.from = static_cast<const float *>(a.codebooks.data) + level * a.codebooks.strides[0] + first * a.codebooks.strides[1];
      t.code_stride = a.codebooks.strides[1];
      t.dim = desc_.dim;
      t.codes = static_cast<int32_t>(std::min<int64_t>(kernels.rq_lanes, desc_.num_codes - first));
      t.packed = memory.part<float>(packed_at_) + index * kernels.rq_lanes * desc_.dim;
      t.start = memory.part<float>(start_at_) + index * kernels.rq_lanes;
      kernels.rq_pack(t);
    });

    // Whole groups of rows, enough tasks for all threads.
    const int64_t groups = divide(rows, kernels.rq_group);
    const int64_t groups_of_task =
        std::clamp<int64_t>(groups / (device.pool.size() * kTasksOfThread), 1, kMostRows / kernels.rq_group);
    const int64_t rows_of_task = groups_of_task * kernels.rq_group;
    device.pool.run(divide(rows, rows_of_task), rows * elements, [&](int64_t index, int worker) {
      RqEncodeTask t;
      t.dtype = desc_.dtype;
      t.dim = desc_.dim;
      t.levels = desc_.num_levels;
      t.num_codes = desc_.num_codes;
      t.panels = panels_;
      t.x = a.x.data;
      t.x_stride = a.x.strides[0];
      t.packed = memory.part<float>(packed_at_);
      t.start = memory.part<float>(start_at_);
      t.codebooks = static_cast<const float *>(a.codebooks.data);
      t.level_stride = a.codebooks.strides[0];
      t.code_stride = a.codebooks.strides[1];
      t.codes = static_cast<int32_t *>(a.codes.data);
      t.codes_stride = a.codes.strides[0];
      t.residual_norm = static_cast<float *>(a.residual_norm.data);
      t.first_row = index * rows_of_task;
      t.last_row = std::min(rows, t.first_row + rows_of_task);
      t.scratch = memory.part<float>(scratch_at_) + worker * scratch_;
      kernels.rq_encode(t);
    });
    return JD_OK;
  }

 private:
  const jd_rq_encode_desc desc_;
  int64_t panels_ = 0, scratch_ = 0;
  size_t packed_at_ = 0, start_at_ = 0, scratch_at_ = 0;
};

// The lowest bad code of all tasks, whichever thread met it.
class Findings {
 public:
  void add(const RqFindings &found) {
    if (found.bad_codes == 0) return;
    std::lock_guard<std::mutex> lock(mutex_);
    const int64_t count = all_.bad_codes + found.bad_codes;
    if (all_.bad_codes == 0 || found.position < all_.position) all_ = found;
    all_.bad_codes = count;
  }
  const RqFindings &all() const { return all_; }

 private:
  std::mutex mutex_;
  RqFindings all_{};
};

void report(jdb_report &report, const jdb_rq_decode_args &a, const RqFindings &found) {
  if (found.bad_codes == 0) return;
  if (a.bounds == JD_BOUNDS_ZERO) {
    report.skipped += found.bad_codes;
  } else if (!report.has_error) {  // an earlier launch comes first
    report.has_error = 1;
    report.fault = JDB_FAULT_ID;
    report.op = JDB_OP_RQ_DECODE;
    report.table = found.level;
    report.position = found.position;
    report.value = found.code;
    report.limit = a.codebooks.shape[1];
  }
}

}  // namespace

jd_status create_rq_encode(Device &device, const jd_rq_encode_desc &desc, const jdb_allocator &allocator, Plan **plan,
                           jd_error *error) {
  return prepared(new (std::nothrow) RqEncoder(device, allocator, desc), plan, error);
}

jd_status run_rq_decode(Stream &stream, const jdb_rq_decode_args &a, jd_error *) {
  const int64_t rows = a.codes.shape[0], levels = a.codebooks.shape[0], dim = a.codebooks.shape[2];
  const int64_t rows_of_task = std::max<int64_t>(1, kElementsOfDecode / dim);
  Findings findings;
  stream.device.pool.run(divide(rows, rows_of_task), rows * levels * dim, [&](int64_t index, int) {
    RqDecodeTask t;
    t.out_dtype = a.out.dtype;
    t.bounds = a.bounds;
    t.dim = static_cast<int32_t>(dim);
    t.levels = static_cast<int32_t>(levels);
    t.num_codes = static_cast<int32_t>(a.codebooks.shape[1]);
    t.codes = static_cast<const int32_t *>(a.codes.data);
    t.codes_stride = a.codes.strides[0];
    t.codebooks = static_cast<const float *>(a.codebooks.data);
    t.level_stride = a.codebooks.strides[0];
    t.code_stride = a.codebooks.strides[1];
    t.out = a.out.data;
    t.out_stride = a.out.strides[0];
    t.first_row = index * rows_of_task;
    t.last_row = std::min(rows, t.first_row + rows_of_task);
    RqFindings found{};
    stream.device.kernels.rq_decode(t, found);
    findings.add(found);
  });
  report(stream.report, a, findings.all());
  return JD_OK;
}

}  // namespace jindou::cpu
