// A stream: calls on it are serialised by its mutex; while it captures, work is recorded instead of run.
#ifndef JINDOU_CORE_STREAM_H
#define JINDOU_CORE_STREAM_H

#include <cstdint>
#include <memory>
#include <mutex>

#include "core/backend.h"
#include "core/device.h"
#include "core/graph.h"
#include "core/handle_table.h"
#include "core/tensor.h"

namespace jindou::core {

class Plan;

class Stream final : public Object {
 public:
  static constexpr Kind kKind = Kind::stream;

  Stream(Ref<Device> owner, void *native_stream);
  ~Stream() override;

  // The next four lock the stream.

  // Runs an operator, or records it with the tensors and the plan it uses. `args` is the jdb_*_args of `op`.
  template <class Args, size_t N>
  jd_status run(const Context &context, int32_t op, Plan *plan, const Args &args, const Ref<Tensor> (&used)[N]) {
    static_assert(sizeof(Args) <= sizeof(OperatorArgs), "OperatorArgs holds every operator's arguments");
    return run(context, op, plan, &args, sizeof args, used, N);
  }
  jd_status copy(const Context &context, void *target, const void *source, int64_t bytes, const Ref<Tensor> (&used)[2]);
  jd_status fill(const Context &context, void *target, uint8_t byte, int64_t bytes, const Ref<Tensor> &used);
  // Leaves a capture that nobody will end, and waits for the work.
  void abandon();

  // These want the stream locked.

  jd_status expect_not_capturing(const Context &context) const;
  // Between a tensor and host memory that stays as it is until the stream has done it; not while capturing.
  jd_status copy_host(const Context &context, void *target, const void *source, int64_t bytes, int32_t direction,
                      const Ref<Tensor> &tensor, const Ref<Object> &memory);
  // Runs what waits, on a device whose streams run late; comes before all that is done at once, and before the host or another stream
  // is told that the work is done.
  jd_status catch_up(const Context &context) { return __builtin_expect(!late_, 1) ? JD_OK : run_late(context); }
  // Waits for the work; a report of a STRICT operator becomes JD_OUT_OF_BOUNDS.
  jd_status synchronize(const Context &context);
  jd_status begin_capture(const Context &context);
  jd_status end_capture(const Context &context, jd_graph *graph);

  const Ref<Device> device;
  void *const native;
  std::mutex mutex;
  int64_t skipped = 0;  // by JD_BOUNDS_ZERO operators, since last taken

 private:
  jd_status run(const Context &context, int32_t op, Plan *plan, const void *args, size_t size, const Ref<Tensor> *used,
                size_t count);
  jd_status run_late(const Context &context);
  // Where work is written down instead of run; null: nowhere.
  Recording *noted() const { return recording_ ? recording_.get() : late_.get(); }
  void drop_capture();

  std::unique_ptr<Recording> recording_;  // while capturing
  std::unique_ptr<Recording> late_;       // what waits, where streams run late
};

// Acquires the stream a call names and enters its device.
jd_status use_stream(const Context &context, jd_stream handle, Ref<Stream> *stream, DeviceUse *use);

}  // namespace jindou::core

#endif
