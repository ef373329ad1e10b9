#include "api/webhook.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "api/webhook_queue.h"
#include "api/webhook_sign.h"
#include "api/webhook_stats.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/addr_public.h"
#include "net/fetch.h"
#include "net/mailbox.h"

enum { APPS_MAX = 65536, ANSWER_BYTES = 64 * 1024 };

struct endpoint {
    struct endpoint *next;
    struct webhooks *webhooks;
    struct settings *settings; /* a reference: webhook is in there */
    const struct settings_webhook *webhook;
    struct webhook_app app;  /* its name is owned */
    uint32_t number;         /* of the app's, for people */
    struct fetcher *fetcher; /* NULL: not made yet */
    bool is_closing;         /* its requests are being ended */
    bool is_busy;            /* a request is under way, or would be if there was more time */
    struct timer timer;
    struct webhook_queue queue;
};

/* One request under way. */
struct
try {
    struct endpoint *endpoint;
    struct webhook_item *item;
    uint64_t started_us;
};

struct webhooks {
    struct loop *loop;
    struct mailbox mailbox;
    pthread_t thread;
    bool has_mailbox, is_started;
    bool is_ending;
    struct mail stop;
    struct endpoint *endpoints; /* the thread's, once it is started */
    atomic_size_t *queued;      /* by the app's number */
    atomic_size_t arriving;     /* events on their way to the thread */
    atomic_size_t busy;         /* endpoints: see is_busy */
};

/* Endpoints on their way to the thread. */
struct endpoint_set {
    struct mail mail;
    struct webhooks *webhooks;
    struct endpoint *endpoints;
};

/* ---- events ---- */

static void free_event(struct webhooks *webhooks, struct webhook_event *event)
{
    atomic_fetch_sub_explicit(&webhooks->queued[event->app], event->size, memory_order_relaxed);
    mem_account(MEM_HTTP, -(int64_t)event->size);
    webhook_event_destroy(event);
}

static void unref_event(struct endpoint *endpoint, struct webhook_event *event)
{
    if (--event->refs == 0) {
        webhook_stats_queued(endpoint->app, -(int64_t)event->size);
        free_event(endpoint->webhooks, event);
    }
}

static void bury(struct endpoint *endpoint, struct webhook_event *event, const char *reason)
{
    webhook_stats_dead(endpoint->app, reason);
    log_warn("webhook.dead_letter", "app '%s', webhook %u: %s is dropped: %s", endpoint->app.name,
             endpoint->number, settings_event_name(event->type).ptr, reason);
    unref_event(endpoint, event);
}

bool webhooks_are_idle(const struct webhooks *webhooks)
{
    return atomic_load_explicit(&webhooks->arriving, memory_order_acquire) == 0 &&
           atomic_load_explicit(&webhooks->busy, memory_order_acquire) == 0;
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

static void pump(struct endpoint *endpoint);

static uint64_t draw(void)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return random;
}

static void end_try(struct endpoint *endpoint, struct webhook_item *item,
                    enum webhook_verdict verdict, uint64_t retry_after_ms)
{
    struct webhook_event *event = webhook_queue_done(&endpoint->queue, item, verdict,
                                                     retry_after_ms, clock_monotonic_ms(), draw());
    if (event && verdict == WEBHOOK_TAKEN) {
        unref_event(endpoint, event);
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
        log_warn("webhook.failed", "app '%s', webhook %u: %s: %s", endpoint->app.name,
                 endpoint->number, err_str(err), why);
    } else {
        log_warn("webhook.failed", "app '%s', webhook %u: answered with %d", endpoint->app.name,
                 endpoint->number, response->status);
    }
}

static void on_done(void *owner, int err, const struct fetch_response *response)
{
    struct try *try = owner;
    struct endpoint *endpoint = try->endpoint;
    enum webhook_verdict verdict = webhook_judge(err, response->status);
    if (err != ERR_CANCELED) {
        webhook_stats_try(endpoint->app, err, response, clock_monotonic_us() - try->started_us);
        if (verdict != WEBHOOK_TAKEN) {
            log_failure(endpoint, err, response);
        }
    }
    end_try(endpoint, try->item, verdict, response->retry_after_ms);
    mem_free(try);
    if (!endpoint->is_closing) {
        pump(endpoint);
    }
}

enum { HEADERS = 4 };

