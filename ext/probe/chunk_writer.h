/* chunk_writer.h - the chunks of a capture file (docs/capture.md): checked, compressed, appended.
 *
 * Threads: one at a time. After the first write that fails nothing more is written: a file with a hole would be read wrong.
 */
#ifndef GS_PROBE_CHUNK_WRITER_H
#define GS_PROBE_CHUNK_WRITER_H

#include <stddef.h>
#include <stdint.h>

typedef enum gs_chunk_type {
    GS_CHUNK_METADATA = 1,
    GS_CHUNK_DEFINITIONS = 2,
    GS_CHUNK_EVENTS = 3,
    GS_CHUNK_END = 4
} gs_chunk_type;

/* No payload may be longer; readers rely on it. */
#define GS_CHUNK_MAX_BYTES (4u << 20)

typedef struct gs_chunk_writer {
    int file;
    int error; /* errno of the write that failed, 0: none did */
    uint32_t next_number;
    uint64_t file_bytes;
} gs_chunk_writer;

/* Writes the file's header. */
void gs_chunk_writer_begin(gs_chunk_writer *self, int file);
/* Appends a chunk; `bytes` of 0 writes nothing. */
void gs_chunk_write(gs_chunk_writer *self, gs_chunk_type type, const void *payload, size_t bytes);

#endif /* GS_PROBE_CHUNK_WRITER_H */
