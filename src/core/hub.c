#include "core/hub.h"

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/hub_private.h"
#include "core/receipt.h"

int hub_create(struct hub **out_hub, const struct hub_options *options,
               const struct hub_callbacks *callbacks, void *owner)
{
    ASSERT(options->workers >= 1 && options->workers <= HUB_MAX_WORKERS);
    ASSERT(options->queues >= 1 && options->queues <= BUS_MAX_QUEUES);
    struct hub *hub = NULL;
    if (posix_memalign((void **)&hub, 64, sizeof(*hub))) {
        return ERR_NO_MEMORY;
    }
    memset(hub, 0, sizeof(*hub));
    hub->options = *options;
    hub->callbacks = callbacks;
    hub->owner = owner;
    for (uint32_t i = 0; i < options->queues; i++) {
        hub->queues[i].waiting_end = &hub->queues[i].waiting;
        hub->queues[i].sent_end = &hub->queues[i].sent;
    }
    int err = window_create(&hub->window, options->queues, options->window_bytes,
                            options->window_age_ms);
    for (uint32_t i = 0; i < options->workers && !err; i++) {
        hub->workers[i].held_end = &hub->workers[i].held;
        err = ring_init(&hub->workers[i].link.ring, options->ring_slots);
    }
    if (err) {
        hub_destroy(hub);
        return err;
    }
    *out_hub = hub;
    return 0;
}

void hub_set_bus(struct hub *hub, struct bus *bus)
{
    hub->bus = bus;
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

static void destroy_worker(struct hub_worker *worker)
{
    hub_link_drain(&worker->link);
    ring_fini(&worker->link.ring);
    while (worker->held) {
        struct interest_batch *batch = worker->held;
        worker->held = batch->next;
        interest_batch_destroy(batch);
    }
}

void hub_destroy(struct hub *hub)
{
    if (!hub) {
        return;
    }
    bus_destroy(hub->bus);
    hub_fail_all(hub, ERR_CANCELED);
    give_back_done(hub);
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        if (hub->workers[i].link.ring.slots) {
            destroy_worker(&hub->workers[i]);
        }
    }
    for (uint32_t i = 0; i < hub->options.queues; i++) {
        buf_fini(&hub->queues[i].record_bytes);
    }
    hub_forget_ids(hub);
    u64map_fini(&hub->ids);
    u64map_fini(&hub->marks);
    u64map_fini(&hub->pins);
    u64map_fini(&hub->interest);
    window_destroy(hub->window);
    free(hub);
}

void hub_link_drain(struct hub_link *link)
{
    enum ring_kind kind;
    for (void *ptr = ring_pop(&link->ring, &kind); ptr; ptr = ring_pop(&link->ring, &kind)) {
        switch (kind) {
        case RING_MESSAGE: message_unref(ptr); break;
        case RING_FENCE: interest_batch_destroy(ptr); break;
        case RING_HEADS: mem_free(ptr); break;
        case RING_CATCH_UP: mem_free(ptr); break;
        }
    }
}

/* A worker that can't take an entry reads the window from here on. */
static void mark_behind(struct hub *hub, struct hub_worker *worker, const struct hub_heads *from)
{
    worker->behind_from = *from;
    atomic_store_explicit(&worker->link.behind, true, memory_order_release);
    worker->wake = true;
    hub_count(&hub->stats.ring_full, 1);
}

static bool is_behind(const struct hub_worker *worker)
{
    return atomic_load_explicit(&worker->link.behind, memory_order_relaxed);
}

/* Called before the heads move past the message, so they are where the worker must read on. */
void hub_offer(struct hub *hub, uint32_t index, struct message *message)
{
    struct hub_worker *worker = &hub->workers[index];
    if (message->receipt) {
        receipt_open(message->receipt);
    }
    if (is_behind(worker)) {
        return;
    }
    if (ring_push(&worker->link.ring, RING_MESSAGE, message_ref(message))) {
        worker->wake = true;
        return;
    }
    message_unref(message);
    mark_behind(hub, worker, &hub->heads);
}

void hub_mark_all_behind(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        if (!is_behind(&hub->workers[i])) {
            mark_behind(hub, &hub->workers[i], &hub->heads);
        }
    }
}

static void clear_interest(struct hub *hub, uint64_t key, uint64_t bit)
{
    uint64_t *mask = u64map_find(&hub->interest, key);
    if (mask) {
        *mask &= ~bit;
        if (*mask == 0) {
            u64map_remove(&hub->interest, key);
        }
    }
}

