#include "api/push_parse.h"

#include "api/push_parse_private.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/base64.h"
#include "proto/uri.h"
#include "proto/utf8.h"
#include "server/token.h"

void push_reset(struct push *push)
{
    struct push kept = {
        .targets = push->targets, .target_cap = push->target_cap, .scratch = push->scratch};
    buf_clear(&kept.scratch);
    *push = kept;
    push->wait_ms = 500;
}

void push_fini(struct push *push)
{
    mem_free(push->targets);
    buf_fini(&push->scratch);
    *push = (struct push){0};
}

bool push_fail(struct push_error *error, int status, const char *code, const char *detail)
{
    *error = (struct push_error){status, code, detail};
    return false;
}

bool push_out_of_memory(struct push_error *error)
{
    return push_fail(error, 503, "overloaded", "The gateway is short of memory.");
}

bool push_add_target(struct push *push, enum target_kind kind, struct str name)
{
    if (push->target_count == push->target_cap) {
        size_t cap = push->target_cap ? push->target_cap * 2 : 8;
        struct target *targets = mem_realloc(push->targets, sizeof(*targets) * cap);
        if (!targets) {
            return false;
        }
        push->targets = targets;
        push->target_cap = cap;
    }
    push->targets[push->target_count++] = (struct target){kind, name};
    return true;
}

bool push_reserve_scratch(struct push *push, size_t len)
{
    return buf_reserve(&push->scratch, len + 1) != NULL;
}

static bool decode_text(struct push *push, struct json_value value, struct str *out_text)
{
    if (json_string_plain(value, out_text)) {
        return true;
    }
    char *to = (char *)push->scratch.data + push->scratch.len;
    if (json_string_text(value, to, push->scratch.cap - push->scratch.len, out_text)) {
        return false;
    }
    push->scratch.len += out_text->ptr == to ? out_text->len : 0;
    return true;
}

static bool read_name(struct push *push, struct json_value value, size_t max, struct str *out_name)
{
    return decode_text(push, value, out_name) && token_name_is_clean(*out_name, max);
}

static bool read_targets(struct push *push, struct json_value array, enum target_kind kind,
                         const struct settings_limits *limits, struct push_error *error)
{
    struct json_iter iter;
    struct json_value value;
    if (array.type == JSON_TYPE_NONE) {
        return true;
    }
    if (array.type != JSON_TYPE_ARRAY) {
        return push_fail(error, 422, "invalid_to", "The keys of `to` are arrays of names.");
    }
    json_iter_init(&iter, array);
    while (json_next(&iter, NULL, &value)) {
        struct str name;
        if (!read_name(push, value, limits->name_bytes, &name)) {
            return push_fail(error, 422, "invalid_to",
                             "A target's name is empty, too long, or has control characters.");
        }
        if (push->target_count >= limits->targets) {
            return push_fail(error, 422, "too_many_targets",
                             "`to` names more targets than allowed.");
        }
        if (!push_add_target(push, kind, name)) {
            return push_out_of_memory(error);
        }
    }
    return true;
}

static bool read_to(struct push *push, struct json_value to, const struct settings_limits *limits,
                    struct push_error *error)
{
    struct json_field fields[] = {{.name = STR("users")},
                                  {.name = STR("groups")},
                                  {.name = STR("sessions")},
                                  {.name = STR("tickets")},
                                  {.name = STR("all")}};
    size_t unknown;
    bool all = false;
    if (json_read_fields(to, fields, 5, &unknown) || unknown) {
        return push_fail(error, 422, "invalid_to",
                         "`to` is an object of users, groups, sessions, tickets and all.");
    }
    if (fields[4].value.type != JSON_TYPE_NONE && !json_bool(fields[4].value, &all)) {
        return push_fail(error, 422, "invalid_to", "`to.all` is true or false.");
    }
    bool good = read_targets(push, fields[0].value, TARGET_USER, limits, error) &&
                read_targets(push, fields[1].value, TARGET_GROUP, limits, error) &&
                read_targets(push, fields[2].value, TARGET_SESSION, limits, error) &&
                read_targets(push, fields[3].value, TARGET_TICKET, limits, error);
    if (good && all && !push_add_target(push, TARGET_ALL, STR(""))) {
        return push_out_of_memory(error);
    }
    if (good && push->target_count == 0) {
        return push_fail(error, 422, "invalid_to", "`to` names nobody.");
    }
    return good;
}

