#include "net/stream.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mail.h"
#include "base/mem.h"
#include "net/stream_private.h"
#include "net/stream_socket.h"

enum {
    /* More than a TLS record: none of it then stays in the TLS library, where epoll can't see it.
     * On the stack, so that a stream holds only what its owner has left unconsumed. */
    READ_CHUNK = 64 * 1024,
    READS_A_TURN = 16, /* then the loop's other descriptors have a go */
    MAX_UNCONSUMED = 64 * 1024 * 1024,
};

/* ---- ends ---- */

/* By the clock, not by the loop's: whoever calls from outside a turn may find that one late. */
void stream_start_timer(struct stream *stream, uint64_t delay_ms)
{
    timer_start(loop_timers(stream->loop), &stream->timer, clock_monotonic_ms(), delay_ms);
}

void stream_disconnect(struct stream *stream)
{
    int fd = stream->watch.fd;
    stream_tls_session_destroy(stream->session);
    stream->session = NULL;
    if (fd >= 0) {
        loop_unwatch(stream->loop, &stream->watch);
        close(fd);
    }
}

static void shut(struct stream *stream)
{
    loop_timer_stop(stream->loop, &stream->timer);
    resolve_cancel(stream->resolve);
    stream->resolve = NULL;
    stream_disconnect(stream);
    stream->state = STREAM_CLOSED;
}

static void stream_free(struct stream *stream)
{
    stream_tls_unref(stream->tls);
    buf_fini(&stream->in);
    buf_fini(&stream->out);
    mem_free(stream->host);
    mem_free(stream);
}

void stream_close(struct stream *stream)
{
    if (!stream) {
        return;
    }
    shut(stream);
    if (stream->in_callback) {
        stream->is_abandoned = true;
    } else {
        stream_free(stream);
    }
}

/* detail may end with the TLS session, or be the stream's own. */
static void set_detail(struct stream *stream, const char *detail)
{
    if (detail != stream->detail) {
        snprintf(stream->detail, sizeof(stream->detail), "%s", detail);
    }
}

/* The one call of on_close; the stream is gone behind it. */
void stream_finish(struct stream *stream, int err, const char *detail)
{
    set_detail(stream, detail);
    shut(stream);
    stream->in_callback = true;
    stream->callbacks.on_close(stream->owner, err, stream->detail);
    stream_free(stream);
}

static bool free_if_abandoned(struct stream *stream)
{
    stream->in_callback = false;
    if (stream->is_abandoned) {
        stream_free(stream);
        return true;
    }
    return false;
}

/* For failures inside the owner's calls: told from the loop. */
void stream_fail_later(struct stream *stream, int err, const char *detail)
{
    if (!stream->late_err) {
        stream->late_err = err;
        set_detail(stream, detail);
        loop_timer_start(stream->loop, &stream->timer, 0);
    }
}

/* ---- out ---- */

size_t stream_queued(const struct stream *stream)
{
    return stream->out.len - stream->out_start;
}

static ssize_t transport_write(struct stream *stream, struct str data)
{
    if (!stream->session) {
        ssize_t sent = stream_socket_send(stream->watch.fd, &data, 1);
        return sent == 0 ? -EAGAIN : sent;
    }
    ssize_t sent = stream_tls_session_write(stream->session, data.ptr, data.len);
    stream->write_wants = sent == -EAGAIN ? stream_tls_session_wants(stream->session)
                                          : LOOP_WRITABLE;
    return sent;
}

static const char *transport_detail(const struct stream *stream, int err)
{
    return stream->session ? stream_tls_session_detail(stream->session) : err_str(err);
}

static void flush(struct stream *stream)
{
    while (stream_queued(stream) > 0 && !stream->late_err) {
        struct str rest = str_make(stream->out.data + stream->out_start, stream_queued(stream));
        ssize_t sent = transport_write(stream, rest);
        if (sent == -EAGAIN) {
            return;
        }
        if (sent < 0) {
            stream_fail_later(stream, (int)sent, transport_detail(stream, (int)sent));
            return;
        }
        stream->out_start += (size_t)sent;
    }
    if (stream_queued(stream) == 0) {
        buf_fini(&stream->out);
        stream->out_start = 0;
    }
}

