#include "transport.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "clock.h"
#include "compress.h"
#include "fork_gate.h"

#define GRPC_FRAME_HEAD_BYTES 5u
#define COMPRESS_SLICE_BYTES  ((size_t)256 * 1024) /* about 4 ms at level 1: how late the deadline may be noticed */
#define POLL_MAX_MS           60000                /* a poll without a nearer deadline; no harm in waking up for it */
#define GRPC_TIMEOUT_MAX_MS   INT64_C(99999999)    /* eight digits are all that grpc-timeout has */
#define CA_CACHE_S 60L /* a renewed CA file is noticed so soon; parsing the system's for each connection is dear */
#define KEEPALIVE_IDLE_S 45L

/* From 7.88.0 to 8.0.0 (curl's pull request 10643) libcurl sets HTTP/2 up a second time on a reused connection when it
 * is told that the server knows HTTP/2 without being asked, and fails. There the first request on a connection says so,
 * and the next ones ask for HTTP/2 in general, which is what such a connection speaks. */
#define CURL_REUSE_BUG_FIRST    0x075800u
#define CURL_REUSE_BUG_FIXED    0x080000u
/* Before its HTTP/2 was rewritten, libcurl forgets the trailers when the connection is closed right behind them, as a
 * server does that has sent GOAWAY and was waiting for this answer only. */
#define CURL_TRAILERS_BUG_FIXED 0x080100u

#if LIBCURL_VERSION_NUM < 0x081400
#define CURLMOPT_QUICK_EXIT ((CURLMoption)21) /* for a library that is newer than its header was */
#endif

struct gs_transport {
    CURL *easy;
    CURLM *multi;
    gs_protocol protocol;
    gs_compression compression;
    bool prior_knowledge; /* HTTP/2 without TLS */
    bool reuse_bug;       /* see CURL_REUSE_BUG_FIRST */
    bool trailers_bug;    /* see CURL_TRAILERS_BUG_FIXED */
    curl_socket_t fd;     /* the newest connection's, while it is open */
    bool distrusted;      /* the last request got no answer: libcurl might use its connection again */
    atomic_bool interrupted;

    /* of the attempt that runs */
    bool started;          /* libcurl has a connection and was let write the request */
    bool reused;           /* the connection was there before */
    bool assume_http2;     /* asked for HTTP/2 in general: right only on a reused connection */
    bool wrong_connection; /* ended because it was not */

