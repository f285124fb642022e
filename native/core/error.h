// Filling a jd_error: the only place that formats messages. Header-only, so that plug-ins use it too.
#ifndef JINDOU_CORE_ERROR_H
#define JINDOU_CORE_ERROR_H

#include <jindou/base.h>
#include <stdarg.h>
#include <stdio.h>

namespace jindou {

inline void clear(jd_error *error) {
  if (!error) return;
  error->status = JD_OK;
  error->backend_code = 0;
  error->table = -1;
  error->position = -1;
  error->value = 0;
  error->message[0] = 0;
}

// Fills `error` (which may be null) and returns `status`.
__attribute__((format(printf, 3, 4))) inline jd_status fail(jd_error *error, jd_status status, const char *format, ...) {
  if (error) {
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
