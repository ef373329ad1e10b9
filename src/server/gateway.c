#include "server/gateway_private.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/publish.h"
#include "server/stats.h"
#include "server/worker.h"
#include "server/ws_ticket.h"

enum { HUB_TICK_MS = 100, RECORD_BYTES = 1024 * 1024, RING_SLOTS_PER_WORKER = 16384 };

struct hub_thread {
    pthread_t thread;
    bool started;
    struct timer tick;
    struct gateway *gateway;
    struct mail stop;
    struct mail tick_mail;
    atomic_bool is_tick_posted;
    bool has_mailbox;
};

/* ---- the hub's callbacks, inside its gate ---- */

static void wake(void *owner, uint32_t index)
{
    struct gateway *gateway = owner;
    worker_wake(&gateway->workers[index]);
}

static void give_back(void *owner, uint32_t index, struct mail_chain *done)
{
    struct gateway *gateway = owner;
    worker_give_back(&gateway->workers[index], done);
}

static void on_bus_state(void *owner, bool up, const char *reason)
{
    struct gateway *gateway = owner;
    bus_health_set(&gateway->bus_health, up, reason);
}

static void on_queue_state(void *owner, uint32_t queue, enum hub_queue_state state)
{
    switch (state) {
    case HUB_QUEUE_DOWN:
        log_warn("bus.queue_down", "queue %u is not reachable; pushes to its keys wait", queue);
        break;
    case HUB_QUEUE_FAILED_OVER:
        log_warn("bus.failover", "queue %u stays away: its keys go to other queues", queue);
        break;
    case HUB_QUEUE_UP: log_info("bus.queue_up", "queue %u is reachable", queue); break;
    }
}

static void on_published(void *owner, uint64_t sent_us)
{
    stats_bus_published(clock_monotonic_us() - sent_us);
}

static void on_returned(void *owner, uint64_t sent_us)
{
    stats_latency(STATS_BUS, clock_monotonic_us() - sent_us);
}

static void on_foreign(void *owner, uint64_t age_ms)
{
    stats_latency(STATS_OTHER_NODE, age_ms * 1000);
}

static void on_loss(void *owner, uint32_t queue, enum session_gap_why why)
{
    static const char *const reasons[] = {[SESSION_GAP_EXPIRED] = "the bus has dropped them",
                                          [SESSION_GAP_OVERFLOW] = "memory was out",
                                          [SESSION_GAP_BUS] = "the bus lost them",
                                          [SESSION_GAP_EPOCH] = "the bus has another history"};
    log_warn("bus.hole", "queue %u: messages are lost to this node, and its sessions are told: %s",
             queue, reasons[why]);
}

static const struct hub_callbacks hub_callbacks = {.wake = wake,
                                                   .give_back = give_back,
                                                   .on_bus_state = on_bus_state,
                                                   .on_queue_state = on_queue_state,
                                                   .on_published = on_published,
                                                   .on_returned = on_returned,
                                                   .on_foreign = on_foreign,
                                                   .run_ticket_news = ws_ticket_run_news,
                                                   .wants_traces = gateway_wants_traces,
                                                   .on_traced = gateway_on_traced,
                                                   .on_loss = on_loss};

/* Records come during the bus thread's turn; the hub has no clock. */
static void on_record(void *owner, uint32_t queue, struct bus_pos pos, struct str record,
                      uint64_t wall_ms)
{
    uint64_t now_us = clock_monotonic_us();
    hub_set_now(owner, now_us / 1000, now_us);
    hub_bus_callbacks.on_record(owner, queue, pos, record, wall_ms);
}

static bool end_hub_turn(void *owner)
{
    struct gateway *gateway = owner;
    return hub_gate_turn(&gateway->gate);
}

