// Objects closed while other threads use them, and nothing left afterwards. Run under sanitizers these tests are worth most.
#include <atomic>
#include <chrono>
#include <thread>

#include "core_fixture.h"

namespace jindou::test {
namespace {

constexpr int kThreads = 4;

class Lifetimes : public CoreTest {
 protected:
  // Runs `body(thread)` on kThreads threads until it returns false.
  template <class Body>
  std::vector<std::thread> start(Body body) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([=] {
        while (body(i)) {
        }
      });
    }
    return threads;
  }
  static void join(std::vector<std::thread> &threads) {
    for (std::thread &thread : threads) thread.join();
  }
  static jd_l2_normalize_args increment(jd_tensor x, jd_tensor out) {
    jd_l2_normalize_args args = make<jd_l2_normalize_args>();
    args.eps = 1e-6f;
    args.x = x;
    args.out = out;
    return args;
  }
  static jd_tensor create(jd_device on, int64_t rows, int64_t columns) {
    const int64_t shape[2] = {rows, columns};
    jd_tensor handle = 0;
    EXPECT_EQ(jd_tensor_create(on, JD_F32, 2, shape, &handle, nullptr), JD_OK);
    return handle;
  }
};

TEST_F(Lifetimes, a_device_closed_while_threads_run) {
  for (int round = 0; round < 20; ++round) {
    jd_device other;
    ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
    jd_stream streams[kThreads];
    jd_tensor xs[kThreads], outs[kThreads];
    for (int i = 0; i < kThreads; ++i) {
      ASSERT_EQ(jd_stream_create(other, &streams[i], &error), JD_OK);
      xs[i] = create(other, 4, 8);
      outs[i] = create(other, 4, 8);
    }
    std::atomic<int64_t> ran{0};
    std::atomic<bool> closed{false};
    std::atomic<int64_t> after_close{0};
    auto threads = start([&](int i) {
      const bool was_closed = closed;
      const jd_l2_normalize_args args = increment(xs[i], outs[i]);
      Error mine;
      const jd_status status = jd_l2_normalize(streams[i], &args, &mine);
      if (status == JD_OK) {
        ++ran;
        if (was_closed) ++after_close;
        return true;
      }
      EXPECT_EQ(status, JD_CLOSED) << mine.message;
      return false;
    });
    while (ran < 50) std::this_thread::yield();
    EXPECT_EQ(jd_device_close(other, &error), JD_OK);
    closed = true;
    join(threads);
    EXPECT_EQ(after_close, 0) << "once close has returned, no call gets in";
    for (int i = 0; i < kThreads; ++i) {
      EXPECT_EQ(jd_tensor_destroy(xs[i], &error), JD_OK);
      EXPECT_EQ(jd_tensor_destroy(outs[i], &error), JD_OK);
      EXPECT_EQ(jd_stream_destroy(streams[i], &error), JD_OK);
    }
    EXPECT_EQ(state()->devices, 1);
  }
}

TEST_F(Lifetimes, closing_a_device_waits_for_the_calls_inside) {
  jd_device other;
  jd_stream s;
  ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
  ASSERT_EQ(jd_stream_create(other, &s, &error), JD_OK);
  const jd_tensor x = create(other, 1, 4), out = create(other, 1, 4);
  state()->hold = true;
  std::thread runner([&] {
    const jd_l2_normalize_args args = increment(x, out);
    EXPECT_EQ(jd_l2_normalize(s, &args, nullptr), JD_OK) << "the call inside finishes";
  });
  while (state()->holding == 0) std::this_thread::yield();
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    EXPECT_EQ(jd_device_close(other, nullptr), JD_OK);
    closed = true;
  });
  // The handle is refused as soon as the closer has begun, while the close itself still waits.
  while (jd_noop(other, nullptr) != JD_CLOSED) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(closed);
  state()->hold = false;
  runner.join();
  closer.join();
  EXPECT_TRUE(closed);
  jd_tensor_destroy(x, nullptr);
  jd_tensor_destroy(out, nullptr);
  jd_stream_destroy(s, nullptr);
}

