// history_search by equal categories on the CPU: one pass over the history for all candidates of a task.
//
// The candidates' categories go into a hash table (open addressing, half full at most); the events, from the most recent on, are
// looked up in it and appended to the lists, which are rows of `indices`, until all are full. Candidates of one category
// share a list. A look-up an event, whatever the number of candidates; users are spread over the threads.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kCandidatesOfTask = 1024;  // the table is 24 KiB then

class CategorySearch final : public Plan {
 public:
  CategorySearch(Device &d, const jdb_allocator &allocator, const jd_history_search_desc &desc)
      : Plan(d, allocator), desc_(desc), most_(std::min(desc.max_candidates, kCandidatesOfTask)) {
    while ((int64_t{1} << bits_) < 2 * most_) ++bits_;
  }

  jd_status prepare(jd_error *error) {
    const int64_t threads = device.pool.size(), slots = int64_t{1} << bits_;
    Layout layout;
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    categories_at_ = layout.add<int64_t>(slots * threads);
    lists_at_ = layout.add<int32_t>(slots * threads);
    owners_at_ = layout.add<int32_t>(most_ * threads);
    counts_at_ = layout.add<int32_t>(most_ * threads);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "history_search, hard, on cpu: the %d last events of a category, up to %lld candidates a pass",
             desc_.k, static_cast<long long>(most_));
  }

  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_history_search_args *>(args);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // tasks of users 0..u
    int64_t tasks = 0, cost = 0;
    for (int64_t u = 0; u < a.batch; ++u) {
      const int64_t candidates = integer_at(a.candidate_offsets, u + 1) - integer_at(a.candidate_offsets, u);
      const int64_t events = integer_at(a.history_offsets, u + 1) - integer_at(a.history_offsets, u);
      const int64_t passes = divide(candidates, most_);
      ends[u] = tasks += passes;
      cost += passes * events * 8 + candidates * desc_.k;
    }
    device.pool.run(tasks, cost, [&](int64_t index, int worker) {
      const int64_t u = std::upper_bound(ends, ends + a.batch, index) - ends;
      const int64_t first = integer_at(a.candidate_offsets, u) + (index - (u > 0 ? ends[u - 1] : 0)) * most_;
      const int64_t last = std::min(integer_at(a.candidate_offsets, u + 1), first + most_);
      if (desc_.dtype == JD_I32) {
        pass<int32_t>(a, u, first, last, worker);
      } else {
        pass<int64_t>(a, u, first, last, worker);
      }
    });
    return JD_OK;
  }

 private:
  template <class T>
  void pass(const jdb_history_search_args &a, int64_t u, int64_t first, int64_t last, int worker) const {
    const int64_t slots = int64_t{1} << bits_, candidates = last - first, k = desc_.k;
    int64_t *categories = memory.part<int64_t>(categories_at_) + slots * worker;
    int32_t *lists = memory.part<int32_t>(lists_at_) + slots * worker;    // the candidate whose row is the list, -1: free
    int32_t *owners = memory.part<int32_t>(owners_at_) + most_ * worker;  // of each candidate's list
    int32_t *counts = memory.part<int32_t>(counts_at_) + most_ * worker;
    const T *queries = static_cast<const T *>(a.queries.data) + first;
    // The slot of a category, or the free one where it belongs.
    const auto find = [&](int64_t category) {
      int64_t slot = static_cast<int64_t>(static_cast<uint64_t>(category) * 0x9e3779b97f4a7c15u >> (64 - bits_));
      while (lists[slot] >= 0 && categories[slot] != category) slot = (slot + 1) & (slots - 1);
      return slot;
    };
    std::fill(lists, lists + slots, -1);
    int64_t open = 0;  // lists that are not full
    for (int64_t c = 0; c < candidates; ++c) {
      const int64_t slot = find(queries[c]);
      if (lists[slot] < 0) {
        categories[slot] = queries[c];
        lists[slot] = static_cast<int32_t>(c);
        ++open;
      }
      owners[c] = lists[slot];
      counts[c] = 0;
    }

    const auto row = [&](int64_t c) { return static_cast<int32_t *>(a.indices.data) + (first + c) * a.indices.strides[0]; };
    const int64_t begin = integer_at(a.history_offsets, u), events = integer_at(a.history_offsets, u + 1) - begin;
    const T *keys = static_cast<const T *>(a.keys.data) + begin;
    for (int64_t j = events; open > 0 && j-- > 0;) {
      const int32_t list = lists[find(keys[j])];
      if (list < 0 || counts[list] == k) continue;
      row(list)[counts[list]++] = static_cast<int32_t>(j);
      if (counts[list] == k) --open;
    }
    for (int64_t c = 0; c < candidates; ++c) {
      const int32_t owner = owners[c], count = counts[owner];
      if (owner == c) {
        std::fill(row(c) + count, row(c) + k, -1);
      } else {  // its owner came before it: that row is complete
        std::memcpy(row(c), row(owner), sizeof(int32_t) * static_cast<size_t>(k));
      }
      if (a.counts.dtype) static_cast<int32_t *>(a.counts.data)[first + c] = count;
    }
  }

  const jd_history_search_desc desc_;
  const int64_t most_;  // candidates of a task
  int bits_ = 1;        // of the number of slots
  size_t ends_at_ = 0, categories_at_ = 0, lists_at_ = 0, owners_at_ = 0, counts_at_ = 0;
};

}  // namespace

jd_status create_category_search(Device &device, const jd_history_search_desc &desc, const jdb_allocator &allocator,
                                 Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) CategorySearch(device, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