void stream_update_watch(struct stream *stream)
{
    bool writes = stream->state == STREAM_OPEN && stream_queued(stream) > 0 && !stream->late_err;
    unsigned events = stream->read_wants | (writes ? stream->write_wants : 0u);
    if (events == stream->watched) {
        return;
    }
    int err = loop_rewatch(stream->loop, &stream->watch, events);
    if (err) {
        stream_fail_later(stream, err, err_str(err));
    }
    stream->watched = events;
}

/* What is sent already is dropped when it is at least half: moving the rest then costs no more than
 * what was sent. */
static bool reserve_out(struct stream *stream, size_t len)
{
    if (stream->out_start > 0 && stream->out_start >= stream->out.len / 2) {
        buf_consume(&stream->out, stream->out_start);
        stream->out_start = 0;
    }
    if (buf_reserve(&stream->out, len)) {
        return true;
    }
    stream->out.err = 0; /* the owner may try again */
    return false;
}

static void append_behind(struct buf *out, const struct str *pieces, size_t count, size_t skip)
{
    for (size_t i = 0; i < count; i++) {
        size_t skipped = skip < pieces[i].len ? skip : pieces[i].len;
        buf_append(out, pieces[i].ptr + skipped, pieces[i].len - skipped);
        skip -= skipped;
    }
}

/* The bytes that went out at once. */
static size_t send_directly(struct stream *stream, const struct str *pieces, size_t count)
{
    if (stream->state != STREAM_OPEN || stream->session || stream_queued(stream) > 0) {
        return 0;
    }
    ssize_t sent = stream_socket_send(stream->watch.fd, pieces, count);
    if (sent < 0) {
        stream_fail_later(stream, (int)sent, err_str((int)sent));
    }
    return sent < 0 ? 0 : (size_t)sent;
}

static int queue(struct stream *stream, const struct str *pieces, size_t count, size_t total)
{
    size_t sent = send_directly(stream, pieces, count);
    if (stream->late_err || sent == total) {
        return 0;
    }
    if (!reserve_out(stream, total - sent)) {
        if (sent == 0) {
            return ERR_NO_MEMORY;
        }
        stream_fail_later(stream, ERR_NO_MEMORY,
                          err_str(ERR_NO_MEMORY)); /* half a message is out */
        return 0;
    }
    bool was_empty = stream_queued(stream) == 0;
    append_behind(&stream->out, pieces, count, sent);
    if (stream->state == STREAM_OPEN) {
        if (was_empty && stream->session) {
            flush(stream);
        }
        stream_update_watch(stream);
    }
    return 0;
}

int stream_writev(struct stream *stream, const struct str *pieces, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += pieces[i].len;
    }
    if (stream->state == STREAM_CLOSED || (stream->state == STREAM_OPEN && stream->late_err)) {
        return 0;
    }
    if (stream->max_queued && stream_queued(stream) + total > stream->max_queued) {
        return ERR_TOO_LARGE;
    }
    return queue(stream, pieces, count, total);
}

int stream_write(struct stream *stream, const void *data, size_t len)
{
    struct str piece = str_make(data, len);
    return stream_writev(stream, &piece, 1);
}

/* ---- in: these return false when the stream is gone ---- */

static bool keep_rest(struct stream *stream, struct str data, size_t used)
{
    size_t rest = data.len - used;
    if (rest > stream->max_unconsumed) {
        stream_finish(stream, ERR_TOO_LARGE, "more came than may wait unread");
        return false;
    }
    if (rest == 0) {
        buf_fini(&stream->in);
    } else if (stream->in.len > 0) {
        buf_consume(&stream->in, used);
    } else if (buf_append(&stream->in, data.ptr + used, rest)) {
        stream_finish(stream, ERR_NO_MEMORY, err_str(ERR_NO_MEMORY));
        return false;
    }
    return true;
}

static bool deliver(struct stream *stream, struct str data)
{
    stream->in_callback = true;
    ptrdiff_t used = stream->callbacks.on_data(stream->owner, data);
    if (free_if_abandoned(stream)) {
        return false;
    }
    if (used < 0) {
        stream_finish(stream, (int)used, err_str((int)used));
        return false;
    }
    ASSERT((size_t)used <= data.len);
    return keep_rest(stream, data, (size_t)used);
}

static ssize_t transport_read(struct stream *stream, void *data, size_t len)
{
    if (!stream->session) {
        return stream_socket_receive(stream->watch.fd, data, len);
    }
    ssize_t got = stream_tls_session_read(stream->session, data, len);
    stream->read_wants = got == -EAGAIN ? stream_tls_session_wants(stream->session) : LOOP_READABLE;
    return got;
}

