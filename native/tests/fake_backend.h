// A backend for tests of core: its memory is the heap, its operators only note that they ran (two of them compute something
// trivial), and everything it hands out is counted. Built into a test it is the "cpu" backend; built as a plug-in it is
// libjindou_simt.so (device memory, streams recorded by core) or libjindou_cuda.so (device memory, native capture).
#ifndef JINDOU_TESTS_FAKE_BACKEND_H
#define JINDOU_TESTS_FAKE_BACKEND_H

#include <atomic>
#include <cstdint>
#include <mutex>

#include "core/backend.h"
#include "core/graph.h"

namespace jindou::fake {

struct State {
  // Alive now.
  std::atomic<int64_t> devices{0}, streams{0}, events{0}, plans{0}, graphs{0}, allocations{0}, bytes{0};
  // Calls so far.
  std::atomic<int32_t> last_direction{0};  // of a copy
  std::atomic<int64_t> runs{0}, copies{0}, fills{0}, captured{0}, graph_launches{0}, synchronisations{0};
  // Things that must never happen: a device closed before what belongs to it, a use after destruction.
  std::atomic<int64_t> violations{0};

  std::mutex mutex;  // for the plain members below, since streams call at the same time

  // What the last run got.
  int32_t last_op = 0;
  core::OperatorArgs last_args;

  // Orders to the backend.
  jd_status next_run = JD_OK;                   // returned by the next run, with the message "ordered to fail"
  jdb_report next_report = {};                  // given at the next synchronisation
  std::atomic<int64_t> alloc_limit{INT64_MAX};  // larger requests are JD_OUT_OF_MEMORY
  int64_t plan_bytes = 0;                       // scratch that each plan allocates
  jd_status plan_status = JD_OK;                // returned by plan_create, after it has allocated and freed its scratch
  std::atomic<bool> hold{false};                // runs wait inside while set
  std::atomic<int64_t> holding{0};              // runs waiting now
};

// The state of the fake built into this binary, or of the plug-in that exports it as `fake_state`.
extern "C" State *fake_state();

}  // namespace jindou::fake

#endif
