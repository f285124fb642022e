/* Devices: the backends ("cpu", "cuda", "simt"), their devices, memory figures. */
#ifndef JINDOU_DEVICE_H
#define JINDOU_DEVICE_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a device is opened. A zeroed struct (but for struct_size) gives the defaults. */
typedef struct jd_device_options {
  uint32_t struct_size;
  int32_t num_threads;        /* cpu, simt: threads that run kernels; 0 = one a core the process may use */
  int64_t memory_limit_bytes; /* allocations past this many live bytes fail with JD_OUT_OF_MEMORY; 0 = no limit */
  uint64_t simt_seed;         /* simt: order in which emulated threads run; 0 = in order */
  int32_t late_streams;       /* simt: 1 = the work of a stream waits until something asks for it: a synchronisation, a read or write of
                                 other host memory, or another stream or the host waiting for an event behind it. What relies on an order
                                 that nothing establishes fails, as it may on a GPU. jd_device_synchronize is JD_UNSUPPORTED then */
  int32_t reserved;
} jd_device_options;

/* What a device is. */
typedef struct jd_device_info {
  uint32_t struct_size;
  int32_t ordinal;               /* n of "cuda:n", 0 elsewhere */
  int32_t num_threads;           /* cpu, simt: threads; cuda: multiprocessors */
  int32_t compute_capability;    /* cuda: 10*major + minor; 0 elsewhere */
  int64_t total_memory_bytes;    /* physical memory of the device */
  int32_t host_memory;           /* 1 when the device's tensors may be read and written by the host directly (cpu) */
  int32_t driver_version;        /* cuda: as cudaDriverGetVersion; 0 elsewhere */
  char backend[16];              /* "cpu", "cuda", "simt" */
  char name[128];                /* the product's name, e.g. "NVIDIA H200" or the CPU's brand string */
  char isa[64];                  /* cpu: the SIMD level chosen at run time, e.g. "avx512bf16", "avx2", "generic"; else "" */
} jd_device_info;

/* Memory held through this device, in bytes. */
typedef struct jd_memory_info {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t used_bytes;  /* live tensors and plan scratch */
  int64_t peak_bytes;  /* the highest used_bytes since the device was opened */
  int64_t limit_bytes; /* 0 = none */
} jd_memory_info;

/* Number of devices of `backend` ("cpu", "cuda", "simt"). When the backend cannot be used, *count is 0, the status is
 * JD_NO_DEVICE and the message says why (library not found, no driver, driver too old...). */
JD_API jd_status jd_device_count(const char *backend, int32_t *count, jd_error *error);

/* Opens a device: "cpu", "simt", "cuda" or "cuda:<n>". `options` may be NULL. The same physical device may be opened
 * more than once; tensors belong to the handle they were created with. */
JD_API jd_status jd_device_open(const char *name, const jd_device_options *options, jd_device *device, jd_error *error);

/* Closes a device. Its streams, tensors and plans stay valid objects to destroy, but every call that uses them returns
 * JD_CLOSED. Blocks until calls now inside the device have returned; memory goes back when the last object is gone. */
JD_API jd_status jd_device_close(jd_device device, jd_error *error);

JD_API jd_status jd_device_get_info(jd_device device, jd_device_info *info, jd_error *error);
JD_API jd_status jd_device_memory(jd_device device, jd_memory_info *info, jd_error *error);

/* Waits for all streams of the device: for the work of calls that have returned. What STRICT operators met is reported by each stream's own
 * synchronisation.
 * JD_INVALID_ARGUMENT while a stream of the device is capturing. */
JD_API jd_status jd_device_synchronize(jd_device device, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
