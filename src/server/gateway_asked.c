/* What the main thread asks of a running gateway. */
#include "base/err.h"
#include "server/gateway.h"
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
                   const struct tenants *tenants, void (*on_done)(void *owner), void *owner)
{
    if (atomic_load_explicit(&gateway->reloading, memory_order_acquire) > 0) {
        return ERR_UNAVAILABLE;
    }
    gateway->on_reloaded = on_done;
    gateway->reload_owner = owner;
    atomic_store_explicit(&gateway->reloading, gateway->worker_count, memory_order_release);
    struct worker_reload *reloads[HUB_MAX_WORKERS];
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        reloads[i] = worker_reload_create(&gateway->workers[i], settings, tenants);
        if (!reloads[i]) {
            while (i > 0) {
                worker_reload_destroy(reloads[--i]);
            }
            atomic_store_explicit(&gateway->reloading, 0, memory_order_release);
            return ERR_NO_MEMORY;
        }
    }
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        worker_post(&gateway->workers[i], &reloads[i]->mail);
    }
    return 0;
}

void gateway_drain(struct gateway *gateway, uint64_t window_ms)
{
    if (atomic_exchange_explicit(&gateway->draining, true, memory_order_acq_rel)) {
        return; /* workers read the window of the first call */
    }
    gateway->drain_window_ms = window_ms;
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        worker_drain(&gateway->workers[i]);
    }
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