TEST_F(Lifetimes, a_tensor_destroyed_while_threads_run) {
  for (int round = 0; round < 50; ++round) {
    const jd_tensor x = create(device, 4, 8), out = create(device, 4, 8);
    std::atomic<int64_t> ran{0};
    auto threads = start([&](int) {
      const jd_l2_normalize_args args = increment(x, out);
      Error mine;
      const jd_status status = jd_l2_normalize(stream, &args, &mine);
      if (status == JD_OK) return ++ran, true;
      EXPECT_EQ(status, JD_CLOSED) << mine.message;
      return false;
    });
    while (ran < 20) std::this_thread::yield();
    EXPECT_EQ(jd_tensor_destroy(x, &error), JD_OK);
    join(threads);
    EXPECT_EQ(jd_tensor_destroy(out, &error), JD_OK);
    EXPECT_EQ(state()->allocations, 0);
  }
}

TEST_F(Lifetimes, host_memory_destroyed_while_threads_copy) {
  for (int round = 0; round < 50; ++round) {
    jd_host_memory memory;
    void *data = nullptr;
    ASSERT_EQ(jd_host_memory_create(device, 128, &memory, &data, &error), JD_OK);
    jd_tensor xs[kThreads];
    for (jd_tensor &x : xs) x = create(device, 4, 8);
    std::atomic<int64_t> ran{0};
    auto threads = start([&](int i) {
      Error mine;
      const jd_status status = i % 2 ? jd_tensor_write_from(stream, xs[i], memory, 0, 64, &mine)
                                     : jd_tensor_read_into(stream, xs[i], memory, 64 + 32 * (i / 2), 32, &mine);
      if (status == JD_OK) return ++ran, true;
      EXPECT_EQ(status, JD_CLOSED) << mine.message;
      return false;
    });
    while (ran < 20) std::this_thread::yield();
    EXPECT_EQ(jd_host_memory_destroy(memory, &error), JD_OK);
    join(threads);
    for (const jd_tensor x : xs) EXPECT_EQ(jd_tensor_destroy(x, &error), JD_OK);
    EXPECT_EQ(state()->allocations, 0);
  }
}

TEST_F(Lifetimes, memory_of_a_destroyed_tensor_stays_until_the_run_ends) {
  const jd_tensor x = create(device, 1, 4), out = create(device, 1, 4);
  state()->hold = true;
  std::thread runner([&] {
    const jd_l2_normalize_args args = increment(x, out);
    EXPECT_EQ(jd_l2_normalize(stream, &args, nullptr), JD_OK);
  });
  while (state()->holding == 0) std::this_thread::yield();
  EXPECT_EQ(jd_tensor_destroy(x, &error), JD_OK);
  EXPECT_EQ(jd_tensor_destroy(out, &error), JD_OK);
  EXPECT_EQ(state()->allocations, 2);
  state()->hold = false;
  runner.join();
  EXPECT_EQ(state()->allocations, 0);
}

