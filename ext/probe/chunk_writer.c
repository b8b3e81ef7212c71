#include "chunk_writer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zlib.h>

#include "core/wire.h"
#include "events.h"

#define VERSION        1u
#define CHUNK_MAGIC    0x4B435347u /* "GSCK" */
#define HEADER_BYTES   24u
#define ENCODING_PLAIN 0u
#define ENCODING_ZLIB  1u
#define ZLIB_LEVEL     1 /* events shrink to a quarter; higher levels gain a tenth for three times the time */

static void write_all(gs_chunk_writer *self, struct iovec *parts, int count) {
    while (self->error == 0 && count > 0) {
        ssize_t written = writev(self->file, parts, count);
        if (written < 0) {
            self->error = errno == EINTR ? 0 : errno;
            continue;
        }
        self->file_bytes += (uint64_t)written;
        size_t left = (size_t)written;
        while (count > 0 && left >= parts->iov_len) {
            left -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
}

void gs_chunk_writer_begin(gs_chunk_writer *self, int file, gs_flight *flight) {
    *self = (gs_chunk_writer){.file = file, .flight = flight};
    uint8_t header[16] = "GILSCOPE";
    gs_fixed32_write(header + 8, VERSION | (uint32_t)sizeof(gs_event) << 16);
    struct iovec part = {header, sizeof header};
    if (flight == NULL) {
        write_all(self, &part, 1);
    }
}

void gs_chunk_write(gs_chunk_writer *self, gs_chunk_type type, const void *payload, size_t bytes) {
    if (bytes == 0 || self->error != 0) {
        return;
    }
    uLongf stored_bytes = compressBound(bytes);
    uint8_t *stored = malloc(stored_bytes);
    if (stored == NULL || compress2(stored, &stored_bytes, payload, bytes, ZLIB_LEVEL) != Z_OK) {
        free(stored);
        self->error = ENOMEM;
        return;
    }
    bool smaller = stored_bytes < bytes;
    if (!smaller) {
        stored_bytes = bytes;
        memcpy(stored, payload, bytes);
    }
    uint8_t header[HEADER_BYTES];
    uint8_t *at = gs_fixed32_write(header, CHUNK_MAGIC);
    uint8_t *checked = at;
    at = gs_fixed32_write(at, (uint32_t)type | (smaller ? ENCODING_ZLIB : ENCODING_PLAIN) << 8);
    at = gs_fixed32_write(at, (uint32_t)stored_bytes);
    at = gs_fixed32_write(at, (uint32_t)bytes);
    uLong checksum = crc32(crc32(0, checked, (uInt)(at - checked)), stored, (uInt)stored_bytes);
    at = gs_fixed32_write(at, (uint32_t)checksum);
    gs_fixed32_write(at, self->next_number++);
    struct iovec parts[2] = {{header, sizeof header}, {stored, stored_bytes}};
    if (self->flight == NULL) {
        write_all(self, parts, 2);
    } else if (!gs_flight_add(self->flight, type == GS_CHUNK_EVENTS, header, sizeof header, stored, stored_bytes)) {
        self->error = ENOMEM;
    }
    free(stored);
}

void gs_chunk_append(gs_chunk_writer *self, void *chunks, size_t bytes, uint32_t count) {
    struct iovec part = {chunks, bytes};
    write_all(self, &part, 1);
    self->next_number += count;
}
