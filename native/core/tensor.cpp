#include "core/tensor.h"

#include <cinttypes>
#include <cstring>

#include "core/shape_text.h"
#include "core/stream.h"
#include "core/transfer_rules.h"

namespace jindou::core {
namespace {

// rank, shape and strides as the caller gave them, checked; strides filled in (row-major) where there are none.
jd_status read_layout(const Context &context, int32_t dtype, int32_t rank, const int64_t *shape, const int64_t *strides,
                      jdb_tensor *t, int64_t *span) {
  *t = {};
  const int64_t size = element_size(dtype);
  if (size == 0) return fail_argument(context, JD_INVALID_ARGUMENT, "dtype", "expected a JD_* dtype, got %d", dtype);
  if (rank < 0 || rank > JD_MAX_RANK) {
    return fail_argument(context, JD_INVALID_ARGUMENT, "rank", "expected 0..%d, got %d", JD_MAX_RANK, rank);
  }
  if (rank > 0 && !shape) return expect_pointer(context, "shape", shape);
  t->dtype = dtype;
  t->rank = rank;
  bool empty = false;
  for (int i = 0; i < rank; ++i) {
    if (shape[i] < 0) {
      return fail_argument(context, JD_INVALID_ARGUMENT, "shape", "expected dimensions >= 0, got %s",
                           ShapeText(shape, rank).text);
    }
    t->shape[i] = shape[i];
    empty |= shape[i] == 0;
  }
  const auto too_large = [&](const char *argument, const int64_t *values) {
    return fail_argument(context, JD_INVALID_ARGUMENT, argument,
                         "expected a tensor of less than 2^63 bytes, got %s %s of %s", argument,
                         ShapeText(values, rank).text, jd_dtype_name(dtype));
  };
  if (strides) {
    for (int i = 0; i < rank; ++i) {
      if (strides[i] < 0) {
        return fail_argument(context, JD_INVALID_ARGUMENT, "strides", "expected strides >= 0, got %s",
                             ShapeText(strides, rank).text);
      }
      t->strides[i] = strides[i];
    }
  } else {
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; --i) {
      t->strides[i] = stride;
      if (__builtin_mul_overflow(stride, shape[i] > 0 ? shape[i] : 1, &stride)) return too_large("shape", shape);
    }
  }
  // The last element's distance from the first; everything past 2^63 bytes is refused, so that no later product
  // overflows.
  int64_t last = 0, bytes = 0;
  for (int i = 0; i < rank; ++i) {
    int64_t extent = 0;
    if (__builtin_mul_overflow(shape[i] > 0 ? shape[i] - 1 : 0, t->strides[i], &extent) ||
        __builtin_add_overflow(last, extent, &last)) {
      return too_large(strides ? "strides" : "shape", strides ? strides : shape);
    }
  }
  if (__builtin_add_overflow(last, 1, &last) || __builtin_mul_overflow(last, size, &bytes)) {
    return too_large(strides ? "strides" : "shape", strides ? strides : shape);
  }
  *span = empty ? 0 : last;
  return JD_OK;
}

int64_t count_elements(const jdb_tensor &t) {
  int64_t count = 1;
  for (int i = 0; i < t.rank; ++i) {
    if (t.shape[i] == 0) return 0;
  }
  // A strided tensor may name one address many times (stride 0), so the product can pass what its span bounds.
  for (int i = 0; i < t.rank; ++i) {
    if (__builtin_mul_overflow(count, t.shape[i], &count)) return INT64_MAX;
  }
  return count;
}

bool is_contiguous(const jdb_tensor &t) {
  int64_t stride = 1;
  for (int i = t.rank - 1; i >= 0; --i) {
    if (t.shape[i] > 1 && t.strides[i] != stride) return false;
    if (t.shape[i] == 0) return true;
    if (t.shape[i] > 1) stride *= t.shape[i];
  }
  return true;
}

}  // namespace

Tensor::Tensor(Ref<Device> owner, std::shared_ptr<Storage> memory, bool is_owned, const jdb_tensor &description,
               int64_t elements_spanned)
    : Object(kKind),
      device(std::move(owner)),
      storage(std::move(memory)),
      t(description),
      span(elements_spanned),
      elements(count_elements(description)),
      contiguous(is_contiguous(description)),
      owned(is_owned) {}

jd_status acquire_tensor(const Context &context, const char *argument, jd_tensor handle, const Device &expected,
                         const char *other, Ref<Tensor> *tensor) {
  if (const jd_status status = acquire(context, argument, handle, tensor)) return status;
  const Device &actual = *(*tensor)->device;
  if (__builtin_expect(&actual != &expected, 0)) return refuse_foreign(context, argument, actual, other, expected);
  return JD_OK;
}

}  // namespace jindou::core

