#include "simt/runtime/block.h"

#include <sched.h>

#include <cstdarg>
#include <cstdio>
#include <exception>
#include <utility>

#include "simt/runtime/report.h"
#include "simt/runtime/sanitizer.h"

namespace jindou::simt {

namespace {

// Yields of spinning threads while nobody gets anywhere. Where other OS threads run blocks, the holder of a lock may be in
// one of those and wait for a core.
constexpr uint64_t kMaxYieldsAlone = uint64_t{1} << 22;
constexpr uint64_t kMaxYieldsAmongOthers = uint64_t{1} << 28;

const char *name_of(Wait wait) {
  switch (wait) {
    case Wait::none: break;
    case Wait::sync_threads: return "sync_threads";
    case Wait::named_barrier: return "named_barrier";
    case Wait::sync_warp: return "sync_warp";
    case Wait::shuffle: return "shfl";
    case Wait::vote: return "ballot, any or all";
    case Wait::ldmatrix: return "ldmatrix";
    case Wait::mma: return "mma";
    case Wait::mbarrier: return "mbarrier";
    case Wait::wgmma: return "wgmma, its fence, commit or wait, or a change of registers";
    case Wait::warpgroup: return "waiting for products the other warps of its warpgroup have not issued";
    case Wait::spin: return "spinning";
  }
  return "running";
}

bool same_place(prim::Site a, prim::Site b) { return a.line == b.line && a.file == b.file; }

}  // namespace

Block::~Block() {
  for (auto &thread : threads_) {
    if (thread->fiber.race_state != nullptr) __tsan_destroy_fiber(thread->fiber.race_state);
  }
}

std::string Block::run(const Launch &launch, const Options &options, prim::Dim3 block_idx, uint64_t seed) {
  prepare(launch, options, block_idx, seed);
  const device::ThreadIndex *outer = device::current_thread;
  adopt_current(caller_);
  release(&run_order_);
  Thread *first = next_thread();
  device::current_thread = first;
  switch_fiber(caller_, first->fiber);
  acquire(&run_order_);
  device::current_thread = outer;

  for (int t = 0; t < launch.threads; ++t) threads_[static_cast<size_t>(t)]->fiber.ended = error_.empty();
  if (error_.empty()) {
    const ptrdiff_t stray = shared_.first_byte_written_past_end();
    if (stray >= 0) {
      error_ = kernel_text(launch.kernel) + ", " + block_text(block_idx) +
               ": wrote past the end of shared memory, at byte " + std::to_string(stray) + " of " +
               std::to_string(launch.shared_bytes);
    }
  } else {  // ThreadSanitizer believes the abandoned threads to be deep in their calls
    for (auto &thread : threads_) {
      if (thread->fiber.race_state != nullptr) __tsan_destroy_fiber(thread->fiber.race_state);
      thread->fiber.race_state = nullptr;
    }
  }
  return error_;
}

void Block::prepare(const Launch &launch, const Options &options, prim::Dim3 block_idx, uint64_t seed) {
  launch_ = &launch;
  block_idx_ = block_idx;
  error_.clear();
  random_ = Random(seed);
  shuffled_ = options.order == simt::Order::shuffled || (options.order == simt::Order::by_seed && options.seed != 0);
  alone_ = options.os_threads <= 1;
  num_warps_ = launch.threads / 32;
  running_ = launch.threads;
  current_warp_ = 0;
  ready_warps_ = 0;
  yielded_warps_ = 0;
  yields_ = 0;
  shared_.reset(launch.shared_bytes, options.poison);
  for (Barrier &barrier : barriers_) barrier = Barrier{};
  mbarriers_.clear();
  tensor_copies_.clear();
  barriers_passed_ = 0;
  issued_products_.assign(static_cast<size_t>((num_warps_ + 3) / 4), {});
  completion_ = options.completion;
  poison_ = options.poison;

  if (warps_.size() < static_cast<size_t>(num_warps_)) warps_.resize(static_cast<size_t>(num_warps_));
  for (int w = 0; w < num_warps_; ++w) {
    Warp &warp = warps_[static_cast<size_t>(w)];
    warp.ready = 0;
    warp.yielded = 0;
    warp.returned = 0;
    warp.full = Meeting{};
    warp.partial.clear();
    warp.products.reset(options.completion, options.poison);
    warp.waits_for_warpgroup = false;
    make_ready(w, kAllLanes);
    warp_order_[w] = static_cast<uint8_t>(w);
  }

  // Every block has a style of its own: warps that run as far as they can, that take turns, or anything between.
  switch_rate_ = 0;
  elected_lane_ = shuffled_ ? static_cast<int>(random_.below(32)) : 0;
  if (shuffled_) {
    constexpr uint32_t kRates[] = {0, 256, 4096, 32768};
    switch_rate_ = kRates[random_.below(4)];
    for (int w = num_warps_ - 1; w > 0; --w) {
      std::swap(warp_order_[w], warp_order_[random_.below(static_cast<uint32_t>(w) + 1)]);
    }
  }

  while (threads_.size() < static_cast<size_t>(launch.threads)) {
    auto thread = std::make_unique<Thread>();
    thread->block = this;
    thread->id = static_cast<int>(threads_.size());
    thread->lane = thread->id % 32;
    thread->warp = thread->id / 32;
    thread->fiber.owner = thread.get();
    thread->fiber.entry = thread_entry;
    stacks_.assign(thread->id, thread->fiber);
    threads_.push_back(std::move(thread));
  }
  for (int t = 0; t < launch.threads; ++t) {
    Thread &thread = *threads_[static_cast<size_t>(t)];
    thread.thread_idx = {static_cast<uint32_t>(t), 0, 0};
    thread.block_idx = block_idx;
    thread.block_dim = {static_cast<uint32_t>(launch.threads), 1, 1};
    thread.grid_dim = launch.grid;
    thread.wait = Wait::none;
    thread.copies.reset(options.completion, options.poison);
    start_fiber(thread.fiber);
  }
}

void Block::thread_entry(void *owner) {
  Thread &thread = *static_cast<Thread *>(owner);
  Block &block = *thread.block;
  acquire(&block.run_order_);
  try {
    block.launch_->run(block.launch_->params, block.shared_.data());
  } catch (const std::exception &e) {
    block.error_ = block.where(thread) + ": threw an exception: " + e.what();
  } catch (...) {
    block.error_ = block.where(thread) + ": threw an exception";
  }
  release(&block.run_order_);
  block.end_of_thread(thread);
}

void Block::end_of_thread(Thread &thread) {
  if (!error_.empty()) abandon(thread.fiber);
  if (const prim::Site *site = thread.copies.unwaited()) {
    error_ = where(thread) + ": returned without waiting for its cp_async of " + site_text(*site).text;
    abandon(thread.fiber);
  }
  if (const prim::Site *site = warp_of(thread).products.unwaited()) {
    error_ = where(thread) + ": returned without waiting for its wgmma of " + site_text(*site).text;
    abandon(thread.fiber);
  }
  warp_of(thread).returned |= 1u << thread.lane;
  yields_ = 0;
  --running_;
  if (running_ == 0 && !tensor_copies_.empty()) {
    error_ = kernel_text(launch_->kernel) + ", " + block_text(block_idx_) + ": ended while a tensor_copy of " +
             site_text(tensor_copies_[0].site).text + " was on its way";
    abandon(thread.fiber);
  }
  Thread *next = running_ == 0 ? nullptr : next_thread();
  if (next == nullptr) {
    if (running_ > 0 && error_.empty()) error_ = nobody_can_run();
    abandon(thread.fiber);
  }
  device::current_thread = next;
  switch_fiber(thread.fiber, next->fiber, true);
  __builtin_unreachable();
}

// -- who runs next -------------------------------------------------------------------------------------------------------

void Block::make_ready(int warp, uint32_t lanes) {
  if (lanes == 0) return;
  warps_[static_cast<size_t>(warp)].ready |= lanes;
  ready_warps_ |= 1u << warp;
}

// Takes the thread it returns off the ready ones. Null when nobody can run.
Thread *Block::next_thread() {
  while (ready_warps_ == 0) {  // copies land when they must, or before, by chance
    if (!error_.empty() || (!land_a_copy(true) && !wake_yielded())) return nullptr;
  }
  current_warp_ = next_warp();
  Warp &warp = warps_[static_cast<size_t>(current_warp_)];
  unsigned lane;
  if (shuffled_) {
    const unsigned turn = static_cast<unsigned>(random_() & 31u);
    const uint32_t turned = warp.ready >> turn | (turn != 0 ? warp.ready << (32 - turn) : 0);
    lane = (static_cast<unsigned>(__builtin_ctz(turned)) + turn) & 31u;
  } else {
    lane = static_cast<unsigned>(__builtin_ctz(warp.ready));
  }
  warp.ready &= ~(1u << lane);
  if (warp.ready == 0) ready_warps_ &= ~(1u << current_warp_);
  return &thread_of(current_warp_, static_cast<int>(lane));
}

int Block::next_warp() {
  const bool current_can = (ready_warps_ >> current_warp_ & 1u) != 0;
  if (!shuffled_) {
    if (current_can) return current_warp_;
    const uint32_t later = ready_warps_ & ~((2u << current_warp_) - 1u);
    return __builtin_ctz(later != 0 ? later : ready_warps_);
  }
  const uint64_t chance = random_();
  if (current_can && (chance & 0xffffu) >= switch_rate_) return current_warp_;
  // Mostly by the block's order, so that some warps get far ahead of others; sometimes anyone.
  const auto warps = static_cast<uint32_t>(num_warps_);
  const uint32_t start = (chance >> 16 & 3u) == 0 ? static_cast<uint32_t>(chance >> 32) % warps : 0;
  for (uint32_t i = start;; ++i) {
    const int warp = warp_order_[i % warps];
    if (ready_warps_ >> warp & 1u) return warp;
  }
}

bool Block::wake_yielded() {
  if (yielded_warps_ == 0 || yields_ > (alone_ ? kMaxYieldsAlone : kMaxYieldsAmongOthers)) return false;
  if (!alone_) sched_yield();
  for (int w = 0; w < num_warps_; ++w) {
    Warp &warp = warps_[static_cast<size_t>(w)];
    make_ready(w, warp.yielded);
    warp.yielded = 0;
  }
  yielded_warps_ = 0;
  return true;
}

// Goes on in another thread. Returns when something has made this one ready and its turn has come.
void Block::set_aside(Thread &thread) {
  Thread *next = next_thread();
  if (next == nullptr) {
    if (error_.empty()) error_ = nobody_can_run();
    abandon(thread.fiber);
  }
  if (next == &thread) return;
  device::current_thread = next;
  switch_fiber(thread.fiber, next->fiber);
}

// Back to the caller of `run`, for good.
void Block::abandon(Fiber &from) {
  switch_fiber(from, caller_, true);
  __builtin_unreachable();
}

void Block::yield(Thread &thread, prim::Site site) {
  ++yields_;
  thread.wait = Wait::spin;
  thread.site = site;
  warp_of(thread).yielded |= 1u << thread.lane;
  yielded_warps_ |= 1u << thread.warp;
  set_aside(thread);
  thread.wait = Wait::none;
}

void Block::interleave(Thread &thread) {
  land_by_chance();
  if (switch_rate_ == 0 || (random_() & 0xffffu) >= switch_rate_) return;
  make_ready(thread.warp, 1u << thread.lane);
  set_aside(thread);
}

// -- where threads meet --------------------------------------------------------------------------------------------------

bool Block::meet(Thread &thread, Wait what, uint32_t mask, bool aligned, prim::Site site) {
  const uint32_t self = 1u << thread.lane;
  if ((mask & self) == 0) {
    fail(thread, site, "%s of lanes %08x, called by lane %d", name_of(what), mask, thread.lane);
  }
  Warp &warp = warp_of(thread);
  Meeting *meeting = &warp.full;
  if (mask != kAllLanes) {
    meeting = nullptr;
    for (Meeting &m : warp.partial) {
      if (m.arrived == 0) m.mask = 0;
      if (m.mask == mask || (m.mask == 0 && meeting == nullptr)) meeting = &m;
      if (m.mask == mask) break;
    }
    if (meeting == nullptr) meeting = &warp.partial.emplace_back();
  }
  thread.wait = what;
  thread.mask = mask;
  thread.site = site;
  if (meeting->arrived == 0) {
    meeting->mask = mask;
    meeting->what = what;
  } else {
    const Thread &other = thread_of(thread.warp, __builtin_ctz(meeting->arrived));
    if (meeting->what != what || (aligned && !same_place(other.site, site))) {
      fail(thread, site, "%s, while lane %d of its warp is at %s, %s", name_of(what), other.lane, name_of(other.wait),
           site_text(other.site).text);
    }
  }
  meeting->arrived |= self;
  if (meeting->arrived == mask) {
    meeting->arrived = 0;
    yields_ = 0;
    return true;
  }
  set_aside(thread);
  return false;
}

void Block::release_meeting(Thread &thread) {
  make_ready(thread.warp, thread.mask & ~(1u << thread.lane));
  interleave(thread);
}

void Block::sync_warp(Thread &thread, uint32_t mask, prim::Site site) {
  Order &order = warp_of(thread).order;
  void *place = order.current();
  release(place);
  if (meet(thread, Wait::sync_warp, mask, false, site)) {
    ++order.phase;
    release_meeting(thread);
  }
  acquire(place);
}

void Block::barrier(Thread &thread, int id, int threads, bool waits, prim::Site site) {
  const Wait what = id == 0 ? Wait::sync_threads : Wait::named_barrier;
  Barrier &barrier = barriers_[id];
  void *place = barrier.order.current();
  release(place);
  thread.barrier = id;
  Exchange &in = exchange(thread);
  in.operand[thread.lane] = id;
  in.value[thread.lane] = static_cast<uint64_t>(threads);
  if (meet(thread, what, kAllLanes, true, site)) {
    for (int lane = 0; lane < 32; ++lane) {
      if (in.operand[lane] != id || in.value[lane] != static_cast<uint64_t>(threads)) {
        fail(thread, site, "barrier %d for %d threads, but barrier %d for %d threads in lane %d of its warp", id, threads,
             in.operand[lane], static_cast<int>(in.value[lane]), lane);
      }
    }
    if (barrier.arrived == 0) {
      barrier.expected = threads;
      barrier.site = site;
    } else if (barrier.expected != threads) {
      fail(thread, site, "barrier %d for %d threads, but for %d threads at %s", id, threads, barrier.expected,
           site_text(barrier.site).text);
    }
    barrier.arrived += 32;
    if (barrier.arrived == barrier.expected) {
      for (uint32_t left = barrier.waiting; left != 0; left &= left - 1) make_ready(__builtin_ctz(left), kAllLanes);
      barrier.arrived = 0;
      barrier.waiting = 0;
      ++barriers_passed_;
      ++barrier.order.phase;
      release_meeting(thread);
    } else if (waits) {
      barrier.waiting |= 1u << thread.warp;
      set_aside(thread);
    } else {
      release_meeting(thread);
    }
  }
  if (waits) acquire(place);
}

// -- what is reported ----------------------------------------------------------------------------------------------------

void Block::fail(Thread &thread, prim::Site site, const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  error_ = where(thread) + ", " + site_text(site).text + ": " + text;
  abandon(thread.fiber);
}

std::string Block::where(const Thread &thread) const {
  return kernel_text(launch_->kernel) + ", " + block_text(block_idx_) + ", thread " + std::to_string(thread.id) +
         " (warp " + std::to_string(thread.warp) + ", lane " + std::to_string(thread.lane) + ")";
}

std::string Block::nobody_can_run() const {
  std::string text = kernel_text(launch_->kernel) + ", " + block_text(block_idx_) + ": deadlock";
  std::vector<bool> told(static_cast<size_t>(launch_->threads));
  std::vector<int> returned;
  for (int t = 0; t < launch_->threads; ++t) {
    const Thread &thread = *threads_[static_cast<size_t>(t)];
    if (warps_[static_cast<size_t>(thread.warp)].returned >> thread.lane & 1u) {
      returned.push_back(t);
      continue;
    }
    if (told[static_cast<size_t>(t)]) continue;
    // All that wait at the same place for the same thing are told of together.
    std::vector<int> together;
    for (int u = t; u < launch_->threads; ++u) {
      const Thread &other = *threads_[static_cast<size_t>(u)];
      if (warps_[static_cast<size_t>(other.warp)].returned >> other.lane & 1u) continue;
      if (other.wait != thread.wait || !same_place(other.site, thread.site)) continue;
      if (thread.wait != Wait::spin && thread.wait != Wait::mbarrier && other.mask != thread.mask) continue;
      together.push_back(u);
      told[static_cast<size_t>(u)] = true;
    }
    text += std::string("\n  ") + name_of(thread.wait);
    if (thread.wait == Wait::named_barrier) text += " " + std::to_string(thread.barrier);
    text += std::string(" at ") + site_text(thread.site).text + ": " + threads_text(together);
    if (thread.wait == Wait::sync_threads || thread.wait == Wait::named_barrier) {
      const Barrier &barrier = barriers_[thread.barrier];
      text += "; " + std::to_string(barrier.arrived) + " of " +
              std::to_string(thread.wait == Wait::sync_threads ? launch_->threads : barrier.expected) + " arrived";
    } else if (thread.wait == Wait::mbarrier) {
      for (const int u : together) {  // told one by one: they may wait for different ones
        const Mbarrier &barrier = *const_cast<Mbarriers &>(mbarriers_).find(static_cast<uint32_t>(threads_[static_cast<size_t>(u)]->barrier));
        if (u != t && threads_[static_cast<size_t>(u)]->barrier == thread.barrier) continue;
        char state[160];
        snprintf(state, sizeof state, "; mbarrier at byte %u: phase %u lacks %d of %d arrivals and %lld bytes", barrier.address - 1024,
                 barrier.phase, barrier.missing, barrier.count, static_cast<long long>(barrier.bytes));
        text += state;
      }
    } else if (thread.wait != Wait::spin && thread.wait != Wait::warpgroup && thread.mask != kAllLanes) {
      char mask[32];
      snprintf(mask, sizeof mask, "; for lanes %08x", thread.mask);
      text += mask;
    }
  }
  if (!returned.empty()) text += "\n  returned: " + threads_text(returned);
  return text;
}

}  // namespace jindou::simt
