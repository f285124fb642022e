// Plug-ins: found, refused with a reason that stays, and used as device-memory backends with and without native capture.
//
// The fakes lie in directories of their own, one a situation; each test runs in a child process (EXPECT_EXIT), since what
// loading a backend gave stays for the life of a process.
#include <dlfcn.h>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// Counts devices of `backend` twice with the plug-ins of `directory`; prints the message and exits with the status.
[[noreturn]] void count_and_exit(const char *directory, const char *backend) {
  setenv("JINDOU_PLUGIN_DIR", directory, 1);
  Error first, second;
  int32_t count = 7;
  const jd_status status = jd_device_count(backend, &count, &first);
  if (jd_device_count(backend, &count, &second) != status) _exit(100);
  if (status != JD_OK && std::string(first.message) != second.message) _exit(101);
  if ((count == 0) != (status != JD_OK)) _exit(102);
  jd_device device = 0;
  Error opening;
  if (jd_device_open(backend, nullptr, &device, &opening) != status) _exit(103);
  if (status != JD_OK && std::string(first.message) != opening.message) _exit(104);
  fputs(status == JD_OK ? "fine" : first.message, stderr);
  _exit(status);
}

TEST(Plugins, a_missing_one_says_where_it_was_looked_for) {
  EXPECT_EXIT(
      count_and_exit("/nonexistent", "cuda"), testing::ExitedWithCode(JD_NO_DEVICE),
      "backend 'cuda' is not available: /nonexistent/libjindou_cuda.so: cannot open shared object file: No such file or "
      "directory \\(looked in /nonexistent; JINDOU_PLUGIN_DIR names another directory\\)");
}

TEST(Plugins, the_default_directory_is_that_of_the_library) {
  // Core's objects are in this program, so it looks beside it, where there is none.
  EXPECT_EXIT(count_and_exit("", "simt"), testing::ExitedWithCode(JD_NO_DEVICE), "looked in .*/bin;");
}

TEST(Plugins, a_file_that_is_no_library_is_refused) {
  EXPECT_EXIT(count_and_exit(JINDOU_PLUGINS "/garbage", "cuda"), testing::ExitedWithCode(JD_NO_DEVICE),
              "libjindou_cuda.so: (file too short|invalid ELF header)");
}

TEST(Plugins, a_library_without_the_symbol_is_refused) {
  EXPECT_EXIT(count_and_exit(JINDOU_PLUGINS "/no_symbol", "cuda"), testing::ExitedWithCode(JD_NO_DEVICE),
              "is no plug-in of Jindou: it has no symbol jd_backend_table");
}

TEST(Plugins, another_version_is_refused) {
  EXPECT_EXIT(count_and_exit(JINDOU_PLUGINS "/other_version", "cuda"), testing::ExitedWithCode(JD_NO_DEVICE),
              "is of another version: its table has version 99, this library needs [0-9]+");
}

TEST(Plugins, a_renamed_backend_is_refused) {
  EXPECT_EXIT(count_and_exit(JINDOU_PLUGINS "/renamed", "cuda"), testing::ExitedWithCode(JD_NO_DEVICE),
              "holds the backend 'simt', not 'cuda'");
}

TEST(Plugins, the_reason_of_a_backend_without_devices_passes_through) {
  EXPECT_EXIT(count_and_exit(JINDOU_PLUGINS "/no_device", "cuda"), testing::ExitedWithCode(JD_NO_DEVICE),
              "cuda is not available: no driver");
}

TEST(Plugins, a_good_one_is_used) {
  EXPECT_EXIT(count_and_exit(JINDOU_PLUGINS "/good", "cuda"), testing::ExitedWithCode(JD_OK), "fine");
  EXPECT_EXIT(count_and_exit(JINDOU_PLUGINS "/good", "simt"), testing::ExitedWithCode(JD_OK), "fine");
}

// From here on in this process: the good plug-ins. "cuda" has two devices and native capture, "simt" one and none.
class PluginDevice : public CoreTest {
 protected:
  void SetUp() override {
    setenv("JINDOU_PLUGIN_DIR", JINDOU_PLUGINS "/good", 1);
    CoreTest::SetUp();
  }
  const char *backend() const override { return "cuda"; }
  fake::State *state() const override {
    const std::string path = std::string(JINDOU_PLUGINS "/good/libjindou_") + std::string(backend(), 4) + ".so";
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
    return library ? reinterpret_cast<fake::State *(*)()>(dlsym(library, "fake_state"))() : fake::fake_state();
  }
  jd_status increment(jd_tensor x, jd_tensor out) {
    jd_l2_normalize_args args = make<jd_l2_normalize_args>();
    args.eps = 1e-6f;
    args.x = x;
    args.out = out;
    return jd_l2_normalize(stream, &args, &error);
  }
};