    gs_compressor compressor;
    struct curl_slist *headers; /* nodes and texts in one block; the first one says how the body is compressed */
    char *timeout_header;       /* gRPC: text of the second one, rewritten for each request */
    char error_text[CURL_ERROR_SIZE];
    gs_reply reply;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_init_result;

static void init_curl(void) {
    curl_init_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* -- callbacks: on the sending thread, inside curl_multi_perform -- */

static size_t on_header(char *line, size_t size, size_t count, void *context) {
    gs_transport *self = context;
    return gs_reply_take_line(&self->reply, line, size * count) ? size * count : 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *context) {
    gs_transport *self = context;
    return gs_reply_take_body(&self->reply, (const uint8_t *)data, size * count) ? size * count : 0;
}

/* The connection is there, the request about to be written. */
static int on_start(void *context, char *peer_ip, char *local_ip, int peer_port, int local_port) {
    gs_transport *self = context;
    (void)peer_ip, (void)local_ip, (void)peer_port, (void)local_port;
    if (self->started) {
        return CURL_PREREQFUNC_ABORT;
    }
    long connects = 0;
    curl_easy_getinfo(self->easy, CURLINFO_NUM_CONNECTS, &connects);
    self->reused = connects == 0;
    self->wrong_connection = self->assume_http2 && !self->reused;
    self->started = !self->wrong_connection;
    return self->started ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* A connection that is opened after the request was written is for writing it again: libcurl does so by itself when a
 * reused one turns out dead. Whether to do that is the exporter's to decide. */
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
    gs_transport *self = context;
    (void)purpose;
    if (self->started) {
        return CURL_SOCKET_BAD;
    }
    self->fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    return self->fd;
}

static int close_socket(void *context, curl_socket_t fd) {
    gs_transport *self = context;
    if (fd == self->fd) {
        self->fd = CURL_SOCKET_BAD;
    }
    return close(fd);
}

/* -- headers -- */

static const char *const own_headers[] = {
    "content-type",
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "host",
    "accept",
};

static bool is_own_header(const char *name) {
    for (size_t i = 0; i < sizeof own_headers / sizeof own_headers[0]; i++) {
        if (strcasecmp(name, own_headers[i]) == 0) {
            return true;
        }
    }
    return strncasecmp(name, "grpc-", 5) == 0 || name[0] == '\0' || name[0] == ':';
}

#define TIMEOUT_HEADER_BYTES sizeof "grpc-timeout: 99999999m"

static const char *encoding_header(gs_protocol protocol, gs_compression compression) {
    if (protocol == GS_PROTOCOL_GRPC) {
        return compression == GS_COMPRESSION_GZIP ? "grpc-encoding: gzip" : "grpc-encoding: deflate";
    }
    return compression == GS_COMPRESSION_GZIP ? "content-encoding: gzip" : "content-encoding: deflate";
}

/* libcurl takes a list of header lines; ours is one block, linked once, whose head is left out for a body that is not
 * compressed. A name with nothing behind it takes away what libcurl would send. */
static int build_headers(gs_transport *self, const gs_transport_config *config) {
    static const char *const http_fixed[] = {"content-type: application/x-protobuf", "Accept:", "Expect:"};
    static const char *const grpc_fixed[] = {"content-type: application/grpc", "te: trailers",
                                             "grpc-accept-encoding: identity,deflate,gzip", "Accept:", "Expect:"};
    bool grpc = config->protocol == GS_PROTOCOL_GRPC;
    const char *const *fixed = grpc ? grpc_fixed : http_fixed;
    size_t fixed_count = grpc ? sizeof grpc_fixed / sizeof grpc_fixed[0] : sizeof http_fixed / sizeof http_fixed[0];
    size_t text_bytes = TIMEOUT_HEADER_BYTES;
    for (size_t i = 0; i < config->header_count; i++) {
        text_bytes += strlen(config->headers[i].name) + strlen(config->headers[i].value) + sizeof ": ";
    }
    size_t node_count = 2 + fixed_count + config->header_count;
    self->headers = calloc(1, node_count * sizeof(struct curl_slist) + text_bytes);
    if (self->headers == NULL) {
        return ENOMEM;
    }
    struct curl_slist *node = self->headers;
    char *text = (char *)(self->headers + node_count);
    char *text_end = text + text_bytes;
    node->data = (char *)encoding_header(config->protocol, config->compression);
    if (grpc) {
        self->timeout_header = text;
        node->next = node + 1;
        (++node)->data = text;
        text += TIMEOUT_HEADER_BYTES;
    }
    for (size_t i = 0; i < fixed_count; i++) {
        node->next = node + 1;
        (++node)->data = (char *)fixed[i];
    }
    for (size_t i = 0; i < config->header_count; i++) {
        const gs_transport_header *header = &config->headers[i];
        if (is_own_header(header->name)) {
            continue;
        }
        bool is_empty = header->value[strspn(header->value, " \t")] == '\0';
        node->next = node + 1;
        (++node)->data = text;
        /* "name;" is how libcurl is told to send an empty value. */
        int length =
            snprintf(text, (size_t)(text_end - text), is_empty ? "%s;" : "%s: %s", header->name, header->value);
        text += length + 1;
    }
    node->next = NULL;
    return 0;
}

/* -- open and close -- */

static int fail(int error, const char *text, char *error_text, size_t error_text_bytes) {
    if (error_text_bytes > 0) {
        snprintf(error_text, error_text_bytes, "%s", text);
    }
    return error;
}

/* 0, EINVAL, ENOMEM; and whether it is https. */
static int check_url(const char *url, bool *is_https) {
    CURLU *parts = curl_url();
    char *scheme = NULL;
    if (parts == NULL) {
        return ENOMEM;
    }
    int error = EINVAL;
    if (curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK) {
        *is_https = strcasecmp(scheme, "https") == 0;
        error = *is_https || strcasecmp(scheme, "http") == 0 ? 0 : EINVAL;
    }
    curl_free(scheme);
    curl_url_cleanup(parts);
    return error;
}

#define SET(option, value) (result == CURLE_OK ? (result = curl_easy_setopt(easy, option, value)) : result)

static CURLcode set_connection_options(CURL *easy, const gs_transport_config *config) {
    CURLcode result = CURLE_OK;
    SET(CURLOPT_URL, config->url);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    SET(CURLOPT_QUICK_EXIT, 1L); /* do not wait for a name look-up that hangs */
    SET(CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
#endif
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    SET(CURLOPT_TCP_KEEPINTVL, KEEPALIVE_IDLE_S);
    /* Set, though empty: else libcurl asks the environment. */
    SET(CURLOPT_PROXY, config->proxy != NULL ? config->proxy : "");
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_UNIX_SOCKET_PATH, config->unix_socket);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, config->verify_peer ? 1L : 0L);
    SET(CURLOPT_SSL_VERIFYHOST, config->verify_peer ? 2L : 0L);
    if (config->ca_file != NULL) {
        SET(CURLOPT_CAINFO, config->ca_file);
        SET(CURLOPT_CAPATH, NULL); /* these and no others */
    }
    SET(CURLOPT_SSLCERT, config->client_certificate_file);
    SET(CURLOPT_SSLKEY, config->client_key_file);
    return result;
}

static CURLcode set_request_options(gs_transport *self, const gs_transport_config *config) {
    CURL *easy = self->easy;
    CURLcode result = CURLE_OK;
    SET(CURLOPT_ERRORBUFFER, self->error_text);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, self);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, self);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, self);
    SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, self);
    SET(CURLOPT_PREREQFUNCTION, on_start);
    SET(CURLOPT_PREREQDATA, self);
    if (config->protocol == GS_PROTOCOL_GRPC) {
        SET(CURLOPT_HTTPPROXYTUNNEL, 1L); /* a proxy that forwards requests would have to speak HTTP/2 and trailers */
        SET(CURLOPT_HTTP_VERSION,
            self->prior_knowledge ? (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : (long)CURL_HTTP_VERSION_2TLS);
    } else {
        SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    }
    return result;
}

