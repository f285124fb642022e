// The real backends through libjindou.so: memory, transfers, events, graphs, faults found in device memory and out of
// memory, on every device present (cpu always; simt and cuda where they were built and can be used).
#include <gtest/gtest.h>
#include <jindou/jindou.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

namespace {

template <class T>
T make() {
  T value;
  std::memset(&value, 0, sizeof value);
  value.struct_size = sizeof value;
  return value;
}

std::vector<const char *> find_devices() {
  std::vector<const char *> present;
  for (const char *name : {"cpu", "simt", "cuda"}) {
    int32_t count = 0;
    jd_error error = make<jd_error>();
    const jd_status status = jd_device_count(name, &count, &error);
    if (status == JD_OK)
      present.push_back(name);
    else
      printf("%s: %s\n", name, error.message);
  }
  return present;
}

const std::vector<const char *> &devices_present() {
  static const std::vector<const char *> present = find_devices();
  return present;
}

class Devices : public testing::TestWithParam<const char *> {
 protected:
  void SetUp() override {
    objects_before_ = jd_live_objects();
    ASSERT_EQ(jd_device_open(GetParam(), nullptr, &device, &error), JD_OK) << error.message;
    ASSERT_EQ(jd_stream_create(device, &stream, &error), JD_OK) << error.message;
    jd_device_info info = make<jd_device_info>();
    ASSERT_EQ(jd_device_get_info(device, &info, &error), JD_OK) << error.message;
    host_memory = info.host_memory;
  }
  void TearDown() override {
    for (const jd_tensor tensor : tensors_) EXPECT_EQ(jd_tensor_destroy(tensor, nullptr), JD_OK);
    EXPECT_EQ(jd_stream_destroy(stream, nullptr), JD_OK);
    EXPECT_EQ(used(), 0);
    EXPECT_EQ(jd_device_close(device, nullptr), JD_OK);
    EXPECT_EQ(jd_live_objects(), objects_before_);
  }

  int64_t used() {
    jd_memory_info info = make<jd_memory_info>();
    EXPECT_EQ(jd_device_memory(device, &info, nullptr), JD_OK);
    return info.used_bytes;
  }

  template <class T>
  jd_tensor tensor(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<T> &values) {
    jd_tensor handle = 0;
    EXPECT_EQ(jd_tensor_create(device, dtype, static_cast<int32_t>(shape.size()), shape.data(), &handle, &error), JD_OK)
        << error.message;
    tensors_.push_back(handle);
    const int64_t bytes = static_cast<int64_t>(values.size() * sizeof(T));
    EXPECT_EQ(jd_tensor_write(stream, handle, values.data(), bytes, &error), JD_OK) << error.message;
    return handle;
  }
  std::vector<float> read(jd_tensor handle, int64_t count) {
    std::vector<float> values(count);
    EXPECT_EQ(jd_tensor_read(stream, handle, values.data(), count * 4, &error), JD_OK) << error.message;
    return values;
  }
  jd_status normalize(jd_tensor x, jd_tensor out) {
    jd_l2_normalize_args args = make<jd_l2_normalize_args>();
    args.eps = 1e-6f;
    args.x = x;
    args.out = out;
    return jd_l2_normalize(stream, &args, &error);
  }
  void expect_message(std::initializer_list<const char *> parts) {
    for (const char *part : parts) {
      EXPECT_NE(std::string(error.message).find(part), std::string::npos)
          << "no \"" << part << "\" in: " << error.message;
    }
  }

  jd_device device = 0;
  jd_stream stream = 0;
  jd_error error = make<jd_error>();
  int32_t host_memory = 0;

 private:
  int64_t objects_before_ = 0;
  std::vector<jd_tensor> tensors_;
};

INSTANTIATE_TEST_SUITE_P(Present, Devices, testing::ValuesIn(devices_present()),
                         [](const testing::TestParamInfo<const char *> &info) { return std::string(info.param); });

TEST_P(Devices, say_what_they_are) {
  jd_device_info info = make<jd_device_info>();
  ASSERT_EQ(jd_device_get_info(device, &info, &error), JD_OK);
  EXPECT_STREQ(info.backend, GetParam());
  EXPECT_GT(std::strlen(info.name), 0u);
  EXPECT_GT(info.num_threads, 0);
  EXPECT_GT(info.total_memory_bytes, 0);
  EXPECT_EQ(info.host_memory, std::string(GetParam()) == "cpu");
}

TEST_P(Devices, move_data_there_and_back) {
  std::vector<float> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) - 500.25f;
  const jd_tensor a = tensor(JD_F32, {10, 100}, values), b = tensor<float>(JD_F32, {1000}, {});
  ASSERT_EQ(jd_tensor_copy(stream, b, a, &error), JD_OK) << error.message;
  EXPECT_EQ(read(b, 1000), values);
  ASSERT_EQ(jd_tensor_fill(stream, b, 0, &error), JD_OK) << error.message;
  EXPECT_EQ(read(b, 1000), std::vector<float>(1000, 0.0f));
  EXPECT_EQ(used(), 8000);
  jd_tensor_info info = make<jd_tensor_info>();
  ASSERT_EQ(jd_tensor_get_info(a, &info, &error), JD_OK);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(info.data) % 256, 0u);
}

