#include "core/cluster_wire.h"

#include "base/err.h"

/* Little-endian hosts only, as in event.c. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little-endian");

static void put(struct buf *out, uint64_t value, size_t bytes)
{
    buf_append(out, &value, bytes);
}

static void put_text(struct buf *out, struct str text, size_t max)
{
    size_t len = text.len > max ? max : text.len;
    put(out, len, 1);
    buf_append(out, text.ptr, len);
}

/* Remembers that it ran over the end, so that each step needs no check. */
struct reader {
    struct str rest;
    bool short_of;
};

static struct str take_bytes(struct reader *reader, size_t len)
{
    if (reader->short_of || len > reader->rest.len) {
        reader->short_of = true;
        return STR("");
    }
    struct str bytes = {reader->rest.ptr, len};
    reader->rest = str_make(reader->rest.ptr + len, reader->rest.len - len);
    return bytes;
}

static uint64_t take(struct reader *reader, size_t bytes)
{
    uint64_t value = 0;
    struct str at = take_bytes(reader, bytes);
    memcpy(&value, at.ptr, at.len);
    return value;
}

/* What a peer says ends in logs and answers. */
static struct str take_text(struct reader *reader, size_t max)
{
    struct str text = take_bytes(reader, take(reader, 1));
    reader->short_of = reader->short_of || text.len > max;
    for (size_t i = 0; i < text.len; i++) {
        reader->short_of = reader->short_of || text.ptr[i] < ' ' || text.ptr[i] > '~';
    }
    return text;
}

static struct reader begin(struct str body)
{
    struct reader reader = {body, false};
    reader.short_of = take(&reader, 1) < CLUSTER_WIRE_VERSION || reader.short_of;
    return reader;
}

int cluster_write_beacon(struct buf *out, const struct cluster_beacon *beacon)
{
    put(out, CLUSTER_WIRE_VERSION, 1);
    put(out, beacon->state, 1);
    put(out, beacon->queues, 2);
    put(out, beacon->seq, 4);
    put(out, beacon->layout, 8);
    put(out, beacon->counts_on, 8);
    put(out, beacon->started_ms, 8);
    put(out, beacon->window_age_ms, 8);
    put(out, beacon->sessions, 4);
    put(out, beacon->users, 4);
    put(out, beacon->lag_us, 4);
    put(out, beacon->history, 8);
    put_text(out, beacon->node, CLUSTER_NAME_MAX);
    put_text(out, beacon->version, CLUSTER_VERSION_MAX);
    put(out, beacon->keeps_users, 1);
    if (beacon->tells_users) {
        put(out, beacon->key_tag, 1);
        put(out, beacon->user_counts.len, 4);
        buf_append_str(out, beacon->user_counts);
    }
    return buf_err(out);
}

bool cluster_read_beacon(struct cluster_beacon *out_beacon, struct str body)
{
    struct reader reader = begin(body);
    struct cluster_beacon beacon = {0};
    uint64_t state = take(&reader, 1);
    beacon.state = state >= CLUSTER_STARTING && state <= CLUSTER_GONE ? (enum cluster_state)state
                                                                      : CLUSTER_STARTING;
    beacon.queues = (uint16_t)take(&reader, 2);
    beacon.seq = (uint32_t)take(&reader, 4);
    beacon.layout = take(&reader, 8);
    beacon.counts_on = take(&reader, 8);
    beacon.started_ms = take(&reader, 8);
    beacon.window_age_ms = take(&reader, 8);
    beacon.sessions = (uint32_t)take(&reader, 4);
    beacon.users = (uint32_t)take(&reader, 4);
    beacon.lag_us = (uint32_t)take(&reader, 4);
    beacon.history = take(&reader, 8);
    beacon.node = take_text(&reader, CLUSTER_NAME_MAX);
    beacon.version = take_text(&reader, CLUSTER_VERSION_MAX);
    beacon.keeps_users = reader.rest.len > 0 && take(&reader, 1) != 0;
    beacon.tells_users = reader.rest.len > 0;
    if (beacon.tells_users) {
        beacon.key_tag = (uint8_t)take(&reader, 1);
        beacon.user_counts = take_bytes(&reader, take(&reader, 4));
    }
    if (reader.short_of) {
        return false;
    }
    *out_beacon = beacon;
    return true;
}

int cluster_write_users(struct buf *out, const struct cluster_users_item *item)
{
    put(out, item->app, 4);
    put(out, item->count.len, 2);
    buf_append_str(out, item->count);
    return buf_err(out);
}

bool cluster_next_users(struct str *rest, struct cluster_users_item *out_item)
{
    struct reader reader = {*rest, false};
    struct cluster_users_item item = {.app = (uint32_t)take(&reader, 4)};
    item.count = take_bytes(&reader, take(&reader, 2));
    if (reader.short_of) {
        return false;
    }
    *rest = reader.rest;
    *out_item = item;
    return true;
}

