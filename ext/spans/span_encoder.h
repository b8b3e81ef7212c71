/* span_encoder.h - from an ended span of the OpenTelemetry SDK to the pieces of a ring record (ext/core/otlp.h).
 *
 * Use, on the thread that ended the span:
 *
 *     gs_encoded encoded;
 *     gs_encode_status status = gs_encoder_begin(encoder, span, gs_exporter_generation(exporter), &encoded);
 *     if (status == GS_ENCODE_OK) {
 *         gs_status pushed = gs_exporter_try_push(exporter, encoded.pieces, encoded.piece_count);
 *         gs_encoder_end(encoder, &encoded, pushed == GS_OK);
 *     }
 *
 * No Python code runs after begin has returned, until end has given back the scratch and drops references, which may
 * run anything. Call begin with no Python exception set; neither leaves one behind.
 *
 * The result, decoded, equals what upstream's encode_spans makes of the span, field by field. What OTLP cannot carry,
 * and upstream gives up an attribute or a whole batch for, is replaced here by the nearest that it can, and counted in
 * `replaced`:
 *
 *     lone surrogate in any string       U+FFFD
 *     int beyond 64 bits                 string: its digits, hexadecimal where the interpreter refuses decimal ones
 *     value of a type that OTLP has not  string: its str(); an empty value if that raises
 *     container nested deeper than receivers take (GS_OTLP_MAX_DEPTH), or within itself: the string "..."
 *     time or count out of range         the nearest in range; 0 for what is no int
 *     text field or key that is no str   its str(); left empty if that raises
 *     id out of range                    its low bits; zeros for what is no int
 *     kind, status code                  unspecified, unset
 *     containers, events, links that raise while they are read: as far as they came
 *
 * Threads: any number at once, also within one another (encoding may run Python code, which may end another span), with
 * the GIL or, on a free-threaded build, attached. fork: nothing to do; a new generation tells every scope anew.
 */
#ifndef GS_SPAN_ENCODER_H
#define GS_SPAN_ENCODER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/exporter.h"
#include "../core/wire.h"

typedef struct gs_encoder gs_encoder;

typedef enum gs_encode_status {
    GS_ENCODE_OK = 0,
    GS_ENCODE_NOT_SAMPLED, /* not to be exported, and not to be counted: no context, or the sampled flag is not set */
    GS_ENCODE_FAILED,      /* nothing that a span could be made of: GS_DROP_ENCODING */
    GS_ENCODE_TOO_LARGE,   /* more than GS_ENCODED_MAX_BYTES: GS_DROP_TOO_LARGE */
    GS_ENCODE_NO_MEMORY,   /* GS_DROP_NO_MEMORY */
} gs_encode_status;

#define GS_ENCODED_MAX_BYTES  ((size_t)65 << 20)
/* Three of a definition (heads, resource, scope), each lent run and what lies before it, and what lies behind the last.
 * */
#define GS_ENCODED_MAX_PIECES (3 + 2 * GS_WIRE_MAX_LENT + 1)

/* A record in pieces, to be copied one after the other before gs_encoder_end. Filled by gs_encoder_begin. */
typedef struct gs_encoded {
    size_t piece_count;
    size_t bytes;       /* of all pieces */
    uint64_t replaced;  /* values: see above */
    bool defines_scope; /* the record carries a definition */
    /* the encoder's own */
    struct gs_scratch *scratch;
    struct gs_scope *scope;
    uint32_t generation;
    gs_piece pieces[GS_ENCODED_MAX_PIECES];
} gs_encoded;

/* 0 and *self; -1 and a Python exception: the SDK is not there, or no memory. Imports what it needs of the SDK. */
int gs_encoder_new(gs_encoder **self);
/* Nothing may be between begin and end. Drops every reference. NULL is allowed. */
void gs_encoder_free(gs_encoder *self);

/* `generation` as gs_exporter_generation says: when it changes, no scope has been told yet. */
gs_encode_status gs_encoder_begin(gs_encoder *self, PyObject *span, uint32_t generation, gs_encoded *encoded);

/* After each begin that returned GS_ENCODE_OK, exactly once. `pushed`: the record is in the ring, so the definition
 * that it carried, if any, is known to the consumer. */
void gs_encoder_end(gs_encoder *self, gs_encoded *encoded, bool pushed);

#endif /* GS_SPAN_ENCODER_H */
