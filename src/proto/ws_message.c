#include "proto/ws_message.h"

#include "base/err.h"
#include "base/mem.h"
#include "proto/utf8.h"
#include "proto/ws_deflate.h"

enum { PAYLOAD_MIN = 256 };

struct ws_partial {
    /* A header cut by the end of a read. */
    uint8_t head[WS_HEADER_MAX];
    uint8_t head_len;

    /* A frame whose payload is not all there. */
    bool in_frame;
    struct ws_frame_header frame;
    uint64_t frame_taken;            /* bytes of its payload read */
    uint8_t control[WS_CONTROL_MAX]; /* its payload, of a control frame */

    /* The data message under way, from the header of its first frame on. */
    bool in_message;
    bool compressed;
    enum ws_opcode opcode;
    uint32_t fragments;
    struct utf8 utf8;
    uint8_t *payload; /* unmasked */
    size_t len;
    size_t cap;
};

/* One call of ws_reader_feed. */
struct reader {
    struct ws_partial *partial; /* taken from the session for the time of the call */
    const struct ws_reader_options *options;
    const struct ws_reader_events *events;
    void *owner;
    uint8_t *data; /* what is not read yet */
    size_t len;
};

static struct ws_partial *partial_of(struct reader *r)
{
    if (!r->partial) {
        r->partial = mem_zalloc(sizeof(*r->partial));
        mem_account(MEM_SESSIONS, (int64_t)ws_partial_bytes(r->partial));
    }
    return r->partial;
}

static void release_payload(uint8_t *payload, size_t cap)
{
    mem_account(MEM_SESSIONS, -(int64_t)cap);
    mem_free(payload);
}

void ws_partial_destroy(struct ws_partial *partial)
{
    if (partial) {
        release_payload(partial->payload, partial->cap);
        mem_account(MEM_SESSIONS, -(int64_t)sizeof(*partial));
        mem_free(partial);
    }
}

size_t ws_partial_bytes(const struct ws_partial *partial)
{
    return partial ? sizeof(*partial) + partial->cap : 0;
}

static bool partial_is_idle(const struct ws_partial *p)
{
    return !p->in_message && !p->in_frame && p->head_len == 0;
}

/* Grows with what has come, never by what was announced: half as much again at most, and no more
 * than the frame can still bring when it is the last. */
static int reserve_payload(struct ws_partial *p, size_t more)
{
    size_t needed = p->len + more;
    if (needed <= p->cap) {
        return 0;
    }
    uint64_t cap = needed < PAYLOAD_MIN ? PAYLOAD_MIN : needed + needed / 2;
    uint64_t whole = p->len + (p->frame.payload_len - p->frame_taken);
    if (p->frame.fin && cap > whole) {
        cap = whole;
    }
    uint8_t *payload = mem_realloc(p->payload, cap);
    if (!payload) {
        return ERR_NO_MEMORY;
    }
    mem_account(MEM_SESSIONS, (int64_t)(cap - p->cap));
    p->payload = payload;
    p->cap = cap;
    return 0;
}

static int append_payload(struct ws_partial *p, const uint8_t *data, size_t len)
{
    if (p->opcode == WS_TEXT && !p->compressed && !utf8_feed(&p->utf8, data, len)) {
        return ERR_UTF8;
    }
    int err = reserve_payload(p, len);
    if (!err && len > 0) {
        memcpy(p->payload + p->len, data, len);
        p->len += len;
    }
    return err;
}

static int stopped(int asked)
{
    return asked ? WS_READER_STOPPED : 0;
}

static int deliver(struct reader *r, enum ws_opcode opcode, struct str payload)
{
    return stopped(r->events->on_message(r->owner, opcode, payload));
}

static int deliver_compressed(struct reader *r, enum ws_opcode opcode, struct str compressed)
{
    struct str payload;
    int err = ws_inflate(r->options->inflater, compressed, r->options->max_message, &payload);
    if (err) {
        return err;
    }
    if (opcode == WS_TEXT && !utf8_is_valid(payload)) {
        return ERR_UTF8;
    }
    return deliver(r, opcode, payload);
}

