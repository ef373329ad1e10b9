/* What the answer says: the messages as a client gets them (docs/protocol.md), and with them what
 * an operator wants to know and a client does not. */
#include "api/messages_read.h"
#include "base/clock.h"
#include "proto/json.h"
#include "server/frame_cache.h"
#include "server/sse_id.h"

static const struct {
    enum target_kind kind;
    struct str name;
} lists[] = {{TARGET_USER, STR("users")},
             {TARGET_GROUP, STR("groups")},
             {TARGET_SESSION, STR("sessions")},
             {TARGET_TICKET, STR("tickets")}};

static bool write_list(struct buf *out, const struct messages_reading *reading,
                       const struct message *message, enum target_kind kind, struct str name)
{
    struct str rest = message->event.target_bytes;
    size_t at = 0;
    bool any = false;
    const struct messages_target *target;
    while ((target = messages_reading_find(reading, message, &at, &rest))) {
        if (target->kind != kind) {
            continue;
        }
        if (!any) {
            json_write_key(out, name);
            buf_append_char(out, '[');
        }
        any = true;
        json_write_comma(out);
        json_write_string(out, str_of(target->name));
    }
    if (any) {
        buf_append_char(out, ']');
    }
    return any;
}

/* The way on which it comes to whom is asked about: a push's `to`, but for what is not asked. */
static void write_to(struct buf *out, const struct messages_reading *reading,
                     const struct message *message)
{
    struct str rest = message->event.target_bytes;
    size_t at = 0;
    const struct messages_target *target;
    json_write_key(out, STR("to"));
    buf_append_char(out, '{');
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        write_list(out, reading, message, lists[i].kind, lists[i].name);
    }
    while ((target = messages_reading_find(reading, message, &at, &rest))) {
        if (target->kind == TARGET_ALL) {
            json_write_bool_field(out, STR("all"), true);
        }
    }
    buf_append_char(out, '}');
}

static void write_fate(struct buf *out, const struct message *message)
{
    bool is_over = message->expires_ms && message->expires_ms <= clock_monotonic_ms();
    if (message_has_fate(message, MESSAGE_IS_VOID)) {
        json_write_bool_field(out, STR("cancelled"), true);
    }
    if (message_has_fate(message, MESSAGE_IS_SUPERSEDED)) {
        json_write_bool_field(out, STR("superseded"), true);
    }
    if (is_over) {
        json_write_bool_field(out, STR("expired"), true);
    }
}

static void write_message(struct buf *out, const struct messages_reading *reading,
                          const struct message *message)
{
    const struct event *event = &message->event;
    json_write_comma(out);
    frame_encode_v1_head(out, message);
    write_to(out, reading, message);
    if (event->kind == EVENT_REVOKE) {
        json_write_u64_field(out, STR("ts"), event->time_ms);
        buf_append_char(out, '}');
        return;
    }
    json_write_u64_field(out, STR("size"), event->data.len);
    if (event->header.ttl_ms) {
        json_write_u64_field(out, STR("ttl_ms"), event->header.ttl_ms);
    }
    if (event->collapse.len) {
        json_write_string_field(out, STR("collapse"), event->collapse);
    }
    write_fate(out, message);
    if (reading->shows_data) {
        frame_encode_v1_data(out, message);
    }
    buf_append_char(out, '}');
}

/* The parts of a push to several targets lie in several queues, and a session is sent one. */
static bool was_written(const struct messages_reading *reading, size_t count,
                        const struct message *message)
{
    bool found = false;
    for (size_t i = 0; message->event.parts > 1 && i < count && !found; i++) {
        const struct window_page_item *item = &reading->page.items[i];
        struct message *other = window_get(reading->page.window, item->queue, item->seq);
        found = other && other->event.parts > 1 && other->event.kind == message->event.kind &&
                str_equal(other->event.id, message->event.id);
        message_unref(other);
    }
    return found;
}

static void write_messages(struct buf *out, const struct messages_reading *reading)
{
    const struct window_page *page = &reading->page;
    json_write_key(out, STR("messages"));
    buf_append_char(out, '[');
    for (size_t i = 0; i < page->item_count; i++) {
        const struct window_page_item *item = &page->items[i];
        /* NULL: it was evicted just now. */
        struct message *message = window_get(page->window, item->queue, item->seq);
        if (message && !was_written(reading, i, message)) {
            write_message(out, reading, message);
        }
        message_unref(message);
    }
    buf_append_char(out, ']');
}

void messages_write(struct buf *out, const struct messages_reading *reading)
{
    char cursor[SSE_ID_MAX];
    size_t len = sse_id_write(cursor, shard_epoch(reading->worker->shard), &reading->page.seen);
    buf_append_char(out, '{');
    write_messages(out, reading);
    json_write_string_field(out, STR("after"), str_make(cursor, len));
    json_write_bool_field(out, STR("more"), reading->page.has_more);
    if (reading->gap) {
        json_write_key(out, STR("gap"));
        buf_append_char(out, '{');
        json_write_string_field(out, STR("why"), str_of(reading->gap));
        buf_append_char(out, '}');
    }
    json_write_string_field(out, STR("node"), str_of(reading->worker->gateway->node));
    json_write_u64_field(out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(out, STR("complete"), reading->is_complete);
    buf_append_char(out, '}');
}
