#include "server/worker.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/publish.h"
#include "proto/ws_deflate.h"
#include "server/connect.h"
#include "server/stats.h"
#include "server/worker_private.h"
#include "server/ws_protocol.h"
#include "server/ws_session.h"

enum { MAX_REPLAYS = 64, CLIENT_KEEP_FREE = 32, HOLD_MS = 5000 };

static _Thread_local struct worker *current_worker;

struct worker *worker_current(void)
{
    return current_worker;
}

static void on_client_request(void *owner, struct http_exchange *exchange)
{
    struct worker *worker = owner;
    if (!connect_on_request(worker, exchange)) {
        worker->gateway->options.hooks.on_client_request(worker, exchange);
    }
}

static void on_api_head(void *owner, struct http_exchange *exchange)
{
    struct worker *worker = owner;
    worker->gateway->options.hooks.on_api_head(worker, exchange);
}

static void on_api_request(void *owner, struct http_exchange *exchange)
{
    struct worker *worker = owner;
    worker->gateway->options.hooks.on_api_request(worker, exchange);
}

static void on_client_answered(void *owner, const struct http_exchange *exchange)
{
    stats_request("client", exchange, clock_monotonic_us());
}

static void on_api_answered(void *owner, const struct http_exchange *exchange)
{
    const struct worker *worker = owner;
    stats_request("api", exchange, clock_monotonic_us());
    stats_api_refused(exchange->app ? worker->tenants->items[exchange->app - 1].name : "",
                      exchange);
}

static void on_client_handshake(void *owner, const char *result)
{
    stats_tls_handshake("client", result);
}

static void on_api_handshake(void *owner, const char *result)
{
    stats_tls_handshake("api", result);
}

static void on_client_refused(void *owner, const struct addr *peer, int status, const char *reason)
{
    stats_http_refused("client", peer, status, reason);
}

static void on_api_refused(void *owner, const struct addr *peer, int status, const char *reason)
{
    stats_http_refused("api", peer, status, reason);
}

/* A storm that is refused anyway waits in the kernel instead of taking all of this thread's time.
 */
static void pace(struct worker *worker)
{
    unsigned rest_ms = admission_rest_ms(
        &worker->gateway->admission, worker->settings->limits.accept_rate, worker_now_ms(worker));
    if (rest_ms) {
        stats_accepts_paced();
        listener_rest(worker->client_listener, rest_ms);
    }
}

static void on_client_accept(void *owner, int fd, const struct addr *peer)
{
    struct worker *worker = owner;
    http_service_accept(worker->client_http, fd, peer);
    pace(worker);
}

static void on_api_accept(void *owner, int fd, const struct addr *peer)
{
    struct worker *worker = owner;
    http_service_accept(worker->api_http, fd, peer);
}

/* ---- life ---- */

static int create_services(struct worker *worker)
{
    struct http_service_options client = {.loop = worker->loop,
                                          .name = "client",
                                          .settings = worker->settings,
                                          .tls = worker->gateway->options.tls.client,
                                          .receive_buffer = worker->receive_buffer,
                                          .receive_buffer_len = WORKER_RECEIVE_BYTES,
                                          .owner = worker,
                                          .on_request = on_client_request,
                                          .on_answered = on_client_answered,
                                          .on_handshake = on_client_handshake,
                                          .on_refused = on_client_refused};
    struct http_service_options api = client;
    api.name = "api";
    api.shows_request_id = true;
    api.listener = HTTP_LISTENER_API;
    api.tls = worker->gateway->options.tls.api;
    api.connections = &worker->gateway->admission.api_connections;
    api.on_head = on_api_head;
    api.on_request = on_api_request;
    api.on_answered = on_api_answered;
    api.on_handshake = on_api_handshake;
    api.on_refused = on_api_refused;
    int err = http_service_create(&worker->client_http, &client);
    return err ? err : http_service_create(&worker->api_http, &api);
}

