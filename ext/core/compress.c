#include "compress.h"

#include <stdlib.h>
#include <string.h>

#define LARGE_BYTES       ((size_t)1024 * 1024)
#define CALM_REQUESTS     16
#define ZLIB_WINDOW_BITS  15
#define ZLIB_GZIP_BITS    16 /* added to the window bits: gzip instead of zlib format */
#define ZLIB_AUTO_BITS    32 /* added to the window bits, decompression: either format, by its header */
#define ZLIB_MEMORY_LEVEL 8

void gs_compressor_init(gs_compressor *self, bool gzip, int level) {
    *self = (gs_compressor){.gzip = gzip, .level = level};
}

void gs_compressor_free(gs_compressor *self) {
    if (self->ready) {
        deflateEnd(&self->stream);
    }
    free(self->buffer);
    gs_compressor_init(self, self->gzip, self->level);
}

uint8_t *gs_compressor_reserve(gs_compressor *self, size_t prefix_bytes, size_t output_bytes) {
    if (output_bytes > SIZE_MAX - prefix_bytes) {
        return NULL;
    }
    size_t needed = prefix_bytes + output_bytes;
    self->calm_requests = needed < self->capacity / 4 ? self->calm_requests + 1 : 0;
    if (needed > self->capacity || (self->capacity > LARGE_BYTES && self->calm_requests >= CALM_REQUESTS)) {
        free(self->buffer); /* not realloc: the old contents are worth no copy */
        self->buffer = malloc(needed > 0 ? needed : 1);
        self->capacity = self->buffer != NULL ? needed : 0;
        self->calm_requests = 0;
    }
    return self->buffer;
}

bool gs_compressor_begin(gs_compressor *self, size_t prefix_bytes, size_t output_bytes) {
    if (output_bytes > UINT32_MAX) {
        return false;
    }
    if (!self->ready) {
        int window_bits = ZLIB_WINDOW_BITS + (self->gzip ? ZLIB_GZIP_BITS : 0);
        self->stream = (z_stream){0};
        self->ready = deflateInit2(&self->stream, self->level, Z_DEFLATED, window_bits, ZLIB_MEMORY_LEVEL,
                                   Z_DEFAULT_STRATEGY) == Z_OK;
    } else if (deflateReset(&self->stream) != Z_OK) {
        return false;
    }
    self->stream.next_out = self->buffer + prefix_bytes;
    self->stream.avail_out = (uInt)output_bytes;
    return self->ready;
}

bool gs_compressor_feed(gs_compressor *self, const uint8_t *input, size_t input_bytes, bool last) {
    if (input_bytes > UINT32_MAX) {
        return false;
    }
    self->stream.next_in = input;
    self->stream.avail_in = (uInt)input_bytes;
    int result = deflate(&self->stream, last ? Z_FINISH : Z_NO_FLUSH);
    return last ? result == Z_STREAM_END : result == Z_OK && self->stream.avail_in == 0 && self->stream.avail_out > 0;
}

size_t gs_compressor_output_bytes(const gs_compressor *self) {
    return self->stream.total_out;
}

bool gs_decompress(uint8_t *to, size_t room, const uint8_t *from, size_t from_bytes, size_t *to_bytes) {
    if (room > UINT32_MAX || from_bytes > UINT32_MAX) {
        return false;
    }
    z_stream stream = {.next_in = from, .avail_in = (uInt)from_bytes, .next_out = to, .avail_out = (uInt)room};
    if (inflateInit2(&stream, ZLIB_WINDOW_BITS + ZLIB_AUTO_BITS) != Z_OK) {
        return false;
    }
    int result = inflate(&stream, Z_FINISH);
    *to_bytes = stream.total_out;
    inflateEnd(&stream);
    return result == Z_STREAM_END;
}
