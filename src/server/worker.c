#include "server/worker.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/publish.h"
#include "proto/ws_deflate.h"
#include "server/connect.h"
#include "server/stats.h"
#include "server/ws_protocol.h"
#include "server/ws_session.h"

enum { MAX_REPLAYS = 64, CLIENT_KEEP_FREE = 32, CORK_FROM = 2, TURN_ROUNDS = 3 };

static _Thread_local struct worker *current_worker;

struct worker *worker_current(void)
{
    return current_worker;
}

/* ---- to and from the bus thread ---- */

void worker_post(struct worker *worker, struct mail *mail)
{
    mailbox_post(&worker->mailbox, mail);
}

void worker_send_to_hub(struct worker *worker, struct mail *mail)
{
    mail_chain_add(&worker->to_hub, mail);
}

static void on_ring(struct mail *mail)
{
    struct worker *worker = MAIL_OWNER(mail, struct worker, ring_mail);
    atomic_store_explicit(&worker->ring_posted, false, memory_order_release);
    worker->ring_ready = true;
}

void worker_wake(struct worker *worker)
{
    if (worker == current_worker) {
        worker->ring_ready = true;
        return;
    }
    if (!atomic_exchange_explicit(&worker->ring_posted, true, memory_order_acq_rel)) {
        mailbox_post(&worker->mailbox, &worker->ring_mail);
    }
}

void worker_give_back(struct worker *worker, struct mail_chain *done)
{
    if (worker != current_worker) {
        mailbox_post_chain(&worker->mailbox, done->first, done->last);
        return;
    }
    while (done->first) {
        struct mail *mail = done->first;
        done->first = mail->next;
        mail_chain_add(&worker->done, mail);
    }
}

static void run_interest(struct mail *mail)
{
    struct interest_batch *batch = MAIL_OWNER(mail, struct interest_batch, mail);
    struct worker *worker = batch->owner;
    hub_interest(worker->gateway->hub, batch);
}

static void send_interest(void *owner, struct interest_batch *batch)
{
    struct worker *worker = owner;
    batch->owner = worker;
    batch->mail.run = run_interest;
    worker_send_to_hub(worker, &batch->mail);
}

static void run_catch_up(struct mail *mail)
{
    struct worker *worker = MAIL_OWNER(mail, struct worker, catch_up_mail);
    hub_catch_up(worker->gateway->hub, worker->index);
}

/* One is under way at most: the shard asks again only after its answer. */
static void ask_catch_up(void *owner)
{
    struct worker *worker = owner;
    worker->catch_up_mail.run = run_catch_up;
    worker_send_to_hub(worker, &worker->catch_up_mail);
}

static const struct shard_callbacks shard_callbacks = {.send_interest = send_interest,
                                                       .ask_catch_up = ask_catch_up};

static void run_publish(struct mail *mail)
{
    struct publish *publish = MAIL_OWNER(mail, struct publish, mail);
    struct hub *hub = publish->hub;
    hub_publish(hub, publish, clock_monotonic_ms());
}

void gateway_publish(struct worker *worker, struct publish *publish)
{
    publish->worker = worker->index;
    publish->hub = worker->gateway->hub;
    publish->mail.run = run_publish;
    worker_send_to_hub(worker, &publish->mail);
}

/* ---- a turn ---- */

static void tell_going(struct worker *worker)
{
    uint32_t limit = shard_slot_limit(worker->shard);
    for (int told = 0; told < SHARD_SLICE && worker->drain_cursor < limit;) {
        struct session *session = shard_session_at(worker->shard, worker->drain_cursor++);
        if (session->state != SESSION_FREE && session->state != SESSION_ENDED) {
            ws_protocol_send_goaway(worker, session);
            told++;
        }
    }
    if (worker->drain_cursor >= limit) {
        worker->drain_cursor = 0;
    }
}

static void run_done(struct worker *worker)
{
    while (worker->done.first) {
        struct mail *mail = worker->done.first;
        worker->done.first = mail->next;
        if (!mail->next) {
            worker->done.last = NULL;
        }
        mail->run(mail);
    }
}

static void send_to_hub(struct worker *worker)
{
    shard_flush(worker->shard);
    struct mail_chain chain = worker->to_hub;
    worker->to_hub = (struct mail_chain){NULL, NULL};
    if (chain.first) {
        hub_gate_send(&worker->gateway->gate, &chain);
    }
}

static void run_shard(struct worker *worker)
{
    if (worker->ring_ready) {
        worker->corking = shard_backlog(worker->shard) >= CORK_FROM;
        worker->ring_ready = shard_run(worker->shard, worker_now_ms(worker));
    }
}

static bool has_mail(const struct worker *worker)
{
    return worker->to_hub.first || worker->done.first;
}

/* What the turn gathered goes to the hub; what comes back at once (this worker may have run the hub
 * itself) is answered and delivered in the same turn. */
static bool end_turn(void *owner)
{
    struct worker *worker = owner;
    for (int round = 0; round < TURN_ROUNDS; round++) {
        send_to_hub(worker);
        run_done(worker);
        run_shard(worker);
        if (!has_mail(worker)) {
            break;
        }
    }
    if (worker->drain_cursor) {
        tell_going(worker);
    }
    ws_session_flush_turn(worker);
    send_to_hub(worker);
    run_done(worker);
    if (!worker->ring_ready) {
        frame_cache_clear(&worker->frames);
    }
    return worker->ring_ready || worker->drain_cursor || has_mail(worker);
}

