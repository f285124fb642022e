#include "core/graph.h"

#include <cstring>

#include "core/launch.h"
#include "core/plan.h"
#include "core/stream.h"

namespace jindou::core {

void Recording::add_operator(int32_t op, Plan *plan, const void *args, size_t size) {
  Node node = {};
  node.what = Node::kOperator;
  node.op = op;
  node.plan = plan;
  std::memcpy(&node.args, args, size);
  nodes_.push_back(node);
}

void Recording::add_copy(void *target, const void *source, int64_t bytes) {
  Node node = {};
  node.what = Node::kCopy;
  node.target = target;
  node.source = source;
  node.bytes = bytes;
  nodes_.push_back(node);
}

void Recording::add_fill(void *target, uint8_t byte, int64_t bytes) {
  Node node = {};
  node.what = Node::kFill;
  node.target = target;
  node.byte = byte;
  node.bytes = bytes;
  nodes_.push_back(node);
}

jd_status Recording::replay(jd_error *error, Device &device, void *native_stream) const {
  for (const Node &node : nodes_) {
    jd_status status = JD_OK;
    switch (node.what) {
      case Node::kOperator:
        status = launch({error, operator_name(node.op)}, device, native_stream, node.op, node.plan, &node.args);
        break;
      case Node::kCopy:
        status = launch_copy({error}, device, native_stream, node.target, node.source, node.bytes);
        break;
      case Node::kFill: status = launch_fill({error}, device, native_stream, node.target, node.byte, node.bytes); break;
    }
    if (status != JD_OK) return status;
  }
  return JD_OK;
}

}  // namespace jindou::core

using namespace jindou;
using namespace jindou::core;

extern "C" {

jd_status jd_graph_launch(jd_graph graph_handle, jd_stream stream_handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Graph> graph;
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = acquire(context, "graph", graph_handle, &graph)) return status;
    if (const jd_status status = acquire(context, "stream", stream_handle, &stream)) return status;
    Device &device = *stream->device;
    if (graph->device.get() != &device) return refuse_foreign(context, "stream", device, "the graph", *graph->device);
    if (const jd_status status = use.enter(context, "stream", device)) return status;
    std::lock_guard<std::mutex> lock_graph(graph->mutex);
    std::lock_guard<std::mutex> lock_stream(stream->mutex);
    if (const jd_status status = stream->expect_not_capturing(context)) return status;
    if (const jd_status status = stream->catch_up(context)) return status;
    if (!graph->native) return graph->recording.replay(error, device, stream->native);
    return backend_result(error, device.backend.graph_launch(graph->native, stream->native, error), "graph_launch");
  });
}

jd_status jd_graph_destroy(jd_graph handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    Ref<Graph> graph;
    return close(Context{error}, "graph", handle, &graph);
  });
}

}  // extern "C"
