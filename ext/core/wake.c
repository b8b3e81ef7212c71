#include "wake.h"

#include <assert.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

/* Each may be weakened by a build flag; the tests in tests/native and tests/model must notice. See the table
 * in wake.h. */
#ifndef WAKE_ORDER_PREPARE
#define WAKE_ORDER_PREPARE memory_order_seq_cst
#endif
#ifndef WAKE_ORDER_NOTIFY
#define WAKE_ORDER_NOTIFY memory_order_seq_cst
#endif
#ifndef WAKE_ORDER_TELL
#define WAKE_ORDER_TELL memory_order_release
#endif
#ifndef WAKE_ORDER_HEAR
#define WAKE_ORDER_HEAR memory_order_acquire
#endif

/* Without FUTEX_PRIVATE_FLAG the word may lie in memory shared between processes. */
#define FUTEX_SCOPE FUTEX_PRIVATE_FLAG

static_assert(sizeof(gs_wake) == sizeof(uint32_t), "a futex is a 32-bit word");

void gs_wake_init(gs_wake *self) {
    /* relaxed: before any other thread knows of it */
    atomic_store_explicit(&self->interest, 0, memory_order_relaxed);
}

void gs_wake_prepare(gs_wake *self, uint32_t interest) {
    /* WAKE_ORDER_PREPARE, pairs with NOTIFY in gs_wake_notify (W1): whoever does not see this has its work seen by the
     * re-check that follows. */
    atomic_store_explicit(&self->interest, interest, WAKE_ORDER_PREPARE);
}

void gs_wake_cancel(gs_wake *self) {
    /* relaxed: says only that system calls are not needed; who has not heard of it makes one too many */
    atomic_store_explicit(&self->interest, 0, memory_order_relaxed);
}

void gs_wake_park(gs_wake *self, int64_t deadline_ns) {
    /* relaxed: decides only whether to sleep; the kernel compares again */
    uint32_t interest = atomic_load_explicit(&self->interest, memory_order_relaxed);
    if (interest != 0) {
        struct timespec deadline = gs_timespec(deadline_ns > 0 ? deadline_ns : 0);
        /* The bitset variant takes an absolute time, of CLOCK_MONOTONIC. Whatever it returns, the caller
         * looks again. */
        (void)syscall(SYS_futex, &self->interest, FUTEX_WAIT_BITSET | FUTEX_SCOPE, interest,
                      deadline_ns == GS_NEVER ? NULL : &deadline, NULL, FUTEX_BITSET_MATCH_ANY);
    }
    /* WAKE_ORDER_HEAR, pairs with TELL in gs_wake_notify (W2): what the notifier did before it is visible. */
    (void)atomic_exchange_explicit(&self->interest, 0, WAKE_ORDER_HEAR);
}

void gs_wake_notify(gs_wake *self, uint32_t reason) {
    /* WAKE_ORDER_NOTIFY, pairs with PREPARE in gs_wake_prepare (W1) */
    if ((atomic_load_explicit(&self->interest, WAKE_ORDER_NOTIFY) & reason) == 0) {
        return;
    }
    /* WAKE_ORDER_TELL, pairs with HEAR in gs_wake_park (W2). One of several notifiers takes the interest and makes the
     * system call. */
    if (atomic_exchange_explicit(&self->interest, 0, WAKE_ORDER_TELL) != 0) {
        (void)syscall(SYS_futex, &self->interest, FUTEX_WAKE | FUTEX_SCOPE, INT_MAX, NULL, NULL, 0);
    }
}
