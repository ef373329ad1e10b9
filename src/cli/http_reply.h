/* Collects one HTTP response out of the pieces in which it arrives: head, then a body by length, by
 * chunks, or up to the end of the connection. Interim (1xx) responses are passed over. Pure but for
 * its two buffers. */
#ifndef TIDEGATE_CLI_HTTP_REPLY_H
#define TIDEGATE_CLI_HTTP_REPLY_H

#include <stdbool.h>

#include "base/buf.h"
#include "proto/http_chunked.h"
#include "proto/ws_client.h"

enum { HTTP_REPLY_BODY_MAX = 32 * 1024 * 1024 };

struct http_reply {
    struct buf head; /* what answer borrows from; does not grow once has_head */
    struct buf body;
    struct http_answer answer; /* once has_head */
    struct http_chunked chunked;
    bool has_head;
    bool is_complete;
};

/* {0} is a fresh one. */
void http_reply_fini(struct http_reply *reply);

/* Takes the next piece. 0 (see is_complete), ERR_PROTOCOL when it is not HTTP or more than the
 * response, ERR_TOO_LARGE, or ERR_NO_MEMORY. After a 101 what follows the head is left in body. */
int http_reply_feed(struct http_reply *reply, const void *data, size_t len);

/* The peer has ended its stream: 0 when that completes the response, else ERR_CLOSED. */
int http_reply_end(struct http_reply *reply);

#endif
