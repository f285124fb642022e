// Tensors: creation, wrapping, views, transfers, and every way to ask for them wrongly.
#include "core_fixture.h"

namespace jindou::test {
namespace {

class Tensors : public CoreTest {
 protected:
  jd_status create(int32_t dtype, const std::vector<int64_t> &shape, jd_tensor *made) {
    return jd_tensor_create(device, dtype, static_cast<int32_t>(shape.size()), shape.data(), made, &error);
  }
  jd_status try_wrap(void *data, int32_t dtype, const std::vector<int64_t> &shape,
                     const std::vector<int64_t> &strides) {
    jd_tensor made = 9;
    const jd_status status = jd_tensor_wrap(device, data, dtype, static_cast<int32_t>(shape.size()), shape.data(),
                                            strides.empty() ? nullptr : strides.data(), &made, &error);
    if (status == JD_OK)
      jd_tensor_destroy(made, nullptr);
    else
      EXPECT_EQ(made, 0u);
    return status;
  }
  jd_status try_view(jd_tensor parent, int64_t offset, const std::vector<int64_t> &shape,
                     const std::vector<int64_t> &strides = {}) {
    jd_tensor made = 9;
    const jd_status status = jd_tensor_view(parent, offset, static_cast<int32_t>(shape.size()), shape.data(),
                                            strides.empty() ? nullptr : strides.data(), &made, &error);
    if (status == JD_OK)
      jd_tensor_destroy(made, nullptr);
    else
      EXPECT_EQ(made, 0u);
    return status;
  }
};

TEST_F(Tensors, created_ones_are_contiguous_and_aligned) {
  jd_tensor t;
  ASSERT_EQ(create(JD_BF16, {3, 5, 7}, &t), JD_OK);
  jd_tensor_info info = make<jd_tensor_info>();
  ASSERT_EQ(jd_tensor_get_info(t, &info, &error), JD_OK);
  EXPECT_EQ(info.dtype, JD_BF16);
  EXPECT_EQ(info.rank, 3);
  EXPECT_EQ(info.owned, 1);
  EXPECT_EQ(info.strides[0], 35);
  EXPECT_EQ(info.strides[1], 7);
  EXPECT_EQ(info.strides[2], 1);
  EXPECT_EQ(info.size_bytes, 210);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(info.data) % 256, 0u);
  jd_tensor_destroy(t, nullptr);
}

TEST_F(Tensors, scalars_and_empty_ones_are_tensors) {
  jd_tensor scalar, empty;
  jd_tensor_info info = make<jd_tensor_info>();
  ASSERT_EQ(jd_tensor_create(device, JD_F64, 0, nullptr, &scalar, &error), JD_OK);
  ASSERT_EQ(jd_tensor_get_info(scalar, &info, &error), JD_OK);
  EXPECT_EQ(info.size_bytes, 8);
  ASSERT_EQ(create(JD_F32, {0, 64}, &empty), JD_OK);
  ASSERT_EQ(jd_tensor_get_info(empty, &info, &error), JD_OK);
  EXPECT_EQ(info.size_bytes, 0);
  EXPECT_EQ(info.data, nullptr);
  EXPECT_EQ(jd_tensor_fill(stream, empty, 1, &error), JD_OK);
  EXPECT_EQ(jd_tensor_write(stream, empty, nullptr, 0, &error), JD_OK);
  EXPECT_EQ(jd_tensor_read(stream, empty, nullptr, 0, &error), JD_OK);
  jd_tensor_destroy(scalar, nullptr);
  jd_tensor_destroy(empty, nullptr);
}

TEST_F(Tensors, bad_shapes_are_refused) {
  jd_tensor t;
  const int64_t shape[6] = {1, 1, 1, 1, 1, 1};
  expect_refused(create(0, {4}, &t), JD_INVALID_ARGUMENT, error, {"argument 'dtype'", "got 0"});
  expect_refused(create(11, {4}, &t), JD_INVALID_ARGUMENT, error, {"argument 'dtype'", "got 11"});
  expect_refused(jd_tensor_create(device, JD_F32, 6, shape, &t, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'rank'", "0..5", "got 6"});
  expect_refused(jd_tensor_create(device, JD_F32, -1, shape, &t, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'rank'", "got -1"});
  expect_refused(jd_tensor_create(device, JD_F32, 1, nullptr, &t, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'shape'", "NULL"});
  expect_refused(jd_tensor_create(device, JD_F32, 1, shape, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'tensor'", "NULL"});
  expect_refused(create(JD_F32, {3, -2}, &t), JD_INVALID_ARGUMENT, error, {"argument 'shape'", ">= 0", "[3, -2]"});
}

TEST_F(Tensors, sizes_past_64_bits_are_refused) {
  jd_tensor t = 9;
  const int64_t big = int64_t{1} << 31;
  expect_refused(create(JD_U8, {big, big, 4}, &t), JD_INVALID_ARGUMENT, error,
                 {"argument 'shape'", "2^63", "[2147483648, 2147483648, 4]"});
  EXPECT_EQ(t, 0u);
  expect_refused(create(JD_F64, {big, big}, &t), JD_INVALID_ARGUMENT, error, {"2^63"});
  expect_refused(create(JD_F32, {INT64_MAX}, &t), JD_INVALID_ARGUMENT, error, {"2^63"});
  expect_refused(create(JD_F32, {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}, &t), JD_INVALID_ARGUMENT,
                 error, {"2^63"});
  char memory[16];
  expect_refused(try_wrap(memory, JD_U8, {INT64_MAX, 3}, {INT64_MAX, 1}), JD_INVALID_ARGUMENT, error,
                 {"argument 'strides'", "2^63"});
}

TEST_F(Tensors, wrapping_is_checked) {
  alignas(64) char memory[256] = {};
  expect_refused(try_wrap(nullptr, JD_F32, {4}, {}), JD_INVALID_ARGUMENT, error,
                 {"argument 'data'", "16 bytes", "NULL"});
  expect_refused(try_wrap(memory + 2, JD_F32, {4}, {}), JD_INVALID_ARGUMENT, error,
                 {"argument 'data'", "aligned to 4 bytes"});
  expect_refused(try_wrap(memory, JD_F32, {4, 4}, {-4, 1}), JD_INVALID_ARGUMENT, error,
                 {"argument 'strides'", ">= 0", "[-4, 1]"});
  expect_refused(try_wrap(reinterpret_cast<void *>(~uintptr_t{63}), JD_F32, {1000}, {}), JD_INVALID_ARGUMENT, error,
                 {"argument 'data'"});
  EXPECT_EQ(try_wrap(nullptr, JD_F32, {0, 4}, {}), JD_OK);
  EXPECT_EQ(try_wrap(memory, JD_F32, {4, 4}, {8, 1}), JD_OK);
  EXPECT_EQ(try_wrap(memory, JD_F32, {4, 4}, {0, 1}), JD_OK) << "a broadcast input";
  const jd_tensor t = wrap(device, memory, JD_F32, {4, 4}, {8, 1});
  jd_tensor_info info = make<jd_tensor_info>();
  ASSERT_EQ(jd_tensor_get_info(t, &info, &error), JD_OK);
  EXPECT_EQ(info.owned, 0);
  EXPECT_EQ(info.data, memory);
  EXPECT_EQ(info.size_bytes, (3 * 8 + 4) * 4);
}

TEST_F(Tensors, views_stay_inside_their_parent) {
  const jd_tensor parent = tensor(JD_F32, {10, 8});
  const jd_tensor column = view(parent, 4, {10, 4}, {8, 1});
  EXPECT_EQ(data<float>(column), data<float>(parent) + 4);
  EXPECT_EQ(try_view(parent, 0, {80}), JD_OK);
  EXPECT_EQ(try_view(parent, 80, {0}), JD_OK);
  EXPECT_EQ(try_view(parent, 79, {1}), JD_OK);
  expect_refused(try_view(parent, 1, {80}), JD_INVALID_ARGUMENT, error, {"argument 'offset'", "80 elements", "1..81"});
  expect_refused(try_view(parent, -1, {4}), JD_INVALID_ARGUMENT, error, {"argument 'offset'", "-1..3"});
  expect_refused(try_view(parent, 81, {0}), JD_INVALID_ARGUMENT, error, {"argument 'offset'"});
  expect_refused(try_view(parent, 5, {10, 4}, {8, 1}), JD_INVALID_ARGUMENT, error, {"argument 'offset'", "5..81"});
  expect_refused(try_view(parent, INT64_MAX, {4}), JD_INVALID_ARGUMENT, error, {"argument 'offset'"});
  expect_refused(try_view(parent, 0, {INT64_MAX / 8}), JD_INVALID_ARGUMENT, error, {"argument 'offset'"});
  expect_refused(try_view(column, 77, {4}), JD_INVALID_ARGUMENT, error, {"argument 'offset'", "76 elements"});
  expect_refused(try_view(closed_tensor(), 0, {4}), JD_CLOSED, error, {"argument 'parent'"});
}

TEST_F(Tensors, transfers_reach_the_memory) {
  jd_tensor a, b;
  ASSERT_EQ(create(JD_I32, {4}, &a), JD_OK);
  ASSERT_EQ(create(JD_I32, {2, 2}, &b), JD_OK);
  const int32_t values[4] = {1, 2, 3, 4};
  int32_t back[4] = {};
  ASSERT_EQ(jd_tensor_write(stream, a, values, sizeof values, &error), JD_OK);
  ASSERT_EQ(jd_tensor_copy(stream, b, a, &error), JD_OK);
  ASSERT_EQ(jd_tensor_read(stream, b, back, sizeof back, &error), JD_OK);
  EXPECT_EQ(std::memcmp(values, back, sizeof back), 0);
  ASSERT_EQ(jd_tensor_fill(stream, b, 0xFF, &error), JD_OK);
  ASSERT_EQ(jd_tensor_read(stream, b, back, 4, &error), JD_OK);
  EXPECT_EQ(back[0], -1);
  EXPECT_EQ(back[1], 2) << "only as many bytes as asked for";
  jd_tensor_destroy(a, nullptr);
  jd_tensor_destroy(b, nullptr);
}

TEST_F(Tensors, bad_transfers_are_refused) {
  const jd_tensor t = tensor(JD_F32, {4}), strided = tensor(JD_F32, {4, 4}, {8, 1});
  float host[64] = {};
  expect_refused(jd_tensor_write(stream, t, host, 17, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'bytes'", "0..16", "got 17"});
  expect_refused(jd_tensor_write(stream, t, host, -1, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'bytes'", "got -1"});
  expect_refused(jd_tensor_write(stream, t, nullptr, 16, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'source'", "NULL"});
  expect_refused(jd_tensor_read(stream, t, host, 17, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'bytes'", "got 17"});
  expect_refused(jd_tensor_read(stream, t, nullptr, 16, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'target'", "NULL"});
  expect_refused(jd_tensor_write(stream, strided, host, 4, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'tensor'", "contiguous", "[8, 1]"});
  expect_refused(jd_tensor_read(stream, strided, host, 4, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'tensor'", "contiguous"});
  expect_refused(jd_tensor_fill(stream, strided, 0, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'tensor'", "contiguous"});
  expect_refused(jd_tensor_copy(stream, strided, t, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'target'", "contiguous"});
  expect_refused(jd_tensor_copy(stream, t, tensor(JD_I32, {4}), &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'source'", "f32", "i32"});
  expect_refused(jd_tensor_copy(stream, t, tensor(JD_F32, {5}), &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'source'", "4 elements", "got 5"});
  expect_refused(jd_tensor_copy(stream, closed_tensor(), t, &error), JD_CLOSED, error, {"argument 'target'"});
  const jd_tensor whole = tensor(JD_F32, {8});
  expect_refused(jd_tensor_copy(stream, view(whole, 0, {5}), view(whole, 3, {5}), &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'target'", "overlap of 8 bytes"});
  EXPECT_EQ(jd_tensor_copy(stream, view(whole, 0, {4}), view(whole, 4, {4}), &error), JD_OK);
}

TEST_F(Tensors, copies_from_and_to_host_memory_are_work_of_the_stream) {
  jd_host_memory memory = 0;
  void *data = nullptr;
  ASSERT_EQ(jd_host_memory_create(device, 64, &memory, &data, &error), JD_OK) << error.message;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
  jd_tensor t;
  ASSERT_EQ(create(JD_I32, {4}, &t), JD_OK);
  int32_t *numbers = static_cast<int32_t *>(data);
  for (int i = 0; i < 16; ++i) numbers[i] = i;
  const int64_t synchronisations = state()->synchronisations;
  ASSERT_EQ(jd_tensor_write_from(stream, t, memory, 16, 16, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_direction, JDB_PINNED_TO_DEVICE);
  ASSERT_EQ(jd_tensor_read_into(stream, t, memory, 52, 12, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_direction, JDB_DEVICE_TO_HOST);
  EXPECT_EQ(state()->synchronisations, synchronisations);
  EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK);
  EXPECT_EQ(numbers[12], 12);
  EXPECT_EQ(numbers[13], 4);
  EXPECT_EQ(numbers[15], 6);
  // A memory keeps its device, not the other way round.
  jd_device other;
  jd_host_memory last = 0;
  ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
  ASSERT_EQ(jd_host_memory_create(other, 8, &last, &data, &error), JD_OK);
  EXPECT_EQ(jd_device_close(other, &error), JD_OK);
  EXPECT_EQ(jd_host_memory_destroy(last, &error), JD_OK);
  EXPECT_EQ(jd_host_memory_destroy(memory, &error), JD_OK);
  jd_tensor_destroy(t, nullptr);
}

TEST_F(Tensors, bad_host_memory_is_refused) {
  jd_host_memory memory = 9;
  void *data = &memory;
  expect_refused(jd_host_memory_create(device, -1, &memory, &data, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'bytes'", "at least 0", "got -1"});
  EXPECT_EQ(memory, 0u);
  EXPECT_EQ(data, nullptr);
  expect_refused(jd_host_memory_create(device, 8, nullptr, &data, &error), JD_INVALID_ARGUMENT, error, {"argument 'memory'"});
  expect_refused(jd_host_memory_create(device, 8, &memory, nullptr, &error), JD_INVALID_ARGUMENT, error, {"argument 'data'"});
  state()->alloc_limit = 100;
  expect_refused(jd_host_memory_create(device, 101, &memory, &data, &error), JD_OUT_OF_MEMORY, error, {"101 bytes"});
  state()->alloc_limit = INT64_MAX;

  ASSERT_EQ(jd_host_memory_create(device, 20, &memory, &data, &error), JD_OK);
  const jd_tensor t = tensor(JD_F32, {4}), strided = tensor(JD_F32, {4, 4}, {8, 1});
  for (const auto copy : {jd_tensor_write_from, jd_tensor_read_into}) {
    const char *argument = copy == jd_tensor_write_from ? "argument 'source'" : "argument 'target'";
    expect_refused(copy(stream, t, memory, 0, 17, &error), JD_INVALID_ARGUMENT, error, {"argument 'bytes'", "0..16", "got 17"});
    expect_refused(copy(stream, t, memory, 0, -1, &error), JD_INVALID_ARGUMENT, error, {"argument 'bytes'", "got -1"});
    expect_refused(copy(stream, t, memory, 5, 16, &error), JD_INVALID_ARGUMENT, error,
                   {"argument 'offset'", "0..4", "16 of 20 bytes", "got 5"});
    expect_refused(copy(stream, t, memory, -1, 4, &error), JD_INVALID_ARGUMENT, error, {"argument 'offset'", "got -1"});
    expect_refused(copy(stream, t, memory, INT64_MAX, 4, &error), JD_INVALID_ARGUMENT, error, {"argument 'offset'"});
    expect_refused(copy(stream, strided, memory, 0, 4, &error), JD_INVALID_ARGUMENT, error, {"argument 'tensor'", "contiguous"});
    expect_refused(copy(stream, t, t, 0, 4, &error), JD_INVALID_HANDLE, error, {argument, "host memory", "tensor"});
    expect_refused(copy(stream, t, 0, 0, 4, &error), JD_INVALID_HANDLE, error, {argument});
    ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
    expect_refused(copy(stream, t, memory, 0, 4, &error), JD_INVALID_ARGUMENT, error, {"argument 'stream'", "is capturing"});
    jd_graph graph;
    ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
    jd_graph_destroy(graph, nullptr);
    EXPECT_EQ(copy(stream, t, memory, 20, 0, &error), JD_OK) << "nothing, at the end";
    EXPECT_EQ(copy(stream, t, memory, 4, 16, &error), JD_OK);
  }
  jd_device other;
  jd_host_memory foreign;
  ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
  ASSERT_EQ(jd_host_memory_create(other, 16, &foreign, &data, &error), JD_OK);
  expect_refused(jd_tensor_write_from(stream, t, foreign, 0, 16, &error), JD_INVALID_HANDLE, error, {"argument 'source'"});
  EXPECT_EQ(jd_host_memory_destroy(foreign, &error), JD_OK);
  jd_device_close(other, nullptr);
  EXPECT_EQ(jd_host_memory_destroy(memory, &error), JD_OK);
  expect_refused(jd_host_memory_destroy(memory, &error), JD_CLOSED, error, {"argument 'memory'"});
  expect_refused(jd_tensor_write_from(stream, t, memory, 0, 16, &error), JD_CLOSED, error, {"argument 'source'"});
}

TEST_F(Tensors, info_is_checked) {
  jd_tensor_info info = make<jd_tensor_info>();
  expect_refused(jd_tensor_get_info(tensor(JD_F32, {4}), nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'info'", "NULL"});
  info.struct_size = 8;
  expect_refused(jd_tensor_get_info(tensor(JD_F32, {4}), &info, &error), JD_INVALID_ARGUMENT, error,
                 {"struct_size", "got 8"});
}

}  // namespace
}  // namespace jindou::test
