// hash_lookup, hash_insert and hash_erase: the rules of jindou/hash_table.h and the entry points.
#include <cinttypes>
#include <string_view>

#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/dtype.h"
#include "core/hash_geometry.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

constexpr int64_t kMaxRowBytes = 8192;
constexpr int64_t kMaxCapacity = int64_t{1} << 40;

jd_status check_description(const Context &context, jd_hash_table_desc &d) {
  Rules rules(context);
  rules.dtype("dtype", d.dtype, {JD_F32, JD_F16, JD_BF16, JD_F8_E4M3, JD_I8, JD_U8});
  if (rules.broken()) return rules.status();
  rules.integer("dim", d.dim, 1, kMaxRowBytes / element_size(d.dtype));
  if (!rules.broken() && d.dim * element_size(d.dtype) % 4 != 0) {
    rules.fail(JD_INVALID_ARGUMENT, "dim", "expected rows of a multiple of 4 bytes, got %d elements of %" PRId64, d.dim,
               static_cast<int64_t>(element_size(d.dtype)));
  }
  rules.integer("eviction", d.eviction, JD_EVICT_NONE, JD_EVICT_SCORE);
  rules.integer("admission", d.admission, 1, 255);
  rules.integer("missing", d.missing, JD_MISSING_ZERO, JD_MISSING_KEEP);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.zero("reserved", d.reserved);
  return rules.status();
}

// Rows that are copied four bytes at a time.
void check_words(Rules &rules, const char *name, const jdb_tensor &t) {
  rules.contiguous_last(name, t);
  if (rules.broken() || !t.dtype) return;
  const int64_t size = element_size(t.dtype);
  const bool strided = t.rank == 2 && t.shape[0] > 1;
  if (reinterpret_cast<uintptr_t>(t.data) % 4 == 0 && (!strided || t.strides[0] * size % 4 == 0)) return;
  rules.fail(JD_INVALID_ARGUMENT, name, "expected rows aligned to 4 bytes, got address %p and a stride of %" PRId64 " bytes", t.data,
             strided ? t.strides[0] * size : 0);
}

void check_dense(Rules &rules, const char *name, const jdb_tensor &t, int32_t dtype, int64_t count) {
  rules.tensor(name, t, dtype, {count});
  rules.contiguous_last(name, t);
}

void check_table(Rules &rules, int32_t op, const jd_hash_table_desc &d, const jdb_hash_table_args &a, int64_t *slots) {
  rules.tensor("table_keys", a.table_keys, JD_I64, {kAny, hashing::kBucketSlots});
  rules.contiguous_last("table_keys", a.table_keys);
  if (rules.broken()) return;
  const int64_t buckets = a.table_keys.shape[0];
  *slots = buckets * hashing::kBucketSlots;
  if (buckets > 1 && a.table_keys.strides[0] != hashing::kBucketSlots) {
    rules.fail(JD_INVALID_ARGUMENT, "table_keys", "expected buckets one after the other, got a stride of %" PRId64 " keys",
               a.table_keys.strides[0]);
  }
  if (!rules.broken() && !hashing::Geometry::is_valid(*slots)) {
    rules.fail(JD_INVALID_ARGUMENT, "table_keys", "expected a number of slots that jd_hash_table_slots gives, got %" PRId64, *slots);
  }
  rules.tensor("table_rows", a.table_rows, d.dtype, {*slots, d.dim});
  check_words(rules, "table_rows", a.table_rows);
  rules.presence("table_scores", a.table_scores, d.eviction != JD_EVICT_NONE,
                 d.eviction != JD_EVICT_NONE ? "the plan evicts" : "the plan does not evict");
  check_dense(rules, "table_scores", a.table_scores, JD_I64, *slots);
  const bool counts = op == JDB_OP_HASH_INSERT && d.admission > 1;
  rules.presence("table_sights", a.table_sights, counts, counts ? "admission is above 1" : "nothing is counted here");
  check_dense(rules, "table_sights", a.table_sights, JD_U8, *slots);
  const bool writes = op != JDB_OP_HASH_LOOKUP;
  rules.presence("table_size", a.table_size, writes, writes ? "the number of keys changes" : "a lookup changes no size");
  check_dense(rules, "table_size", a.table_size, JD_I64, 1);
}

