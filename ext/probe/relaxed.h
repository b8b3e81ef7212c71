/* relaxed.h - words that are read as a snapshot, or ordered by something else: gil.mutex, one thread, a thread's start.
 *
 * Where an order carries an invariant, <stdatomic.h> is used by name, with its reason at the place.
 * Threads: any.
 */
#ifndef GS_PROBE_RELAXED_H
#define GS_PROBE_RELAXED_H

#include <stdatomic.h>

/* relaxed: see above */
#define gs_load(word)         atomic_load_explicit(word, memory_order_relaxed)
/* relaxed: see above */
#define gs_store(word, value) atomic_store_explicit(word, value, memory_order_relaxed)
/* By the word's one writer, which an addition in one step would only slow down. */
#define gs_add(word, value)   gs_store(word, gs_load(word) + (value))

#endif /* GS_PROBE_RELAXED_H */
