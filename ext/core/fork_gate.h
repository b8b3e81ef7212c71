/* fork_gate.h - no fork while a thread of ours is inside a library that has locks of its own.
 *
 * A fork in the middle of libcurl or OpenSSL would leave the child their locks locked for ever (curl_global_init's, say).
 * So every exporter thread is inside the gate while it is inside such a library, but for waiting in poll, and a fork waits
 * until the gate is empty.
 *
 * Threads: enter and leave by exporter threads, without the GIL; shut by the thread that forks, before, and reopen by the
 * same thread, after, in parent and child (pthread_atfork).
 */
#ifndef GS_FORK_GATE_H
#define GS_FORK_GATE_H

#include <stdbool.h>

void gs_fork_gate_enter(void);
void gs_fork_gate_leave(void);

/* Waits for 1 s at most, usually not at all: longer than a TLS handshake takes, and then the fork goes ahead, as it would
 * in any process with threads. */
void gs_fork_gate_shut(void);
void gs_fork_gate_reopen(bool in_child);

#endif /* GS_FORK_GATE_H */