#undef SET

int gs_transport_open(gs_transport **self, const gs_transport_config *config, char *error_text,
                      size_t error_text_bytes) {
    bool is_https = false;
    *self = NULL;
    gs_fork_gate_enter();
    pthread_once(&curl_once, init_curl);
    gs_fork_gate_leave();
    if (curl_init_result != CURLE_OK) {
        return fail(ENOMEM, curl_easy_strerror(curl_init_result), error_text, error_text_bytes);
    }
    int error = config->url == NULL ? EINVAL : check_url(config->url, &is_https);
    if (error != 0) {
        return fail(error, "expected a complete http:// or https:// URL", error_text, error_text_bytes);
    }
    gs_transport *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return fail(ENOMEM, "no memory", error_text, error_text_bytes);
    }
    const curl_version_info_data *version = curl_version_info(CURLVERSION_NOW);
    made->protocol = config->protocol;
    made->compression = config->compression;
    made->prior_knowledge = config->protocol == GS_PROTOCOL_GRPC && !is_https;
    made->reuse_bug = version->version_num >= CURL_REUSE_BUG_FIRST && version->version_num < CURL_REUSE_BUG_FIXED;
    made->trailers_bug = version->version_num < CURL_TRAILERS_BUG_FIXED;
    made->fd = CURL_SOCKET_BAD;
    atomic_init(&made->interrupted, false);
    gs_reply_clear(&made->reply);
    gs_compressor_init(&made->compressor, config->compression == GS_COMPRESSION_GZIP, config->compression_level);
    made->easy = curl_easy_init();
    made->multi = curl_multi_init();
    error = made->easy == NULL || made->multi == NULL ? ENOMEM : build_headers(made, config);
    if (error == 0) {
        curl_multi_setopt(made->multi, CURLMOPT_MAXCONNECTS, 1L); /* a replaced connection is not kept */
        /* As CURLOPT_QUICK_EXIT; older versions refuse it. NOLINTNEXTLINE(*EnumCastOutOfRange): newer than the header */
        curl_multi_setopt(made->multi, CURLMOPT_QUICK_EXIT, 1L);
    }
    if (error != 0) {
        gs_transport_close(made);
        return fail(error, "no memory", error_text, error_text_bytes);
    }
    CURLcode result = set_connection_options(made->easy, config);
    if (result == CURLE_OK) {
        result = set_request_options(made, config);
    }
    if (result != CURLE_OK) {
        gs_transport_close(made);
        error = result == CURLE_OUT_OF_MEMORY ? ENOMEM : EINVAL;
        return fail(error, curl_easy_strerror(result), error_text, error_text_bytes);
    }
    *self = made;
    return 0;
}

