/* probe.h - one recording: hooks, sampler and recorder, started and stopped together.
 *
 * Threads: gs_probe_export any, without the GIL; all others with the GIL, one at a time (the binding sees to it); start and
 * stop release it while they wait.
 * fork: the child is not recorded, and may start a recording of its own.
 */
#ifndef GS_PROBE_PROBE_H
#define GS_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/export_observer.h"
#include "recorder.h"
#include "stack_sampler.h"

typedef struct gs_probe_config {
    gs_recorder_config recorder;
    gs_sampler_config sampler;
} gs_probe_config;

/* 0 or errno; the file is closed all the same. Without the GIL's hooks (gs_gil_find) the loops are recorded. */
int gs_probe_start(const gs_probe_config *config);
/* 0, or the errno with which writing the file failed. */
int gs_probe_stop(void);
bool gs_probe_runs(void);

typedef struct gs_probe_stats {
    gs_recorder_stats recorder;
    gs_sampler_stats sampler;
    uint32_t pinned_codes;
    unsigned loops; /* GS_LOOPS_ */
} gs_probe_stats;
gs_probe_stats gs_probe_look(void);

/* The iteration that the calling thread's loop is in, as far as it has got: false if it is in none. */
bool gs_probe_iteration(int64_t *start_ns, uint64_t *gil_wait_ns);

/* The task of that name, in UTF-8, is what the calling thread's loop runs. */
void gs_probe_task(const char *name, size_t bytes);

/* A garbage collection has ended, on this thread. */
void gs_probe_collection(int64_t start_ns, uint32_t generation, uint64_t collected);

/* An exporter has sent a request. Any thread, without the GIL; nothing is recorded while no recording runs. */
void gs_probe_export(const gs_export_told *told);

#endif /* GS_PROBE_PROBE_H */
