// hash_lookup, hash_insert and hash_erase through the C ABI against maps of the standard library, and the promises of
// jindou/hash_table.h about what stays and what goes.
#include <cmath>
#include <map>
#include <unordered_map>

#include "core/hash_geometry.h"
#include "operators_support.h"

namespace jindou::testing {
namespace {

using Keys = std::vector<int64_t>;

struct Shape {
  int64_t capacity = 100, dim = 8;
  int32_t dtype = JD_F32;
  int32_t eviction = JD_EVICT_NONE, admission = 1, missing = JD_MISSING_ZERO, bounds = JD_BOUNDS_STRICT;
  int64_t padding = 0;  // elements between rows, of the table and of the call
};

// A table, its plans, and calls on it with plain vectors. The row of a key in its n-th version is row_of(key, n).
class Table {
 public:
  Table(Rig &r, const Shape &setup) : rig(r), s(setup), slots(jd_hash_table_slots(setup.capacity)) {
    jd_hash_table_desc d{};
    d.struct_size = sizeof d;
    d.dtype = s.dtype;
    d.dim = static_cast<int32_t>(s.dim);
    d.eviction = s.eviction;
    d.admission = s.admission;
    d.missing = s.missing;
    d.bounds = s.bounds;
    Error error;
    rig.check(jd_hash_lookup_plan(rig.device, &d, &lookup_plan, &error), error);
    rig.check(jd_hash_insert_plan(rig.device, &d, &insert_plan, &error), error);
    rig.check(jd_hash_erase_plan(rig.device, &d, &erase_plan, &error), error);
    for (const jd_plan plan : {lookup_plan, insert_plan, erase_plan}) rig.keep(plan);
    keys = int64s({slots / 8, 8}, Keys(static_cast<size_t>(slots), -1));
    rows = rig.poisoned(s.dtype, {slots, s.dim}, s.padding);
    if (s.eviction != JD_EVICT_NONE) scores = int64s({slots}, Keys(static_cast<size_t>(slots), 0));
    if (s.admission > 1) sights = rig.bytes(JD_U8, {slots}, std::vector<uint8_t>(static_cast<size_t>(slots), 0));
    size = int64s({1}, {0});
  }

  struct Result {
    jd_status status = JD_OK;
    std::string message;
    Keys slots, outcomes, evicted;
    std::vector<double> rows;
  };

  Result insert(const Keys &which, const std::vector<double> &values, int64_t tick = 0, const Keys &given_scores = {}) {
    jd_hash_table_args a = state(tick);
    const int64_t n = static_cast<int64_t>(which.size());
    a.table_sights = sights;
    a.table_size = size;
    a.keys = int64s({n}, which);
    a.rows = rig.tensor(s.dtype, {n, s.dim}, values, s.padding);
    if (s.eviction == JD_EVICT_SCORE) a.scores = int64s({n}, given_scores);
    a.evicted_keys = rig.poisoned(JD_I64, {n});
    return run(insert_plan, jd_hash_insert_run, a, n, false);
  }
  Result erase(const Keys &which) {
    jd_hash_table_args a = state(0);
    a.table_size = size;
    a.keys = int64s({static_cast<int64_t>(which.size())}, which);
    return run(erase_plan, jd_hash_erase_run, a, static_cast<int64_t>(which.size()), false);
  }
  Result lookup(const Keys &which, int64_t tick = 0, jd_tensor default_row = 0) {
    jd_hash_table_args a = state(tick);
    const int64_t n = static_cast<int64_t>(which.size());
    a.keys = int64s({n}, which);
    a.rows = rig.poisoned(s.dtype, {n, s.dim}, s.padding);
    a.default_row = default_row;
    return run(lookup_plan, jd_hash_lookup_run, a, n, true);
  }

  int64_t count() { return read64(size)[0]; }
  std::vector<uint32_t> table_sights() { return rig.bits(sights); }
  Keys table_keys() { return read64(keys); }
  Keys table_scores() { return read64(scores); }