using namespace jindou;
using namespace jindou::core;

extern "C" {

jd_status jd_tensor_create(jd_device device_handle, int32_t dtype, int32_t rank, const int64_t *shape,
                           jd_tensor *tensor, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "tensor", tensor)) return status;
    *tensor = 0;
    Ref<Device> device;
    DeviceUse use;
    if (const jd_status status = acquire(context, "device", device_handle, &device)) return status;
    if (const jd_status status = use.enter(context, "device", *device)) return status;
    jdb_tensor t;
    int64_t span = 0;
    if (const jd_status status = read_layout(context, dtype, rank, shape, nullptr, &t, &span)) return status;
    const int64_t bytes = span * element_size(dtype);
    if (const jd_status status = allocate(*device, bytes, &t.data, error)) return status;
    std::shared_ptr<Storage> storage;
    try {
      storage = std::make_shared<Storage>(device, t.data, bytes);
    } catch (...) {
      deallocate(*device, t.data, bytes);
      throw;
    }
    *tensor = publish(std::make_unique<Tensor>(device, std::move(storage), true, t, span));
    return JD_OK;
  });
}

jd_status jd_tensor_wrap(jd_device device_handle, void *data, int32_t dtype, int32_t rank, const int64_t *shape,
                         const int64_t *strides, jd_tensor *tensor, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "tensor", tensor)) return status;
    *tensor = 0;
    Ref<Device> device;
    DeviceUse use;
    if (const jd_status status = acquire(context, "device", device_handle, &device)) return status;
    if (const jd_status status = use.enter(context, "device", *device)) return status;
    jdb_tensor t;
    int64_t span = 0;
    if (const jd_status status = read_layout(context, dtype, rank, shape, strides, &t, &span)) return status;
    const int64_t size = element_size(dtype);
    if (span > 0 && !data) {
      return fail_argument(context, JD_INVALID_ARGUMENT, "data", "expected the address of %" PRId64 " bytes, got NULL",
                           span * size);
    }
    const uintptr_t address = reinterpret_cast<uintptr_t>(data);
    uintptr_t end = 0;
    if (address % static_cast<uintptr_t>(size) != 0 ||
        __builtin_add_overflow(address, static_cast<uintptr_t>(span * size), &end)) {
      return fail_argument(context, JD_INVALID_ARGUMENT, "data",
                           "expected an address aligned to %" PRId64 " bytes (%s) with %" PRId64
                           " bytes behind it, got %p",
                           size, jd_dtype_name(dtype), span * size, data);
    }
    t.data = data;
    auto storage = std::make_shared<Storage>(device, data, 0);
    *tensor = publish(std::make_unique<Tensor>(device, std::move(storage), false, t, span));
    return JD_OK;
  });
}

jd_status jd_tensor_view(jd_tensor parent_handle, int64_t offset, int32_t rank, const int64_t *shape,
                         const int64_t *strides, jd_tensor *tensor, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "tensor", tensor)) return status;
    *tensor = 0;
    Ref<Tensor> parent;
    DeviceUse use;
    if (const jd_status status = acquire(context, "parent", parent_handle, &parent)) return status;
    if (const jd_status status = use.enter(context, "parent", *parent->device)) return status;
    jdb_tensor t;
    int64_t span = 0;
    if (const jd_status status = read_layout(context, parent->t.dtype, rank, shape, strides, &t, &span)) return status;
    if (offset < 0 || offset > parent->span || span > parent->span - offset) {
      return fail_argument(
          context, JD_INVALID_ARGUMENT, "offset",
          "expected a view inside the %" PRId64 " elements of its parent, got elements %" PRId64 "..%" PRId64,
          parent->span, offset, span > INT64_MAX - (offset > 0 ? offset : 0) ? INT64_MAX : offset + span);
    }
    t.data = span == 0 ? nullptr : static_cast<char *>(parent->t.data) + offset * element_size(t.dtype);
    *tensor = publish(std::make_unique<Tensor>(parent->device, parent->storage, parent->owned, t, span));
    return JD_OK;
  });
}

jd_status jd_tensor_destroy(jd_tensor handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    Ref<Tensor> tensor;
    return close(Context{error}, "tensor", handle, &tensor);
  });
}

jd_status jd_tensor_get_info(jd_tensor handle, jd_tensor_info *info, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_struct(context, "info", info)) return status;
    Ref<Tensor> tensor;
    DeviceUse use;
    if (const jd_status status = acquire(context, "tensor", handle, &tensor)) return status;
    if (const jd_status status = use.enter(context, "tensor", *tensor->device)) return status;
    jd_tensor_info filled = {};
    filled.dtype = tensor->t.dtype;
    filled.rank = tensor->t.rank;
    filled.owned = tensor->owned;
    std::memcpy(filled.shape, tensor->t.shape, sizeof filled.shape);
    std::memcpy(filled.strides, tensor->t.strides, sizeof filled.strides);
    filled.data = tensor->t.data;
    filled.size_bytes = tensor->bytes_spanned();
    write_struct(info, filled);
    return JD_OK;
  });
}