static int create_shard(struct worker *worker)
{
    struct gateway *gateway = worker->gateway;
    struct shard_options options = {.worker = worker->index,
                                    .queues = hub_get_options(gateway->hub)->queues,
                                    .boot = gateway->boot,
                                    .space = gateway->keys.space,
                                    .sid_key = gateway->keys.sid_keys[0],
                                    .window = hub_window(gateway->hub),
                                    .link = hub_link(gateway->hub, worker->index),
                                    .max_replays = MAX_REPLAYS,
                                    .hold_ms = gateway->options.engine->nodes ? HOLD_MS : 0};
    int err = shard_create(&worker->shard, &options, &worker_shard_callbacks, worker);
    if (!err) {
        shard_set_transport(worker->shard, WS_TRANSPORT, &ws_session_ops);
        shard_set_transport(worker->shard, WS_TRANSPORT | WS_OVER_TLS, &ws_session_ops);
        shard_set_transport(worker->shard, SSE_TRANSPORT, &ws_session_ops);
        shard_set_transport(worker->shard, SSE_TRANSPORT | WS_OVER_TLS, &ws_session_ops);
        shard_set_max_groups(worker->shard, (uint32_t)worker->settings->limits.groups_per_session);
        loop_set_tag_handler(worker->loop, ws_session_on_event, worker);
    }
    return err;
}

bool worker_takes_app(struct worker *worker, const struct tenant *tenant)
{
    return shard_has_app(worker->shard, tenant->id) ||
           shard_add_app(worker->shard, tenant->id, str_of(tenant->name)) == 0;
}

int worker_add_apps(struct worker *worker)
{
    int err = 0;
    for (uint32_t i = 0; i < worker->tenants->count && !err; i++) {
        err = worker_takes_app(worker, &worker->tenants->items[i]) ? 0 : ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < worker->tenants->count; i++) {
        const struct settings_app *settings = worker->tenants->items[i].settings;
        if (shard_has_app(worker->shard, (uint16_t)i)) {
            shard_track_users(worker->shard, (uint16_t)i, settings && settings->presence.enabled);
        }
    }
    return err;
}

int worker_init(struct worker *worker, struct gateway *gateway, uint32_t index,
                const struct tenants *tenants)
{
    const struct settings *settings = gateway->options.settings;
    *worker = (struct worker){.gateway = gateway, .index = index, .tenants = tenants};
    worker->settings = settings_ref((struct settings *)settings);
    worker->ring_mail.run = worker_on_ring;
    worker->search_budget = WORKER_SEARCHES;
    worker->receive_buffer = mem_alloc(WORKER_RECEIVE_BYTES);
    int err = worker->receive_buffer ? 0 : ERR_NO_MEMORY;
    err = err ? err : loop_create(&worker->loop);
    err = err ? err : mailbox_init(&worker->mailbox, worker->loop);
    worker->has_mailbox = !err;
    err = err ? err : create_shard(worker);
    err = err ? err : worker_add_apps(worker);
    err = err ? err
              : frame_cache_init(&worker->frames, (int)settings->compression.level,
                                 settings->compression.min_bytes);
    err = err ? err : ws_inflater_create(&worker->inflater);
    err = err ? err : loop_add_turn_end(worker->loop, worker_end_turn, worker);
    err = err ? err : create_services(worker);
    if (!err) {
        worker_count_users(worker);
    }
    return err;
}

static int listen_on(struct worker *worker, struct listener **out_listener, struct addr *addr,
                     listener_accept_cb on_accept)
{
    int err = listener_create(out_listener, worker->loop, addr, 0, on_accept, worker);
    if (!err) {
        listener_addr(*out_listener, addr);
    }
    return err;
}