void gs_transport_close(gs_transport *self) {
    if (self == NULL) {
        return;
    }
    gs_fork_gate_enter();
    curl_easy_cleanup(self->easy);
    curl_multi_cleanup(self->multi);
    gs_fork_gate_leave();
    gs_compressor_free(&self->compressor);
    free(self->headers);
    free(self);
}

void gs_transport_abandon(gs_transport *self) {
    (void)self; /* all of it is leaked: libcurl would end the TLS and HTTP/2 sessions that the parent goes on using */
}

void gs_transport_interrupt(gs_transport *self) {
    /* release, pairs with the acquire in is_interrupted: what the caller did before is seen after INTERRUPTED. Not
     * lost: the wake-up stays in libcurl's pipe until a poll takes it, and the flag is looked at before and after each.
     * */
    atomic_store_explicit(&self->interrupted, true, memory_order_release);
    curl_multi_wakeup(self->multi);
}

static bool is_interrupted(const gs_transport *self) {
    /* acquire, pairs with the release in gs_transport_interrupt */
    return atomic_load_explicit(&self->interrupted, memory_order_acquire);
}

/* -- one attempt -- */

typedef enum progress { PROGRESS_DONE, PROGRESS_TIMEOUT, PROGRESS_INTERRUPTED } progress;

static progress look_up(const gs_transport *self, int64_t deadline_ns) {
    if (is_interrupted(self)) {
        return PROGRESS_INTERRUPTED;
    }
    return gs_now_ns() >= deadline_ns ? PROGRESS_TIMEOUT : PROGRESS_DONE;
}

/* Rounded up: a poll must not end before the deadline that it waits for. */
static int64_t ms_until(int64_t deadline_ns, int64_t now_ns, int64_t max_ms) {
    int64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    int64_t left_ms = left_ns / GS_NS_PER_MS + (left_ns % GS_NS_PER_MS != 0);
    return left_ms < max_ms ? left_ms : max_ms;
}

typedef struct payload {
    const uint8_t *bytes;
    size_t length;
    bool compressed;
} payload;

static void put_grpc_head(uint8_t *at, bool compressed, size_t message_bytes) {
    at[0] = compressed;
    at[1] = (uint8_t)(message_bytes >> 24);
    at[2] = (uint8_t)(message_bytes >> 16);
    at[3] = (uint8_t)(message_bytes >> 8);
    at[4] = (uint8_t)message_bytes;
}

/* True when the body was compressed and is smaller for it; `state` tells why it was not, when it was not its size. */
static bool compress_body(gs_transport *self, const uint8_t *body, size_t body_bytes, size_t prefix_bytes,
                          int64_t deadline_ns, progress *state) {
    if (body_bytes == 0 || !gs_compressor_begin(&self->compressor, prefix_bytes, body_bytes - 1)) {
        return false;
    }
    for (size_t done = 0; done < body_bytes;) {
        size_t slice = body_bytes - done < COMPRESS_SLICE_BYTES ? body_bytes - done : COMPRESS_SLICE_BYTES;
        *state = look_up(self, deadline_ns);
        if (*state != PROGRESS_DONE ||
            !gs_compressor_feed(&self->compressor, body + done, slice, done + slice == body_bytes)) {
            return false;
        }
        done += slice;
    }
    return true;
}