/* Inside the gate. */
static void run_tick(struct mail *mail)
{
    struct hub_thread *thread = MAIL_OWNER(mail, struct hub_thread, tick_mail);
    struct hub *hub = thread->gateway->hub;
    uint64_t now_ms = clock_monotonic_ms();
    hub_set_wall_offset(hub, (int64_t)(clock_wall_ms() - now_ms));
    hub_tick(hub, now_ms);
    atomic_store_explicit(&thread->is_tick_posted, false, memory_order_release);
}

static void on_tick(struct timer *timer)
{
    struct hub_thread *thread = (struct hub_thread *)((char *)timer -
                                                      offsetof(struct hub_thread, tick));
    struct gateway *gateway = thread->gateway;
    if (!atomic_exchange_explicit(&thread->is_tick_posted, true, memory_order_acq_rel)) {
        struct mail_chain chain = {NULL, NULL};
        thread->tick_mail.run = run_tick;
        mail_chain_add(&chain, &thread->tick_mail);
        hub_gate_send(&gateway->gate, &chain);
    }
    loop_timer_start(gateway->hub_loop, timer, HUB_TICK_MS);
}

static void *run_hub(void *arg)
{
    struct gateway *gateway = arg;
    loop_timer_start(gateway->hub_loop, &gateway->hub_thread->tick, 0);
    int err = loop_run(gateway->hub_loop);
    if (err) {
        log_error("bus.thread_failed", "the bus thread stopped: %s", err_str(err));
    }
    return NULL;
}

/* ---- making ---- */

static int make_keys(struct gateway *gateway)
{
    uint64_t boot[2];
    if (RAND_bytes((unsigned char *)boot, sizeof(boot)) != 1) {
        return ERR_UNAVAILABLE;
    }
    gateway->boot = (uint32_t)boot[0] | 1;
    struct siphash_key admission_key = {boot[0], ~boot[1]};
    admission_init(&gateway->admission, &admission_key);
    return cluster_keys_make(&gateway->keys, &gateway->options.settings->cluster);
}

static int create_hub(struct gateway *gateway)
{
    const struct settings *settings = gateway->options.settings;
    struct hub_options options = {.workers = gateway->worker_count,
                                  .queues = (uint32_t)settings->bus.queues,
                                  .window_bytes = settings->window.max_bytes,
                                  .window_age_ms = settings->window.max_age_ms,
                                  .backlog_bytes = settings->bus.backlog_bytes,
                                  .record_bytes = RECORD_BYTES,
                                  .ring_slots = RING_SLOTS_PER_WORKER,
                                  .boot = gateway->boot,
                                  .space = gateway->keys.space,
                                  .sid_key = gateway->keys.sid_keys[0],
                                  .kept_results = settings->limits.ticket_results_bytes,
                                  .ticket_messages = (uint32_t)settings->limits.ticket_messages,
                                  .kept_tickets = settings->limits.ticket_claims_bytes,
                                  .kept_others = settings->limits.kept_bytes};
    int err = hub_create(&gateway->hub, &options, &hub_callbacks, gateway);
    if (!err) {
        hub_set_wall_offset(gateway->hub, (int64_t)(clock_wall_ms() - clock_monotonic_ms()));
    }
    return err;
}

static int create_bus(struct gateway *gateway)
{
    const struct settings *settings = gateway->options.settings;
    struct bus_options options = {.queues = (uint32_t)settings->bus.queues,
                                  .values = settings->bus.values,
                                  .window_age_ms = settings->window.max_age_ms,
                                  .boot = gateway->boot,
                                  .node = str_of(gateway->node)};
    gateway->bus_callbacks = hub_bus_callbacks;
    gateway->bus_callbacks.on_record = on_record;
    int err = gateway->options.engine->create(&gateway->bus, gateway->hub_loop, &options,
                                              &gateway->bus_callbacks, gateway->hub);
    if (!err) {
        hub_set_bus(gateway->hub, gateway->bus);
    }
    return err;
}