  std::vector<double> row_of(int64_t key, int version = 0) const {
    Random random(static_cast<uint64_t>(key) * 31 + static_cast<uint64_t>(version));
    if (s.dtype == JD_U8 || s.dtype == JD_I8) {
      std::vector<double> row;
      for (int64_t i = 0; i < s.dim; ++i) row.push_back(static_cast<double>(random.integer(0, 127)));
      return row;
    }
    return random.values(s.dim, s.dtype);
  }
  std::vector<double> rows_of(const Keys &which, int version = 0) const {
    std::vector<double> all;
    for (const int64_t key : which) {
      const std::vector<double> row = row_of(key, version);
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }

  Rig &rig;
  const Shape s;
  const int64_t slots;
  jd_plan lookup_plan = 0, insert_plan = 0, erase_plan = 0;
  jd_tensor keys = 0, rows = 0, scores = 0, sights = 0, size = 0;

  jd_tensor int64s(const std::vector<int64_t> &shape, const Keys &values) {
    std::vector<uint8_t> bytes(values.size() * 8);
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return rig.bytes(JD_I64, shape, bytes);
  }
  Keys read64(jd_tensor t) {
    const jd_tensor_info i = rig.tensor_info(t);
    Keys values(static_cast<size_t>(i.size_bytes / 8));
    Error error;
    if (!values.empty()) rig.check(jd_tensor_read(rig.stream, t, values.data(), i.size_bytes, &error), error);
    return values;
  }

 private:
  jd_hash_table_args state(int64_t tick) const {
    jd_hash_table_args a{};
    a.struct_size = sizeof a;
    a.tick = tick;
    a.table_keys = keys;
    a.table_rows = rows;
    a.table_scores = scores;
    return a;
  }
  template <class Run>
  Result run(jd_plan plan, Run run_function, jd_hash_table_args &a, int64_t n, bool looks) {
    a.slots = rig.poisoned(JD_I64, {n});
    a.outcomes = rig.poisoned(JD_I32, {n});
    Error error;
    Result r;
    r.status = run_function(plan, rig.stream, &a, &error);
    if (r.status == JD_OK) r.status = jd_stream_synchronize(rig.stream, &error);
    if (r.status != JD_OK) {
      r.message = error.message;
      if (r.status != JD_OUT_OF_BOUNDS) ADD_FAILURE() << r.message;
    }
    r.slots = read64(a.slots);
    for (const uint32_t x : rig.bits(a.outcomes)) r.outcomes.push_back(static_cast<int32_t>(x));
    if (a.evicted_keys) r.evicted = read64(a.evicted_keys);
    if (looks) {
      bool gaps = true;
      for (const uint32_t x : rig.bits(a.rows, &gaps)) {
        float f = 0;
        std::memcpy(&f, &x, sizeof f);
        r.rows.push_back(s.dtype == JD_F32 ? f : s.dtype == JD_U8 || s.dtype == JD_I8 ? x : from_half_bits(static_cast<uint16_t>(x), s.dtype));
      }
      EXPECT_TRUE(gaps) << "wrote between rows";
    }
    return r;
  }
};

class HashTable : public ::testing::TestWithParam<std::string> {};

Keys random_keys(Random &random, int64_t count, int64_t range) {
  Keys keys;
  for (int64_t i = 0; i < count; ++i) keys.push_back(random.integer(-range, range) * 0x100000001ll - 7);
  return keys;
}

TEST_P(HashTable, does_what_a_map_does_for_every_row_size_and_dtype) {
  Rig rig(GetParam());
  uint64_t seed = 1;
  for (const auto &[dtype, dim, padding] : {std::tuple<int32_t, int64_t, int64_t>{JD_F32, 8, 0}, {JD_F32, 1, 3}, {JD_F32, 128, 4},
                                            {JD_BF16, 6, 0}, {JD_F16, 64, 8}, {JD_U8, 36, 0}, {JD_I8, 4, 4}}) {
    Shape s;
    s.dtype = dtype;
    s.dim = dim;
    s.padding = padding;
    s.capacity = 200;
    s.missing = seed % 2 ? JD_MISSING_ZERO : JD_MISSING_DEFAULT;
    Table table(rig, s);
    Random random(seed++);
    std::unordered_map<int64_t, int> model;  // key to version of its row
    const std::vector<double> standard = table.row_of(424242, 9);
    const jd_tensor default_row = s.missing == JD_MISSING_DEFAULT ? rig.tensor(dtype, {dim}, standard) : 0;
    for (int round = 0; round < 12; ++round) {
      const Keys in = random_keys(random, 40, 100);
      std::vector<double> values;
      std::vector<bool> known;
      for (size_t i = 0; i < in.size(); ++i) {  // equal keys of a call differ in their rows: the last one stays
        const int version = round * 100 + static_cast<int>(i);
        const std::vector<double> row = table.row_of(in[i], version);
        values.insert(values.end(), row.begin(), row.end());
        known.push_back(model.count(in[i]) > 0);
        model[in[i]] = version;
      }
      const Table::Result inserted = table.insert(in, values);
      EXPECT_EQ(inserted.message, "");
      for (size_t i = 0; i < in.size(); ++i) {
        EXPECT_EQ(inserted.outcomes[i], known[i] ? JD_HASH_ASSIGNED : JD_HASH_INSERTED);
        EXPECT_EQ(inserted.evicted[i], -1);
      }
      const Keys out = random_keys(random, 15, 100);
      const Table::Result erased = table.erase(out);
      for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(erased.outcomes[i], model.erase(out[i]) ? JD_HASH_ASSIGNED : JD_HASH_MISSING);
      EXPECT_EQ(table.count(), static_cast<int64_t>(model.size()));

      Keys asked = random_keys(random, 61, 130);
      asked.push_back(-1);
      const Table::Result found = table.lookup(asked, 0, default_row);
      EXPECT_EQ(found.message, "");
      std::vector<double> expected;
      const Keys keys = table.table_keys();
      for (size_t i = 0; i < asked.size(); ++i) {
        const auto at = model.find(asked[i]);
        const bool there = at != model.end();
        const std::vector<double> row = there ? table.row_of(asked[i], at->second)
                                        : default_row ? standard : std::vector<double>(static_cast<size_t>(dim), 0.0);
        expected.insert(expected.end(), row.begin(), row.end());
        EXPECT_EQ(found.outcomes[i], there ? JD_HASH_ASSIGNED : JD_HASH_MISSING);
        ASSERT_EQ(found.slots[i] >= 0, there);
        if (there) {
          EXPECT_EQ(keys[static_cast<size_t>(found.slots[i])], asked[i]);
        }
      }
      EXPECT_EQ(found.rows, expected) << jd_dtype_name(dtype) << " x " << dim << ", round " << round;
    }
  }
}

TEST_P(HashTable, fills_to_its_capacity_in_one_call_and_in_many) {
  Rig rig(GetParam());
  for (const int64_t capacity : {int64_t{1}, int64_t{15}, int64_t{16}, rig.scaled(50000, 700)}) {
    for (const bool one_call : {true, false}) {
      Shape s;
      s.capacity = capacity;
      s.dim = 2;
      Table table(rig, s);
      Keys keys;
      for (int64_t i = 0; i < capacity; ++i) keys.push_back(i * 977 + 5);
      const int64_t step = one_call ? capacity : std::max<int64_t>(1, capacity / 3);
      for (int64_t at = 0; at < capacity; at += step) {
        const Keys some(keys.begin() + at, keys.begin() + std::min(capacity, at + step));
        const Table::Result r = table.insert(some, table.rows_of(some));
        ASSERT_EQ(r.message, "") << capacity;
        const Keys in_place = table.table_keys();
        for (size_t i = 0; i < some.size(); ++i) ASSERT_EQ(in_place[static_cast<size_t>(r.slots[i])], some[i]);
      }
      EXPECT_EQ(table.count(), capacity);
      if (capacity > 500) {
        EXPECT_GT(static_cast<double>(capacity) / static_cast<double>(table.slots), 0.92);
      }
      EXPECT_EQ(table.lookup(keys).rows, table.rows_of(keys));
    }
  }
}

// Keys that follow each other, such far apart, such that differ in their upper half, and any.
Keys key_set(int kind, int64_t count, uint64_t seed) {
  Random random(seed);
  Keys keys;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t n = static_cast<int64_t>(seed) * 1000 + i;
    keys.push_back(kind == 0 ? n : kind == 1 ? n * 977 + 5 : kind == 2 ? n << 32 : random.integer(0, INT64_MAX));
  }
  return keys;
}

// Of the first set 25 keys would have both their buckets among three of four.
TEST_P(HashTable, as_many_keys_as_the_capacity_says_find_a_place) {
  Rig rig(GetParam());
  Shape s;
  s.dim = 1;
  s.capacity = 30;
  {
    Table table(rig, s);
    const Keys keys = key_set(0, 30, 323);
    const Table::Result r = table.insert(keys, table.rows_of(keys));
    EXPECT_EQ(r.message, "");
    EXPECT_EQ(table.count(), 30);
    EXPECT_EQ(table.lookup(keys).rows, table.rows_of(keys));
  }
  for (s.capacity = 1; s.capacity <= 600; s.capacity += rig.scaled(1, 61)) {
    for (int kind = 0; kind < 4; ++kind) {
      Table table(rig, s);
      const Keys keys = key_set(kind, s.capacity, static_cast<uint64_t>(s.capacity));
      const Table::Result r = table.insert(keys, std::vector<double>(keys.size(), 1.0));
      ASSERT_EQ(r.message, "") << "capacity " << s.capacity << ", kind " << kind;
      ASSERT_EQ(r.outcomes, Keys(keys.size(), JD_HASH_INSERTED));
      ASSERT_LE(s.capacity * 20, table.slots * 19);
    }
  }
}

// Whether each key can have a slot of one of its buckets: augmenting paths, a key at a time.
class Arrangement {
 public:
  explicit Arrangement(int64_t slots) : geometry_(slots), held_(static_cast<size_t>(slots / 8)) {}

