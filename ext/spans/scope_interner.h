/* scope_interner.h - resources and instrumentation scopes get numbers, so that a record names its scope in four bytes.
 *
 * Two are the same if OTLP cannot tell them apart: definitions are compared as encoded bytes, so no Python code decides
 * it. In front of that lies a table by identity, which answers for nearly every span.
 *
 * Numbers are 1..GS_SCOPE_MAX, ascending, for resources and for scopes; once one kind is used up, what would need
 * another number gets a scope of its own with the id GS_SCOPE_INLINE. What has a number keeps it, and its memory, as
 * long as the interner lives.
 *
 * Told: a consumer knows a scope once a record with its definition has been committed. Its generation (see
 * gs_exporter_generation) is kept in the scope, written after the commit and read before the next claim, so a record
 * without the definition is behind one with it:
 *
 * | word | written by        | order   | read by          | order   | what the edge carries                               |
 * |------|-------------------|---------|------------------|---------|-----------------------------------------------------|
 * | told | gs_scope_set_told | release | gs_scope_is_told | acquire | I1: the record with the definition has been claimed |
 * | busy | leave             | release | enter            | acquire | I2: the tables may be read and written              |
 *
 * Progress: nobody waits. Who finds the tables in use (free-threaded builds alone: nothing in them releases the GIL),
 * or left in use by a thread that a fork has left behind, gets an inline scope. A new generation frees the tables
 * again.
 *
 * Threads: any, with the GIL or attached. References that the tables give up are dropped outside of them, since that
 * may run anything.
 */
#ifndef GS_SCOPE_INTERNER_H
#define GS_SCOPE_INTERNER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gs_definition_fields {
    const uint8_t *data;
    size_t bytes;
} gs_definition_fields;

typedef struct gs_resource {
    uint32_t id; /* GS_SCOPE_INLINE: belongs to one inline scope */
    gs_definition_fields fields;
    uint64_t hash;
} gs_resource;

typedef struct gs_scope {
    uint32_t id;
    _Atomic uint32_t told; /* the generation and 1; 0: to none */
    gs_resource *resource;
    gs_definition_fields fields;
    uint64_t hash;
} gs_scope;

typedef struct gs_scope_interner gs_scope_interner;

/* NULL: no memory. */
gs_scope_interner *gs_scope_interner_new(void);
void gs_scope_interner_free(gs_scope_interner *self);

/* The scope that this pair of objects was found to be before; NULL: not known. */
gs_scope *gs_scope_interner_find(gs_scope_interner *self, PyObject *resource, PyObject *scope, uint32_t generation);

/* The scope with these finished fields (otlp.h), which stands for this pair of objects from now on. NULL: no memory. */
gs_scope *gs_scope_interner_add(gs_scope_interner *self, PyObject *resource, gs_definition_fields resource_fields,
                                PyObject *scope, gs_definition_fields scope_fields);

/* After use: frees an inline scope, and no other. NULL is allowed. */
void gs_scope_release(gs_scope *scope);

static inline bool gs_scope_is_told(gs_scope *scope, uint32_t generation) {
    /* acquire, pairs with gs_scope_set_told (I1): this record may go without its definition */
    return atomic_load_explicit(&scope->told, memory_order_acquire) == generation + 1;
}

static inline void gs_scope_set_told(gs_scope *scope, uint32_t generation) {
    /* release, pairs with gs_scope_is_told (I1) */
    atomic_store_explicit(&scope->told, generation + 1, memory_order_release);
}

#endif /* GS_SCOPE_INTERNER_H */
