#include "api/webhook.h"

#include "api/webhook_private.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

enum { APPS_MAX = 65536 };

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

void webhook_unref_event(struct endpoint *endpoint, struct webhook_event *event)
{
    if (--event->refs == 0) {
        webhook_stats_queued(endpoint->app, -(int64_t)event->size);
        free_event(endpoint->webhooks, event);
    }
}

bool webhooks_are_idle(const struct webhooks *webhooks)
{
    return atomic_load_explicit(&webhooks->arriving, memory_order_acquire) == 0 &&
           atomic_load_explicit(&webhooks->busy, memory_order_acquire) == 0;
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
            endpoint_pump(at);
        }
    }
    if (last) {
        webhook_unref_event(last, event);
    } else {
        /* Its endpoint has just been taken away. */
        webhook_stats_dead((struct webhook_app){event->app_name, event->app}, "removed");
        free_event(webhooks, event);
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

static struct endpoint *take_same(struct endpoint **list, const struct endpoint *wanted)
{
    for (struct endpoint **link = list; *link; link = &(*link)->next) {
        struct endpoint *found = *link;
        if (endpoint_is_same(found, wanted)) {
            *link = found->next;
            return found;
        }
    }
    return NULL;
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
        *end = same ? endpoint_renew(same, at) : at;
        end = &(*end)->next;
        at = next;
    }
    *end = NULL;
    while (old) {
        struct endpoint *next = old->next;
        endpoint_destroy(old, "removed");
        old = next;
    }
    for (struct endpoint *at = webhooks->endpoints; at; at = at->next) {
        endpoint_pump(at);
    }
    mem_free(set);
}

/* ---- the main thread's side ---- */

static int add_app(struct endpoint_set *set, struct settings *settings, const struct tenant *tenant)
{
    for (size_t i = 0; i < tenant->settings->webhook_count; i++) {
        struct endpoint *endpoint = endpoint_create(set->webhooks, settings, tenant, i);
        if (!endpoint) {
            return ERR_NO_MEMORY;
        }
        endpoint->next = set->endpoints;
        set->endpoints = endpoint;
    }
    return 0;
}

void webhooks_discard(struct endpoint_set *set)
{
    if (!set) {
        return;
    }
    while (set->endpoints) {
        struct endpoint *next = set->endpoints->next;
        endpoint_destroy(set->endpoints, "removed");
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

static int fill_set(struct endpoint_set *set, const struct tenants *tenants)
{
    int err = 0;
    for (uint32_t i = 0; i < tenants->count && !err; i++) {
        if (tenants->items[i].settings) {
            err = add_app(set, tenants->settings, &tenants->items[i]);
        }
    }
    return !err && set->endpoints ? start(set->webhooks) : err;
}

int webhooks_prepare(struct endpoint_set **out_set, struct webhooks *webhooks,
                     const struct tenants *tenants)
{
    struct endpoint_set *set = mem_zalloc(sizeof(*set));
    if (!set) {
        return ERR_NO_MEMORY;
    }
    set->webhooks = webhooks;
    set->mail.run = run_set;
    int err = fill_set(set, tenants);
    if (err) {
        webhooks_discard(set);
        return err;
    }
    *out_set = set;
    return 0;
}

void webhooks_apply(struct endpoint_set *set)
{
    for (const struct endpoint *at = set->endpoints; at; at = at->next) {
        webhook_stats_make(at->app);
    }
    if (set->webhooks->is_started) {
        mailbox_post(&set->webhooks->mailbox, &set->mail);
    } else {
        webhooks_discard(set); /* it is empty, as what there is */
    }
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
    struct endpoint_set *set = NULL;
    err = err ? err : webhooks_prepare(&set, webhooks, tenants);
    if (err) {
        webhooks_destroy(webhooks);
        return err;
    }
    webhooks_apply(set);
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
        endpoint_destroy(webhooks->endpoints, "shutdown");
        webhooks->endpoints = next;
    }
    loop_destroy(webhooks->loop);
    if (webhooks->queued) {
        mem_pages_free(webhooks->queued, sizeof(*webhooks->queued) * APPS_MAX);
    }
    mem_free(webhooks);
}
