// What only a GPU can show of the cuda backend: work under way keeps its memory, graphs run anywhere, host memory is free again
// on return, threads keep their contexts. Exits with 77 (skipped) and the reason where there is no GPU.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <jindou/jindou.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

template <class T>
T make() {
  T value;
  std::memset(&value, 0, sizeof value);
  value.struct_size = sizeof value;
  return value;
}

class CudaRuntime : public testing::Test {
 protected:
  void SetUp() override {
    objects_before_ = jd_live_objects();
    ASSERT_EQ(jd_device_open("cuda", nullptr, &device, &error), JD_OK) << error.message;
    stream = new_stream();
  }
  void TearDown() override {
    EXPECT_EQ(jd_stream_destroy(stream, &error), JD_OK) << error.message;
    jd_memory_info memory = make<jd_memory_info>();
    EXPECT_EQ(jd_device_memory(device, &memory, nullptr), JD_OK);
    EXPECT_EQ(memory.used_bytes, 0);
    EXPECT_EQ(jd_device_close(device, nullptr), JD_OK);
    EXPECT_EQ(jd_live_objects(), objects_before_);
  }

  jd_stream new_stream() {
    jd_stream made = 0;
    EXPECT_EQ(jd_stream_create(device, &made, &error), JD_OK) << error.message;
    return made;
  }
  jd_tensor new_tensor(int32_t dtype, std::vector<int64_t> shape) {
    jd_tensor made = 0;
    EXPECT_EQ(jd_tensor_create(device, dtype, static_cast<int32_t>(shape.size()), shape.data(), &made, &error), JD_OK)
        << error.message;
    return made;
  }
  void write(jd_stream on, jd_tensor tensor, const void *data, size_t bytes) {
    ASSERT_EQ(jd_tensor_write(on, tensor, data, static_cast<int64_t>(bytes), &error), JD_OK) << error.message;
  }
  std::vector<float> read(jd_stream on, jd_tensor tensor, size_t count) {
    std::vector<float> values(count);
    EXPECT_EQ(jd_tensor_read(on, tensor, values.data(), static_cast<int64_t>(count * 4), &error), JD_OK) << error.message;
    return values;
  }
  void destroy(std::initializer_list<jd_tensor> tensors) {
    for (const jd_tensor tensor : tensors) EXPECT_EQ(jd_tensor_destroy(tensor, &error), JD_OK) << error.message;
  }

  jd_status linear(jd_stream on, jd_tensor x, jd_tensor weight, jd_tensor out) {
    jd_linear_args args = make<jd_linear_args>();
    args.x = x;
    args.weight = weight;
    args.out = out;
    return jd_linear(on, &args, &error);
  }

  // Keeps a stream busy for some tens of milliseconds.
  void keep_busy(jd_stream on) {
    const int64_t n = 4096;
    const jd_tensor x = new_tensor(JD_F32, {n, n}), w = new_tensor(JD_F32, {n, n}), y = new_tensor(JD_F32, {n, n});
    ASSERT_EQ(jd_tensor_fill(on, x, 0, &error), JD_OK);
    ASSERT_EQ(jd_tensor_fill(on, w, 0, &error), JD_OK);
    for (int i = 0; i < 8; ++i) ASSERT_EQ(linear(on, x, w, y), JD_OK) << error.message;
    destroy({x, w, y});
  }

  // A plan of one table [4, 4] whose row r is r.
  jd_plan bag_plan(jd_tensor *table) {
    std::vector<float> rows(16);
    for (int i = 0; i < 16; ++i) rows[i] = static_cast<float>(i / 4);
    *table = new_tensor(JD_F32, {4, 4});
    write(stream, *table, rows.data(), 64);
    jd_embedding_bag_desc desc = make<jd_embedding_bag_desc>();
    desc.num_tables = 1;
    desc.tables = table;
    desc.bounds = JD_BOUNDS_STRICT;
    desc.index_dtype = desc.offset_dtype = JD_I64;
    desc.max_batch = desc.max_ids = 8;
    jd_plan plan = 0;
    EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK) << error.message;
    EXPECT_EQ(jd_embedding_bag_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return plan;
  }

