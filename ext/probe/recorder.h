/* recorder.h - from the hooks' events to the capture file (docs/capture.md), on a thread that never takes the GIL.
 *
 * hooks --> ring (core/ring.h: many producers, one consumer) --> recorder thread --> definitions and events, in chunks,
 * compressed --> file. The thread makes stacks of raw frames, gives them numbers, and writes what a number means before
 * the first event that uses it.
 *
 * Threads: push, lost by any, without blocking: what finds no room is counted. start, stop by one thread at a time,
 * without the GIL where they wait.
 * fork: the child calls gs_recorder_forget; it has neither thread nor file, and what was pushed is the parent's.
 */
#ifndef GS_PROBE_RECORDER_H
#define GS_PROBE_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"
#include "frames.h"
#include "thread_groups.h"
#include "threads.h"

typedef struct gs_recorder_config {
    int file; /* open for writing, empty; the recorder closes it. -1: the last seconds are kept in memory, for dumps */
    int64_t totals_threshold_ns; /* 0: no totals (totals.h) are kept */
    const char *metadata;
    size_t metadata_bytes;
    /* Called on the recorder thread, without the GIL, when threads have come that have no name yet. */
    void (*on_new_thread)(void);
} gs_recorder_config;

/* 0 or errno. */
int gs_recorder_start(const gs_recorder_config *config);
/* Everything pushed before is in the file, and its end chunk. Blocks for a few milliseconds, or as long as the disk does.
 * Returns 0, or the errno with which writing failed. */
int gs_recorder_stop(void);
void gs_recorder_forget(void);
/* Of a recording without a file: writes what is in memory to `file`, a complete capture. 0 or errno. Any thread, while the
 * recording runs; without the GIL, it may take as long as the disk does. */
int gs_recorder_dump(int file);

/* False: there was no room, which has been counted. */
bool gs_recorder_push(const gs_event *event, const gs_raw_frame *frames, size_t frame_count);
bool gs_recorder_push_holds(uint32_t thread, int64_t now_ns, const gs_bucket_count *counts, uint16_t count);
/* A thread is new, or its loop is. */
void gs_recorder_push_thread(const gs_thread *thread);
/* A thread's name. UTF-8, is cut at GS_NAME_BYTES, as the next is. */
void gs_recorder_push_name(uint32_t thread, const char *name, size_t bytes);
/* The name of the task that the thread's loop is running. */
void gs_recorder_push_task(uint32_t thread, int64_t now_ns, const char *name, size_t bytes);
/* A code that the sampler copied. */
void gs_recorder_push_code(const gs_code_copy *copy);
void gs_recorder_lost(gs_lost_reason reason);

/* What is known of a thread that lives, or has ended not long ago: `name` is "" while it is not known, and has room for
 * GS_NAME_BYTES + 1. False: nothing. Any thread, until the next recording. */
bool gs_recorder_thread(uint32_t thread, uint32_t *native_id, char *name);

/* What a raw frame of this recording means; false: its code is not known any more. Any thread, while the recording runs. */
bool gs_recorder_describe(const gs_raw_frame *frame, gs_code_copy *code, uint32_t *line);

typedef struct gs_recorder_stats {
    uint64_t lost[4]; /* by gs_lost_reason */
    uint64_t events, stacks, file_bytes, chunks;
    int write_error; /* errno, 0: none */
} gs_recorder_stats;
gs_recorder_stats gs_recorder_look(void);

#endif /* GS_PROBE_RECORDER_H */