TEST_F(Lifetimes, a_stream_and_a_plan_destroyed_while_threads_run) {
  jd_hstu_attention_desc desc = make<jd_hstu_attention_desc>();
  desc.dtype = JD_F32;
  desc.offset_dtype = JD_I32;
  desc.num_heads = 1;
  desc.head_dim_qk = desc.head_dim_v = 32;
  desc.scaling_seqlen = 1;
  desc.max_batch = desc.max_seq_len = 4;
  state()->plan_bytes = 512;
  jd_hstu_attention_args args = make<jd_hstu_attention_args>();
  args.queries = tensor(JD_F32, {4, 1, 32});
  args.keys = tensor(JD_F32, {4, 1, 32});
  args.values = tensor(JD_F32, {4, 1, 32});
  args.out = tensor(JD_F32, {4, 1, 32});
  args.offsets = i32({0, 4});
  for (int round = 0; round < 50; ++round) {
    jd_plan plan;
    jd_stream s;
    ASSERT_EQ(jd_hstu_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    ASSERT_EQ(jd_stream_create(device, &s, &error), JD_OK);
    std::atomic<int64_t> ran{0};
    auto threads = start([&](int) {
      Error mine;
      const jd_status status = jd_hstu_attention_run(plan, s, &args, &mine);
      if (status == JD_OK) return ++ran, true;
      EXPECT_EQ(status, JD_CLOSED) << mine.message;
      return false;
    });
    while (ran < 20) std::this_thread::yield();
    EXPECT_EQ(round % 2 ? jd_plan_destroy(plan, &error) : jd_stream_destroy(s, &error), JD_OK);
    join(threads);
    EXPECT_EQ(round % 2 ? jd_stream_destroy(s, &error) : jd_plan_destroy(plan, &error), JD_OK);
    EXPECT_EQ(state()->plans, 0);
  }
  state()->plan_bytes = 0;
}

TEST_F(Lifetimes, one_of_many_destroyers_wins) {
  for (int round = 0; round < 200; ++round) {
    const jd_tensor t = create(device, 1, 4);
    std::atomic<int> won{0}, lost{0};
    auto threads = start([&](int) {
      const jd_status status = jd_tensor_destroy(t, nullptr);
      status == JD_OK ? ++won : ++lost;
      EXPECT_TRUE(status == JD_OK || status == JD_CLOSED);
      return false;
    });
    join(threads);
    EXPECT_EQ(won, 1);
    EXPECT_EQ(lost, kThreads - 1);
  }
}

TEST_F(Lifetimes, threads_that_create_and_destroy_leave_nothing) {
  std::atomic<int> rounds{0};
  auto threads = start([&](int) {
    jd_stream s;
    EXPECT_EQ(jd_stream_create(device, &s, nullptr), JD_OK);
    const jd_tensor x = create(device, 2, 4), out = create(device, 2, 4);
    EXPECT_EQ(jd_tensor_fill(s, x, 0, nullptr), JD_OK);
    const jd_l2_normalize_args args = increment(x, out);
    jd_graph graph;
    EXPECT_EQ(jd_stream_begin_capture(s, nullptr), JD_OK);
    EXPECT_EQ(jd_l2_normalize(s, &args, nullptr), JD_OK);
    EXPECT_EQ(jd_stream_end_capture(s, &graph, nullptr), JD_OK);
    EXPECT_EQ(jd_graph_launch(graph, s, nullptr), JD_OK);
    float back[8];
    EXPECT_EQ(jd_tensor_read(s, out, back, sizeof back, nullptr), JD_OK);
    EXPECT_EQ(back[7], 1);
    for (const uint64_t handle : {x, out}) EXPECT_EQ(jd_tensor_destroy(handle, nullptr), JD_OK);
    EXPECT_EQ(jd_graph_destroy(graph, nullptr), JD_OK);
    EXPECT_EQ(jd_stream_destroy(s, nullptr), JD_OK);
    return ++rounds < 400;
  });
  join(threads);
}

TEST_F(Lifetimes, one_graph_launched_by_many_threads) {
  const jd_tensor x = tensor(JD_F32, {1, 4});
  const jd_l2_normalize_args args = increment(x, x);
  jd_graph graph;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(jd_l2_normalize(stream, &args, &error), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  jd_stream streams[kThreads];
  for (jd_stream &s : streams) ASSERT_EQ(jd_stream_create(device, &s, &error), JD_OK);
  std::atomic<int> launches{0};
  auto threads = start([&](int i) {
    if (launches++ >= 1000) return false;
    EXPECT_EQ(jd_graph_launch(graph, streams[i], nullptr), JD_OK);
    return true;
  });
  join(threads);
  EXPECT_EQ(data<float>(x)[0], 1000) << "launches of one graph follow each other";
  for (const jd_stream s : streams) jd_stream_destroy(s, nullptr);
  jd_graph_destroy(graph, nullptr);
}

}  // namespace
}  // namespace jindou::test