  jd_device device = 0;
  jd_stream stream = 0;
  jd_error error = make<jd_error>();

 private:
  int64_t objects_before_ = 0;
};

std::vector<float> numbers(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 8191) * 0.25f - 77.0f;
  return values;
}

TEST_F(CudaRuntime, memory_of_work_under_way_is_not_handed_out) {
  const jd_stream other = new_stream();
  const size_t count = 1 << 20;
  const std::vector<float> expected = numbers(count);
  const jd_tensor result = new_tensor(JD_F32, {int64_t{1} << 20});
  for (int round = 0; round < 3; ++round) {
    const jd_tensor source = new_tensor(JD_F32, {int64_t{1} << 20});
    write(stream, source, expected.data(), count * 4);
    ASSERT_EQ(jd_stream_synchronize(stream, &error), JD_OK);
    keep_busy(stream);
    ASSERT_EQ(jd_tensor_copy(stream, result, source, &error), JD_OK) << error.message;
    destroy({source});  // the copy has not begun
    std::vector<jd_tensor> greedy;
    for (int i = 0; i < 8; ++i) {
      greedy.push_back(new_tensor(JD_F32, {int64_t{1} << 20}));
      ASSERT_EQ(jd_tensor_fill(other, greedy.back(), 0xff, &error), JD_OK);
    }
    ASSERT_EQ(jd_stream_synchronize(other, &error), JD_OK);
    EXPECT_EQ(read(stream, result, count), expected);
    for (const jd_tensor tensor : greedy) destroy({tensor});
  }
  destroy({result});
  EXPECT_EQ(jd_stream_destroy(other, &error), JD_OK);
}

TEST_F(CudaRuntime, memory_returns_to_the_pool) {
  jd_device_info info = make<jd_device_info>();
  ASSERT_EQ(jd_device_get_info(device, &info, &error), JD_OK);
  const int64_t third = info.total_memory_bytes / 3;
  for (int round = 0; round < 6; ++round) {  // twice the device's memory in all
    const jd_tensor tensor = new_tensor(JD_U8, {third});
    ASSERT_NE(tensor, 0u) << "round " << round;
    ASSERT_EQ(jd_tensor_fill(stream, tensor, static_cast<uint8_t>(round), &error), JD_OK) << error.message;
    destroy({tensor});
  }
}

TEST_F(CudaRuntime, out_of_memory_names_request_and_free_memory) {
  jd_device_info info = make<jd_device_info>();
  ASSERT_EQ(jd_device_get_info(device, &info, &error), JD_OK);
  const int64_t too_much = info.total_memory_bytes + 1;
  jd_tensor tensor = 7;
  ASSERT_EQ(jd_tensor_create(device, JD_U8, 1, &too_much, &tensor, &error), JD_OUT_OF_MEMORY);
  EXPECT_EQ(tensor, 0u);
  EXPECT_NE(std::string(error.message).find(std::to_string(too_much)), std::string::npos) << error.message;
  EXPECT_NE(std::string(error.message).find("bytes of the device are free"), std::string::npos) << error.message;
  tensor = new_tensor(JD_U8, {1024});
  EXPECT_EQ(jd_tensor_fill(stream, tensor, 1, &error), JD_OK) << error.message;
  destroy({tensor});
}

