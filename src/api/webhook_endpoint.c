/* One endpoint of an app: where it may lead, its requests, and what waits for it. */
#include <string.h>
#include <sys/random.h>

#include "api/webhook_private.h"
#include "api/webhook_sign.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/addr_public.h"
#include "net/fetch.h"

enum { ANSWER_BYTES = 64 * 1024 };

/* One request under way. */
struct attempt {
    struct endpoint *endpoint;
    struct webhook_item *item;
    uint64_t started_us;
};

static void bury(struct endpoint *endpoint, struct webhook_event *event, const char *reason)
{
    webhook_stats_dead(endpoint->app, reason);
    log_warn_of(LOG_OF(.app = str_of(endpoint->app.name), .code = str_of(reason)),
                "webhook.dead_letter", "app '%s', webhook %u: %s is dropped: %s",
                endpoint->app.name, endpoint->number, settings_event_name(event->type).ptr, reason);
    webhook_unref_event(endpoint, event);
}

/* ---- where it may lead ---- */

static bool may_connect(void *owner, const struct addr *addr)
{
    const struct endpoint *endpoint = owner;
    const struct settings_webhook *webhook = endpoint->webhook;
    if (addr_is_public(addr)) {
        return true;
    }
    for (size_t i = 0; i < webhook->allow_count; i++) {
        struct addr_prefix prefix;
        if (!addr_prefix_parse(&prefix, webhook->allow[i]) && addr_in_prefix(addr, &prefix)) {
            return true;
        }
    }
    return false;
}

/* ---- one try ---- */

static uint64_t draw(void)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return random;
}

static void end_attempt(struct endpoint *endpoint, struct webhook_item *item,
                        enum webhook_verdict verdict, uint64_t retry_after_ms)
{
    struct webhook_event *event = webhook_queue_done(&endpoint->queue, item, verdict,
                                                     retry_after_ms, clock_monotonic_ms(), draw());
    if (event && verdict == WEBHOOK_TAKEN) {
        webhook_unref_event(endpoint, event);
    } else if (event) {
        bury(endpoint, event, verdict == WEBHOOK_REJECTED ? "rejected" : "given_up");
    }
}

/* The URL itself may hold what should not be in a log. */
static void log_failure(const struct endpoint *endpoint, int err,
                        const struct fetch_response *response)
{
    const char *why = response->address_refused ? "the address is not one that it may reach"
                                                : response->detail;
    if (err) {
        log_warn_of(LOG_OF(.app = str_of(endpoint->app.name)), "webhook.failed",
                    "app '%s', webhook %u: %s: %s", endpoint->app.name, endpoint->number,
                    err_str(err), why);
    } else {
        log_warn_of(LOG_OF(.app = str_of(endpoint->app.name)), "webhook.failed",
                    "app '%s', webhook %u: answered with %d", endpoint->app.name, endpoint->number,
                    response->status);
    }
}

static void on_done(void *owner, int err, const struct fetch_response *response)
{
    struct attempt *attempt = owner;
    struct endpoint *endpoint = attempt->endpoint;
    enum webhook_verdict verdict = webhook_judge(err, response->status);
    if (err != ERR_CANCELED) {
        webhook_stats_try(endpoint->app, err, response, clock_monotonic_us() - attempt->started_us);
        if (verdict != WEBHOOK_TAKEN) {
            log_failure(endpoint, err, response);
        }
    }
    end_attempt(endpoint, attempt->item, verdict, response->retry_after_ms);
    mem_free(attempt);
    if (!endpoint->is_closing) {
        endpoint_pump(endpoint);
    }
}

enum { HEADERS = 4 };

static int start_attempt(struct endpoint *endpoint, const struct webhook_event *event,
                         struct buf headers[HEADERS], struct attempt *attempt)
{
    const struct settings_webhook *webhook = endpoint->webhook;
    struct webhook_signed what = {event->id, clock_wall_ms() / 1000, event->body};
    buf_append_str(&headers[0], STR("Content-Type: application/cloudevents+json"));
    buf_printf(&headers[1], "webhook-id: %.*s", STR_ARG(event->id));
    buf_printf(&headers[2], "webhook-timestamp: %llu", (unsigned long long)what.timestamp_s);
    buf_append_str(&headers[3], STR("webhook-signature: "));
    int err = webhook_sign(&headers[3], &what, webhook->secrets, webhook->secret_count);
    struct str lines[HEADERS];
    for (int i = 0; i < HEADERS; i++) {
        lines[i] = buf_str(&headers[i]);
        err = err ? err : buf_err(&headers[i]);
    }
    struct fetch_request request = {.url = webhook->url,
                                    .is_post = true,
                                    .body = event->body,
                                    .headers = lines,
                                    .header_count = HEADERS,
                                    .timeout_ms = webhook->timeout_ms,
                                    .response_bytes = ANSWER_BYTES};
    return err ? err : fetch_start(NULL, endpoint->fetcher, &request, on_done, attempt);
}

