// Lookups of one table on several streams run at the same time on the cpu: shown without a clock. One waits in the middle of its
// work, at a page of its keys that nobody may read yet, until another has come and gone.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <thread>

#include "operators_support.h"

namespace jindou::testing {
namespace {

// Whole pages of memory, of which the last stops who reads it until it is opened, or twenty seconds are over.
class Gate {
 public:
  explicit Gate(const std::vector<int64_t> &values) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    size_ = (values.size() * sizeof(int64_t) + page_ - 1) / page_ * page_;
    data_ = static_cast<char *>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memcpy(data_, values.data(), values.size() * sizeof(int64_t));
    mprotect(data_ + size_ - page_, page_, PROT_NONE);
    current = this;
    struct sigaction action = {};
    action.sa_sigaction = wait;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &before_);
  }
  ~Gate() {
    sigaction(SIGSEGV, &before_, nullptr);
    current = nullptr;
    munmap(data_, size_);
  }
  void *data() { return data_; }
  bool reached() const { return reached_; }
  bool gave_up() const { return gave_up_; }
  void open() { open_ = true; }

 private:
  static void wait(int, siginfo_t *info, void *) {
    Gate &gate = *current;
    const char *at = static_cast<const char *>(info->si_addr);
    if (at < gate.data_ || at >= gate.data_ + gate.size_) {
      signal(SIGSEGV, SIG_DFL);  // a fault of somebody else's comes again
      return;
    }
    gate.reached_ = true;
    for (int i = 0; i < 20000 && !gate.open_; ++i) {
      const timespec millisecond = {0, 1000000};
      nanosleep(&millisecond, nullptr);
    }
    if (!gate.open_) gate.gave_up_ = true;
    mprotect(gate.data_ + gate.size_ - gate.page_, gate.page_, PROT_READ | PROT_WRITE);
  }

  static std::atomic<Gate *> current;
  const size_t page_;
  size_t size_;
  char *data_;
  struct sigaction before_;
  std::atomic<bool> reached_{false}, open_{false}, gave_up_{false};
};

std::atomic<Gate *> Gate::current{nullptr};

// Keys 0, 3, 6, ... of a table whose row of key k is k.
class LookupsAtOnce : public ::testing::Test {
 protected:
  static constexpr int64_t kKeys = 6000, kDim = 64;

  void SetUp() override {
    jd_hash_table_desc d{};
    d.struct_size = sizeof d;
    d.dtype = JD_F32;
    d.dim = kDim;
    d.eviction = JD_EVICT_LFU;
    d.admission = 1;
    d.missing = JD_MISSING_REPORT;
    d.bounds = JD_BOUNDS_ZERO;
    jd_plan insert = 0;
    rig.check(jd_hash_lookup_plan(rig.device, &d, &lookup, &error), error);
    rig.check(jd_hash_insert_plan(rig.device, &d, &insert, &error), error);
    rig.keep(lookup);
    rig.keep(insert);
    const int64_t slots = jd_hash_table_slots(2 * kKeys);
    table.struct_size = sizeof table;
    table.table_keys = rig.bytes(JD_I64, {slots / 8, 8}, std::vector<uint8_t>(static_cast<size_t>(slots * 8), 0xff));
    table.table_rows = rig.poisoned(JD_F32, {slots, kDim});
    table.table_scores = rig.bytes(JD_I64, {slots}, std::vector<uint8_t>(static_cast<size_t>(slots * 8), 0));
    jd_hash_table_args a = table;
    std::vector<double> keys, rows;
    for (int64_t i = 0; i < kKeys; ++i) {
      keys.push_back(static_cast<double>(3 * i));
      rows.insert(rows.end(), kDim, static_cast<double>(3 * i));
    }
    a.keys = rig.tensor(JD_I64, {kKeys}, keys);
    a.rows = rig.tensor(JD_F32, {kKeys, kDim}, rows);
    a.table_size = rig.integers(JD_I64, {0});
    rig.check(jd_hash_insert_run(insert, rig.stream, &a, &error), error);
    rig.check(jd_stream_create(rig.device, &other_stream, &error), error);
  }
  void TearDown() override { jd_stream_destroy(other_stream, nullptr); }

  static std::vector<int64_t> some_keys(int64_t count, uint64_t seed) {
    Random random(seed);
    std::vector<int64_t> keys;
    for (int64_t i = 0; i < count; ++i) keys.push_back(random.integer(0, 3 * kKeys - 1));
    return keys;
  }

