#include "cli/http_call.h"

#include "base/err.h"

static int receive(struct conn *conn, struct http_reply *reply, uint64_t deadline_ms)
{
    while (!reply->is_complete) {
        char data[16 * 1024];
        ssize_t got = conn_read(conn, data, sizeof(data), deadline_ms);
        if (got < 0) {
            return (int)got;
        }
        int err = got > 0 ? http_reply_feed(reply, data, (size_t)got) : http_reply_end(reply);
        if (err) {
            return err;
        }
    }
    return 0;
}

/* A server that refuses early (413) may close while we still write: its answer counts. */
static int exchange(struct conn *conn, const struct buf *request, struct http_reply *reply,
                    uint64_t deadline_ms)
{
    int write_err = conn_write(conn, request->data, request->len, deadline_ms);
    if (write_err == ERR_TIMEOUT) {
        return write_err;
    }
    int err = receive(conn, reply, deadline_ms);
    return err && write_err ? write_err : err;
}

int http_call(struct http_reply *reply, const struct url *url, const char *ca_file,
              struct buf *request, uint64_t deadline_ms, bool *out_connected)
{
    struct conn *conn = NULL;
    int err = conn_open(&conn, url, ca_file, deadline_ms);
    *out_connected = err == 0;
    if (!err) {
        err = exchange(conn, request, reply, deadline_ms);
    }
    if (request->data) {
        explicit_bzero(request->data, request->cap);
    }
    buf_fini(request);
    conn_close(conn);
    return err;
}

int http_call_read_head(struct conn *conn, struct http_reply *reply, uint64_t deadline_ms)
{
    while (!reply->has_head) {
        uint8_t data[4096];
        ssize_t got = conn_read(conn, data, sizeof(data), deadline_ms);
        if (got <= 0) {
            return got < 0 ? (int)got : ERR_CLOSED;
        }
        int err = http_reply_feed(reply, data, (size_t)got);
        if (err && !reply->has_head) {
            return err;
        }
    }
    return 0;
}