/* ---- requests ---- */

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
    stats_request("api", exchange, clock_monotonic_us());
}

static void on_client_refused(void *owner, const struct addr *peer, int status, const char *reason)
{
    stats_http_refused("client", peer, status, reason);
}

static void on_api_refused(void *owner, const struct addr *peer, int status, const char *reason)
{
    stats_http_refused("api", peer, status, reason);
}

static void on_client_accept(void *owner, int fd, const struct addr *peer)
{
    struct worker *worker = owner;
    http_service_accept(worker->client_http, fd, peer);
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
                                          .receive_buffer = worker->receive_buffer,
                                          .receive_buffer_len = WORKER_RECEIVE_BYTES,
                                          .owner = worker,
                                          .on_request = on_client_request,
                                          .on_answered = on_client_answered,
                                          .on_refused = on_client_refused};
    struct http_service_options api = client;
    api.name = "api";
    api.connections = &worker->gateway->admission.api_connections;
    api.on_head = on_api_head;
    api.on_request = on_api_request;
    api.on_answered = on_api_answered;
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
                                    .cluster_key = gateway->cluster_key,
                                    .sid_key = gateway->sid_key,
                                    .window = hub_window(gateway->hub),
                                    .link = hub_link(gateway->hub, worker->index),
                                    .max_replays = MAX_REPLAYS};
    int err = shard_create(&worker->shard, &options, &shard_callbacks, worker);
    if (!err) {
        shard_set_transport(worker->shard, WS_TRANSPORT, &ws_session_ops);
        loop_set_tag_handler(worker->loop, ws_session_on_event, worker);
    }
    return err;
}

bool worker_takes_app(struct worker *worker, const struct tenant *tenant)
{
    return shard_has_app(worker->shard, tenant->id) ||
           shard_add_app(worker->shard, tenant->id, str_of(tenant->name)) == 0;
}

static int add_apps(struct worker *worker)
{
    int err = 0;
    for (uint32_t i = 0; i < worker->tenants->count && !err; i++) {
        err = worker_takes_app(worker, &worker->tenants->items[i]) ? 0 : ERR_NO_MEMORY;
    }
    return err;
}

int worker_init(struct worker *worker, struct gateway *gateway, uint32_t index,
                const struct tenants *tenants)
{
    const struct settings *settings = gateway->options.settings;
    *worker = (struct worker){.gateway = gateway, .index = index, .tenants = tenants};
    worker->settings = settings_ref((struct settings *)settings);
    worker->ring_mail.run = on_ring;
    worker->receive_buffer = mem_alloc(WORKER_RECEIVE_BYTES);
    int err = worker->receive_buffer ? 0 : ERR_NO_MEMORY;
    err = err ? err : loop_create(&worker->loop);
    err = err ? err : mailbox_init(&worker->mailbox, worker->loop);
    worker->has_mailbox = !err;
    err = err ? err : create_shard(worker);
    err = err ? err : add_apps(worker);
    err = err ? err
              : frame_cache_init(&worker->frames, (int)settings->compression.level,
                                 settings->compression.min_bytes);
    err = err ? err : ws_inflater_create(&worker->inflater);
    err = err ? err : loop_add_turn_end(worker->loop, end_turn, worker);
    err = err ? err : create_services(worker);
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
    run_done(worker);
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
    if (worker->has_mailbox) {
        mailbox_fini(&worker->mailbox);
    }
    frame_cache_fini(&worker->frames);
    shard_destroy(worker->shard);
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

/* ---- what the main thread asks ---- */

static void run_reload(struct mail *mail)
{
    struct worker_reload *reload = MAIL_OWNER(mail, struct worker_reload, mail);
    struct worker *worker = reload->worker;
    settings_unref(worker->settings);
    worker->settings = reload->settings;
    worker->tenants = reload->tenants;
    worker->frames.min_compressed = worker->settings->compression.min_bytes;
    http_service_set_settings(worker->client_http, worker->settings);
    http_service_set_settings(worker->api_http, worker->settings);
    if (add_apps(worker)) {
        log_error("reload.short", "worker %u: no memory for a new app yet", worker->index);
    }
    mem_free(reload);
    gateway_worker_reloaded(worker->gateway);
}

struct worker_reload *worker_reload_create(struct worker *worker, struct settings *settings,
                                           const struct tenants *tenants)
{
    struct worker_reload *reload = mem_zalloc(sizeof(*reload));
    if (reload) {
        reload->mail.run = run_reload;
        reload->worker = worker;
        reload->settings = settings_ref(settings);
        reload->tenants = tenants;
    }
    return reload;
}

void worker_reload_destroy(struct worker_reload *reload)
{
    settings_unref(reload->settings);
    mem_free(reload);
}

static void run_drain(struct mail *mail)
{
    struct worker *worker = MAIL_OWNER(mail, struct worker, drain_mail);
    worker->draining = true;
    worker->drain_started_ms = worker_now_ms(worker);
    worker->drain_window_ms = worker->gateway->drain_window_ms;
    worker->drain_cursor = 1;
    http_service_drain(worker->client_http);
}

void worker_drain(struct worker *worker)
{
    worker->drain_mail.run = run_drain;
    worker_post(worker, &worker->drain_mail);
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