TEST_P(Devices, copy_host_memory_beside_other_work) {
  jd_host_memory memory = 0;
  void *data = nullptr;
  const int64_t count = 300'000, bytes = 4 * count;  // more than one slot of the staging memory
  ASSERT_EQ(jd_host_memory_create(device, 2 * bytes, &memory, &data, &error), JD_OK) << error.message;
  EXPECT_EQ(used(), 0) << "it is no memory of the device";
  float *values = static_cast<float *>(data);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
  jd_stream copies;
  jd_event written;
  ASSERT_EQ(jd_stream_create(device, &copies, &error), JD_OK);
  ASSERT_EQ(jd_event_create(device, &written, &error), JD_OK);
  const jd_tensor a = tensor<float>(JD_F32, {count}, {}), b = tensor<float>(JD_F32, {count}, {});
  ASSERT_EQ(jd_tensor_write_from(copies, a, memory, 0, bytes, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_event_record(written, copies, &error), JD_OK);
  ASSERT_EQ(jd_event_wait(written, stream, &error), JD_OK);
  ASSERT_EQ(jd_tensor_copy(stream, b, a, &error), JD_OK);
  ASSERT_EQ(jd_tensor_read_into(stream, b, memory, bytes, bytes, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_stream_synchronize(stream, &error), JD_OK);
  EXPECT_EQ(std::memcmp(values, values + count, bytes), 0);
  ASSERT_EQ(jd_tensor_write_from(stream, a, memory, 0, bytes, &error), JD_OK);
  EXPECT_EQ(jd_host_memory_destroy(memory, &error), JD_OK) << "waits for the copy";
  EXPECT_EQ(read(a, 3), (std::vector<float>{0, 1, 2}));
  EXPECT_EQ(jd_event_destroy(written, nullptr), JD_OK);
  EXPECT_EQ(jd_stream_destroy(copies, nullptr), JD_OK);
}

// simt: nothing of a stream runs before something asks for it, and then in its order; what an event stands behind runs before whoever waits.
TEST(LateStreams, run_when_something_waits_for_them) {
  jd_error error = make<jd_error>();
  jd_device_options options = make<jd_device_options>();
  options.late_streams = 1;
  jd_device device;
  if (jd_device_open("simt", &options, &device, &error) == JD_NO_DEVICE) GTEST_SKIP() << error.message;
  jd_stream a, b;
  ASSERT_EQ(jd_stream_create(device, &a, &error), JD_OK);
  ASSERT_EQ(jd_stream_create(device, &b, &error), JD_OK);
  jd_host_memory memory;
  void *data = nullptr;
  ASSERT_EQ(jd_host_memory_create(device, 64, &memory, &data, &error), JD_OK);
  float *host = static_cast<float *>(data);
  jd_tensor x, y;
  const int64_t shape[2] = {1, 4};
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &x, &error), JD_OK);
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &y, &error), JD_OK);
  ASSERT_EQ(jd_tensor_fill(b, x, 0, &error), JD_OK);
  ASSERT_EQ(jd_stream_synchronize(b, &error), JD_OK);

  host[0] = 1;
  ASSERT_EQ(jd_tensor_write_from(a, x, memory, 0, 16, &error), JD_OK);
  host[0] = 3;  // too early: the copy takes this one
  host[1] = host[3] = 0;
  host[2] = 4;
  float seen[4];
  ASSERT_EQ(jd_tensor_read(b, x, seen, 16, &error), JD_OK);
  EXPECT_EQ(seen[0], 0) << "another stream has not waited for it";
  jd_l2_normalize_args args = make<jd_l2_normalize_args>();
  args.eps = 1e-12f;
  args.x = x;
  args.out = y;
  ASSERT_EQ(jd_l2_normalize(a, &args, &error), JD_OK) << error.message;
  jd_event event;
  ASSERT_EQ(jd_event_create(device, &event, &error), JD_OK);
  ASSERT_EQ(jd_event_record(event, a, &error), JD_OK);
  ASSERT_EQ(jd_tensor_read_into(b, y, memory, 16, 16, &error), JD_OK);
  ASSERT_EQ(jd_stream_synchronize(b, &error), JD_OK);
  EXPECT_NE(host[4], 0.6f) << "nor for this";
  ASSERT_EQ(jd_event_wait(event, b, &error), JD_OK);
  ASSERT_EQ(jd_tensor_read_into(b, y, memory, 16, 16, &error), JD_OK);
  EXPECT_TRUE(std::isnan(host[4])) << "nothing to look at yet";
  ASSERT_EQ(jd_tensor_destroy(y, &error), JD_OK);  // it stays as long as it is needed
  ASSERT_EQ(jd_stream_synchronize(b, &error), JD_OK);
  EXPECT_FLOAT_EQ(host[4], 0.6f);
  EXPECT_FLOAT_EQ(host[6], 0.8f);

  ASSERT_EQ(jd_tensor_fill(a, x, 0, &error), JD_OK);
  ASSERT_EQ(jd_tensor_write_from(a, x, memory, 0, 4, &error), JD_OK);
  ASSERT_EQ(jd_event_record(event, a, &error), JD_OK);
  EXPECT_EQ(jd_device_synchronize(device, &error), JD_UNSUPPORTED);
  ASSERT_EQ(jd_stream_destroy(a, &error), JD_OK) << "waits for its work";
  ASSERT_EQ(jd_event_synchronize(event, &error), JD_OK);
  ASSERT_EQ(jd_tensor_read(b, x, seen, 16, &error), JD_OK);
  EXPECT_EQ(seen[0], 3);
  EXPECT_EQ(seen[2], 0);
  jd_event_destroy(event, nullptr);
  jd_host_memory_destroy(memory, nullptr);
  jd_tensor_destroy(x, nullptr);
  jd_stream_destroy(b, nullptr);
  jd_memory_info info = make<jd_memory_info>();
  EXPECT_EQ(jd_device_memory(device, &info, &error), JD_OK);
  EXPECT_EQ(info.used_bytes, 0);
  jd_device_close(device, nullptr);
  options.late_streams = 2;
  EXPECT_EQ(jd_device_open("simt", &options, &device, &error), JD_INVALID_ARGUMENT);
  options = make<jd_device_options>();
  options.struct_size = 24;  // of a program older than the field
  EXPECT_EQ(jd_device_open("simt", &options, &device, &error), JD_OK) << error.message;
  jd_device_close(device, nullptr);
}