static bool take_chunk(struct stream *stream, uint8_t *chunk, size_t len)
{
    if (stream->in.len == 0) {
        return deliver(stream, str_make(chunk, len));
    }
    stream->in.len += len;
    return deliver(stream, buf_str(&stream->in));
}

/* A write that failed may have taken the error that the read would have found. */
static void tell_end(struct stream *stream, int err)
{
    if (err) {
        stream_finish(stream, err, transport_detail(stream, err));
    } else if (stream->late_err) {
        stream_finish(stream, stream->late_err, stream->detail);
    } else {
        stream_finish(stream, 0, err_str(ERR_CLOSED));
    }
}

static bool read_available(struct stream *stream)
{
    uint8_t chunk[READ_CHUNK];
    for (int reads = 0; reads < READS_A_TURN; reads++) {
        uint8_t *to = stream->in.len == 0 ? chunk : buf_reserve(&stream->in, READ_CHUNK);
        if (!to) {
            stream_finish(stream, ERR_NO_MEMORY, err_str(ERR_NO_MEMORY));
            return false;
        }
        ssize_t got = transport_read(stream, to, READ_CHUNK);
        if (got == -EAGAIN) {
            break;
        }
        if (got <= 0) {
            tell_end(stream, (int)got);
            return false;
        }
        if (!take_chunk(stream, chunk, (size_t)got)) {
            return false;
        }
        if (got < READ_CHUNK && !stream->session) {
            break;
        }
    }
    return true;
}

static void serve(struct stream *stream)
{
    flush(stream);
    if (read_available(stream)) {
        stream_update_watch(stream);
    }
}

void stream_opened(struct stream *stream)
{
    if (!stream->late_err) { /* else it is the timer's to tell */
        loop_timer_stop(stream->loop, &stream->timer);
    }
    stream->state = STREAM_OPEN;
    stream->in_callback = true;
    stream->callbacks.on_open(stream->owner);
    if (!free_if_abandoned(stream)) {
        flush(stream);
        stream_update_watch(stream);
    }
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct stream *stream = MAIL_OWNER(watch, struct stream, watch);
    if (stream->state == STREAM_OPEN) {
        serve(stream);
    } else {
        stream_connect_continue(stream);
    }
}

static void on_timer(struct timer *timer)
{
    struct stream *stream = MAIL_OWNER(timer, struct stream, timer);
    if (!stream->late_err) {
        stream_connect_timed_out(stream);
    } else if (stream->state != STREAM_OPEN || read_available(stream)) {
        /* Read first: what the peer said before it went may tell the owner why. */
        stream_finish(stream, stream->late_err, stream->detail);
    }
}

/* ---- making one ---- */

static struct stream *stream_alloc(struct loop *loop, const struct stream_options *options)
{
    struct stream *stream = mem_zalloc(sizeof(*stream));
    if (!stream) {
        return NULL;
    }
    *stream = (struct stream){.loop = loop,
                              .watch = {.on_ready = on_ready, .fd = -1},
                              .timer = {.on_fire = on_timer},
                              .host = mem_strndup(options->host.ptr, options->host.len),
                              .port = options->port,
                              .tls = options->tls ? stream_tls_ref(options->tls) : NULL,
                              .max_queued = options->max_queued,
                              .max_unconsumed = MAX_UNCONSUMED};
    if (!stream->host) {
        stream_free(stream);
        return NULL;
    }
    return stream;
}

int stream_open(struct stream **out_stream, struct loop *loop, const struct stream_options *options,
                const struct stream_callbacks *callbacks, void *owner)
{
    struct stream *stream = stream_alloc(loop, options);
    if (!stream) {
        return ERR_NO_MEMORY;
    }
    stream->callbacks = *callbacks;
    stream->owner = owner;
    int err = stream_connect_begin(stream, options->connect_timeout_ms);
    if (err) {
        stream_close(stream);
        return err;
    }
    *out_stream = stream;
    return 0;
}

bool stream_is_open(const struct stream *stream)
{
    return stream->state == STREAM_OPEN;
}

void stream_set_max_unconsumed(struct stream *stream, size_t bytes)
{
    stream->max_unconsumed = bytes;
}
