#include "fake_backend.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "core/error.h"

#ifndef FAKE_NAME
#define FAKE_NAME "cpu"
#define FAKE_HOST_MEMORY 1
#define FAKE_NATIVE_CAPTURE 0
#endif
#ifndef FAKE_DEVICES
#define FAKE_DEVICES 1
#endif
#ifndef FAKE_VERSION
#define FAKE_VERSION JDB_VERSION
#endif

namespace jindou::fake {
namespace {

State state;

struct FakeDevice {
  std::atomic<int64_t> children{0};
  bool alive = true;
};
struct FakeStream {
  FakeDevice *device;
  void *external;
  bool capturing = false;
  int64_t captured = 0;
};
struct FakeEvent {
  FakeDevice *device;
};
struct FakePlan {
  FakeDevice *device;
  int32_t op;
  jdb_allocator allocator;
  void *scratch = nullptr;
  int64_t bytes = 0;
};
struct FakeGraph {
  int64_t nodes;
};

void add_child(FakeDevice *device, std::atomic<int64_t> &counter) {
  if (!device->alive) ++state.violations;
  ++device->children;
  ++counter;
}
void remove_child(FakeDevice *device, std::atomic<int64_t> &counter) {
  if (!device->alive) ++state.violations;
  --device->children;
  --counter;
}

jd_status device_count(int32_t *count, jd_error *error) {
  *count = FAKE_DEVICES;
  if (FAKE_DEVICES > 0) return JD_OK;
  return fail(error, JD_NO_DEVICE, "cuda is not available: no driver (libcuda.so.1 not found)");
}

jd_status device_open(int32_t, const jd_device_options *, void **device, jd_error *) {
  *device = new FakeDevice;
  ++state.devices;
  return JD_OK;
}
void device_close(void *device) {
  FakeDevice *d = static_cast<FakeDevice *>(device);
  if (d->children != 0) ++state.violations;
  d->alive = false;
  delete d;
  --state.devices;
}
jd_status device_info(void *, jd_device_info *info, jd_error *) {
  info->num_threads = 1;
  snprintf(info->name, sizeof info->name, "fake");
  return JD_OK;
}
jd_status device_synchronize(void *, jd_error *) { return JD_OK; }

jd_status alloc(void *device, size_t bytes, void **data, jd_error *error) {
  if (static_cast<int64_t>(bytes) > state.alloc_limit) {
    return fail(error, JD_OUT_OF_MEMORY, "the fake driver has no %zu bytes", bytes);
  }
  *data = aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!*data) return fail(error, JD_OUT_OF_MEMORY, "malloc failed");
  memset(*data, 0xFF, bytes);
  add_child(static_cast<FakeDevice *>(device), state.allocations);
  state.bytes += static_cast<int64_t>(bytes);
  return JD_OK;
}
void release(void *device, void *data, size_t bytes) {
  remove_child(static_cast<FakeDevice *>(device), state.allocations);
  state.bytes -= static_cast<int64_t>(bytes);
  free(data);
}

jd_status host_alloc(void *device, size_t bytes, void **data, jd_error *error) {
  return alloc(device, bytes, data, error);
}
void host_free(void *device, void *data, size_t bytes) { release(device, data, bytes); }

jd_status stream_create(void *device, void *external, void **stream, jd_error *) {
  FakeDevice *d = static_cast<FakeDevice *>(device);
  *stream = new FakeStream{d, external};
  add_child(d, state.streams);
  return JD_OK;
}
void stream_destroy(void *stream) {
  FakeStream *s = static_cast<FakeStream *>(stream);
  if (s->capturing) ++state.violations;
  remove_child(s->device, state.streams);
  delete s;
}
jd_status stream_synchronize(void *stream, jdb_report *report, jd_error *) {
  if (static_cast<FakeStream *>(stream)->capturing) ++state.violations;
  ++state.synchronisations;
  std::lock_guard<std::mutex> lock(state.mutex);
  *report = state.next_report;
  state.next_report = {};
  return JD_OK;
}
void *stream_native(void *stream) { return static_cast<FakeStream *>(stream)->external; }

// True when the stream only records.
bool capture(FakeStream *s) {
  if (!s->capturing) return false;
  ++s->captured;
  ++state.captured;
  return true;
}

jd_status copy(void *stream, void *target, const void *source, size_t bytes, int32_t direction, jd_error *) {
  state.last_direction = direction;
  if (capture(static_cast<FakeStream *>(stream))) return JD_OK;
  ++state.copies;
  memcpy(target, source, bytes);
  return JD_OK;
}
jd_status fill(void *stream, void *target, int32_t byte, size_t bytes, jd_error *) {
  if (capture(static_cast<FakeStream *>(stream))) return JD_OK;
  ++state.fills;
  memset(target, byte, bytes);
  return JD_OK;
}

jd_status event_create(void *device, void **event, jd_error *) {
  FakeDevice *d = static_cast<FakeDevice *>(device);
  *event = new FakeEvent{d};
  add_child(d, state.events);
  return JD_OK;
}
void event_destroy(void *event) {
  FakeEvent *e = static_cast<FakeEvent *>(event);
  remove_child(e->device, state.events);
  delete e;
}
jd_status event_record(void *, void *, jd_error *) { return JD_OK; }
jd_status event_wait(void *, void *, jd_error *) { return JD_OK; }
jd_status event_synchronize(void *, jd_error *) { return JD_OK; }
jd_status event_query(void *, int32_t *done, jd_error *) {
  *done = 1;
  return JD_OK;
}
jd_status event_elapsed(void *, void *, double *milliseconds, jd_error *) {
  *milliseconds = 1.5;
  return JD_OK;
}

jd_status capture_begin(void *stream, jd_error *) {
  static_cast<FakeStream *>(stream)->capturing = true;
  static_cast<FakeStream *>(stream)->captured = 0;
  return JD_OK;
}
jd_status capture_end(void *stream, void **graph, jd_error *) {
  FakeStream *s = static_cast<FakeStream *>(stream);
  if (!s->capturing) ++state.violations;
  s->capturing = false;
  *graph = new FakeGraph{s->captured};
  ++state.graphs;
  return JD_OK;
}
jd_status graph_launch(void *graph, void *, jd_error *) {
  ++state.graph_launches;
  state.runs += static_cast<FakeGraph *>(graph)->nodes;
  return JD_OK;
}
void graph_destroy(void *graph) {
  delete static_cast<FakeGraph *>(graph);
  --state.graphs;
}

jd_status plan_create(void *device, int32_t op, const void *, const jdb_allocator *allocator, void **plan,
                      jd_error *error) {
  FakeDevice *d = static_cast<FakeDevice *>(device);
  FakePlan *made = new FakePlan{d, op, *allocator};
  if (state.plan_bytes > 0) {
    const size_t bytes = static_cast<size_t>(state.plan_bytes);
    const jd_status status = allocator->alloc(allocator->context, bytes, &made->scratch, error);
    if (status != JD_OK) {
      delete made;
      return status;
    }
    made->bytes = state.plan_bytes;
  }
  if (state.plan_status != JD_OK) {
    if (made->bytes > 0) allocator->free(allocator->context, made->scratch, static_cast<size_t>(made->bytes));
    delete made;
    return state.plan_status;  // without a message: core supplies one
  }
  add_child(d, state.plans);
  *plan = made;
  return JD_OK;
}
void plan_destroy(void *plan) {
  FakePlan *p = static_cast<FakePlan *>(plan);
  if (p->bytes > 0) p->allocator.free(p->allocator.context, p->scratch, static_cast<size_t>(p->bytes));
  remove_child(p->device, state.plans);
  delete p;
}
int64_t plan_memory(void *plan) { return static_cast<FakePlan *>(plan)->bytes; }
void plan_describe(void *plan, char *text, size_t capacity) {
  snprintf(text, capacity, "fake plan of operator %d", static_cast<FakePlan *>(plan)->op);
}

// out = x + 1 or x * 2: something to see in replayed graphs.
template <class Function>
void map_rows(const jdb_tensor &x, const jdb_tensor &out, Function function) {
  for (int64_t i = 0; i < x.shape[0]; ++i) {
    for (int64_t j = 0; j < x.shape[1]; ++j) {
      static_cast<float *>(out.data)[i * out.strides[0] + j] =
          function(static_cast<const float *>(x.data)[i * x.strides[0] + j]);
    }
  }
}

size_t args_size(int32_t op) {
  switch (op) {
    case JDB_OP_EMBEDDING_BAG: return sizeof(jdb_embedding_bag_args);
    case JDB_OP_TARGET_ATTENTION: return sizeof(jdb_target_attention_args);
    case JDB_OP_HSTU_ATTENTION: return sizeof(jdb_hstu_attention_args);
    case JDB_OP_DECODE_ATTENTION: return sizeof(jdb_decode_attention_args);
    case JDB_OP_BEAM_ATTENTION: return sizeof(jdb_beam_attention_args);
    case JDB_OP_LONGER_ATTENTION: return sizeof(jdb_longer_attention_args);
    case JDB_OP_MERGE_TOKENS: return sizeof(jdb_merge_tokens_args);
    case JDB_OP_DIN_ATTENTION: return sizeof(jdb_din_attention_args);
    case JDB_OP_STCA_ATTENTION: return sizeof(jdb_stca_attention_args);
    case JDB_OP_PAGED_APPEND:
    case JDB_OP_PAGED_GATHER: return sizeof(jdb_paged_cache_args);
    case JDB_OP_SOFTMAX_ATTENTION: return sizeof(jdb_softmax_attention_args);
    case JDB_OP_MERGE_ATTENTION_STATES: return sizeof(jdb_merge_attention_states_args);
    case JDB_OP_HASH_LOOKUP:
    case JDB_OP_HASH_INSERT:
    case JDB_OP_HASH_ERASE: return sizeof(jdb_hash_table_args);
    case JDB_OP_SEQUENCE_EMBEDDING: return sizeof(jdb_sequence_embedding_args);
    case JDB_OP_RQ_ENCODE: return sizeof(jdb_rq_encode_args);
    case JDB_OP_RQ_DECODE: return sizeof(jdb_rq_decode_args);
    case JDB_OP_QUANTIZE_ROWS:
    case JDB_OP_DEQUANTIZE_ROWS: return sizeof(jdb_quantize_rows_args);
    case JDB_OP_HISTORY_SEARCH: return sizeof(jdb_history_search_args);
    case JDB_OP_LSH_SIGNATURES: return sizeof(jdb_lsh_signatures_args);
    case JDB_OP_SEARCH_ATTENTION: return sizeof(jdb_search_attention_args);
    case JDB_OP_TOP_K_INNER_PRODUCT: return sizeof(jdb_top_k_inner_product_args);
    case JDB_OP_LINEAR: return sizeof(jdb_linear_args);
    case JDB_OP_LAYER_NORM: return sizeof(jdb_layer_norm_args);
    default: return sizeof(jdb_l2_normalize_args);
  }
}

jd_status run(void *stream, void *plan, int32_t op, const void *args, jd_error *error) {
  if (plan && static_cast<FakePlan *>(plan)->op != op) ++state.violations;
  if (capture(static_cast<FakeStream *>(stream))) return JD_OK;
  {
    std::lock_guard<std::mutex> lock(state.mutex);
    if (state.next_run != JD_OK) {
      const jd_status status = state.next_run;
      state.next_run = JD_OK;
      return fail(error, status, "ordered to fail");
    }
    state.last_op = op;
    memcpy(&state.last_args, args, args_size(op));
  }
  if (state.hold) {
    ++state.holding;
    while (state.hold) std::this_thread::yield();
    --state.holding;
  }
  ++state.runs;
  if (op == JDB_OP_L2_NORMALIZE) {
    const auto &a = *static_cast<const jdb_l2_normalize_args *>(args);
    map_rows(a.x, a.out, [](float v) { return v + 1; });
  } else if (op == JDB_OP_LAYER_NORM) {
    const auto &a = *static_cast<const jdb_layer_norm_args *>(args);
    map_rows(a.x, a.out, [](float v) { return v * 2; });
  }
  return JD_OK;
}

const jd_backend table = {
    FAKE_VERSION,
    FAKE_NAME,
    FAKE_HOST_MEMORY,
    FAKE_NATIVE_CAPTURE,
    device_count,
    device_open,
    device_close,
    device_info,
    device_synchronize,
    alloc,
    release,
    stream_create,
    stream_destroy,
    stream_synchronize,
    stream_native,
    host_alloc,
    host_free,
    copy,
    fill,
    event_create,
    event_destroy,
    event_record,
    event_wait,
    event_synchronize,
    event_query,
    event_elapsed,
    FAKE_NATIVE_CAPTURE ? capture_begin : nullptr,
    FAKE_NATIVE_CAPTURE ? capture_end : nullptr,
    FAKE_NATIVE_CAPTURE ? graph_launch : nullptr,
    FAKE_NATIVE_CAPTURE ? graph_destroy : nullptr,
    plan_create,
    plan_destroy,
    plan_memory,
    plan_describe,
    run,
};

}  // namespace

extern "C" __attribute__((visibility("default"))) State *fake_state() { return &state; }

}  // namespace jindou::fake

#ifdef FAKE_PLUGIN
extern "C" __attribute__((visibility("default"))) const jd_backend *jd_backend_table(void) {
  return &jindou::fake::table;
}
#else
extern "C" const jd_backend *jd_cpu_backend(void) { return &jindou::fake::table; }
#endif