static bool read_except(struct push *push, struct json_value except,
                        const struct settings_limits *limits, struct push_error *error)
{
    struct json_field fields[] = {{.name = STR("sessions")}, {.name = STR("origin")}};
    struct json_iter iter;
    struct json_value value;
    size_t unknown;
    if (except.type == JSON_TYPE_NONE) {
        return true;
    }
    if (json_read_fields(except, fields, 2, &unknown) || unknown ||
        (fields[0].value.type != JSON_TYPE_NONE && fields[0].value.type != JSON_TYPE_ARRAY) ||
        (fields[1].value.type != JSON_TYPE_NONE &&
         !read_name(push, fields[1].value, limits->name_bytes, &push->origin_tag))) {
        return push_fail(error, 422, "invalid_except",
                         "`except` is an object of sessions (an array) and origin (a text).");
    }
    json_iter_init(&iter, fields[0].value);
    while (json_next(&iter, NULL, &value)) {
        if (push->except_count == PUSH_EXCEPTS_MAX) {
            return push_fail(error, 422, "invalid_except",
                             "`except` names more than 100 sessions.");
        }
        if (!read_name(push, value, limits->name_bytes, &push->excepts[push->except_count++])) {
            return push_fail(error, 422, "invalid_except", "`except.sessions` holds session ids.");
        }
    }
    return true;
}

static bool decode_base64(struct push *push, struct json_value value, struct push_error *error)
{
    struct str text;
    uint8_t *to;
    size_t len;
    if (!decode_text(push, value, &text)) {
        return push_fail(error, 422, "invalid_data_base64", "`data_base64` is a text.");
    }
    to = push->scratch.data + push->scratch.len; /* room for it was reserved with the rest */
    if (base64_decode(to, push->scratch.cap - push->scratch.len, &len, text, BASE64_STANDARD)) {
        return push_fail(error, 422, "invalid_data_base64", "`data_base64` is not base64.");
    }
    push->scratch.len += len;
    push->data = str_make(to, len);
    push->data_kind = EVENT_DATA_BINARY;
    return true;
}

static bool read_data(struct push *push, struct json_value data, struct json_value base64,
                      const struct settings_limits *limits, struct push_error *error)
{
    if ((data.type == JSON_TYPE_NONE) == (base64.type == JSON_TYPE_NONE)) {
        return push_fail(error, 422, "invalid_data", "A message has `data` or `data_base64`.");
    }
    if (data.type != JSON_TYPE_NONE) {
        push->data = data.raw;
        push->data_kind = EVENT_DATA_JSON;
    } else if (!decode_base64(push, base64, error)) {
        return false;
    }
    if (push->data.len > limits->message_bytes) {
        return push_fail(error, 413, "message_too_large", "The data is over limits.message.");
    }
    return true;
}

bool push_set_wait(struct push *push, struct str wait, struct push_error *error)
{
    if (str_equal(wait, STR("none"))) {
        push->wait = PUSH_WAIT_NONE;
    } else if (str_equal(wait, STR("routed"))) {
        push->wait = PUSH_WAIT_ROUTED;
    } else if (str_equal(wait, STR("written"))) {
        push->wait = PUSH_WAIT_WRITTEN;
    } else if (str_equal(wait, STR("acked"))) {
        push->wait = PUSH_WAIT_ACKED;
    } else {
        return push_fail(error, 422, "invalid_wait", "`wait` is none, routed, written or acked.");
    }
    return true;
}

enum field {
    F_TO,
    F_EXCEPT,
    F_TYPE,
    F_DATA,
    F_DATA_BASE64,
    F_ID,
    F_TTL,
    F_COLLAPSE,
    F_FINAL,
    F_WAIT,
    F_WAIT_MS,
    F_TRACEPARENT,
    F_TRACESTATE,
    FIELDS,
};

static bool read_numbers(struct push *push, const struct json_field *fields,
                         const struct settings_limits *limits, struct push_error *error)
{
    uint64_t ttl;
    if (fields[F_TTL].value.type != JSON_TYPE_NONE) {
        if (!json_u64(fields[F_TTL].value, UINT32_MAX, &ttl) || ttl == 0) {
            return push_fail(error, 422, "invalid_ttl_ms",
                             "`ttl_ms` is a number of 1 to 4294967295.");
        }
        push->ttl_ms = (uint32_t)ttl;
    }
    if (fields[F_WAIT_MS].value.type != JSON_TYPE_NONE &&
        !json_u64(fields[F_WAIT_MS].value, limits->wait_ms, &push->wait_ms)) {
        return push_fail(error, 422, "invalid_wait_ms", "`wait_ms` is a number up to limits.wait.");
    }
    return true;
}

