#include "codes.h"

#include <stdatomic.h>

static _Atomic(PyCodeObject *) entries[GS_PINNED_CODES];
static _Atomic uint32_t pinned;

static uint32_t home(const PyCodeObject *code) {
    /* Fibonacci hashing of the address without its alignment. */
    return (uint32_t)(((uintptr_t)code >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 48) & (GS_PINNED_CODES - 1);
}

uint32_t gs_code_find(const PyCodeObject *code) {
    for (uint32_t at = home(code);; at = (at + 1) & (GS_PINNED_CODES - 1)) {
        /* ACQUIRE, pairs with RELEASE in gs_code_pin: who finds it may read it */
        const PyCodeObject *there = atomic_load_explicit(&entries[at], memory_order_acquire);
        if (there == code) {
            return at + 1;
        }
        if (there == NULL) {
            return GS_NO_CODE;
        }
    }
}

uint32_t gs_code_pin(PyCodeObject *code) {
    uint32_t at = home(code);
    for (;; at = (at + 1) & (GS_PINNED_CODES - 1)) {
        /* relaxed: only this thread writes, and the GIL orders the writers */
        const PyCodeObject *there = atomic_load_explicit(&entries[at], memory_order_relaxed);
        if (there == code) {
            return at + 1;
        }
        if (there == NULL) {
            break;
        }
    }
    /* relaxed: a count; a quarter of the table stays free, so that a search ends soon */
    uint32_t count = atomic_load_explicit(&pinned, memory_order_relaxed);
    if (count >= GS_PINNED_CODES / 4 * 3) {
        return GS_NO_CODE;
    }
    Py_INCREF(code);
    /* relaxed: as above */
    atomic_store_explicit(&pinned, count + 1, memory_order_relaxed);
    /* RELEASE, pairs with ACQUIRE in gs_code_find and gs_code_at: the reference comes first */
    atomic_store_explicit(&entries[at], code, memory_order_release);
    return at + 1;
}

PyCodeObject *gs_code_at(uint32_t number) {
    if (number == GS_NO_CODE || number > GS_PINNED_CODES) {
        return NULL;
    }
    /* ACQUIRE, pairs with RELEASE in gs_code_pin */
    return atomic_load_explicit(&entries[number - 1], memory_order_acquire);
}

uint32_t gs_codes_pinned(void) {
    /* relaxed: a count */
    return atomic_load_explicit(&pinned, memory_order_relaxed);
}

void gs_codes_release(void) {
    for (uint32_t at = 0; at < GS_PINNED_CODES; at++) {
        /* relaxed: nobody else uses the table now */
        PyCodeObject *code = atomic_exchange_explicit(&entries[at], NULL, memory_order_relaxed);
        Py_XDECREF(code);
    }
    /* relaxed: as above */
    atomic_store_explicit(&pinned, 0, memory_order_relaxed);
}

/* After fork, in the child. All stores are relaxed: there is one thread. */
void gs_codes_forget(void) {
    for (uint32_t at = 0; at < GS_PINNED_CODES; at++) {
        atomic_store_explicit(&entries[at], NULL, memory_order_relaxed);
    }
    atomic_store_explicit(&pinned, 0, memory_order_relaxed);
}
