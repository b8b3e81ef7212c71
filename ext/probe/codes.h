/* codes.h - the code objects that stacks name, each by a number that means the same for the whole recording.
 *
 * A code object that a hook meets is *pinned*: it gets a reference, so that it neither disappears nor leaves its address
 * to another one, and so anybody may read it later without the GIL (code objects and their strings do not change). What
 * the sampler meets, which may not touch reference counts, is looked up among the pinned ones; what is not there it has to
 * copy (frames.h), and gets a number above GS_PINNED_CODES.
 *
 * Threads: gs_code_pin by the one thread that has the GIL (in the hooks: gil.mutex is held, nobody else can take it);
 * gs_code_find and gs_code_at by any, without the GIL; gs_codes_release with the GIL, when nobody else uses codes.
 * Progress: no locks; the table only grows until it is released.
 *
 * | word      | written by   | order             | read by      | order         | the edge carries            |
 * |-----------|--------------|-------------------|--------------|---------------|-----------------------------|
 * | entry     | gs_code_pin  | release           | find, at     | acquire       | the reference has been taken |
 */
#ifndef GS_PROBE_CODES_H
#define GS_PROBE_CODES_H

#include <Python.h>

#include <stdint.h>

#define GS_PINNED_CODES UINT32_C(65536) /* power of two; what does not fit is GS_NO_CODE */
#define GS_COPIED_CODES UINT32_C(8192)  /* numbers above GS_PINNED_CODES that the sampler may give */
#define GS_NO_CODE      UINT32_C(0)

/* 1..GS_PINNED_CODES, or GS_NO_CODE when the table is three quarters full. */
uint32_t gs_code_pin(PyCodeObject *code);
uint32_t gs_code_find(const PyCodeObject *code);
/* NULL if the number is not one of a pinned code. */
PyCodeObject *gs_code_at(uint32_t number);
uint32_t gs_codes_pinned(void);
void gs_codes_release(void);
/* After fork, in the child: forgets, and keeps the references, since the child may not have the GIL yet. */
void gs_codes_forget(void);

#endif /* GS_PROBE_CODES_H */
