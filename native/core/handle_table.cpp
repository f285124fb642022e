#include "core/handle_table.h"

#include <mutex>

namespace jindou::core {

// One slot a cache line, so that threads using different objects do not disturb each other.
struct alignas(64) Slot {
  std::atomic<uint64_t> state{uint64_t{1} << 32};
  Object *object = nullptr;      // read only by who holds a reference
  std::atomic<uint8_t> kind{0};  // of that object
  uint32_t index = 0;
  uint32_t next_free = 0;  // guarded by the table's mutex
};

namespace {

constexpr int kSlotBits = 24;
constexpr int kChunkBits = 10;
constexpr uint32_t kChunkSlots = 1u << kChunkBits;
constexpr uint32_t kMaxSlots = 1u << kSlotBits;
constexpr uint32_t kNone = ~0u;

constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kIssued = uint64_t{1} << 30;
constexpr uint64_t kReferences = kIssued - 1;

constexpr uint32_t generation_of_state(uint64_t state) { return static_cast<uint32_t>(state >> 32); }
constexpr uint32_t generation_of(uint64_t handle) { return static_cast<uint32_t>(handle >> kSlotBits); }
constexpr uint8_t kind_of(uint64_t handle) { return static_cast<uint8_t>(handle >> 56); }
constexpr uint32_t slot_of(uint64_t handle) { return static_cast<uint32_t>(handle & (kMaxSlots - 1)); }

// Chunks are allocated as slots are needed and never move or go away: a stale handle may be looked up at any time.
std::atomic<Slot *> chunks[kMaxSlots / kChunkSlots];
std::mutex growth;  // guards the two below and the free list
uint32_t first_free = kNone;
uint32_t slots_made = 0;
std::atomic<int64_t> alive{0};

Slot *find(uint64_t handle) {
  const uint32_t index = slot_of(handle);
  Slot *chunk = chunks[index >> kChunkBits].load(std::memory_order_acquire);
  return chunk ? &chunk[index & (kChunkSlots - 1)] : nullptr;
}

Slot *take_slot() {
  std::lock_guard<std::mutex> lock(growth);
  if (first_free == kNone) {
    if (slots_made == kMaxSlots) throw std::bad_alloc();
    Slot *chunk = new Slot[kChunkSlots];
    for (uint32_t i = 0; i < kChunkSlots; ++i) {
      chunk[i].index = slots_made + i;
      chunk[i].next_free = i + 1 < kChunkSlots ? slots_made + i + 1 : kNone;
    }
    first_free = slots_made;
    chunks[slots_made >> kChunkBits].store(chunk, std::memory_order_release);
    slots_made += kChunkSlots;
  }
  Slot *slot = find(first_free);
  first_free = slot->next_free;
  return slot;
}

// Makes the slot ready for its next object. A slot whose generations are used up is left out for good.
void give_back(Slot *slot, uint32_t generation) {
  slot->object = nullptr;
  if (generation == ~0u) return;
  slot->state.store(static_cast<uint64_t>(generation + 1) << 32, std::memory_order_release);
  std::lock_guard<std::mutex> lock(growth);
  slot->next_free = first_free;
  first_free = slot->index;
}

const char *kind_name(uint8_t kind) {
  switch (static_cast<Kind>(kind)) {
    case Kind::device: return "device";
    case Kind::stream: return "stream";
    case Kind::event: return "event";
    case Kind::tensor: return "tensor";
    case Kind::plan: return "plan";
    case Kind::graph: return "graph";
    case Kind::host_memory: return "host memory";
  }
  return nullptr;
}

bool was_issued(uint64_t handle) {
  const Slot *slot = find(handle);
  if (!slot) return false;
  const uint64_t state = slot->state.load(std::memory_order_acquire);
  const uint32_t current = generation_of_state(state), asked = generation_of(handle);
  if (asked == current) return (state & kIssued) && slot->kind.load(std::memory_order_relaxed) == kind_of(handle);
  return asked != 0 && asked < current;
}

}  // namespace

uint64_t publish(std::unique_ptr<Object> object) {
  Slot *slot = take_slot();
  object->slot_ = slot;
  const uint64_t kind = static_cast<uint8_t>(object->kind());
  const uint32_t generation = generation_of_state(slot->state.load(std::memory_order_relaxed));
  slot->object = object.release();
  slot->kind.store(static_cast<uint8_t>(kind), std::memory_order_relaxed);
  alive.fetch_add(1, std::memory_order_relaxed);
  slot->state.store((static_cast<uint64_t>(generation) << 32) | kOpen | kIssued | 1, std::memory_order_release);
  return (kind << 56) | (static_cast<uint64_t>(generation) << kSlotBits) | slot->index;
}

void retain(Object *object) { object->slot_->state.fetch_add(1, std::memory_order_relaxed); }

void release(Object *object) {
  Slot *slot = object->slot_;
  const uint64_t before = slot->state.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & kReferences) != 1) return;
  delete object;
  alive.fetch_sub(1, std::memory_order_relaxed);
  give_back(slot, generation_of_state(before));
}

Object *acquire_object(uint64_t handle, Kind kind) {
  Slot *slot = find(handle);
  if (!slot) return nullptr;
  uint64_t state = slot->state.load(std::memory_order_relaxed);
  do {
    if (generation_of_state(state) != generation_of(handle) || !(state & kOpen)) return nullptr;
  } while (!slot->state.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed));
  Object *object = slot->object;
  if (kind_of(handle) == static_cast<uint8_t>(kind) && object->kind() == kind) return object;
  release(object);  // a handle of another kind, or one that was put together by hand
  return nullptr;
}

Object *close_object(uint64_t handle, Kind kind) {
  Object *object = acquire_object(handle, kind);
  if (!object) return nullptr;
  Slot *slot = find(handle);
  const uint64_t before = slot->state.fetch_and(~kOpen, std::memory_order_acq_rel);
  release(object);                             // what acquire_object added; the handle's own reference is still counted
  return (before & kOpen) ? object : nullptr;  // null: another thread closed it first
}

jd_status refuse_handle(const Context &context, const char *argument, uint64_t handle, Kind kind) {
  char wanted[32];
  snprintf(wanted, sizeof wanted, "an open %s", kind_name(static_cast<uint8_t>(kind)));
  if (handle == 0) {
    return fail_argument(context, JD_INVALID_HANDLE, argument, "expected %s, got the null handle", wanted);
  }
  const char *given = kind_name(kind_of(handle));
  if (!given || !was_issued(handle)) {
    return fail_argument(context, JD_INVALID_HANDLE, argument, "expected %s, got 0x%llx, which is no handle", wanted,
                         static_cast<unsigned long long>(handle));
  }
  if (kind_of(handle) != static_cast<uint8_t>(kind)) {
    return fail_argument(context, JD_INVALID_HANDLE, argument, "expected %s, got the handle of a%s %s", wanted,
                         static_cast<Kind>(kind_of(handle)) == Kind::event ? "n" : "", given);
  }
  return fail_argument(context, JD_CLOSED, argument, "expected %s, got a closed handle", wanted);
}

int64_t live_objects() { return alive.load(std::memory_order_relaxed); }

}  // namespace jindou::core
