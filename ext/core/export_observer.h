/* export_observer.h - who is told of each request that exporters have sent: one observer in the process, for all of them.
 *
 * It may lie in another module (the probe's), which is never unloaded.
 * Threads: observe by any, once; the observer is called on exporter threads, without the GIL, and must not block.
 */
#ifndef GS_EXPORT_OBSERVER_H
#define GS_EXPORT_OBSERVER_H

#include <stdint.h>

/* The name of a PyCapsule that holds a gs_export_observer. */
#define GS_EXPORT_OBSERVER_CAPSULE "gilscope.export_observer"

typedef struct gs_export_told {
    uint32_t exporter; /* 1, 2, ... in the process */
    int64_t start_ns;
    int64_t end_ns; /* retries, and the pauses between them, included */
    uint32_t spans;
    uint32_t refused;
    uint64_t sent_bytes;
    /* Of the exporter, at end_ns: as gs_exporter_stats has them, all reasons together. */
    uint64_t queued, exported, dropped, failed;
} gs_export_told;

typedef void (*gs_export_observer)(const gs_export_told *told);

#endif /* GS_EXPORT_OBSERVER_H */