int cluster_write_ask(struct buf *out, const struct cluster_ask_body *ask)
{
    put(out, CLUSTER_WIRE_VERSION, 1);
    put(out, ask->kind, 1);
    put(out, ask->id, 8);
    put(out, ask->within_ms, 4);
    put(out, ask->app, 4);
    put(out, ask->payload.len, 4);
    buf_append_str(out, ask->payload);
    return buf_err(out);
}

bool cluster_read_ask(struct cluster_ask_body *out_ask, struct str body)
{
    struct reader reader = begin(body);
    struct cluster_ask_body ask = {.kind = (uint8_t)take(&reader, 1)};
    ask.id = take(&reader, 8);
    ask.within_ms = (uint32_t)take(&reader, 4);
    ask.app = (uint32_t)take(&reader, 4);
    ask.payload = take_bytes(&reader, take(&reader, 4));
    if (reader.short_of) {
        return false;
    }
    *out_ask = ask;
    return true;
}

int cluster_write_reply(struct buf *out, const struct cluster_reply_body *reply)
{
    put(out, CLUSTER_WIRE_VERSION, 1);
    put(out, reply->is_part, 1);
    put(out, reply->id, 8);
    for (int i = 0; i < CLUSTER_COUNTS; i++) {
        put(out, reply->counts[i], 8);
    }
    put(out, reply->text.len, 4);
    buf_append_str(out, reply->text);
    return buf_err(out);
}

bool cluster_read_reply(struct cluster_reply_body *out_reply, struct str body)
{
    struct reader reader = begin(body);
    struct cluster_reply_body reply = {.is_part = take(&reader, 1) != 0};
    reply.id = take(&reader, 8);
    for (int i = 0; i < CLUSTER_COUNTS; i++) {
        reply.counts[i] = take(&reader, 8);
    }
    reply.text = take_bytes(&reader, take(&reader, 4));
    if (reader.short_of) {
        return false;
    }
    *out_reply = reply;
    return true;
}

enum { COUNT_FIXED_LEN = 24 };

int cluster_write_count(struct buf *out, const struct cluster_count_body *count)
{
    if (out->len == 0) {
        put(out, CLUSTER_WIRE_VERSION, 1);
    }
    put(out, COUNT_FIXED_LEN + count->online.len, 2);
    put(out, count->queue, 1);
    put(out, count->counter, 4);
    put(out, count->matched, 4);
    put(out, count->written, 4);
    put(out, count->dropped, 4);
    put(out, count->online.len, 2);
    buf_append_str(out, count->online);
    put(out, count->acked, 4);
    put(out, count->is_part, 1);
    return buf_err(out);
}

bool cluster_begin_counts(struct str *rest)
{
    struct reader reader = begin(*rest);
    *rest = reader.rest;
    return !reader.short_of;
}

bool cluster_next_count(struct str *rest, struct cluster_count_body *out_count)
{
    struct reader all = {*rest, false};
    struct reader reader = {take_bytes(&all, take(&all, 2)), false};
    struct cluster_count_body count = {.queue = (uint8_t)take(&reader, 1)};
    count.counter = (uint32_t)take(&reader, 4);
    count.matched = (uint32_t)take(&reader, 4);
    count.written = (uint32_t)take(&reader, 4);
    count.dropped = (uint32_t)take(&reader, 4);
    count.online = take_bytes(&reader, take(&reader, 2));
    if (all.short_of || reader.short_of) {
        return false;
    }
    count.acked = (uint32_t)take(&reader, 4); /* 0, like the next one, of a node that lacks it */
    count.is_part = take(&reader, 1) != 0;
    *rest = all.rest;
    *out_count = count;
    return true;
}

enum { PRESENCE_FIXED_LEN = 31 };

int cluster_write_presence(struct buf *out, const struct cluster_presence_item *item)
{
    if (out->len == 0) {
        put(out, CLUSTER_WIRE_VERSION, 1);
    }
    put(out, PRESENCE_FIXED_LEN + item->user.len, 2);
    put(out, item->op, 1);
    put(out, item->app, 4);
    put(out, item->grace_ms, 4);
    put(out, item->boot, 4);
    put(out, item->serial, 8);
    put(out, item->time_ms, 8);
    put(out, item->user.len, 2);
    buf_append_str(out, item->user);
    return buf_err(out);
}

bool cluster_begin_presence(struct str *rest)
{
    return cluster_begin_counts(rest);
}

bool cluster_next_presence(struct str *rest, struct cluster_presence_item *out_item)
{
    struct reader all = {*rest, false};
    struct reader reader = {take_bytes(&all, take(&all, 2)), false};
    struct cluster_presence_item item = {.op = (uint8_t)take(&reader, 1)};
    item.app = (uint32_t)take(&reader, 4);
    item.grace_ms = (uint32_t)take(&reader, 4);
    item.boot = (uint32_t)take(&reader, 4);
    item.serial = take(&reader, 8);
    item.time_ms = take(&reader, 8);
    item.user = take_bytes(&reader, take(&reader, 2));
    if (all.short_of || reader.short_of) {
        return false;
    }
    *rest = all.rest;
    *out_item = item;
    return true;
}
