/* Requests to a collector, by the rules of "OTLP/HTTP": 429, 502, 503, 504 and no answer at all are
 * tried again, after what Retry-After says or a back-off; another status is final. Metrics are
 * cumulative, so a later body says all that a lost one did: each try makes a new one. Spans are
 * told once, so their body is kept until it is taken, or given up. */
#include "api/export_private.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/fetch.h"
#include "proto/gzip.h"

enum {
    BODY_BYTES = 16 * 1024 * 1024,
    ANSWER_BYTES = 64 * 1024,
    FIRST_MS = 200,     /* from new settings to the first metrics, so that a mistake shows soon */
    GATHER_MS = 1000,   /* spans wait so long for others */
    BATCH_SPANS = 512,  /* … or until there are so many */
    GIVE_UP_MS = 60000, /* of a batch of spans */
    RETRY_BASE_MS = 1000,
    RETRY_MAX_MS = 60000,
    RETRY_AFTER_MAX_MS = 5 * 60000, /* a collector can't send us away for longer */
    HEADERS_MAX = 18,
};

/* One kind of body, of which one is under way at a time. */
struct signal {
    struct otlp *otlp;
    const char *path; /* behind the collector's URL */
    enum export_who who;
    struct timer timer;
    struct backoff backoff;
    struct fetch *under_way;
    struct export_outage outage;
};

struct otlp {
    struct loop *loop;                /* borrowed */
    const struct otlp_source *source; /* borrowed */
    struct fetcher *fetcher;          /* NULL: off */
    struct settings *settings;        /* a reference, or NULL */
    const struct settings_otlp *options;
    struct signal metrics, traces;
    uint64_t metrics_due_ms; /* monotonic: the next round */
    atomic_size_t *waiting;
    struct span *first, **end; /* that are in no batch yet */
    size_t queued;
    struct buf batch; /* the body of batch_spans spans; empty: none */
    size_t batch_spans;
    uint64_t batch_ends_ms;
    bool is_ending;    /* no retries any more */
    bool is_canceling; /* what is under way is being ended by us */
};

/* ---- one request ---- */

static int make_url(struct buf *url, const struct signal *signal)
{
    struct str base = signal->otlp->options->url;
    while (base.len > 0 && base.ptr[base.len - 1] == '/') {
        base.len--;
    }
    buf_append_str(url, base);
    return buf_append_str(url, str_of(signal->path));
}

static int add_headers(struct buf lines[HEADERS_MAX], size_t *out_count,
                       const struct settings_otlp *options)
{
    size_t count = 0;
    buf_append_str(&lines[count++], STR("Content-Type: application/json"));
    if (options->gzip) {
        buf_append_str(&lines[count++], STR("Content-Encoding: gzip"));
    }
    for (size_t i = 0; i < options->header_count && count < HEADERS_MAX; i++) {
        const struct settings_header *header = &options->headers[i];
        buf_append_str(&lines[count], header->name);
        buf_append_str(&lines[count], STR(": "));
        buf_append_str(&lines[count++], header->value);
    }
    *out_count = count;
    for (size_t i = 0; i < count; i++) {
        if (buf_err(&lines[i])) {
            return buf_err(&lines[i]);
        }
    }
    return 0;
}

static void on_done(void *owner, int err, const struct fetch_response *response);

static int fetch_with(struct signal *signal, struct str url, struct str body,
                      struct buf lines[HEADERS_MAX])
{
    const struct settings_otlp *options = signal->otlp->options;
    struct str headers[HEADERS_MAX];
    size_t count;
    int err = add_headers(lines, &count, options);
    for (size_t i = 0; i < count; i++) {
        headers[i] = buf_str(&lines[i]);
    }
    struct fetch_request request = {.url = url,
                                    .is_post = true,
                                    .body = body,
                                    .headers = headers,
                                    .header_count = count,
                                    .timeout_ms = options->timeout_ms,
                                    .response_bytes = ANSWER_BYTES,
                                    .ca = options->ca};
    return err ? err
               : fetch_start(&signal->under_way, signal->otlp->fetcher, &request, on_done, signal);
}

static int send_body(struct signal *signal, struct str body)
{
    struct buf lines[HEADERS_MAX] = {{0}};
    struct buf url = {0};
    struct buf packed = {0};
    int err = make_url(&url, signal);
    if (!err && signal->otlp->options->gzip) {
        err = gzip_append(&packed, body);
        body = buf_str(&packed);
    }
    err = err ? err : fetch_with(signal, buf_str(&url), body, lines);
    for (size_t i = 0; i < HEADERS_MAX; i++) {
        if (lines[i].data) {
            explicit_bzero(lines[i].data, lines[i].len);
        }
        buf_fini(&lines[i]);
    }
    buf_fini(&packed);
    buf_fini(&url);
    return err;
}

