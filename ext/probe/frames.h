/* frames.h - the Python stack of a thread: walked by the thread itself, or read from outside while it runs.
 *
 * Walking (gs_frames_walk) is for the thread's own hooks: its frames cannot change meanwhile. Reading (gs_frames_peek)
 * is for the sampler: every word comes through process_vm_readv from this process's own memory, so that an address that
 * is no longer mapped is an error code and not a fault, and every frame must name something that is a code object.
 * What was read may still mix two moments, if the thread called or returned meanwhile; but its outermost frame must be the
 * thread's: it is looked for a second time, and a stack that ends elsewhere is read again.
 *
 * Layouts of frames are those of the headers that this is compiled with: 3.10 to 3.15.
 */
#ifndef GS_PROBE_FRAMES_H
#define GS_PROBE_FRAMES_H

#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"

/* Up to `room` frames of the calling thread, innermost first; codes are pinned. The rest of a deeper stack is left out.
 * Threads: the thread that has the GIL, without having to be attached (in the hooks of take and drop). */
size_t gs_frames_walk(PyThreadState *thread, gs_raw_frame *frames, size_t room);

/* What a code object says of itself, copied. */
#define GS_TEXT_BYTES 512u
typedef struct gs_code_copy {
    uint32_t number; /* above GS_PINNED_CODES */
    int32_t first_line;
    uint32_t flags;
    char name[GS_TEXT_BYTES]; /* UTF-8, cut, NUL-terminated */
    char file[GS_TEXT_BYTES];
} gs_code_copy;

/* Called for a code that has been copied for the first time. */
typedef void (*gs_code_copied)(void *context, const gs_code_copy *copy);

/* What a frame of a pinned code means; false: it is not pinned. Any thread, without the GIL. */
bool gs_frames_describe(const gs_raw_frame *raw, gs_code_copy *code, uint32_t *line);

/* The stack of another thread of this process, or 0: it has none, or it went away while it was read. `*outermost` is where
 * its outermost frame was the last time (0: not known): a stack that ends there again needs no second look.
 * Threads: one at a time (it has a cache; the sampler sees to it), without the GIL. */
size_t gs_frames_peek(const PyThreadState *thread, uintptr_t *outermost, gs_raw_frame *frames, size_t room,
                      gs_code_copied copied, void *context);
/* What gs_loop_runs says, from outside: false too if the thread has gone, true where no memory can be read. The sampler
 * only. */
bool gs_frames_loop_runs(const PyThreadState *thread);
/* Forgets what was copied; numbers start anew. */
void gs_frames_forget(void);

/* Whether this process may read its own memory by process_vm_readv: 0 or errno. */
int gs_frames_readable(void);

#endif /* GS_PROBE_FRAMES_H */
