// hash_lookup, hash_insert and hash_erase: every rule of jindou/hash_table.h, broken one at a time.
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

using PlanFunction = jd_status (*)(jd_device, const jd_hash_table_desc *, jd_plan *, jd_error *);
using RunFunction = jd_status (*)(jd_plan, jd_stream, const jd_hash_table_args *, jd_error *);
struct Operator {
  const char *name;
  PlanFunction plan;
  RunFunction run;
};
const Operator kLookup = {"hash_lookup: ", jd_hash_lookup_plan, jd_hash_lookup_run};
const Operator kInsert = {"hash_insert: ", jd_hash_insert_plan, jd_hash_insert_run};
const Operator kErase = {"hash_erase: ", jd_hash_erase_plan, jd_hash_erase_run};

// 16 slots, rows of 8 floats, 3 keys.
class HashTableErrors : public CoreTest {
 protected:
  void SetUp() override {
    CoreTest::SetUp();
    desc = make<jd_hash_table_desc>();
    desc.dtype = JD_F32;
    desc.dim = 8;
    desc.admission = 1;
    args = make<jd_hash_table_args>();
    args.table_keys = tensor(JD_I64, {2, 8});
    args.table_rows = tensor(JD_F32, {16, 8});
    args.keys = i64({1, 2, 3});
  }
  jd_hash_table_args args_of(const Operator &op) {
    jd_hash_table_args a = args;
    if (op.run != jd_hash_lookup_run) a.table_size = i64({0});
    if (op.run != jd_hash_erase_run) a.rows = tensor(JD_F32, {3, 8});
    return a;
  }
  void refused_plan(std::function<void(jd_hash_table_desc &)> change, std::initializer_list<const char *> parts) {
    for (const Operator &op : {kLookup, kInsert, kErase}) {
      jd_hash_table_desc d = desc;
      change(d);
      jd_plan plan = 9;
      expect_refused(op.plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
      expect_refused(JD_INVALID_ARGUMENT, JD_INVALID_ARGUMENT, error, {op.name});
      EXPECT_EQ(plan, 0u);
    }
  }
  void refused_run(const Operator &op, std::function<void(jd_hash_table_args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    jd_plan plan = 0;
    ASSERT_EQ(op.plan(device, &desc, &plan, &error), JD_OK) << error.message;
    keep(plan);
    const jd_hash_table_args good = good_args ? *good_args : args_of(op);
    jd_hash_table_args a = good;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(op.run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {op.name});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(op.run(plan, stream, &good, &error), JD_OK) << error.message;
  }
  void refused_everywhere(std::function<void(jd_hash_table_args &)> change, std::initializer_list<const char *> parts,
                          jd_status expected = JD_INVALID_ARGUMENT) {
    for (const Operator &op : {kLookup, kInsert, kErase}) refused_run(op, change, parts, expected);
  }

  jd_hash_table_desc desc;
  jd_hash_table_args args;
  const jd_hash_table_args *good_args = nullptr;
};

TEST_F(HashTableErrors, description) {
  refused_plan([](auto &d) { d.struct_size = 4; }, {"struct_size"});
  refused_plan([](auto &d) { d.dtype = JD_I64; }, {"argument 'dtype': expected f32, f16, bf16", "got i64"});
  refused_plan([](auto &d) { d.dim = 0; }, {"argument 'dim': expected 1..2048, got 0"});
  refused_plan([](auto &d) { d.dim = 2049; }, {"argument 'dim': expected 1..2048, got 2049"});
  refused_plan([](auto &d) { d.dtype = JD_BF16, d.dim = 3; }, {"argument 'dim': expected rows of a multiple of 4 bytes, got 3 elements of 2"});
  refused_plan([](auto &d) { d.eviction = 4; }, {"argument 'eviction': expected 0..3, got 4"});
  refused_plan([](auto &d) { d.admission = 0; }, {"argument 'admission': expected 1..255, got 0"});
  refused_plan([](auto &d) { d.missing = -1; }, {"argument 'missing'"});
  refused_plan([](auto &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](auto &d) { d.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(HashTableErrors, the_table) {
  refused_everywhere([&](auto &a) { a.reserved = 1; }, {"argument 'reserved'"});
  refused_everywhere([&](auto &a) { a.table_keys = 0; }, {"argument 'table_keys'"}, JD_INVALID_HANDLE);
  refused_everywhere([&](auto &a) { a.table_keys = closed_tensor(); }, {"argument 'table_keys'"}, JD_CLOSED);
  refused_everywhere([&](auto &a) { a.table_keys = tensor(JD_I32, {2, 8}); }, {"argument 'table_keys'", "expected dtype i64"});
  refused_everywhere([&](auto &a) { a.table_keys = tensor(JD_I64, {4, 4}); }, {"argument 'table_keys'", ", 8]"});
  refused_everywhere([&](auto &a) { a.table_keys = tensor(JD_I64, {2, 8}, {16, 1}); }, {"argument 'table_keys'", "one after the other"});
  refused_everywhere([&](auto &a) { a.table_keys = tensor(JD_I64, {1, 8}); }, {"argument 'table_keys'", "jd_hash_table_slots", "got 8"});
  refused_everywhere([&](auto &a) { a.table_rows = tensor(JD_F32, {15, 8}); }, {"argument 'table_rows'", "expected shape [16, 8]"});
  refused_everywhere([&](auto &a) { a.table_rows = tensor(JD_F16, {16, 8}); }, {"argument 'table_rows'", "expected dtype f32"});
  refused_everywhere([&](auto &a) { a.table_rows = tensor(JD_F32, {16, 8}, {16, 2}); }, {"argument 'table_rows'", "stride 1"});
  refused_everywhere([&](auto &a) { a.table_scores = tensor(JD_I64, {16}); }, {"argument 'table_scores'", "does not evict"});
  refused_everywhere([&](auto &a) { a.table_sights = tensor(JD_U8, {16}); }, {"argument 'table_sights'", "nothing is counted"});
  refused_run(kLookup, [&](auto &a) { a.table_size = i64({0}); }, {"argument 'table_size'", "changes no size"});
  for (const Operator &op : {kInsert, kErase}) {
    refused_run(op, [&](auto &a) { a.table_size = 0; }, {"argument 'table_size'"});
    refused_run(op, [&](auto &a) { a.table_size = i64({0, 0}); }, {"argument 'table_size'", "expected shape [1]"});
  }
}

TEST_F(HashTableErrors, keys_and_rows) {
  refused_everywhere([&](auto &a) { a.keys = 0; }, {"argument 'keys'"}, JD_INVALID_HANDLE);
  refused_everywhere([&](auto &a) { a.keys = i32({1, 2, 3}); }, {"argument 'keys'", "expected dtype i64"});
  refused_everywhere([&](auto &a) { a.keys = tensor(JD_I64, {3}, {2}); }, {"argument 'keys'", "stride 1"});
  refused_run(kInsert, [&](auto &a) { a.rows = 0; }, {"argument 'rows'"});
  refused_run(kErase, [&](auto &a) { a.rows = tensor(JD_F32, {3, 8}); }, {"argument 'rows'", "an erasure has no rows"});
  for (const Operator &op : {kInsert, kLookup}) {
    refused_run(op, [&](auto &a) { a.rows = tensor(JD_F32, {2, 8}); }, {"argument 'rows'", "expected shape [3, 8]"});
  }
  refused_everywhere([&](auto &a) { a.scores = i64({1, 2, 3}); }, {"argument 'scores'", "JD_EVICT_SCORE"});
  refused_everywhere([&](auto &a) { a.default_row = tensor(JD_F32, {8}); }, {"argument 'default_row'", "JD_MISSING_DEFAULT"});
  refused_everywhere([&](auto &a) { a.slots = tensor(JD_I64, {2}); }, {"argument 'slots'", "expected shape [3]"});
  refused_everywhere([&](auto &a) { a.outcomes = tensor(JD_I64, {3}); }, {"argument 'outcomes'", "expected dtype i32"});
  refused_run(kLookup, [&](auto &a) { a.evicted_keys = tensor(JD_I64, {3}); }, {"argument 'evicted_keys'", "only insertions evict"});
  refused_run(kInsert, [&](auto &a) { a.evicted_keys = tensor(JD_I32, {3}); }, {"argument 'evicted_keys'", "expected dtype i64"});
}

TEST_F(HashTableErrors, rows_are_words) {
  desc.dtype = JD_BF16;
  args.table_rows = tensor(JD_BF16, {16, 8});
  jd_hash_table_args good = args_of(kLookup);
  good.rows = tensor(JD_BF16, {3, 8});
  good_args = &good;
  refused_run(kLookup, [&](auto &a) { a.rows = tensor(JD_BF16, {3, 8}, {8, 1}, 2); }, {"argument 'rows'", "aligned to 4 bytes"});
  refused_run(kLookup, [&](auto &a) { a.rows = tensor(JD_BF16, {3, 8}, {9, 1}); }, {"argument 'rows'", "aligned to 4 bytes", "stride of 18"});
  refused_run(kLookup, [&](auto &a) { a.table_rows = tensor(JD_BF16, {16, 8}, {11, 1}); }, {"argument 'table_rows'", "stride of 22"});
}

TEST_F(HashTableErrors, what_eviction_and_admission_need) {
  desc.eviction = JD_EVICT_SCORE;
  desc.admission = 2;
  args.table_scores = tensor(JD_I64, {16});
  jd_hash_table_args good = args_of(kInsert);
  good.table_sights = tensor(JD_U8, {16});
  good.scores = i64({1, 2, 3});
  good_args = &good;
  refused_run(kInsert, [&](auto &a) { a.table_scores = 0; }, {"argument 'table_scores'", "the plan evicts"});
  refused_run(kInsert, [&](auto &a) { a.table_sights = 0; }, {"argument 'table_sights'", "admission is above 1"});
  refused_run(kInsert, [&](auto &a) { a.table_sights = tensor(JD_U8, {15}); }, {"argument 'table_sights'", "expected shape [16]"});
  refused_run(kInsert, [&](auto &a) { a.scores = 0; }, {"argument 'scores'", "the plan evicts by score"});
  refused_run(kInsert, [&](auto &a) { a.scores = i64({1, 2}); }, {"argument 'scores'", "expected shape [3]"});
  desc.eviction = JD_EVICT_LRU;
  good.scores = 0;
  refused_run(kInsert, [&](auto &a) { a.tick = -1; }, {"argument 'tick'"});
}

TEST_F(HashTableErrors, a_default_row_where_missing_keys_get_one) {
  desc.missing = JD_MISSING_DEFAULT;
  jd_hash_table_args good = args_of(kLookup);
  good.default_row = tensor(JD_F32, {8});
  good_args = &good;
  refused_run(kLookup, [&](auto &a) { a.default_row = 0; }, {"argument 'default_row'", "missing keys get it"});
  refused_run(kLookup, [&](auto &a) { a.default_row = tensor(JD_F32, {7}); }, {"argument 'default_row'", "expected shape [8]"});
  refused_run(kLookup, [&](auto &a) { a.default_row = tensor(JD_F16, {8}); }, {"argument 'default_row'", "expected dtype f32"});
}

TEST_F(HashTableErrors, what_is_written_lies_apart) {
  refused_run(kLookup, [&](auto &a) { a.rows = view(a.table_rows, 0, {3, 8}); }, {"argument 'rows'", "table_rows"});
  refused_run(kInsert, [&](auto &a) { a.rows = view(a.table_rows, 0, {3, 8}); }, {"argument 'table_rows'", "rows"});
  refused_run(kLookup, [&](auto &a) { a.slots = a.keys; }, {"argument 'slots'", "keys"});
  refused_run(kErase, [&](auto &a) { a.keys = view(a.table_keys, 0, {8}); }, {"argument 'table_keys'", "keys"});
  refused_run(kLookup, [&](auto &a) { a.rows = tensor(JD_F32, {3, 8}, {0, 1}); }, {"argument 'rows'", "an address of its own"});
}

TEST_F(HashTableErrors, what_the_device_finds_is_told) {
  jd_plan plan = 0;
  ASSERT_EQ(jd_hash_insert_plan(device, &desc, &plan, &error), JD_OK);
  keep(plan);
  const jd_hash_table_args a = args_of(kInsert);
  ASSERT_EQ(jd_hash_insert_run(plan, stream, &a, &error), JD_OK) << error.message;
  state()->next_report = {1, JDB_FAULT_KEY_REFUSED, JDB_OP_HASH_INSERT, -1, 2, 77, 16, 0};
  expect_refused(jd_stream_synchronize(stream, &error), JD_OUT_OF_BOUNDS, error,
                 {"hash_insert: argument 'keys': no room for key 77 at position 2 in a table of 16 slots"});
  EXPECT_EQ(error.position, 2);
  EXPECT_EQ(error.value, 77);
}

}  // namespace
}  // namespace jindou::test
