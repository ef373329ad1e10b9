#include "net/stream.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mail.h"
#include "base/mem.h"
#include "net/resolve.h"
#include "net/stream_socket.h"
#include "net/stream_tls.h"

enum {
    /* More than a TLS record: none of it then stays in the TLS library, where epoll can't see it.
     * On the stack, so that a stream holds only what its owner has left unconsumed. */
    READ_CHUNK = 64 * 1024,
    READS_A_TURN = 16, /* then the loop's other descriptors have a go */
    MAX_UNCONSUMED = 64 * 1024 * 1024,
    DETAIL_MAX = 192,
};

enum stream_state { RESOLVING, CONNECTING, HANDSHAKE, OPEN, CLOSED };

struct stream {
    struct loop *loop;
    struct loop_watch watch;
    unsigned watched;   /* the events asked for */
    struct timer timer; /* the connect timeout, later the call of a late failure */
    struct stream_callbacks callbacks;
    void *owner;
    enum stream_state state;
    bool in_callback;
    bool is_abandoned; /* stream_close came in a callback: free it behind that */

    char *host;
    uint16_t port;
    uint64_t deadline_ms; /* of everything before OPEN; monotonic */
    struct resolve *resolve;
    struct addr addrs[RESOLVE_MAX_ADDRS];
    size_t addr_count;
    size_t addr_next;

    struct stream_tls *tls;
    struct stream_tls_session *session; /* NULL: plain */
    unsigned read_wants, write_wants;   /* what TLS waits for; plain: the obvious */

    struct buf in; /* what the owner has left */
    struct buf out;
    size_t out_start; /* the kernel has what is before it */
    size_t max_queued;
    size_t max_unconsumed;

    int connect_err; /* of the last address tried */
    int late_err;    /* is still to be told */
    char detail[DETAIL_MAX];
};

/* ---- ends ---- */

static void disconnect(struct stream *stream)
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
    disconnect(stream);
    stream->state = CLOSED;
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
static void finish(struct stream *stream, int err, const char *detail)
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
static void fail_later(struct stream *stream, int err, const char *detail)
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
            fail_later(stream, (int)sent, transport_detail(stream, (int)sent));
            return;
        }
        stream->out_start += (size_t)sent;
    }
    if (stream_queued(stream) == 0) {
        buf_fini(&stream->out);
        stream->out_start = 0;
    }
}