/* ---- what came of it ---- */

enum verdict { TAKEN, RETRY, REFUSED };

static enum verdict judge(int err, int status)
{
    if (err) {
        return err == ERR_TOO_LARGE ? REFUSED : RETRY;
    }
    if (status >= 200 && status < 300) {
        return TAKEN;
    }
    return status == 429 || (status >= 502 && status <= 504) ? RETRY : REFUSED;
}

static const char *result_of(int err, enum verdict verdict)
{
    switch (err) {
    case 0: return verdict == RETRY ? "retry" : "rejected";
    case ERR_TIMEOUT: return "timeout";
    case ERR_DENIED: return "certificate";
    case ERR_NO_MEMORY: return "no_memory";
    case ERR_TOO_LARGE: return "too_large";
    default: return "unreachable";
    }
}

/* The URL's path and the headers may hold what should not be in a log; curl's words have its host
 * and port at most. */
static void note_failure(struct signal *signal, int err, const struct fetch_response *response,
                         enum verdict verdict)
{
    export_stats_result(signal->who, result_of(err, verdict));
    if (!export_outage_note(&signal->outage, clock_monotonic_ms())) {
        return;
    }
    if (err) {
        log_warn("export.failed", "OTLP, %s: %s: %s", signal->path, err_str(err),
                 response ? response->detail : "");
    } else {
        log_warn("export.failed", "OTLP, %s: answered with %d", signal->path, response->status);
    }
}

/* What the collector took but a part. */
static uint64_t note_success(struct signal *signal, struct str answer)
{
    uint64_t rejected = otlp_read_rejected(answer);
    signal->backoff.tries = 0;
    export_stats_success(signal->who);
    if (rejected > 0) {
        export_stats_result(signal->who, "partial");
        log_warn("export.partial", "OTLP, %s: the collector refused %llu of what was sent",
                 signal->path, (unsigned long long)rejected);
    }
    if (export_outage_end(&signal->outage)) {
        log_info("export.recovered", "OTLP, %s: the collector takes it again", signal->path);
    }
    return rejected;
}

static uint64_t retry_wait_ms(struct signal *signal, const struct fetch_response *response)
{
    uint64_t wait_ms = backoff_next_ms(&signal->backoff, span_draw_id());
    uint64_t asked_ms = response ? response->retry_after_ms : 0;
    asked_ms = asked_ms < RETRY_AFTER_MAX_MS ? asked_ms : RETRY_AFTER_MAX_MS;
    return asked_ms > wait_ms ? asked_ms : wait_ms;
}

/* ---- metrics ---- */

/* Rounds keep their pace, whatever the tries between them do. */
static void wait_for_round(struct otlp *otlp)
{
    uint64_t now_ms = clock_monotonic_ms();
    while (otlp->metrics_due_ms <= now_ms) {
        otlp->metrics_due_ms += otlp->options->interval_ms;
    }
    loop_timer_start(otlp->loop, &otlp->metrics.timer, otlp->metrics_due_ms - now_ms);
}

static void send_metrics(struct otlp *otlp)
{
    struct buf body;
    buf_init(&body, BODY_BYTES);
    int err = otlp_write_metrics(&body, otlp->source, clock_wall_us());
    err = err ? err : send_body(&otlp->metrics, buf_str(&body));
    buf_fini(&body);
    if (err) {
        note_failure(&otlp->metrics, err, NULL, REFUSED);
        wait_for_round(otlp);
    }
}

static void on_metrics_done(struct otlp *otlp, enum verdict verdict,
                            const struct fetch_response *response)
{
    if (otlp->is_ending) {
        return;
    }
    if (verdict == RETRY) {
        loop_timer_start(otlp->loop, &otlp->metrics.timer, retry_wait_ms(&otlp->metrics, response));
    } else {
        wait_for_round(otlp);
    }
}

static void on_metrics_timer(struct timer *timer)
{
    struct signal *signal = MAIL_OWNER(timer, struct signal, timer);
    send_metrics(signal->otlp);
}

/* ---- spans ---- */

static void settle_spans(struct otlp *otlp, size_t count, enum span_result result)
{
    export_stats_spans(result, count);
    export_stats_waiting(-(int64_t)count);
    atomic_fetch_sub_explicit(otlp->waiting, count, memory_order_relaxed);
}