TEST_F(CudaRuntime, a_host_source_may_be_reused_on_return) {
  for (const size_t bytes : {size_t{16}, size_t{100'004}, size_t{512 * 1024}, size_t{512 * 1024 + 4}, size_t{20'000'000}}) {
    const size_t count = bytes / 4;
    const std::vector<float> expected = numbers(count);
    std::vector<jd_tensor> targets;
    keep_busy(stream);
    for (int i = 0; i < 9; ++i) {  // more than there are slots
      targets.push_back(new_tensor(JD_F32, {static_cast<int64_t>(count)}));
      std::vector<float> source = expected;
      source[0] = static_cast<float>(i);
      write(stream, targets.back(), source.data(), bytes);
      std::memset(source.data(), 0xff, bytes);
    }
    for (int i = 0; i < 9; ++i) {
      std::vector<float> came = read(stream, targets[i], count);
      EXPECT_EQ(came[0], static_cast<float>(i));
      came[0] = expected[0];
      EXPECT_EQ(came, expected) << bytes << " bytes, copy " << i;
      destroy({targets[i]});
    }
  }
}

TEST_F(CudaRuntime, host_memory_is_released_behind_its_copies) {
  const size_t count = 4 << 20;
  const jd_tensor target = new_tensor(JD_F32, {static_cast<int64_t>(count)});
  for (const bool capturing : {false, true}) {
    jd_host_memory memory = 0;
    void *data = nullptr;
    ASSERT_EQ(jd_host_memory_create(device, 4 * count, &memory, &data, &error), JD_OK) << error.message;
    const std::vector<float> expected = numbers(count);
    std::memcpy(data, expected.data(), 4 * count);
    const jd_stream other = new_stream();
    if (capturing) {
      ASSERT_EQ(jd_stream_begin_capture(other, &error), JD_OK) << error.message;
    }
    keep_busy(stream);
    ASSERT_EQ(jd_tensor_write_from(stream, target, memory, 0, 4 * count, &error), JD_OK) << error.message;
    ASSERT_EQ(jd_host_memory_destroy(memory, &error), JD_OK) << error.message;
    EXPECT_EQ(read(stream, target, count), expected);
    if (capturing) {
      jd_graph graph = 0;
      ASSERT_EQ(jd_stream_end_capture(other, &graph, &error), JD_OK) << error.message;
      EXPECT_EQ(jd_graph_destroy(graph, nullptr), JD_OK);
    }
    EXPECT_EQ(jd_stream_destroy(other, &error), JD_OK);
  }
  destroy({target});
}

TEST_F(CudaRuntime, events_order_streams) {
  const jd_stream other = new_stream();
  jd_event ready = 0;
  ASSERT_EQ(jd_event_create(device, &ready, &error), JD_OK);
  const jd_tensor a = new_tensor(JD_F32, {256}), b = new_tensor(JD_F32, {256});
  ASSERT_EQ(jd_tensor_fill(stream, a, 0, &error), JD_OK);
  ASSERT_EQ(jd_stream_synchronize(stream, &error), JD_OK);
  keep_busy(stream);
  const std::vector<float> expected = numbers(256);
  write(stream, a, expected.data(), 1024);
  ASSERT_EQ(jd_event_record(ready, stream, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_event_wait(ready, other, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_tensor_copy(other, b, a, &error), JD_OK) << error.message;
  EXPECT_EQ(read(other, b, 256), expected);
  destroy({a, b});
  EXPECT_EQ(jd_event_destroy(ready, nullptr), JD_OK);
  EXPECT_EQ(jd_stream_destroy(other, &error), JD_OK);
}

TEST_F(CudaRuntime, a_graph_gives_the_bits_of_the_direct_run) {
  const int64_t n = 200, k = 132, m = 77 * 4;
  const jd_tensor x = new_tensor(JD_F32, {n, k}), w = new_tensor(JD_F32, {m, k});
  const jd_tensor direct = new_tensor(JD_F32, {n, m}), replayed = new_tensor(JD_F32, {n, m});
  write(stream, x, numbers(n * k).data(), n * k * 4);
  write(stream, w, numbers(m * k).data(), m * k * 4);
  ASSERT_EQ(linear(stream, x, w, direct), JD_OK) << error.message;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK) << error.message;
  ASSERT_EQ(linear(stream, x, w, replayed), JD_OK) << error.message;
  jd_graph graph = 0;
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK) << error.message;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(jd_tensor_fill(stream, replayed, 0xff, &error), JD_OK);
    ASSERT_EQ(jd_graph_launch(graph, stream, &error), JD_OK) << error.message;
    EXPECT_EQ(read(stream, replayed, n * m), read(stream, direct, n * m));
  }
  EXPECT_EQ(jd_graph_destroy(graph, nullptr), JD_OK);
  destroy({x, w, direct, replayed});
}

TEST_F(CudaRuntime, a_graph_reports_to_the_stream_it_was_launched_on) {
  jd_tensor table = 0;
  const jd_plan plan = bag_plan(&table);
  const std::vector<int64_t> bad{1, 9}, good{1, 2}, offsets{0, 1, 2};
  const jd_tensor ids = new_tensor(JD_I64, {2}), bounds = new_tensor(JD_I64, {3}), out = new_tensor(JD_F32, {2, 4});
  const jd_stream recorder = new_stream(), other = new_stream();
  write(stream, bounds, offsets.data(), 24);
  write(stream, ids, good.data(), 16);
  ASSERT_EQ(jd_stream_synchronize(stream, &error), JD_OK);
  jd_embedding_bag_args args = make<jd_embedding_bag_args>();
  args.ids = ids;
  args.offsets = bounds;
  args.out = out;
  jd_graph graph = 0;
  ASSERT_EQ(jd_stream_begin_capture(recorder, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_embedding_bag_run(plan, recorder, &args, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_stream_end_capture(recorder, &graph, &error), JD_OK) << error.message;
  EXPECT_EQ(jd_stream_destroy(recorder, &error), JD_OK);  // its graph lives on

  ASSERT_EQ(jd_graph_launch(graph, stream, &error), JD_OK) << error.message;
  EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK) << error.message;
  write(stream, ids, bad.data(), 16);
  ASSERT_EQ(jd_graph_launch(graph, stream, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_embedding_bag_run(plan, stream, &args, &error), JD_OK) << error.message;  // meets the same; the first one counts
  EXPECT_EQ(jd_stream_synchronize(other, &error), JD_OK) << error.message;
  EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OUT_OF_BOUNDS);
  EXPECT_EQ(error.position, 1);
  EXPECT_EQ(error.value, 9);
  EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_graph_launch(graph, other, &error), JD_OK) << error.message;
  EXPECT_EQ(jd_stream_synchronize(other, &error), JD_OUT_OF_BOUNDS);
  EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK) << error.message;

  EXPECT_EQ(jd_graph_destroy(graph, nullptr), JD_OK);
  EXPECT_EQ(jd_stream_destroy(other, &error), JD_OK);
  EXPECT_EQ(jd_plan_destroy(plan, nullptr), JD_OK);
  destroy({table, ids, bounds, out});
}