int worker_listen(struct worker *worker, struct addr *client, struct addr *api)
{
    int err = 0;
    if (client) {
        err = listen_on(worker, &worker->client_listener, client, on_client_accept);
        if (!err) {
            listener_keep_free(worker->client_listener, CLIENT_KEEP_FREE);
        }
    }
    if (api && !err) {
        err = listen_on(worker, &worker->api_listener, api, on_api_accept);
    }
    return err;
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    current_worker = worker;
    int err = loop_run(worker->loop);
    if (err) {
        log_error("worker.failed", "worker %u stopped: %s", worker->index, err_str(err));
    }
    worker->gateway->options.hooks.on_worker_end();
    return NULL;
}

int worker_turn(struct worker *worker, int max_wait_ms)
{
    struct worker *before = current_worker;
    current_worker = worker;
    int err = loop_turn(worker->loop, max_wait_ms);
    current_worker = before;
    return err;
}

int worker_start(struct worker *worker)
{
    int err = pthread_create(&worker->thread, NULL, run, worker);
    worker->started = err == 0;
    return -err;
}

static void run_stop(struct mail *mail)
{
    loop_stop(MAIL_OWNER(mail, struct worker, stop_mail)->loop);
}

void worker_stop(struct worker *worker)
{
    if (worker->started) {
        worker->stop_mail.run = run_stop;
        worker_post(worker, &worker->stop_mail);
        pthread_join(worker->thread, NULL);
        worker->started = false;
    }
}

static void destroy_sessions(struct worker *worker)
{
    for (uint32_t slot = 1; slot < shard_slot_limit(worker->shard); slot++) {
        struct session *session = shard_session_at(worker->shard, slot);
        if (session->state != SESSION_FREE) {
            ws_session_destroy(worker, session);
        }
    }
}

/* Mails that were to go to the bus thread in the turn that never ended. */
static void drop_mails(struct worker *worker)
{
    struct mail *mail = worker->to_hub.first;
    worker->to_hub = (struct mail_chain){NULL, NULL};
    while (mail) {
        struct mail *next = mail->next;
        mail->run(mail);
        mail = next;
    }
}

void worker_close(struct worker *worker)
{
    struct worker *before = current_worker;
    current_worker = worker;
    listener_destroy(worker->client_listener);
    listener_destroy(worker->api_listener);
    worker->client_listener = worker->api_listener = NULL;
    if (worker->shard) {
        destroy_sessions(worker);
        shard_flush(worker->shard);
    }
    drop_mails(worker);
    current_worker = before;
}

bool worker_run_mails(struct worker *worker)
{
    bool any = worker->done.first != NULL;
    worker_run_done(worker);
    return (worker->has_mailbox && mailbox_run(&worker->mailbox)) || any;
}

void worker_cancel_pending(struct worker *worker)
{
    while (worker->pending) {
        worker->pending->cancel(worker->pending);
    }
}

void worker_add_pending(struct worker *worker, struct worker_pending *pending)
{
    pending->next = worker->pending;
    pending->link = &worker->pending;
    if (pending->next) {
        pending->next->link = &pending->next;
    }
    worker->pending = pending;
}

void worker_remove_pending(struct worker_pending *pending)
{
    if (!pending->link) {
        return;
    }
    *pending->link = pending->next;
    if (pending->next) {
        pending->next->link = pending->link;
    }
    pending->link = NULL;
}

void worker_fini(struct worker *worker)
{
    watches_fini(worker);
    if (worker->has_mailbox) {
        mailbox_fini(&worker->mailbox);
    }
    frame_cache_fini(&worker->frames);
    shard_destroy(worker->shard);
    worker_free_spare_notes(worker);
    http_service_destroy(worker->client_http);
    http_service_destroy(worker->api_http);
    out_pool_fini(&worker->pool);
    ws_inflater_destroy(worker->inflater);
    loop_destroy(worker->loop);
    mem_free(worker->dirty);
    mem_free(worker->doomed);
    mem_free(worker->receive_buffer);
    settings_unref(worker->settings);
}