TEST_F(PluginDevice, cuda_alone_is_the_first_device) {
  jd_device zero, one, none = 9;
  ASSERT_EQ(jd_device_open("cuda:0", nullptr, &zero, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_device_open("cuda:1", nullptr, &one, &error), JD_OK) << error.message;
  expect_refused(jd_device_open("cuda:2", nullptr, &none, &error), JD_NO_DEVICE, error,
                 {"argument 'name'", "one of the 2 cuda devices here", "got 'cuda:2'"});
  expect_refused(jd_device_open("cuda:9999", nullptr, &none, &error), JD_NO_DEVICE, error, {"got 'cuda:9999'"});
  EXPECT_EQ(none, 0u);
  // Named in messages.
  const jd_tensor foreign = wrap(one, &zero, JD_I64, {1});
  expect_refused(jd_tensor_fill(stream, foreign, 0, &error), JD_INVALID_HANDLE, error,
                 {"belongs to device cuda:1 (#", "the stream to device cuda:0 (#"});
  jd_tensor_destroy(foreign, nullptr);
  jd_device_close(zero, nullptr);
  jd_device_close(one, nullptr);
}

TEST_F(PluginDevice, external_streams_are_wrapped) {
  int external = 0;
  jd_stream wrapped;
  void *native = nullptr;
  ASSERT_EQ(jd_stream_wrap(device, &external, &wrapped, &error), JD_OK) << error.message;
  EXPECT_EQ(jd_stream_native(wrapped, &native, &error), JD_OK);
  EXPECT_EQ(native, &external);
  jd_stream_destroy(wrapped, nullptr);
}

TEST_F(PluginDevice, native_capture_records_and_keeps) {
  const int64_t shape[2] = {1, 4};
  jd_tensor x, out;
  jd_graph graph;
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &x, &error), JD_OK);
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &out, &error), JD_OK);
  const int64_t captured = state()->captured, launches = state()->graph_launches;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(jd_tensor_fill(stream, x, 0, &error), JD_OK);
  ASSERT_EQ(increment(x, out), JD_OK);
  ASSERT_EQ(jd_tensor_copy(stream, x, out, &error), JD_OK);
  expect_refused(jd_stream_synchronize(stream, &error), JD_INVALID_ARGUMENT, error, {"is capturing"});
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  EXPECT_EQ(state()->captured, captured + 3);
  jd_tensor_destroy(x, nullptr);
  jd_tensor_destroy(out, nullptr);
  EXPECT_EQ(state()->allocations, 2);
  EXPECT_EQ(state()->graphs, 1);
  EXPECT_EQ(jd_graph_launch(graph, stream, &error), JD_OK);
  EXPECT_EQ(state()->graph_launches, launches + 1);
  jd_graph_destroy(graph, nullptr);
  EXPECT_EQ(state()->allocations, 0);
  EXPECT_EQ(state()->graphs, 0);
}

TEST_F(PluginDevice, a_native_capture_never_ended_is_dropped) {
  jd_stream other;
  ASSERT_EQ(jd_stream_create(device, &other, &error), JD_OK);
  ASSERT_EQ(jd_stream_begin_capture(other, &error), JD_OK);
  ASSERT_EQ(jd_stream_destroy(other, &error), JD_OK);
  EXPECT_EQ(state()->graphs, 0);
}

class DeviceMemory : public PluginDevice {
 protected:
  const char *backend() const override { return "simt"; }
};

// Offsets in device memory are the kernels' to check: core must not read them.
TEST_F(DeviceMemory, offsets_are_left_to_the_kernels) {
  const jd_tensor table = tensor(JD_F32, {10, 8});
  jd_embedding_bag_desc desc = make<jd_embedding_bag_desc>();
  desc.num_tables = 1;
  desc.tables = &table;
  desc.index_dtype = JD_I64;
  desc.offset_dtype = JD_I64;
  desc.max_batch = desc.max_ids = 8;
  jd_plan plan;
  ASSERT_EQ(jd_embedding_bag_plan(device, &desc, &plan, &error), JD_OK) << error.message;
  keep(plan);
  jd_embedding_bag_args args = make<jd_embedding_bag_args>();
  args.ids = wrap(device, reinterpret_cast<void *>(uintptr_t{4096}), JD_I64, {4});
  args.offsets = wrap(device, reinterpret_cast<void *>(uintptr_t{8192}), JD_I64, {3});
  args.out = tensor(JD_F32, {2, 8});
  EXPECT_EQ(jd_embedding_bag_run(plan, stream, &args, &error), JD_OK) << error.message;
  jd_device_info info = make<jd_device_info>();
  ASSERT_EQ(jd_device_get_info(device, &info, &error), JD_OK);
  EXPECT_EQ(info.host_memory, 0);
  EXPECT_STREQ(info.backend, "simt");
}

TEST_F(DeviceMemory, captures_are_recorded_by_core) {
  const jd_tensor x = tensor(JD_F32, {1, 4}), out = tensor(JD_F32, {1, 4});
  jd_graph graph;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(increment(x, out), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  EXPECT_EQ(data<float>(out)[0], 0);
  EXPECT_EQ(jd_graph_launch(graph, stream, &error), JD_OK);
  EXPECT_EQ(data<float>(out)[0], 1);
  jd_graph_destroy(graph, nullptr);
}

}  // namespace
}  // namespace jindou::test
