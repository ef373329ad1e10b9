/* What the main thread, and the API, ask of a running gateway. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "server/gateway_private.h"
#include "server/stats.h"
#include "server/worker.h"

static void run_reloaded(struct mail *mail)
{
    struct gateway *gateway = MAIL_OWNER(mail, struct gateway, reloaded);
    gateway->on_reloaded(gateway->reload_owner);
}

void gateway_worker_reloaded(struct gateway *gateway)
{
    if (atomic_fetch_sub_explicit(&gateway->reloading, 1, memory_order_acq_rel) == 1) {
        gateway->reloaded.run = run_reloaded;
        mailbox_post(gateway->options.main_mailbox, &gateway->reloaded);
    }
}

int gateway_reload(struct gateway *gateway, struct settings *settings,
                   const struct tenants *tenants, const struct listen_tls *tls,
                   void (*on_done)(void *owner), void *owner)
{
    if (atomic_load_explicit(&gateway->reloading, memory_order_acquire) > 0) {
        return ERR_UNAVAILABLE;
    }
    gateway->on_reloaded = on_done;
    gateway->reload_owner = owner;
    atomic_store_explicit(&gateway->reloading, gateway->worker_count, memory_order_release);
    struct worker_reload *reloads[HUB_MAX_WORKERS];
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        reloads[i] = worker_reload_create(&gateway->workers[i], settings, tenants, tls);
        if (!reloads[i]) {
            while (i > 0) {
                worker_reload_destroy(reloads[--i]);
            }
            atomic_store_explicit(&gateway->reloading, 0, memory_order_release);
            return ERR_NO_MEMORY;
        }
    }
    if (gateway_follow_users(gateway, settings)) {
        for (uint32_t i = 0; i < gateway->worker_count; i++) {
            worker_reload_destroy(reloads[i]);
        }
        atomic_store_explicit(&gateway->reloading, 0, memory_order_release);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        worker_post(&gateway->workers[i], &reloads[i]->mail);
    }
    stats_set_apps(gateway, tenants);
    return 0;
}

/* ---- drain ---- */

static void tell_workers(struct gateway *gateway)
{
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        worker_drain(&gateway->workers[i]);
    }
}

/* Under the lock, as all of these. */
static void begin_drain(struct gateway *gateway, const struct drain_plan *plan, uint64_t now_ms)
{
    uint64_t sessions = admission_sessions(&gateway->admission);
    gateway->drain.plan = *plan;
    gateway->drain.ends_ms = now_ms + plan->window_ms;
    gateway->drain.is_on = true;
    atomic_store_explicit(&gateway->draining, true, memory_order_release);
    log_info("drain.started", "%llu sessions are told to go within %llu ms",
             (unsigned long long)sessions, (unsigned long long)plan->window_ms);
    if (plan->is_crowded) {
        log_warn("drain.crowded", "%llu sessions can't go within drain.max_window at drain.rate",
                 (unsigned long long)sessions);
    }
    tell_workers(gateway);
}

uint64_t gateway_drain(struct gateway *gateway, const struct settings_drain *settings,
                       uint64_t window_ms, bool is_final)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct drain_plan plan;
    drain_plan_make(&plan, settings, window_ms, admission_sessions(&gateway->admission));
    pthread_mutex_lock(&gateway->drain_lock);
    struct drain_order *drain = &gateway->drain;
    if (!drain->is_on || now_ms + plan.window_ms < drain->ends_ms) {
        begin_drain(gateway, &plan, now_ms);
    }
    drain->is_final |= is_final;
    uint64_t left = drain->ends_ms > now_ms ? drain->ends_ms - now_ms : 0;
    pthread_mutex_unlock(&gateway->drain_lock);
    return left;
}

bool gateway_resume(struct gateway *gateway)
{
    pthread_mutex_lock(&gateway->drain_lock);
    bool may = !gateway->drain.is_final;
    if (may && gateway->drain.is_on) {
        gateway->drain.is_on = false;
        atomic_store_explicit(&gateway->draining, false, memory_order_release);
        log_info("drain.resumed", "the node takes sessions again");
        tell_workers(gateway);
    }
    pthread_mutex_unlock(&gateway->drain_lock);
    return may;
}

struct drain_order gateway_drain_order(struct gateway *gateway)
{
    pthread_mutex_lock(&gateway->drain_lock);
    struct drain_order order = gateway->drain;
    pthread_mutex_unlock(&gateway->drain_lock);
    return order;
}

bool gateway_is_empty(const struct gateway *gateway)
{
    return admission_sessions(&gateway->admission) == 0;
}

void gateway_drain_callers(struct gateway *gateway)
{
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        worker_drain_callers(&gateway->workers[i]);
    }
}

static bool has_callers(const struct worker *worker)
{
    return !atomic_load_explicit(&worker->callers_told, memory_order_acquire) ||
           http_service_connections(worker->client_http) > 0 ||
           http_service_connections(worker->api_http) > 0;
}

bool gateway_has_callers(const struct gateway *gateway)
{
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        if (has_callers(&gateway->workers[i])) {
            return true;
        }
    }
    return false;
}