/* A message in one frame that is all there. */
static int deliver_in_place(struct reader *r, const struct ws_frame_header *frame,
                            struct str payload)
{
    if (frame->compressed) {
        return deliver_compressed(r, frame->opcode, payload);
    }
    if (frame->opcode == WS_TEXT && !utf8_is_valid(payload)) {
        return ERR_UTF8;
    }
    return deliver(r, frame->opcode, payload);
}

static int deliver_close(struct reader *r, struct str body)
{
    uint16_t code;
    struct str reason;
    int err = ws_close_body_read(body, &code, &reason);
    if (err) {
        return err;
    }
    r->events->on_close(r->owner, code, reason);
    return WS_READER_STOPPED;
}

static int deliver_control(struct reader *r, enum ws_opcode opcode, struct str payload)
{
    switch (opcode) {
    case WS_PING: return stopped(r->events->on_ping(r->owner, payload));
    case WS_PONG: return stopped(r->events->on_pong(r->owner, payload));
    default: return deliver_close(r, payload);
    }
}

/* The last fragment has come: the message leaves the partial, whose other parts stay in use. */
static int finish_message(struct reader *r)
{
    struct ws_partial *p = r->partial;
    if (!utf8_is_complete(&p->utf8)) {
        return ERR_UTF8;
    }
    uint8_t *owned = p->payload;
    size_t cap = p->cap;
    struct str payload = str_make(owned ? owned : (uint8_t *)"", p->len);
    p->in_message = false;
    p->payload = NULL;
    p->len = 0;
    p->cap = 0;
    int result = p->compressed ? deliver_compressed(r, p->opcode, payload)
                               : deliver(r, p->opcode, payload);
    release_payload(owned, cap);
    return result;
}

static bool in_message(const struct reader *r)
{
    return r->partial && r->partial->in_message;
}

/* On the wire a compressed message may be a little longer than what it holds: deflate with a small
 * window wastes up to an eighth on data that does not compress. */
static size_t wire_limit(const struct reader *r, bool compressed)
{
    size_t limit = r->options->max_message;
    size_t slack = compressed ? limit / 8 + 64 : 0;
    return limit > SIZE_MAX - slack ? SIZE_MAX : limit + slack;
}

static int check_continuation(const struct reader *r, const struct ws_frame_header *frame)
{
    const struct ws_partial *p = r->partial;
    if (!in_message(r)) {
        return ERR_PROTOCOL;
    }
    if (r->options->max_fragments && p->fragments >= r->options->max_fragments) {
        return ERR_TOO_LARGE;
    }
    return frame->payload_len > wire_limit(r, p->compressed) - p->len ? ERR_TOO_LARGE : 0;
}

/* All a header can tell wrong, before a byte of its payload is looked at. */
static int check_frame(const struct reader *r, const struct ws_frame_header *frame)
{
    /* RFC 6455 5.1: a client masks, a server does not. */
    if (frame->masked == r->options->from_server) {
        return ERR_PROTOCOL;
    }
    if (ws_opcode_is_control(frame->opcode)) {
        return 0;
    }
    if (frame->opcode == WS_CONTINUATION) {
        return check_continuation(r, frame);
    }
    if (in_message(r)) {
        return ERR_PROTOCOL;
    }
    return frame->payload_len > wire_limit(r, frame->compressed) ? ERR_TOO_LARGE : 0;
}

static uint8_t *take(struct reader *r, size_t len)
{
    uint8_t *taken = r->data;
    r->data += len;
    r->len -= len;
    return taken;
}

static int finish_frame(struct reader *r)
{
    struct ws_partial *p = r->partial;
    p->in_frame = false;
    if (ws_opcode_is_control(p->frame.opcode)) {
        return deliver_control(r, p->frame.opcode, str_make(p->control, p->frame.payload_len));
    }
    return p->frame.fin ? finish_message(r) : 0;
}

static int continue_frame(struct reader *r)
{
    struct ws_partial *p = r->partial;
    uint64_t missing = p->frame.payload_len - p->frame_taken;
    size_t len = missing < r->len ? (size_t)missing : r->len;
    uint8_t *data = take(r, len);
    if (p->frame.masked) {
        ws_unmask(data, len, p->frame.mask_key, p->frame_taken);
    }
    if (ws_opcode_is_control(p->frame.opcode)) {
        memcpy(p->control + p->frame_taken, data, len);
    } else {
        int err = append_payload(p, data, len);
        if (err) {
            return err;
        }
    }
    p->frame_taken += len;
    return p->frame_taken == p->frame.payload_len ? finish_frame(r) : 0;
}

