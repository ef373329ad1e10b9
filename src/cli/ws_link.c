#include "cli/ws_link.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "cli/http_call.h"

enum {
    LINK_BLOCK = 64 * 1024,
    LINK_MESSAGE_MAX = 16 * 1024 * 1024,
    LINK_CUT = 1006, /* RFC 6455 7.1.5: closed without a close frame */
};

struct ws_link {
    struct conn *conn;
    struct ws_partial *partial;
    struct buf first; /* what came behind the 101 */
    /* During a read: */
    const struct ws_link_events *events;
    void *owner;
    uint64_t deadline_ms;
    uint16_t close_code; /* of the peer's close frame */
    int err;             /* why a callback stopped */
    uint8_t block[LINK_BLOCK];
};

/* --- Opening --- */

static int write_upgrade(struct conn *conn, const struct ws_client_request *upgrade,
                         uint64_t deadline_ms)
{
    struct buf out = {0};
    int err = ws_client_write_request(&out, upgrade);
    if (!err) {
        err = conn_write(conn, out.data, out.len, deadline_ms);
    }
    if (out.data) {
        explicit_bzero(out.data, out.cap);
    }
    buf_fini(&out);
    return err;
}

static int upgrade_connection(struct ws_link *link, const struct ws_client_request *upgrade,
                              uint64_t deadline_ms, int *out_status)
{
    struct http_reply reply = {0};
    int err = write_upgrade(link->conn, upgrade, deadline_ms);
    if (!err) {
        err = http_call_read_head(link->conn, &reply, deadline_ms);
    }
    if (!err) {
        err = ws_client_check_answer(&reply.answer, upgrade);
        *out_status = err == ERR_DENIED ? reply.answer.status : 0;
    }
    if (!err) {
        err = buf_append_str(&link->first, buf_str(&reply.body));
    }
    http_reply_fini(&reply);
    return err;
}

static int start(struct ws_link *link, const struct ws_link_request *request, uint64_t deadline_ms,
                 int *out_status)
{
    uint8_t random[16];
    char key[WS_KEY_LEN + 1];
    char bearer[16 * 1024];
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        return -errno;
    }
    ws_client_make_key(random, key);
    int len = snprintf(bearer, sizeof(bearer), "Bearer %s", request->token);
    const struct http_pair headers[] = {
        {STR("User-Agent"), STR("tidegate/" TIDEGATE_VERSION)},
        {STR("Authorization"), str_make(bearer, (size_t)len)},
    };
    const struct ws_client_request upgrade = {
        .host = str_of(request->url->authority),
        .target = request->target,
        .key = str_of(key),
        .protocols = request->protocol,
        .headers = headers,
        .header_count = *request->token ? 2 : 1,
    };
    int err = len >= (int)sizeof(bearer)
                  ? ERR_TOO_LARGE
                  : upgrade_connection(link, &upgrade, deadline_ms, out_status);
    explicit_bzero(bearer, sizeof(bearer));
    return err;
}

int ws_link_open(struct ws_link **out_link, const struct ws_link_request *request,
                 uint64_t deadline_ms, int *out_status)
{
    *out_status = 0;
    struct ws_link *link = mem_zalloc(sizeof(*link));
    if (!link) {
        return ERR_NO_MEMORY;
    }
    int err = conn_open(&link->conn, request->url, request->ca_file, deadline_ms);
    if (!err) {
        err = start(link, request, deadline_ms, out_status);
    }
    if (err) {
        ws_link_close(link, 0);
        return err;
    }
    *out_link = link;
    return 0;
}

int ws_link_adopt(struct ws_link **out_link, struct conn *conn, struct str first)
{
    struct ws_link *link = mem_zalloc(sizeof(*link));
    if (!link || buf_append_str(&link->first, first)) {
        mem_free(link);
        return ERR_NO_MEMORY;
    }
    link->conn = conn;
    *out_link = link;
    return 0;
}