static int create_hub_thread(struct gateway *gateway)
{
    struct hub_thread *thread = mem_zalloc(sizeof(*thread));
    if (!thread) {
        return ERR_NO_MEMORY;
    }
    thread->gateway = gateway;
    thread->tick.on_fire = on_tick;
    gateway->hub_thread = thread;
    int err = loop_create(&gateway->hub_loop);
    err = err ? err : mailbox_init(&gateway->hub_mailbox, gateway->hub_loop);
    thread->has_mailbox = !err;
    err = err ? err : create_hub(gateway);
    err = err ? err : loop_add_turn_end(gateway->hub_loop, end_hub_turn, gateway);
    err = err ? err : create_bus(gateway);
    err = err ? err : gateway_join_cluster(gateway);
    if (!err) {
        hub_gate_init(&gateway->gate, gateway->hub, &gateway->hub_mailbox,
                      gateway->options.engine->any_thread);
    }
    return err;
}

static int create_workers(struct gateway *gateway, const struct tenants *tenants)
{
    int err = 0;
    for (uint32_t i = 0; i < gateway->worker_count && !err; i++) {
        err = worker_init(&gateway->workers[i], gateway, i, tenants);
        gateway->workers_made = i + 1;
    }
    return err;
}

static int check_free(const struct gateway_options *options, const char **out_problem)
{
    *out_problem = "somebody listens there already (listen.client)";
    int err = options->has_client ? listener_check_free(&options->client) : 0;
    if (!err && options->has_api) {
        *out_problem = "somebody listens there already (listen.api)";
        err = listener_check_free(&options->api);
    }
    return err;
}

/* The first worker's port is the others' too. */
static int listen_all(struct gateway *gateway, const char **out_problem)
{
    struct gateway_options *options = &gateway->options;
    gateway->client_addr = options->client;
    gateway->api_addr = options->api;
    int taken = check_free(options, out_problem);
    if (taken) {
        return taken;
    }
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        struct worker *worker = &gateway->workers[i];
        *out_problem = "the client listener can't be opened (listen.client)";
        int err = worker_listen(worker, options->has_client ? &gateway->client_addr : NULL, NULL);
        if (!err) {
            *out_problem = "the API listener can't be opened (listen.api)";
            err = worker_listen(worker, NULL, options->has_api ? &gateway->api_addr : NULL);
        }
        if (err) {
            return err;
        }
    }
    *out_problem = NULL;
    return 0;
}

int gateway_create(struct gateway **out_gateway, const struct gateway_options *options,
                   const struct tenants *tenants, const char **out_problem)
{
    struct gateway *gateway = mem_zalloc(sizeof(*gateway));
    uint32_t count = settings_worker_count(options->settings);
    count = count > HUB_MAX_WORKERS ? HUB_MAX_WORKERS : count;
    struct worker *workers = mem_zalloc(sizeof(*workers) * count);
    *out_problem = "memory is out";
    if (!gateway || !workers) {
        mem_free(gateway);
        mem_free(workers);
        return ERR_NO_MEMORY;
    }
    gateway->options = *options;
    pthread_mutex_init(&gateway->drain_lock, NULL);
    settings_ref(options->settings);
    gateway->options.tls = listen_tls_ref(&options->tls);
    settings_node_name(options->settings, gateway->node);
    bus_health_init(&gateway->bus_health, options->engine->name);
    gateway->workers = workers;
    gateway->worker_count = count;
    gateway->started_ms = clock_wall_ms();
    int err = make_keys(gateway);
    err = err ? err : create_hub_thread(gateway);
    if (err && err != ERR_NO_MEMORY) {
        *out_problem = "the bus can't be made (bus.engine)";
    }
    err = err ? err : create_workers(gateway, tenants);
    while (!err && hub_gate_turn(&gateway->gate)) { /* an engine in the process is up at once */
    }
    err = err ? err : listen_all(gateway, out_problem);
    if (err) {
        gateway_destroy(gateway);
        return err;
    }
    *out_gateway = gateway;
    return 0;
}