static void update_watch(struct stream *stream)
{
    bool writes = stream_queued(stream) > 0 && !stream->late_err;
    unsigned events = stream->read_wants | (writes ? stream->write_wants : 0u);
    if (events == stream->watched) {
        return;
    }
    int err = loop_rewatch(stream->loop, &stream->watch, events);
    if (err) {
        fail_later(stream, err, err_str(err));
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
    if (stream->state != OPEN || stream->session || stream_queued(stream) > 0) {
        return 0;
    }
    ssize_t sent = stream_socket_send(stream->watch.fd, pieces, count);
    if (sent < 0) {
        fail_later(stream, (int)sent, err_str((int)sent));
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
        fail_later(stream, ERR_NO_MEMORY, err_str(ERR_NO_MEMORY)); /* half a message is out */
        return 0;
    }
    bool was_empty = stream_queued(stream) == 0;
    append_behind(&stream->out, pieces, count, sent);
    if (stream->state == OPEN) {
        if (was_empty && stream->session) {
            flush(stream);
        }
        update_watch(stream);
    }
    return 0;
}

int stream_writev(struct stream *stream, const struct str *pieces, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += pieces[i].len;
    }
    if (stream->state == CLOSED || (stream->state == OPEN && stream->late_err)) {
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
        finish(stream, ERR_TOO_LARGE, "more came than may wait unread");
        return false;
    }
    if (rest == 0) {
        buf_fini(&stream->in);
    } else if (stream->in.len > 0) {
        buf_consume(&stream->in, used);
    } else if (buf_append(&stream->in, data.ptr + used, rest)) {
        finish(stream, ERR_NO_MEMORY, err_str(ERR_NO_MEMORY));
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
        finish(stream, (int)used, err_str((int)used));
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

static bool read_available(struct stream *stream)
{
    uint8_t chunk[READ_CHUNK];
    for (int reads = 0; reads < READS_A_TURN; reads++) {
        uint8_t *to = stream->in.len == 0 ? chunk : buf_reserve(&stream->in, READ_CHUNK);
        if (!to) {
            finish(stream, ERR_NO_MEMORY, err_str(ERR_NO_MEMORY));
            return false;
        }
        ssize_t got = transport_read(stream, to, READ_CHUNK);
        if (got == -EAGAIN) {
            break;
        }
        if (got <= 0) {
            finish(stream, (int)got,
                   got ? transport_detail(stream, (int)got) : err_str(ERR_CLOSED));
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

static void serve(struct stream *stream, unsigned events)
{
    flush(stream);
    if (!read_available(stream)) {
        return;
    }
    /* What a read does not tell: a failure that is not the connection's end would come for ever. */
    int err = events & LOOP_HANGUP ? stream_socket_error(stream->watch.fd) : 0;
    if (err) {
        fail_later(stream, err, err_str(err));
    }
    update_watch(stream);
}

/* ---- connecting ---- */

static void connect_next(struct stream *stream);

static uint64_t ms_left(const struct stream *stream)
{
    uint64_t now_ms = clock_monotonic_ms();
    return now_ms < stream->deadline_ms ? stream->deadline_ms - now_ms : 0;
}

/* By the clock, not by the loop's: whoever calls from outside a turn may find that one late. */
static void start_timer(struct stream *stream, uint64_t delay_ms)
{
    timer_start(loop_timers(stream->loop), &stream->timer, clock_monotonic_ms(), delay_ms);
}

static void opened(struct stream *stream)
{
    loop_timer_stop(stream->loop, &stream->timer);
    stream->state = OPEN;
    stream->in_callback = true;
    stream->callbacks.on_open(stream->owner);
    if (!free_if_abandoned(stream)) {
        flush(stream);
        update_watch(stream);
    }
}

static void continue_handshake(struct stream *stream)
{
    int err = stream_tls_session_handshake(stream->session);
    stream->read_wants = err == -EAGAIN ? stream_tls_session_wants(stream->session) : LOOP_READABLE;
    if (!err) {
        opened(stream);
    } else if (err == -EAGAIN) {
        update_watch(stream);
    } else {
        finish(stream, err, stream_tls_session_detail(stream->session));
    }
}

static void begin_handshake(struct stream *stream)
{
    int err = stream_tls_session_create(&stream->session, stream->tls, stream->watch.fd,
                                        stream->host);
    if (err) {
        finish(stream, err, err_str(err));
        return;
    }
    stream->state = HANDSHAKE;
    start_timer(stream, ms_left(stream));
    continue_handshake(stream);
}

static void connected(struct stream *stream)
{
    stream->read_wants = LOOP_READABLE;
    stream->write_wants = LOOP_WRITABLE;
    if (stream->tls) {
        begin_handshake(stream);
    } else {
        opened(stream);
    }
}

static void note_address_failed(struct stream *stream, int err)
{
    char text[ADDR_TEXT_MAX];
    addr_format(&stream->addrs[stream->addr_next - 1], text);
    stream->connect_err = err;
    snprintf(stream->detail, sizeof(stream->detail), "connect to %s: %s", text, err_str(err));
    disconnect(stream);
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
    start_timer(stream, ms_left(stream) / (stream->addr_count - stream->addr_next + 1));
    return 0;
}

static void connect_next(struct stream *stream)
{
    stream->state = CONNECTING;
    while (stream->addr_next < stream->addr_count) {
        int err = connect_to(stream, &stream->addrs[stream->addr_next++]);
        if (!err) {
            return;
        }
        note_address_failed(stream, err);
    }
    finish(stream, stream->connect_err, stream->detail);
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
        finish(stream, err, stream->detail);
        return;
    }
    memcpy(stream->addrs, addrs, count * sizeof(*addrs));
    stream->addr_count = count;
    connect_next(stream);
}

static void on_ready(struct loop_watch *watch, unsigned events)
{
    struct stream *stream = MAIL_OWNER(watch, struct stream, watch);
    switch (stream->state) {
    case CONNECTING: see_how_connect_went(stream); return;
    case HANDSHAKE: continue_handshake(stream); return;
    default: serve(stream, events);
    }
}

static void on_timer(struct timer *timer)
{
    struct stream *stream = MAIL_OWNER(timer, struct stream, timer);
    if (stream->late_err) {
        /* What the peer said before it went may tell the owner why. */
        if (stream->state != OPEN || read_available(stream)) {
            finish(stream, stream->late_err, stream->detail);
        }
    } else if (stream->state == CONNECTING) {
        note_address_failed(stream, ERR_TIMEOUT);
        connect_next(stream);
    } else {
        finish(stream, ERR_TIMEOUT,
               stream->state == RESOLVING ? "look-up timed out" : "TLS handshake timed out");
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
    stream->deadline_ms = clock_monotonic_ms() + options->connect_timeout_ms;
    start_timer(stream, options->connect_timeout_ms);
    int err = resolve_start(&stream->resolve, loop, stream->host, stream->port, on_resolved,
                            stream);
    if (err == ERR_NO_MEMORY) {
        stream_close(stream);
        return err;
    }
    if (err) {
        fail_later(stream, err, err_str(err));
    }
    *out_stream = stream;
    return 0;
}

bool stream_is_open(const struct stream *stream)
{
    return stream->state == OPEN;
}

void stream_set_max_unconsumed(struct stream *stream, size_t bytes)
{
    stream->max_unconsumed = bytes;
}
