#include "simt/runtime/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "simt/runtime/sanitizer.h"

namespace jindou::simt {

namespace {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constexpr size_t kPage = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 * 1024;  // red zones, and no sharing of slots between variables
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif
// With the guard page the distance is not a power of two: tops of neighbouring stacks fall into different cache sets.
constexpr size_t kStackDistance = kStackBytes + kPage;

// Red zones are left by the calls that a fiber ends in, entry and few more. Those of an abandoned fiber may lie anywhere.
constexpr size_t kLastCallsBytes = 16 * 1024;

struct Departure {
  Fiber *from;
  Fiber *to;
};

void arrive(transfer_t transfer) {
  const Departure &departure = *static_cast<const Departure *>(transfer.data);
  departure.from->context = transfer.fctx;
  departure.to->context = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  const void *bottom;
  size_t bytes;
  __sanitizer_finish_switch_fiber(departure.to->fake_stack, &bottom, &bytes);
  departure.from->stack = static_cast<char *>(const_cast<void *>(bottom));
  departure.from->stack_bytes = bytes;
#endif
}

}  // namespace

void start_fiber(Fiber &fiber) {
  const size_t used = fiber.ended ? kLastCallsBytes : fiber.stack_bytes;
  make_accessible(fiber.stack + fiber.stack_bytes - used, used);
  // Within a page too, the tops of stacks spread over the cache.
  const size_t colour = reinterpret_cast<uintptr_t>(fiber.stack) / kPage % 16 * 192;
  fiber.fake_stack = nullptr;
  fiber.context = make_fcontext(fiber.stack + fiber.stack_bytes - colour, fiber.stack_bytes - colour,
                                [](transfer_t transfer) {
                                  const Fiber &self = *static_cast<const Departure *>(transfer.data)->to;
                                  arrive(transfer);
                                  self.entry(self.owner);
                                  __builtin_trap();
                                });
  if (checks_races() && fiber.race_state == nullptr) fiber.race_state = __tsan_create_fiber(0);
}

void switch_fiber(Fiber &from, Fiber &to, bool from_ends) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
  (void)from_ends;
  Departure departure{&from, &to};
  constexpr unsigned kNoSync = 1;  // switching orders nothing: only the kernel's own barriers do
  if (checks_races()) __tsan_switch_to_fiber(to.race_state, kNoSync);
  arrive(jump_fcontext(to.context, &departure));
}

void adopt_current(Fiber &fiber) {
  if (checks_races()) fiber.race_state = __tsan_get_current_fiber();
}

Stacks::~Stacks() {
  for (char *slab : slabs_) {
    make_accessible(slab, kPerSlab * kStackDistance);
    munmap(slab, kPerSlab * kStackDistance);
  }
}

void Stacks::assign(int index, Fiber &fiber) {
  const auto slab = static_cast<size_t>(index / kPerSlab);
  while (slabs_.size() <= slab) {
    slabs_.reserve(slabs_.size() + 1);
    void *memory = mmap(nullptr, kPerSlab * kStackDistance, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    slabs_.push_back(static_cast<char *>(memory));
    for (size_t i = 0; i < kPerSlab; ++i) mprotect(slabs_.back() + i * kStackDistance, kPage, PROT_NONE);
  }
  fiber.stack = slabs_[slab] + static_cast<size_t>(index % kPerSlab) * kStackDistance + kPage;
  fiber.stack_bytes = kStackBytes;
}

}  // namespace jindou::simt
