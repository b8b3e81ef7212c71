/* status.h - the outcomes that the core's functions return.
 *
 * Set-up functions return 0 or an errno value; everything that may end in more than one *expected* way returns
 * a gs_status. Threads: plain values, any thread.
 */
#ifndef GS_STATUS_H
#define GS_STATUS_H

typedef enum gs_status {
    GS_OK = 0,
    GS_FULL,      /* no room now: the newest is given up */
    GS_TOO_LARGE, /* can never fit */
    GS_EMPTY,     /* nothing there */
    GS_PENDING,   /* claimed by a producer that has not committed yet */
    GS_TIMEOUT,   /* the deadline came first */
    GS_FAILED,    /* finished, but not with success */
    GS_STOPPED,   /* shut down, or being shut down */
    GS_NO_MEMORY,
} gs_status;

#endif /* GS_STATUS_H */
