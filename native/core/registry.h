// The backends and how they are found: cpu is linked in, cuda and simt are plug-ins beside libjindou.so.
#ifndef JINDOU_CORE_REGISTRY_H
#define JINDOU_CORE_REGISTRY_H

#include <cstdint>

#include "core/backend.h"
#include "core/context.h"

namespace jindou::core {

struct DeviceName {
  char backend[16];
  char full[32];  // "cpu", "simt", "cuda:<n>"
  int32_t ordinal;
};

// "cpu", "simt", "cuda" (= "cuda:0"), "cuda:<n>"; anything else is JD_INVALID_ARGUMENT.
jd_status parse_device_name(const Context &context, const char *name, DeviceName *parsed);

// The table of a backend; a plug-in is loaded by the first call that asks for it. JD_NO_DEVICE says why there is none;
// the first answer stays for the life of the process.
jd_status find_backend(const Context &context, const char *name, const jd_backend **backend);

// At least 1, or JD_NO_DEVICE with the backend's reason.
jd_status count_devices(const Context &context, const jd_backend &backend, int32_t *count);

}  // namespace jindou::core

#endif
