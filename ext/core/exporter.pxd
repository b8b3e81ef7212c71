# Mirrors exporter.h, messages.h and the configuration of transport.h.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "core/status.h" nogil:
    ctypedef enum gs_status:
        GS_OK
        GS_FULL
        GS_TOO_LARGE
        GS_EMPTY
        GS_PENDING
        GS_TIMEOUT
        GS_FAILED
        GS_STOPPED
        GS_NO_MEMORY


cdef extern from "core/clock.h" nogil:
    int64_t gs_now_ns()
    int64_t gs_deadline_after(int64_t now_ns, int64_t span_ns)


cdef extern from "core/messages.h" nogil:
    ctypedef struct gs_message:
        int level
        uint32_t suppressed
        char text[384]


cdef extern from "core/transport.h" nogil:
    ctypedef enum gs_compression:
        GS_COMPRESSION_NONE
        GS_COMPRESSION_GZIP
        GS_COMPRESSION_DEFLATE

    ctypedef enum gs_protocol:
        GS_PROTOCOL_HTTP
        GS_PROTOCOL_GRPC

    ctypedef struct gs_transport_header:
        const char *name
        const char *value

    ctypedef struct gs_transport_config:
        gs_protocol protocol
        gs_compression compression
        const char *url
        const char *unix_socket
        const gs_transport_header *headers
        size_t header_count
        const char *ca_file
        const char *client_certificate_file
        const char *client_key_file
        const char *proxy
        bint verify_peer
        int compression_level


cdef extern from "<stdbool.h>" nogil:
    ctypedef bint c_bool "bool"


cdef extern from "core/exporter.h" nogil:
    ctypedef enum gs_drop_reason:
        GS_DROP_QUEUE_FULL
        GS_DROP_TOO_LARGE
        GS_DROP_SHUTDOWN
        GS_DROP_ENCODING
        GS_DROP_NO_MEMORY
        GS_DROP_REASONS

    ctypedef enum gs_fail_reason:
        GS_FAIL_REJECTED
        GS_FAIL_PARTIAL
        GS_FAIL_TIMEOUT
        GS_FAIL_UNREACHABLE
        GS_FAIL_TOO_LARGE
        GS_FAIL_SHUTDOWN
        GS_FAIL_INTERNAL
        GS_FAIL_REASONS

    ctypedef struct gs_exporter_config:
        uint32_t max_queue_spans
        uint64_t max_queue_bytes
        uint32_t max_batch_spans
        uint64_t max_request_bytes
        int64_t schedule_delay_ns
        int64_t export_timeout_ns
        gs_transport_config transport

    ctypedef void (*gs_export_observer)(const void *told)

    const char *GS_EXPORT_OBSERVER_CAPSULE

    void gs_exporter_observe(gs_export_observer observer)

    ctypedef struct gs_exporter_stats:
        uint64_t ended
        uint64_t exported
        uint64_t *dropped
        uint64_t *failed
        uint64_t queued
        uint64_t queued_bytes
        uint64_t requests
        uint64_t retries
        uint64_t splits
        uint64_t request_bytes
        uint64_t sent_bytes
        uint64_t thread_cpu_ns
        uint64_t replaced_values

    ctypedef struct gs_exporter:
        pass

    ctypedef struct gs_piece:
        const void *data
        size_t bytes

    int gs_exporter_new(gs_exporter **self, const gs_exporter_config *config)
    void gs_exporter_free(gs_exporter *self)
    gs_status gs_exporter_try_push(gs_exporter *self, const gs_piece *pieces, size_t piece_count)
    void gs_exporter_drop(gs_exporter *self, gs_drop_reason reason)
    void gs_exporter_replaced(gs_exporter *self, uint64_t values)
    uint32_t gs_exporter_generation(const gs_exporter *self)
    ctypedef c_bool (*gs_keep_waiting)(void *context) noexcept
    gs_status gs_exporter_flush(
        gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context)
    gs_status gs_exporter_shutdown(
        gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context)
    void gs_exporter_get_stats(gs_exporter *self, gs_exporter_stats *stats)
    bint gs_exporter_message_waiting(const gs_exporter *self)
    bint gs_exporter_next_message(gs_exporter *self, gs_message *message)


cdef extern from "core/batch.h" nogil:
    ctypedef struct gs_batch:
        pass

    int gs_batch_new(gs_batch **self, uint32_t max_spans)
    void gs_batch_free(gs_batch *self)
    gs_status gs_batch_add(gs_batch *self, const unsigned char *record, size_t record_bytes, uint64_t max_request_bytes)
    gs_status gs_batch_build(
        gs_batch *self, uint32_t first, uint32_t count, const unsigned char **body, size_t *body_bytes)