  bool add(int64_t key) {
    std::vector<bool> visited(held_.size(), false);
    return place(key, visited);
  }

 private:
  bool place(int64_t key, std::vector<bool> &visited) {
    for (const int64_t bucket : geometry_.places(key).bucket) {
      const auto b = static_cast<size_t>(bucket);
      if (visited[b]) continue;
      visited[b] = true;
      if (held_[b].size() < 8) {
        held_[b].push_back(key);
        return true;
      }
      for (size_t i = 0; i < 8; ++i) {
        if (!place(held_[b][i], visited)) continue;
        held_[b][i] = key;
        return true;
      }
    }
    return false;
  }

  const hashing::Geometry geometry_;
  std::vector<Keys> held_;
};

TEST_P(HashTable, a_key_is_refused_only_where_no_arrangement_has_room) {
  Rig rig(GetParam());
  Shape s;
  s.dim = 1;
  s.bounds = JD_BOUNDS_ZERO;
  int refused_early = 0;
  for (const int64_t capacity : {int64_t{17}, int64_t{20}, int64_t{30}, int64_t{53}, int64_t{100}, int64_t{300}, rig.scaled(1900, 700)}) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      s.capacity = capacity;
      Table table(rig, s);
      const Keys keys = key_set(3, table.slots + 2, seed);
      Arrangement arrangement(table.slots);
      const Table::Result r = table.insert(keys, std::vector<double>(keys.size(), 1.0));
      for (size_t i = 0; i < keys.size(); ++i) {
        const bool fits = arrangement.add(keys[i]);
        ASSERT_EQ(r.outcomes[i], fits ? JD_HASH_INSERTED : JD_HASH_REFUSED) << "capacity " << capacity << ", key " << i;
        refused_early += !fits && i < static_cast<size_t>(table.slots);
      }
    }
  }
  EXPECT_GT(refused_early, 10);
}

