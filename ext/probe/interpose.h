/* interpose.h - puts a function of ours where a loaded object calls one of another's, and takes it out again.
 *
 * A dynamically linked object calls foreign functions through slots in its global offset table. Swapping a slot's pointer
 * diverts that object's calls, and nobody else's: no code is patched, no symbol is shadowed, nothing is needed beyond
 * the right to mprotect one's own pages. Slots are listed in DT_JMPREL (called through the PLT) and, in objects built with
 * -fno-plt or whose address of the function is taken, in DT_RELA.
 *
 * Threads: one at a time (the probe's start and stop, and its sampler between them). A swap is one aligned store: a thread
 * that calls at that moment calls the old or the new function.
 * fork: slots are memory; the child has them as they are.
 * Source: System V ABI, AMD64 and AArch64 supplements (dynamic linking, relocation types)
 */
#ifndef GS_PROBE_INTERPOSE_H
#define GS_PROBE_INTERPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gs_slot {
    void **address;
    void *theirs; /* what was there, to be called and to be put back */
    void *ours;
    uintptr_t object; /* load address of the object that has the slot */
} gs_slot;

#define GS_MAX_SLOTS 64u

typedef struct gs_slots {
    gs_slot slot[GS_MAX_SLOTS];
    size_t count;
} gs_slots;

/* A loaded object, as the dynamic linker describes it. */
typedef struct gs_object {
    const char *path; /* "" for the main program; the linker's own memory */
    uintptr_t base;
    const void *dynamic; /* its PT_DYNAMIC segment */
    uintptr_t relro_start, relro_end;
    uintptr_t start, end; /* of what is mapped */
} gs_object;

/* Calls `visit` for every loaded object, until it returns true. */
typedef bool (*gs_object_visit)(const gs_object *object, void *context);
void gs_objects_visit(gs_object_visit visit, void *context);

/* Grows with every object that is loaded. */
unsigned long long gs_objects_loaded(void);

/* Diverts every slot of the object for `symbol` to `ours`, unless it leads there already, also by way of another tool. Calls go on to what was there if another
 * tool had put it there, else to `real`. Returns how many slots were found; slots beyond GS_MAX_SLOTS, or that cannot be
 * written, stay as they are and do not count. */
size_t gs_interpose(gs_slots *self, const gs_object *object, const char *symbol, void *ours, void *real);

/* Puts back what was there, except where somebody else has put in something of theirs since; those slots stay in the
 * list, and ours must go on passing calls through. */
void gs_interpose_undo(gs_slots *self);

/* What a call through a slot that leads to `ours` should go on to. The first such slot's; `real` if there is none. */
void *gs_interpose_next(const gs_slots *self, const void *ours, void *real);

#endif /* GS_PROBE_INTERPOSE_H */