static int start_try(struct endpoint *endpoint, const struct webhook_event *event,
                     struct buf headers[HEADERS], struct try *try)
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
    return err ? err : fetch_start(NULL, endpoint->fetcher, &request, on_done, try);
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
    struct try *try = mem_zalloc(sizeof(*try));
    int err = try ? make_fetcher(endpoint) : ERR_NO_MEMORY;
    if (!err) {
        *try = (struct try){endpoint, item, clock_monotonic_us()};
        err = start_try(endpoint, item->event, headers, try);
    }
    for (int i = 0; i < HEADERS; i++) {
        buf_fini(&headers[i]);
    }
    if (err) { /* memory is out: as if the endpoint had not answered */
        mem_free(try);
        end_try(endpoint, item, WEBHOOK_RETRY, 0);
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

/* Sends what may be sent now, and looks again when there may be more. */
static void pump(struct endpoint *endpoint)
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
    pump(MAIL_OWNER(timer, struct endpoint, timer));
}

/* ---- events in ---- */

static bool wants(const struct endpoint *endpoint, const struct webhook_event *event)
{
    return endpoint->app.id == event->app && endpoint->webhook->events & event->type;
}

/* The event is held meanwhile, since an endpoint may be done with it at once. */
static void run_event(struct mail *mail)
{
    struct webhook_event *event = MAIL_OWNER(mail, struct webhook_event, mail);
    struct webhooks *webhooks = event->owner;
    struct endpoint *last = NULL;
    event->refs = 1;
    for (struct endpoint *at = webhooks->endpoints; at; at = at->next) {
        if (!wants(at, event)) {
            continue;
        }
        if (!last) {
            webhook_stats_queued(at->app, (int64_t)event->size);
        }
        last = at;
        if (webhook_queue_add(&at->queue, event)) {
            webhook_stats_dead(at->app, "no_memory");
        } else if (!webhooks->is_ending) {
            pump(at);
        }
    }
    if (last) {
        unref_event(last, event);
    } else {
        free_event(webhooks, event); /* its endpoint has just been taken away */
    }
    atomic_fetch_sub_explicit(&webhooks->arriving, 1, memory_order_release);
}

int webhooks_post(struct webhooks *webhooks, const struct tenant *tenant,
                  struct webhook_event *event, uint64_t queue_bytes)
{
    struct webhook_app app = {tenant->name, tenant->id};
    if (!event) {
        webhook_stats_dead(app, "no_memory");
        return ERR_UNAVAILABLE;
    }
    webhook_stats_event(app, event->type);
    size_t before = atomic_fetch_add_explicit(&webhooks->queued[app.id], event->size,
                                              memory_order_relaxed);
    mem_account(MEM_HTTP, (int64_t)event->size);
    if (before + event->size > queue_bytes) {
        webhook_stats_dead(app, "queue_full");
        free_event(webhooks, event);
        return ERR_UNAVAILABLE;
    }
    event->owner = webhooks;
    event->mail.run = run_event;
    atomic_fetch_add_explicit(&webhooks->arriving, 1, memory_order_relaxed);
    mailbox_post(&webhooks->mailbox, &event->mail);
    return 0;
}

/* ---- endpoints ---- */

static void drop_queue(struct endpoint *endpoint, const char *reason)
{
    struct webhook_event *event;
    while ((event = webhook_queue_drop(&endpoint->queue))) {
        bury(endpoint, event, reason);
    }
}

/* Requests under way end with ERR_CANCELED, and their events are in the queue behind that. */
static void close_connections(struct endpoint *endpoint)
{
    endpoint->is_closing = true;
    fetcher_destroy(endpoint->fetcher);
    endpoint->is_closing = false;
    endpoint->fetcher = NULL;
}

static void end_endpoint(struct endpoint *endpoint, const char *reason)
{
    close_connections(endpoint);
    drop_queue(endpoint, reason);
    tell_busy(endpoint);
    loop_timer_stop(endpoint->webhooks->loop, &endpoint->timer);
    settings_unref(endpoint->settings);
    mem_free((char *)endpoint->app.name);
    mem_free(endpoint);
}

static struct endpoint *create_endpoint(struct webhooks *webhooks, struct settings *settings,
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

static bool is_same(const struct endpoint *a, const struct endpoint *b)
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

static struct endpoint *take_same(struct endpoint **list, const struct endpoint *wanted)
{
    for (struct endpoint **link = list; *link; link = &(*link)->next) {
        struct endpoint *found = *link;
        if (is_same(found, wanted)) {
            *link = found->next;
            return found;
        }
    }
    return NULL;
}

/* The old one lives on with the new one's settings, whose shell goes. */
static struct endpoint *renew(struct endpoint *old, struct endpoint *fresh)
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
    end_endpoint(fresh, "removed");
    return old;
}