TEST_P(HashTable, a_full_table_refuses_and_says_so) {
  Rig rig(GetParam());
  Shape s;
  s.capacity = 10;
  s.dim = 4;
  Table table(rig, s);
  ASSERT_EQ(table.slots, 16);
  Keys keys;
  for (int64_t i = 0; i < 20; ++i) keys.push_back(i + 1);
  const Table::Result r = table.insert(keys, table.rows_of(keys));
  EXPECT_EQ(r.status, JD_OUT_OF_BOUNDS);
  EXPECT_NE(r.message.find("hash_insert: argument 'keys': no room for key 17 at position 16 in a table of 16 slots"), std::string::npos)
      << r.message;
  EXPECT_EQ(table.count(), 16);
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(r.outcomes[i], i < 16 ? JD_HASH_INSERTED : JD_HASH_REFUSED);
  const Table::Result found = table.lookup(keys);
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(found.outcomes[i], i < 16 ? JD_HASH_ASSIGNED : JD_HASH_MISSING);

  s.bounds = JD_BOUNDS_ZERO;
  Table counted(rig, s);
  EXPECT_EQ(counted.insert(keys, counted.rows_of(keys)).status, JD_OK);
  int64_t skipped = 0;
  Error error;
  rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
  EXPECT_EQ(skipped, 4);
}

TEST_P(HashTable, the_reserved_key_is_never_there) {
  Rig rig(GetParam());
  Shape s;
  s.missing = JD_MISSING_REPORT;
  Table table(rig, s);
  const Table::Result r = table.insert({5, -1, 6}, table.rows_of({5, -1, 6}));
  EXPECT_EQ(r.message, "") << "left out, and no fault";
  EXPECT_EQ(r.outcomes, (Keys{JD_HASH_INSERTED, JD_HASH_REFUSED, JD_HASH_INSERTED}));
  EXPECT_EQ(table.count(), 2);
  const Table::Result found = table.lookup({-1, 5, -1});
  EXPECT_EQ(found.message, "") << "a lookup of -1 is no fault";
  EXPECT_EQ(found.outcomes, (Keys{JD_HASH_MISSING, JD_HASH_ASSIGNED, JD_HASH_MISSING}));
  EXPECT_EQ(table.erase({-1}).outcomes, Keys{JD_HASH_MISSING});
}

TEST_P(HashTable, missing_keys_are_reported_where_asked) {
  Rig rig(GetParam());
  Shape s;
  s.missing = JD_MISSING_REPORT;
  Table table(rig, s);
  const Keys keys = {10, 20, 30};
  table.insert(keys, table.rows_of(keys));
  const Table::Result r = table.lookup({10, 21, 30, 22});
  EXPECT_EQ(r.status, JD_OUT_OF_BOUNDS);
  EXPECT_NE(r.message.find("hash_lookup: argument 'keys': expected keys of the table, got 21 at position 1"), std::string::npos) << r.message;
  std::vector<double> expected = table.rows_of({10, 0, 30, 0});
  std::fill_n(expected.begin() + s.dim, s.dim, 0.0);
  std::fill_n(expected.begin() + 3 * s.dim, s.dim, 0.0);
  EXPECT_EQ(r.rows, expected);

  s.bounds = JD_BOUNDS_ZERO;
  Table counted(rig, s);
  counted.insert(keys, counted.rows_of(keys));
  const Table::Result zeros = counted.lookup({10, 21, 30, 22, -1});
  EXPECT_EQ(zeros.status, JD_OK) << zeros.message;
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), zeros.rows.begin()));
  int64_t skipped = 0;
  Error error;
  rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
  EXPECT_EQ(skipped, 2);
}

TEST_P(HashTable, rows_of_missing_keys_stay_where_asked) {
  Rig rig(GetParam());
  Shape s;
  s.missing = JD_MISSING_KEEP;
  Table table(rig, s);
  table.insert({10, 30}, table.rows_of({10, 30}));
  const std::vector<double> rows = table.lookup({10, 20, 30}).rows;  // over poison
  for (int64_t i = 0; i < s.dim; ++i) {
    EXPECT_EQ(rows[static_cast<size_t>(i)], table.row_of(10)[static_cast<size_t>(i)]);
    EXPECT_TRUE(std::isnan(rows[static_cast<size_t>(s.dim + i)]));
  }
}

// The CPU takes keys in blocks and copies rows of some whole lines without a loop: every length about a block, every way of a row,
// with and without keys that are not there.
TEST_P(HashTable, lookups_of_any_length_and_row_width) {
  Rig rig(GetParam());
  uint64_t seed = 20;
  for (const auto &[dim, padding] : {std::pair<int64_t, int64_t>{16, 0}, {32, 0}, {32, 16}, {32, 1}, {40, 0}, {64, 0}, {128, 0}, {200, 0}}) {
    Shape s;
    s.capacity = 180;  // as full as may be: many keys lie in their second bucket
    s.dim = dim;
    s.padding = padding;
    s.missing = JD_MISSING_REPORT;
    s.bounds = JD_BOUNDS_ZERO;
    Table table(rig, s);
    Random random(seed++);
    Keys present;
    for (int64_t i = 0; i < s.capacity; ++i) present.push_back(i * 1000003 - 77);
    const std::vector<double> rows = table.rows_of(present);
    table.insert(present, rows);
    for (const int64_t n : {1, 7, 8, 9, 63, 64, 65, 127, 129, 193}) {
      for (const bool all : {true, false}) {
        Keys asked;
        std::vector<double> expected;
        int64_t missing = 0;
        for (int64_t i = 0; i < n; ++i) {
          const int64_t at = random.integer(0, s.capacity - 1), kind = all ? 0 : random.integer(0, 5);
          asked.push_back(kind == 4 ? -1 : kind == 5 ? present[static_cast<size_t>(at)] + 1 : present[static_cast<size_t>(at)]);
          missing += kind == 5;
          for (int64_t d = 0; d < dim; ++d) expected.push_back(kind < 4 ? rows[static_cast<size_t>(at * dim + d)] : 0.0);
        }
        const Table::Result found = table.lookup(asked);
        EXPECT_EQ(found.rows, expected) << n << " keys x " << dim;
        const Keys keys = table.table_keys();
        for (size_t i = 0; i < asked.size(); ++i) {
          const bool there = asked[i] != -1 && std::find(present.begin(), present.end(), asked[i]) != present.end();
          ASSERT_EQ(found.outcomes[i], there ? JD_HASH_ASSIGNED : JD_HASH_MISSING);
          ASSERT_EQ(found.slots[i] >= 0, there);
          if (there) {
            ASSERT_EQ(keys[static_cast<size_t>(found.slots[i])], asked[i]);
          }
        }
        int64_t skipped = 0;
        Error error;
        rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
        EXPECT_EQ(skipped, missing) << n << " keys x " << dim;
      }
    }
  }
}