TEST_F(CudaRuntime, captures_cross_threads_while_others_allocate_and_free) {
  const jd_tensor x = new_tensor(JD_F32, {4, 8}), y = new_tensor(JD_F32, {4, 8});
  write(stream, x, numbers(32).data(), 128);
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_tensor_copy(stream, y, x, &error), JD_OK) << error.message;
  jd_graph graph = 0;
  std::thread([&] {
    const jd_stream mine = new_stream();
    for (int i = 0; i < 20; ++i) {
      const jd_tensor t = new_tensor(JD_F32, {1 << 16});
      EXPECT_EQ(jd_tensor_fill(mine, t, 3, &error), JD_OK) << error.message;
      destroy({t});
    }
    EXPECT_EQ(jd_stream_destroy(mine, &error), JD_OK) << error.message;
    EXPECT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK) << error.message;
  }).join();
  ASSERT_EQ(jd_graph_launch(graph, stream, &error), JD_OK) << error.message;
  EXPECT_EQ(read(stream, y, 32), numbers(32));
  EXPECT_EQ(jd_graph_destroy(graph, nullptr), JD_OK);
  destroy({x, y});
}

TEST_F(CudaRuntime, many_threads_share_a_device) {
  const int64_t n = 64;
  const jd_tensor w = new_tensor(JD_F32, {n, n});
  write(stream, w, numbers(n * n).data(), n * n * 4);
  ASSERT_EQ(jd_stream_synchronize(stream, &error), JD_OK);
  std::vector<std::vector<float>> results(8);
  std::vector<std::thread> threads;
  for (std::vector<float> &result : results) {
    threads.emplace_back([this, &result, w] {
      jd_error mine = make<jd_error>();
      jd_stream s = 0;
      EXPECT_EQ(jd_stream_create(device, &s, &mine), JD_OK) << mine.message;
      const int64_t shape[] = {n, n};
      for (int round = 0; round < 20; ++round) {
        jd_tensor x = 0, y = 0;
        EXPECT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &x, &mine), JD_OK) << mine.message;
        EXPECT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &y, &mine), JD_OK) << mine.message;
        const std::vector<float> values = numbers(n * n);
        EXPECT_EQ(jd_tensor_write(s, x, values.data(), n * n * 4, &mine), JD_OK) << mine.message;
        jd_linear_args args = make<jd_linear_args>();
        args.x = x;
        args.weight = w;
        args.out = y;
        EXPECT_EQ(jd_linear(s, &args, &mine), JD_OK) << mine.message;
        result.resize(n * n);
        EXPECT_EQ(jd_tensor_read(s, y, result.data(), n * n * 4, &mine), JD_OK) << mine.message;
        jd_tensor_destroy(x, nullptr);
        jd_tensor_destroy(y, nullptr);
      }
      EXPECT_EQ(jd_stream_destroy(s, &mine), JD_OK) << mine.message;
    });
  }
  for (std::thread &thread : threads) thread.join();
  for (const std::vector<float> &result : results) EXPECT_EQ(result, results[0]);
  destroy({w});
}