TEST_P(Devices, order_work_by_events) {
  jd_event start, end;
  ASSERT_EQ(jd_event_create(device, &start, &error), JD_OK);
  ASSERT_EQ(jd_event_create(device, &end, &error), JD_OK);
  const jd_tensor x = tensor(JD_F32, {2, 4}, std::vector<float>(8, 2.0f));
  ASSERT_EQ(jd_event_record(start, stream, &error), JD_OK) << error.message;
  ASSERT_EQ(normalize(x, x), JD_OK) << error.message;
  ASSERT_EQ(jd_event_record(end, stream, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_event_wait(end, stream, &error), JD_OK) << error.message;
  double ms = -1;
  ASSERT_EQ(jd_event_elapsed(start, end, &ms, &error), JD_OK) << error.message;
  EXPECT_GE(ms, 0);
  int32_t done = 0;
  ASSERT_EQ(jd_event_query(end, &done, &error), JD_OK) << error.message;
  EXPECT_EQ(done, 1);
  jd_event_destroy(start, nullptr);
  jd_event_destroy(end, nullptr);
}

TEST_P(Devices, replay_what_was_captured) {
  const jd_tensor x = tensor(JD_F32, {1, 4}, std::vector<float>{3, 0, 4, 0}), out = tensor<float>(JD_F32, {1, 4}, {});
  ASSERT_EQ(jd_tensor_fill(stream, out, 0, &error), JD_OK);
  jd_graph graph;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK) << error.message;
  ASSERT_EQ(normalize(x, out), JD_OK) << error.message;
  ASSERT_EQ(jd_tensor_copy(stream, x, out, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK) << error.message;
  EXPECT_EQ(read(out, 4), std::vector<float>(4, 0.0f)) << "nothing ran while capturing";
  for (const std::vector<float> &input : {std::vector<float>{3, 0, 4, 0}, std::vector<float>{0, -6, 0, 8}}) {
    ASSERT_EQ(jd_tensor_write(stream, x, input.data(), 16, &error), JD_OK);
    ASSERT_EQ(jd_graph_launch(graph, stream, &error), JD_OK) << error.message;
    const float length =
        std::sqrt(input[0] * input[0] + input[1] * input[1] + input[2] * input[2] + input[3] * input[3]);
    const std::vector<float> result = read(x, 4);
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(result[i], input[i] / length, 1e-6);
  }
  jd_graph_destroy(graph, nullptr);
}

TEST_P(Devices, refuse_absurd_requests_and_live_on) {
  const int64_t shape = int64_t{1} << 50;
  jd_tensor huge = 9;
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 1, &shape, &huge, &error), JD_OUT_OF_MEMORY);
  EXPECT_EQ(huge, 0u);
  expect_message({"out of memory", "requested 4503599627370496 bytes", "used 0 bytes"});
  EXPECT_EQ(used(), 0);
  const jd_tensor x = tensor(JD_F32, {1, 4}, std::vector<float>{0, 0, 0, 2});
  ASSERT_EQ(normalize(x, x), JD_OK) << error.message;
  EXPECT_EQ(read(x, 4)[3], 1);
}

