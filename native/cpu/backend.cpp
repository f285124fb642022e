// The CPU backend's table of functions: devices, memory, streams, events, and the way to the operators.
#include "cpu/backend.h"

#include <chrono>
#include <cstring>
#include <new>

#include "core/error.h"
#include "cpu/device.h"
#include "cpu/isa.h"
#include "cpu/memory.h"
#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int kMaxThreads = 1024;

Device &device_of(void *handle) { return *static_cast<Device *>(handle); }
Stream &stream_of(void *handle) { return *static_cast<Stream *>(handle); }
Event &event_of(void *handle) { return *static_cast<Event *>(handle); }

jd_status out_of_host_memory(jd_error *error, const char *what) {
  return fail(error, JD_OUT_OF_MEMORY, "cpu: no host memory for %s", what);
}

// -- devices -----------------------------------------------------------------------------------------------------------
jd_status device_count(int32_t *count, jd_error *) {
  *count = 1;
  return JD_OK;
}

jd_status device_open(int32_t ordinal, const jd_device_options *options, void **device, jd_error *error) {
  if (ordinal != 0) return fail(error, JD_NO_DEVICE, "cpu: expected device 0 (the only one), got %d", ordinal);
  const KernelTable *kernels = nullptr;
  if (const jd_status status = choose_kernels(&kernels, error)) return status;
  int threads = options ? options->num_threads : 0;
  if (threads <= 0) threads = usable_cpus();
  if (threads > kMaxThreads) threads = kMaxThreads;
  Device *opened = new (std::nothrow) Device(*kernels, threads);
  if (!opened || !opened->linear_scratch) {
    delete opened;
    return out_of_host_memory(error, "a device");
  }
  *device = opened;
  return JD_OK;
}

void device_close(void *device) { delete &device_of(device); }

jd_status device_info(void *device, jd_device_info *info, jd_error *) {
  describe_device(device_of(device), info);
  return JD_OK;
}

// A call that has returned has done its work, and no other call is known to have begun.
jd_status device_synchronize(void *, jd_error *) { return JD_OK; }

// -- memory ------------------------------------------------------------------------------------------------------------
jd_status alloc(void *, size_t bytes, void **pointer, jd_error *error) {
  *pointer = allocate(bytes);
  return *pointer ? JD_OK : fail(error, JD_OUT_OF_MEMORY, "cpu: the system has no %zu bytes to give", bytes);
}

// Nobody runs on a block any more: every run has returned before its tensors may go.
void free_block(void *, void *pointer, size_t bytes) { release(pointer, bytes); }

// A copy is done when it returns, whatever memory it is from.
jd_status host_alloc(void *device, size_t bytes, void **pointer, jd_error *error) { return alloc(device, bytes, pointer, error); }
void host_free(void *device, void *pointer, size_t bytes) { free_block(device, pointer, bytes); }

// -- streams -----------------------------------------------------------------------------------------------------------
jd_status stream_create(void *device, void *external, void **stream, jd_error *error) {
  if (external) return fail(error, JD_UNSUPPORTED, "cpu: a cudaStream_t can be wrapped on cuda devices only");
  Stream *created = new (std::nothrow) Stream(device_of(device));
  if (!created) return out_of_host_memory(error, "a stream");
  *stream = created;
  return JD_OK;
}

void stream_destroy(void *stream) { delete &stream_of(stream); }

jd_status stream_synchronize(void *stream, jdb_report *report, jd_error *) {
  Stream &s = stream_of(stream);
  *report = s.report;
  s.clear_report();
  return JD_OK;
}

void *stream_native(void *) { return nullptr; }

jd_status copy(void *, void *target, const void *source, size_t bytes, int32_t, jd_error *) {
  if (bytes > 0) std::memmove(target, source, bytes);
  return JD_OK;
}

jd_status fill(void *, void *target, int32_t byte, size_t bytes, jd_error *) {
  if (bytes > 0) std::memset(target, byte, bytes);
  return JD_OK;
}

// -- events ------------------------------------------------------------------------------------------------------------
jd_status event_create(void *, void **event, jd_error *error) {
  Event *created = new (std::nothrow) Event;
  if (!created) return out_of_host_memory(error, "an event");
  *event = created;
  return JD_OK;
}

void event_destroy(void *event) { delete &event_of(event); }

jd_status event_record(void *event, void *, jd_error *) {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  event_of(event).nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  return JD_OK;
}

// Whatever was enqueued before an event was recorded had run by then.
jd_status event_wait(void *, void *, jd_error *) { return JD_OK; }
jd_status event_synchronize(void *, jd_error *) { return JD_OK; }

jd_status event_query(void *, int32_t *done, jd_error *) {
  *done = 1;
  return JD_OK;
}

jd_status event_elapsed(void *start, void *end, double *milliseconds, jd_error *) {
  *milliseconds = static_cast<double>(event_of(end).nanoseconds - event_of(start).nanoseconds) * 1e-6;
  return JD_OK;
}

