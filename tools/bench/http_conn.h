/* One keep-alive connection to the push API: requests go out in order, answers are counted as they
 * come back in the same order. Not blocking; the owner watches the descriptor. */
#ifndef TIDEGATE_BENCH_HTTP_CONN_H
#define TIDEGATE_BENCH_HTTP_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum { HTTP_CONN_HEAD_MAX = 8192 };

struct http_conn {
    int fd; /* -1 when the server closed it */
    struct buf out;
    char head[HTTP_CONN_HEAD_MAX + 1]; /* of the answer that is being read */
    size_t head_len;
    uint64_t body_left; /* of that answer, skipped */
    unsigned in_flight;
    unsigned depth;
    unsigned oldest;   /* place in sent_ns */
    uint64_t *sent_ns; /* ring of depth: when each request in flight should have been sent */
};

/* status 0: the connection ended and this request has no answer; head is its first line. */
typedef void (*http_conn_answer_cb)(void *owner, struct http_conn *conn, int status,
                                    uint64_t sent_ns, const char *head);

/* Connects to 127.0.0.1:port, or dies. */
void http_conn_open(struct http_conn *conn, uint16_t port, unsigned depth);
void http_conn_close(struct http_conn *conn);

/* Notes a request whose bytes were appended to conn->out; http_conn_flush sends them. */
void http_conn_note_request(struct http_conn *conn, uint64_t sent_ns);

/* Sends what is queued. Returns whether all of it went. */
bool http_conn_flush(struct http_conn *conn);

/* Reads once and calls back for each answer that is complete. */
void http_conn_on_readable(struct http_conn *conn, http_conn_answer_cb on_answer, void *owner);

#endif