static bool read_texts(struct push *push, const struct json_field *fields,
                       const struct settings_limits *limits, struct push_error *error)
{
    struct str wait;
    if (fields[F_TYPE].value.type != JSON_TYPE_NONE &&
        !read_name(push, fields[F_TYPE].value, limits->name_bytes, &push->type)) {
        return push_fail(error, 422, "invalid_type", "`type` is a short text.");
    }
    if (fields[F_ID].value.type != JSON_TYPE_NONE &&
        !read_name(push, fields[F_ID].value, limits->name_bytes, &push->id)) {
        return push_fail(error, 422, "invalid_id", "`id` is a short text.");
    }
    if (fields[F_COLLAPSE].value.type != JSON_TYPE_NONE &&
        !read_name(push, fields[F_COLLAPSE].value, limits->name_bytes, &push->collapse)) {
        return push_fail(error, 422, "invalid_collapse", "`collapse` is a short text.");
    }
    if (fields[F_WAIT].value.type != JSON_TYPE_NONE) {
        if (!decode_text(push, fields[F_WAIT].value, &wait)) {
            return push_fail(error, 422, "invalid_wait",
                             "`wait` is none, routed, written or acked.");
        }
        return push_set_wait(push, wait, error);
    }
    return true;
}

bool push_set_final(struct push *push, struct push_error *error)
{
    for (size_t i = 0; i < push->target_count; i++) {
        if (push->targets[i].kind != TARGET_TICKET) {
            return push_fail(error, 422, "invalid_final", "Only tickets have a final message.");
        }
    }
    push->is_final = true;
    return true;
}

static bool read_final(struct push *push, const struct json_field *fields, struct push_error *error)
{
    bool final = false;
    if (fields[F_FINAL].value.type != JSON_TYPE_NONE && !json_bool(fields[F_FINAL].value, &final)) {
        return push_fail(error, 422, "invalid_final", "`final` is true or false.");
    }
    return !final || push_set_final(push, error);
}

/* A trace is never a reason to refuse a push: what is no text is a trace that is wrong. */
static struct str trace_text(struct push *push, struct json_value value)
{
    struct str text = {NULL, 0};
    if (value.type != JSON_TYPE_NONE && !decode_text(push, value, &text)) {
        text = STR("?");
    }
    return text;
}

static void read_trace(struct push *push, const struct json_field *fields)
{
    push_take_trace(push, trace_text(push, fields[F_TRACEPARENT].value),
                    trace_text(push, fields[F_TRACESTATE].value));
}

bool push_read_object(struct push *push, struct json_value object,
                      const struct settings_limits *limits, struct push_error *out_error)
{
    struct json_field fields[FIELDS] = {
        [F_TO] = {.name = STR("to")},
        [F_EXCEPT] = {.name = STR("except")},
        [F_TYPE] = {.name = STR("type")},
        [F_DATA] = {.name = STR("data")},
        [F_DATA_BASE64] = {.name = STR("data_base64")},
        [F_ID] = {.name = STR("id")},
        [F_TTL] = {.name = STR("ttl_ms")},
        [F_COLLAPSE] = {.name = STR("collapse")},
        [F_FINAL] = {.name = STR("final")},
        [F_WAIT] = {.name = STR("wait")},
        [F_WAIT_MS] = {.name = STR("wait_ms")},
        [F_TRACEPARENT] = {.name = STR("traceparent")},
        [F_TRACESTATE] = {.name = STR("tracestate")},
    };
    size_t unknown;
    if (object.type != JSON_TYPE_OBJECT) {
        return push_fail(out_error, 422, "invalid_message", "A message is a JSON object.");
    }
    int err = json_read_fields(object, fields, FIELDS, &unknown);
    if (err || unknown) {
        return push_fail(out_error, 422, err ? "repeated_field" : "unknown_field",
                         err ? "A key stands twice in the message."
                             : "The message has a key that is not known.");
    }
    if (!push_reserve_scratch(push, 2 * object.raw.len)) { /* texts unescaped, data decoded */
        return push_out_of_memory(out_error);
    }
    read_trace(push, fields);
    return read_to(push, fields[F_TO].value, limits, out_error) &&
           read_except(push, fields[F_EXCEPT].value, limits, out_error) &&
           read_texts(push, fields, limits, out_error) &&
           read_numbers(push, fields, limits, out_error) && read_final(push, fields, out_error) &&
           read_data(push, fields[F_DATA].value, fields[F_DATA_BASE64].value, limits, out_error);
}
