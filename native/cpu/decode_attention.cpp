// decode_attention on the CPU: how the work is cut into tasks. The kernel is in kernels/decode_attention.h.
//
// The keys of a sequence are cut into pieces by their number alone. With few pairs of sequence and key/value head for the threads
// there are, each piece is a task, and a second round of tasks merges; else a task takes all pieces in turn. The bits are the same.
//
// A task takes several heads of keys and values, a block of keys of each in turn: in a page the rows of heads lie side by side, and one head's alone
// are holes in what the hardware fetches ahead. Read one head after the other, rows from memory took twice as long.
#include <algorithm>
#include <cstdio>
#include <new>

#include "attention/pieces.h"
#include "cpu/pages.h"

namespace jindou::cpu {
namespace {

constexpr attention::Pieces kPieces{1024, 32, kKeyBlock};
constexpr int kTasksOfThread = 4;
constexpr int64_t kBlockBytes = 256 * 1024;  // of one block of keys and values of a task's heads: it and the next stay in L2

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
        query_floats_(int64_t{desc.max_queries} * group_ * desc.head_dim_qk),
        most_heads_(std::min<int64_t>(desc.num_kv_heads, std::max<int64_t>(1, kBlockBytes / block_bytes(desc)))) {}

  jd_status prepare(jd_error *error) {
    const int64_t threads = device.pool.size();
    most_pieces_ = kPieces.most_up_to(desc_.max_seq_len);
    // Pairs of a run that is split: more of them keep the threads busy by themselves.
    split_pairs_ = threads == 1 || most_pieces_ == 1 ? 0 : std::min(desc_.max_batch * desc_.num_kv_heads, threads * kTasksOfThread);
    Layout layout;
    sequences_at_ = layout.add<Sequence>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    tasks_at_ = layout.add<DecodeTask>(most_heads_ * threads);
    queries_at_ = layout.add<float>(most_heads_ * query_floats_ * threads);
    scratch_at_ = layout.add<float>(scratch_floats() * threads);
    states_at_ = layout.add<float>(most_heads_ * 2 * state_floats_ * threads);  // of the piece at hand, and of all so far
    partial_at_ = layout.add<float>(split_pairs_ * most_pieces_ * state_floats_);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "decode_attention on cpu (%s): keys in blocks of %d, pieces of %d and more", device.kernels.isa,
             kKeyBlock, kPieces.least);
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_decode_attention_args *>(args);
    const PageTable table(a.page_table, a.key_pages);
    Sequence *sequences = memory.part<Sequence>(sequences_at_);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // pairs and pieces of sequences 0..b
    int64_t tasks = 0, work = 0, parts = 0, present = 0;
    for (int64_t b = 0; b < a.batch; ++b) {
      sequences[b] = read(stream, a, table, b);
      present += sequences[b].queries > 0;
      work += int64_t{sequences[b].keys} * sequences[b].queries;
    }
    const bool split = present * desc_.num_kv_heads <= split_pairs_;
    const auto parts_of = [&](const Sequence &x) { return x.queries == 0 ? 0 : split ? kPieces.number(x.keys) : 1; };
    for (int64_t b = 0; b < a.batch; ++b) parts += parts_of(sequences[b]);
    const int64_t groups = head_groups(parts);
    for (int64_t b = 0; b < a.batch; ++b) ends[b] = tasks += groups * parts_of(sequences[b]);
    const int64_t operations = work * desc_.num_heads * (desc_.head_dim_qk + desc_.head_dim_v) * 2;
    device.pool.run(tasks, operations, [&](int64_t index, int worker) {
      const int64_t b = std::upper_bound(ends, ends + a.batch, index) - ends;
      const int64_t within = index - (b > 0 ? ends[b - 1] : 0), pieces = kPieces.number(sequences[b].keys);
      const int64_t group = split ? within / pieces : within;
      Heads heads(*this, a, table, sequences[b], desc_.num_kv_heads * group / groups, desc_.num_kv_heads * (group + 1) / groups, worker);
      if (split) {
        const int64_t piece = within % pieces;
        heads.attend(piece, [&](int64_t head) { return partial(sequences, b, head, piece); });
        return;
      }
      for (int64_t piece = 0; piece < pieces; ++piece) {
        heads.attend(piece, [&](int64_t head) { return heads.state(head, piece == 0); });
        if (piece > 0) heads.merge();
      }
      heads.finish();
    });
    if (!split) return JD_OK;
    device.pool.run(a.batch * desc_.num_kv_heads, 0, [&](int64_t index, int worker) {
      const int64_t b = index / desc_.num_kv_heads, head = index % desc_.num_kv_heads;
      if (sequences[b].queries == 0) return;
      DecodeTask t;
      fill(a, table, sequences[b], head, worker, 0, &t);
      t.state = partial(sequences, b, head, 0);
      const int64_t pieces = kPieces.number(sequences[b].keys);
      for (int64_t piece = 1; piece < pieces; ++piece) {
        device.kernels.decode_merge(t.state, partial(sequences, b, head, piece), t.rows, t.dim_v);
      }
      device.kernels.decode_finish(t);
    });
    return JD_OK;
  }