// The driver API, as another library in the process would use it.
class OtherLibrary {
 public:
  template <class F>
  F function(const char *name) const {
    return reinterpret_cast<F>(dlsym(library_, name));
  }

 private:
  void *library_ = dlopen("libcuda.so.1", RTLD_NOW);
};

TEST_F(CudaRuntime, a_thread_keeps_its_own_context) {
  const OtherLibrary cuda;
  const auto create = cuda.function<int (*)(void **, unsigned, int)>("cuCtxCreate_v2");
  const auto destroy_context = cuda.function<int (*)(void *)>("cuCtxDestroy_v2");
  const auto current = cuda.function<int (*)(void **)>("cuCtxGetCurrent");
  if (!create || !destroy_context || !current) GTEST_SKIP() << "this driver has no cuCtxCreate_v2";
  std::thread([&] {
    void *mine = nullptr, *now = nullptr;
    ASSERT_EQ(create(&mine, 0, 0), 0);
    const jd_tensor tensor = new_tensor(JD_F32, {64});
    write(stream, tensor, numbers(64).data(), 256);
    EXPECT_EQ(read(stream, tensor, 64), numbers(64));
    destroy({tensor});
    EXPECT_EQ(current(&now), 0);
    EXPECT_EQ(now, mine);
    EXPECT_EQ(destroy_context(mine), 0);
  }).join();
}

TEST_F(CudaRuntime, a_stream_of_others_can_be_wrapped) {
  void *native = nullptr;
  ASSERT_EQ(jd_stream_native(stream, &native, &error), JD_OK);  // a cudaStream_t like any other
  jd_stream wrapped = 0;
  ASSERT_EQ(jd_stream_wrap(device, native, &wrapped, &error), JD_OK) << error.message;
  const jd_tensor tensor = new_tensor(JD_F32, {64});
  write(wrapped, tensor, numbers(64).data(), 256);
  EXPECT_EQ(read(stream, tensor, 64), numbers(64));
  EXPECT_EQ(jd_stream_destroy(wrapped, &error), JD_OK) << error.message;
  EXPECT_EQ(jd_tensor_fill(stream, tensor, 0, &error), JD_OK) << "the stream itself stays: " << error.message;
  EXPECT_EQ(read(stream, tensor, 64), std::vector<float>(64, 0.0f));
  destroy({tensor});
  void *const per_thread = reinterpret_cast<void *>(uintptr_t{2});
  EXPECT_EQ(jd_stream_wrap(device, per_thread, &wrapped, &error), JD_UNSUPPORTED);
  EXPECT_NE(std::string(error.message).find("cudaStreamPerThread"), std::string::npos) << error.message;
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  jd_error error = make<jd_error>();
  int32_t count = 0;
  if (jd_device_count("cuda", &count, &error) != JD_OK) {
    printf("skipped: %s\n", error.message);
    return 77;
  }
  return RUN_ALL_TESTS();
}
