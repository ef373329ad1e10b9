#include "api/alerts.h"

#include "api/alerter.h"
#include "base/clock.h"

/* As it travels between nodes: never to be renumbered. */
enum { QUERY_ALERTS = 27 };

enum { ALERTS_MAX = 4096, ALERT_DEPTH = 3 };

/* The alerter is one for the node, so one worker answers. */
static int pick_worker(const struct gateway *gateway, struct str name)
{
    return 0;
}

static void ask(struct gather_part *part)
{
    struct alerter *alerter = part->worker->gateway->options.alerter;
    if (alerter) {
        alerter_write(alerter, &part->text);
    }
}

/* What another node wrote goes into the answer as it is, if it is JSON. */
static bool is_sound(const struct gather_part *part, struct str text)
{
    struct json_value object;
    return part->worker ||
           (json_parse(&object, text, ALERT_DEPTH, NULL) == 0 && object.type == JSON_TYPE_OBJECT);
}

static void write_alerts(struct buf *out, struct gather *gather)
{
    int count = 0;
    buf_append_char(out, '[');
    for (uint32_t i = 0; i < gather->part_count; i++) {
        const struct gather_part *part = gather_part_at(gather, i);
        struct str rest = buf_str(&part->text);
        struct str alert;
        while (rest.len && count < ALERTS_MAX && str_split(&rest, '\0', &alert)) {
            if (is_sound(part, alert)) {
                json_write_comma(out);
                buf_append_str(out, alert);
                count++;
            }
        }
        out->err = out->err ? out->err : part->text.err;
    }
    buf_append_char(out, ']');
}

static void write_rules(struct buf *out, const struct gather *gather)
{
    struct alerter *alerter = gather->asker->gateway->options.alerter;
    if (alerter) {
        alerter_write_rules(alerter, out);
    } else {
        buf_append_str(out, STR("[]"));
    }
}

static void finish(struct gather *gather)
{
    struct buf out = {0};
    buf_append_char(&out, '{');
    json_write_key(&out, STR("alerts"));
    write_alerts(&out, gather);
    json_write_key(&out, STR("rules"));
    write_rules(&out, gather);
    json_write_u64_field(&out, STR("as_of"), clock_wall_ms());
    json_write_bool_field(&out, STR("complete"), gather->is_complete);
    buf_append_char(&out, '}');
    if (buf_err(&out)) {
        http_answer_retry(gather->exchange, 503, "overloaded", "The gateway is short of memory.",
                          1);
    } else {
        http_answer_json(gather->exchange, 200, buf_str(&out));
    }
    buf_fini(&out);
}

const struct gather_kind alerts_kind = {.number = QUERY_ALERTS,
                                        .ask = ask,
                                        .fold = gather_fold,
                                        .finish = finish,
                                        .pick_worker = pick_worker,
                                        .is_of_node = true};

void alerts_handle_list(struct api_call *call)
{
    gather_start(call, &alerts_kind, STR(""));
}