static void run_set(struct mail *mail)
{
    struct endpoint_set *set = MAIL_OWNER(mail, struct endpoint_set, mail);
    struct webhooks *webhooks = set->webhooks;
    struct endpoint *old = webhooks->endpoints;
    struct endpoint **end = &webhooks->endpoints;
    for (struct endpoint *at = set->endpoints; at;) {
        struct endpoint *next = at->next;
        struct endpoint *same = take_same(&old, at);
        *end = same ? renew(same, at) : at;
        end = &(*end)->next;
        at = next;
    }
    *end = NULL;
    while (old) {
        struct endpoint *next = old->next;
        end_endpoint(old, "removed");
        old = next;
    }
    for (struct endpoint *at = webhooks->endpoints; at; at = at->next) {
        pump(at);
    }
    mem_free(set);
}

/* ---- the main thread's side ---- */

static int add_app(struct endpoint_set *set, struct settings *settings, const struct tenant *tenant)
{
    for (size_t i = 0; i < tenant->settings->webhook_count; i++) {
        struct endpoint *endpoint = create_endpoint(set->webhooks, settings, tenant, i);
        if (!endpoint) {
            return ERR_NO_MEMORY;
        }
        endpoint->next = set->endpoints;
        set->endpoints = endpoint;
    }
    return 0;
}

static void destroy_set(struct endpoint_set *set)
{
    while (set->endpoints) {
        struct endpoint *next = set->endpoints->next;
        end_endpoint(set->endpoints, "removed");
        set->endpoints = next;
    }
    mem_free(set);
}

static void *run(void *arg)
{
    struct webhooks *webhooks = arg;
    int err = loop_run(webhooks->loop);
    if (err) {
        log_error("webhook.thread_failed", "the thread of webhooks stopped: %s", err_str(err));
    }
    return NULL;
}

/* Not before there is something to do. */
static int start(struct webhooks *webhooks)
{
    if (webhooks->is_started) {
        return 0;
    }
    int err = -pthread_create(&webhooks->thread, NULL, run, webhooks);
    webhooks->is_started = err == 0;
    return err;
}

int webhooks_apply(struct webhooks *webhooks, const struct tenants *tenants)
{
    struct endpoint_set *set = mem_zalloc(sizeof(*set));
    int err = set ? 0 : ERR_NO_MEMORY;
    if (set) {
        set->webhooks = webhooks;
        set->mail.run = run_set;
    }
    for (uint32_t i = 0; i < tenants->count && !err; i++) {
        if (tenants->items[i].settings) {
            err = add_app(set, tenants->settings, &tenants->items[i]);
        }
    }
    if (!err && (set->endpoints || webhooks->is_started)) {
        err = start(webhooks);
    }
    if (!err && webhooks->is_started) {
        mailbox_post(&webhooks->mailbox, &set->mail);
    } else if (set) {
        destroy_set(set);
    }
    return err;
}

int webhooks_create(struct webhooks **out_webhooks, const struct tenants *tenants)
{
    struct webhooks *webhooks = mem_zalloc(sizeof(*webhooks));
    if (!webhooks) {
        return ERR_NO_MEMORY;
    }
    webhooks->queued = mem_pages_alloc(sizeof(*webhooks->queued) * APPS_MAX);
    int err = webhooks->queued ? loop_create(&webhooks->loop) : ERR_NO_MEMORY;
    err = err ? err : mailbox_init(&webhooks->mailbox, webhooks->loop);
    webhooks->has_mailbox = !err;
    err = err ? err : webhooks_apply(webhooks, tenants);
    if (err) {
        webhooks_destroy(webhooks);
        return err;
    }
    *out_webhooks = webhooks;
    return 0;
}

static void run_stop(struct mail *mail)
{
    struct webhooks *webhooks = MAIL_OWNER(mail, struct webhooks, stop);
    webhooks->is_ending = true;
    loop_stop(webhooks->loop);
}

static void stop(struct webhooks *webhooks)
{
    if (webhooks->is_started) {
        webhooks->stop.run = run_stop;
        mailbox_post(&webhooks->mailbox, &webhooks->stop);
        pthread_join(webhooks->thread, NULL);
    }
    webhooks->is_ending = true;
}

void webhooks_destroy(struct webhooks *webhooks)
{
    if (!webhooks) {
        return;
    }
    stop(webhooks);
    if (webhooks->has_mailbox) {
        mailbox_fini(&webhooks->mailbox); /* what was handed over last joins the queues */
    }
    while (webhooks->endpoints) {
        struct endpoint *next = webhooks->endpoints->next;
        end_endpoint(webhooks->endpoints, "shutdown");
        webhooks->endpoints = next;
    }
    loop_destroy(webhooks->loop);
    if (webhooks->queued) {
        mem_pages_free(webhooks->queued, sizeof(*webhooks->queued) * APPS_MAX);
    }
    mem_free(webhooks);
}
