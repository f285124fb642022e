/* Tensors: typed, strided device memory.
 *
 * Shape and strides count elements. The last dimension is contiguous (stride 1) for every operator. Memory that Jindou
 * allocates is aligned to 256 bytes; operators ask for 16-byte aligned data and row strides (their headers say so). */
#ifndef JINDOU_TENSOR_H
#define JINDOU_TENSOR_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define JD_MAX_RANK 5

typedef struct jd_tensor_info {
  uint32_t struct_size;
  int32_t dtype;
  int32_t rank;
  int32_t owned;               /* 1 when Jindou allocated the memory, 0 when it is wrapped */
  int64_t shape[JD_MAX_RANK];
  int64_t strides[JD_MAX_RANK];
  void *data;                  /* device address of element 0 */
  int64_t size_bytes;          /* bytes spanned from the first to the last element */
} jd_tensor_info;

/* Allocates a contiguous (row-major) tensor; its contents are undefined. rank 0..JD_MAX_RANK, dimensions >= 0. */
JD_API jd_status jd_tensor_create(jd_device device, int32_t dtype, int32_t rank, const int64_t *shape, jd_tensor *tensor,
                                  jd_error *error);

/* A tensor over memory that others own (at least as long as the tensor lives). `strides` NULL = contiguous. The memory
 * must be addressable by the device: any host memory for cpu, device memory of the same GPU for cuda. It is aligned to
 * the dtype's size; strides are >= 0. */
JD_API jd_status jd_tensor_wrap(jd_device device, void *data, int32_t dtype, int32_t rank, const int64_t *shape,
                                const int64_t *strides, jd_tensor *tensor, jd_error *error);

/* A tensor over part of another: element 0 lies `offset` elements after the parent's. The view keeps the parent's memory
 * alive. Every element of the view must lie inside the parent's span. `strides` NULL = contiguous. */
JD_API jd_status jd_tensor_view(jd_tensor parent, int64_t offset, int32_t rank, const int64_t *shape,
                                const int64_t *strides, jd_tensor *tensor, jd_error *error);

/* Releases a tensor. Work already enqueued that uses it completes first: the memory returns to the pool in stream order. */
JD_API jd_status jd_tensor_destroy(jd_tensor tensor, jd_error *error);

JD_API jd_status jd_tensor_get_info(jd_tensor tensor, jd_tensor_info *info, jd_error *error);

/* Copies `bytes` from host memory to element 0 on (contiguous tensors; bytes <= size). The host memory may be reused when
 * the call returns. Not allowed while the stream is capturing. */
JD_API jd_status jd_tensor_write(jd_stream stream, jd_tensor tensor, const void *source, int64_t bytes, jd_error *error);

/* Copies `bytes` to host memory. Blocks until the stream's work is done: it is a synchronisation, and reports what one
 * reports (JD_OUT_OF_BOUNDS). Not allowed while the stream is capturing. */
JD_API jd_status jd_tensor_read(jd_stream stream, jd_tensor tensor, void *target, int64_t bytes, jd_error *error);

/* target = source: contiguous, same dtype and number of elements, both on the stream's device, no overlap. */
JD_API jd_status jd_tensor_copy(jd_stream stream, jd_tensor target, jd_tensor source, jd_error *error);

/* Sets every byte of a contiguous tensor. */
JD_API jd_status jd_tensor_fill(jd_stream stream, jd_tensor tensor, uint8_t byte, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