TEST_P(HashTable, a_key_is_admitted_on_its_nth_sight) {
  Rig rig(GetParam());
  Shape s;
  s.capacity = 1000;
  s.admission = 3;
  Table table(rig, s);
  const Keys keys = {11, 12, 13, 12};
  EXPECT_EQ(table.insert(keys, table.rows_of(keys)).outcomes, Keys(4, JD_HASH_NOT_ADMITTED));
  EXPECT_EQ(table.insert(keys, table.rows_of(keys)).outcomes,
            (Keys{JD_HASH_NOT_ADMITTED, JD_HASH_INSERTED, JD_HASH_NOT_ADMITTED, JD_HASH_ASSIGNED}));
  EXPECT_EQ(table.insert(keys, table.rows_of(keys)).outcomes,
            (Keys{JD_HASH_INSERTED, JD_HASH_ASSIGNED, JD_HASH_INSERTED, JD_HASH_ASSIGNED}));
  EXPECT_EQ(table.count(), 3);
}

// Of keys that come once each hardly any is admitted, after however many others; one that is asked for now is.
TEST_P(HashTable, keys_that_come_once_are_kept_out_for_ever) {
  Rig rig(GetParam());
  for (const int32_t admission : {2, 3, 10}) {
    Shape s;
    s.capacity = rig.scaled(2000, 200);
    s.dim = 1;
    s.admission = admission;
    s.eviction = JD_EVICT_LRU;
    Table table(rig, s);
    // Every counter would be above any admission after twice as many sights.
    const int64_t calls = rig.scaled(60, 24), each = s.capacity / 4;
    int64_t tick = 0, admitted = 0, key = 1000000, late = 0;
    for (int64_t call = 0; call < calls; ++call) {
      Keys keys;
      for (int64_t i = 0; i < each; ++i) keys.push_back(++key);
      for (const int64_t outcome : table.insert(keys, std::vector<double>(keys.size(), 1.0), ++tick).outcomes) {
        admitted += outcome != JD_HASH_NOT_ADMITTED;
      }
      if (call % 6 != 5) continue;
      const Keys wanted(static_cast<size_t>(admission), -call);
      late += table.insert(wanted, std::vector<double>(wanted.size(), 1.0), ++tick).outcomes.back() == JD_HASH_NOT_ADMITTED;
    }
    EXPECT_LT(static_cast<double>(admitted), 0.07 * static_cast<double>(calls * each)) << admission;
    EXPECT_LE(late, 1) << "of " << calls / 6 << ", where its counter was halved just then";
  }
}

// A snapshot may bring any: each write stays in the partition, and after eight times the time of a counter all is forgotten.
TEST_P(HashTable, sights_of_any_value_are_forgotten) {
  Rig rig(GetParam());
  for (const int64_t capacity : {int64_t{10}, int64_t{200}}) {
    Shape s;
    s.capacity = capacity;
    s.dim = 1;
    s.admission = 2;
    s.eviction = JD_EVICT_LRU;
    Table table(rig, s);
    Error error;
    rig.check(jd_tensor_fill(rig.stream, table.sights, 0xff, &error), error);
    int64_t key = 0, admitted = 0;
    const int64_t calls = 40, each = table.slots / 4;
    for (int64_t call = 0; call < calls; ++call) {
      Keys keys;
      for (int64_t i = 0; i < each; ++i) keys.push_back(++key);
      for (const int64_t outcome : table.insert(keys, std::vector<double>(keys.size(), 1.0), call).outcomes) {
        if (call == 0) {
          EXPECT_NE(outcome, JD_HASH_NOT_ADMITTED);
        }
        admitted += call >= calls / 2 && outcome != JD_HASH_NOT_ADMITTED;
      }
    }
    EXPECT_LT(static_cast<double>(admitted), 0.12 * static_cast<double>(calls / 2 * each)) << capacity;
  }
}