int gateway_start(struct gateway *gateway)
{
    stats_name_bus(gateway->options.engine->name);
    int err = -pthread_create(&gateway->hub_thread->thread, NULL, run_hub, gateway);
    gateway->hub_thread->started = err == 0;
    for (uint32_t i = 0; i < gateway->worker_count && !err; i++) {
        err = worker_start(&gateway->workers[i]);
    }
    if (!err) {
        stats_attach(gateway);
    }
    return err;
}

/* ---- the end ---- */

static void run_stop_hub(struct mail *mail)
{
    struct hub_thread *thread = MAIL_OWNER(mail, struct hub_thread, stop);
    loop_stop(thread->gateway->hub_loop);
}

static void stop_threads(struct gateway *gateway)
{
    for (uint32_t i = 0; i < gateway->workers_made; i++) {
        worker_stop(&gateway->workers[i]);
    }
    struct hub_thread *thread = gateway->hub_thread;
    if (thread && thread->started) {
        thread->stop.run = run_stop_hub;
        mailbox_post(&gateway->hub_mailbox, &thread->stop);
        pthread_join(thread->thread, NULL);
        thread->started = false;
    }
}

/* Mails may post others to other workers. */
static void run_mails(struct gateway *gateway)
{
    for (bool any = true; any;) {
        any = false;
        for (uint32_t i = 0; i < gateway->workers_made; i++) {
            any |= worker_run_mails(&gateway->workers[i]);
        }
    }
}

static void end_workers(struct gateway *gateway)
{
    run_mails(gateway);
    for (uint32_t i = 0; i < gateway->workers_made; i++) {
        worker_cancel_pending(&gateway->workers[i]);
    }
    run_mails(gateway);
    if (gateway->options.main_mailbox) {
        mailbox_run(gateway->options.main_mailbox); /* the end of a reload, whose mail is ours */
    }
    for (uint32_t i = 0; i < gateway->workers_made; i++) {
        worker_fini(&gateway->workers[i]);
    }
}

/* Threads are gone, so everything runs here: sessions end, what they tell the hub is heard, then
 * the hub gives back what it still has, and the workers hear that.
 *
 * The order keeps receipts and gathers safe, which point to workers and to exchanges:
 *   - All threads stop before anything is freed: a receipt may be closed by any worker, and a part
 *     of a gather is filled by one worker and read by another.
 *   - The hub goes before the workers' mails are run: from then on each publish has come back, and
 *     nobody else can post a receipt.
 *   - The mails of all workers run until none is left before any worker is freed: a gather goes
 *     from its asker to the others and back, and finds both ends.
 *   - Then alone a push that still waits is cancelled: it answers its exchange and lets go of its
 *     receipt, so that a report which its cancelling sets free finds nobody; the mails run again.
 *   - Exchanges go last, with the workers' HTTP services: each was answered by then. */
void gateway_destroy(struct gateway *gateway)
{
    if (!gateway) {
        return;
    }
    stats_detach();
    stop_threads(gateway);
    for (uint32_t i = 0; i < gateway->workers_made; i++) {
        worker_close(&gateway->workers[i]);
    }
    struct hub_thread *thread = gateway->hub_thread;
    if (thread && thread->has_mailbox) {
        mailbox_fini(&gateway->hub_mailbox);
    }
    if (gateway->gate.hub) {
        while (hub_gate_turn(&gateway->gate)) {
        }
    }
    hub_destroy(gateway->hub);
    gateway->cluster = NULL; /* was the hub's */
    end_workers(gateway);
    loop_destroy(gateway->hub_loop);
    admission_fini(&gateway->admission);
    bus_health_fini(&gateway->bus_health);
    pthread_mutex_destroy(&gateway->drain_lock);
    mem_free(thread);
    mem_free(gateway->workers);
    settings_unref(gateway->options.settings);
    listen_tls_fini(&gateway->options.tls);
    mem_free(gateway);
}
