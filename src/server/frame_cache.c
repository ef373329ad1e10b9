#include "server/frame_cache.h"

#include "base/err.h"
#include "core/receipt.h"
#include "proto/base64.h"
#include "proto/json.h"
#include "proto/trace_context.h"
#include "proto/ws_deflate.h"

int frame_cache_init(struct frame_cache *cache, int level, uint64_t min_compressed)
{
    *cache = (struct frame_cache){.min_compressed = min_compressed};
    return ws_deflater_create(&cache->deflater, level);
}

static void clear_entry(struct frame_cache_entry *entry)
{
    for (int protocol = 0; protocol < FRAME_PROTOCOLS; protocol++) {
        for (int window = 0; window < FRAME_WINDOWS; window++) {
            frame_unref(entry->frames[protocol][window]);
        }
    }
    message_unref(entry->message);
    *entry = (struct frame_cache_entry){0};
}

void frame_cache_clear(struct frame_cache *cache)
{
    for (int i = 0; i < FRAME_CACHE_MESSAGES; i++) {
        if (cache->entries[i].message) {
            clear_entry(&cache->entries[i]);
        }
    }
}

void frame_cache_fini(struct frame_cache *cache)
{
    frame_cache_clear(cache);
    ws_deflater_destroy(cache->deflater);
    buf_fini(&cache->payload);
    buf_fini(&cache->compressed);
    cache->deflater = NULL;
}

/* "g" names the group when it is the only target: nothing in the frame may differ from session to
 * session. */
static struct str only_group(const struct event *event)
{
    struct str rest = event->target_bytes;
    struct target target;
    bool one = event->header.target_count == 1 && event->parts == 1 &&
               event_next_target(&rest, &target) && target.kind == TARGET_GROUP;
    return one ? target.name : STR("");
}

static void append_base64(struct buf *out, struct str data)
{
    uint8_t *to = buf_reserve(out, base64_encoded_len(data.len, BASE64_STANDARD));
    if (to) {
        out->len += base64_encode((char *)to, data.ptr, data.len, BASE64_STANDARD);
    }
}

void frame_encode_v1_data(struct buf *out, const struct message *message)
{
    const struct event *event = &message->event;
    switch (event->data_kind) {
    case EVENT_DATA_NONE: break;
    case EVENT_DATA_JSON: json_write_raw_field(out, STR("data"), event->data); break;
    case EVENT_DATA_TEXT: json_write_string_field(out, STR("data"), event->data); break;
    case EVENT_DATA_BINARY:
        json_write_key(out, STR("data_base64"));
        buf_append_char(out, '"');
        append_base64(out, event->data);
        buf_append_char(out, '"');
        break;
    }
}

static void encode_trace(struct buf *out, const struct event *event)
{
    struct trace_context trace;
    char text[TRACE_PARENT_LEN];
    struct str packed = event_trace(event);
    if (packed.len > 0 && trace_context_unpack(&trace, packed)) {
        trace_parent_format(text, &trace);
        json_write_string_field(out, STR("tp"), str_make(text, sizeof(text)));
    }
}

static void encode_place(struct buf *out, const struct message *message)
{
    char pos[MESSAGE_POS_MAX];
    size_t pos_len = message_format_pos(pos, message->pos);
    buf_append_str(out, STR(",\"pos\":\""));
    buf_append_u64(out, message->queue);
    buf_append_char(out, ':');
    buf_append(out, pos, pos_len);
    buf_append_char(out, '"');
}

static void encode_revoke(struct buf *out, const struct message *message)
{
    buf_append_str(out, STR("{\"t\":\"revoke\",\"id\":"));
    json_write_string(out, message->event.subject);
    if (!message_is_apart(message)) {
        encode_place(out, message);
    }
}

void frame_encode_v1_head(struct buf *out, const struct message *message)
{
    const struct event *event = &message->event;
    if (event->kind == EVENT_REVOKE) {
        encode_revoke(out, message);
        return;
    }
    struct str group = only_group(event);
    bool is_final = event->header.flags & EVENT_IS_FINAL;
    buf_append_str(out, STR("{\"t\":\"msg\",\"id\":"));
    json_write_string(out, event->id);
    if (!message_is_apart(message)) {
        encode_place(out, message);
    }
    if (event->type.len) {
        json_write_string_field(out, STR("type"), event->type);
    }
    if (group.len) {
        json_write_string_field(out, STR("g"), group);
    }
    json_write_u64_field(out, STR("ts"), event->time_ms);
    if (is_final || event->header.flags & EVENT_WANTS_ACKS) {
        json_write_u64_field(out, STR("ack"), 1);
    }
    if (is_final) {
        json_write_bool_field(out, STR("final"), true);
    }
    encode_trace(out, event);
}