// Of the keys that share one of a new key's buckets the one with the least score goes, and no other; by LRU that of the second bucket only where
// it was not used for half as long again. By LFU the new one begins one above that, and the others are at most 16 above it from then on.
TEST_P(HashTable, the_least_score_of_sixteen_makes_room) {
  Rig rig(GetParam());
  for (const int32_t eviction : {JD_EVICT_LRU, JD_EVICT_LFU, JD_EVICT_SCORE}) {
    Shape s;
    s.capacity = 60;
    s.dim = 4;
    s.eviction = eviction;
    Table table(rig, s);
    const hashing::Geometry geometry(table.slots);
    Random random(static_cast<uint64_t>(eviction));
    int replaced = 0, refused = 0, in_first = 0, in_second = 0, cut = 0;
    for (int64_t tick = 1; tick < 400; ++tick) {
      if (eviction == JD_EVICT_LFU && tick % 4 == 0) table.lookup(Keys(9, random.integer(0, 20) * 13), tick);  // some are popular
      const Keys key = {random.integer(0, 300) * 13};
      const int64_t drawn = random.integer(0, 1000);
      const Keys scores = {drawn < 30 ? INT64_MIN : drawn > 970 ? INT64_MAX : drawn};
      const Keys keys_before = table.table_keys(), scores_before = table.table_scores();
      const bool known = std::find(keys_before.begin(), keys_before.end(), key[0]) != keys_before.end();
      const Table::Result r = table.insert(key, table.rows_of(key), tick, scores);
      const hashing::Places places = geometry.places(key[0]);
      int64_t least_of[2] = {INT64_MAX, INT64_MAX};
      bool room = false;
      for (int side = 0; side < 2; ++side) {
        for (int64_t slot = places.bucket[side] * 8; slot < places.bucket[side] * 8 + 8; ++slot) {
          room |= keys_before[static_cast<size_t>(slot)] == -1;
          least_of[side] = std::min(least_of[side], scores_before[static_cast<size_t>(slot)]);
        }
      }
      const bool second = eviction == JD_EVICT_LRU && !room ? 2 * (tick - least_of[1]) > 3 * (tick - least_of[0]) : least_of[1] < least_of[0];
      const int64_t least = least_of[second ? 1 : 0];
      const bool ages = eviction == JD_EVICT_LFU && !known && !room;
      const int64_t new_score = eviction == JD_EVICT_LRU ? tick : ages ? least + 1 : eviction == JD_EVICT_LFU ? 1 : scores[0];
      if (known) {
        EXPECT_EQ(r.outcomes[0], JD_HASH_ASSIGNED);
      } else if (room) {
        EXPECT_EQ(r.outcomes[0], JD_HASH_INSERTED);
      } else if (least > new_score) {
        EXPECT_EQ(r.outcomes[0], JD_HASH_REFUSED);
        EXPECT_EQ(r.message, "") << "a score too low is no fault";
        ++refused;
      } else {
        ASSERT_EQ(r.outcomes[0], JD_HASH_REPLACED);
        EXPECT_EQ(keys_before[static_cast<size_t>(r.slots[0])], r.evicted[0]);
        EXPECT_EQ(scores_before[static_cast<size_t>(r.slots[0])], least);
        EXPECT_EQ(r.slots[0] / 8, places.bucket[second ? 1 : 0]);
        ++(second ? in_second : in_first);
        EXPECT_EQ(table.lookup(r.evicted, tick).outcomes[0], JD_HASH_MISSING);
        ++replaced;
      }
      const Keys scores_after = table.table_scores();
      for (int64_t slot = 0; slot < table.slots; ++slot) {
        const auto i = static_cast<size_t>(slot);
        const bool competes = slot / 8 == places.bucket[0] || slot / 8 == places.bucket[1];
        if (slot == r.slots[0]) {
          EXPECT_EQ(scores_after[i], !known ? new_score : eviction == JD_EVICT_LFU ? scores_before[i] + 1 : new_score);
        } else {
          EXPECT_EQ(scores_after[i], ages && competes ? std::min(scores_before[i], least + 16) : scores_before[i]);
          cut += scores_after[i] != scores_before[i];
        }
      }
    }
    EXPECT_GT(replaced, 20);
    EXPECT_GT(in_first, in_second);
    EXPECT_GT(in_second, 3);
    EXPECT_EQ(refused > 20, eviction == JD_EVICT_SCORE);
    EXPECT_EQ(refused > 0, eviction == JD_EVICT_SCORE);
    EXPECT_EQ(cut > 3, eviction == JD_EVICT_LFU);
    EXPECT_LE(table.count(), table.slots);
  }
}

TEST_P(HashTable, lookups_keep_keys_in_the_table) {
  Rig rig(GetParam());
  for (const int32_t eviction : {JD_EVICT_LRU, JD_EVICT_LFU}) {
    Shape s;
    s.capacity = 12;
    s.dim = 4;
    s.eviction = eviction;
    Table table(rig, s);  // one pair of buckets: all keys compete
    ASSERT_EQ(table.slots, 16);
    const Keys hot = {100, 200, 300};
    table.insert(hot, table.rows_of(hot), 1);
    for (int64_t tick = 2; tick < 60; ++tick) {
      const Keys cold = {tick * 1000 + 1};
      table.insert(cold, table.rows_of(cold), tick);
      const Table::Result found = table.lookup({300, 100, 200, 100}, tick);
      EXPECT_EQ(found.outcomes, Keys(4, JD_HASH_ASSIGNED)) << "tick " << tick;
      if (eviction == JD_EVICT_LFU && tick <= 14) {  // while there is room, the uses
        EXPECT_EQ(table.table_scores()[static_cast<size_t>(found.slots[1])], 1 + 2 * (tick - 1));
      }
    }
  }
}

