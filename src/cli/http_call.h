/* One HTTP request and its response over a connection of its own. Blocking. */
#ifndef TIDEGATE_CLI_HTTP_CALL_H
#define TIDEGATE_CLI_HTTP_CALL_H

#include <stdbool.h>

#include "cli/conn.h"
#include "cli/http_reply.h"

/* Connects, sends the request, and takes the response into reply (the caller's to end). The request
 * may hold a key: its memory is wiped and freed. 0, or an error of conn_open (*out_connected is
 * false), of conn_read, of conn_write or of http_reply_feed. An answer that comes before the
 * request was taken counts. */
int http_call(struct http_reply *reply, const struct url *url, const char *ca_file,
              struct buf *request, uint64_t deadline_ms, bool *out_connected);

/* Reads until the reply's head is complete, and maybe some of what is behind it; a body that breaks
 * its announcement does not matter then. 0, or an error of conn_read (ERR_CLOSED: the peer has
 * ended) or of http_reply_feed. */
int http_call_read_head(struct conn *conn, struct http_reply *reply, uint64_t deadline_ms);

#endif
