# cython: language_level=3, binding=False, freethreading_compatible=True
"""The native half of the span processor: conversion, ownership, raising. The work is done in ext/spans and ext/core."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from core.exporter cimport (
    GS_COMPRESSION_DEFLATE,
    GS_COMPRESSION_GZIP,
    GS_COMPRESSION_NONE,
    GS_DROP_ENCODING,
    GS_DROP_NO_MEMORY,
    GS_DROP_TOO_LARGE,
    GS_EXPORT_OBSERVER_CAPSULE,
    GS_OK,
    GS_PROTOCOL_GRPC,
    GS_PROTOCOL_HTTP,
    c_bool,
    gs_batch,
    gs_batch_add,
    gs_batch_build,
    gs_batch_free,
    gs_batch_new,
    gs_deadline_after,
    gs_export_observer,
    gs_exporter,
    gs_exporter_config,
    gs_exporter_drop,
    gs_exporter_flush,
    gs_exporter_free,
    gs_exporter_generation,
    gs_exporter_get_stats,
    gs_exporter_message_waiting,
    gs_exporter_new,
    gs_exporter_next_message,
    gs_exporter_observe,
    gs_exporter_replaced,
    gs_exporter_shutdown,
    gs_exporter_stats,
    gs_exporter_try_push,
    gs_keep_waiting,
    gs_message,
    gs_now_ns,
    gs_status,
    gs_transport_header,
)
from spans.span_encoder cimport (
    GS_ENCODE_FAILED,
    GS_ENCODE_NO_MEMORY,
    GS_ENCODE_OK,
    GS_ENCODE_TOO_LARGE,
    gs_encode_status,
    gs_encoded,
    gs_encoder,
    gs_encoder_begin,
    gs_encoder_end,
    gs_encoder_free,
    gs_encoder_new,
)

# In the order of gs_drop_reason and gs_fail_reason.
_DROP_REASONS = ("queue_full", "too_large", "shutdown", "encoding", "no_memory")
_FAIL_REASONS = ("rejected", "partial_success", "timeout", "unreachable", "too_large", "shutdown", "internal")

_PROTOCOLS = {"http/protobuf": GS_PROTOCOL_HTTP, "grpc": GS_PROTOCOL_GRPC}
_COMPRESSIONS = {"none": GS_COMPRESSION_NONE, "gzip": GS_COMPRESSION_GZIP, "deflate": GS_COMPRESSION_DEFLATE}

# Later than any deadline that a person would set, and far from overflowing int64 nanoseconds.
cdef double _LONGEST_MILLIS = 1e12


cdef int64_t _deadline_ns(double timeout_millis):
    if not timeout_millis > 0.0:  # NaN too
        return gs_now_ns()
    return gs_deadline_after(gs_now_ns(), <int64_t>(min(timeout_millis, _LONGEST_MILLIS) * 1e6))


ctypedef gs_status (*waiting_call)(
    gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context) noexcept nogil


cdef c_bool _no_signal(void *raised) noexcept nogil:
    """Python's signal handlers run on the main thread while it waits. False when one has raised; `raised` is a list."""
    with gil:
        try:
            PyErr_CheckSignals()
        except BaseException as error:
            (<list>raised).append(error)
            return False
        return True


cdef bytes _text(str name, value):
    """UTF-8 without NUL, or None."""
    if value is None:
        return None
    encoded = (<str?>value).encode()
    if b"\0" in encoded:
        raise ValueError(f"{name} must not contain NUL")
    return encoded


cdef const char *_pointer(bytes text):
    return NULL if text is None else PyBytes_AS_STRING(text)


def _choice(str name, dict choices, value):
    try:
        return choices[value]
    except KeyError:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}") from None


def observe_exports(observer):
    gs_exporter_observe(<gs_export_observer>PyCapsule_GetPointer(observer, GS_EXPORT_OBSERVER_CAPSULE))


