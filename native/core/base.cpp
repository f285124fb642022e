// Names, sizes, version.
#include <jindou/base.h>

#include "core/dtype.h"
#include "core/handle_table.h"

#define JD_TEXT_OF(x) #x
#define JD_TEXT(x) JD_TEXT_OF(x)

extern "C" {

const char *jd_version(void) {
  return JD_TEXT(JD_VERSION_MAJOR) "." JD_TEXT(JD_VERSION_MINOR) "." JD_TEXT(JD_VERSION_PATCH);
}

const char *jd_status_name(jd_status status) {
  switch (status) {
    case JD_OK: return "JD_OK";
    case JD_INVALID_ARGUMENT: return "JD_INVALID_ARGUMENT";
    case JD_INVALID_HANDLE: return "JD_INVALID_HANDLE";
    case JD_CLOSED: return "JD_CLOSED";
    case JD_UNSUPPORTED: return "JD_UNSUPPORTED";
    case JD_NO_DEVICE: return "JD_NO_DEVICE";
    case JD_OUT_OF_MEMORY: return "JD_OUT_OF_MEMORY";
    case JD_OUT_OF_BOUNDS: return "JD_OUT_OF_BOUNDS";
    case JD_BACKEND_ERROR: return "JD_BACKEND_ERROR";
    case JD_INTERNAL: return "JD_INTERNAL";
    default: return "unknown";
  }
}

const char *jd_dtype_name(int32_t dtype) {
  switch (dtype) {
    case JD_F32: return "f32";
    case JD_F16: return "f16";
    case JD_BF16: return "bf16";
    case JD_F8_E4M3: return "f8_e4m3";
    case JD_I8: return "i8";
    case JD_U8: return "u8";
    case JD_I32: return "i32";
    case JD_I64: return "i64";
    case JD_BOOL: return "bool";
    case JD_F64: return "f64";
    default: return "unknown";
  }
}

int64_t jd_dtype_size(int32_t dtype) { return jindou::core::element_size(dtype); }

int64_t jd_live_objects(void) { return jindou::core::live_objects(); }

}  // extern "C"
