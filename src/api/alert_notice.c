#include "api/alert_notice.h"

#include "api/alert_text.h"
#include "base/time_text.h"
#include "proto/json.h"

/* ---- labels and times ---- */

/* As metric_label escaped it. */
static void append_unescaped(struct buf *out, struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '\\' && i + 1 < value.len) {
            i++;
            buf_append_char(out, value.ptr[i] == 'n' ? '\n' : value.ptr[i]);
        } else {
            buf_append_char(out, value.ptr[i]);
        }
    }
}

void alert_write_group_labels(struct buf *out, const struct alert *alert)
{
    struct str rest = str_of(alert->labels);
    struct str name, value;
    while (alert_label_next(&rest, &name, &value)) {
        struct buf text = {0};
        append_unescaped(&text, value);
        json_write_string_field(out, name, buf_str(&text));
        out->err = out->err ? out->err : text.err;
        buf_fini(&text);
    }
}

static bool has_label(const struct alert *alert, struct str wanted)
{
    struct str rest = str_of(alert->labels);
    struct str name, value;
    while (alert_label_next(&rest, &name, &value)) {
        if (str_equal(name, wanted)) {
            return true;
        }
    }
    return false;
}

/* The site's give way to those of the series: a name must not be there twice. */
void alert_write_labels(struct buf *out, const struct alert *alert, const struct alert_site *site)
{
    const char *severity = alert_severity_name(alert->rule->severity);
    json_write_string_field(out, STR("alertname"), str_of(alert->rule->name));
    json_write_string_field(out, STR("severity"), str_of(severity));
    json_write_string_field(out, STR("cluster"), site->cluster);
    json_write_string_field(out, STR("node"), site->node);
    for (size_t i = 0; i < site->settings->label_count; i++) {
        const struct settings_label *label = &site->settings->labels[i];
        if (!has_label(alert, label->name)) {
            json_write_string_field(out, label->name, label->value);
        }
    }
    alert_write_group_labels(out, alert);
}

static void write_time(struct buf *out, struct str name, uint64_t wall_ms)
{
    char text[TIME_TEXT_MAX];
    json_write_string_field(out, name, time_text_write(text, wall_ms));
}

static void write_annotations(struct buf *out, const struct alert *alert,
                              const struct alert_site *site)
{
    struct buf text = {0};
    json_write_string_field(out, STR("summary"), str_of(alert->rule->summary));
    json_write_string_field(out, STR("description"), str_of(alert->rule->detail));
    alert_write_number(&text, alert->value);
    json_write_string_field(out, STR("value"), buf_str(&text));
    buf_clear(&text);
    alert_write_runbook(&text, alert->rule, site->settings->runbooks);
    json_write_string_field(out, STR("runbook_url"), buf_str(&text));
    out->err = out->err ? out->err : text.err;
    buf_fini(&text);
}

/* ---- one alert ---- */

static bool needs_telling(const struct alert *alert, const struct alert_notice *notice)
{
    bool is_resolved = alert->state == ALERT_RESOLVED;
    uint64_t told_ms = alert->told[notice->receiver].at_ms;
    uint64_t age_ms = notice->now_ms - told_ms;
    if (alert->state == ALERT_PENDING) {
        return false;
    }
    if (told_ms == 0 || alert->told[notice->receiver].is_resolved != is_resolved) {
        return true;
    }
    if (notice->kind == SETTINGS_RECEIVER_ALERTMANAGER) {
        return age_ms >= ALERT_RESEND_MS;
    }
    return !is_resolved && age_ms >= ALERT_REPEAT_MS;
}

/* Until when an alert fires that is not told of again. */
static uint64_t end_of(const struct alert *alert, const struct alert_site *site,
                       const struct alert_notice *notice)
{
    uint64_t interval_ms = site->settings->interval_ms;
    uint64_t often_ms = interval_ms > ALERT_RESEND_MS ? interval_ms : ALERT_RESEND_MS;
    return alert->state == ALERT_RESOLVED ? alert->resolved_at : notice->wall_ms + 4 * often_ms;
}