void check_arguments(Rules &rules, int32_t op, const jd_hash_table_desc &d, const jdb_hash_table_args &a) {
  int64_t slots = 0;
  check_table(rules, op, d, a, &slots);
  check_dense(rules, "keys", a.keys, JD_I64, kAny);
  if (rules.broken()) return;
  const int64_t n = a.keys.shape[0];
  const bool inserts = op == JDB_OP_HASH_INSERT, looks = op == JDB_OP_HASH_LOOKUP;
  if (!looks) {
    rules.presence("rows", a.rows, inserts, inserts ? "it is what is inserted" : "an erasure has no rows");
  }
  rules.tensor("rows", a.rows, d.dtype, {n, d.dim});
  check_words(rules, "rows", a.rows);
  const bool scored = inserts && d.eviction == JD_EVICT_SCORE;
  rules.presence("scores", a.scores, scored, scored ? "the plan evicts by score" : "only insertions under JD_EVICT_SCORE have scores");
  check_dense(rules, "scores", a.scores, JD_I64, n);
  const bool defaults = looks && a.rows.dtype && d.missing == JD_MISSING_DEFAULT;
  rules.presence("default_row", a.default_row, defaults,
                 defaults ? "missing keys get it" : "only lookups of rows under JD_MISSING_DEFAULT have one");
  rules.tensor("default_row", a.default_row, d.dtype, {d.dim});
  check_words(rules, "default_row", a.default_row);
  check_dense(rules, "slots", a.slots, JD_I64, n);
  check_dense(rules, "outcomes", a.outcomes, JD_I32, n);
  rules.presence("evicted_keys", a.evicted_keys, inserts && a.evicted_keys.dtype, "only insertions evict");
  check_dense(rules, "evicted_keys", a.evicted_keys, JD_I64, n);
  if (d.eviction == JD_EVICT_LRU) rules.integer("tick", a.tick, 0, INT64_MAX);

  // What is written lies apart from everything else.
  const Rules::Input all[] = {{"table_keys", a.table_keys},     {"table_rows", a.table_rows}, {"table_scores", a.table_scores},
                              {"table_sights", a.table_sights}, {"table_size", a.table_size}, {"slots", a.slots},
                              {"outcomes", a.outcomes},         {"evicted_keys", a.evicted_keys}, {"keys", a.keys},
                              {"rows", a.rows},                 {"scores", a.scores},         {"default_row", a.default_row}};
  for (const Rules::Input &out : all) {
    const std::string_view name = out.name;
    const bool state = name == "table_keys" || name == "table_rows" || name == "table_sights" || name == "table_size";
    const bool result = name == "slots" || name == "outcomes" || name == "evicted_keys" || name == "table_scores";
    if (!(state && !looks) && !result && !(name == "rows" && looks)) continue;
    if (!out.tensor.dtype) continue;
    rules.separate_elements(out.name, out.tensor);
    for (const Rules::Input &other : all) {
      if (other.name != out.name && other.tensor.dtype) rules.apart(out.name, out.tensor, {other});
    }
  }
}

jd_status plan_of(const char *name, int32_t op, jd_device device, const jd_hash_table_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, name}, op, device, desc, &Plan::Description::hash_table, check_description, plan);
  });
}

jd_status run(const char *name, int32_t op, jd_plan plan_handle, jd_stream stream_handle, const jd_hash_table_args *given,
              jd_error *error) {
  return run_plan(name, op, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_hash_table_args a;
    a.tick = args.tick;
    Arguments<12> tensors(context, *stream->device);
    tensors.required("table_keys", args.table_keys, &a.table_keys);
    tensors.required("table_rows", args.table_rows, &a.table_rows);
    tensors.optional("table_scores", args.table_scores, &a.table_scores);
    tensors.optional("table_sights", args.table_sights, &a.table_sights);
    tensors.optional("table_size", args.table_size, &a.table_size);
    tensors.required("keys", args.keys, &a.keys);
    tensors.optional("rows", args.rows, &a.rows);
    tensors.optional("scores", args.scores, &a.scores);
    tensors.optional("default_row", args.default_row, &a.default_row);
    tensors.optional("slots", args.slots, &a.slots);
    tensors.optional("outcomes", args.outcomes, &a.outcomes);
    tensors.optional("evicted_keys", args.evicted_keys, &a.evicted_keys);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, op, plan->desc.hash_table, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, op, plan.get(), a, tensors.used);
  });
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

int64_t jd_hash_table_slots(int64_t capacity) {
  return capacity < 1 || capacity > kMaxCapacity ? 0 : jindou::hashing::Geometry::slots_for(capacity);
}

int64_t jd_hash_table_buckets(int64_t num_slots, int64_t n, const int64_t *keys, int64_t *buckets) {
  using jindou::hashing::Geometry;
  if (!Geometry::is_valid(num_slots) || n < 0 || (n > 0 && (!keys || !buckets))) return 0;
  const Geometry geometry(num_slots);
  for (int64_t i = 0; i < n; ++i) {
    const jindou::hashing::Places places = geometry.places(keys[i]);
    for (int side = 0; side < 2; ++side) buckets[2 * i + side] = places.bucket[side];
  }
  return num_slots / jindou::hashing::kBucketSlots;
}

jd_status jd_hash_lookup_plan(jd_device device, const jd_hash_table_desc *desc, jd_plan *plan, jd_error *error) {
  return plan_of("hash_lookup", JDB_OP_HASH_LOOKUP, device, desc, plan, error);
}
jd_status jd_hash_lookup_run(jd_plan plan, jd_stream stream, const jd_hash_table_args *args, jd_error *error) {
  return run("hash_lookup", JDB_OP_HASH_LOOKUP, plan, stream, args, error);
}
jd_status jd_hash_insert_plan(jd_device device, const jd_hash_table_desc *desc, jd_plan *plan, jd_error *error) {
  return plan_of("hash_insert", JDB_OP_HASH_INSERT, device, desc, plan, error);
}
jd_status jd_hash_insert_run(jd_plan plan, jd_stream stream, const jd_hash_table_args *args, jd_error *error) {
  return run("hash_insert", JDB_OP_HASH_INSERT, plan, stream, args, error);
}
jd_status jd_hash_erase_plan(jd_device device, const jd_hash_table_desc *desc, jd_plan *plan, jd_error *error) {
  return plan_of("hash_erase", JDB_OP_HASH_ERASE, device, desc, plan, error);
}
jd_status jd_hash_erase_run(jd_plan plan, jd_stream stream, const jd_hash_table_args *args, jd_error *error) {
  return run("hash_erase", JDB_OP_HASH_ERASE, plan, stream, args, error);
}

}  // extern "C"
