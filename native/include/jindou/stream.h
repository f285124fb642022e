/* Streams, events and graphs: the order of work on a device. */
#ifndef JINDOU_STREAM_H
#define JINDOU_STREAM_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A new stream. On cpu and simt a stream runs its work in the calling thread (with the device's threads) before the call
 * returns; on cuda it is a cudaStream_t. Work enqueued on one stream by several threads runs in the order of the calls. */
JD_API jd_status jd_stream_create(jd_device device, jd_stream *stream, jd_error *error);

/* Wraps a cudaStream_t that others own, not NULL (cuda only; JD_UNSUPPORTED elsewhere). */
JD_API jd_status jd_stream_wrap(jd_device device, void *cuda_stream, jd_stream *stream, jd_error *error);

/* Waits for the stream's work, then releases it (a wrapped cudaStream_t stays). What an operator under JD_BOUNDS_STRICT met
 * since the last synchronisation goes unreported; a capture not ended is dropped. */
JD_API jd_status jd_stream_destroy(jd_stream stream, jd_error *error);

/* Blocks until all work enqueued so far is done. JD_OUT_OF_BOUNDS when, since the last synchronisation, an operator under
 * JD_BOUNDS_STRICT met a bad id, offset or length: the error names the first one; the stream is then usable again. */
JD_API jd_status jd_stream_synchronize(jd_stream stream, jd_error *error);

/* Synchronises, then gives and clears the number of ids (or sequences) that JD_BOUNDS_ZERO operators skipped. */
JD_API jd_status jd_stream_take_skipped(jd_stream stream, int64_t *skipped, jd_error *error);

/* The cudaStream_t of a cuda stream; NULL elsewhere. */
JD_API jd_status jd_stream_native(jd_stream stream, void **cuda_stream, jd_error *error);

JD_API jd_status jd_event_create(jd_device device, jd_event *event, jd_error *error);
JD_API jd_status jd_event_destroy(jd_event event, jd_error *error);
JD_API jd_status jd_event_record(jd_event event, jd_stream stream, jd_error *error);
/* Work enqueued on `stream` from now on waits for the event. */
JD_API jd_status jd_event_wait(jd_event event, jd_stream stream, jd_error *error);
/* Blocks until a recorded event has happened; an event never recorded counts as happened. */
JD_API jd_status jd_event_synchronize(jd_event event, jd_error *error);
/* *done = 1 when the event has happened. Does not block. */
JD_API jd_status jd_event_query(jd_event event, int32_t *done, jd_error *error);
/* Milliseconds between two recorded events of one device; JD_INVALID_ARGUMENT when one was never recorded. Blocks until both
 * have happened. */
JD_API jd_status jd_event_elapsed(jd_event start, jd_event end, double *milliseconds, jd_error *error);

/* From begin to end, operators, copies and fills enqueued on the stream are recorded, not run. The graph keeps every
 * tensor and plan it uses alive. Synchronising, reading or writing a capturing stream, recording or awaiting an event on it
 * and launching a graph on it are JD_INVALID_ARGUMENT. Begin and end may come from different threads. On cpu, offsets,
 * lengths and targets are checked when the graph runs: a launch that meets a bad one stops there and says so. */
JD_API jd_status jd_stream_begin_capture(jd_stream stream, jd_error *error);
JD_API jd_status jd_stream_end_capture(jd_stream stream, jd_graph *graph, jd_error *error);
/* Enqueues the whole recording. */
JD_API jd_status jd_graph_launch(jd_graph graph, jd_stream stream, jd_error *error);
JD_API jd_status jd_graph_destroy(jd_graph graph, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
