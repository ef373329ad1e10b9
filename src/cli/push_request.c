#include "cli/push_request.h"

#include "cli/api_request.h"
#include "proto/json.h"

static void write_names(struct buf *out, struct str key, const struct args_list *names)
{
    if (names->count == 0) {
        return;
    }
    json_write_key(out, key);
    buf_append_char(out, '[');
    for (size_t i = 0; i < names->count; i++) {
        json_write_comma(out);
        json_write_string(out, str_of(names->items[i]));
    }
    buf_append_char(out, ']');
}

static void write_targets(struct buf *out, const struct push_options *options)
{
    json_write_key(out, STR("to"));
    buf_append_char(out, '{');
    write_names(out, STR("users"), &options->users);
    write_names(out, STR("groups"), &options->groups);
    write_names(out, STR("sessions"), &options->sessions);
    write_names(out, STR("tickets"), &options->tickets);
    if (options->all) {
        json_write_bool_field(out, STR("all"), true);
    }
    buf_append_char(out, '}');
}

static void write_text(struct buf *out, struct str key, const char *text)
{
    if (text) {
        json_write_string_field(out, key, str_of(text));
    }
}

int push_request_write_body(struct buf *out, const struct push_options *options)
{
    buf_append_char(out, '{');
    write_targets(out, options);
    write_text(out, STR("type"), options->type);
    write_text(out, STR("id"), options->id);
    write_text(out, STR("collapse"), options->collapse);
    write_text(out, STR("wait"), options->wait);
    if (options->is_final) {
        json_write_bool_field(out, STR("final"), true);
    }
    if (options->ttl_ms > 0) {
        json_write_u64_field(out, STR("ttl_ms"), options->ttl_ms);
    }
    json_write_raw_field(out, STR("data"), buf_str(&options->data));
    return buf_append_char(out, '}');
}

int push_request_write(struct buf *out, const struct push_options *options, const char *key)
{
    struct buf body = {0};
    int err = push_request_write_body(&body, options);
    if (!err) {
        err = api_request_write(out, &options->url, key, "POST", STR("/v1/messages"),
                                buf_str(&body));
    }
    buf_fini(&body);
    return err;
}