// Hundreds of uses of every key, and then all of them are of no use any more: others take their places, under LFU as under LRU.
TEST_P(HashTable, a_cache_follows_what_is_popular) {
  Rig rig(GetParam());
  for (const int32_t eviction : {JD_EVICT_LRU, JD_EVICT_LFU}) {
    Shape s;
    s.capacity = rig.scaled(1000, 60);
    s.dim = 1;
    s.eviction = eviction;
    Table table(rig, s);
    Random random(4);
    int64_t tick = 0;
    // Lookups of keys in a random order, and insertions of those that were missing; gives the share of the others.
    const auto use = [&](const Keys &popular) {
      Keys asked = popular, missing;
      for (size_t i = asked.size(); i > 1; --i) std::swap(asked[i - 1], asked[static_cast<size_t>(random.integer(0, static_cast<int64_t>(i) - 1))]);
      const Table::Result found = table.lookup(asked, ++tick);
      for (size_t i = 0; i < asked.size(); ++i) {
        if (found.outcomes[i] == JD_HASH_MISSING) missing.push_back(asked[i]);
      }
      table.insert(missing, std::vector<double>(missing.size(), 1.0), ++tick);
      return 1 - static_cast<double>(missing.size()) / static_cast<double>(asked.size());
    };
    const Keys before = key_set(1, s.capacity * 3 / 4, 1), after = key_set(1, s.capacity * 3 / 4, 2);
    for (int round = 0; round < 10; ++round) use(before);
    EXPECT_GT(use(before), 0.97);
    for (int round = 0; round < rig.scaled(400, 60); ++round) table.lookup(before, ++tick);
    EXPECT_LT(use(after), 0.01);
    for (int round = 0; round < 40; ++round) use(after);
    EXPECT_GT(use(after), 0.95) << "eviction " << eviction;
  }
}

// Splitting a call, and another device, change nothing: the table is a function of the keys in their order.
TEST_P(HashTable, the_table_depends_on_the_order_of_keys_alone) {
  Rig rig(GetParam()), reference("cpu", 1);
  for (const auto &[eviction, admission] : {std::pair{JD_EVICT_NONE, 1}, {JD_EVICT_SCORE, 1}, {JD_EVICT_LFU, 1}, {JD_EVICT_LFU, 2}}) {
    Shape s;
    s.admission = admission;
    s.capacity = rig.scaled(40000, 300);
    s.dim = 2;
    s.eviction = eviction;
    s.bounds = JD_BOUNDS_ZERO;
    Table whole(rig, s), split(rig, s), other(reference, s);
    Random random(8);
    Keys keys, scores;
    for (int64_t i = 0; i < s.capacity * (eviction ? 2 * admission : 1); ++i) {
      keys.push_back(random.integer(0, 3 * s.capacity));
      scores.push_back(random.integer(0, 50));
    }
    const std::vector<double> values = whole.rows_of(keys);
    whole.insert(keys, values, 0, scores);
    other.insert(keys, values, 0, scores);
    for (size_t at = 0; at < keys.size();) {
      const size_t end = std::min(keys.size(), at + static_cast<size_t>(random.integer(1, s.capacity)));
      split.insert(Keys(keys.begin() + at, keys.begin() + end), {values.begin() + at * 2, values.begin() + end * 2}, 0,
                   Keys(scores.begin() + at, scores.begin() + end));
      at = end;
    }
    EXPECT_EQ(whole.table_keys(), split.table_keys());
    EXPECT_EQ(whole.table_keys(), other.table_keys());
    EXPECT_EQ(whole.count(), split.count());
    for (Table *same : {&split, &other}) {
      if (eviction != JD_EVICT_NONE) {
        EXPECT_EQ(whole.table_scores(), same->table_scores());
      }
      if (admission > 1) {
        EXPECT_EQ(whole.table_sights(), same->table_sights());
      }
    }
    const Table::Result a = whole.lookup(keys), b = split.lookup(keys);
    EXPECT_EQ(a.slots, b.slots);
    EXPECT_EQ(a.rows, b.rows);
  }
}

TEST_P(HashTable, writers_of_several_partitions) {
  Rig rig(GetParam());
  Shape s;
  s.capacity = 60000;
  s.dim = 1;
  Table table(rig, s);
  EXPECT_GT(hashing::Geometry(table.slots).partitions, 2);
  Random random(5);
  const Keys keys = random_keys(random, 700, 300), gone(keys.begin(), keys.begin() + 50);
  table.insert(keys, table.rows_of(keys));
  table.erase(gone);
  std::map<int64_t, int> left;
  for (const int64_t key : keys) left[key] = 1;
  for (const int64_t key : gone) left.erase(key);
  EXPECT_EQ(table.count(), static_cast<int64_t>(left.size()));
  const Table::Result found = table.lookup(keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(found.outcomes[i], left.count(keys[i]) ? JD_HASH_ASSIGNED : JD_HASH_MISSING);
  }
}

TEST_P(HashTable, calls_without_keys) {
  Rig rig(GetParam());
  Table table(rig, Shape{});
  EXPECT_EQ(table.insert({}, {}).status, JD_OK);
  EXPECT_EQ(table.lookup({}).status, JD_OK);
  EXPECT_EQ(table.erase({}).status, JD_OK);
  EXPECT_EQ(table.count(), 0);
}

