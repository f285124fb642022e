/* Host memory that a device copies to and from beside other work: page-locked on cuda, plain memory on cpu and simt.
 *
 * A copy from or to any other host memory (jd_tensor_write, jd_tensor_read) is complete, for the host, when the call returns; these copies
 * are work of a stream like any other. What orders the host after them is a synchronisation of the stream, or an event recorded behind
 * them: until then the source must stay as it is, and the target must not be looked at. */
#ifndef JINDOU_HOST_MEMORY_H
#define JINDOU_HOST_MEMORY_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Allocates `bytes` >= 0 of host memory for copies of `device`; their contents are undefined. *data is its address, aligned to 64
 * bytes, for the host to read and write; NULL for 0 bytes. It is not counted as memory of the device, and its limit is the system's:
 * JD_OUT_OF_MEMORY. On cuda this takes as long as the system needs to lock the pages: allocate once. */
JD_API jd_status jd_host_memory_create(jd_device device, int64_t bytes, jd_host_memory *memory, void **data, jd_error *error);

/* Releases it. Blocks until the copies enqueued so far are done (on cuda, while a stream is capturing, the memory is kept until
 * later instead). */
JD_API jd_status jd_host_memory_destroy(jd_host_memory memory, jd_error *error);

/* Enqueues a copy of `bytes`, from byte `offset` of `source` on, to element 0 of the tensor on (contiguous tensors; bytes <= size). Returns
 * at once. Not allowed while the stream is capturing. */
JD_API jd_status jd_tensor_write_from(jd_stream stream, jd_tensor tensor, jd_host_memory source, int64_t offset, int64_t bytes,
                                      jd_error *error);

/* Enqueues a copy of the first `bytes` of the tensor to `target`, from its byte `offset` on. Returns at once: it is no synchronisation,
 * and reports nothing. Not allowed while the stream is capturing. */
JD_API jd_status jd_tensor_read_into(jd_stream stream, jd_tensor tensor, jd_host_memory target, int64_t offset, int64_t bytes,
                                     jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
