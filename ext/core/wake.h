/* wake.h - park one thread, and wake it from others, without lost wake-ups and without a system call when it is awake.
 *
 * The parked thread says what it waits for (a mask of reasons), a notifier says what has happened (a reason): only a
 * thread that waits for it is woken. So a producer of spans costs no system call while the exporter is busy or backing
 * off.
 *
 * Use, on the parking thread:
 *     gs_wake_prepare(&wake, GS_WAKE_SPANS | GS_WAKE_CONTROL);       announce (seq_cst)
 *     if (there is work: read seq_cst words) gs_wake_cancel(&wake);  re-check
 *     else gs_wake_park(&wake, deadline_ns);                         sleep
 * and on the others: make the work visible by a seq_cst read-modify-write or store, then gs_wake_notify(&wake, reason).
 *
 * Threads: prepare, cancel, park by the one parking thread; notify by any, also with the GIL held (never blocks, and
 * makes a system call only when it is the one that wakes).
 * Progress: a notifier stopped before its notify leaves the parked thread asleep until its deadline or another notify;
 * that is all that anyone can hold up.
 * States of `interest`: 0, awake or told to wake; not 0, asleep or about to be, waiting for these reasons.
 *
 * | word     | written by            | order             | read by | order            | the edge carries              |
 * |----------|-----------------------|-------------------|---------|------------------|-------------------------------|
 * | interest | prepare               | PREPARE (seq_cst) | notify  | NOTIFY (seq_cst) | W1: store, then load, by both |
 * | interest | notify, exchange to 0 | TELL (release)    | park    | HEAR (acquire)   | W2: what came before notify   |
 * | interest | cancel                | relaxed           | notify  | NOTIFY           | nothing: saves a system call  |
 * (the orders are WAKE_ORDER_ macros in wake.c)
 *
 * W1 A notifier makes its work visible (seq_cst), then reads `interest` (seq_cst); the parking thread writes `interest`
 *    (seq_cst), then reads the work (seq_cst). In the single order of these four one of the writes is first, and the
 *    other side sees it: the work is found by the re-check, or the thread is woken. All four must be seq_cst, and the
 *    re-check must come after prepare.
 * W2 Whoever sets `interest` to 0 from something else makes the system call; the kernel compares the word again under
 *    its own lock before it lets the thread sleep, so a wake-up between the re-check and the sleep is not lost. After a
 *    wake-up everything the notifier did before is visible.
 *
 * fork: in the child call gs_wake_init again.
 * Tests: tests/native/test_wake.c (mutant PREPARE), tests/model/ (W1, W2 in every order that C11 allows, with a mutant
 * for every macro; park.pml).
 */
#ifndef GS_WAKE_H
#define GS_WAKE_H

#include <stdatomic.h>
#include <stdint.h>

#define GS_WAKE_SPANS   UINT32_C(1) /* enough spans for a batch */
#define GS_WAKE_CONTROL UINT32_C(2) /* flush, stop */

typedef struct gs_wake {
    _Atomic uint32_t interest; /* 0: awake, or told to wake */
} gs_wake;

void gs_wake_init(gs_wake *self);
void gs_wake_prepare(gs_wake *self, uint32_t interest);
void gs_wake_cancel(gs_wake *self);
/* Returns when notified with a reason in the interest, at the deadline (monotonic ns, GS_NEVER for none), or
 * spuriously. */
void gs_wake_park(gs_wake *self, int64_t deadline_ns);
void gs_wake_notify(gs_wake *self, uint32_t reason);

#endif /* GS_WAKE_H */