  struct Call {
    jd_hash_table_args args;
    std::vector<int64_t> asked;
  };
  // A lookup of these keys, which lie at `data`; the caller destroys args.keys.
  Call prepare(const std::vector<int64_t> &asked, void *data) {
    Call call = {table, asked};
    const auto n = static_cast<int64_t>(asked.size());
    rig.check(jd_tensor_wrap(rig.device, data, JD_I64, 1, &n, nullptr, &call.args.keys, &error), error);
    call.args.rows = rig.poisoned(JD_F32, {n, kDim});
    return call;
  }
  // Key by key what is in the table, and the keys that are not as many as the stream counted.
  void expect_rows(const Call &call, jd_stream stream) {
    const std::vector<double> rows = rig.read(call.args.rows);
    int64_t missing = 0, counted = 0;
    for (size_t i = 0; i < call.asked.size(); ++i) {
      const bool there = call.asked[i] % 3 == 0;
      missing += !there;
      for (size_t d = 0; d < kDim; d += kDim - 1) {
        ASSERT_EQ(rows[i * kDim + d], there ? static_cast<double>(call.asked[i]) : 0.0) << "key " << call.asked[i];
      }
    }
    rig.check(jd_stream_take_skipped(stream, &counted, &error), error);
    EXPECT_EQ(counted, missing);
  }

  // A lookup of `first` keys waits in its middle while one of `second` runs from its beginning to its end.
  void expect_second_inside_first(int64_t first, int64_t second) {
    const std::vector<int64_t> keys = some_keys(first, 1);
    std::vector<int64_t> other_keys = some_keys(second, 2);
    Gate gate(keys);
    const Call waiting = prepare(keys, gate.data()), passing = prepare(other_keys, other_keys.data());
    std::atomic<bool> ended{false};
    std::thread thread([&] {
      Error failed;
      rig.check(jd_hash_lookup_run(lookup, other_stream, &waiting.args, &failed), failed);
      ended = true;
    });
    while (!gate.reached() && !ended) std::this_thread::yield();
    EXPECT_FALSE(ended);
    rig.check(jd_hash_lookup_run(lookup, rig.stream, &passing.args, &error), error);
    expect_rows(passing, rig.stream);
    EXPECT_FALSE(gate.gave_up()) << "the second lookup waited for the first";
    gate.open();
    thread.join();
    expect_rows(waiting, other_stream);
    for (const Call &call : {waiting, passing}) jd_tensor_destroy(call.args.keys, nullptr);
  }

  Rig rig{"cpu", 2};
  Error error;
  jd_plan lookup = 0;
  jd_stream other_stream = 0;
  jd_hash_table_args table{};
};

constexpr int64_t kSmall = 100;    // keys of a lookup that its caller does alone, whatever the threads do
constexpr int64_t kLarge = 10000;  // of one that the device's threads share

TEST_F(LookupsAtOnce, a_small_one_inside_a_small_one) { expect_second_inside_first(kSmall, kSmall); }
TEST_F(LookupsAtOnce, a_small_one_inside_a_large_one) { expect_second_inside_first(kLarge, kSmall); }
TEST_F(LookupsAtOnce, a_large_one_inside_a_small_one) { expect_second_inside_first(kSmall, kLarge); }

// Each use counts once, however many threads count.
TEST_F(LookupsAtOnce, all_uses_are_counted) {
  const int threads = 4, rounds = 50;
  const auto sum = [&] {
    const jd_tensor_info info = rig.tensor_info(table.table_scores);
    std::vector<int64_t> scores(static_cast<size_t>(info.size_bytes / 8));
    rig.check(jd_tensor_read(rig.stream, table.table_scores, scores.data(), info.size_bytes, &error), error);
    int64_t total = 0;
    for (const int64_t score : scores) total += score;
    return total;
  };
  const int64_t before = sum();
  std::vector<std::vector<int64_t>> keys;
  std::vector<Call> calls;
  std::vector<jd_stream> streams(threads);
  int64_t there = 0;
  for (int t = 0; t < threads; ++t) keys.push_back(some_keys(t == 0 ? kLarge : kSmall, static_cast<uint64_t>(t)));
  for (int t = 0; t < threads; ++t) {
    calls.push_back(prepare(keys[t], keys[t].data()));
    rig.check(jd_stream_create(rig.device, &streams[t], &error), error);
    for (const int64_t key : keys[t]) there += key % 3 == 0;
  }
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      Error failed;
      for (int round = 0; round < rounds; ++round) rig.check(jd_hash_lookup_run(lookup, streams[t], &calls[t].args, &failed), failed);
      int64_t counted = 0;
      jd_stream_take_skipped(streams[t], &counted, nullptr);
      int64_t missing = 0;
      for (const int64_t key : keys[t]) missing += key % 3 != 0;
      EXPECT_EQ(counted, rounds * missing);
    });
  }
  for (std::thread &thread : running) thread.join();
  EXPECT_EQ(sum() - before, rounds * there);
  for (const Call &call : calls) jd_tensor_destroy(call.args.keys, nullptr);
  for (const jd_stream stream : streams) jd_stream_destroy(stream, nullptr);
}

}  // namespace
}  // namespace jindou::testing