TEST(HashGeometry, slots_of_a_capacity) {
  EXPECT_EQ(jd_hash_table_slots(0), 0);
  EXPECT_EQ(jd_hash_table_slots(-5), 0);
  EXPECT_EQ(jd_hash_table_slots((int64_t{1} << 40) + 1), 0);
  for (const int64_t capacity : {int64_t{1}, int64_t{7}, int64_t{1000}, int64_t{31129}, int64_t{31130}, int64_t{1000000}, int64_t{123456789},
                                 int64_t{1} << 40}) {
    const int64_t slots = jd_hash_table_slots(capacity);
    EXPECT_TRUE(hashing::Geometry::is_valid(slots)) << capacity;
    EXPECT_LE(static_cast<double>(capacity), 0.95 * static_cast<double>(slots));
    if (capacity > 10000) {
      EXPECT_GT(static_cast<double>(capacity), 0.9245 * static_cast<double>(slots)) << capacity;
    }
  }
  // The keys of a partition are their share, give or take its root: 8.6 times that is more than any of 10^8 partitions gets.
  for (int64_t capacity = 31000; capacity < int64_t{1} << 40; capacity += capacity / 7) {
    const hashing::Geometry geometry(jd_hash_table_slots(capacity));
    if (geometry.partitions == 1) continue;
    const double share = static_cast<double>(capacity) / static_cast<double>(geometry.partitions);
    EXPECT_GT(0.99 * 8 * static_cast<double>(geometry.buckets_each), share + 8.6 * std::sqrt(share)) << capacity;
  }
  EXPECT_FALSE(hashing::Geometry::is_valid(8));
  EXPECT_FALSE(hashing::Geometry::is_valid(20));
}

TEST(HashGeometry, products_of_32_bits_scale_as_those_of_64_do) {
  Random random(6);
  for (int i = 0; i < 100000; ++i) {
    const auto x = static_cast<uint64_t>(random.integer(INT64_MIN, INT64_MAX)) | (i % 7 == 0 ? ~uint64_t{0} << (i % 64) : 0);
    const auto n = static_cast<uint64_t>(random.integer(0, (int64_t{1} << (1 + i % 32)) - 1));
    ASSERT_EQ(hashing::scaled_to_32_bits(x, n), hashing::scaled(x, n)) << x << " " << n;
  }
  EXPECT_EQ(hashing::scaled_to_32_bits(~uint64_t{0}, 0xffffffff), 0xfffffffeu);
}

TEST(HashGeometry, two_buckets_of_one_partition) {
  const hashing::Geometry geometry(jd_hash_table_slots(200000));
  EXPECT_GT(geometry.partitions, 5);
  Random random(3);
  std::map<int64_t, int64_t> keys_of_partition;
  for (int i = 0; i < 20000; ++i) {
    const hashing::Places p = geometry.places(random.integer(INT64_MIN, INT64_MAX));
    EXPECT_NE(p.bucket[0], p.bucket[1]);
    for (const int64_t bucket : p.bucket) EXPECT_EQ(bucket / geometry.buckets_each, p.partition);
    ++keys_of_partition[p.partition];
  }
  for (const auto &[partition, count] : keys_of_partition) {
    EXPECT_NEAR(static_cast<double>(count), 20000.0 / static_cast<double>(geometry.partitions), 300) << partition;
  }
}

// What a snapshot is looked through by is where tables put their keys: moved about in full ones, of one partition and of several.
TEST_P(HashTable, keys_lie_in_the_buckets_that_are_said) {
  Rig rig(GetParam());
  for (const int64_t capacity : {int64_t{100}, rig.fast() ? int64_t{60000} : int64_t{1000}}) {
    Shape s;
    s.capacity = capacity;
    s.dim = 1;
    Table table(rig, s);
    Random random(capacity);
    Keys keys(static_cast<size_t>(capacity)), buckets(2 * keys.size());
    for (int64_t &key : keys) key = random.integer(INT64_MIN, INT64_MAX);
    const Table::Result inserted = table.insert(keys, std::vector<double>(keys.size(), 1.0));
    ASSERT_EQ(inserted.status, JD_OK) << inserted.message;
    ASSERT_EQ(jd_hash_table_buckets(table.slots, capacity, keys.data(), buckets.data()), table.slots / 8);
    const Keys slots = table.lookup(keys).slots;
    int64_t in_second = 0;
    for (size_t i = 0; i < keys.size(); ++i) {
      const int64_t bucket = slots[i] / 8;
      ASSERT_TRUE(bucket == buckets[2 * i] || bucket == buckets[2 * i + 1]) << keys[i] << " in " << bucket;
      in_second += bucket != buckets[2 * i];
    }
    EXPECT_GT(in_second, 0) << "both sides are tried";
  }
}

TEST(HashGeometry, buckets_of_no_table) {
  const int64_t key = 5;
  int64_t buckets[] = {-7, -7};
  for (const int64_t slots : {int64_t{-16}, int64_t{0}, int64_t{8}, int64_t{20}, int64_t{16384 * 3 + 8}, INT64_MIN, INT64_MAX}) {
    EXPECT_EQ(jd_hash_table_buckets(slots, 1, &key, buckets), 0) << slots;
  }
  EXPECT_EQ(jd_hash_table_buckets(16, -1, &key, buckets), 0);
  EXPECT_EQ(jd_hash_table_buckets(16, 1, nullptr, buckets), 0);
  EXPECT_EQ(jd_hash_table_buckets(16, 1, &key, nullptr), 0);
  EXPECT_EQ(jd_hash_table_buckets(16, 0, nullptr, nullptr), 2);
  EXPECT_EQ(jd_hash_table_buckets(105264, 0, nullptr, nullptr), 105264 / 8) << "of 100,000 keys in an earlier version";
  EXPECT_EQ(buckets[0], -7);
  EXPECT_EQ(jd_hash_table_buckets(16, 1, &key, buckets), 2);
  EXPECT_EQ(buckets[0] + buckets[1], 1) << "both of two";
}

JD_INSTANTIATE_ON_DEVICES(HashTable);

}  // namespace
}  // namespace jindou::testing
