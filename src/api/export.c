#include "api/export.h"

#include <pthread.h>
#include <stdio.h>

#include "api/export_private.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rate.h"
#include "net/mailbox.h"

enum { FINISH_MS = 1000, CHECK_MS = 10, SPANS_OF_A_PUSH = 2 };

struct exporter {
    struct span_sink sink; /* first */
    struct loop *loop;
    struct mailbox mailbox;
    pthread_t thread;
    bool has_mailbox, is_started, is_stopped;
    char node[SETTINGS_NODE_MAX + 1];
    char cluster[SETTINGS_NODE_MAX + 1];
    struct otlp_source source;
    struct otlp *otlp;
    struct statsd *statsd;
    atomic_size_t waiting;    /* spans: on their way to the thread, in its queue, under way */
    atomic_size_t span_queue; /* how many there may be */
    atomic_uint_fast64_t max_traces; /* a second; 0: no limit */
    struct rate pushes, deliveries;  /* that are told of */
    struct mail stop;
    struct timer end_timer;
    uint64_t ends_ms; /* of the last round */
};

/* ---- spans, on any thread ---- */

static void run_span(struct mail *mail)
{
    struct span *span = MAIL_OWNER(mail, struct span, mail);
    struct exporter *exporter = span->owner;
    otlp_add_span(exporter->otlp, span);
}

static bool is_within_rate(struct exporter *exporter, enum span_kind kind)
{
    uint64_t max = atomic_load_explicit(&exporter->max_traces, memory_order_relaxed);
    struct rate *rate = kind == SPAN_SERVER ? &exporter->pushes : &exporter->deliveries;
    return max == 0 || rate_take(rate, max, max, clock_monotonic_us()) == 0;
}

/* take_span looks again, since others were admitted meanwhile. */
static bool admit(struct span_sink *sink, enum span_kind kind)
{
    struct exporter *exporter = (struct exporter *)sink;
    size_t count = kind == SPAN_SERVER ? SPANS_OF_A_PUSH : 1;
    size_t waiting = atomic_load_explicit(&exporter->waiting, memory_order_relaxed);
    if (waiting + count > atomic_load_explicit(&exporter->span_queue, memory_order_relaxed)) {
        export_stats_spans(SPANS_QUEUE_FULL, count);
        return false;
    }
    if (!is_within_rate(exporter, kind)) {
        export_stats_spans(SPANS_LIMITED, count);
        return false;
    }
    return true;
}

static void take_span(struct span_sink *sink, struct span *span)
{
    struct exporter *exporter = (struct exporter *)sink;
    if (!span) {
        export_stats_spans(SPANS_NO_MEMORY, 1);
        return;
    }
    size_t before = atomic_fetch_add_explicit(&exporter->waiting, 1, memory_order_relaxed);
    if (before >= atomic_load_explicit(&exporter->span_queue, memory_order_relaxed)) {
        atomic_fetch_sub_explicit(&exporter->waiting, 1, memory_order_relaxed);
        export_stats_spans(SPANS_QUEUE_FULL, 1);
        mem_free(span);
        return;
    }
    export_stats_waiting(1);
    span->owner = exporter;
    span->mail.run = run_span;
    mailbox_post(&exporter->mailbox, &span->mail);
}

struct span_sink *exporter_span_sink(struct exporter *exporter)
{
    return &exporter->sink;
}

/* ---- settings ---- */

struct new_settings {
    struct mail mail;
    struct exporter *exporter;
    struct settings *settings; /* a reference */
};

static void run_settings(struct mail *mail)
{
    struct new_settings *news = MAIL_OWNER(mail, struct new_settings, mail);
    struct exporter *exporter = news->exporter;
    snprintf(exporter->cluster, sizeof(exporter->cluster), "%.*s",
             STR_ARG(news->settings->cluster.name));
    otlp_set_settings(exporter->otlp, news->settings);
    statsd_set_settings(exporter->statsd, news->settings);
    settings_unref(news->settings);
    mem_free(news);
}

static void *run(void *arg)
{
    struct exporter *exporter = arg;
    int err = loop_run(exporter->loop);
    if (err) {
        log_error("export.thread_failed", "the thread of exporters stopped: %s", err_str(err));
    }
    return NULL;
}

static bool has_work(const struct settings *settings)
{
    return settings->metrics.otlp.url.len > 0 || settings->metrics.statsd.address.len > 0;
}

