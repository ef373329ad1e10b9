/* HTTP/1.1 connections of one listener on one loop: requests in, answers out, in order, however
 * late they come. Strict about what it reads (proto/http_request.h); every size and time a peer can
 * stretch is limited. One thread. */
#ifndef TIDEGATE_SERVER_HTTP_CONN_H
#define TIDEGATE_SERVER_HTTP_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/settings.h"
#include "net/addr.h"
#include "net/loop.h"
#include "proto/http_request.h"
#include "proto/http_response.h"
#include "server/request_id.h"

struct audit_act;
struct http_conn; /* http_conn.c */
struct http_service;
struct tls_conn;
struct tls_context;

/* Takes the answer of an exchange that has no connection; all of it is borrowed. */
typedef void (*http_answer_cb)(void *owner, const struct http_response *response);

/* One request and its answer. The request's strings are good only inside on_head and on_request;
 * the exchange itself until it is answered. */
struct http_exchange {
    struct http_service *service;
    struct http_conn *conn; /* NULL once the peer is gone: answering is then harmless */
    struct http_exchange *next;
    const struct http_request *request; /* NULL after on_request */
    struct str body;
    struct addr peer;  /* the other end, or whom its PROXY header names */
    struct buf answer; /* waits for earlier answers of the connection */
    uint64_t started_us;
    void *user; /* the handler's */
    /* The handler's, and called once at most: the peer has closed or ended its side, so that nobody
     * waits any more. An answer is still owed, and may be given inside. NULL: whatever. */
    void (*on_gone)(struct http_exchange *exchange);
    http_answer_cb on_answer; /* of one that never had a connection; NULL: the others */
    void *answer_owner;
    const char *route; /* the handler's: a literal for metrics; NULL: "other" */
    const char *code;  /* of the problem that it is answered with, a literal; NULL: none */
    /* The handler's, and owned from there on: what is done, for the audit log, which is told with
     * the answer. NULL: nothing that is audited. */
    struct audit_act *act;
    struct request_id request_id;
    uint16_t app;    /* the handler's, for logs: 1 + the app's number; 0: nobody's */
    uint16_t status; /* of the answer; 0: not answered */
    bool keep_alive;
    bool head_only;
    bool is_secure; /* over TLS */
    bool is_gone;   /* nobody waits for the answer any more, as on_gone tells */
};

/* Which part of the settings a listener reads. */
enum http_listener { HTTP_LISTENER_CLIENT, HTTP_LISTENER_API, HTTP_LISTENER_ADMIN };

struct http_service_options {
    struct loop *loop;
    const char *name;      /* of the listener: "client", "api", "admin"; for metrics and logs */
    bool shows_request_id; /* answers have an X-Request-Id */
    enum http_listener listener;
    const struct settings *settings; /* a reference is taken */
    struct tls_context *tls;         /* NULL: plain; a reference is taken */
    uint8_t *receive_buffer;         /* borrowed: shared by all connections of the loop */
    size_t receive_buffer_len;
    void *owner;
    /* Counts the connections of a listener over all its loops: above limits.api_connections a new
     * one is turned away. NULL: no limit. */
    atomic_uint_fast64_t *connections;
    /* A head is complete and its body is not here yet: the handler may answer at once (a refusal),
     * and the body is not read then. May be NULL. */
    void (*on_head)(void *owner, struct http_exchange *exchange);
    /* The request is complete. Answer now or later, exactly once, by one of http_answer*. */
    void (*on_request)(void *owner, struct http_exchange *exchange);
    /* The answer is on its way: for counting. May be NULL. */
    void (*on_answered)(void *owner, const struct http_exchange *exchange);
    /* A request that could not be parsed or was too slow: reason is a stable slug. status 0: the
     * connection was closed without an answer ("no_request", "write_stall"). May be NULL. */
    void (*on_refused)(void *owner, const struct addr *peer, int status, const char *reason);
    /* A TLS handshake is done ("full", "resumed") or failed (a reason that on_refused is told,
     * too). May be NULL. */
    void (*on_handshake)(void *owner, const char *result);
};

int http_service_create(struct http_service **out_service,
                        const struct http_service_options *options);

/* Closes all connections. Exchanges still open stay valid until they are answered. The loop may not
 * turn any more. */
void http_service_destroy(struct http_service *service);

/* Takes effect for what is read from now on. */
void http_service_set_settings(struct http_service *service, const struct settings *settings);

/* For connections that have sent nothing yet; a reference is taken. NULL: plain. */
void http_service_set_tls(struct http_service *service, struct tls_context *tls);

const struct settings *http_service_settings(const struct http_service *service);

/* A connection that a listener accepted; fd is the service's from here on. Over the limit of
 * connections it is closed at once. */
void http_service_accept(struct http_service *service, int fd, const struct addr *peer);

/* From now on answers close their connection, and idle connections are closed. */
void http_service_drain(struct http_service *service);
void http_service_resume(struct http_service *service); /* new ones are kept again */

/* Any thread. */
struct loop *http_service_loop(const struct http_service *service);
uint32_t http_service_connections(const struct http_service *service);

/* Answers still owed. Any thread. */
uint32_t http_service_open_exchanges(const struct http_service *service);

/* An exchange for a request that came another way than by a connection of the service; handlers
 * see no difference. The caller hands it to one, and takes request and body out of it when that
 * has returned without an answer. on_answer runs once, on the service's loop, inside of what
 * answers. NULL: memory is out. */
struct http_exchange *http_exchange_detached(struct http_service *service,
                                             const struct http_request *request, struct str body,
                                             http_answer_cb on_answer, void *owner);

/* Tells the handler that nobody waits any more, if it wants to know. */
void http_exchange_tell_gone(struct http_exchange *exchange);

/* Each answers once and ends the exchange: it may be freed inside. */
void http_answer(struct http_exchange *exchange, const struct http_response *response);
void http_answer_json(struct http_exchange *exchange, int status, struct str json);
void http_answer_problem(struct http_exchange *exchange, int status, const char *code,
                         const char *detail);

/* The same with further headers. */
void http_answer_problem_with(struct http_exchange *exchange, int status, const char *code,
                              const char *detail, const struct http_pair *headers, size_t count);

/* The same with "Retry-After: seconds". */
void http_answer_retry(struct http_exchange *exchange, int status, const char *code,
                       const char *detail, unsigned seconds);

/* The answer to a request that the codec refuses, with the headers it needs; the connection is
 * closed behind it. */
void http_answer_refusal(struct http_exchange *exchange, enum http_refusal refusal);

/* A socket that left its connection. */
struct http_taken {
    int fd;
    struct tls_conn *tls; /* NULL: plain */
    struct str rest;      /* came behind the request; borrowed until the handler returns */
};

/* Inside on_request of a request without earlier ones unanswered: takes the socket out of the
 * connection, which is gone after the handler returns, and ends the exchange, whose answer (of that
 * status) the caller writes.
 * False when it can't be done (answers are owed before it, or unsent bytes); the exchange then
 * still wants its answer. */
bool http_take_socket(struct http_exchange *exchange, int status, struct http_taken *out_taken);

#endif
