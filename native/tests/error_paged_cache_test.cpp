// paged_append and paged_gather: every rule of jindou/paged_cache.h, broken one at a time.
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 sequences, 9 rows, 2 heads of 64 and 32, 7 pages of 16.
class PagedCacheErrors : public CoreTest {
 protected:
  void SetUp() override {
    CoreTest::SetUp();
    desc = make<jd_paged_cache_desc>();
    desc.dtype = desc.cache_dtype = JD_F32;
    desc.offset_dtype = JD_I32;
    desc.page_size = 16;
    desc.num_kv_heads = 2;
    desc.head_dim_k = 64;
    desc.head_dim_v = 32;
    desc.max_batch = 3;
    args = make<jd_paged_cache_args>();
    args.keys = tensor(JD_F32, {9, 2, 64});
    args.values = tensor(JD_F32, {9, 2, 32});
    args.offsets = i32({0, 4, 4, 9});
    args.key_pages = tensor(JD_F32, {7, 16, 2, 64});
    args.value_pages = tensor(JD_F32, {7, 16, 2, 32});
    args.page_table = tensor(JD_I32, {3, 2});
    args.seq_lens = i32({0, 0, 0});
  }
  void refused_plan(std::function<void(jd_paged_cache_desc &)> change, std::initializer_list<const char *> parts) {
    for (const auto plan_of : {jd_paged_append_plan, jd_paged_gather_plan}) {
      jd_paged_cache_desc d = desc;
      change(d);
      jd_plan plan = 9;
      expect_refused(plan_of(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
      EXPECT_EQ(plan, 0u);
      ASSERT_EQ(plan_of(device, &desc, &plan, &error), JD_OK) << error.message;
      jd_plan_destroy(plan, nullptr);
    }
  }
  jd_plan good_plan(bool append) {
    jd_plan plan = 0;
    EXPECT_EQ((append ? jd_paged_append_plan : jd_paged_gather_plan)(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(jd_paged_cache_args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    for (const bool append : {true, false}) {
      const jd_plan plan = good_plan(append);
      const auto run = append ? jd_paged_append_run : jd_paged_gather_run;
      jd_paged_cache_args a = args;
      change(a);
      const int64_t runs = state()->runs;
      expect_refused(run(plan, stream, &a, &error), expected, error, parts);
      expect_refused(expected, expected, error, {append ? "paged_append: " : "paged_gather: "});
      EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
      ASSERT_EQ(run(plan, stream, &args, &error), JD_OK) << error.message;
    }
  }

  jd_paged_cache_desc desc;
  jd_paged_cache_args args;
};

TEST_F(PagedCacheErrors, description) {
  refused_plan([](auto &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](auto &d) { d.dtype = JD_I8; }, {"argument 'dtype': expected f32, f16 or bf16", "got i8"});
  refused_plan([](auto &d) { d.cache_dtype = JD_U8; }, {"argument 'cache_dtype'", "got u8"});
  refused_plan([](auto &d) { d.offset_dtype = JD_F32; }, {"argument 'offset_dtype'"});
  refused_plan([](auto &d) { d.page_size = 48; }, {"argument 'page_size': expected pages of 16, 32, 64 or 128 rows, got 48"});
  refused_plan([](auto &d) { d.num_kv_heads = 0; }, {"argument 'num_kv_heads'"});
  refused_plan([](auto &d) { d.head_dim_k = 48; }, {"argument 'head_dim_k': expected a multiple of 32 up to 256, got 48"});
  refused_plan([](auto &d) { d.head_dim_v = 288; }, {"argument 'head_dim_v'", "got 288"});
  refused_plan([](auto &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](auto &d) { d.reserved = 1; }, {"argument 'reserved'"});
  refused_plan([](auto &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
}

TEST_F(PagedCacheErrors, rows_and_offsets) {
  refused_run([&](auto &a) { a.keys = 0; }, {"argument 'keys'"}, JD_INVALID_HANDLE);
  refused_run([&](auto &a) { a.keys = tensor(JD_BF16, {9, 2, 64}); }, {"argument 'keys'", "expected dtype f32"});
  refused_run([&](auto &a) { a.keys = tensor(JD_F32, {9, 2, 32}); }, {"argument 'keys'", "64]"});
  refused_run([&](auto &a) { a.values = tensor(JD_F32, {8, 2, 32}); }, {"argument 'values'"});
  refused_run([&](auto &a) { a.values = tensor(JD_F32, {9, 2, 32}, {66, 33, 1}); }, {"argument 'values'", "16 bytes"});
  refused_run([&](auto &a) { a.offsets = i32({0, 4, 4, 8}); }, {"argument 'offsets'", "last offset to be 9"});
  refused_run([&](auto &a) { a.offsets = i32({0, 5, 4, 9}); }, {"argument 'offsets'", "non-decreasing"});
  refused_run([&](auto &a) { a.offsets = i32({0, 1, 2, 3, 9}); }, {"argument 'offsets'", "max_batch"});
  refused_run([&](auto &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(PagedCacheErrors, pages_and_table) {
  refused_run([&](auto &a) { a.key_pages = closed_tensor(); }, {"argument 'key_pages'"}, JD_CLOSED);
  refused_run([&](auto &a) { a.key_pages = tensor(JD_BF16, {7, 16, 2, 64}); }, {"argument 'key_pages'", "expected dtype f32"});
  refused_run([&](auto &a) { a.key_pages = tensor(JD_F32, {7, 32, 2, 64}); }, {"argument 'key_pages'", "expected shape"});
  refused_run([&](auto &a) { a.key_pages = tensor(JD_F32, {7, 16, 128}); }, {"argument 'key_pages'", "expected rank 4"});
  refused_run([&](auto &a) { a.key_pages = tensor(JD_F32, {7, 16, 2, 64}, {2050, 128, 64, 1}); }, {"argument 'key_pages'", "16 bytes"});
  refused_run([&](auto &a) { a.value_pages = tensor(JD_F32, {6, 16, 2, 32}); }, {"argument 'value_pages'", "expected shape [7, 16"});
  refused_run([&](auto &a) { a.page_table = tensor(JD_I64, {3, 2}); }, {"argument 'page_table'", "expected dtype i32"});
  refused_run([&](auto &a) { a.page_table = tensor(JD_I32, {2, 2}); }, {"argument 'page_table'", "expected shape [3"});
  refused_run([&](auto &a) { a.page_table = tensor(JD_I32, {3, 2}, {4, 2}); }, {"argument 'page_table'", "stride 1"});
  refused_run([&](auto &a) { a.seq_lens = tensor(JD_I32, {4}); }, {"argument 'seq_lens'"});
  refused_run([&](auto &a) { a.seq_lens = tensor(JD_I64, {3}); }, {"argument 'seq_lens'"});
  refused_run([&](auto &a) { a.key_scales = tensor(JD_F32, {1}); }, {"argument 'key_scales'", "not quantised"});
}

TEST_F(PagedCacheErrors, scales) {
  desc.cache_dtype = JD_F8_E4M3;
  args.key_pages = tensor(JD_F8_E4M3, {7, 16, 2, 64});
  args.value_pages = tensor(JD_F8_E4M3, {7, 16, 2, 32});
  args.key_scales = tensor(JD_F32, {1});
  args.value_scales = tensor(JD_F32, {7, 2});
  refused_run([&](auto &a) { a.key_scales = 0; }, {"argument 'key_scales'", "the pages are quantised"});
  refused_run([&](auto &a) { a.key_scales = tensor(JD_F32, {2}); }, {"argument 'key_scales'", "expected shape [1]"});
  refused_run([&](auto &a) { a.key_scales = tensor(JD_F16, {1}); }, {"argument 'key_scales'", "expected dtype f32"});
  refused_run([&](auto &a) { a.value_scales = tensor(JD_F32, {7, 3}); }, {"argument 'value_scales'", "expected shape [7, 2]"});
  desc.cache_dtype = JD_I8;
  args.key_pages = tensor(JD_I8, {7, 16, 2, 64});
  args.value_pages = tensor(JD_I8, {7, 16, 2, 32});
  args.key_scales = tensor(JD_F32, {7, 16, 2});
  args.value_scales = tensor(JD_F32, {7, 16, 2});
  refused_run([&](auto &a) { a.key_scales = tensor(JD_F32, {7, 2}); }, {"argument 'key_scales'", "expected rank 3"});
  refused_run([&](auto &a) { a.value_scales = tensor(JD_F32, {7, 16, 1}); }, {"argument 'value_scales'", "expected shape"});
}

TEST_F(PagedCacheErrors, what_is_written_lies_apart) {
  refused_run([&](auto &a) { a.value_pages = a.key_pages = tensor(JD_F32, {7, 16, 2, 64}); }, {"argument 'value_pages'"});
  const jd_plan append = good_plan(true), gather = good_plan(false);
  jd_paged_cache_args a = args;
  a.keys = tensor(JD_F32, {9, 2, 64}, {0, 64, 1});
  EXPECT_EQ(jd_paged_append_run(append, stream, &a, &error), JD_OK) << error.message;
  expect_refused(jd_paged_gather_run(gather, stream, &a, &error), JD_INVALID_ARGUMENT, error, {"'keys'", "an address of its own"});
  a = args;
  a.key_pages = tensor(JD_F32, {7, 16, 2, 64}, {0, 128, 64, 1});
  EXPECT_EQ(jd_paged_gather_run(gather, stream, &a, &error), JD_OK) << error.message;
  expect_refused(jd_paged_append_run(append, stream, &a, &error), JD_INVALID_ARGUMENT, error, {"'key_pages'", "an address of its own"});
}

TEST_F(PagedCacheErrors, what_the_device_finds_is_told) {
  const jd_plan plan = good_plan(true);
  for (const int32_t fault : {JDB_FAULT_PAGE, JDB_FAULT_CACHE_LENGTH, JDB_FAULT_CACHE_ROWS}) {
    ASSERT_EQ(jd_paged_append_run(plan, stream, &args, &error), JD_OK);
    {
      std::lock_guard<std::mutex> lock(state()->mutex);
      state()->next_report = jdb_report{1, fault, JDB_OP_PAGED_APPEND, -1, 5, 77, 7, 0};
    }
    EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OUT_OF_BOUNDS);
    EXPECT_NE(std::string(error.message).find("paged_append: argument"), std::string::npos) << error.message;
    EXPECT_NE(std::string(error.message).find("got 77"), std::string::npos) << error.message;
    EXPECT_EQ(error.position, 5);
  }
}

}  // namespace
}  // namespace jindou::test
