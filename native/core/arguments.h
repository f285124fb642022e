// The tensors of one operator call: acquired, resolved, and kept alive until the call ends.
#ifndef JINDOU_CORE_ARGUMENTS_H
#define JINDOU_CORE_ARGUMENTS_H

#include <cstddef>

#include "core/tensor.h"

namespace jindou::core {

template <size_t N>
class Arguments {
 public:
  Arguments(const Context &context, const Device &device) : context_(context), device_(device) {}

  // After a failure the rest are skipped.
  void required(const char *name, jd_tensor handle, jdb_tensor *resolved) {
    if (status_ != JD_OK) return;
    status_ = acquire_tensor(context_, name, handle, device_, "the stream", &used[count_]);
    if (status_ == JD_OK) *resolved = used[count_++]->t;
  }
  // The null handle gives an absent tensor: all zero.
  void optional(const char *name, jd_tensor handle, jdb_tensor *resolved) {
    if (handle == 0) {
      *resolved = {};
      return;
    }
    required(name, handle, resolved);
  }

  jd_status status() const { return status_; }

  Ref<Tensor> used[N];

 private:
  const Context &context_;
  const Device &device_;
  size_t count_ = 0;
  jd_status status_ = JD_OK;
};

}  // namespace jindou::core

#endif
