#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "net/stream_private.h"
#include "net/stream_socket.h"

static void connect_next(struct stream *stream);

static uint64_t ms_left(const struct stream *stream)
{
    uint64_t now_ms = clock_monotonic_ms();
    return now_ms < stream->deadline_ms ? stream->deadline_ms - now_ms : 0;
}

static void continue_handshake(struct stream *stream)
{
    int err = stream_tls_session_handshake(stream->session);
    stream->read_wants = err == -EAGAIN ? stream_tls_session_wants(stream->session) : LOOP_READABLE;
    if (!err) {
        stream_opened(stream);
    } else if (err == -EAGAIN) {
        stream_update_watch(stream);
    } else {
        stream_finish(stream, err, stream_tls_session_detail(stream->session));
    }
}

static void begin_handshake(struct stream *stream)
{
    int err = stream_tls_session_create(&stream->session, stream->tls, stream->watch.fd,
                                        stream->host);
    if (err) {
        stream_finish(stream, err, err_str(err));
        return;
    }
    stream->state = STREAM_HANDSHAKE;
    stream_start_timer(stream, ms_left(stream));
    continue_handshake(stream);
}

static void connected(struct stream *stream)
{
    stream->read_wants = LOOP_READABLE;
    stream->write_wants = LOOP_WRITABLE;
    if (stream->tls) {
        begin_handshake(stream);
    } else {
        stream_opened(stream);
    }
}

static void note_address_failed(struct stream *stream, int err)
{
    char text[ADDR_TEXT_MAX];
    addr_format(&stream->addrs[stream->addr_next - 1], text);
    stream->connect_err = err;
    snprintf(stream->detail, sizeof(stream->detail), "connect to %s: %s", text, err_str(err));
    stream_disconnect(stream);
}

/* Each address gets its share of the time, so that one that is silent does not keep the others from
 * being tried. */
static int connect_to(struct stream *stream, const struct addr *addr)
{
    int fd;
    int err = stream_socket_connect(&fd, addr);
    if (err) {
        return err;
    }
    err = loop_watch(stream->loop, &stream->watch, fd, LOOP_WRITABLE);
    if (err) {
        close(fd);
        return err;
    }
    stream->watched = LOOP_WRITABLE;
    stream_start_timer(stream, ms_left(stream) / (stream->addr_count - stream->addr_next + 1));
    return 0;
}

static void connect_next(struct stream *stream)
{
    stream->state = STREAM_CONNECTING;
    while (stream->addr_next < stream->addr_count) {
        int err = connect_to(stream, &stream->addrs[stream->addr_next++]);
        if (!err) {
            return;
        }
        note_address_failed(stream, err);
    }
    stream_finish(stream, stream->connect_err, stream->detail);
}

static void see_how_connect_went(struct stream *stream)
{
    int err = stream_socket_result(stream->watch.fd);
    if (err) {
        note_address_failed(stream, err);
        connect_next(stream);
    } else {
        connected(stream);
    }
}

static void on_resolved(void *owner, int err, const struct addr *addrs, size_t count,
                        const char *detail)
{
    struct stream *stream = owner;
    stream->resolve = NULL;
    if (err) {
        snprintf(stream->detail, sizeof(stream->detail), "look-up of %.100s: %s", stream->host,
                 detail);
        stream_finish(stream, err, stream->detail);
        return;
    }
    memcpy(stream->addrs, addrs, count * sizeof(*addrs));
    stream->addr_count = count;
    connect_next(stream);
}

int stream_connect_begin(struct stream *stream, uint64_t timeout_ms)
{
    stream->deadline_ms = clock_monotonic_ms() + timeout_ms;
    stream_start_timer(stream, timeout_ms);
    int err = resolve_start(&stream->resolve, stream->loop, stream->host, stream->port, on_resolved,
                            stream);
    if (err && err != ERR_NO_MEMORY) {
        stream_fail_later(stream, err, err_str(err));
        return 0;
    }
    return err;
}

void stream_connect_continue(struct stream *stream)
{
    if (stream->state == STREAM_CONNECTING) {
        see_how_connect_went(stream);
    } else {
        continue_handshake(stream);
    }
}

void stream_connect_timed_out(struct stream *stream)
{
    if (stream->state == STREAM_CONNECTING) {
        note_address_failed(stream, ERR_TIMEOUT);
        connect_next(stream);
    } else {
        bool resolves = stream->state == STREAM_RESOLVING;
        stream_finish(stream, ERR_TIMEOUT,
                      resolves ? "look-up timed out" : "TLS handshake timed out");
    }
}
