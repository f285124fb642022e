// The threads of one CPU device. A job is a number of independent tasks; threads take the next task from a counter, so
// which thread runs which task is chance, and no result may depend on it. Jobs that threads share take turns. A job too small
// for that waits for nobody: its caller does it, beside whatever else runs, unless it uses scratch memory of the device.
//
// What is too small depends on what the threads do. After a job they look for the next one for a while, as in the middle of a model's
// operators: handing them a task then takes less than a microsecond, waking one that sleeps twenty.
#ifndef JINDOU_CPU_THREAD_POOL_H
#define JINDOU_CPU_THREAD_POOL_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace jindou::cpu {

class ThreadPool {
 public:
  // The calling thread of a job is one of `threads`; the others are started with the first job that has several tasks.
  explicit ThreadPool(int threads) : threads_(threads) {}
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  int size() const { return threads_; }

  // A job of fewer elementary operations (multiply-adds, say) than this is done by the caller alone: waking a thread takes as
  // long as a million of them.
  static constexpr int64_t kWorthSharing = 1000000;
  // The same of a job for a thread that looks for one.
  static constexpr int64_t kWorthHandingOver = 200000;

  // Whether threads would share a job of several tasks that comes now.
  bool is_worth_sharing(int64_t operations) const {
    return threads_ > 1 && operations >= (looking_.load(std::memory_order_relaxed) > 0 ? kWorthHandingOver : kWorthSharing);
  }

  // Calls task(index, worker) for every index in 0..count-1 and returns when all are done. `worker` is below size(), and no
  // two tasks of one job that run at the same moment have the same one: memory by worker is the job's own, or its plan's.
  // `operations` is about the work of all tasks together. Allocates nothing but the threads themselves, once.
  template <class Task>
  void run(int64_t count, int64_t operations, const Task &task) {
    std::unique_lock<std::mutex> turn(turn_, std::defer_lock);
    bool shared = count > 1 && is_worth_sharing(operations);
    if (shared && operations < kWorthSharing) {
      shared = turn.try_lock();  // the threads have another's job: by the time that is done, so is this
    } else if (shared) {
      turn.lock();
    }
    run(count, shared, call<Task>, &task);
  }

  // The same of tasks that use the device's scratch memory of their worker: no two tasks of any such jobs that run at the same moment
  // have the same worker.
  template <class Task>
  void run_with_scratch(int64_t count, int64_t operations, const Task &task) {
    std::lock_guard<std::mutex> turn(turn_);
    run(count, count > 1 && is_worth_sharing(operations), call<Task>, &task);
  }

 private:
  using Function = void (*)(const void *context, int64_t index, int worker);

  template <class Task>
  static void call(const void *task, int64_t index, int worker) {
    (*static_cast<const Task *>(task))(index, worker);
  }
  void run(int64_t count, bool shared, Function function, const void *context);
  void start();
  void serve(int worker);
  void take_tasks(int worker);

  const int threads_;
  std::mutex turn_;  // held by the caller whose job the threads share, or that uses the device's scratch memory
  std::vector<std::thread> workers_;

  // The job: written under `state_` while no worker is inside.
  std::mutex state_;
  std::condition_variable wake_, done_;
  Function function_ = nullptr;
  const void *context_ = nullptr;
  int64_t count_ = 0;
  bool open_ = false;  // workers may still join
  bool stop_ = false;
  int sleepers_ = 0;
  std::atomic<uint64_t> job_{0};  // number of the job; workers spin on it before they sleep
  std::atomic<int> active_{0};    // workers inside the job
  std::atomic<int> looking_{0};   // workers that look for the next one
  alignas(64) std::atomic<int64_t> next_{0};
};

}  // namespace jindou::cpu

#endif
