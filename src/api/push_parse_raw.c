/* A raw body with options in the query. */
#include "api/push_parse_private.h"
#include "proto/uri.h"
#include "proto/utf8.h"
#include "server/token.h"

static bool is_type(struct str content_type, const char *type)
{
    struct str rest = content_type;
    struct str media = content_type;
    str_split(&rest, ';', &media);
    return str_equal_nocase(str_trim(media), str_of(type));
}

static bool is_json_type(struct str content_type)
{
    struct str rest = content_type;
    struct str media = content_type;
    str_split(&rest, ';', &media);
    media = str_trim(media);
    return is_type(content_type, "application/json") || str_ends_with(media, STR("+json"));
}

static bool is_json(struct str body, const struct settings_limits *limits, struct str *out_raw)
{
    struct json_value value;
    if (json_parse(&value, body, (unsigned)limits->json_depth, NULL)) {
        return false;
    }
    *out_raw = value.raw;
    return true;
}

/* What `curl -d` sends is called a form; nobody means one here: it is JSON when it reads as JSON,
 * else text. */
static bool read_body(struct push *push, struct str content_type, struct str body,
                      const struct settings_limits *limits, struct push_error *error)
{
    bool guess = is_type(content_type, "application/x-www-form-urlencoded") || !content_type.len;
    bool text = str_starts_with(content_type, STR("text/"));
    push->data = body;
    if ((guess || is_json_type(content_type)) && is_json(body, limits, &push->data)) {
        push->data_kind = EVENT_DATA_JSON;
    } else if (is_json_type(content_type)) {
        return push_fail(error, 400, "bad_json", "The body is not JSON.");
    } else if ((guess || text) && utf8_is_valid(body)) {
        push->data_kind = EVENT_DATA_TEXT;
    } else if (text) {
        return push_fail(error, 400, "bad_text", "The body is not UTF-8.");
    } else {
        push->data_kind = EVENT_DATA_BINARY;
    }
    if (push->data.len > limits->message_bytes) {
        return push_fail(error, 413, "message_too_large", "The data is over limits.message.");
    }
    return true;
}

static bool read_option(struct push *push, struct str name, struct str value,
                        const struct settings_limits *limits, struct push_error *error)
{
    uint64_t number;
    bool clean = token_name_is_clean(value, limits->name_bytes);
    if (str_equal(name, STR("type"))) {
        push->type = value;
        return clean || push_fail(error, 422, "invalid_type", "`type` is a short text.");
    }
    if (str_equal(name, STR("id"))) {
        push->id = value;
        return clean || push_fail(error, 422, "invalid_id", "`id` is a short text.");
    }
    if (str_equal(name, STR("collapse"))) {
        push->collapse = value;
        return clean || push_fail(error, 422, "invalid_collapse", "`collapse` is a short text.");
    }
    if (str_equal(name, STR("origin"))) {
        push->origin_tag = value;
        return clean || push_fail(error, 422, "invalid_except", "`origin` is a short text.");
    }
    if (str_equal(name, STR("final"))) {
        bool is_final = str_equal(value, STR("true"));
        return is_final ? push_set_final(push, error)
                        : str_equal(value, STR("false")) ||
                              push_fail(error, 422, "invalid_final", "`final` is true or false.");
    }
    if (str_equal(name, STR("wait"))) {
        return push_set_wait(push, value, error);
    }
    if (str_equal(name, STR("ttl_ms"))) {
        if (!str_to_u64(value, UINT32_MAX, &number) || number == 0) {
            return push_fail(error, 422, "invalid_ttl_ms",
                             "`ttl_ms` is a number of 1 to 4294967295.");
        }
        push->ttl_ms = (uint32_t)number;
        return true;
    }
    if (str_equal(name, STR("wait_ms"))) {
        return str_to_u64(value, limits->wait_ms, &push->wait_ms) ||
               push_fail(error, 422, "invalid_wait_ms", "`wait_ms` is a number up to limits.wait.");
    }
    if (str_equal(name, STR("app"))) {
        return true; /* read where the caller is identified */
    }
    return push_fail(error, 422, "unknown_option", "The query has an option that is not known.");
}

static bool read_query(struct push *push, struct str query, const struct settings_limits *limits,
                       struct push_error *error)
{
    struct str rest = query;
    struct str name;
    struct str raw;
    while (uri_query_next(&rest, &name, &raw)) {
        char *to = (char *)push->scratch.data + push->scratch.len;
        ssize_t len = uri_decode_query(raw, to, push->scratch.cap - push->scratch.len);
        if (len < 0) {
            return push_fail(error, 400, "bad_query", "The query has a bad escape.");
        }
        push->scratch.len += (size_t)len;
        if (!read_option(push, name, str_make(to, (size_t)len), limits, error)) {
            return false;
        }
    }
    return true;
}

bool push_read_raw(struct push *push, struct str query, struct str content_type, struct str body,
                   const struct settings_limits *limits, struct push_error *out_error)
{
    if (!push_reserve_scratch(push, query.len)) {
        return push_out_of_memory(out_error);
    }
    return read_query(push, query, limits, out_error) &&
           read_body(push, content_type, body, limits, out_error);
}
