#include "core/event.h"

#include <string.h>

#include "base/err.h"

/* Little-endian hosts only: the header is copied as it lies in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little-endian");

static void put_u16(struct buf *out, uint16_t value)
{
    buf_append(out, &value, sizeof(value));
}

static void put_u64(struct buf *out, uint64_t value)
{
    buf_append(out, &value, sizeof(value));
}

static void put_name(struct buf *out, struct str name)
{
    if (name.len > UINT16_MAX) {
        out->err = out->err ? out->err : ERR_TOO_LARGE;
        return;
    }
    put_u16(out, (uint16_t)name.len);
    buf_append_str(out, name);
}

static void put_body(struct buf *out, const struct event *event, const struct target *targets,
                     size_t target_count, const struct str *excepts, size_t except_count)
{
    const uint8_t first[4] = {(uint8_t)event->kind, event->part, event->parts,
                              (uint8_t)((uint8_t)event->data_kind | event->key_tag << 2)};
    buf_append(out, first, sizeof(first));
    put_u64(out, event->time_ms);
    put_name(out, event->id);
    put_name(out, event->type);
    put_name(out, event->collapse);
    put_name(out, event->origin_tag);
    put_name(out, event->subject);
    for (size_t i = 0; i < target_count; i++) {
        buf_append_char(out, (char)targets[i].kind);
        put_name(out, targets[i].name);
    }
    put_u16(out, (uint16_t)except_count);
    for (size_t i = 0; i < except_count; i++) {
        put_name(out, excepts[i]);
    }
    uint32_t data_len = (uint32_t)event->data.len;
    buf_append(out, &data_len, sizeof(data_len));
    buf_append_str(out, event->data);
}

int event_encode(struct buf *out, const struct event *event, const struct target *targets,
                 const uint64_t *keys, size_t target_count, const struct str *excepts,
                 size_t except_count)
{
    if (target_count == 0 || target_count > EVENT_MAX_TARGETS || except_count > UINT16_MAX ||
        event->data.len > UINT32_MAX / 2) {
        return ERR_TOO_LARGE;
    }
    size_t start = out->len;
    struct event_header header = event->header;
    header.version = EVENT_VERSION;
    header.target_count = (uint16_t)target_count;
    header.key = keys[0];
    buf_append(out, &header, sizeof(header));
    if (header.flags & EVENT_HAS_ID) {
        put_u64(out, event->id_hash);
        put_u64(out, event->body_hash);
    }
    for (size_t i = 1; i < target_count; i++) {
        put_u64(out, keys[i]);
    }
    put_body(out, event, targets, target_count, excepts, except_count);
    if (buf_err(out)) {
        return buf_err(out);
    }
    if (out->len - start > UINT32_MAX / 2) {
        return ERR_TOO_LARGE;
    }
    header.length = (uint32_t)(out->len - start - EVENT_HEADER_LEN);
    memcpy(out->data + start, &header, sizeof(header));
    return 0;
}

void event_set_counter(uint8_t *encoded, uint32_t counter)
{
    memcpy(encoded + offsetof(struct event_header, counter), &counter, sizeof(counter));
}

void event_add_flag(uint8_t *encoded, enum event_flag flag)
{
    encoded[offsetof(struct event_header, flags)] |= (uint8_t)flag;
}

/* A reader that remembers that it ran over the end, so that each step needs no check. */
struct reader {
    const uint8_t *at;
    size_t left;
    bool short_of;
};

static const uint8_t *take(struct reader *reader, size_t len)
{
    if (reader->short_of || len > reader->left) {
        reader->short_of = true;
        return NULL;
    }
    const uint8_t *at = reader->at;
    reader->at += len;
    reader->left -= len;
    return at;
}

static uint64_t take_number(struct reader *reader, size_t len)
{
    uint64_t value = 0;
    const uint8_t *at = take(reader, len);
    if (at) {
        memcpy(&value, at, len);
    }
    return value;
}

static struct str take_name(struct reader *reader)
{
    size_t len = take_number(reader, 2);
    return str_make(take(reader, len), reader->short_of ? 0 : len);
}

/* Events among nodes are for nodes, others never are. */
static struct str take_targets(struct reader *reader, size_t count, bool is_of_nodes)
{
    const uint8_t *start = reader->at;
    uint64_t first = is_of_nodes ? TARGET_NODE : TARGET_USER;
    uint64_t last = is_of_nodes ? TARGET_NODE : TARGET_ALL;
    for (size_t i = 0; i < count && !reader->short_of; i++) {
        uint64_t kind = take_number(reader, 1);
        reader->short_of = reader->short_of || kind < first || kind > last;
        take_name(reader);
    }
    return str_make(start, (size_t)(reader->at - start));
}

static struct str take_excepts(struct reader *reader, uint16_t *out_count)
{
    *out_count = (uint16_t)take_number(reader, 2);
    const uint8_t *start = reader->at;
    for (size_t i = 0; i < *out_count && !reader->short_of; i++) {
        take_name(reader);
    }
    return str_make(start, (size_t)(reader->at - start));
}

static void take_body(struct event *event, struct reader *reader)
{
    event->kind = (enum event_kind)take_number(reader, 1);
    event->part = (uint8_t)take_number(reader, 1);
    event->parts = (uint8_t)take_number(reader, 1);
    uint8_t data_kind = (uint8_t)take_number(reader, 1);
    event->data_kind = (enum event_data_kind)(data_kind & 3);
    event->key_tag = data_kind >> 2;
    event->time_ms = take_number(reader, 8);
    event->id = take_name(reader);
    event->type = take_name(reader);
    event->collapse = take_name(reader);
    event->origin_tag = take_name(reader);
    event->subject = take_name(reader);
    event->target_bytes = take_targets(reader, event->header.target_count,
                                       event_kind_is_of_nodes(event->kind));
    event->except_bytes = take_excepts(reader, &event->except_count);
    size_t data_len = take_number(reader, 4);
    event->data = str_make(take(reader, data_len), reader->short_of ? 0 : data_len);
}