/* --- Sending --- */

int ws_link_send(struct ws_link *link, enum ws_opcode opcode, struct str payload,
                 uint64_t deadline_ms)
{
    uint8_t mask[4];
    struct buf frame = {0};
    if (getrandom(mask, sizeof(mask), 0) != sizeof(mask)) {
        return -errno;
    }
    int err = ws_frame_append_masked(&frame, opcode, false, payload, mask);
    if (!err) {
        err = conn_write(link->conn, frame.data, frame.len, deadline_ms);
    }
    buf_fini(&frame);
    return err;
}

/* --- Receiving --- */

static int on_message(void *owner, enum ws_opcode opcode, struct str payload)
{
    struct ws_link *link = owner;
    return link->events ? link->events->on_message(link->owner, opcode, payload) : 0;
}

static int on_ping(void *owner, struct str payload)
{
    struct ws_link *link = owner;
    if (link->events && link->events->on_ping) {
        link->events->on_ping(link->owner);
    }
    link->err = ws_link_send(link, WS_PONG, payload, link->deadline_ms);
    return link->err;
}

static int on_pong(void *owner, struct str payload)
{
    return 0;
}

/* RFC 6455 5.5.1: a close frame is answered by one with the same code. */
static int on_close(void *owner, uint16_t code, struct str reason)
{
    struct ws_link *link = owner;
    uint8_t body[WS_CONTROL_MAX];
    size_t len = ws_close_body_write(body, code, STR(""));
    ws_link_send(link, WS_CLOSE, str_make(body, len), link->deadline_ms);
    link->close_code = code;
    link->err = ERR_CLOSED;
    return 0;
}

static int feed(struct ws_link *link, uint8_t *data, size_t len)
{
    static const struct ws_reader_events reader_events = {on_message, on_ping, on_pong, on_close};
    const struct ws_reader_options options = {.max_message = LINK_MESSAGE_MAX, .from_server = true};
    link->err = 0;
    int err = ws_reader_feed(&link->partial, &options, data, len, &reader_events, link);
    return link->err ? link->err : err;
}

/* The bytes behind the 101 come first, then those of the socket. */
static int read_block(struct ws_link *link)
{
    if (link->first.len > 0) {
        struct buf first = link->first;
        link->first = (struct buf){0};
        int err = feed(link, first.data, first.len);
        buf_fini(&first);
        return err;
    }
    ssize_t got = conn_read(link->conn, link->block, sizeof(link->block), link->deadline_ms);
    if (got <= 0) {
        link->close_code = LINK_CUT;
        return got < 0 ? (int)got : ERR_CLOSED;
    }
    return feed(link, link->block, (size_t)got);
}

int ws_link_read(struct ws_link *link, const struct ws_link_events *events, void *owner,
                 uint64_t deadline_ms, uint16_t *out_close)
{
    link->events = events;
    link->owner = owner;
    link->deadline_ms = deadline_ms;
    int err = read_block(link);
    link->events = NULL;
    if (err == ERR_CLOSED) {
        *out_close = link->close_code;
    }
    return err;
}

/* --- Closing --- */

static void say_goodbye(struct ws_link *link, uint16_t code)
{
    uint8_t body[WS_CONTROL_MAX];
    uint64_t deadline_ms = clock_monotonic_ms() + 1000;
    size_t len = ws_close_body_write(body, code, STR(""));
    int err = ws_link_send(link, WS_CLOSE, str_make(body, len), deadline_ms);
    while (!err) {
        uint16_t ignored;
        err = ws_link_read(link, NULL, NULL, deadline_ms, &ignored);
    }
}

void ws_link_close(struct ws_link *link, uint16_t code)
{
    if (!link) {
        return;
    }
    if (code) {
        say_goodbye(link, code);
    }
    conn_close(link->conn);
    ws_partial_destroy(link->partial);
    buf_fini(&link->first);
    mem_free(link);
}
