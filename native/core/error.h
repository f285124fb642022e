// Filling a jd_error: the only place that formats messages. Header-only, so that plug-ins use it too.
#ifndef JINDOU_CORE_ERROR_H
#define JINDOU_CORE_ERROR_H

#include <jindou/base.h>
#include <stdarg.h>
#include <stdio.h>

namespace jindou {

// Whether the caller gave a struct to fill. One whose struct_size was not set is never written to.
inline bool writable(const jd_error *error) { return error && error->struct_size >= sizeof(jd_error); }

inline void clear(jd_error *error) {
  if (!writable(error)) return;
  error->status = JD_OK;
  error->backend_code = 0;
  error->table = -1;
  error->position = -1;
  error->value = 0;
  error->message[0] = 0;
}

// Fills `error` (which may be null) and returns `status`.
__attribute__((format(printf, 3, 4), cold, noinline)) inline jd_status fail(jd_error *error, jd_status status,
                                                                            const char *format, ...) {
  if (writable(error)) {
    clear(error);
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
  }
  return status;
}

}  // namespace jindou

#endif
