#include "api/alerter.h"

#include <pthread.h>
#include <stddef.h>

#include "api/alert_sender.h"
#include "api/alert_text.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/json.h"
#include "server/families.h"

struct alerter {
    struct loop *loop;
    struct settings *settings;
    char node[SETTINGS_NODE_MAX + 1];
    struct alert_site site;
    pthread_mutex_t lock; /* of the book and the site; the main thread writes, others read */
    struct alert_book book;
    struct alert_sender *sender;
    struct timer timer;
    size_t firing; /* under the lock */
};

/* ---- changes ---- */

static struct metric *firing_series(const struct alert_rule *rule)
{
    return SERIES(alerts_firing, rule->name, alert_severity_name(rule->severity));
}

static void on_change(void *owner, const struct alert *alert)
{
    struct alerter *alerter = owner;
    const struct alert_rule *rule = alert->rule;
    bool fires = alert->state == ALERT_FIRING;
    struct buf value = {0};
    alert_write_number(&value, alert->value);
    metric_gauge_add(firing_series(rule), fires ? 1 : -1);
    alerter->firing += fires ? 1 : (size_t)-1;
    if (fires) {
        log_warn("alert.firing", "%s (%s)%s%s: %s; the value is %s", rule->name,
                 alert_severity_name(rule->severity), alert->labels[0] ? " " : "", alert->labels,
                 rule->summary, buf_cstr(&value));
    } else {
        log_info("alert.resolved", "%s (%s)%s%s: %s: it is over", rule->name,
                 alert_severity_name(rule->severity), alert->labels[0] ? " " : "", alert->labels,
                 rule->summary);
    }
    buf_fini(&value);
}

/* ---- passes ---- */

void alerter_look(struct alerter *alerter, uint64_t now_ms, uint64_t wall_ms)
{
    pthread_mutex_lock(&alerter->lock);
    alert_book_begin(&alerter->book);
    metrics_visit(alert_book_sample, &alerter->book);
    alert_book_end(&alerter->book, now_ms, wall_ms);
    metric_add(SERIES(alerts_left_out_total), alerter->book.left_out);
    pthread_mutex_unlock(&alerter->lock);
    alert_sender_pump(alerter->sender);
}

static void on_timer(struct timer *timer)
{
    struct alerter *alerter = (struct alerter *)((char *)timer - offsetof(struct alerter, timer));
    loop_timer_start(alerter->loop, timer, alerter->settings->alerts.interval_ms);
    alerter_look(alerter, loop_now_ms(alerter->loop), clock_wall_ms());
}

/* ---- settings ---- */

/* Where it is switched off no rule is on, so that what fires is told to be over. */
static void take_settings(struct alerter *alerter, struct settings *settings)
{
    alerter->settings = settings_ref(settings);
    alerter->site.settings = &alerter->settings->alerts;
    alerter->site.cluster = alerter->settings->cluster.name;
    alert_book_set(&alerter->book, &alerter->settings->alerts);
    loop_timer_start(alerter->loop, &alerter->timer, alerter->settings->alerts.interval_ms);
}

void alerter_set_settings(struct alerter *alerter, struct settings *settings)
{
    struct settings *before = alerter->settings;
    pthread_mutex_lock(&alerter->lock);
    take_settings(alerter, settings);
    alert_sender_set_receivers(alerter->sender);
    pthread_mutex_unlock(&alerter->lock);
    settings_unref(before);
}

/* Series that are there at 0 show a first firing as a change. */
static void make_series(void)
{
    size_t count;
    const struct alert_rule *rules = alert_rules(&count);
    for (size_t i = 0; i < count; i++) {
        if (!rules[i].is_external) {
            firing_series(&rules[i]);
        }
    }
}

int alerter_create(struct alerter **out_alerter, struct loop *loop, struct fetcher *fetcher,
                   struct settings *settings)
{
    struct alerter *alerter = mem_zalloc(sizeof(*alerter));
    if (!alerter) {
        return ERR_NO_MEMORY;
    }
    alerter->loop = loop;
    alerter->timer.on_fire = on_timer;
    pthread_mutex_init(&alerter->lock, NULL);
    settings_node_name(settings, alerter->node);
    alerter->site.node = str_of(alerter->node);
    int err = alert_book_init(&alerter->book);
    if (!err) {
        alerter->book.on_change = on_change;
        alerter->book.owner = alerter;
        take_settings(alerter, settings);
        err = alert_sender_create(&alerter->sender, loop, fetcher, &alerter->book, &alerter->site);
    }
    if (err) {
        alerter_destroy(alerter);
        return err;
    }
    make_series();
    *out_alerter = alerter;
    return 0;
}

void alerter_destroy(struct alerter *alerter)
{
    if (!alerter) {
        return;
    }
    loop_timer_stop(alerter->loop, &alerter->timer);
    alert_sender_destroy(alerter->sender);
    alert_book_fini(&alerter->book);
    settings_unref(alerter->settings);
    pthread_mutex_destroy(&alerter->lock);
    mem_free(alerter);
}

/* ---- for the API ---- */

static void write_alert(struct buf *out, const struct alert *alert, const struct alert_site *site)
{
    buf_append_char(out, '{');
    json_write_string_field(out, STR("alert"), str_of(alert->rule->name));
    json_write_string_field(out, STR("severity"),
                            str_of(alert_severity_name(alert->rule->severity)));
    json_write_string_field(out, STR("state"), str_of(alert_state_name(alert->state)));
    json_write_string_field(out, STR("node"), site->node);
    json_write_key(out, STR("labels"));
    buf_append_char(out, '{');
    alert_write_group_labels(out, alert);
    buf_append_str(out, STR("},\"value\":"));
    alert_write_json_number(out, alert->value);
    json_write_string_field(out, STR("summary"), str_of(alert->rule->summary));
    json_write_u64_field(out, STR("active_at"), alert->active_at);
    if (alert->fired_at && alert->state != ALERT_PENDING) {
        json_write_u64_field(out, STR("fired_at"), alert->fired_at);
    }
    if (alert->resolved_at && alert->state != ALERT_PENDING) {
        json_write_u64_field(out, STR("resolved_at"), alert->resolved_at);
    }
    buf_append(out, "}", 2);
}

void alerter_write(struct alerter *alerter, struct buf *out)
{
    pthread_mutex_lock(&alerter->lock);
    for (size_t i = 0; i < alerter->book.rule_count; i++) {
        for (struct alert *alert = alerter->book.rules[i].alerts; alert; alert = alert->next) {
            write_alert(out, alert, &alerter->site);
        }
    }
    pthread_mutex_unlock(&alerter->lock);
}

void alerter_write_rules(struct alerter *alerter, struct buf *out)
{
    struct alert_rule rules[ALERT_RULES_MAX];
    pthread_mutex_lock(&alerter->lock);
    size_t count = alert_rules_of(alerter->site.settings, rules);
    buf_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        json_write_comma(out);
        alert_write_json(out, &rules[i], alerter->site.settings->runbooks);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
    pthread_mutex_unlock(&alerter->lock);
}

size_t alerter_firing(struct alerter *alerter)
{
    pthread_mutex_lock(&alerter->lock);
    size_t firing = alerter->firing;
    pthread_mutex_unlock(&alerter->lock);
    return firing;
}
