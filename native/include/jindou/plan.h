/* Plans: an operator with its choice of kernel, metadata and scratch memory, made once and run many times.
 *
 * Each operator's header has a function that makes a plan from a description, and one that runs it on a stream.
 * A plan may be run from any thread; runs of one plan on one stream follow each other in order. Because a plan owns its
 * scratch memory, runs of one plan on two streams at once must be ordered by the caller (events). */
#ifndef JINDOU_PLAN_H
#define JINDOU_PLAN_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Releases a plan; work already enqueued completes first. */
JD_API jd_status jd_plan_destroy(jd_plan plan, jd_error *error);

/* Bytes of device memory the plan holds (scratch and metadata). */
JD_API jd_status jd_plan_memory(jd_plan plan, int64_t *bytes, jd_error *error);

/* One line of text, NUL-terminated and cut to `capacity` bytes: operator, device, kernel chosen, tile sizes. */
JD_API jd_status jd_plan_describe(jd_plan plan, char *text, int64_t capacity, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
