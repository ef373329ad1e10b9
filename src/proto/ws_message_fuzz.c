/* Any bytes as what a session receives, whole and in pieces: both must tell the same. The first
 * byte chooses the options, the second the pieces. */
#include "proto/ws_message.h"

#include "base/err.h"
#include "base/mem.h"
#include "proto/utf8.h"
#include "proto/ws_deflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 2000, FRAGMENTS = 6 };

struct session {
    struct ws_partial *partial;
    struct ws_reader_options options;
    struct buf log;
    size_t received;
};

static int note(struct session *session, char event, unsigned number, struct str payload)
{
    buf_printf(&session->log, "%c %u %zu:", event, number, payload.len);
    buf_append_str(&session->log, payload);
    return 0;
}

static int on_message(void *owner, enum ws_opcode opcode, struct str payload)
{
    ASSERT(opcode == WS_BINARY || (opcode == WS_TEXT && utf8_is_valid(payload)));
    ASSERT(payload.len <= LIMIT);
    return note(owner, 'm', opcode, payload);
}

static int on_ping(void *owner, struct str payload)
{
    ASSERT(payload.len <= WS_CONTROL_MAX);
    return note(owner, 'i', 0, payload);
}

static int on_pong(void *owner, struct str payload)
{
    return note(owner, 'o', 0, payload);
}

static int on_close(void *owner, uint16_t code, struct str reason)
{
    ASSERT(code == WS_CLOSE_NO_STATUS || ws_close_code_is_valid(code));
    ASSERT(utf8_is_valid(reason));
    return note(owner, 'c', code, reason);
}

static int feed(struct session *session, const uint8_t *data, size_t len)
{
    static const struct ws_reader_events events = {on_message, on_ping, on_pong, on_close};
    uint8_t *copy = mem_alloc(len ? len : 1); /* exact, so that ASan sees a read past it */
    ASSERT(copy);
    memcpy(copy, data, len);
    int result = ws_reader_feed(&session->partial, &session->options, copy, len, &events, session);
    mem_free(copy);
    session->received += len;
    ASSERT(ws_partial_bytes(session->partial) <= 2 * session->received + 1024);
    ASSERT(result == 0 || !session->partial);
    return result;
}

/* Pieces of 1 to 16 bytes, or of 1 to 256, by a little generator. */
static int feed_pieces(struct session *session, const uint8_t *data, size_t size, uint32_t seed)
{
    int result = 0;
    while (size > 0 && result == 0) {
        seed = seed * 1664525 + 1013904223;
        size_t len = 1 + (seed >> 24) % (seed & 0x8000 ? 256 : 16);
        len = len < size ? len : size;
        result = feed(session, data, len);
        data += len;
        size -= len;
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ws_inflater *inflater;
    if (size < 2 || (!inflater && ws_inflater_create(&inflater))) {
        return 0;
    }
    struct ws_reader_options options = {.max_message = LIMIT,
                                        .max_fragments = FRAGMENTS,
                                        .from_server = data[0] & 1,
                                        .inflater = data[0] & 2 ? inflater : NULL};
    struct session whole = {.options = options};
    struct session cut = {.options = options};
    int result = feed(&whole, data + 2, size - 2);
    int again = feed_pieces(&cut, data + 2, size - 2, data[1]);
    ASSERT(result == again);
    ASSERT(str_equal(buf_str(&whole.log), buf_str(&cut.log)));
    ASSERT(!whole.partial == !cut.partial);
    ws_partial_destroy(whole.partial);
    ws_partial_destroy(cut.partial);
    buf_fini(&whole.log);
    buf_fini(&cut.log);
    return 0;
}