/* The worker has seen a join by the API and says whether it has the group now. */
static void unpin(struct hub *hub, uint64_t key, uint32_t worker, bool has_group)
{
    uint64_t pin_key = hub_pin_key(key, worker);
    uint64_t *pins = u64map_find(&hub->pins, pin_key);
    if (pins && --*pins == 0) {
        u64map_remove(&hub->pins, pin_key);
        pins = NULL;
    }
    if (!pins && !has_group) {
        clear_interest(hub, key, 1ull << worker);
    }
}

static int apply_item(struct hub *hub, const struct interest_item *item, uint32_t worker)
{
    uint64_t *mask;
    switch (item->op) {
    case INTEREST_ADD:
        mask = u64map_put(&hub->interest, item->key);
        if (!mask) {
            return ERR_NO_MEMORY;
        }
        *mask |= 1ull << worker;
        break;
    case INTEREST_REMOVE:
        if (!u64map_find(&hub->pins, hub_pin_key(item->key, worker))) {
            clear_interest(hub, item->key, 1ull << worker);
        }
        break;
    case INTEREST_JOINED: unpin(hub, item->key, worker, true); break;
    case INTEREST_NOT_JOINED: unpin(hub, item->key, worker, false); break;
    }
    return 0;
}

static void hold_batch(struct hub_worker *worker, struct interest_batch *batch)
{
    batch->next = NULL;
    *worker->held_end = batch;
    worker->held_end = &batch->next;
}

static void return_batch(struct hub *hub, struct hub_worker *worker, struct interest_batch *batch)
{
    batch->heads = hub->heads;
    if (!is_behind(worker)) {
        if (ring_push(&worker->link.ring, RING_FENCE, batch)) {
            worker->wake = true;
            return;
        }
        mark_behind(hub, worker, &hub->heads);
    }
    hold_batch(worker, batch);
}

void hub_interest(struct hub *hub, struct interest_batch *batch)
{
    struct hub_worker *worker = &hub->workers[batch->worker];
    for (uint32_t i = 0; i < batch->item_count; i++) {
        int err = apply_item(hub, &batch->items[i], batch->worker);
        batch->err = batch->err ? batch->err : err;
    }
    u64map_shrink(&hub->interest);
    atomic_store_explicit(&hub->stats.interest_keys, hub->interest.count, memory_order_relaxed);
    if (batch->waiter_count > 0) {
        return_batch(hub, worker, batch);
    } else {
        interest_batch_destroy(batch);
    }
}

/* The worker's ring is empty now, so what follows fits unless memory is out; then it stays behind
 * and asks again. */
void hub_catch_up(struct hub *hub, uint32_t index)
{
    struct hub_worker *worker = &hub->workers[index];
    struct hub_span *span = mem_alloc(sizeof(*span));
    worker->wake = true;
    if (!span) {
        return;
    }
    span->from = worker->behind_from;
    span->to = hub->heads;
    if (!ring_push(&worker->link.ring, RING_CATCH_UP, span)) {
        mem_free(span);
        return;
    }
    atomic_store_explicit(&worker->link.behind, false, memory_order_release);
    struct interest_batch *held = worker->held;
    worker->held = NULL;
    worker->held_end = &worker->held;
    while (held) {
        struct interest_batch *next = held->next;
        return_batch(hub, worker, held);
        held = next;
    }
}

static void wake_workers(struct hub *hub)
{
    give_back_done(hub);
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        if (hub->workers[i].wake) {
            hub->workers[i].wake = false;
            hub->callbacks->wake(hub->owner, i);
        }
    }
}

bool hub_flush(struct hub *hub, uint64_t now_ms, uint64_t now_us)
{
    hub->now_ms = now_ms;
    hub->now_us = now_us;
    bool more = hub_send_waiting(hub);
    if (hub->bus) {
        bus_flush(hub->bus);
    }
    window_evict(hub->window, now_ms, hub_on_evict, hub);
    wake_workers(hub);
    return more;
}

void hub_send_heads(struct hub *hub)
{
    hub->heads_sent_ms = hub->now_ms;
    hub->bytes_since_heads = 0;
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        struct hub_worker *worker = &hub->workers[i];
        struct hub_heads *heads = is_behind(worker) ? NULL : mem_alloc(sizeof(*heads));
        if (!heads) {
            continue;
        }
        *heads = hub->heads;
        if (ring_push(&worker->link.ring, RING_HEADS, heads)) {
            worker->wake = true;
        } else {
            mem_free(heads);
            mark_behind(hub, worker, &hub->heads);
        }
    }
}

void hub_tick(struct hub *hub, uint64_t now_ms)
{
    hub->now_ms = now_ms;
    hub_fail_late(hub);
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

bool hub_bus_is_up(struct hub *hub)
{
    return atomic_load_explicit(&hub->bus_up, memory_order_acquire);
}
