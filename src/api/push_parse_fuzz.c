/* Pushes of any shape. The first byte of an input chooses:
 *   '{'  the input is a message object
 *   'r'  the rest is query NUL content type NUL body */
#include "api/push_parse.h"

#include <stdlib.h>

#include "base/err.h"
#include "proto/utf8.h"
#include "server/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(struct str name, const struct settings_limits *limits)
{
    ASSERT(name.len == 0 || token_name_is_clean(name, limits->name_bytes));
}

static void check_data(const struct push *push, const struct settings_limits *limits)
{
    struct json_value value;
    ASSERT(push->data.len <= limits->message_bytes);
    ASSERT(push->data_kind != EVENT_DATA_NONE);
    ASSERT(push->data_kind != EVENT_DATA_JSON ||
           json_parse(&value, push->data, JSON_MAX_DEPTH, NULL) == 0);
    ASSERT(push->data_kind != EVENT_DATA_TEXT || utf8_is_valid(push->data));
}

static void check_push(const struct push *push, const struct settings_limits *limits)
{
    ASSERT(push->target_count > 0 && push->target_count <= limits->targets + 1);
    for (size_t i = 0; i < push->target_count; i++) {
        check_name(push->targets[i].name, limits);
        ASSERT((push->targets[i].name.len == 0) == (push->targets[i].kind == TARGET_ALL));
    }
    ASSERT(push->except_count <= PUSH_EXCEPTS_MAX);
    for (size_t i = 0; i < push->except_count; i++) {
        check_name(push->excepts[i], limits);
    }
    check_name(push->type, limits);
    check_name(push->id, limits);
    check_name(push->origin_tag, limits);
    ASSERT(push->wait_ms <= limits->wait_ms);
    ASSERT(trace_state_is_sound(push->trace_state));
    ASSERT(push->has_trace || push->trace_state.len == 0);
    check_data(push, limits);
}

static void check_error(const struct push_error *error)
{
    ASSERT(error->status >= 400 && error->status < 600 && error->code && error->detail);
}

static bool read_object(struct push *push, struct str text, const struct settings_limits *limits,
                        struct push_error *error)
{
    struct json_value object;
    if (json_parse(&object, text, (unsigned)limits->json_depth, NULL)) {
        *error = (struct push_error){400, "bad_json", "not JSON"};
        return false;
    }
    return push_read_object(push, object, limits, error);
}

static bool read_raw(struct push *push, struct str text, const struct settings_limits *limits,
                     struct push_error *error)
{
    struct str rest = text;
    struct str query = STR("");
    struct str type = STR("");
    str_split(&rest, '\0', &query);
    str_split(&rest, '\0', &type);
    ASSERT(push_add_target(push, TARGET_ALL, STR("")));
    return push_read_raw(push, query, type, rest.ptr ? rest : STR(""), limits, error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings *settings;
    struct push push = {0};
    struct push_error error = {0, NULL, NULL};
    if (size == 0 || settings_create_default(&settings)) {
        return 0;
    }
    push_reset(&push);
    struct str text = str_make(data, size);
    bool is_raw = data[0] == 'r';
    bool good = is_raw ? read_raw(&push, str_make(data + 1, size - 1), &settings->limits, &error)
                       : read_object(&push, text, &settings->limits, &error);
    if (good) {
        check_push(&push, &settings->limits);
    } else {
        check_error(&error);
    }
    push_fini(&push);
    settings_unref(settings);
    return 0;
}