static void begin_message(struct ws_partial *p, const struct ws_frame_header *frame)
{
    p->in_message = true;
    p->compressed = frame->compressed;
    p->opcode = frame->opcode;
    p->fragments = 0;
    p->utf8 = (struct utf8){0};
}

/* The way of frames that are cut by the end of the data or belong to a fragmented message. */
static int collect_frame(struct reader *r, const struct ws_frame_header *frame)
{
    struct ws_partial *p = partial_of(r);
    if (!p) {
        return ERR_NO_MEMORY;
    }
    p->in_frame = true;
    p->frame = *frame;
    p->frame_taken = 0;
    if (frame->opcode == WS_TEXT || frame->opcode == WS_BINARY) {
        begin_message(p, frame);
    }
    if (!ws_opcode_is_control(frame->opcode)) {
        p->fragments++;
    }
    return continue_frame(r);
}

static int begin_frame(struct reader *r, const struct ws_frame_header *frame)
{
    int err = check_frame(r, frame);
    if (err) {
        return err;
    }
    bool control = ws_opcode_is_control(frame->opcode);
    bool alone = control || (frame->fin && frame->opcode != WS_CONTINUATION);
    if (!alone || frame->payload_len > r->len) {
        return collect_frame(r, frame);
    }
    size_t len = (size_t)frame->payload_len;
    uint8_t *data = take(r, len);
    if (frame->masked) {
        ws_unmask(data, len, frame->mask_key, 0);
    }
    return control ? deliver_control(r, frame->opcode, str_make(data, len))
                   : deliver_in_place(r, frame, str_make(data, len));
}

/* Joins the bytes kept of a header to the new ones. */
static ssize_t read_cut_header(struct reader *r, struct ws_frame_header *out_frame)
{
    struct ws_partial *p = r->partial;
    size_t had = p->head_len;
    size_t more = r->len < WS_HEADER_MAX - had ? r->len : WS_HEADER_MAX - had;
    memcpy(p->head + had, r->data, more);
    ssize_t size = ws_frame_header_read(out_frame, p->head, had + more, r->options->inflater);
    if (size > 0) {
        p->head_len = 0;
        take(r, (size_t)size - had);
    }
    return size;
}

static ssize_t read_header(struct reader *r, struct ws_frame_header *out_frame)
{
    if (r->partial && r->partial->head_len > 0) {
        return read_cut_header(r, out_frame);
    }
    ssize_t size = ws_frame_header_read(out_frame, r->data, r->len, r->options->inflater);
    if (size > 0) {
        take(r, (size_t)size);
    }
    return size;
}

/* A header is cut: at most 13 bytes are left, and all of them belong to it. */
static int keep_header(struct reader *r)
{
    struct ws_partial *p = partial_of(r);
    if (!p) {
        return ERR_NO_MEMORY;
    }
    size_t len = r->len;
    memcpy(p->head + p->head_len, take(r, len), len);
    p->head_len += (uint8_t)len;
    return 0;
}

static int read_frame(struct reader *r)
{
    if (r->partial && r->partial->in_frame) {
        return continue_frame(r);
    }
    struct ws_frame_header frame;
    ssize_t size = read_header(r, &frame);
    if (size < 0) {
        return (int)size;
    }
    return size == 0 ? keep_header(r) : begin_frame(r, &frame);
}

int ws_reader_feed(struct ws_partial **partial, const struct ws_reader_options *options,
                   uint8_t *data, size_t len, const struct ws_reader_events *events, void *owner)
{
    struct reader r = {.partial = *partial,
                       .options = options,
                       .events = events,
                       .owner = owner,
                       .data = data,
                       .len = len};
    *partial = NULL;
    int result = 0;
    while (r.len > 0 && result == 0) {
        result = read_frame(&r);
    }
    if (result != 0 || (r.partial && partial_is_idle(r.partial))) {
        ws_partial_destroy(r.partial);
        r.partial = NULL;
    }
    if (result == 0) {
        *partial = r.partial;
    }
    return result;
}
