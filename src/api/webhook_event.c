#include "api/webhook_event.h"

#include <string.h>

#include "base/mem.h"
#include "base/time_text.h"
#include "proto/json.h"
#include "proto/uri.h"

/* "sessions/s_9", which is a URI reference whatever the name holds. */
static void write_subject(struct buf *out, const struct webhook_event_parts *parts)
{
    buf_append_str(out, parts->subject_kind);
    buf_append_char(out, '/');
    uri_encode(out, parts->subject_name);
}

/* The same on every node, since source and id together tell events apart. */
static void write_source(struct buf *out, const struct webhook_event_parts *parts)
{
    buf_append_str(out, STR("/tidegate/"));
    buf_append_str(out, parts->cluster);
    buf_append_char(out, '/');
    buf_append_str(out, parts->app_name);
}

static void write_built_field(struct buf *out, const char *name,
                              void (*write)(struct buf *, const struct webhook_event_parts *),
                              const struct webhook_event_parts *parts)
{
    struct buf text = {0};
    write(&text, parts);
    json_write_string_field(out, str_of(name), buf_str(&text));
    out->err = out->err ? out->err : buf_err(&text);
    buf_fini(&text);
}

static void write_type(struct buf *out, const struct webhook_event_parts *parts)
{
    buf_append_str(out, STR("tidegate."));
    buf_append_str(out, settings_event_name(parts->type));
}

static void write_body(struct buf *out, const struct webhook_event_parts *parts)
{
    char time[TIME_TEXT_MAX];
    buf_append_char(out, '{');
    json_write_string_field(out, STR("specversion"), STR("1.0"));
    json_write_string_field(out, STR("id"), parts->id);
    write_built_field(out, "source", write_source, parts);
    write_built_field(out, "type", write_type, parts);
    write_built_field(out, "subject", write_subject, parts);
    json_write_string_field(out, STR("time"), time_text_write(time, parts->wall_ms));
    json_write_string_field(out, STR("node"), parts->node);
    json_write_string_field(out, STR("datacontenttype"), STR("application/json"));
    json_write_raw_field(out, STR("data"), parts->data);
    buf_append_char(out, '}');
}

static uint32_t hash_of(struct str text)
{
    uint32_t hash = 2166136261u; /* FNV-1a; who fills one line alone delays himself */
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (uint8_t)text.ptr[i]) * 16777619u;
    }
    return hash;
}

static struct str keep(char **at, struct str text)
{
    char *copy = *at;
    memcpy(copy, text.ptr, text.len);
    *at += text.len;
    return str_make(copy, text.len);
}

struct webhook_event *webhook_event_create(const struct webhook_event_parts *parts)
{
    struct buf body = {0};
    write_body(&body, parts);
    size_t size = sizeof(struct webhook_event) + parts->id.len + body.len + parts->app_name.len + 1;
    struct webhook_event *event = buf_err(&body) ? NULL : mem_zalloc(size);
    if (event) {
        char *at = (char *)(event + 1);
        event->type = parts->type;
        event->app = parts->app;
        event->subject_hash = hash_of(parts->subject_name);
        event->born_ms = parts->now_ms;
        event->size = size;
        event->id = keep(&at, parts->id);
        event->body = keep(&at, buf_str(&body));
        event->app_name = keep(&at, parts->app_name).ptr; /* a NUL is behind it */
    }
    buf_fini(&body);
    return event;
}

void webhook_event_destroy(struct webhook_event *event)
{
    mem_free(event);
}