// -- operators ---------------------------------------------------------------------------------------------------------
jd_status plan_create(void *device, int32_t op, const void *desc, const jdb_allocator *allocator, void **plan,
                      jd_error *error) {
  Device &d = device_of(device);
  Plan *created = nullptr;
  jd_status status = JD_INTERNAL;
  switch (op) {
    case JDB_OP_EMBEDDING_BAG:
      status = create_embedding_bag(d, *static_cast<const jdb_embedding_bag_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_TARGET_ATTENTION:
      status = create_target_attention(d, *static_cast<const jd_target_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_HSTU_ATTENTION:
      status = create_hstu_attention(d, *static_cast<const jd_hstu_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_DECODE_ATTENTION:
      status = create_decode_attention(d, *static_cast<const jd_decode_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_SOFTMAX_ATTENTION:
      status = create_softmax_attention(d, *static_cast<const jd_softmax_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_HISTORY_SEARCH:
      status = create_history_search(d, *static_cast<const jd_history_search_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_SEARCH_ATTENTION:
      status = create_search_attention(d, *static_cast<const jd_search_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_BEAM_ATTENTION:
      status = create_beam_attention(d, *static_cast<const jd_beam_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_LONGER_ATTENTION:
      status = create_longer_attention(d, *static_cast<const jd_longer_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_DIN_ATTENTION:
      status = create_din_attention(d, *static_cast<const jd_din_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_STCA_ATTENTION:
      status = create_stca_attention(d, *static_cast<const jd_stca_attention_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_PAGED_APPEND:
    case JDB_OP_PAGED_GATHER:
      status = create_paged_cache(d, op, *static_cast<const jd_paged_cache_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_HASH_LOOKUP:
    case JDB_OP_HASH_INSERT:
    case JDB_OP_HASH_ERASE:
      status = create_hash_table(d, op, *static_cast<const jd_hash_table_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_SEQUENCE_EMBEDDING:
      status = create_sequence_embedding(d, *static_cast<const jdb_sequence_embedding_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_RQ_ENCODE:
      status = create_rq_encode(d, *static_cast<const jd_rq_encode_desc *>(desc), *allocator, &created, error);
      break;
    case JDB_OP_TOP_K_INNER_PRODUCT:
      status = create_top_k_inner_product(d, *static_cast<const jd_top_k_inner_product_desc *>(desc), *allocator, &created, error);
      break;
    default: return fail(error, JD_UNSUPPORTED, "operator %d is not in the cpu backend", op);
  }
  if (status == JD_OK) *plan = created;
  return status;
}

void plan_destroy(void *plan) { delete static_cast<Plan *>(plan); }
int64_t plan_memory(void *plan) { return static_cast<int64_t>(static_cast<Plan *>(plan)->bytes()); }
void plan_describe(void *plan, char *text, size_t capacity) { static_cast<Plan *>(plan)->describe(text, capacity); }

jd_status run(void *stream, void *plan, int32_t op, const void *args, jd_error *error) {
  Stream &s = stream_of(stream);
  if (plan) {
    Plan &p = *static_cast<Plan *>(plan);
    if (p.bytes() == 0) return p.run(s, args, error);
    std::lock_guard<std::mutex> turn(p.turn);
    return p.run(s, args, error);
  }
  switch (op) {
    case JDB_OP_MERGE_ATTENTION_STATES:
      return run_merge_attention_states(s, *static_cast<const jdb_merge_attention_states_args *>(args), error);
    case JDB_OP_MERGE_TOKENS: return run_merge_tokens(s, *static_cast<const jdb_merge_tokens_args *>(args), error);
    case JDB_OP_LSH_SIGNATURES:
      return run_lsh_signatures(s, *static_cast<const jdb_lsh_signatures_args *>(args), error);
    case JDB_OP_LINEAR: return run_linear(s, *static_cast<const jdb_linear_args *>(args), error);
    case JDB_OP_LAYER_NORM: return run_layer_norm(s, *static_cast<const jdb_layer_norm_args *>(args), error);
    case JDB_OP_L2_NORMALIZE: return run_l2_normalize(s, *static_cast<const jdb_l2_normalize_args *>(args), error);
    case JDB_OP_QUANTIZE_ROWS: return run_quantize_rows(s, *static_cast<const jdb_quantize_rows_args *>(args), error);
    case JDB_OP_DEQUANTIZE_ROWS: return run_dequantize_rows(s, *static_cast<const jdb_quantize_rows_args *>(args), error);
    case JDB_OP_RQ_DECODE: return run_rq_decode(s, *static_cast<const jdb_rq_decode_args *>(args), error);
    default: return fail(error, JD_UNSUPPORTED, "operator %d is not in the cpu backend", op);
  }
}

jd_backend make_table() {
  jd_backend table{};
  table.version = JDB_VERSION;
  table.name = "cpu";
  table.host_memory = 1;
  table.device_count = device_count;
  table.device_open = device_open;
  table.device_close = device_close;
  table.device_info = device_info;
  table.device_synchronize = device_synchronize;
  table.alloc = alloc;
  table.free = free_block;
  table.stream_create = stream_create;
  table.stream_destroy = stream_destroy;
  table.stream_synchronize = stream_synchronize;
  table.stream_native = stream_native;
  table.host_alloc = host_alloc;
  table.host_free = host_free;
  table.copy = copy;
  table.fill = fill;
  table.event_create = event_create;
  table.event_destroy = event_destroy;
  table.event_record = event_record;
  table.event_wait = event_wait;
  table.event_synchronize = event_synchronize;
  table.event_query = event_query;
  table.event_elapsed = event_elapsed;
  table.plan_create = plan_create;
  table.plan_destroy = plan_destroy;
  table.plan_memory = plan_memory;
  table.plan_describe = plan_describe;
  table.run = run;
  return table;
}

}  // namespace
}  // namespace jindou::cpu

extern "C" const jd_backend *jd_cpu_backend(void) {
  static const jd_backend table = jindou::cpu::make_table();
  return &table;
}
