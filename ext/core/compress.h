/* compress.h - a request body, compressed into a buffer that is used again; and small answers, decompressed.
 *
 * The input may be given in pieces, so that the caller can look at the clock between them. Output that would not be
 * smaller than the input is given up: the caller then sends the input itself, which is valid too.
 *
 * Memory: zlib's state (about 270 kB, made at the first use and kept) and one buffer, never larger than the largest
 * recent input: after CALM_REQUESTS requests that needed less than a quarter of a large one, it is given back.
 *
 * Threads: one at a time. After the first request of a size there is no allocation.
 */
#ifndef GS_COMPRESS_H
#define GS_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZLIB_CONST
#include <zlib.h>

typedef struct gs_compressor {
    bool gzip; /* gzip format; else zlib format (RFC 1950), which HTTP and gRPC call "deflate" */
    int level;
    bool ready; /* stream is initialised */
    z_stream stream;
    uint8_t *buffer; /* prefix, then the output */
    size_t capacity;
    size_t calm_requests; /* in a row that needed little of capacity */
} gs_compressor;

/* No allocation yet. */
void gs_compressor_init(gs_compressor *self, bool gzip, int level);
void gs_compressor_free(gs_compressor *self);

/* Makes room for prefix_bytes, which the caller fills, and for an output of at most output_bytes. NULL: no memory. */
uint8_t *gs_compressor_reserve(gs_compressor *self, size_t prefix_bytes, size_t output_bytes);

/* Starts an output of less than output_bytes behind the prefix, in the room reserved. False: no compressor can be had.
 * */
bool gs_compressor_begin(gs_compressor *self, size_t prefix_bytes, size_t output_bytes);

/* Compresses the next piece. False: the output does not fit. The last piece has `last` set and ends the output. */
bool gs_compressor_feed(gs_compressor *self, const uint8_t *input, size_t input_bytes, bool last);

/* Bytes of output after the last piece, the prefix not counted. */
size_t gs_compressor_output_bytes(const gs_compressor *self);

/* Decompresses gzip or zlib format. False when `from` is neither, ends early, or holds more than `room` bytes. */
bool gs_decompress(uint8_t *to, size_t room, const uint8_t *from, size_t from_bytes, size_t *to_bytes);

#endif /* GS_COMPRESS_H */
