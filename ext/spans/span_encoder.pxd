# Mirrors span_encoder.h.
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "core/exporter.h" nogil:
    ctypedef struct gs_piece:
        const void *data
        size_t bytes


cdef extern from "spans/span_encoder.h":
    ctypedef struct gs_encoder:
        pass

    ctypedef enum gs_encode_status:
        GS_ENCODE_OK
        GS_ENCODE_NOT_SAMPLED
        GS_ENCODE_FAILED
        GS_ENCODE_TOO_LARGE
        GS_ENCODE_NO_MEMORY

    enum:
        GS_ENCODED_MAX_PIECES

    ctypedef struct gs_encoded:
        gs_piece *pieces
        size_t piece_count
        size_t bytes
        uint64_t replaced
        bint defines_scope

    int gs_encoder_new(gs_encoder **self) except -1
    void gs_encoder_free(gs_encoder *self)
    gs_encode_status gs_encoder_begin(gs_encoder *self, object span, uint32_t generation, gs_encoded *encoded)
    void gs_encoder_end(gs_encoder *self, gs_encoded *encoded, bint pushed)
