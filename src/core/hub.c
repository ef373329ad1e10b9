#include "core/hub.h"

#include "base/err.h"
#include "base/mem.h"
#include "core/hub_private.h"

static int init_parts(struct hub *hub)
{
    const struct hub_options *options = &hub->options;
    for (uint32_t i = 0; i < options->queues; i++) {
        hub->queues[i].waiting_end = &hub->queues[i].waiting;
        hub->queues[i].down_since_ms = HUB_NEVER;
    }
    int err = window_create(&hub->window, options->queues, options->window_bytes,
                            options->window_age_ms, hub_on_evict, hub);
    err = err ? err : hub_kept_create(hub);
    for (uint32_t i = 0; i < options->workers && !err; i++) {
        err = hub_worker_init(&hub->workers[i], options->ring_slots);
    }
    return err;
}

int hub_create(struct hub **out_hub, const struct hub_options *options,
               const struct hub_callbacks *callbacks, void *owner)
{
    ASSERT(options->workers >= 1 && options->workers <= HUB_MAX_WORKERS);
    ASSERT(options->queues >= 1 && options->queues <= BUS_MAX_QUEUES);
    void *memory; /* rings keep their two ends on cache lines of their own */
    if (posix_memalign(&memory, 64, sizeof(struct hub))) {
        return ERR_NO_MEMORY;
    }
    struct hub *hub = memory;
    memset(hub, 0, sizeof(*hub));
    if (pthread_mutex_init(&hub->ids_lock, NULL)) {
        free(hub);
        return ERR_NO_MEMORY;
    }
    hub->options = *options;
    interest_table_init(&hub->interest, options->workers);
    hub->callbacks = callbacks;
    hub->owner = owner;
    int err = init_parts(hub);
    if (err) {
        hub_destroy(hub);
        return err;
    }
    *out_hub = hub;
    return 0;
}

void hub_set_bus(struct hub *hub, struct bus *bus)
{
    ASSERT(bus->queues >= 1 && bus->queues <= hub->options.queues);
    hub->bus = bus;
    hub->options.queues = bus->queues;
}

void hub_set_cluster(struct hub *hub, struct cluster *cluster)
{
    hub->cluster = cluster;
}

struct bus *hub_bus(const struct hub *hub)
{
    return hub->bus;
}

void hub_give_back(struct hub *hub, uint32_t worker, struct mail *mail)
{
    mail_chain_add(&hub->workers[worker].done, mail);
}

static void give_back_done(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        struct mail_chain done = hub->workers[i].done;
        hub->workers[i].done = (struct mail_chain){NULL, NULL};
        if (done.first) {
            hub->callbacks->give_back(hub->owner, i, &done);
        }
    }
}

void hub_destroy(struct hub *hub)
{
    if (!hub) {
        return;
    }
    bus_destroy(hub->bus);
    hub_fail_all(hub, ERR_CANCELED);
    cluster_destroy(hub->cluster);
    give_back_done(hub);
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        hub_worker_fini(&hub->workers[i]);
    }
    for (uint32_t i = 0; i < hub->options.queues; i++) {
        buf_fini(&hub->queues[i].record_bytes);
    }
    window_destroy(hub->window);
    kept_destroy(hub->kept);
    hub_tickets_destroy(hub);
    hub_forget_ids(hub);
    pthread_mutex_destroy(&hub->ids_lock);
    buf_fini(&hub->rekeyed);
    u64map_fini(&hub->collapses);
    u64map_fini(&hub->marks);
    u64map_fini(&hub->pins);
    interest_table_fini(&hub->interest);
    free(hub);
}

static void wake_workers(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        if (hub->workers[i].wake) {
            hub->workers[i].wake = false;
            hub->callbacks->wake(hub->owner, i);
        }
    }
}

void hub_set_now(struct hub *hub, uint64_t now_ms, uint64_t now_us)
{
    hub->now_ms = now_ms;
    hub->now_us = now_us;
}

uint64_t hub_now_ms(const struct hub *hub)
{
    return hub->now_ms;
}

void hub_set_wall_offset(struct hub *hub, int64_t offset_ms)
{
    hub->wall_offset_ms = offset_ms;
}

uint64_t hub_wall_ms(const struct hub *hub)
{
    return hub->now_ms + (uint64_t)hub->wall_offset_ms;
}

bool hub_flush(struct hub *hub, uint64_t now_ms, uint64_t now_us)
{
    hub_set_now(hub, now_ms, now_us);
    if (hub->cluster) {
        cluster_flush(hub->cluster, now_ms, now_us);
    }
    bool more = hub_send_waiting(hub);
    if (hub->bus) {
        bus_flush(hub->bus);
    }
    window_evict(hub->window, now_ms);
    give_back_done(hub);
    wake_workers(hub);
    return more;
}

void hub_send_heads(struct hub *hub)
{
    hub->heads_sent_ms = hub->now_ms;
    hub->bytes_since_heads = 0;
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        struct hub_worker *worker = &hub->workers[i];
        struct hub_heads *heads = hub_worker_is_behind(worker) ? NULL : mem_alloc(sizeof(*heads));
        if (!heads) {
            continue; /* its sessions hear of the positions a quarter later */
        }
        *heads = hub->heads;
        if (!hub_worker_push(hub, worker, RING_HEADS, heads)) {
            mem_free(heads);
        }
    }
}

void hub_tick(struct hub *hub, uint64_t now_ms)
{
    hub->now_ms = now_ms;
    if (hub->cluster) {
        cluster_tick(hub->cluster, now_ms);
    }
    hub_fail_late(hub);
    hub_fail_over(hub);
    hub_sweep_marks(hub);
    hub_retry_interest(hub);
    hub_retry_catch_up(hub);
    hub_kept_tick(hub);
    hub_tickets_tick(hub);
    bool by_age = hub->options.window_age_ms &&
                  now_ms - hub->heads_sent_ms >= hub->options.window_age_ms / 4;
    bool by_bytes = hub->bytes_since_heads >= hub->options.window_bytes / 4;
    if (by_age || by_bytes) {
        hub_send_heads(hub);
    }
}

struct window *hub_window(struct hub *hub)
{
    return hub->window;
}

struct hub_link *hub_link(struct hub *hub, uint32_t worker)
{
    return &hub->workers[worker].link;
}

const struct hub_options *hub_get_options(const struct hub *hub)
{
    return &hub->options;
}

struct hub_stats *hub_get_stats(struct hub *hub)
{
    return &hub->stats;
}

struct kept_stats *hub_get_kept_stats(struct hub *hub)
{
    return kept_get_stats(hub->kept);
}

bool hub_bus_is_up(struct hub *hub)
{
    return atomic_load_explicit(&hub->bus_up, memory_order_acquire);
}

bool hub_bus_was_up(struct hub *hub)
{
    return atomic_load_explicit(&hub->bus_was_up, memory_order_acquire);
}
