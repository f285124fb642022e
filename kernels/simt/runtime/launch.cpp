#include "simt/runtime/launch.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "simt/runtime/block.h"

namespace jindou::simt {

namespace {

// Blocks, with their stacks and shared memory, are kept from launch to launch.
class BlockPool {
 public:
  std::unique_ptr<Block> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (blocks_.empty()) return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(blocks_.back());
    blocks_.pop_back();
    return block;
  }

  void give_back(std::unique_ptr<Block> block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    blocks_.push_back(std::move(block));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> blocks_;
};

BlockPool &pool() {
  static BlockPool instance;
  return instance;
}

// The i-th block to run: for shuffled orders i -> (a i + b) mod n with a prime to n.
class BlockOrder {
 public:
  BlockOrder(uint64_t blocks, const Options &options) : blocks_(blocks) {
    const bool shuffled = options.order == Order::shuffled || (options.order == Order::by_seed && options.seed != 0);
    if (!shuffled) return;
    Random random(options.seed);
    step_ = random() % blocks | 1u;
    while (std::gcd(step_, blocks) != 1) ++step_;
    start_ = random() % blocks;
  }

  uint64_t operator()(uint64_t i) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(step_) * i + start_) % blocks_);
  }

 private:
  uint64_t blocks_;
  uint64_t step_ = 1;
  uint64_t start_ = 0;
};

// Takes blocks of one launch until there are none, or one has failed.
class Work {
 public:
  Work(const Launch &launch, const Options &options)
      : launch_(launch), options_(options), blocks_(uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z),
        order_(blocks_, options) {}

  uint64_t blocks() const { return blocks_; }

  void run() {
    try {
      std::unique_ptr<Block> block = pool().take();
      for (;;) {
        const uint64_t i = next_.fetch_add(1);
        if (i >= blocks_ || failed_.load()) break;
        run_block(*block, order_(i));
      }
      pool().give_back(std::move(block));
    } catch (const std::exception &e) {
      fail(e.what());
    }
  }

  // The first error. Once every run() has returned.
  const std::string &error() const { return error_; }

  void fail(const std::string &error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failed_.exchange(true)) error_ = error;
  }

 private:
  void run_block(Block &block, uint64_t number) {
    const auto x = static_cast<uint32_t>(number % launch_.grid.x);
    const auto y = static_cast<uint32_t>(number / launch_.grid.x % launch_.grid.y);
    const auto z = static_cast<uint32_t>(number / launch_.grid.x / launch_.grid.y);
    // What a block does by chance depends on the seed and on its number, not on which OS thread runs it, or when.
    Random seed(options_.seed * 0x2545f4914f6cdd1du + number);
    const std::string error = block.run(launch_, options_, {x, y, z}, seed());
    if (!error.empty()) fail(error);
  }

  const Launch &launch_;
  const Options &options_;
  const uint64_t blocks_;
  const BlockOrder order_;
  std::atomic<uint64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string error_;
};

std::string run_all(const Launch &launch, const Options &options) {
  const prim::Grid &grid = launch.grid;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return {};
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
    return "grid (" + std::to_string(grid.x) + ", " + std::to_string(grid.y) + ", " + std::to_string(grid.z) +
           "): the limits are 2147483647, 65535 and 65535";
  }
  Work work(launch, options);
  const uint64_t threads = std::min<uint64_t>(work.blocks(), options.os_threads < 1 ? 1 : static_cast<uint64_t>(options.os_threads));
  std::vector<std::thread> helpers;
  for (uint64_t t = 1; t < threads; ++t) helpers.emplace_back([&work] { work.run(); });
  work.run();
  for (std::thread &helper : helpers) helper.join();
  return work.error();
}

}  // namespace

size_t run_launch(const Launch &launch, const Options &options, char *text, size_t capacity) {
  std::string error;
  try {
    error = run_all(launch, options);
  } catch (const std::exception &e) {
    error = e.what();
  }
  if (error.empty()) return 0;
  snprintf(text, capacity, "%s", error.c_str());
  return error.size();
}

}  // namespace jindou::simt