/* False: no memory, or `state` says what else. */
static bool make_payload(gs_transport *self, const uint8_t *body, size_t body_bytes, int64_t deadline_ns, payload *made,
                         progress *state) {
    size_t prefix_bytes = self->protocol == GS_PROTOCOL_GRPC ? GRPC_FRAME_HEAD_BYTES : 0;
    bool compresses = self->compression != GS_COMPRESSION_NONE;
    uint8_t *buffer = NULL;
    made->bytes = body;
    made->length = body_bytes;
    made->compressed = false;
    if (compresses || prefix_bytes > 0) {
        buffer = gs_compressor_reserve(&self->compressor, prefix_bytes, body_bytes);
    }
    if (compresses && buffer != NULL) {
        made->compressed = compress_body(self, body, body_bytes, prefix_bytes, deadline_ns, state);
        if (*state != PROGRESS_DONE) {
            return false;
        }
    }
    if (made->compressed) {
        made->bytes = buffer;
        made->length = prefix_bytes + gs_compressor_output_bytes(&self->compressor);
    } else if (prefix_bytes > 0) {
        if (buffer == NULL || body_bytes > UINT32_MAX) {
            return false;
        }
        memcpy(buffer + prefix_bytes, body, body_bytes);
        made->bytes = buffer;
        made->length = prefix_bytes + body_bytes;
    }
    if (prefix_bytes > 0) {
        put_grpc_head(buffer, made->compressed, made->length - prefix_bytes);
    }
    return true;
}

/* Runs the transfer that the easy handle is set to. */
static progress run(gs_transport *self, int64_t deadline_ns, CURLcode *result) {
    int running = 1;
    progress state = PROGRESS_DONE;
    *result = CURLE_FAILED_INIT;
    gs_fork_gate_enter();
    if (curl_multi_add_handle(self->multi, self->easy) != CURLM_OK) {
        gs_fork_gate_leave();
        return PROGRESS_DONE;
    }
    for (;;) {
        if (curl_multi_perform(self->multi, &running) != CURLM_OK || running == 0) {
            break;
        }
        state = look_up(self, deadline_ns);
        if (state != PROGRESS_DONE) {
            break;
        }
        int wait_ms = (int)ms_until(deadline_ns, gs_now_ns(), POLL_MAX_MS);
        gs_fork_gate_leave();
        CURLMcode polled = curl_multi_poll(self->multi, NULL, 0, wait_ms, NULL);
        gs_fork_gate_enter();
        if (polled != CURLM_OK) {
            break;
        }
    }
    int left = 0;
    for (CURLMsg *message; (message = curl_multi_info_read(self->multi, &left)) != NULL;) {
        if (message->msg == CURLMSG_DONE) {
            *result = message->data.result;
        }
    }
    curl_multi_remove_handle(self->multi, self->easy);
    gs_fork_gate_leave();
    return state;
}

static progress attempt(gs_transport *self, const payload *request, int64_t deadline_ns, CURLcode *result) {
    int64_t now_ns = gs_now_ns();
    int64_t left_ms = ms_until(deadline_ns, now_ns, GRPC_TIMEOUT_MAX_MS);
    CURL *easy = self->easy;
    bool grpc = self->protocol == GS_PROTOCOL_GRPC;
    gs_reply_clear(&self->reply);
    self->error_text[0] = '\0';
    self->started = false;
    self->reused = false;
    self->wrong_connection = false;
    if (grpc) {
        snprintf(self->timeout_header, TIMEOUT_HEADER_BYTES, "grpc-timeout: %dm", (int)left_ms);
    }
    if (self->prior_knowledge && self->reuse_bug) {
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                         self->assume_http2 ? (long)CURL_HTTP_VERSION_2_0 : (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    }
    bool fresh = self->distrusted || (self->prior_knowledge && self->reuse_bug && !self->assume_http2);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->compressed ? self->headers : self->headers->next);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->bytes);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->length);
    /* `run` keeps the deadline; this is for what waits inside libcurl. One more, so that it does not come first. */
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)left_ms + 1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)left_ms + 1);
    return run(self, deadline_ns, result);
}

