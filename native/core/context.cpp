#include "core/context.h"

#include <stdarg.h>
#include <stdio.h>

namespace jindou::core {
namespace {

// Formats `text` behind "operation: argument 'name': ", leaving out what is null.
jd_status fail_with(const Context &context, jd_status status, const char *argument, const char *format,
                    va_list arguments) {
  if (!writable(context.error)) return status;
  char text[sizeof context.error->message];
  vsnprintf(text, sizeof text, format, arguments);
  return fail(context.error, status, "%s%s%s%s%s%s", context.operation ? context.operation : "",
              context.operation ? ": " : "", argument ? "argument '" : "", argument ? argument : "",
              argument ? "': " : "", text);
}

}  // namespace

jd_status fail_argument(const Context &context, jd_status status, const char *argument, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fail_with(context, status, argument, format, arguments);
  va_end(arguments);
  return status;
}

jd_status fail_operation(const Context &context, jd_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fail_with(context, status, nullptr, format, arguments);
  va_end(arguments);
  return status;
}

}  // namespace jindou::core