/* Cuts the first spans, at most BATCH_SPANS, from the queue. */
static struct span *cut_spans(struct otlp *otlp, size_t *out_count)
{
    struct span *spans = otlp->first;
    struct span **link = &otlp->first;
    size_t count = 0;
    while (*link && count < BATCH_SPANS) {
        link = &(*link)->next;
        count++;
    }
    otlp->first = *link;
    *link = NULL;
    if (!otlp->first) {
        otlp->end = &otlp->first;
    }
    otlp->queued -= count;
    *out_count = count;
    return spans;
}

static void destroy_spans(struct span *spans)
{
    while (spans) {
        struct span *next = spans->next;
        mem_account(MEM_HTTP, -(int64_t)spans->size);
        mem_free(spans);
        spans = next;
    }
}

static void end_batch(struct otlp *otlp, enum span_result result)
{
    settle_spans(otlp, otlp->batch_spans, result);
    otlp->batch_spans = 0;
    buf_fini(&otlp->batch);
}

/* False: memory was out for it, and they are lost. */
static bool make_batch(struct otlp *otlp)
{
    struct span *spans = cut_spans(otlp, &otlp->batch_spans);
    buf_init(&otlp->batch, BODY_BYTES);
    int err = otlp_write_spans(&otlp->batch, otlp->source, spans);
    destroy_spans(spans);
    otlp->batch_ends_ms = clock_monotonic_ms() + GIVE_UP_MS;
    if (err) {
        end_batch(otlp, SPANS_NO_MEMORY);
    }
    return err == 0;
}

static void pump_spans(struct otlp *otlp)
{
    bool is_waiting = timer_is_running(&otlp->traces.timer);
    if (!otlp->fetcher || otlp->traces.under_way || otlp->batch_spans > 0 || otlp->queued == 0) {
        return;
    }
    if (otlp->queued >= BATCH_SPANS) {
        loop_timer_start(otlp->loop, &otlp->traces.timer, 0);
    } else if (!is_waiting) {
        loop_timer_start(otlp->loop, &otlp->traces.timer, GATHER_MS);
    }
}

static void retry_batch(struct otlp *otlp, const struct fetch_response *response)
{
    uint64_t wait_ms = retry_wait_ms(&otlp->traces, response);
    if (otlp->is_ending || clock_monotonic_ms() + wait_ms > otlp->batch_ends_ms) {
        end_batch(otlp, SPANS_GIVEN_UP);
        pump_spans(otlp);
    } else {
        loop_timer_start(otlp->loop, &otlp->traces.timer, wait_ms);
    }
}

static void send_batch(struct otlp *otlp)
{
    if (otlp->batch_spans == 0 && (otlp->queued == 0 || !make_batch(otlp))) {
        return;
    }
    int err = send_body(&otlp->traces, buf_str(&otlp->batch));
    if (err) {
        note_failure(&otlp->traces, err, NULL, RETRY);
        retry_batch(otlp, NULL);
    }
}

static void on_traces_done(struct otlp *otlp, enum verdict verdict, uint64_t rejected,
                           const struct fetch_response *response)
{
    if (verdict == RETRY) {
        retry_batch(otlp, response);
        return;
    }
    if (verdict == TAKEN && rejected > 0) {
        size_t refused = rejected < otlp->batch_spans ? rejected : otlp->batch_spans;
        otlp->batch_spans -= refused;
        settle_spans(otlp, refused, SPANS_REJECTED);
    }
    end_batch(otlp, verdict == TAKEN ? SPANS_OK : SPANS_REJECTED);
    if (otlp->is_ending) {
        send_batch(otlp);
    } else {
        pump_spans(otlp);
    }
}

static void on_traces_timer(struct timer *timer)
{
    struct signal *signal = MAIL_OWNER(timer, struct signal, timer);
    send_batch(signal->otlp);
}

/* ---- both ---- */

static void on_done(void *owner, int err, const struct fetch_response *response)
{
    struct signal *signal = owner;
    struct otlp *otlp = signal->otlp;
    enum verdict verdict = judge(err, response->status);
    uint64_t rejected = 0;
    signal->under_way = NULL;
    if (otlp->is_canceling) {
        return; /* whoever cancels knows what is next */
    }
    if (verdict == TAKEN) {
        rejected = note_success(signal, response->body);
    } else {
        note_failure(signal, err, response, verdict);
    }
    if (signal == &otlp->metrics) {
        on_metrics_done(otlp, verdict, response);
    } else {
        on_traces_done(otlp, verdict, rejected, response);
    }
}

