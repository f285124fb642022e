#include "core/registry.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>

#include <cstring>
#include <mutex>
#include <string>

namespace jindou::core {
namespace {

// One backend and the outcome of looking for it.
struct Entry {
  explicit Entry(const char *backend_name) : name(backend_name) {}
  const char *const name;
  std::mutex mutex;
  bool searched = false;
  const jd_backend *backend = nullptr;
  std::string reason;  // why there is none
};

// Never destroyed: calls may still arrive while the process exits.
Entry *entries() {
  static Entry *const all = new Entry[3]{Entry("cpu"), Entry("cuda"), Entry("simt")};
  return all;
}
constexpr int kEntries = 3;

// The directory of the shared object (or program) that holds this code, or JINDOU_PLUGIN_DIR.
std::string plugin_directory() {
  if (const char *set = getenv("JINDOU_PLUGIN_DIR"); set && *set) return set;
  Dl_info info;
  char path[PATH_MAX];
  if (!dladdr(reinterpret_cast<const void *>(&jd_version), &info) || !realpath(info.dli_fname, path)) return ".";
  char *slash = strrchr(path, '/');
  return std::string(path, slash ? slash - path : 0);
}

const jd_backend *load_plugin(const char *name, std::string *reason) {
  const std::string directory = plugin_directory();
  const std::string path = directory + "/libjindou_" + name + ".so";
  const std::string where = " (looked in " + directory + "; JINDOU_PLUGIN_DIR names another directory)";
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    *reason = std::string(dlerror()) + where;
    return nullptr;
  }
  const auto table = reinterpret_cast<const jd_backend *(*)()>(dlsym(library, "jd_backend_table"));
  const jd_backend *backend = table ? table() : nullptr;
  if (!table) {
    *reason = path + " is no plug-in of Jindou: it has no symbol jd_backend_table";
  } else if (!backend || backend->version != JDB_VERSION) {
    *reason = path + " is of another version: its table has version " + std::to_string(backend ? backend->version : 0) +
              ", this library needs " + std::to_string(JDB_VERSION);
  } else if (strcmp(backend->name, name) != 0) {
    *reason = path + " holds the backend '" + backend->name + "', not '" + name + "'";
  } else {
    return backend;
  }
  dlclose(library);
  return nullptr;
}

const char *const kForms = "\"cpu\", \"simt\", \"cuda\" or \"cuda:<n>\"";

}  // namespace

jd_status find_backend(const Context &context, const char *name, const jd_backend **backend) {
  if (!name) return expect_pointer(context, "backend", name);
  for (int i = 0; i < kEntries; ++i) {
    Entry &entry = entries()[i];
    if (strcmp(entry.name, name) != 0) continue;
    std::lock_guard<std::mutex> lock(entry.mutex);
    if (!entry.searched) {
      entry.backend = strcmp(name, "cpu") == 0 ? jd_cpu_backend() : load_plugin(name, &entry.reason);
      entry.searched = true;
    }
    *backend = entry.backend;
    if (entry.backend) return JD_OK;
    return fail_operation(context, JD_NO_DEVICE, "backend '%s' is not available: %s", name, entry.reason.c_str());
  }
  return fail_argument(context, JD_INVALID_ARGUMENT, "backend", "expected \"cpu\", \"simt\" or \"cuda\", got \"%.64s\"",
                       name);
}

jd_status count_devices(const Context &context, const jd_backend &backend, int32_t *count) {
  *count = 0;
  if (const jd_status status = backend.device_count(count, context.error)) {
    *count = 0;
    return backend_result(context.error, status, "device_count");
  }
  if (*count > 0) return JD_OK;
  *count = 0;
  return fail_operation(context, JD_NO_DEVICE, "backend '%s' found no device", backend.name);
}

jd_status parse_device_name(const Context &context, const char *name, DeviceName *parsed) {
  if (!name) return expect_pointer(context, "name", name);
  const auto malformed = [&] {
    return fail_argument(context, JD_INVALID_ARGUMENT, "name", "expected %s, got \"%.64s\"", kForms, name);
  };
  *parsed = {};
  const char *colon = strchr(name, ':');
  const size_t length = colon ? static_cast<size_t>(colon - name) : strlen(name);
  const std::string backend(name, length);
  if (backend != "cpu" && backend != "simt" && backend != "cuda") return malformed();
  snprintf(parsed->backend, sizeof parsed->backend, "%s", backend.c_str());
  if (colon) {
    if (backend != "cuda") return malformed();
    const char *digits = colon + 1;
    const size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 4 || digits[count] != 0) return malformed();
    parsed->ordinal = atoi(digits);
  }
  if (backend == "cuda") {
    snprintf(parsed->full, sizeof parsed->full, "cuda:%d", parsed->ordinal);
  } else {
    snprintf(parsed->full, sizeof parsed->full, "%s", backend.c_str());
  }
  return JD_OK;
}

}  // namespace jindou::core
