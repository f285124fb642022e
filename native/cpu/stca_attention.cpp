// stca_attention on the CPU: products (kernels/linear.h) around target_attention, over keys and values (materialised) or over the events
// themselves, as one key and value head of the model's width that all query heads share (reordered).
//
// Where an instruction multiplies bf16, rows of bf16 are multiplied as they are, by a weight rounded to bf16 (not the reordered way's candidates:
// they are few). Other 16-bit rows are widened before a product; results are narrowed after it, a thousand rows at a time. What products and
// attention compute of a row depends on that row alone, so cuts change no bit.
#include <algorithm>
#include <memory>
#include <new>

#include "core/stca_way.h"
#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kRowBlock = 256;    // rows that share a transposed panel of a weight
constexpr int64_t kChunkRows = 1024;  // widened at a time
constexpr int kTasksOfThread = 4;
constexpr int64_t kElementsOfTask = 1 << 14;

const float *floats(const jdb_tensor &t) { return static_cast<const float *>(t.data); }

// out = x W^T of every head: x [rows, depth], W [columns, depth] or, transposed, [depth, columns]; steps from head to head.
struct Product {
  int64_t rows, depth, columns, heads;
  const float *x;
  int64_t x_stride, x_step;
  const float *weight;
  int64_t weight_stride, weight_step;
  bool transposed;
  float *out;
  int64_t out_stride, out_step;
  bool pairs;  // a float of x is two bf16, and depth counts these
};

// A dense tensor in scratch, or another view of one.
jdb_tensor view(void *data, int32_t dtype, std::initializer_list<int64_t> shape, std::initializer_list<int64_t> strides) {
  jdb_tensor t{};
  t.data = data;
  t.dtype = dtype;
  t.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), t.shape);
  std::copy(strides.begin(), strides.end(), t.strides);
  return t;
}

