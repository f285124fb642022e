// Streams, events and graphs on a host backend: reports, capture, replay.
#include "core_fixture.h"

namespace jindou::test {
namespace {

class Streams : public CoreTest {
 protected:
  void report(int32_t op, int32_t fault, int32_t table, int64_t position, int64_t value, int64_t limit) {
    jdb_report r = {};
    r.has_error = 1;
    r.op = op;
    r.fault = fault;
    r.table = table;
    r.position = position;
    r.value = value;
    r.limit = limit;
    state()->next_report = r;
  }
  void expect_reported(std::initializer_list<const char *> parts) {
    const jdb_report r = state()->next_report;
    expect_refused(jd_stream_synchronize(stream, &error), JD_OUT_OF_BOUNDS, error, parts);
    EXPECT_EQ(error.position, r.position);
    EXPECT_EQ(error.value, r.value);
    EXPECT_EQ(error.table, r.op == JDB_OP_EMBEDDING_BAG ? r.table : -1);
    EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK) << "the stream is usable again";
  }
  jd_status increment(jd_tensor x, jd_tensor out) {
    jd_l2_normalize_args args = make<jd_l2_normalize_args>();
    args.eps = 1e-6f;
    args.x = x;
    args.out = out;
    return jd_l2_normalize(stream, &args, &error);
  }
};

TEST_F(Streams, reports_become_out_of_bounds) {
  report(JDB_OP_EMBEDDING_BAG, JDB_FAULT_ID, 3, 17, 1000, 900);
  expect_reported({"embedding_bag: argument 'ids'", "0..899", "table 3 has 900 rows", "got 1000 at position 17"});
  report(JDB_OP_EMBEDDING_BAG, JDB_FAULT_OFFSET_START, -1, 0, 5, 0);
  expect_reported({"embedding_bag: argument 'offsets'", "first offset to be 0", "got 5"});
  report(JDB_OP_HSTU_ATTENTION, JDB_FAULT_OFFSET_ORDER, -1, 2, 7, 0);
  expect_reported({"hstu_attention: argument 'offsets'", "non-decreasing", "(7) at position 3", "sequence 2"});
  report(JDB_OP_HSTU_ATTENTION, JDB_FAULT_TARGETS, -1, 2, 70, 5);
  expect_reported({"hstu_attention: argument 'num_targets'", "0..5", "got 70 at position 2"});
  report(JDB_OP_TARGET_ATTENTION, JDB_FAULT_OFFSET_OVERRUN, 1, 4, 77, 50);
  expect_reported({"target_attention: argument 'history_offsets'", "at most 50", "got 77 at position 5"});
  report(JDB_OP_TARGET_ATTENTION, JDB_FAULT_LENGTH, 0, 4, 4097, 4096);
  expect_reported({"target_attention: argument 'candidate_offsets'", "at most 4096 rows", "got 4097 in sequence 4"});
  report(JDB_OP_TARGET_ATTENTION, JDB_FAULT_LENGTH, -1, 4, 4097, 4096);
  expect_reported({"candidate_offsets or history_offsets"});
}

TEST_F(Streams, a_read_reports_as_a_synchronisation_does) {
  float host[4];
  report(JDB_OP_EMBEDDING_BAG, JDB_FAULT_ID, 0, 1, -1, 10);
  expect_refused(jd_tensor_read(stream, tensor(JD_F32, {4}), host, 16, &error), JD_OUT_OF_BOUNDS, error,
                 {"got -1 at position 1"});
  EXPECT_EQ(jd_tensor_read(stream, tensor(JD_F32, {4}), host, 16, &error), JD_OK);
}

TEST_F(Streams, skipped_are_counted_until_taken) {
  int64_t skipped = 9;
  EXPECT_EQ(jd_stream_take_skipped(stream, &skipped, &error), JD_OK);
  EXPECT_EQ(skipped, 0);
  state()->next_report.skipped = 3;
  EXPECT_EQ(jd_stream_synchronize(stream, &error), JD_OK);
  report(JDB_OP_EMBEDDING_BAG, JDB_FAULT_ID, 0, 1, -1, 10);
  state()->next_report.skipped = 4;
  EXPECT_EQ(jd_stream_take_skipped(stream, &skipped, &error), JD_OUT_OF_BOUNDS);
  EXPECT_EQ(skipped, 0);
  EXPECT_EQ(jd_stream_take_skipped(stream, &skipped, &error), JD_OK);
  EXPECT_EQ(skipped, 7) << "an error between loses no count";
  EXPECT_EQ(jd_stream_take_skipped(stream, &skipped, &error), JD_OK);
  EXPECT_EQ(skipped, 0);
  expect_refused(jd_stream_take_skipped(stream, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'skipped'", "NULL"});
}

TEST_F(Streams, failures_of_the_backend_pass_through) {
  const jd_tensor x = tensor(JD_F32, {1, 4}), out = tensor(JD_F32, {1, 4});
  state()->next_run = JD_BACKEND_ERROR;
  expect_refused(increment(x, out), JD_BACKEND_ERROR, error, {"ordered to fail"});
  EXPECT_EQ(increment(x, out), JD_OK);
}

TEST_F(Streams, host_streams_wrap_nothing_and_have_no_native_form) {
  jd_stream wrapped = 9;
  int external = 0;
  void *native = &external;
  expect_refused(jd_stream_wrap(device, &external, &wrapped, &error), JD_UNSUPPORTED, error,
                 {"cpu (#", "cudaStream_t"});
  EXPECT_EQ(wrapped, 0u);
  expect_refused(jd_stream_wrap(device, nullptr, &wrapped, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'cuda_stream'", "NULL"});
  EXPECT_EQ(jd_stream_native(stream, &native, &error), JD_OK);
  EXPECT_EQ(native, nullptr);
  expect_refused(jd_stream_native(stream, nullptr, &error), JD_INVALID_ARGUMENT, error, {"NULL"});
  expect_refused(jd_stream_create(device, nullptr, &error), JD_INVALID_ARGUMENT, error, {"argument 'stream'", "NULL"});
}

TEST_F(Streams, events_mark_and_measure) {
  jd_event start, end;
  ASSERT_EQ(jd_event_create(device, &start, &error), JD_OK);
  ASSERT_EQ(jd_event_create(device, &end, &error), JD_OK);
  int32_t done = 0;
  double ms = 0;
  EXPECT_EQ(jd_event_query(start, &done, &error), JD_OK);
  EXPECT_EQ(done, 1) << "never recorded counts as happened";
  EXPECT_EQ(jd_event_synchronize(start, &error), JD_OK);
  EXPECT_EQ(jd_event_wait(start, stream, &error), JD_OK);
  ASSERT_EQ(jd_event_record(start, stream, &error), JD_OK);
  expect_refused(jd_event_elapsed(start, end, &ms, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'end'", "never recorded"});
  ASSERT_EQ(jd_event_record(end, stream, &error), JD_OK);
  EXPECT_EQ(jd_event_elapsed(start, end, &ms, &error), JD_OK);
  EXPECT_EQ(ms, 1.5);
  EXPECT_EQ(jd_event_elapsed(start, start, &ms, &error), JD_OK);
  EXPECT_EQ(ms, 0);
  expect_refused(jd_event_query(start, nullptr, &error), JD_INVALID_ARGUMENT, error, {"argument 'done'", "NULL"});
  expect_refused(jd_event_elapsed(start, end, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'milliseconds'", "NULL"});
  expect_refused(jd_event_create(device, nullptr, &error), JD_INVALID_ARGUMENT, error, {"argument 'event'", "NULL"});
  jd_event_destroy(start, nullptr);
  jd_event_destroy(end, nullptr);
}

TEST_F(Streams, a_capture_records_and_a_launch_replays) {
  const jd_tensor x = tensor(JD_F32, {2, 4}), y = tensor(JD_F32, {2, 4}), z = tensor(JD_F32, {2, 4});
  jd_graph graph;
  const auto work = [&]() -> int64_t { return state()->runs + state()->copies + state()->fills; };
  const int64_t before = work();
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(increment(x, y), JD_OK);
  ASSERT_EQ(increment(y, y), JD_OK);
  ASSERT_EQ(jd_tensor_copy(stream, z, y, &error), JD_OK);
  ASSERT_EQ(jd_tensor_fill(stream, y, 0, &error), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  EXPECT_EQ(work(), before) << "nothing ran while capturing";

  for (float start : {1.0f, 5.0f}) {
    std::fill_n(data<float>(x), 8, start);
    std::fill_n(data<float>(y), 8, -1.0f);
    ASSERT_EQ(jd_graph_launch(graph, stream, &error), JD_OK);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(data<float>(z)[i], start + 2);
    for (int i = 0; i < 8; ++i) EXPECT_EQ(data<float>(y)[i], 0);
  }
  EXPECT_EQ(work(), before + 8);
  EXPECT_EQ(jd_graph_destroy(graph, &error), JD_OK);
}

TEST_F(Streams, a_graph_keeps_what_it_uses) {
  const int64_t shape[2] = {1, 4};
  jd_tensor x, out;
  jd_graph graph;
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &x, &error), JD_OK);
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &out, &error), JD_OK);
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(jd_tensor_fill(stream, x, 0, &error), JD_OK);
  ASSERT_EQ(increment(x, out), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  jd_tensor_destroy(x, nullptr);
  jd_tensor_destroy(out, nullptr);
  EXPECT_EQ(state()->allocations, 2);
  EXPECT_EQ(jd_graph_launch(graph, stream, &error), JD_OK);
  jd_graph_destroy(graph, nullptr);
  EXPECT_EQ(state()->allocations, 0);
}

TEST_F(Streams, a_failing_launch_stops_and_the_graph_survives) {
  const jd_tensor x = tensor(JD_F32, {1, 4}), out = tensor(JD_F32, {1, 4});
  jd_graph graph;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(increment(x, out), JD_OK);
  ASSERT_EQ(increment(out, x), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  state()->next_run = JD_BACKEND_ERROR;
  expect_refused(jd_graph_launch(graph, stream, &error), JD_BACKEND_ERROR, error, {"ordered to fail"});
  EXPECT_EQ(jd_graph_launch(graph, stream, &error), JD_OK);
  EXPECT_EQ(data<float>(x)[0], 2);
  jd_graph_destroy(graph, nullptr);
}

TEST_F(Streams, a_capturing_stream_refuses_what_cannot_be_recorded) {
  const jd_tensor t = tensor(JD_F32, {4});
  float host[4] = {};
  int64_t skipped;
  jd_event event;
  jd_graph graph, inner = 9;
  ASSERT_EQ(jd_event_create(device, &event, &error), JD_OK);
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  expect_refused(jd_stream_end_capture(stream, &inner, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'stream'", "is not capturing"});
  EXPECT_EQ(inner, 0u);
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  const auto refused = [&](jd_status status) {
    expect_refused(status, JD_INVALID_ARGUMENT, error, {"argument 'stream'", "is capturing"});
  };
  refused(jd_stream_begin_capture(stream, &error));
  refused(jd_stream_synchronize(stream, &error));
  refused(jd_stream_take_skipped(stream, &skipped, &error));
  refused(jd_tensor_write(stream, t, host, 16, &error));
  refused(jd_tensor_read(stream, t, host, 16, &error));
  refused(jd_event_record(event, stream, &error));
  refused(jd_event_wait(event, stream, &error));
  refused(jd_graph_launch(graph, stream, &error));
  expect_refused(jd_device_synchronize(device, &error), JD_INVALID_ARGUMENT, error, {"argument 'device'", "capturing"});
  expect_refused(jd_stream_end_capture(stream, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'graph'", "NULL"});
  ASSERT_EQ(jd_stream_end_capture(stream, &inner, &error), JD_OK) << "still capturing, and fine";
  EXPECT_EQ(jd_device_synchronize(device, &error), JD_OK);
  jd_graph_destroy(graph, nullptr);
  jd_graph_destroy(inner, nullptr);
  jd_event_destroy(event, nullptr);
}

TEST_F(Streams, a_stream_destroyed_while_capturing_leaves_nothing) {
  jd_stream other;
  ASSERT_EQ(jd_stream_create(device, &other, &error), JD_OK);
  ASSERT_EQ(jd_stream_begin_capture(other, &error), JD_OK);
  ASSERT_EQ(jd_tensor_fill(other, tensor(JD_F32, {4}), 0, &error), JD_OK);
  EXPECT_EQ(jd_stream_destroy(other, &error), JD_OK);
  EXPECT_EQ(jd_device_synchronize(device, &error), JD_OK) << "no stream is capturing any more";
}

TEST_F(Streams, bad_arguments_under_capture_are_refused_at_once) {
  const jd_tensor x = tensor(JD_F32, {1, 4}), out = tensor(JD_F32, {1, 8});
  jd_graph graph;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  expect_refused(increment(x, out), JD_INVALID_ARGUMENT, error, {"l2_normalize: argument 'out'", "[1, 4]", "[1, 8]"});
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  jd_graph_destroy(graph, nullptr);
}

}  // namespace
}  // namespace jindou::test
