// Handles: what is null, closed, of another kind or never issued is refused by name; numbers are never reused.
#include <set>

#include "core/handle_table.h"
#include "core_fixture.h"

namespace jindou::test {
namespace {

using Handles = CoreTest;

TEST_F(Handles, null_is_refused) {
  expect_refused(jd_tensor_fill(stream, 0, 0, &error), JD_INVALID_HANDLE, error,
                 {"argument 'tensor'", "expected an open tensor", "got the null handle"});
  expect_refused(jd_stream_synchronize(0, &error), JD_INVALID_HANDLE, error, {"argument 'stream'", "null handle"});
  expect_refused(jd_device_synchronize(0, &error), JD_INVALID_HANDLE, error, {"argument 'device'", "null handle"});
  expect_refused(jd_noop(0, &error), JD_INVALID_HANDLE, error, {"argument 'device'", "null handle"});
}

TEST_F(Handles, of_another_kind_are_refused) {
  expect_refused(jd_tensor_fill(stream, stream, 0, &error), JD_INVALID_HANDLE, error,
                 {"argument 'tensor'", "expected an open tensor", "got the handle of a stream"});
  expect_refused(jd_stream_synchronize(device, &error), JD_INVALID_HANDLE, error,
                 {"argument 'stream'", "expected an open stream", "got the handle of a device"});
  expect_refused(jd_plan_destroy(tensor(JD_F32, {4}), &error), JD_INVALID_HANDLE, error,
                 {"argument 'plan'", "a tensor"});
}

TEST_F(Handles, never_issued_are_refused) {
  const jd_tensor real = tensor(JD_F32, {4});
  const uint64_t never[] = {1,
                            42,
                            ~0ull,
                            real + (uint64_t{1} << 24) /* next generation */,
                            real + 5000000 /* far slot */,
                            real ^ (uint64_t{3} << 56) /* another kind, same slot */,
                            uint64_t{4} << 56};
  for (const uint64_t handle : never) {
    expect_refused(jd_tensor_fill(stream, handle, 0, &error), JD_INVALID_HANDLE, error, {"argument 'tensor'"});
    expect_refused(jd_tensor_destroy(handle, &error), JD_INVALID_HANDLE, error, {"argument 'tensor'"});
  }
  expect_refused(jd_tensor_fill(stream, 0xABCDEF, 0, &error), JD_INVALID_HANDLE, error,
                 {"0xabcdef", "which is no handle"});
  EXPECT_EQ(jd_tensor_fill(stream, real, 0, &error), JD_OK);
}

TEST_F(Handles, closed_are_refused_as_closed) {
  const jd_tensor closed = closed_tensor();
  expect_refused(jd_tensor_fill(stream, closed, 0, &error), JD_CLOSED, error,
                 {"argument 'tensor': expected an open tensor, got a closed handle"});
  expect_refused(jd_tensor_destroy(closed, &error), JD_CLOSED, error, {"argument 'tensor'"});
  // Also once its slot holds another object.
  for (int i = 0; i < 10; ++i) tensor(JD_F32, {4});
  expect_refused(jd_tensor_fill(stream, closed, 0, &error), JD_CLOSED, error, {"closed"});
}

TEST_F(Handles, closed_of_every_kind_are_refused_as_closed) {
  jd_stream other_stream;
  jd_event event;
  jd_graph graph;
  jd_device other;
  ASSERT_EQ(jd_stream_create(device, &other_stream, &error), JD_OK);
  ASSERT_EQ(jd_event_create(device, &event, &error), JD_OK);
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
  ASSERT_EQ(jd_stream_destroy(other_stream, &error), JD_OK);
  ASSERT_EQ(jd_event_destroy(event, &error), JD_OK);
  ASSERT_EQ(jd_graph_destroy(graph, &error), JD_OK);
  ASSERT_EQ(jd_device_close(other, &error), JD_OK);
  expect_refused(jd_stream_synchronize(other_stream, &error), JD_CLOSED, error, {"expected an open stream"});
  expect_refused(jd_event_synchronize(event, &error), JD_CLOSED, error, {"expected an open event"});
  expect_refused(jd_graph_launch(graph, stream, &error), JD_CLOSED, error, {"expected an open graph"});
  expect_refused(jd_noop(other, &error), JD_CLOSED, error, {"expected an open device"});
  expect_refused(jd_device_close(other, &error), JD_CLOSED, error, {"expected an open device"});
}

TEST_F(Handles, are_never_reused) {
  float memory[4] = {};
  const int64_t shape = 4;
  std::set<uint64_t> seen;
  for (int i = 0; i < 5000; ++i) {
    jd_tensor handle;
    ASSERT_EQ(jd_tensor_wrap(device, memory, JD_F32, 1, &shape, nullptr, &handle, &error), JD_OK);
    EXPECT_NE(handle, 0u);
    EXPECT_TRUE(seen.insert(handle).second);
    ASSERT_EQ(jd_tensor_destroy(handle, &error), JD_OK);
  }
}

TEST_F(Handles, many_may_be_open_at_once) {
  float memory[4] = {};
  const int64_t shape = 4;
  std::vector<jd_tensor> handles(5000);
  const int64_t before = jd_live_objects();
  for (jd_tensor &handle : handles) {
    ASSERT_EQ(jd_tensor_wrap(device, memory, JD_F32, 1, &shape, nullptr, &handle, &error), JD_OK);
  }
  EXPECT_EQ(jd_live_objects(), before + 5000);
  for (const jd_tensor handle : handles) ASSERT_EQ(jd_tensor_destroy(handle, &error), JD_OK);
  EXPECT_EQ(jd_live_objects(), before);
}

TEST_F(Handles, of_another_device_are_refused_by_name) {
  jd_device other;
  jd_stream other_stream;
  ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
  ASSERT_EQ(jd_stream_create(other, &other_stream, &error), JD_OK);
  float memory[4] = {};
  const jd_tensor foreign = wrap(other, memory, JD_F32, {4});
  expect_refused(jd_tensor_fill(stream, foreign, 0, &error), JD_INVALID_HANDLE, error,
                 {"argument 'tensor'", "belongs to device cpu (#", "but the stream to device cpu (#"});
  expect_refused(jd_tensor_copy(stream, tensor(JD_F32, {4}), foreign, &error), JD_INVALID_HANDLE, error,
                 {"argument 'source'", "belongs to device"});
  jd_event event;
  ASSERT_EQ(jd_event_create(other, &event, &error), JD_OK);
  expect_refused(jd_event_record(event, stream, &error), JD_INVALID_HANDLE, error,
                 {"argument 'event'", "belongs to device"});
  jd_graph graph;
  ASSERT_EQ(jd_stream_begin_capture(other_stream, &error), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(other_stream, &graph, &error), JD_OK);
  expect_refused(jd_graph_launch(graph, stream, &error), JD_INVALID_HANDLE, error,
                 {"argument 'stream'", "belongs to device", "the graph to device"});
  jd_graph_destroy(graph, nullptr);
  jd_event_destroy(event, nullptr);
  jd_tensor_destroy(foreign, nullptr);
  jd_stream_destroy(other_stream, nullptr);
  jd_device_close(other, nullptr);
}

TEST_F(Handles, an_error_struct_is_optional_and_checked) {
  EXPECT_EQ(jd_noop(0, nullptr), JD_INVALID_HANDLE);
  jd_error unset;
  std::memset(&unset, 0x55, sizeof unset);
  unset.struct_size = 16;
  const jd_error before = unset;
  EXPECT_EQ(jd_noop(0, &unset), JD_INVALID_HANDLE);
  EXPECT_EQ(std::memcmp(&before, &unset, sizeof unset), 0);
  // Filled completely on failure, not at all on success.
  Error filled;
  EXPECT_EQ(jd_noop(0, &filled), JD_INVALID_HANDLE);
  EXPECT_EQ(filled.status, JD_INVALID_HANDLE);
  EXPECT_EQ(filled.backend_code, 0);
  EXPECT_EQ(filled.table, -1);
  EXPECT_EQ(filled.position, -1);
  EXPECT_EQ(filled.value, 0);
  Error untouched;
  const Error copy = untouched;
  EXPECT_EQ(jd_noop(device, &untouched), JD_OK);
  EXPECT_EQ(std::memcmp(&copy, &untouched, sizeof copy), 0);
}

TEST(Names, of_statuses_and_dtypes) {
  EXPECT_STREQ(jd_version(), "0.1.0");
  EXPECT_STREQ(jd_status_name(JD_OUT_OF_BOUNDS), "JD_OUT_OF_BOUNDS");
  EXPECT_STREQ(jd_status_name(77), "unknown");
  EXPECT_STREQ(jd_dtype_name(JD_BF16), "bf16");
  EXPECT_STREQ(jd_dtype_name(0), "unknown");
  const int64_t sizes[] = {0, 4, 2, 2, 1, 1, 1, 4, 8, 1, 8, 0};
  for (int32_t dtype = 0; dtype < 12; ++dtype) EXPECT_EQ(jd_dtype_size(dtype), sizes[dtype]) << dtype;
}

}  // namespace
}  // namespace jindou::test