/* Whether the newest connection is there, good, and not closed by the other side, whatever it has still to read. */
static bool has_connection(const gs_transport *self) {
    struct pollfd fd = {.fd = self->fd, .events = POLLRDHUP};
    return self->fd != CURL_SOCKET_BAD && !self->distrusted && poll(&fd, 1, 0) == 0;
}

/* The grpc-status that libcurl has forgotten (CURL_TRAILERS_BUG_FIXED): a server sends a message only with status 0.
 * False: it is not known what became of the spans. */
static bool restore_grpc_status(gs_reply *reply) {
    if (reply->grpc_status < 0 && reply->http_status == 200 && reply->body_type == GS_BODY_PROTOBUF) {
        if (!gs_reply_has_message(reply)) {
            return false;
        }
        reply->grpc_status = 0;
    }
    return true;
}

static void explain(gs_transport *self, progress state, CURLcode result, gs_answer *answer) {
    gs_reply *reply = &self->reply;
    const char *text = self->error_text[0] != '\0' ? self->error_text : curl_easy_strerror(result);
    /* libcurl is content with an HTTP/1 head that breaks off. */
    bool came_in_time = state == PROGRESS_DONE && result == CURLE_OK && reply->head_complete;
    if (state == PROGRESS_INTERRUPTED) {
        gs_answer_set(answer, GS_ANSWER_INTERRUPTED, "interrupted");
    } else if (came_in_time && self->trailers_bug && self->protocol == GS_PROTOCOL_GRPC &&
               !restore_grpc_status(reply)) {
        gs_answer_set(answer, GS_ANSWER_UNREACHABLE, "the answer broke off");
    } else if (came_in_time || gs_reply_is_decisive(reply, self->protocol)) {
        gs_answer_read(answer, reply, self->protocol, (int64_t)time(NULL));
    } else if (reply->overflowed) {
        gs_answer_set(answer, GS_ANSWER_REJECTED, "the answer is too large");
    } else if (state == PROGRESS_TIMEOUT || result == CURLE_OPERATION_TIMEDOUT) {
        gs_answer_set(answer, GS_ANSWER_TIMEOUT,
                      self->started ? "no answer before the deadline" : "no connection before the deadline");
    } else if (self->reused && reply->head_bytes == 0) { /* libcurl has a dozen codes for this, CURLE_OK among them */
        gs_answer_set(answer, GS_ANSWER_STALE, "the connection had been closed");
    } else {
        gs_answer_set(answer, GS_ANSWER_UNREACHABLE, result == CURLE_OK ? "the answer broke off" : text);
    }
}

void gs_transport_send(gs_transport *self, const uint8_t *body, size_t body_bytes, int64_t deadline_ns,
                       gs_answer *answer) {
    payload request = {NULL, 0, false};
    CURLcode result = CURLE_FAILED_INIT;
    gs_reply_clear(&self->reply);
    self->started = false;
    *answer = (gs_answer){.grpc_status = -1, .retry_after_ns = -1};
    progress state = look_up(self, deadline_ns);
    if (state == PROGRESS_DONE && !make_payload(self, body, body_bytes, deadline_ns, &request, &state) &&
        state == PROGRESS_DONE) {
        gs_answer_set(answer, GS_ANSWER_UNREACHABLE, "no memory for the request");
        return;
    }
    if (state == PROGRESS_DONE) {
        self->assume_http2 = self->prior_knowledge && self->reuse_bug && has_connection(self);
        state = attempt(self, &request, deadline_ns, &result);
        if (self->wrong_connection && state == PROGRESS_DONE) {
            self->assume_http2 = false;
            state = attempt(self, &request, deadline_ns, &result);
        }
    }
    answer->sent_bytes = self->started ? request.length : 0;
    explain(self, state, result, answer);
    self->distrusted = answer->kind == GS_ANSWER_STALE || answer->kind == GS_ANSWER_UNREACHABLE ||
                       answer->kind == GS_ANSWER_TIMEOUT || answer->kind == GS_ANSWER_INTERRUPTED;
}