static int make_fetcher(struct endpoint *endpoint)
{
    return endpoint->fetcher ? 0
                             : fetcher_create(&endpoint->fetcher, endpoint->webhooks->loop,
                                              may_connect, endpoint);
}

static void send_item(struct endpoint *endpoint, struct webhook_item *item)
{
    struct buf headers[HEADERS] = {{0}};
    struct attempt *attempt = mem_zalloc(sizeof(*attempt));
    int err = attempt ? make_fetcher(endpoint) : ERR_NO_MEMORY;
    if (!err) {
        *attempt = (struct attempt){endpoint, item, clock_monotonic_us()};
        err = start_attempt(endpoint, item->event, headers, attempt);
    }
    for (int i = 0; i < HEADERS; i++) {
        buf_fini(&headers[i]);
    }
    if (err) { /* memory is out: as if the endpoint had not answered */
        mem_free(attempt);
        end_attempt(endpoint, item, WEBHOOK_RETRY, 0);
    }
}

static void tell_busy(struct endpoint *endpoint)
{
    bool is_busy = webhook_queue_is_busy(&endpoint->queue);
    if (is_busy != endpoint->is_busy) {
        endpoint->is_busy = is_busy;
        atomic_fetch_add_explicit(&endpoint->webhooks->busy, is_busy ? 1 : (size_t)-1,
                                  memory_order_release);
    }
}

void endpoint_pump(struct endpoint *endpoint)
{
    struct webhook_event *late;
    struct webhook_item *item;
    while ((late = webhook_queue_expire(&endpoint->queue, clock_monotonic_ms()))) {
        bury(endpoint, late, "given_up");
    }
    while ((item = webhook_queue_take(&endpoint->queue, clock_monotonic_ms()))) {
        send_item(endpoint, item);
    }
    uint64_t wait_ms = webhook_queue_wait_ms(&endpoint->queue, clock_monotonic_ms());
    if (wait_ms != UINT64_MAX) {
        loop_timer_start(endpoint->webhooks->loop, &endpoint->timer, wait_ms);
    }
    tell_busy(endpoint);
}

static void on_timer(struct timer *timer)
{
    endpoint_pump(MAIL_OWNER(timer, struct endpoint, timer));
}

/* ---- life ---- */

static void drop_queue(struct endpoint *endpoint, const char *reason)
{
    struct webhook_event *event;
    while ((event = webhook_queue_drop(&endpoint->queue))) {
        bury(endpoint, event, reason);
    }
}

/* Requests under way end with ERR_CANCELED, and their events are in the queue again. */
static void close_connections(struct endpoint *endpoint)
{
    endpoint->is_closing = true;
    fetcher_destroy(endpoint->fetcher);
    endpoint->is_closing = false;
    endpoint->fetcher = NULL;
}

void endpoint_destroy(struct endpoint *endpoint, const char *reason)
{
    close_connections(endpoint);
    drop_queue(endpoint, reason);
    tell_busy(endpoint);
    loop_timer_stop(endpoint->webhooks->loop, &endpoint->timer);
    settings_unref(endpoint->settings);
    mem_free((char *)endpoint->app.name);
    mem_free(endpoint);
}

struct endpoint *endpoint_create(struct webhooks *webhooks, struct settings *settings,
                                 const struct tenant *tenant, size_t number)
{
    struct endpoint *endpoint = mem_zalloc(sizeof(*endpoint));
    char *name = mem_strndup(tenant->name, strlen(tenant->name));
    if (!endpoint || !name) {
        mem_free(endpoint);
        mem_free(name);
        return NULL;
    }
    endpoint->webhooks = webhooks;
    endpoint->settings = settings_ref(settings);
    endpoint->webhook = &tenant->settings->webhooks[number];
    endpoint->app = (struct webhook_app){name, tenant->id};
    endpoint->number = (uint32_t)number + 1;
    endpoint->timer.on_fire = on_timer;
    webhook_queue_init(&endpoint->queue, endpoint->webhook->give_up_ms);
    return endpoint;
}

bool endpoint_is_same(const struct endpoint *a, const struct endpoint *b)
{
    return a->app.id == b->app.id && str_equal(a->webhook->url, b->webhook->url);
}

static bool allow_the_same(const struct settings_webhook *a, const struct settings_webhook *b)
{
    bool is_same = a->allow_count == b->allow_count;
    for (size_t i = 0; is_same && i < a->allow_count; i++) {
        is_same = str_equal(a->allow[i], b->allow[i]);
    }
    return is_same;
}

struct endpoint *endpoint_renew(struct endpoint *old, struct endpoint *fresh)
{
    struct settings *settings = old->settings;
    const struct settings_webhook *webhook = old->webhook;
    old->settings = fresh->settings;
    old->webhook = fresh->webhook;
    old->number = fresh->number;
    old->queue.give_up_ms = fresh->queue.give_up_ms;
    fresh->settings = settings;
    if (!allow_the_same(webhook,
                        old->webhook)) { /* kept connections were allowed by the old list */
        close_connections(old);
    }
    endpoint_destroy(fresh, "removed");
    return old;
}
