/* What the main thread asks of a worker: mails that run on its thread. */
#include "base/log.h"
#include "base/mem.h"
#include "base/err.h"
#include "server/worker_private.h"

static void run_reload(struct mail *mail)
{
    struct worker_reload *reload = MAIL_OWNER(mail, struct worker_reload, mail);
    struct worker *worker = reload->worker;
    settings_unref(worker->settings);
    worker->settings = reload->settings;
    worker->tenants = reload->tenants;
    worker->frames.min_compressed = worker->settings->compression.min_bytes;
    shard_set_max_groups(worker->shard, (uint32_t)worker->settings->limits.groups_per_session);
    http_service_set_settings(worker->client_http, worker->settings);
    http_service_set_settings(worker->api_http, worker->settings);
    http_service_set_tls(worker->client_http, reload->tls.client);
    http_service_set_tls(worker->api_http, reload->tls.api);
    listen_tls_fini(&reload->tls);
    if (worker_add_apps(worker)) {
        log_error("reload.short", "worker %u: no memory for a new app yet", worker->index);
    }
    mem_free(reload);
    gateway_worker_reloaded(worker->gateway);
}

struct worker_reload *worker_reload_create(struct worker *worker, struct settings *settings,
                                           const struct tenants *tenants,
                                           const struct listen_tls *tls)
{
    struct worker_reload *reload = mem_zalloc(sizeof(*reload));
    if (reload) {
        reload->mail.run = run_reload;
        reload->worker = worker;
        reload->settings = settings_ref(settings);
        reload->tenants = tenants;
        reload->tls = listen_tls_ref(tls);
    }
    return reload;
}

void worker_reload_destroy(struct worker_reload *reload)
{
    settings_unref(reload->settings);
    listen_tls_fini(&reload->tls);
    mem_free(reload);
}

static void begin_drain(struct worker *worker, const struct drain_plan *plan)
{
    worker->draining = true;
    worker->drain_started_ms = worker_now_ms(worker);
    worker->drain = *plan;
    worker->drain_cursor = 1;
    loop_timer_stop(worker->loop, &worker->leaving_timer);
    shard_set_leaving(worker->shard, true);
    http_service_drain(worker->client_http);
}

static void on_all_gone(struct timer *timer)
{
    struct worker *worker = (struct worker *)((char *)timer -
                                              offsetof(struct worker, leaving_timer));
    shard_set_leaving(worker->shard, false);
}

/* Who was told to go still does, until its slot: the old session must not count against the new. */
static void end_drain(struct worker *worker)
{
    uint64_t ends_ms = worker->drain_started_ms + worker->drain.window_ms;
    uint64_t now_ms = worker_now_ms(worker);
    worker->draining = false;
    worker->drain_cursor = 0;
    worker->leaving_timer.on_fire = on_all_gone;
    loop_timer_start(worker->loop, &worker->leaving_timer, ends_ms > now_ms ? ends_ms - now_ms : 0);
    http_service_resume(worker->client_http);
}

static void run_drain(struct mail *mail)
{
    struct worker *worker = MAIL_OWNER(mail, struct worker, drain_mail);
    atomic_store_explicit(&worker->drain_posted, false, memory_order_release);
    struct drain_order order = gateway_drain_order(worker->gateway);
    if (order.is_on) {
        begin_drain(worker, &order.plan);
    } else {
        end_drain(worker);
    }
}

void worker_drain(struct worker *worker)
{
    if (!atomic_exchange_explicit(&worker->drain_posted, true, memory_order_acq_rel)) {
        worker->drain_mail.run = run_drain;
        worker_post(worker, &worker->drain_mail);
    }
}

/* Nobody new is let in; who is in gets the answers that are owed. */
static void run_drain_callers(struct mail *mail)
{
    struct worker *worker = MAIL_OWNER(mail, struct worker, callers_mail);
    if (worker->api_listener) {
        listener_pause(worker->api_listener);
    }
    if (worker->client_listener) {
        listener_pause(worker->client_listener);
    }
    http_service_drain(worker->client_http);
    http_service_drain(worker->api_http);
    atomic_store_explicit(&worker->callers_told, true, memory_order_release);
}

void worker_drain_callers(struct worker *worker)
{
    worker->callers_mail.run = run_drain_callers;
    worker_post(worker, &worker->callers_mail);
}
