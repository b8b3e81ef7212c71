/* Parking and waking, ext/core/wake.c, with every step on its own: W1 and W2 of wake.h, sequentially consistent (weaker
 * orders are the business of test_ring_orders.py). A wake-up that is lost is an invalid end state: the parker sleeps.
 *
 * Mutants: NO_RECHECK, RECHECK_FIRST (before prepare), BLIND_SLEEP (the kernel does not compare), NO_WAKE (the interest
 * is taken, but nobody woken).
 */
#define NOTIFIERS 2
#define ROUNDS 2
#define TOTAL 4

byte work = 0;
bool interest = false;
bool sleeping = false;

active [NOTIFIERS] proctype notifier() {
    byte round = 0;
    bool seen;
    bool taken;
    do
    :: round < ROUNDS ->
        work++;
        seen = interest;
        if
        :: seen ->
            d_step { taken = interest; interest = false; }
            if
            :: taken ->
#ifdef NO_WAKE
                skip
#else
                sleeping = false
#endif
            :: else
            fi
        :: else
        fi;
        round++
    :: else -> break
    od
}

active proctype parker() {
    byte done = 0;
    byte looked;
    do
    :: done == TOTAL -> break
    :: work != done -> done = work
    :: else ->
#ifdef RECHECK_FIRST
        looked = work;
#endif
        interest = true;
#ifdef NO_RECHECK
        looked = done;
#else
#ifndef RECHECK_FIRST
        looked = work;
#endif
#endif
        if
        :: looked != done -> interest = false
        :: else ->
#ifdef BLIND_SLEEP
            sleeping = true;
#else
            /* under the kernel's lock */
            d_step {
                if
                :: interest -> sleeping = true
                :: else
                fi
            }
#endif
            !sleeping;
            interest = false
        fi
    od
}