 private:
  // Some heads of keys and values of a sequence, those of a task.
  class Heads {
   public:
    Heads(const DecodeAttention &plan, const jdb_decode_attention_args &a, const PageTable &table, const Sequence &x, int64_t first,
          int64_t last, int worker)
        : plan_(plan),
          x_(x),
          first_(first),
          last_(last),
          tasks_(plan.memory.part<DecodeTask>(plan.tasks_at_) + plan.most_heads_ * worker),
          states_(plan.memory.part<float>(plan.states_at_) + plan.most_heads_ * 2 * plan.state_floats_ * worker) {
      for (int64_t head = first; head < last; ++head) plan.fill(a, table, x, head, worker, head - first, &tasks_[head - first]);
    }

    float *state(int64_t head, bool of_all) const { return states_ + (2 * (head - first_) + (of_all ? 0 : 1)) * plan_.state_floats_; }

    // state_of(head) := of a piece.
    template <class States>
    void attend(int64_t piece, const States &state_of) const {
      const int64_t length = kPieces.length(x_.keys), begin = piece * length, end = std::min<int64_t>(x_.keys, begin + length);
      for (int64_t head = first_; head < last_; ++head) tasks_[head - first_].state = state_of(head);
      for (int64_t first = begin; first < end; first += kKeyBlock) {
        for (int64_t i = 0; i < last_ - first_; ++i) {
          tasks_[i].first_key = first;
          tasks_[i].last_key = std::min<int64_t>(end, first + kKeyBlock);
          tasks_[i].continues = first > begin;
          plan_.device.kernels.decode_piece(tasks_[i]);
        }
      }
    }
    void merge() const {
      for (int64_t head = first_; head < last_; ++head) {
        const DecodeTask &t = tasks_[head - first_];
        plan_.device.kernels.decode_merge(state(head, true), state(head, false), t.rows, t.dim_v);
      }
    }
    void finish() const {
      for (int64_t head = first_; head < last_; ++head) {
        DecodeTask &t = tasks_[head - first_];
        t.state = state(head, true);
        plan_.device.kernels.decode_finish(t);
      }
    }

   private:
    const DecodeAttention &plan_;
    const Sequence &x_;
    const int64_t first_, last_;
    DecodeTask *const tasks_;
    float *const states_;
  };

  static int64_t block_bytes(const jd_decode_attention_desc &d) {
    return int64_t{kKeyBlock} * (d.head_dim_qk + d.head_dim_v) * core::element_size(d.cache_dtype ? d.cache_dtype : d.dtype);
  }
  int64_t scratch_floats() const { return static_cast<int64_t>(device.kernels.decode_scratch); }

  // Into how many groups the heads of each of these parts of the work are cut: no more than threads need, since together they are read faster.
  int64_t head_groups(int64_t parts) const {
    const int64_t heads = desc_.num_kv_heads, least = divide(heads, most_heads_);
    if (device.pool.size() == 1 || parts == 0) return least;
    const int64_t wanted = divide(int64_t{device.pool.size()} * kTasksOfThread, parts);
    return std::min(heads, std::max(least, wanted));
  }

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

  // place: of the head among those of its task.
  void fill(const jdb_decode_attention_args &a, const PageTable &table, const Sequence &x, int64_t head, int worker, int64_t place,
            DecodeTask *t) const {
    const int64_t first_head = head * group_;
    *t = {};
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
    if (a.lse.dtype) {
      t->lse = static_cast<float *>(a.lse.data) + x.first_query * a.lse.strides[0] + first_head * a.lse.strides[1];
      t->lse_row = a.lse.strides[0];
      t->lse_head = a.lse.strides[1];
    }
    t->scratch = memory.part<float>(scratch_at_) + scratch_floats() * worker;
    t->scaled_queries = memory.part<float>(queries_at_) + (most_heads_ * worker + place) * query_floats_;
    t->end_key = x.keys;
  }

  const jd_decode_attention_desc desc_;
  const int32_t group_;
  const int64_t state_floats_, query_floats_;  // of a pair
  const int64_t most_heads_;                   // of a task
  int64_t most_pieces_ = 1, split_pairs_ = 0;
  size_t sequences_at_ = 0, ends_at_ = 0, tasks_at_ = 0, queries_at_ = 0, scratch_at_ = 0, states_at_ = 0, partial_at_ = 0;
};

}  // namespace

jd_status create_decode_attention(Device &device, const jd_decode_attention_desc &desc, const jdb_allocator &allocator,
                                  Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) DecodeAttention(device, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
