#include "api/overview_wire.h"

#include <string.h>

enum { VERSION = 1 };

/* ---- writing ---- */

static void put(struct buf *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        buf_append_char(out, (char)(value >> (8 * i)));
    }
}

static void put_name(struct buf *out, const char *name)
{
    struct str text = str_of(name);
    put(out, text.len, 1);
    buf_append_str(out, text);
}

static void put_many(struct buf *out, const uint32_t *values, int count)
{
    for (int i = 0; i < count; i++) {
        put(out, values[i], 4);
    }
}

static void put_flow(struct buf *out, const struct overview_flow *flow)
{
    put(out, flow->accepted, 4);
    put(out, flow->written, 4);
    put(out, flow->dropped, 4);
}

static void put_scope(struct buf *out, const struct overview_scope *scope)
{
    put_name(out, scope->app);
    put_many(out, scope->connections, OVERVIEW_TRANSPORTS);
    put(out, scope->users, 4);
    put(out, scope->cluster_users, 4);
    put(out, scope->groups, 4);
    put_flow(out, &scope->flow);
}

static void put_point(struct buf *out, const struct overview_point *point)
{
    put(out, point->is_there, 1);
    put(out, point->connections, 4);
    put(out, point->users, 4);
    put(out, point->cluster_users, 4);
    put_flow(out, &point->flow);
    put_many(out, point->buckets, OVERVIEW_BUCKETS);
}

int overview_part_write(struct buf *out, const struct overview_part *part)
{
    put(out, VERSION, 1);
    put(out, part->boot, 4);
    put(out, part->tick, 8);
    put(out, part->memory_bytes, 8);
    put(out, part->bus_up, 1);
    put(out, part->alerts, 4);
    put(out, part->scope_count, 1);
    put(out, part->stage_count, 1);
    put(out, part->point_count, 1);
    for (uint32_t i = 0; i < part->scope_count; i++) {
        put_scope(out, &part->scopes[i]);
    }
    for (uint32_t i = 0; i < part->stage_count; i++) {
        put_name(out, part->stages[i].name);
        put_many(out, part->stages[i].buckets, OVERVIEW_BUCKETS);
    }
    for (uint32_t i = 0; i < part->point_count; i++) {
        put_point(out, &part->points[i]);
    }
    return buf_err(out);
}

/* ---- reading: past the end everything is 0, and the reader knows ---- */

struct reader {
    struct str rest;
    bool is_short;
};

static uint64_t take(struct reader *reader, size_t bytes)
{
    uint64_t value = 0;
    if (reader->rest.len < bytes) {
        reader->is_short = true;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)(uint8_t)reader->rest.ptr[i] << (8 * i);
    }
    reader->rest = str_make(reader->rest.ptr + bytes, reader->rest.len - bytes);
    return value;
}

static uint32_t take32(struct reader *reader)
{
    return (uint32_t)take(reader, 4);
}

static void take_name(struct reader *reader, char out[OVERVIEW_NAME + 1])
{
    size_t len = (size_t)take(reader, 1);
    if (len > OVERVIEW_NAME || reader->rest.len < len || memchr(reader->rest.ptr, '\0', len)) {
        reader->is_short = true;
        len = 0;
    }
    memcpy(out, reader->rest.ptr, len);
    out[len] = '\0';
    reader->rest = str_make(reader->rest.ptr + len, reader->rest.len - len);
}

static void take_many(struct reader *reader, uint32_t *out, int count)
{
    for (int i = 0; i < count; i++) {
        out[i] = take32(reader);
    }
}

static void take_flow(struct reader *reader, struct overview_flow *out)
{
    out->accepted = take32(reader);
    out->written = take32(reader);
    out->dropped = take32(reader);
}

static void take_scope(struct reader *reader, struct overview_scope *out)
{
    take_name(reader, out->app);
    take_many(reader, out->connections, OVERVIEW_TRANSPORTS);
    out->users = take32(reader);
    out->cluster_users = take32(reader);
    out->groups = take32(reader);
    take_flow(reader, &out->flow);
}

static void take_point(struct reader *reader, struct overview_point *out)
{
    out->is_there = take(reader, 1) != 0;
    out->connections = take32(reader);
    out->users = take32(reader);
    out->cluster_users = take32(reader);
    take_flow(reader, &out->flow);
    take_many(reader, out->buckets, OVERVIEW_BUCKETS);
}

/* False: more than there may be. */
static bool take_counts(struct reader *reader, struct overview_part *part)
{
    part->scope_count = (uint32_t)take(reader, 1);
    part->stage_count = (uint32_t)take(reader, 1);
    part->point_count = (uint32_t)take(reader, 1);
    return part->scope_count >= 1 && part->scope_count <= OVERVIEW_SCOPES &&
           part->stage_count <= OVERVIEW_STAGES && part->point_count <= OVERVIEW_POINTS;
}

static void take_lists(struct reader *reader, struct overview_part *part)
{
    for (uint32_t i = 0; i < part->scope_count; i++) {
        take_scope(reader, &part->scopes[i]);
    }
    for (uint32_t i = 0; i < part->stage_count; i++) {
        take_name(reader, part->stages[i].name);
        take_many(reader, part->stages[i].buckets, OVERVIEW_BUCKETS);
    }
    for (uint32_t i = 0; i < part->point_count; i++) {
        take_point(reader, &part->points[i]);
    }
}

bool overview_part_read(struct overview_part *out_part, struct str *text)
{
    struct reader reader = {.rest = *text};
    if (take(&reader, 1) != VERSION) {
        return false;
    }
    out_part->boot = take32(&reader);
    out_part->tick = take(&reader, 8);
    out_part->memory_bytes = take(&reader, 8);
    out_part->bus_up = take(&reader, 1) != 0;
    out_part->alerts = take32(&reader);
    if (!take_counts(&reader, out_part)) {
        return false;
    }
    take_lists(&reader, out_part);
    *text = reader.rest;
    return !reader.is_short;
}
