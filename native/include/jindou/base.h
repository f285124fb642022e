/* Jindou: the types every other header uses: export macro, version, status, error, dtype, handles.
 *
 * Rules of the whole C ABI
 *  - Every function returns a jd_status. Where it takes a `jd_error *error`, that may be NULL; when it is not, its
 *    `struct_size` must be set to sizeof(jd_error) and on failure the function fills the rest; one whose struct_size is
 *    smaller is left as it is. Nothing is kept per thread.
 *  - Every struct that crosses the ABI begins with `uint32_t struct_size`, set by the caller to sizeof the struct it was
 *    compiled with. Those of older versions (smaller) are accepted, and fields they lack count as zero; one smaller than
 *    in the first version, or larger than this library knows, is JD_INVALID_ARGUMENT. Fields named reserved must be 0.
 *  - Objects are named by 64-bit handles. 0 is the null handle. A handle is never reused: a closed handle, a handle of
 *    another kind, and a number that never was a handle are detected and refused (JD_CLOSED, JD_INVALID_HANDLE).
 *  - Every function may be called from any thread. Objects are reference counted inside: destroying one while another
 *    thread is inside a call that uses it is safe; the call finishes, later calls get JD_CLOSED.
 *  - Operators enqueue on a stream and return; they do not block unless their comment says so.
 */
#ifndef JINDOU_BASE_H
#define JINDOU_BASE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define JD_API __attribute__((visibility("default")))
#else
#define JD_API
#endif

#define JD_VERSION_MAJOR 0
#define JD_VERSION_MINOR 1
#define JD_VERSION_PATCH 0

/* Status of a call. */
typedef int32_t jd_status;
enum {
  JD_OK = 0,
  JD_INVALID_ARGUMENT = 1, /* a value, dtype, rank, shape, stride, alignment or offset that breaks a documented rule */
  JD_INVALID_HANDLE = 2,   /* null, of another kind, never issued, or of another device ("foreign") */
  JD_CLOSED = 3,           /* the object has been destroyed */
  JD_UNSUPPORTED = 4,      /* well-formed, but no kernel of this backend does it; the message says what does */
  JD_NO_DEVICE = 5,        /* the backend or device is absent; the message says why */
  JD_OUT_OF_MEMORY = 6,    /* host or device memory, or the device's memory limit; nothing was changed */
  JD_OUT_OF_BOUNDS = 7,    /* found on the device under JD_BOUNDS_STRICT; reported at a synchronisation */
  JD_BACKEND_ERROR = 8,    /* the driver failed; error.backend_code holds its code */
  JD_INTERNAL = 9          /* a bug in Jindou */
};

/* Why a call failed. Filled only on failure. */
typedef struct jd_error {
  uint32_t struct_size;  /* in: sizeof(jd_error) */
  int32_t status;        /* out: as returned */
  int32_t backend_code;  /* out: the driver's error code (JD_BACKEND_ERROR), else 0 */
  int32_t table;         /* out: JD_OUT_OF_BOUNDS: the embedding table, else -1 */
  int64_t position;      /* out: JD_OUT_OF_BOUNDS: index of the first offender within its tensor, else -1 */
  int64_t value;         /* out: JD_OUT_OF_BOUNDS: the offending id or offset, else 0 */
  char message[1008];    /* out: NUL-terminated UTF-8: argument, what was expected, what came */
} jd_error;

/* Element types. */
enum {
  JD_F32 = 1,
  JD_F16 = 2,
  JD_BF16 = 3,
  JD_F8_E4M3 = 4,
  JD_I8 = 5,
  JD_U8 = 6,
  JD_I32 = 7,
  JD_I64 = 8,
  JD_BOOL = 9,
  JD_F64 = 10
};

/* What a kernel does with an id or offset that only the device can find to be out of range. */
enum {
  JD_BOUNDS_STRICT = 0, /* report the first offender (position, id, table) at the next synchronisation */
  JD_BOUNDS_ZERO = 1,   /* skip it and count it: jd_stream_take_skipped */
  JD_BOUNDS_TRUST = 2   /* ids are not checked, the caller answers for them (embedding operators only); offsets are */
};

/* Handles. Each names one kind of object; see the header that creates it. */
typedef uint64_t jd_device;
typedef uint64_t jd_stream;
typedef uint64_t jd_event;
typedef uint64_t jd_tensor;
typedef uint64_t jd_plan;
typedef uint64_t jd_graph;
typedef uint64_t jd_host_memory;

/* Writes the library's version, "major.minor.patch", as a NUL-terminated static string. Never fails. */
JD_API const char *jd_version(void);

/* The name of a status ("JD_INVALID_ARGUMENT") or of a dtype ("bf16"), static; "unknown" for any other number. */
JD_API const char *jd_status_name(jd_status status);
JD_API const char *jd_dtype_name(int32_t dtype);

/* Bytes of one element of `dtype`; 0 for an unknown dtype. */
JD_API int64_t jd_dtype_size(int32_t dtype);

/* Number of objects of every kind alive in this process: devices, streams, events, tensors, plans, graphs, host memory.
 * For leak tests. */
JD_API int64_t jd_live_objects(void);

/* Does nothing but validate `device` as every call does. The cost of a call into the library. */
JD_API jd_status jd_noop(jd_device device, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
