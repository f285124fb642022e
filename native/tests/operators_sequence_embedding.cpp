// sequence_embedding through the C ABI against its float64 reference.
#include "operators_support.h"
#include "reference/embedding_rows.h"
#include "reference/sequence_embedding.h"

namespace jindou::testing {
namespace {

using reference::rows_of_codes;
using reference::RowsOfCodes;
using reference::sequence_embedding;
using reference::SequenceEmbeddingCase;
using reference::SequenceTable;

struct Table {
  int64_t rows, dim;
  int32_t dtype = JD_F32;           // of numbers
  int32_t format = JD_ROWS_PLAIN;   // or codes
  int64_t padding = 0;              // between rows: elements, bytes of codes
};

class SequenceEmbedding : public ::testing::TestWithParam<std::string> {
 protected:
  struct Options {
    int32_t index_dtype = JD_I64, offset_dtype = JD_I64, out_dtype = JD_F32, bounds = JD_BOUNDS_STRICT, place_dtype = JD_F32;
    int64_t padding = 0;  // of out, of ids and of the place tables
    jd_tensor positions = 0, times = 0;  // instead of tables of place_dtype: rows of codes
    int32_t position_format = JD_ROWS_PLAIN, time_format = JD_ROWS_PLAIN;
  };
  struct Tables {
    std::vector<jd_tensor> tensors;
    std::vector<int32_t> formats, dims;
  };
  struct Result {
    std::vector<double> out;
    std::vector<uint32_t> bits;
    jd_status status = JD_OK;
    Error error;
    int64_t skipped = 0;
  };

  static Tables make(Rig &rig, SequenceEmbeddingCase &c, const std::vector<Table> &tables, uint64_t seed) {
    Tables made;
    c.tables.clear();
    for (const Table &t : tables) {
      if (t.format == JD_ROWS_PLAIN && t.dtype != JD_F8_E4M3) {
        Random random(seed++);
        const auto values = random.values(t.rows * t.dim, t.dtype);
        made.tensors.push_back(rig.tensor(t.dtype, {t.rows, t.dim}, values, t.padding));
        c.tables.push_back({t.rows, t.dim, values});
      } else {
        const RowsOfCodes rows = rows_of_codes(t.format, t.rows, t.dim, t.padding, seed++);
        jd_tensor table = rig.bytes(t.format == JD_ROWS_PLAIN ? JD_F8_E4M3 : JD_U8, {t.rows, rows.row_bytes}, rows.bytes);
        if (t.format == JD_ROWS_PLAIN) table = rig.view(table, {t.rows, t.dim}, {rows.row_bytes, 1});
        made.tensors.push_back(table);
        c.tables.push_back({t.rows, t.dim, rows.values});
      }
      made.formats.push_back(t.format);
      made.dims.push_back(static_cast<int32_t>(t.dim));
    }
    return made;
  }

  // Sequences of these lengths, with ids of the case's tables.
  static void fill(SequenceEmbeddingCase &c, const std::vector<int64_t> &lengths, uint64_t seed) {
    Random random(seed);
    c.offsets = offsets_of(lengths);
    c.ids.clear();
    for (const SequenceTable &t : c.tables) {
      for (int64_t i = 0; i < c.total(); ++i) c.ids.push_back(random.integer(0, t.rows - 1));
    }
  }

  // Position and time tables, targets and falling distances to the last event.
  static void place(SequenceEmbeddingCase &c, int64_t positions, int64_t buckets, int32_t dtype, uint64_t seed) {
    Random random(seed);
    if (positions) c.positions = {positions, c.width(), random.values(positions * c.width(), dtype)};
    if (!buckets) return;
    c.times = {buckets, c.width(), random.values(buckets * c.width(), dtype)};
    c.timestamps.clear();
    for (size_t b = 0; b + 1 < c.offsets.size(); ++b) {
      int64_t now = random.integer(1600000000, 1700000000);
      std::vector<int64_t> times;
      for (int64_t i = c.offsets[b]; i < c.offsets[b + 1]; ++i) {
        times.push_back(now);
        now -= random.integer(0, 3) == 0 ? random.integer(-30, 100000) : random.integer(0, 90);
      }
      c.timestamps.insert(c.timestamps.end(), times.rbegin(), times.rend());
    }
  }