jd_status jd_tensor_write(jd_stream stream_handle, jd_tensor handle, const void *source, int64_t bytes,
                          jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Stream> stream;
    Ref<Tensor> tensor;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    Device &device = *stream->device;
    if (const jd_status status = acquire_tensor(context, "tensor", handle, device, "the stream", &tensor))
      return status;
    if (const jd_status status = expect_contiguous(context, "tensor", *tensor)) return status;
    if (const jd_status status = expect_bytes(context, *tensor, bytes)) return status;
    std::lock_guard<std::mutex> lock(stream->mutex);
    if (const jd_status status = stream->expect_not_capturing(context)) return status;
    if (bytes == 0) return JD_OK;
    if (const jd_status status = expect_pointer(context, "source", source)) return status;
    if (const jd_status status = stream->catch_up(context)) return status;
    return backend_result(error,
                          device.backend.copy(stream->native, tensor->t.data, source, static_cast<size_t>(bytes),
                                              JDB_HOST_TO_DEVICE, error),
                          "copy");
  });
}

jd_status jd_tensor_read(jd_stream stream_handle, jd_tensor handle, void *target, int64_t bytes, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Stream> stream;
    Ref<Tensor> tensor;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    Device &device = *stream->device;
    if (const jd_status status = acquire_tensor(context, "tensor", handle, device, "the stream", &tensor))
      return status;
    if (const jd_status status = expect_contiguous(context, "tensor", *tensor)) return status;
    if (const jd_status status = expect_bytes(context, *tensor, bytes)) return status;
    std::lock_guard<std::mutex> lock(stream->mutex);
    if (const jd_status status = stream->expect_not_capturing(context)) return status;
    if (bytes > 0) {
      if (const jd_status status = expect_pointer(context, "target", target)) return status;
      if (const jd_status status = stream->catch_up(context)) return status;
      const jd_status status = device.backend.copy(stream->native, target, tensor->t.data, static_cast<size_t>(bytes),
                                                   JDB_DEVICE_TO_HOST, error);
      if (status != JD_OK) return backend_result(error, status, "copy");
    }
    return stream->synchronize(context);
  });
}

jd_status jd_tensor_copy(jd_stream stream_handle, jd_tensor target_handle, jd_tensor source_handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Stream> stream;
    Ref<Tensor> target, source;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    Device &device = *stream->device;
    if (const jd_status status = acquire_tensor(context, "target", target_handle, device, "the stream", &target))
      return status;
    if (const jd_status status = acquire_tensor(context, "source", source_handle, device, "the stream", &source))
      return status;
    if (const jd_status status = expect_contiguous(context, "target", *target)) return status;
    if (const jd_status status = expect_contiguous(context, "source", *source)) return status;
    if (target->t.dtype != source->t.dtype) {
      return fail_argument(context, JD_INVALID_ARGUMENT, "source", "expected dtype %s as the target's, got %s",
                           jd_dtype_name(target->t.dtype), jd_dtype_name(source->t.dtype));
    }
    if (target->elements != source->elements) {
      return fail_argument(context, JD_INVALID_ARGUMENT, "source",
                           "expected %" PRId64 " elements as the target's, got %" PRId64, target->elements,
                           source->elements);
    }
    const int64_t bytes = target->bytes_spanned();
    if (bytes == 0) return JD_OK;
    const char *to = static_cast<const char *>(target->t.data), *from = static_cast<const char *>(source->t.data);
    if (to < from + bytes && from < to + bytes) {
      return fail_argument(context, JD_INVALID_ARGUMENT, "target",
                           "expected memory apart from the source's, got an overlap of %lld bytes",
                           static_cast<long long>(bytes - (to > from ? to - from : from - to)));
    }
    const Ref<Tensor> used[] = {target, source};
    return stream->copy(context, target->t.data, source->t.data, bytes, used);
  });
}

jd_status jd_tensor_fill(jd_stream stream_handle, jd_tensor handle, uint8_t byte, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Stream> stream;
    Ref<Tensor> tensor;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    if (const jd_status status = acquire_tensor(context, "tensor", handle, *stream->device, "the stream", &tensor))
      return status;
    if (const jd_status status = expect_contiguous(context, "tensor", *tensor)) return status;
    const int64_t bytes = tensor->bytes_spanned();
    if (bytes == 0) return JD_OK;
    return stream->fill(context, tensor->t.data, byte, bytes, tensor);
  });
}

}  // extern "C"