class StcaAttention final : public Plan {
 public:
  StcaAttention(Device &d, const jdb_allocator &allocator, const jd_stca_attention_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        dim_(desc.model_dim),
        head_dim_(desc.head_dim),
        heads_(desc.num_heads),
        width_(int64_t{desc.num_heads} * desc.head_dim),
        reordered_(desc.path == JD_STCA_REORDERED),
        pairs_(!reordered_ && desc.dtype == JD_BF16 && d.kernels.linear_bf16 != nullptr),
        wide_(desc.dtype == JD_F32) {}

  jd_status prepare(const jdb_allocator &allocator, jd_error *error) {
    Plan *made = nullptr;
    if (const jd_status status = create_target_attention(device, stca_target_attention(desc_), allocator, &made, error)) return status;
    attention_.reset(made);

    const int64_t candidates = desc_.max_total_candidates, element = wide_ ? 4 : 2;
    Layout layout;
    query_at_ = layout.add<float>(candidates * width_);
    if (!wide_) {
      // Rows widened: candidates all at once, events a chunk at a time; then a product's result on its way to 16 bits.
      if (!pairs_) wide_rows_at_ = layout.add<float>(std::max(candidates, reordered_ ? 0 : std::min(kChunkRows, desc_.max_total_events)) * dim_);
      wide_out_at_ = layout.add<float>(std::max(candidates, reordered_ ? 0 : std::min(kChunkRows, desc_.max_total_events)) * width_);
      narrow_at_ = layout.add<uint16_t>(candidates * (reordered_ ? heads_ * dim_ : width_));
    }
    if (reordered_) {
      wide_query_at_ = layout.add<float>(candidates * heads_ * dim_);
      events_at_ = layout.add<float>(candidates * heads_ * dim_);
    } else if (!desc_.keep_keys) {
      keys_at_ = layout.add<char>(desc_.max_total_events * width_ * element);
      values_at_ = layout.add<char>(desc_.max_total_events * width_ * element);
    }
    return memory.reserve(layout.bytes(), error);
  }

  size_t bytes() const override { return memory.bytes() + (attention_ ? attention_->bytes() : 0); }

  void describe(char *text, size_t capacity) const override {
    const size_t written = describe_stca_way(desc_, text, capacity);
    if (written < capacity) attention_->describe(text + written, capacity - written);
  }

  jd_status run(Stream &stream, const void *args, jd_error *error) override {
    const auto &a = *static_cast<const jdb_stca_attention_args *>(args);
    const int64_t candidates = a.candidates.shape[0];
    if (candidates == 0 && !desc_.keep_keys) return JD_OK;
    float *const query = memory.part<float>(query_at_);
    project(a.candidates, a.query_weight, view(query, JD_F32, {candidates, width_}, {width_, 1}));
    return reordered_ ? run_reordered(stream, a, query, error) : run_materialised(stream, a, query, error);
  }

 private:
  jd_status run_materialised(Stream &stream, const jdb_stca_attention_args &a, float *query, jd_error *error) {
    const int64_t candidates = a.candidates.shape[0], events = a.events.shape[0];
    const jdb_tensor keys = desc_.keep_keys ? a.keys : scratch_rows(keys_at_, events);
    const jdb_tensor values = desc_.keep_keys ? a.values : scratch_rows(values_at_, events);
    project(a.events, a.key_weight, keys);
    project(a.events, a.value_weight, values);
    return attend(stream, a, view(inputs_dtype(query, candidates, width_), desc_.dtype, {candidates, heads_, head_dim_}, {width_, head_dim_, 1}),
                  by_head(keys), by_head(values), by_head(a.out), error);
  }

  jd_status run_reordered(Stream &stream, const jdb_stca_attention_args &a, float *query, jd_error *error) {
    const int64_t candidates = a.candidates.shape[0], wide = heads_ * dim_;
    // q'_h = q_h Wk_h
    float *const wide_query = memory.part<float>(wide_query_at_), *const events = memory.part<float>(events_at_);
    multiply({candidates, head_dim_, dim_, heads_, query, width_, head_dim_, floats(a.key_weight), a.key_weight.strides[0],
              head_dim_ * a.key_weight.strides[0], true, wide_query, wide, dim_, false});
    const jdb_tensor x = view(a.events.data, desc_.dtype, {a.events.shape[0], 1, dim_}, {a.events.strides[0], dim_, 1});
    const jdb_tensor q = view(inputs_dtype(wide_query, candidates, wide), desc_.dtype, {candidates, heads_, dim_}, {wide, dim_, 1});
    if (const jd_status status =
            attend(stream, a, q, x, x, view(events, JD_F32, {candidates, heads_, dim_}, {wide, dim_, 1}), error)) {
      return status;
    }
    // out_h = (sum_j p_j x_j) Wv_h^T
    const bool direct = a.out.dtype == JD_F32;
    float *const out = direct ? static_cast<float *>(a.out.data) : memory.part<float>(wide_out_at_);
    const int64_t stride = direct ? a.out.strides[0] : width_;
    multiply({candidates, dim_, head_dim_, heads_, events, wide, dim_, floats(a.value_weight), a.value_weight.strides[0],
              head_dim_ * a.value_weight.strides[0], false, out, stride, head_dim_, false});
    if (!direct) narrow(out, candidates, width_, a.out, 0);
    return JD_OK;
  }

  jd_status attend(Stream &stream, const jdb_stca_attention_args &a, const jdb_tensor &queries, const jdb_tensor &keys,
                   const jdb_tensor &values, const jdb_tensor &out, jd_error *error) {
    jdb_target_attention_args inner{};
    inner.candidates = queries;
    inner.candidate_offsets = a.candidate_offsets;
    inner.keys = keys;
    inner.values = values;
    inner.history_offsets = a.history_offsets;
    inner.out = out;
    inner.batch = a.batch;
    return attention_->run(stream, &inner, error);
  }

  // to = rows W^T, in to's dtype.
  void project(const jdb_tensor &rows, const jdb_tensor &weight, const jdb_tensor &to) {
    const int64_t count = rows.shape[0], depth = rows.shape[1], columns = weight.shape[0];
    const bool from_f32 = rows.dtype == JD_F32, to_f32 = to.dtype == JD_F32;
    const int64_t chunk = from_f32 ? count : std::max<int64_t>(kChunkRows, desc_.max_total_candidates);
    for (int64_t first = 0; first < count; first += chunk) {
      const int64_t here = std::min(chunk, count - first);
      Product p{here, depth, columns, 1, nullptr, depth, 0, floats(weight), weight.strides[0], 0, false, nullptr, columns, 0, pairs_};
      if (pairs_) {
        p.x = static_cast<const float *>(element(rows, first * rows.strides[0]));
        p.x_stride = rows.strides[0] / 2;
        p.depth = depth / 2;
      } else if (from_f32) {
        p.x = floats(rows);
        p.x_stride = rows.strides[0];
      } else {
        float *const widened = memory.part<float>(wide_rows_at_);
        for_rows(here, depth, [&](int64_t i) {
          device.kernels.widen(element(rows, (first + i) * rows.strides[0]), rows.dtype, depth, widened + i * depth);
        });
        p.x = widened;
      }
      if (to_f32) {
        p.out = static_cast<float *>(to.data) + first * to.strides[0];
        p.out_stride = to.strides[0];
      } else {
        p.out = memory.part<float>(wide_out_at_);
      }
      multiply(p);
      if (!to_f32) narrow(p.out, here, columns, to, first);
    }
  }

  void multiply(const Product &p) {
    if (p.rows == 0) return;
    const int64_t panel = device.kernels.linear_columns, panels = divide(p.columns, panel);
    const int64_t blocks = divide(p.rows, kRowBlock) * p.heads;
    const int threads = device.pool.size();
    const int64_t pieces = threads == 1 ? 1 : std::min(panels, divide(int64_t{threads} * kTasksOfThread, blocks));
    device.pool.run_with_scratch(blocks * pieces, p.rows * p.depth * p.columns * p.heads, [&](int64_t index, int worker) {
      const int64_t piece = index % pieces, head = index / pieces % p.heads, block = index / pieces / p.heads;
      LinearTask t{};
      t.x = p.x + head * p.x_step;
      t.weight = p.weight + head * p.weight_step;
      t.out = p.out + head * p.out_step;
      t.x_stride = p.x_stride;
      t.weight_stride = p.weight_stride;
      t.out_stride = p.out_stride;
      t.depth = p.depth;
      t.first_row = block * kRowBlock;
      t.last_row = std::min(p.rows, t.first_row + kRowBlock);
      t.first_column = panels * piece / pieces * panel;
      t.last_column = std::min(p.columns, panels * (piece + 1) / pieces * panel);
      t.activation = JD_LINEAR_IDENTITY;
      t.scratch = device.linear_scratch_of(worker);
      t.transposed = p.transposed;
      p.pairs ? device.kernels.linear_bf16(t) : device.kernels.linear(t);
    });
  }

  // Calls f(row) for every row.
  template <class Function>
  void for_rows(int64_t rows, int64_t columns, const Function &f) {
    const int64_t rows_of_task = std::max<int64_t>(1, kElementsOfTask / columns);
    device.pool.run(divide(rows, rows_of_task), rows * columns, [&](int64_t index, int) {
      const int64_t last = std::min(rows, (index + 1) * rows_of_task);
      for (int64_t row = index * rows_of_task; row < last; ++row) f(row);
    });
  }

  // Dense rows go to the rows of `to` from `first` on.
  void narrow(const float *from, int64_t rows, int64_t columns, const jdb_tensor &to, int64_t first) {
    for_rows(rows, columns, [&](int64_t i) {
      device.kernels.narrow(from + i * columns, columns, to.dtype, element(to, (first + i) * to.strides[0]));
    });
  }

  // Dense rows in the inputs' dtype.
  void *inputs_dtype(float *rows, int64_t count, int64_t columns) {
    if (wide_) return rows;
    void *const to = memory.part<uint16_t>(narrow_at_);
    narrow(rows, count, columns, view(to, desc_.dtype, {count, columns}, {columns, 1}), 0);
    return to;
  }

  jdb_tensor scratch_rows(size_t at, int64_t rows) const {
    return view(memory.part<char>(at), desc_.dtype, {rows, width_}, {width_, 1});
  }
  jdb_tensor by_head(const jdb_tensor &t) const {
    return view(t.data, t.dtype, {t.shape[0], heads_, head_dim_}, {t.strides[0], head_dim_, 1});
  }

  const jd_stca_attention_desc desc_;
  const int64_t dim_, head_dim_, heads_, width_;
  const bool reordered_, pairs_, wide_;  // pairs_: see Product; wide_: f32
  std::unique_ptr<Plan> attention_;
  size_t query_at_ = 0, wide_rows_at_ = 0, wide_out_at_ = 0, narrow_at_ = 0, wide_query_at_ = 0, events_at_ = 0, keys_at_ = 0, values_at_ = 0;
};

}  // namespace

jd_status create_stca_attention(Device &device, const jd_stca_attention_desc &desc, const jdb_allocator &allocator, Plan **plan,
                                jd_error *error) {
  return prepared(new (std::nothrow) StcaAttention(device, allocator, desc), plan, error, allocator);
}

}  // namespace jindou::cpu