void frame_encode_v1(struct buf *out, const struct message *message)
{
    frame_encode_v1_head(out, message);
    if (message->event.kind != EVENT_REVOKE) {
        frame_encode_v1_data(out, message);
    }
    buf_append_char(out, '}');
}

struct frame *frame_cache_compress(struct frame_cache *cache, enum ws_opcode opcode,
                                   struct str payload, unsigned window_bits)
{
    buf_clear(&cache->compressed);
    if (ws_deflate(cache->deflater, (int)window_bits, payload, &cache->compressed)) {
        return NULL;
    }
    return frame_create(opcode, true, buf_str(&cache->compressed));
}

static struct frame *make(struct frame_cache *cache, const struct message *message,
                          enum frame_protocol protocol, unsigned window_bits)
{
    const struct event *event = &message->event;
    struct str payload = event->data;
    enum ws_opcode opcode = WS_TEXT;
    if (protocol == FRAME_V1) {
        buf_clear(&cache->payload);
        frame_encode_v1(&cache->payload, message);
        if (buf_err(&cache->payload)) {
            return NULL;
        }
        payload = buf_str(&cache->payload);
    } else if (event->data_kind == EVENT_DATA_BINARY) {
        opcode = WS_BINARY;
    }
    if (window_bits && payload.len >= cache->min_compressed) {
        return frame_cache_compress(cache, opcode, payload, window_bits);
    }
    return frame_create(opcode, false, payload);
}

void frame_cache_mark(struct frame *frame, const struct message *message,
                      enum frame_protocol protocol)
{
    const struct event *event = &message->event;
    bool wants_ack = event->header.flags & EVENT_WANTS_ACKS;
    bool can_ack = protocol == FRAME_V1 || protocol == FRAME_SSE_V1;
    frame->id = event->id_hash;
    frame->expires_ms = message->expires_ms;
    frame->collapse = event->collapse.len ? event_collapse_key(event) : 0;
    frame->is_final = event->header.flags & EVENT_IS_FINAL;
    frame->wants_ack = wants_ack && can_ack;
    frame->is_own_ack = wants_ack && !can_ack;
}

struct frame *frame_cache_make(struct frame_cache *cache, const struct message *message,
                               enum frame_protocol protocol, unsigned window_bits)
{
    struct frame *frame = make(cache, message, protocol, window_bits);
    if (frame) {
        frame_cache_mark(frame, message, protocol);
    }
    return frame;
}

/* What asks for acks is held by the session's acks, if its client can confirm. Of a revoke nobody
 * asks who has read it: what is dropped of its receipt are the messages that it spared. */
void frame_cache_give_receipt(struct frame *frame, const struct message *message)
{
    if (message->event.kind == EVENT_REVOKE) {
        return;
    }
    frame->receipt = receipt_ref(message->receipt);
    frame->holds_receipt = message->receipt->counts_writes && !frame->wants_ack;
}

struct frame_cache_entry *frame_cache_entry_of(struct frame_cache *cache, struct message *message)
{
    for (uint32_t i = 0; i < FRAME_CACHE_MESSAGES; i++) {
        struct frame_cache_entry *entry =
            &cache->entries[(cache->next + FRAME_CACHE_MESSAGES - 1 - i) % FRAME_CACHE_MESSAGES];
        if (entry->message == message) {
            return entry;
        }
    }
    struct frame_cache_entry *entry = &cache->entries[cache->next];
    cache->next = (cache->next + 1) % FRAME_CACHE_MESSAGES;
    if (entry->message) {
        clear_entry(entry);
    }
    entry->message = message_ref(message);
    return entry;
}

struct frame *frame_cache_get(struct frame_cache *cache, struct message *message,
                              enum frame_protocol protocol, unsigned window_bits)
{
    struct frame_cache_entry *entry = frame_cache_entry_of(cache, message);
    struct frame **place = &entry->frames[protocol][window_bits ? window_bits - 8 : 0];
    if (!*place) {
        *place = frame_cache_make(cache, message, protocol, window_bits);
        if (*place && message->receipt) {
            frame_cache_give_receipt(*place, message);
        }
    }
    return *place;
}
