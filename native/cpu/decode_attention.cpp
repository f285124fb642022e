// decode_attention on the CPU: how the work is cut into tasks. The kernel is in kernels/decode_attention.h.
//
// The keys of a sequence are cut into pieces by their number alone. With few pairs of sequence and key/value head for the threads
// there are, each piece is a task, and a second round of tasks merges; else a task takes all pieces of a pair in turn. The bits are
// the same.
#include <algorithm>
#include <cstdio>
#include <new>

#include "core/error.h"
#include "cpu/pages.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kPieceKeys = 1024;
constexpr int64_t kMaxPieces = 32;
constexpr int kTasksOfThread = 4;

int64_t piece_length(int64_t keys) {
  const int64_t even = ((keys + kMaxPieces - 1) / kMaxPieces + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
  return std::max(kPieceKeys, even);
}
int64_t num_pieces(int64_t keys) { return std::max<int64_t>(1, (keys + piece_length(keys) - 1) / piece_length(keys)); }

// One sequence of a run; a refused one has no queries.
struct Sequence {
  int64_t first_query;
  int32_t queries, keys, number;
};

class DecodeAttention final : public Plan {
 public:
  DecodeAttention(Device &d, const jdb_allocator &allocator, const jd_decode_attention_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        group_(desc.num_heads / desc.num_kv_heads),
        state_floats_(int64_t{desc.max_queries} * group_ * (2 + desc.head_dim_v)),
        scratch_floats_(static_cast<int64_t>(d.kernels.decode_scratch) + int64_t{desc.max_queries} * group_ * desc.head_dim_qk) {}

  jd_status prepare(jd_error *error) {
    const int64_t threads = device.pool.size();
    most_pieces_ = num_pieces(desc_.max_seq_len);
    // Pairs of a run that is split: more of them keep the threads busy by themselves.
    split_pairs_ = threads == 1 || most_pieces_ == 1 ? 0 : std::min(desc_.max_batch * desc_.num_kv_heads, threads * kTasksOfThread);
    Layout layout;
    sequences_at_ = layout.add<Sequence>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    scratch_at_ = layout.add<float>(scratch_floats_ * threads);
    states_at_ = layout.add<float>(2 * state_floats_ * threads);  // of the piece at hand, and of all so far
    partial_at_ = layout.add<float>(split_pairs_ * most_pieces_ * state_floats_);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "decode_attention on cpu (%s): keys in blocks of %d, pieces of %lld and more", device.kernels.isa,
             kKeyBlock, static_cast<long long>(kPieceKeys));
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_decode_attention_args *>(args);
    const PageTable table(a.page_table, a.key_pages);
    Sequence *sequences = memory.part<Sequence>(sequences_at_);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // pairs and pieces of sequences 0..b
    int64_t tasks = 0, work = 0, pairs = 0;
    for (int64_t b = 0; b < a.batch; ++b) {
      sequences[b] = read(stream, a, table, b);
      pairs += sequences[b].queries > 0 ? desc_.num_kv_heads : 0;
      work += int64_t{sequences[b].keys} * sequences[b].queries;
    }
    const bool split = pairs <= split_pairs_;
    for (int64_t b = 0; b < a.batch; ++b) {
      if (sequences[b].queries > 0) tasks += desc_.num_kv_heads * (split ? num_pieces(sequences[b].keys) : 1);
      ends[b] = tasks;
    }
    const int64_t operations = work * desc_.num_heads * (desc_.head_dim_qk + desc_.head_dim_v) * 2;
    device.pool.run(tasks, operations, [&](int64_t index, int worker) {
      const int64_t b = std::upper_bound(ends, ends + a.batch, index) - ends;
      const int64_t within = index - (b > 0 ? ends[b - 1] : 0), pieces = num_pieces(sequences[b].keys);
      DecodeTask t;
      if (split) {
        fill(a, table, sequences[b], within / pieces, worker, &t);
        piece_of(sequences[b], within % pieces, partial(sequences, b, within / pieces, within % pieces), &t);
        device.kernels.decode_piece(t);
        return;
      }
      fill(a, table, sequences[b], within, worker, &t);
      float *total = memory.part<float>(states_at_) + 2 * state_floats_ * worker, *current = total + state_floats_;
      for (int64_t piece = 0; piece < pieces; ++piece) {
        piece_of(sequences[b], piece, piece == 0 ? total : current, &t);
        device.kernels.decode_piece(t);
        if (piece > 0) device.kernels.decode_merge(total, current, t.rows, t.dim_v);
      }
      t.state = total;
      device.kernels.decode_finish(t);
    });
    if (!split) return JD_OK;
    device.pool.run(a.batch * desc_.num_kv_heads, 0, [&](int64_t index, int worker) {
      const int64_t b = index / desc_.num_kv_heads, head = index % desc_.num_kv_heads;
      if (sequences[b].queries == 0) return;
      DecodeTask t;
      fill(a, table, sequences[b], head, worker, &t);
      t.state = partial(sequences, b, head, 0);
      const int64_t pieces = num_pieces(sequences[b].keys);
      for (int64_t piece = 1; piece < pieces; ++piece) {
        device.kernels.decode_merge(t.state, partial(sequences, b, head, piece), t.rows, t.dim_v);
      }
      device.kernels.decode_finish(t);
    });
    return JD_OK;
  }

 private:
  Sequence read(Stream &stream, const jdb_decode_attention_args &a, const PageTable &table, int64_t b) const {
    Findings findings(stream, JDB_OP_DECODE_ATTENTION, desc_.bounds);
    const int64_t first = integer_at(a.q_offsets, b), queries = integer_at(a.q_offsets, b + 1) - first;
    const int64_t keys = static_cast<const int32_t *>(a.seq_lens.data)[b];
    const int64_t most = std::min(desc_.max_seq_len, table.rows());
    if (keys < 0 || keys > most) {
      findings.note(JDB_FAULT_CACHE_LENGTH, b, keys, most);
    } else if (queries > keys) {
      findings.note(JDB_FAULT_QUERIES, b, queries, keys);
    } else if (queries > 0 && table.check(findings, b, 0, keys)) {
      return {first, static_cast<int32_t>(queries), static_cast<int32_t>(keys), static_cast<int32_t>(b)};
    }
    return {first, 0, 0, static_cast<int32_t>(b)};
  }

  // The state of a piece of a pair; pairs are counted over the sequences that have queries.
  float *partial(const Sequence *sequences, int64_t b, int64_t head, int64_t piece) const {
    int64_t before = 0;  // a split run has few sequences
    for (int64_t i = 0; i < b; ++i) before += sequences[i].queries > 0;
    const int64_t pair = before * desc_.num_kv_heads + head;
    return memory.part<float>(partial_at_) + (pair * most_pieces_ + piece) * state_floats_;
  }

  void fill(const jdb_decode_attention_args &a, const PageTable &table, const Sequence &x, int64_t head, int worker,
            DecodeTask *t) const {
    const int64_t first_head = head * group_;
    t->dtype = desc_.dtype;
    t->out_dtype = desc_.out_dtype;
    t->dim_qk = desc_.head_dim_qk;
    t->dim_v = desc_.head_dim_v;
    t->rows = x.queries * group_;
    t->group = group_;
    t->scale = desc_.scale;
    t->queries = element(a.queries, x.first_query * a.queries.strides[0] + first_head * a.queries.strides[1]);
    t->query_row = a.queries.strides[0];
    t->query_head = a.queries.strides[1];
    t->keys = paged_rows(a.key_pages, a.key_scales, table, x.number, head);
    t->values = paged_rows(a.value_pages, a.value_scales, table, x.number, head);
    t->first_position = x.keys - x.queries;
    t->out = element(a.out, x.first_query * a.out.strides[0] + first_head * a.out.strides[1]);
    t->out_row = a.out.strides[0];
    t->out_head = a.out.strides[1];
    t->lse = nullptr;
    t->lse_row = t->lse_head = 0;
    if (a.lse.dtype) {
      t->lse = static_cast<float *>(a.lse.data) + x.first_query * a.lse.strides[0] + first_head * a.lse.strides[1];
      t->lse_row = a.lse.strides[0];
      t->lse_head = a.lse.strides[1];
    }
    t->scratch = memory.part<float>(scratch_at_) + scratch_floats_ * worker;
    t->state = nullptr;
    t->first_key = t->last_key = 0;
  }

  static void piece_of(const Sequence &x, int64_t piece, float *state, DecodeTask *t) {
    const int64_t length = piece_length(x.keys);
    t->first_key = piece * length;
    t->last_key = std::min<int64_t>(x.keys, t->first_key + length);
    t->state = state;
  }

  const jd_decode_attention_desc desc_;
  const int32_t group_;
  const int64_t state_floats_, scratch_floats_;  // of a pair, of a worker
  int64_t most_pieces_ = 1, split_pairs_ = 0;
  size_t sequences_at_ = 0, ends_at_ = 0, scratch_at_ = 0, states_at_ = 0, partial_at_ = 0;
};

}  // namespace

jd_status create_decode_attention(Device &device, const jd_decode_attention_desc &desc, const jdb_allocator &allocator,
                                  Plan **plan, jd_error *error) {
  auto *created = new (std::nothrow) DecodeAttention(device, allocator, desc);
  if (!created) return fail(error, JD_OUT_OF_MEMORY, "cpu: no host memory for a plan");
  if (const jd_status status = created->prepare(error)) {
    delete created;
    return status;
  }
  *plan = created;
  return JD_OK;
}

}  // namespace jindou::cpu