void otlp_add_span(struct otlp *otlp, struct span *span)
{
    span->next = NULL;
    *otlp->end = span;
    otlp->end = &span->next;
    otlp->queued++;
    mem_account(MEM_HTTP, (int64_t)span->size);
    pump_spans(otlp);
}

static void drop_all_spans(struct otlp *otlp)
{
    size_t count = otlp->queued;
    destroy_spans(otlp->first);
    otlp->first = NULL;
    otlp->end = &otlp->first;
    otlp->queued = 0;
    settle_spans(otlp, count, SPANS_OFF);
    end_batch(otlp, SPANS_OFF);
}

void otlp_flush(struct otlp *otlp)
{
    otlp->is_ending = true;
    if (!otlp->fetcher) {
        return;
    }
    loop_timer_stop(otlp->loop, &otlp->metrics.timer);
    loop_timer_stop(otlp->loop, &otlp->traces.timer);
    if (otlp->options->metrics && !otlp->metrics.under_way) {
        send_metrics(otlp);
        loop_timer_stop(otlp->loop, &otlp->metrics.timer);
    }
    if (!otlp->traces.under_way) {
        send_batch(otlp);
    }
}

bool otlp_is_idle(const struct otlp *otlp)
{
    return !otlp->metrics.under_way && !otlp->traces.under_way &&
           (!otlp->fetcher || (otlp->queued == 0 && otlp->batch_spans == 0));
}

/* Connections, too, since they were checked by the old settings. */
static void cancel_all(struct otlp *otlp)
{
    otlp->is_canceling = true;
    fetcher_destroy(otlp->fetcher);
    otlp->is_canceling = false;
    otlp->fetcher = NULL;
    loop_timer_stop(otlp->loop, &otlp->metrics.timer);
    loop_timer_stop(otlp->loop, &otlp->traces.timer);
    otlp->metrics.backoff.tries = otlp->traces.backoff.tries = 0;
    otlp->metrics.outage.logged_ms = otlp->traces.outage.logged_ms = 0; /* others may fail anew */
}

void otlp_set_settings(struct otlp *otlp, struct settings *settings)
{
    cancel_all(otlp);
    settings_unref(otlp->settings);
    otlp->settings = settings_ref(settings);
    otlp->options = &settings->metrics.otlp;
    if (otlp->options->url.len > 0 && fetcher_create(&otlp->fetcher, otlp->loop, NULL, NULL)) {
        log_error("export.failed", "OTLP: memory is out; nothing is sent until the next reload");
    }
    if (otlp->fetcher && otlp->options->metrics) {
        otlp->metrics_due_ms = clock_monotonic_ms() + FIRST_MS;
        loop_timer_start(otlp->loop, &otlp->metrics.timer, FIRST_MS);
    }
    if (!otlp->fetcher || !otlp->options->traces) {
        drop_all_spans(otlp);
    } else if (otlp->batch_spans > 0 || otlp->queued > 0) {
        loop_timer_start(otlp->loop, &otlp->traces.timer, FIRST_MS);
    }
}

static void init_signal(struct signal *signal, struct otlp *otlp, enum export_who who,
                        const char *path, void (*on_fire)(struct timer *timer))
{
    *signal = (struct signal){.otlp = otlp,
                              .path = path,
                              .who = who,
                              .timer = {.on_fire = on_fire},
                              .backoff = {.base_ms = RETRY_BASE_MS, .max_ms = RETRY_MAX_MS}};
}

int otlp_create(struct otlp **out_otlp, struct loop *loop, const struct otlp_source *source,
                atomic_size_t *waiting)
{
    struct otlp *otlp = mem_zalloc(sizeof(*otlp));
    if (!otlp) {
        return ERR_NO_MEMORY;
    }
    otlp->loop = loop;
    otlp->source = source;
    otlp->waiting = waiting;
    otlp->end = &otlp->first;
    init_signal(&otlp->metrics, otlp, EXPORT_OTLP_METRICS, "/v1/metrics", on_metrics_timer);
    init_signal(&otlp->traces, otlp, EXPORT_OTLP_TRACES, "/v1/traces", on_traces_timer);
    *out_otlp = otlp;
    return 0;
}

void otlp_destroy(struct otlp *otlp)
{
    if (otlp) {
        cancel_all(otlp);
        drop_all_spans(otlp);
        settings_unref(otlp->settings);
        mem_free(otlp);
    }
}