class EmbeddingOnDevices : public Devices {
 protected:
  // One table [4, 4] whose row r is r; two bags.
  jd_status run(int32_t bounds, const std::vector<int64_t> &ids, const std::vector<int64_t> &offsets) {
    std::vector<float> rows(16);
    for (int i = 0; i < 16; ++i) rows[i] = static_cast<float>(i / 4);
    const jd_tensor table = tensor(JD_F32, {4, 4}, rows);
    jd_embedding_bag_desc desc = make<jd_embedding_bag_desc>();
    desc.num_tables = 1;
    desc.tables = &table;
    desc.bounds = bounds;
    desc.index_dtype = desc.offset_dtype = JD_I64;
    desc.max_batch = desc.max_ids = 8;
    jd_plan plan;
    EXPECT_EQ(jd_embedding_bag_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_embedding_bag_args args = make<jd_embedding_bag_args>();
    args.ids = tensor(JD_I64, {static_cast<int64_t>(ids.size())}, ids);
    args.offsets = tensor(JD_I64, {static_cast<int64_t>(offsets.size())}, offsets);
    args.out = out = tensor(JD_F32, {static_cast<int64_t>(offsets.size()) - 1, 4}, std::vector<float>{});
    const jd_status status = jd_embedding_bag_run(plan, stream, &args, &error);
    EXPECT_EQ(jd_plan_destroy(plan, nullptr), JD_OK);
    return status;
  }
  jd_tensor out = 0;
};
INSTANTIATE_TEST_SUITE_P(Present, EmbeddingOnDevices, testing::ValuesIn(devices_present()),
                         [](const testing::TestParamInfo<const char *> &info) { return std::string(info.param); });

TEST_P(EmbeddingOnDevices, report_the_first_bad_id_at_the_next_synchronisation) {
  ASSERT_EQ(run(JD_BOUNDS_STRICT, {1, 2, 7, -3}, {0, 2, 4}), JD_OK) << error.message;
  ASSERT_EQ(jd_stream_synchronize(stream, &error), JD_OUT_OF_BOUNDS);
  expect_message({"embedding_bag: argument 'ids'", "0..3", "table 0 has 4 rows", "got 7 at position 2"});
  EXPECT_EQ(error.table, 0);
  EXPECT_EQ(error.position, 2);
  EXPECT_EQ(error.value, 7);
  EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK) << "reported once";
  ASSERT_EQ(run(JD_BOUNDS_STRICT, {1, 2, 3}, {0, 2, 3}), JD_OK) << error.message;
  EXPECT_EQ(read(out, 8), (std::vector<float>{3, 3, 3, 3, 3, 3, 3, 3}));
}

TEST_P(EmbeddingOnDevices, skip_and_count_bad_ids) {
  ASSERT_EQ(run(JD_BOUNDS_ZERO, {1, 9, 2, -3}, {0, 2, 4}), JD_OK) << error.message;
  EXPECT_EQ(read(out, 8), (std::vector<float>{1, 1, 1, 1, 2, 2, 2, 2}));
  int64_t skipped = 0;
  EXPECT_EQ(jd_stream_take_skipped(stream, &skipped, &error), JD_OK);
  EXPECT_EQ(skipped, 2);
  EXPECT_EQ(jd_stream_take_skipped(stream, &skipped, &error), JD_OK);
  EXPECT_EQ(skipped, 0);
}

TEST_P(EmbeddingOnDevices, find_bad_offsets_before_or_at_the_synchronisation) {
  struct Case {
    std::vector<int64_t> offsets;
    const char *before, *after;  // what the host says before the run, what the kernels report
  };
  for (const Case &c : {Case{{1, 2, 4}, "first offset to be 0", "first offset to be 0"},
                        Case{{0, 3, 2}, "got 2 after 3 at position 2", "(2) at position 2"},
                        Case{{0, 2, 5}, "at most 4", "at most 4"}}) {
    const jd_status status = run(JD_BOUNDS_STRICT, {1, 2, 3, 0}, c.offsets);
    if (host_memory) {
      EXPECT_EQ(status, JD_INVALID_ARGUMENT);
      expect_message({"embedding_bag: argument 'offsets'", c.before});
    } else {
      EXPECT_EQ(status, JD_OK) << error.message;
      EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OUT_OF_BOUNDS);
      expect_message({"embedding_bag: argument 'offsets'", c.after});
    }
    EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK);
  }
}

}  // namespace
