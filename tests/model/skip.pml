/* Claims, deaths and verdicts, ext/core/ring.c, with every step on its own: R1, R5 and R6 of ring.h, sequentially
 * consistent. Producers may die between any two steps. Two sizes: records of one or two granules in few slots, and
 * (WIDE) of one granule in more slots than granules, where only the second producer dies.
 *
 * Checked: no claim overlaps a record that is not freed; a record that was committed is delivered with its own place
 * and never told dead; a record told dead is never committed; in the end the ring is empty in seq and in place.
 *
 * Mutants: INTENT_LATE (after the claim), INTENT_EARLY_OFF (taken back before the commit), NO_SECOND_LOOK (the verdict
 * is stored without looking again), DEAD_END_KEPT (the place is not taken from the claim word when the dead one is the
 * newest), DEAD_END_GUESSED (it always is; only WIDE has room for the harm).
 */
#define PRODUCERS 2
#ifdef WIDE
#define RECORDS 4  /* of the first producer; the second has one */
#define TOTAL 5
#define SLOTS 4    /* and the limit of records */
#define AREA 3     /* granules */
#define LARGEST 1
#define MORTAL (me == 1)
#else
#define RECORDS 2
#define TOTAL 3
#define SLOTS 2
#define AREA 3
#define LARGEST 2
#define MORTAL true
#endif
#define NONE 255
#define FREE 255

byte claim_seq = 0, claim_place = 0;   /* one word, as are the next two: changed in one d_step */
byte freed_seq = 0, freed_place = 0;
byte state_seq[SLOTS] = NONE;          /* committed for this seq */
byte slot_place[SLOTS], slot_extent[SLOTS];
byte intent[PRODUCERS] = NONE;
bool alive[PRODUCERS] = true;
byte running = PRODUCERS;

byte user[AREA] = FREE;                /* ghost: the record that owns a granule */
byte place_of[TOTAL], extent_of[TOTAL];/* ghost */
bool told_dead[TOTAL], was_committed[TOTAL]; /* ghost */

inline die() {
    alive[me] = false;
    goto gone
}

proctype producer(byte me) {
    byte left = (me == 0 -> RECORDS : 1);
    byte seq, place, start, extent, padding, depth, used, seen_freed_seq, seen_freed_place, i;
    do
    :: left == 0 -> break
    :: MORTAL -> die()
    :: left > 0 ->
        left--;
        if
        :: extent = 1
        :: extent = LARGEST
        fi;
again:
        atomic { seq = claim_seq; place = claim_place; }
        d_step { seen_freed_seq = freed_seq; seen_freed_place = freed_place; }
        if
        :: seen_freed_seq > seq -> goto again
        :: else
        fi;
        d_step {
            depth = seq - seen_freed_seq;
            assert(depth <= SLOTS);
            used = (depth == 0 -> 0 :
                    (place > seen_freed_place -> place - seen_freed_place : AREA - seen_freed_place + place));
            padding = (extent > AREA - place -> AREA - place : 0);
            start = (padding > 0 -> 0 : place);
        }
        if
        :: depth == SLOTS || padding + extent > AREA - used ->
            intent[me] = NONE /* GS_FULL */
        :: else ->
#ifndef INTENT_LATE
            intent[me] = seq;
#endif
            if
            :: MORTAL -> die()
            :: true
            fi;
            /* the exchange */
            d_step {
                depth = (claim_seq == seq && claim_place == place);
                if
                :: depth ->
                    claim_seq = seq + 1;
                    claim_place = (start + extent) % AREA;
                    place_of[seq] = start;
                    extent_of[seq] = extent;
                    i = 0;
                    do
                    :: i < extent ->
                        assert(user[start + i] == FREE);
                        user[start + i] = seq;
                        i++
                    :: else -> break
                    od;
                    i = 0
                :: else
                fi
            }
            if
            :: !depth -> goto again
            :: else
            fi;
#ifdef INTENT_LATE
            intent[me] = seq;
#endif
            if
            :: MORTAL -> die()
            :: true
            fi;
#ifdef INTENT_EARLY_OFF
            intent[me] = NONE;
#endif
            d_step { slot_place[seq % SLOTS] = start; slot_extent[seq % SLOTS] = extent; }
            if
            :: MORTAL -> die()
            :: true
            fi;
            d_step {
                assert(!told_dead[seq]);
                state_seq[seq % SLOTS] = seq;
                was_committed[seq] = true;
            }
            if
            :: MORTAL -> die()
            :: true
            fi;
            intent[me] = NONE
        fi;
        /* fewer states: what is not needed any more is not told apart */
        d_step {
            seq = 0; place = 0; start = 0; extent = 0; padding = 0; depth = 0; used = 0;
            seen_freed_seq = 0; seen_freed_place = 0
        }
    od;
gone:
    running--
}

/* gs_ring_free_through, which the consumer does after every record, or later. */
inline free_through() {
    d_step {
        freed_seq = cursor_seq;
        freed_place = cursor_place;
        i = 0;
        do
        :: i < AREA ->
            if
            :: user[i] != FREE && user[i] < cursor_seq -> user[i] = FREE
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

active proctype consumer() {
    byte cursor_seq = 0, cursor_place = 0, seen_seq, seen_place, i, lease;
    bool was_over, is_lost, is_held;
    atomic { run producer(0); run producer(1) }
    do
    :: was_over = (running == 0);
        if
        :: state_seq[cursor_seq % SLOTS] == cursor_seq ->
            /* gs_ring_peek */
            assert(slot_place[cursor_seq % SLOTS] == place_of[cursor_seq]);
            assert(slot_extent[cursor_seq % SLOTS] == extent_of[cursor_seq]);
            cursor_place = (slot_place[cursor_seq % SLOTS] + slot_extent[cursor_seq % SLOTS]) % AREA;
            cursor_seq++
        :: else ->
            /* gs_ring_skip_dead */
            d_step { seen_seq = claim_seq; seen_place = claim_place; }
            if
            :: seen_seq == cursor_seq ->
                free_through();
                if
                :: was_over -> break
                :: else
                fi
            :: else ->
                is_lost = (state_seq[cursor_seq % SLOTS] != cursor_seq);
                lease = 0;
                is_held = false;
                do
                :: lease < PRODUCERS ->
                    if
                    :: intent[lease] == cursor_seq && alive[lease] -> is_held = true
                    :: else
                    fi;
                    lease++
                :: else -> break
                od;
                lease = 0;
                if
                :: is_lost && !is_held ->
                    d_step {
#ifndef NO_SECOND_LOOK
                        is_lost = (state_seq[cursor_seq % SLOTS] != cursor_seq);
#endif
                        if
                        :: is_lost ->
                            assert(!was_committed[cursor_seq]);
                            told_dead[cursor_seq] = true
                        :: else
                        fi
                    }
                    if
                    :: is_lost ->
                        cursor_seq++;
#ifdef DEAD_END_GUESSED
                        cursor_place = seen_place
#else
#ifndef DEAD_END_KEPT
                        if
                        :: seen_seq == cursor_seq -> cursor_place = seen_place
                        :: else
                        fi
#endif
#endif
                    :: else
                    fi
                :: else
                fi
            fi
        fi;
        d_step { is_lost = false; is_held = false; seen_seq = 0; seen_place = 0 }
        if
        :: free_through()
        :: true
        fi
    od;
    assert(freed_seq == claim_seq && freed_place == claim_place);
    i = 0;
    do
    :: i < claim_seq ->
        assert(was_committed[i] != told_dead[i]);
        i++
    :: else -> break
    od
}