static int start(struct exporter *exporter)
{
    int err = -pthread_create(&exporter->thread, NULL, run, exporter);
    exporter->is_started = err == 0;
    return err;
}

static void make_series(const struct settings *settings)
{
    const struct settings_otlp *otlp = &settings->metrics.otlp;
    if (otlp->url.len > 0) {
        export_stats_make(EXPORT_OTLP_METRICS);
    }
    if (otlp->url.len > 0 && otlp->traces) {
        export_stats_make(EXPORT_OTLP_TRACES);
    }
    if (settings->metrics.statsd.address.len > 0) {
        export_stats_make(EXPORT_STATSD);
    }
}

int exporter_set_settings(struct exporter *exporter, struct settings *settings)
{
    const struct settings_otlp *otlp = &settings->metrics.otlp;
    if (!exporter->is_started && !has_work(settings)) {
        return 0;
    }
    struct new_settings *news = mem_zalloc(sizeof(*news));
    if (!news) {
        return ERR_NO_MEMORY;
    }
    int err = exporter->is_started ? 0 : start(exporter);
    if (err) {
        mem_free(news);
        return err;
    }
    make_series(settings);
    news->mail.run = run_settings;
    news->exporter = exporter;
    news->settings = settings_ref(settings);
    atomic_store(&exporter->span_queue, otlp->span_queue);
    atomic_store(&exporter->max_traces, otlp->max_traces);
    atomic_store(&exporter->sink.is_open, otlp->url.len > 0 && otlp->traces);
    mailbox_post(&exporter->mailbox, &news->mail);
    return 0;
}

/* ---- life ---- */

int exporter_create(struct exporter **out_exporter, const char *node)
{
    struct exporter *exporter = mem_zalloc(sizeof(*exporter));
    if (!exporter) {
        return ERR_NO_MEMORY;
    }
    export_stats_init();
    snprintf(exporter->node, sizeof(exporter->node), "%s", node);
    exporter->source = (struct otlp_source){
        .node = exporter->node, .cluster = exporter->cluster, .started_us = clock_wall_us()};
    exporter->sink.admit = admit;
    exporter->sink.take = take_span;
    int err = loop_create(&exporter->loop);
    err = err ? err : mailbox_init(&exporter->mailbox, exporter->loop);
    exporter->has_mailbox = !err;
    err = err ? err
              : otlp_create(&exporter->otlp, exporter->loop, &exporter->source, &exporter->waiting);
    err = err ? err : statsd_create(&exporter->statsd, exporter->loop, exporter->node);
    if (err) {
        exporter_destroy(exporter);
        return err;
    }
    *out_exporter = exporter;
    return 0;
}

static void on_end_timer(struct timer *timer)
{
    struct exporter *exporter = MAIL_OWNER(timer, struct exporter, end_timer);
    if (otlp_is_idle(exporter->otlp) || clock_monotonic_ms() >= exporter->ends_ms) {
        loop_stop(exporter->loop);
    } else {
        loop_timer_start(exporter->loop, &exporter->end_timer, CHECK_MS);
    }
}

static void run_stop(struct mail *mail)
{
    struct exporter *exporter = MAIL_OWNER(mail, struct exporter, stop);
    statsd_flush(exporter->statsd);
    otlp_flush(exporter->otlp);
    exporter->ends_ms = clock_monotonic_ms() + FINISH_MS;
    exporter->end_timer.on_fire = on_end_timer;
    loop_timer_start(exporter->loop, &exporter->end_timer, 0);
}

void exporter_stop(struct exporter *exporter)
{
    if (!exporter || exporter->is_stopped) {
        return;
    }
    exporter->is_stopped = true;
    atomic_store(&exporter->sink.is_open, false);
    atomic_store(&exporter->span_queue, 0);
    if (exporter->is_started) {
        exporter->stop.run = run_stop;
        mailbox_post(&exporter->mailbox, &exporter->stop);
        pthread_join(exporter->thread, NULL);
    }
}

void exporter_destroy(struct exporter *exporter)
{
    if (!exporter) {
        return;
    }
    exporter_stop(exporter);
    if (exporter->has_mailbox) {
        mailbox_fini(&exporter->mailbox); /* spans that came last join the queue, to be dropped */
    }
    if (exporter->loop) {
        loop_timer_stop(exporter->loop, &exporter->end_timer);
    }
    statsd_destroy(exporter->statsd);
    otlp_destroy(exporter->otlp);
    loop_destroy(exporter->loop);
    mem_free(exporter);
}