cdef class Pipeline:
    cdef gs_exporter *exporter
    cdef gs_encoder *encoder
    cdef object on_message
    cdef bint draining

    def __cinit__(
            self, *, str protocol, str url, unix_socket, headers, double timeout_seconds, str compression, ca_file,
            client_certificate_file, client_key_file, proxy, max_queue_size, max_queue_bytes, max_export_batch_size,
            max_request_bytes, double schedule_delay_millis, double export_timeout_millis, on_message):
        cdef gs_exporter_config config
        cdef gs_transport_header *header_table = NULL
        memset(&config, 0, sizeof(config))
        self.on_message = on_message
        config.max_queue_spans = max_queue_size
        # Positions in the ring are in units of 16 bytes.
        config.max_queue_bytes = (<uint64_t>max_queue_bytes + 15) // 16 * 16
        config.max_batch_spans = max_export_batch_size
        config.max_request_bytes = max_request_bytes
        config.schedule_delay_ns = <int64_t>(min(schedule_delay_millis, _LONGEST_MILLIS) * 1e6)
        config.export_timeout_ns = <int64_t>(
            min(timeout_seconds * 1e3, export_timeout_millis, _LONGEST_MILLIS) * 1e6)
        config.transport.protocol = _choice("protocol", _PROTOCOLS, protocol)
        config.transport.compression = _choice("compression", _COMPRESSIONS, compression)
        config.transport.compression_level = 1
        config.transport.verify_peer = True
        kept = [_text("url", url), _text("unix_socket", unix_socket), _text("ca_file", ca_file),
                _text("client_certificate_file", client_certificate_file), _text("client_key_file", client_key_file),
                _text("proxy", proxy)]
        config.transport.url = _pointer(kept[0])
        config.transport.unix_socket = _pointer(kept[1])
        config.transport.ca_file = _pointer(kept[2])
        config.transport.client_certificate_file = _pointer(kept[3])
        config.transport.client_key_file = _pointer(kept[4])
        config.transport.proxy = _pointer(kept[5])
        pairs = [(_text("header name", name), _text("header value", value)) for name, value in headers]
        header_table = <gs_transport_header *>malloc(max(1, len(pairs)) * sizeof(gs_transport_header))
        if header_table == NULL:
            raise MemoryError
        try:
            for i, (name, value) in enumerate(pairs):
                header_table[i].name = _pointer(name)
                header_table[i].value = _pointer(value)
            config.transport.headers = header_table
            config.transport.header_count = len(pairs)
            error = gs_exporter_new(&self.exporter, &config)
        finally:
            free(header_table)
        if error != 0:
            raise ValueError(
                "expected 1 <= max_export_batch_size <= max_queue_size and a max_queue_bytes from 64 kB to 32 GiB, got "
                f"max_export_batch_size={max_export_batch_size}, max_queue_size={max_queue_size}, "
                f"max_queue_bytes={max_queue_bytes} (errno {error})")
        gs_encoder_new(&self.encoder)

    def __dealloc__(self):
        with nogil:
            gs_exporter_free(self.exporter)
        gs_encoder_free(self.encoder)

    def emit(self, span):
        cdef gs_encoded encoded
        cdef gs_encode_status status = gs_encoder_begin(
            self.encoder, span, gs_exporter_generation(self.exporter), &encoded)
        if status == GS_ENCODE_OK:
            if encoded.replaced != 0:
                gs_exporter_replaced(self.exporter, encoded.replaced)
            pushed = gs_exporter_try_push(self.exporter, encoded.pieces, encoded.piece_count) == GS_OK
            gs_encoder_end(self.encoder, &encoded, pushed)
        elif status == GS_ENCODE_TOO_LARGE:
            gs_exporter_drop(self.exporter, GS_DROP_TOO_LARGE)
        elif status == GS_ENCODE_NO_MEMORY:
            gs_exporter_drop(self.exporter, GS_DROP_NO_MEMORY)
        elif status == GS_ENCODE_FAILED:
            gs_exporter_drop(self.exporter, GS_DROP_ENCODING)
        if gs_exporter_message_waiting(self.exporter):
            self.drain_messages()

    def force_flush(self, double timeout_millis):
        return self._wait(gs_exporter_flush, timeout_millis)

    def shutdown(self, double timeout_millis):
        return self._wait(gs_exporter_shutdown, timeout_millis)

    cdef object _wait(self, waiting_call call, double timeout_millis):
        """True if the call, which waits without the GIL, ended with success. What a signal handler raised goes on."""
        cdef int64_t deadline_ns = _deadline_ns(timeout_millis)
        cdef gs_status status
        cdef list raised = []
        cdef void *context = <void *>raised
        with nogil:
            status = call(self.exporter, deadline_ns, _no_signal, context)
        if raised:
            raise raised[0]
        self.drain_messages()
        return status == GS_OK

    def stats(self):
        cdef gs_exporter_stats stats
        gs_exporter_get_stats(self.exporter, &stats)
        return {
            "ended": stats.ended,
            "exported": stats.exported,
            "dropped": {reason: stats.dropped[i] for i, reason in enumerate(_DROP_REASONS)},
            "failed": {reason: stats.failed[i] for i, reason in enumerate(_FAIL_REASONS)},
            "queued": stats.queued,
            "queued_bytes": stats.queued_bytes,
            "requests": stats.requests,
            "retries": stats.retries,
            "splits": stats.splits,
            "request_bytes": stats.request_bytes,
            "sent_bytes": stats.sent_bytes,
            "thread_cpu_ns": stats.thread_cpu_ns,
            "replaced_values": stats.replaced_values,
        }

    def drain_messages(self):
        cdef gs_message message
        # A handler that ends spans comes back here; what it would find is passed on by the outer call.
        if self.draining:
            return
        self.draining = True
        try:
            while gs_exporter_next_message(self.exporter, &message):
                self.on_message(message.level, message.text.decode("utf-8", "replace"), message.suppressed)
        except Exception:
            # The application's log handlers are not the business of the code that ended a span.
            pass
        finally:
            self.draining = False


def encode_request(spans):
    cdef gs_encoder *encoder = NULL
    cdef gs_batch *batch = NULL
    cdef gs_encoded encoded
    cdef const unsigned char *body = NULL
    cdef size_t body_bytes = 0
    records = []
    gs_encoder_new(&encoder)
    try:
        for span in spans:
            if gs_encoder_begin(encoder, span, 0, &encoded) == GS_ENCODE_OK:
                record = b"".join([
                    PyBytes_FromStringAndSize(<const char *>encoded.pieces[i].data, encoded.pieces[i].bytes)
                    for i in range(encoded.piece_count)])
                gs_encoder_end(encoder, &encoded, True)
                records.append(record)
        if not records:
            return b""
        if gs_batch_new(&batch, len(records)) != 0:
            raise MemoryError
        for record in records:
            status = gs_batch_add(batch, <const unsigned char *>(<bytes>record), len(record), <uint64_t>-1)
            if status != GS_OK:
                raise RuntimeError(f"expected a valid ring record, got one that the batch refuses (status {status})")
        if gs_batch_build(batch, 0, len(records), &body, &body_bytes) != GS_OK:
            raise MemoryError
        return PyBytes_FromStringAndSize(<const char *>body, body_bytes)
    finally:
        gs_batch_free(batch)
        gs_encoder_free(encoder)