  // Of all 64 bits, which Rig::integers does not keep.
  static jd_tensor times(Rig &rig, const std::vector<int64_t> &values) {
    std::vector<uint8_t> bytes(8 * values.size());
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return rig.bytes(JD_I64, {static_cast<int64_t>(values.size())}, bytes);
  }

  static Result run(Rig &rig, const SequenceEmbeddingCase &c, const Tables &tables, const Options &o) {
    jd_sequence_embedding_desc d{};
    d.struct_size = sizeof d;
    d.num_tables = static_cast<int32_t>(tables.tensors.size());
    d.tables = tables.tensors.data();
    d.row_formats = tables.formats.data();
    d.dims = tables.dims.data();
    d.combine = c.summed ? JD_SEQUENCE_SUM : JD_SEQUENCE_CONCAT;
    d.bounds = o.bounds;
    d.index_dtype = o.index_dtype;
    d.offset_dtype = o.offset_dtype;
    d.out_dtype = o.out_dtype;
    d.has_padding_id = c.padding_id ? 1 : 0;
    d.padding_id = c.padding_id.value_or(0);
    const int64_t width = c.width(), total = c.total(), batch = static_cast<int64_t>(c.offsets.size()) - 1;
    d.position_table = o.positions;
    d.time_table = o.times;
    d.position_format = o.position_format;
    d.time_format = o.time_format;
    const auto numbers = [&](const SequenceTable &t) { return rig.tensor(o.place_dtype, {t.rows, width}, t.values, o.padding); };
    if (c.positions.rows && !o.positions) d.position_table = numbers(c.positions);
    if (c.times.rows && !o.times) d.time_table = numbers(c.times);
    d.scale = static_cast<float>(c.scale);
    d.position_mode = c.position_mode;
    d.contextual_len = static_cast<int32_t>(c.contextual_len);
    d.time_function = c.time_function;
    d.max_time_bucket = static_cast<int32_t>(c.max_time_bucket);
    d.has_num_targets = !c.num_targets.empty();
    d.has_query_times = !c.query_times.empty();
    d.time_unit = c.time_unit;
    d.max_batch = batch;
    d.max_events = total;
    Error error;
    jd_plan plan = 0;
    rig.check(jd_sequence_embedding_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_sequence_embedding_args a{};
    a.struct_size = sizeof a;
    a.ids = rig.tensor(o.index_dtype, {d.num_tables, total}, std::vector<double>(c.ids.begin(), c.ids.end()), o.padding ? 3 : 0);
    a.offsets = rig.integers(o.offset_dtype, c.offsets);
    if (!c.timestamps.empty()) a.timestamps = times(rig, c.timestamps);
    if (c.times.rows && c.timestamps.empty()) a.timestamps = rig.integers(JD_I64, {});
    if (d.has_query_times) a.query_times = times(rig, c.query_times);
    if (d.has_num_targets) a.num_targets = rig.integers(JD_I32, c.num_targets);
    const int64_t out_padding = o.padding + (o.out_dtype == JD_F32 ? 0 : (8 - (width + o.padding) % 8) % 8);
    a.out = rig.poisoned(o.out_dtype, {total, width}, out_padding);
    Result r;
    r.status = jd_sequence_embedding_run(plan, rig.stream, &a, &r.error);
    if (r.status == JD_OK) r.status = jd_stream_synchronize(rig.stream, &r.error);
    jd_stream_take_skipped(rig.stream, &r.skipped, nullptr);
    bool gaps_intact = false;
    r.bits = rig.bits(a.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact);
    r.out = rig.read(a.out);
    return r;
  }

  static void compare(Rig &rig, const SequenceEmbeddingCase &c, const Tables &tables, const Options &o, const std::string &what) {
    const Result got = run(rig, c, tables, o);
    EXPECT_EQ(got.status, JD_OK) << what << ": " << got.error.message;
    expect_result(c, got, o, what);
  }
  static void expect_result(const SequenceEmbeddingCase &c, const Result &got, const Options &o, const std::string &what) {
    const auto expected = sequence_embedding(c);
    expect_near(got.out, expected.out, [&](size_t i) {
      return tolerance::sum(static_cast<int64_t>(c.tables.size()) + 2, expected.terms[i], expected.out[i], o.out_dtype);
    }, what);
  }
};

TEST_P(SequenceEmbedding, tables_side_by_side_and_summed_around_every_block) {
  Rig rig(GetParam());
  for (const int64_t dim : {4, 12, 32, 36, 64, 128, 132}) {
    for (const std::vector<int64_t> &lengths : std::vector<std::vector<int64_t>>{
             {1}, {7}, {8}, {9}, {0, 3, 0, 0, 13, 1, 0}, {63}, {64}, {65}, {rig.scaled(1009, 61)}}) {
      for (const bool summed : {false, true}) {
        if (!rig.fast() && (dim + static_cast<int64_t>(lengths.size()) + summed) % 3 != 0) continue;
        SequenceEmbeddingCase c;
        const Tables tables = make(rig, c, {{50, dim}, {20, summed ? dim : 8}, {1, summed ? dim : 4}}, dim);
        c.summed = summed;
        fill(c, lengths, dim);
        compare(rig, c, tables, {}, std::to_string(dim) + ", " + std::to_string(c.total()) + " events");
      }
    }
  }
}

TEST_P(SequenceEmbedding, every_row_format_and_dtype) {
  Rig rig(GetParam());
  const std::vector<Table> all = {{30, 16, JD_F32},
                                  {30, 12, JD_F16},
                                  {30, 20, JD_BF16, JD_ROWS_PLAIN, 4},
                                  {30, 8, JD_F8_E4M3, JD_ROWS_PLAIN, 4},
                                  {30, 24, 0, JD_ROWS_INT8},
                                  {30, 12, 0, JD_ROWS_INT8, 3},
                                  {30, 16, 0, JD_ROWS_INT4},
                                  {30, 16, 0, JD_ROWS_INT2, 8},
                                  {30, 8, 0, JD_ROWS_INT8_FLOAT},
                                  {30, 16, 0, JD_ROWS_INT4_LAST, 1},
                                  {30, 16, 0, JD_ROWS_INT2_LAST},
                                  {30, 20, 0, JD_ROWS_E4M3}};
  for (const int32_t out : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t index : {JD_I32, JD_I64}) {
      for (const int32_t offset : {JD_I32, JD_I64}) {
        if (index != offset && out != JD_F32) continue;
        SequenceEmbeddingCase c;
        const Tables tables = make(rig, c, all, 7);
        fill(c, {5, 0, 12, rig.scaled(90, 3)}, 1);
        place(c, 20, 30, out, 2);
        Options o;
        o.out_dtype = o.place_dtype = out;
        o.index_dtype = index;
        o.offset_dtype = offset;
        compare(rig, c, tables, o, "side by side");
      }
    }
  }
  // Each alone, and summed with a twin of f32.
  for (const Table &t : all) {
    SequenceEmbeddingCase c;
    const Tables tables = make(rig, c, {{9, t.dim}, t}, 11);
    c.summed = true;
    fill(c, {17, 2}, 3);
    Options o;
    o.padding = 8;
    place(c, 5, 6, JD_F32, 4);
    compare(rig, c, tables, o, "summed, format " + std::to_string(t.format) + ", dtype " + std::to_string(t.dtype));
  }
}

// Position and time tables of codes, of formats apart, at any address and with rows of any length; one of them alone; as wide as a row of
// out may be.
TEST_P(SequenceEmbedding, positions_and_times_of_every_row_format) {
  Rig rig(GetParam(), 3);
  const std::vector<int32_t> formats = {JD_ROWS_PLAIN,      JD_ROWS_INT8,      JD_ROWS_INT4,      JD_ROWS_INT2,
                                        JD_ROWS_INT8_FLOAT, JD_ROWS_INT4_LAST, JD_ROWS_INT2_LAST, JD_ROWS_E4M3};
  for (size_t i = 0; i < formats.size(); ++i) {
    for (const int64_t dim : {4, 20, 64, 2048}) {
      const bool widest = dim == 2048;  // four such tables are the 8192 columns that a row of out may have
      if (widest && i % 3 != 1) continue;
      SequenceEmbeddingCase c;
      std::vector<Table> shapes(4, {5, dim});
      if (!widest) shapes = {{40, dim}, {9, 8}};
      const Tables tables = make(rig, c, shapes, 31);
      c.position_mode = i % 2 ? JD_POSITION_FROM_END : JD_POSITION_FROM_START;
      c.scale = 1.5;
      fill(c, widest ? std::vector<int64_t>{3, 1} : std::vector<int64_t>{11, 0, 1, rig.scaled(150, 22)}, 32);
      place(c, 13, 17, JD_F32, 33);
      Options o;
      o.out_dtype = std::array{JD_F32, JD_F16, JD_BF16}[i % 3];
      const auto codes = [&](SequenceTable &t, int32_t format, int64_t padding, uint64_t seed) {
        const RowsOfCodes rows = rows_of_codes(format, t.rows, c.width(), padding, seed);
        t.values = rows.values;
        if (format != JD_ROWS_PLAIN) return rig.bytes(JD_U8, {t.rows, rows.row_bytes}, rows.bytes);
        return rig.view(rig.bytes(JD_F8_E4M3, {t.rows, rows.row_bytes}, rows.bytes), {t.rows, c.width()}, {rows.row_bytes, 1});
      };
      const std::string what = "format " + std::to_string(formats[i]) + ", dim " + std::to_string(dim);
      o.position_format = formats[i];
      o.positions = codes(c.positions, formats[i], formats[i] == JD_ROWS_PLAIN ? 4 : dim == 20 ? 3 : 4, 34);
      compare(rig, c, tables, o, what + ", times of numbers");
      o.time_format = formats[(i + 3) % formats.size()];
      o.times = codes(c.times, o.time_format, dim == 64 ? 8 : 0, 35);
      compare(rig, c, tables, o, what + ", both");
      o.positions = 0;
      o.position_format = JD_ROWS_PLAIN;
      c.positions = {};
      compare(rig, c, tables, o, what + ", times alone");
    }
  }
}

TEST_P(SequenceEmbedding, positions_and_buckets) {
  Rig rig(GetParam());
  for (const int32_t mode : {JD_POSITION_FROM_START, JD_POSITION_FROM_END}) {
    for (const int32_t function : {JD_TIME_SQRT, JD_TIME_LOG}) {
      for (const int64_t contextual : {0, 3}) {
        for (const bool targets : {false, true}) {
          for (const bool queries : {false, true}) {
            for (const int64_t positions : {1, 9, 300}) {  // cut at both ends
              SequenceEmbeddingCase c;
              const Tables tables = make(rig, c, {{40, 8}, {40, 8}}, 5);
              c.summed = targets;
              c.position_mode = mode;
              c.time_function = function;
              c.contextual_len = contextual;
              c.scale = 2.5;
              const std::vector<int64_t> lengths = {17, 0, 1, 4, rig.scaled(130, 20)};
              fill(c, lengths, 6);
              place(c, positions, positions == 9 ? 12 : 2049, JD_F32, 7 + positions);
              if (positions == 300) c.max_time_bucket = 31;
              if (targets) c.num_targets = {4, 0, 1, 4, 7};
              if (queries) {
                for (size_t b = 0; b < lengths.size(); ++b) c.query_times.push_back(1650000000 + static_cast<int64_t>(b) * 1000000);
              }
              compare(rig, c, tables, {}, "positions " + std::to_string(positions) + ", mode " + std::to_string(mode));
              if (!rig.fast()) break;
            }
          }
        }
      }
    }
  }
}

TEST_P(SequenceEmbedding, buckets_are_exact_where_they_begin) {
  Rig rig(GetParam());
  for (const int32_t function : {JD_TIME_SQRT, JD_TIME_LOG}) {
    for (const int64_t unit : {1, 60, 86400}) {
      SequenceEmbeddingCase c;
      c.time_function = function;
      c.time_unit = unit;
      const Tables tables = make(rig, c, {{1, 4}}, 8);
      std::vector<int64_t> distances = {0, 1, -5, std::numeric_limits<int64_t>::max() / 4};
      for (int64_t b = 1; b < 40; ++b) {
        const int64_t begin = function == JD_TIME_SQRT
                                  ? b * b * b * b * unit
                                  : static_cast<int64_t>(std::ceil(static_cast<double>(unit) * std::exp(std::min<int64_t>(b, 30))));
        if (begin > int64_t{1} << 41) continue;  // the reference's logarithm would not tell neighbours apart
        for (const int64_t around : {-1, 0, 1}) distances.push_back(begin + around);
      }
      fill(c, {static_cast<int64_t>(distances.size())}, 9);
      c.times = {3000, 4, {}};
      for (int64_t i = 0; i < 3000; ++i) c.times.values.insert(c.times.values.end(), 4, static_cast<double>(i));
      for (double &x : c.tables[0].values) x = 0;
      Tables zeros;
      zeros.tensors = {rig.tensor(JD_F32, {1, 4}, c.tables[0].values)};
      zeros.formats = {JD_ROWS_PLAIN};
      zeros.dims = {4};
      for (const int64_t dt : distances) c.timestamps.push_back(1000000 - dt);
      c.query_times = {1000000};
      const auto got = run(rig, c, zeros, {});
      for (size_t i = 0; i < distances.size(); ++i) {
        EXPECT_EQ(got.out[4 * i], static_cast<double>(reference::sequence_bucket(c, distances[i], 0)))
            << "distance " << distances[i] << ", unit " << unit << ", function " << function;
      }
    }
  }
}

// 2^64 - 1 is a time between two timestamps as any other. Of some units the next bucket begins beyond it, of some before.
TEST_P(SequenceEmbedding, buckets_of_the_longest_times) {
  Rig rig(GetParam());
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min(), kMost = std::numeric_limits<int64_t>::max();
  for (const int64_t unit : {int64_t{1}, int64_t{60}, int64_t{600}, int64_t{86400}, int64_t{1} << 40, kMost}) {
    SequenceEmbeddingCase c;
    c.time_function = JD_TIME_LOG;
    c.time_unit = unit;
    const Tables tables = make(rig, c, {{1, 4}}, 8);
    fill(c, {5}, 9);
    c.timestamps = {kLeast, kLeast + 1, -2, -1, 0};
    c.query_times = {kMost};
    c.times = {60, 4, {}};
    for (int64_t i = 0; i < 60; ++i) c.times.values.insert(c.times.values.end(), 4, static_cast<double>(i));
    Tables zeros;
    zeros.tensors = {rig.tensor(JD_F32, {1, 4}, {0, 0, 0, 0})};
    zeros.formats = {JD_ROWS_PLAIN};
    zeros.dims = {4};
    const auto got = run(rig, c, zeros, {});
    for (size_t i = 0; i < c.timestamps.size(); ++i) {
      const auto dt = static_cast<long double>(static_cast<uint64_t>(kMost) - static_cast<uint64_t>(c.timestamps[i]));
      const long double bucket = std::floor(std::log(dt / static_cast<long double>(unit)));
      EXPECT_EQ(got.out[4 * i], static_cast<double>(std::max(bucket, 0.0L))) << "timestamp " << c.timestamps[i] << ", unit " << unit;
    }
  }
}

TEST_P(SequenceEmbedding, bounds_and_padding) {
  Rig rig(GetParam());
  SequenceEmbeddingCase c;
  const Tables tables = make(rig, c, {{40, 8}, {30, 12}, {20, 4}}, 10);
  fill(c, {20, 0, rig.scaled(700, 45)}, 11);
  place(c, 50, 60, JD_F32, 12);
  compare(rig, c, tables, {JD_I64, JD_I64, JD_F32, JD_BOUNDS_TRUST}, "trust");
  c.padding_id = 3;
  for (size_t i = 0; i < c.ids.size(); i += 5) c.ids[i] = 3;
  compare(rig, c, tables, {}, "padding");
  const int64_t total = c.total();
  c.ids[2 * total + 1] = -7;
  c.ids[total + 31] = 30;
  c.ids[total + 40] = int64_t{1} << 31;
  c.ids[2 * total + total - 1] = 1000;
  for (const int32_t bounds : {JD_BOUNDS_ZERO, JD_BOUNDS_STRICT}) {
    Options o;
    o.bounds = bounds;
    const Result got = run(rig, c, tables, o);
    expect_result(c, got, o, "bounds");
    if (bounds == JD_BOUNDS_ZERO) {
      EXPECT_EQ(got.status, JD_OK) << got.error.message;
      EXPECT_EQ(got.skipped, 4);
      continue;
    }
    EXPECT_EQ(got.status, JD_OUT_OF_BOUNDS);
    EXPECT_EQ(got.error.table, 1);
    EXPECT_EQ(got.error.position, total + 31);
    EXPECT_EQ(got.error.value, 30);
    EXPECT_NE(std::string(got.error.message).find("table 1 has 30 rows"), std::string::npos) << got.error.message;
  }
}

TEST_P(SequenceEmbedding, bad_offsets_and_targets_are_refused_or_reported) {
  Rig rig(GetParam());
  SequenceEmbeddingCase c;
  const Tables tables = make(rig, c, {{40, 8}}, 13);
  fill(c, {4, 5, 6}, 14);
  place(c, 9, 9, JD_F32, 15);
  const auto refused = [&](const std::string &argument) {
    const Result got = run(rig, c, tables, {});
    EXPECT_TRUE(got.status == JD_INVALID_ARGUMENT || got.status == JD_OUT_OF_BOUNDS) << got.status;
    EXPECT_NE(std::string(got.error.message).find("argument '" + argument + "'"), std::string::npos) << got.error.message;
  };
  c.num_targets = {1, 6, 0};
  refused("num_targets");
  c.num_targets = {1, -1, 0};
  refused("num_targets");
  c.num_targets = {};
  for (const std::vector<int64_t> &offsets : std::vector<std::vector<int64_t>>{
           {1, 4, 9, 15}, {0, 10, 9, 15}, {0, 4, 1000000, 15}, {0, -4, 9, 15}}) {
    c.offsets = offsets;
    refused("offsets");
  }
  c.offsets = {0, 4, 9, 15};
  EXPECT_EQ(run(rig, c, tables, {}).status, JD_OK);
}

TEST_P(SequenceEmbedding, no_events) {
  Rig rig(GetParam());
  for (const std::vector<int64_t> &lengths : std::vector<std::vector<int64_t>>{{}, {0}, {0, 0, 0}}) {
    SequenceEmbeddingCase c;
    const Tables tables = make(rig, c, {{5, 8}}, 16);
    fill(c, lengths, 17);
    place(c, 3, 3, JD_F32, 18);
    compare(rig, c, tables, {}, "empty");
  }
}

TEST_P(SequenceEmbedding, a_sequence_depends_on_itself_alone_and_threads_change_no_bit) {
  Rig one(GetParam(), 1), three(GetParam(), 3);
  SequenceEmbeddingCase c;
  const std::vector<Table> described = {{500, 64}, {300, 64, JD_BF16}, {100, 64, 0, JD_ROWS_INT8}};
  const Tables tables = make(one, c, described, 19), same = make(three, c, described, 19);
  c.summed = true;
  c.position_mode = JD_POSITION_FROM_END;
  c.num_targets = {2, 0, 5, 1};
  fill(c, {30, 0, one.scaled(3000, 70), 11}, 20);
  place(c, 100, 200, JD_F32, 21);
  const auto together = run(one, c, tables, {}).bits;
  EXPECT_EQ(run(three, c, same, {}).bits, together);
  for (size_t b = 0; b + 1 < c.offsets.size(); ++b) {
    SequenceEmbeddingCase part = c;
    const int64_t begin = c.offsets[b], end = c.offsets[b + 1];
    part.offsets = {0, end - begin};
    part.num_targets = {c.num_targets[b]};
    part.timestamps.assign(c.timestamps.begin() + begin, c.timestamps.begin() + end);
    part.ids.clear();
    for (size_t t = 0; t < c.tables.size(); ++t) {
      const auto first = c.ids.begin() + static_cast<int64_t>(t) * c.total();
      part.ids.insert(part.ids.end(), first + begin, first + end);
    }
    const auto alone = run(one, part, tables, {}).bits;
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + begin * 64)) << "sequence " << b;
  }
}

JD_INSTANTIATE_ON_DEVICES(SequenceEmbedding);

}  // namespace
}  // namespace jindou::testing
