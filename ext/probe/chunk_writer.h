/* chunk_writer.h - the chunks of a capture (docs/capture.md): checked, compressed, appended to a file or kept in memory.
 *
 * Threads: one at a time. After the first write that fails nothing more is written: a file with a hole would be read wrong.
 */
#ifndef GS_PROBE_CHUNK_WRITER_H
#define GS_PROBE_CHUNK_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "flight.h"

typedef enum gs_chunk_type {
    GS_CHUNK_METADATA = 1,
    GS_CHUNK_DEFINITIONS = 2,
    GS_CHUNK_EVENTS = 3,
    GS_CHUNK_END = 4
} gs_chunk_type;

/* No payload may be longer; readers rely on it. */
#define GS_CHUNK_MAX_BYTES     (4u << 20)
/* Of the chunk's number in its header. */
#define GS_CHUNK_NUMBER_OFFSET 20u

typedef struct gs_chunk_writer {
    int file;          /* -1: chunks go to `flight` */
    gs_flight *flight; /* NULL: chunks go to `file` */
    int error;         /* errno of the write that failed, 0: none did */
    uint32_t next_number;
    uint64_t file_bytes;
} gs_chunk_writer;

/* Writes the header, if it is a file; `flight` stays the caller's. */
void gs_chunk_writer_begin(gs_chunk_writer *self, int file, gs_flight *flight);
/* Appends a chunk; `bytes` of 0 writes nothing. */
void gs_chunk_write(gs_chunk_writer *self, gs_chunk_type type, const void *payload, size_t bytes);

/* Writes chunks that have their headers already. */
void gs_chunk_append(gs_chunk_writer *self, void *chunks, size_t bytes, uint32_t count);

#endif /* GS_PROBE_CHUNK_WRITER_H */
