// Devices: names, options, info, memory accounting, closing.
#include "core_fixture.h"

namespace jindou::test {
namespace {

using Device = CoreTest;

TEST_F(Device, malformed_names_are_refused_and_the_forms_listed) {
  for (const char *name :
       {"", "gpu", "CPU", "cpu:0", "simt:1", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:12345", ":0"}) {
    jd_device opened = 7;
    expect_refused(jd_device_open(name, nullptr, &opened, &error), JD_INVALID_ARGUMENT, error,
                   {"argument 'name'", "\"cpu\", \"simt\", \"cuda\" or \"cuda:<n>\"", name});
    EXPECT_EQ(opened, 0u);
  }
  jd_device opened = 7;
  expect_refused(jd_device_open(nullptr, nullptr, &opened, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'name'", "NULL"});
  expect_refused(jd_device_open("cpu", nullptr, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'device'", "NULL"});
}

TEST_F(Device, counts_name_the_backend) {
  int32_t count = 7;
  EXPECT_EQ(jd_device_count("cpu", &count, &error), JD_OK);
  EXPECT_EQ(count, 1);
  expect_refused(jd_device_count("gpu", &count, &error), JD_INVALID_ARGUMENT, error, {"argument 'backend'", "\"gpu\""});
  EXPECT_EQ(count, 0);
  expect_refused(jd_device_count(nullptr, &count, &error), JD_INVALID_ARGUMENT, error, {"argument 'backend'", "NULL"});
  expect_refused(jd_device_count("cpu", nullptr, &error), JD_INVALID_ARGUMENT, error, {"argument 'count'", "NULL"});
}

TEST_F(Device, options_are_checked) {
  jd_device opened;
  jd_device_options options = make<jd_device_options>();
  options.num_threads = -1;
  expect_refused(jd_device_open("cpu", &options, &opened, &error), JD_INVALID_ARGUMENT, error, {"num_threads", "-1"});
  options.num_threads = 1 << 20;
  expect_refused(jd_device_open("cpu", &options, &opened, &error), JD_INVALID_ARGUMENT, error,
                 {"num_threads", "1048576"});
  options = make<jd_device_options>();
  options.memory_limit_bytes = -5;
  expect_refused(jd_device_open("cpu", &options, &opened, &error), JD_INVALID_ARGUMENT, error,
                 {"memory_limit_bytes", "-5"});
  options = make<jd_device_options>();
  options.late_streams = 2;
  expect_refused(jd_device_open("cpu", &options, &opened, &error), JD_INVALID_ARGUMENT, error, {"late_streams", "0 or 1", "got 2"});
  options = make<jd_device_options>();
  options.reserved = 1;
  expect_refused(jd_device_open("cpu", &options, &opened, &error), JD_INVALID_ARGUMENT, error, {"reserved", "got 1"});
  for (const uint32_t size : {0u, 4u, 23u, static_cast<uint32_t>(sizeof options) + 8}) {  // 24: without late_streams
    options = make<jd_device_options>();
    options.struct_size = size;
    expect_refused(jd_device_open("cpu", &options, &opened, &error), JD_INVALID_ARGUMENT, error,
                   {"argument 'options'", "struct_size", std::to_string(size).c_str()});
  }
}

TEST_F(Device, info_says_what_it_is) {
  jd_device_info info = make<jd_device_info>();
  ASSERT_EQ(jd_device_get_info(device, &info, &error), JD_OK);
  EXPECT_EQ(info.struct_size, sizeof info);
  EXPECT_STREQ(info.backend, "cpu");
  EXPECT_STREQ(info.name, "fake");
  EXPECT_EQ(info.host_memory, 1);
  expect_refused(jd_device_get_info(device, nullptr, &error), JD_INVALID_ARGUMENT, error, {"argument 'info'", "NULL"});
  info.struct_size = 3;
  expect_refused(jd_device_get_info(device, &info, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'info'", "struct_size"});
}

class LimitedDevice : public CoreTest {
 protected:
  void SetUp() override {
    CoreTest::SetUp();
    jd_device_options options = make<jd_device_options>();
    options.memory_limit_bytes = 1000;
    ASSERT_EQ(jd_device_open("cpu", &options, &limited, &error), JD_OK);
  }
  void TearDown() override {
    EXPECT_EQ(used(), 0);
    jd_device_close(limited, nullptr);
    CoreTest::TearDown();
  }
  jd_memory_info memory() {
    jd_memory_info info = make<jd_memory_info>();
    EXPECT_EQ(jd_device_memory(limited, &info, &error), JD_OK);
    return info;
  }
  int64_t used() { return memory().used_bytes; }
  jd_status create(int64_t bytes, jd_tensor *tensor) {
    return jd_tensor_create(limited, JD_U8, 1, &bytes, tensor, &error);
  }
  jd_device limited = 0;
};

TEST_F(LimitedDevice, memory_is_counted_and_given_back) {
  jd_tensor a, b;
  ASSERT_EQ(create(600, &a), JD_OK);
  EXPECT_EQ(used(), 600);
  ASSERT_EQ(create(400, &b), JD_OK);
  EXPECT_EQ(used(), 1000);
  jd_tensor_destroy(a, nullptr);
  EXPECT_EQ(used(), 400);
  jd_tensor_destroy(b, nullptr);
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(memory().peak_bytes, 1000);
  EXPECT_EQ(memory().limit_bytes, 1000);
}

TEST_F(LimitedDevice, the_limit_is_out_of_memory_and_nothing_changes) {
  jd_tensor a, b = 9;
  ASSERT_EQ(create(600, &a), JD_OK);
  expect_refused(create(401, &b), JD_OUT_OF_MEMORY, error,
                 {"device cpu (#", "requested 401 bytes", "used 600 bytes", "limit 1000 bytes"});
  EXPECT_EQ(b, 0u);
  EXPECT_EQ(used(), 600);
  EXPECT_EQ(memory().peak_bytes, 600);
  expect_refused(create(INT64_MAX, &b), JD_OUT_OF_MEMORY, error, {"requested 9223372036854775807 bytes"});
  ASSERT_EQ(create(400, &b), JD_OK);
  jd_tensor_destroy(a, nullptr);
  jd_tensor_destroy(b, nullptr);
}

TEST_F(LimitedDevice, wrapped_memory_and_views_are_not_counted) {
  char memory[4096];
  jd_tensor wrapped, whole, part;
  int64_t size = 4096;
  ASSERT_EQ(jd_tensor_wrap(limited, memory, JD_U8, 1, &size, nullptr, &wrapped, &error), JD_OK);
  EXPECT_EQ(used(), 0);
  ASSERT_EQ(create(500, &whole), JD_OK);
  size = 100;
  ASSERT_EQ(jd_tensor_view(whole, 50, 1, &size, nullptr, &part, &error), JD_OK);
  EXPECT_EQ(used(), 500);
  jd_tensor_destroy(whole, nullptr);
  EXPECT_EQ(used(), 500) << "the view keeps the memory";
  jd_tensor_destroy(part, nullptr);
  EXPECT_EQ(used(), 0);
  jd_tensor_destroy(wrapped, nullptr);
}

TEST_F(LimitedDevice, plan_scratch_counts) {
  fake::fake_state()->plan_bytes = 700;
  jd_target_attention_desc desc = make<jd_target_attention_desc>();
  desc.dtype = JD_F32;
  desc.offset_dtype = JD_I32;
  desc.num_heads = 1;
  desc.head_dim_qk = desc.head_dim_v = 64;
  desc.max_batch = desc.max_candidates = desc.max_history = 8;
  jd_plan plan, second = 9;
  ASSERT_EQ(jd_target_attention_plan(limited, &desc, &plan, &error), JD_OK) << error.message;
  EXPECT_EQ(used(), 700);
  int64_t bytes = 0;
  EXPECT_EQ(jd_plan_memory(plan, &bytes, &error), JD_OK);
  EXPECT_EQ(bytes, 700);
  expect_refused(jd_target_attention_plan(limited, &desc, &second, &error), JD_OUT_OF_MEMORY, error,
                 {"requested 700", "limit 1000"});
  EXPECT_EQ(second, 0u);
  EXPECT_EQ(used(), 700);
  jd_plan_destroy(plan, nullptr);
  EXPECT_EQ(used(), 0);
  // A plan the backend cannot make leaves nothing behind either, and has a message even when the backend gave none.
  fake::fake_state()->plan_status = JD_BACKEND_ERROR;
  expect_refused(jd_target_attention_plan(limited, &desc, &second, &error), JD_BACKEND_ERROR, error, {"plan_create"});
  fake::fake_state()->plan_status = JD_OK;
  fake::fake_state()->plan_bytes = 0;
}

TEST_F(Device, out_of_memory_of_the_backend_keeps_its_reason) {
  fake::fake_state()->alloc_limit = 1 << 20;
  const int64_t size = 1 << 21;
  jd_tensor t;
  expect_refused(jd_tensor_create(device, JD_F32, 1, &size, &t, &error), JD_OUT_OF_MEMORY, error,
                 {"requested 8388608 bytes", "used 0 bytes", "limit none", "the fake driver has no 8388608 bytes"});
  EXPECT_EQ(jd_tensor_create(device, JD_F32, 1, &size, &t, nullptr), JD_OUT_OF_MEMORY);
  fake::fake_state()->alloc_limit = INT64_MAX;
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 1, &size, &t, &error), JD_OK);
  jd_tensor_destroy(t, nullptr);
}

TEST_F(Device, closing_refuses_all_that_belongs_to_it_but_destroying) {
  jd_device other;
  jd_stream s;
  jd_event event;
  jd_graph graph;
  jd_tensor t;
  jd_plan plan;
  const int64_t shape = 4;
  ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
  ASSERT_EQ(jd_stream_create(other, &s, &error), JD_OK);
  ASSERT_EQ(jd_event_create(other, &event, &error), JD_OK);
  ASSERT_EQ(jd_tensor_create(other, JD_F32, 1, &shape, &t, &error), JD_OK);
  ASSERT_EQ(jd_stream_begin_capture(s, &error), JD_OK);
  ASSERT_EQ(jd_tensor_fill(s, t, 0, &error), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(s, &graph, &error), JD_OK);
  jd_hstu_attention_desc desc = make<jd_hstu_attention_desc>();
  desc.dtype = JD_F32;
  desc.offset_dtype = JD_I32;
  desc.num_heads = 1;
  desc.head_dim_qk = desc.head_dim_v = 64;
  desc.scaling_seqlen = 1;
  desc.max_batch = desc.max_seq_len = 8;
  ASSERT_EQ(jd_hstu_attention_plan(other, &desc, &plan, &error), JD_OK) << error.message;

  ASSERT_EQ(jd_device_close(other, &error), JD_OK);
  const fake::State &state = *fake::fake_state();
  EXPECT_EQ(state.devices, 2) << "memory goes back with the last object";

  float host[4];
  int32_t done;
  int64_t number;
  double ms;
  char text[64];
  void *native;
  jd_tensor made;
  jd_tensor_info tensor_info = make<jd_tensor_info>();
  jd_device_info device_info = make<jd_device_info>();
  jd_hstu_attention_args hstu = make<jd_hstu_attention_args>();
  jd_linear_args linear = make<jd_linear_args>();
  const auto closed = [&](jd_status status) { expect_refused(status, JD_CLOSED, error, {"argument '"}); };
  closed(jd_noop(other, &error));
  closed(jd_device_get_info(other, &device_info, &error));
  closed(jd_tensor_create(other, JD_F32, 1, &shape, &made, &error));
  closed(jd_tensor_wrap(other, host, JD_F32, 1, &shape, nullptr, &made, &error));
  closed(jd_tensor_view(t, 0, 1, &shape, nullptr, &made, &error));
  closed(jd_tensor_get_info(t, &tensor_info, &error));
  closed(jd_tensor_write(s, t, host, 4, &error));
  closed(jd_tensor_read(s, t, host, 4, &error));
  closed(jd_tensor_copy(s, t, t, &error));
  closed(jd_tensor_fill(s, t, 0, &error));
  expect_refused(jd_tensor_fill(s, t, 0, &error), JD_CLOSED, error, {"its device cpu (#", "has been closed"});
  closed(jd_stream_synchronize(s, &error));
  closed(jd_stream_take_skipped(s, &number, &error));
  closed(jd_stream_native(s, &native, &error));
  closed(jd_stream_begin_capture(s, &error));
  closed(jd_stream_create(other, &made, &error));
  closed(jd_event_create(other, &made, &error));
  closed(jd_event_record(event, s, &error));
  closed(jd_event_wait(event, s, &error));
  closed(jd_event_synchronize(event, &error));
  closed(jd_event_query(event, &done, &error));
  closed(jd_event_elapsed(event, event, &ms, &error));
  closed(jd_graph_launch(graph, s, &error));
  closed(jd_plan_memory(plan, &number, &error));
  closed(jd_plan_describe(plan, text, 64, &error));
  closed(jd_hstu_attention_run(plan, s, &hstu, &error));
  closed(jd_hstu_attention_plan(other, &desc, &made, &error));
  closed(jd_linear(s, &linear, &error));

  EXPECT_EQ(jd_event_destroy(event, &error), JD_OK);
  EXPECT_EQ(jd_tensor_destroy(t, &error), JD_OK);
  EXPECT_EQ(state.allocations, 1) << "the graph still holds the tensor";
  EXPECT_EQ(jd_graph_destroy(graph, &error), JD_OK);
  EXPECT_EQ(state.allocations, 0);
  EXPECT_EQ(jd_plan_destroy(plan, &error), JD_OK);
  EXPECT_EQ(state.devices, 2);
  EXPECT_EQ(jd_stream_destroy(s, &error), JD_OK);
  EXPECT_EQ(state.devices, 1);
}

}  // namespace
}  // namespace jindou::test