/* One of a later version is passed over. */
static bool is_known(enum event_kind kind)
{
    switch (kind) {
    case EVENT_MESSAGE:
    case EVENT_JOIN:
    case EVENT_PART:
    case EVENT_KICK:
    case EVENT_BEACON:
    case EVENT_ASK:
    case EVENT_REPLY:
    case EVENT_REPORT:
    case EVENT_CLAIM:
    case EVENT_TICKET_END:
    case EVENT_AGAIN:
    case EVENT_PRESENCE:
    case EVENT_OPEN:
    case EVENT_RANK:
    case EVENT_REVOCATION:
    case EVENT_REVOKE: return true;
    }
    return false;
}

static bool is_membership(const struct event *event)
{
    return event->kind == EVENT_JOIN || event->kind == EVENT_PART;
}

/* No target has the key 0: see target_key. */
static bool has_keys(const struct event *event)
{
    for (size_t i = 0; i < event->header.target_count; i++) {
        if (event_key(event, i) == 0) {
            return false;
        }
    }
    return true;
}

static bool is_sound(const struct event *event, const struct reader *reader)
{
    if (reader->short_of || reader->left > 0 || event->part >= event->parts ||
        event->parts > EVENT_MAX_PARTS || !is_known(event->kind)) {
        return false;
    }
    bool is_one = event->header.target_count == 1;
    bool is_one_group = is_one && event->target_bytes.ptr[0] == TARGET_GROUP;
    bool is_one_ticket = is_one && event->target_bytes.ptr[0] == TARGET_TICKET;
    return has_keys(event) && (is_one_group || !is_membership(event)) &&
           (is_one_ticket || !event_kind_is_of_tickets(event->kind)) &&
           (is_one || !event_kind_is_of_nodes(event->kind));
}

ssize_t event_decode(struct event *out_event, const uint8_t *data, size_t len, size_t *out_skip)
{
    struct event event = {0};
    if (len < EVENT_HEADER_LEN) {
        return ERR_SYNTAX;
    }
    memcpy(&event.header, data, EVENT_HEADER_LEN);
    if (event.header.length > len - EVENT_HEADER_LEN) {
        return ERR_SYNTAX;
    }
    size_t total = EVENT_HEADER_LEN + (size_t)event.header.length;
    *out_skip = total;
    if (event.header.version != EVENT_VERSION) {
        return ERR_UNSUPPORTED;
    }
    struct reader reader = {data + EVENT_HEADER_LEN, event.header.length, false};
    if (event.header.flags & EVENT_HAS_ID) {
        event.id_hash = take_number(&reader, 8);
        event.body_hash = take_number(&reader, 8);
    }
    if (event.header.target_count == 0 || event.header.target_count > EVENT_MAX_TARGETS) {
        return ERR_SYNTAX;
    }
    event.keys = take(&reader, 8 * ((size_t)event.header.target_count - 1));
    take_body(&event, &reader);
    if (!is_sound(&event, &reader)) {
        return ERR_SYNTAX;
    }
    *out_event = event;
    return (ssize_t)total;
}

void event_rebase(struct event *event, const void *from, const void *to)
{
    ptrdiff_t by = (const char *)to - (const char *)from;
    event->id.ptr += by;
    event->type.ptr += by;
    event->collapse.ptr += by;
    event->origin_tag.ptr += by;
    event->subject.ptr += by;
    event->data.ptr += by;
    event->target_bytes.ptr += by;
    event->except_bytes.ptr += by;
    event->keys += by;
}

struct str event_trace(const struct event *event)
{
    bool is_traced = event->kind == EVENT_MESSAGE && event->subject.len >= EVENT_TRACE_LEN;
    return is_traced ? event->subject : STR("");
}

bool event_is_sampled(const struct event *event)
{
    struct str trace = event_trace(event);
    return trace.len > 0 && trace.ptr[EVENT_TRACE_LEN - 1] & EVENT_TRACE_SAMPLED;
}

uint64_t event_key(const struct event *event, size_t i)
{
    if (i == 0) {
        return event->header.key;
    }
    uint64_t key;
    memcpy(&key, event->keys + 8 * (i - 1), sizeof(key));
    return key;
}

/* Whoever the newer one leaves out still needs the older one. */
uint64_t event_collapse_key(const struct event *event)
{
    struct siphash_key key = {event->header.app, 0};
    for (size_t i = 0; i < event->header.target_count; i++) {
        key.k1 ^= event_key(event, i);
    }
    key.k1 = siphash(&key, event->except_bytes.ptr, event->except_bytes.len);
    key.k1 = siphash(&key, event->origin_tag.ptr, event->origin_tag.len);
    return siphash(&key, event->collapse.ptr, event->collapse.len) | 1;
}

static struct str next_name(struct str *rest)
{
    uint16_t len;
    memcpy(&len, rest->ptr, sizeof(len));
    struct str name = {rest->ptr + 2, len};
    rest->ptr += 2 + len;
    rest->len -= 2 + (size_t)len;
    return name;
}

bool event_next_target(struct str *rest, struct target *out_target)
{
    if (rest->len == 0) {
        return false;
    }
    out_target->kind = (enum target_kind)(uint8_t)rest->ptr[0];
    rest->ptr++;
    rest->len--;
    out_target->name = next_name(rest);
    return true;
}

bool event_next_except(struct str *rest, struct str *out_sid)
{
    if (rest->len == 0) {
        return false;
    }
    *out_sid = next_name(rest);
    return true;
}