static void write_alert(struct buf *out, const struct alert *alert, const struct alert_site *site,
                        const struct alert_notice *notice)
{
    bool is_webhook = notice->kind == SETTINGS_RECEIVER_WEBHOOK;
    json_write_comma(out);
    buf_append_char(out, '{');
    if (is_webhook) {
        json_write_string_field(out, STR("status"), str_of(alert_state_name(alert->state)));
    }
    json_write_key(out, STR("labels"));
    buf_append_char(out, '{');
    alert_write_labels(out, alert, site);
    buf_append_char(out, '}');
    json_write_key(out, STR("annotations"));
    buf_append_char(out, '{');
    write_annotations(out, alert, site);
    buf_append_char(out, '}');
    write_time(out, STR("startsAt"), alert->fired_at);
    write_time(out, STR("endsAt"), end_of(alert, site, notice));
    if (site->settings->link.len > 0) {
        json_write_string_field(out, STR("generatorURL"), site->settings->link);
    }
    buf_append_char(out, '}');
}

/* ---- a notice ---- */

static size_t write_list(struct buf *out, const struct alert_book *book,
                         const struct alert_site *site, const struct alert_notice *notice,
                         bool *out_any_fires)
{
    size_t count = 0;
    buf_append_char(out, '[');
    for (size_t i = 0; i < book->rule_count; i++) {
        for (struct alert *alert = book->rules[i].alerts; alert; alert = alert->next) {
            if (count < ALERT_NOTICE_MAX && needs_telling(alert, notice)) {
                count++;
                write_alert(out, alert, site, notice);
                alert->told[notice->receiver].sending_ms = notice->now_ms;
                alert->told[notice->receiver].sending_resolved = alert->state == ALERT_RESOLVED;
                *out_any_fires = *out_any_fires || alert->state == ALERT_FIRING;
            }
        }
    }
    buf_append_char(out, ']');
    return count;
}

/* Version 4 of what Alertmanager posts to webhooks: one group of all. */
static void write_envelope(struct buf *out, const struct alert_site *site, struct str list,
                           bool any_fires)
{
    buf_append_char(out, '{');
    json_write_string_field(out, STR("version"), STR("4"));
    json_write_string_field(out, STR("receiver"), STR("tidegate"));
    json_write_string_field(out, STR("status"), any_fires ? STR("firing") : STR("resolved"));
    json_write_string_field(out, STR("groupKey"), site->node);
    json_write_key(out, STR("groupLabels"));
    buf_append_char(out, '{');
    json_write_string_field(out, STR("cluster"), site->cluster);
    json_write_string_field(out, STR("node"), site->node);
    buf_append_str(out, STR("},\"commonLabels\":{},\"commonAnnotations\":{}"));
    json_write_string_field(out, STR("externalURL"), site->settings->link);
    json_write_u64_field(out, STR("truncatedAlerts"), 0);
    json_write_raw_field(out, STR("alerts"), list);
    buf_append_char(out, '}');
}

size_t alert_notice_write(struct buf *out, const struct alert_book *book,
                          const struct alert_site *site, const struct alert_notice *notice)
{
    struct buf list = {0};
    bool any_fires = false;
    size_t count = write_list(&list, book, site, notice, &any_fires);
    if (count > 0 && notice->kind == SETTINGS_RECEIVER_WEBHOOK) {
        write_envelope(out, site, buf_str(&list), any_fires);
    } else if (count > 0) {
        buf_append_str(out, buf_str(&list));
    }
    out->err = out->err ? out->err : list.err;
    buf_fini(&list);
    return count;
}

void alert_notice_done(const struct alert_book *book, unsigned receiver, bool is_taken)
{
    for (size_t i = 0; i < book->rule_count; i++) {
        for (struct alert *alert = book->rules[i].alerts; alert; alert = alert->next) {
            struct alert_told *told = &alert->told[receiver];
            if (is_taken && told->sending_ms) {
                told->at_ms = told->sending_ms;
                told->is_resolved = told->sending_resolved;
            }
            told->sending_ms = 0;
        }
    }
}

void alert_notice_forget(const struct alert_book *book)
{
    for (size_t i = 0; i < book->rule_count; i++) {
        for (struct alert *alert = book->rules[i].alerts; alert; alert = alert->next) {
            memset(alert->told, 0, sizeof(alert->told));
        }
    }
}
