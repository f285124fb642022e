#include "cpu/thread_pool.h"

#include <chrono>
#include <system_error>

namespace jindou::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// How long a worker looks for the next job before it sleeps, and a caller for its last worker: long enough for the
// operators of one model, and the caller's work between them, to follow each other without a system call, short enough to
// leave the core to others. Waking a thread takes 20 us at best, more where the system wakes it on the caller's core.
constexpr auto kSpin = std::chrono::microseconds(100);

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <class Condition>
bool spin_until(const Condition &condition) {
  const auto give_up = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (condition()) return true;
      pause();
    }
  } while (Clock::now() < give_up);
  return condition();
}

}  // namespace

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(state_);
    stop_ = true;
    job_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread &worker : workers_) worker.join();
}

void ThreadPool::start() {
  if (!workers_.empty()) return;
  workers_.reserve(threads_ - 1);
  for (int worker = 1; worker < threads_; ++worker) {
    try {
      workers_.emplace_back([this, worker] { serve(worker); });
    } catch (const std::system_error &) {
      return;  // the system gives no more threads: those there are do the work
    }
  }
}

void ThreadPool::run(int64_t count, bool shared, Function function, const void *context) {
  if (shared) start();
  if (!shared || workers_.empty()) {
    for (int64_t i = 0; i < count; ++i) function(context, i, 0);
    return;
  }

  bool anyone_asleep;
  {
    std::lock_guard<std::mutex> lock(state_);
    function_ = function;
    context_ = context;
    count_ = count;
    open_ = true;
    next_.store(0, std::memory_order_relaxed);
    job_.fetch_add(1, std::memory_order_release);
    anyone_asleep = sleepers_ > 0;
  }
  if (anyone_asleep) wake_.notify_all();
  take_tasks(0);
  {
    std::lock_guard<std::mutex> lock(state_);
    open_ = false;  // a worker that has not woken up by now is not waited for
  }
  const auto nobody_inside = [this] { return active_.load(std::memory_order_acquire) == 0; };
  if (spin_until(nobody_inside)) return;
  std::unique_lock<std::mutex> lock(state_);
  done_.wait(lock, nobody_inside);
}

void ThreadPool::take_tasks(int worker) {
  for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) function_(context_, i, worker);
}

void ThreadPool::serve(int worker) {
  uint64_t seen = 0;
  for (;;) {
    const auto new_job = [&] { return job_.load(std::memory_order_acquire) != seen; };
    looking_.fetch_add(1, std::memory_order_relaxed);
    const bool spun = spin_until(new_job);
    looking_.fetch_sub(1, std::memory_order_relaxed);
    {
      std::unique_lock<std::mutex> lock(state_);
      if (!spun) {
        ++sleepers_;
        wake_.wait(lock, new_job);
        --sleepers_;
      }
      if (stop_) return;
      seen = job_.load(std::memory_order_relaxed);
      if (!open_) continue;
      active_.fetch_add(1, std::memory_order_relaxed);
    }
    take_tasks(worker);
    {
      // The lock orders this worker's last step before the caller's wait: no wake-up is lost.
      std::lock_guard<std::mutex> lock(state_);
      if (active_.fetch_sub(1, std::memory_order_release) == 1) done_.notify_one();
    }
  }
}

}  // namespace jindou::cpu
