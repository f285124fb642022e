#include "cpu/device.h"

#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "cpu/memory.h"

namespace jindou::cpu {
namespace {

size_t scratch_bytes(const KernelTable &kernels, int threads) {
  return sizeof(float) * kernels.linear_scratch * static_cast<size_t>(threads);
}

// "AMD EPYC 9654 96-Core Processor": three leaves of sixteen characters each.
void brand(char *text, size_t capacity) {
  snprintf(text, capacity, "CPU");
#if defined(__x86_64__)
  if (__get_cpuid_max(0x80000000u, nullptr) < 0x80000004u) return;
  unsigned words[13] = {};
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    unsigned *w = words + 4 * leaf;
    __get_cpuid(0x80000002u + leaf, &w[0], &w[1], &w[2], &w[3]);
  }
  const char *name = reinterpret_cast<const char *>(words);
  while (*name == ' ') ++name;
  if (*name) snprintf(text, capacity, "%s", name);
  for (size_t end = strlen(text); end > 0 && text[end - 1] == ' '; --end) text[end - 1] = 0;
#elif defined(__aarch64__)
  snprintf(text, capacity, "AArch64 CPU");
#endif
}

}  // namespace

Device::Device(const KernelTable &table, int threads)
    : kernels(table),
      pool(threads),
      linear_scratch(static_cast<float *>(allocate(scratch_bytes(table, threads)))) {}

Device::~Device() { release(linear_scratch, scratch_bytes(kernels, pool.size())); }

void Stream::clear_report() {
  report = {};
  report.table = -1;
  report.position = -1;
}

int usable_cpus() {
  // The mask's size is the kernel's affair: ask with larger ones until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (!set) break;
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return count > 0 ? count : 1;
  }
  return 1;
}

void describe_device(const Device &device, jd_device_info *info) {
  info->ordinal = 0;
  info->num_threads = device.pool.size();
  info->compute_capability = 0;
  info->total_memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  info->host_memory = 1;
  info->driver_version = 0;
  snprintf(info->backend, sizeof info->backend, "cpu");
  brand(info->name, sizeof info->name);
  snprintf(info->isa, sizeof info->isa, "%s", device.kernels.isa);
}

}  // namespace jindou::cpu
