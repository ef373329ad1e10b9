/* The interest table: which workers have which key. It belongs to whoever is inside the
 * hub's gate (docs/decisions/0010). */
#include "base/err.h"
#include "base/mem.h"
#include "core/hub_private.h"

void hub_batches_add(struct hub_batches *batches, struct interest_batch *batch)
{
    batch->next = NULL;
    *batches->end = batch;
    batches->end = &batch->next;
}

struct interest_batch *hub_batches_take(struct hub_batches *batches)
{
    struct interest_batch *batch = batches->first;
    if (batch) {
        batches->first = batch->next;
        if (!batches->first) {
            batches->end = &batches->first;
        }
    }
    return batch;
}

static uint64_t pin_key(uint64_t key, uint32_t worker)
{
    return key ^ (uint64_t)(worker + 1) * 0x9e3779b97f4a7c15u;
}

uint64_t hub_workers_of_key(const struct hub *hub, uint64_t key)
{
    return interest_table_find(&hub->interest, key);
}

/* True when it was the last one, or there was none. */
static bool unpin(struct hub *hub, uint64_t key, uint32_t worker)
{
    uint64_t *pins = u64map_find(&hub->pins, pin_key(key, worker));
    if (pins && --*pins > 0) {
        return false;
    }
    u64map_remove(&hub->pins, pin_key(key, worker));
    return true;
}

/* A join event is on its way to these workers: they get the group's messages from here on, behind
 * it in the same ring. The pin outlives a removal that crosses the event; the worker's answer ends
 * it. */
int hub_pin_group(struct hub *hub, uint64_t key, uint64_t mask)
{
    if (mask == 0) {
        return 0;
    }
    for (uint32_t worker = 0; worker < hub->options.workers; worker++) {
        uint64_t *pins = mask >> worker & 1 ? u64map_put(&hub->pins, pin_key(key, worker)) : NULL;
        if (pins) {
            (*pins)++;
        } else if (mask >> worker & 1) {
            mask &= (1ull << worker) - 1; /* those that are pinned already */
            goto fail;
        }
    }
    if (interest_table_add(&hub->interest, key, mask)) {
        goto fail;
    }
    return 0;

fail:
    for (uint32_t worker = 0; worker < hub->options.workers; worker++) {
        if (mask >> worker & 1) {
            unpin(hub, key, worker);
        }
    }
    return ERR_NO_MEMORY;
}

static int apply_item(struct hub *hub, const struct interest_item *item, uint32_t worker)
{
    uint64_t bit = 1ull << worker;
    switch (item->op) {
    case INTEREST_ADD: return interest_table_add(&hub->interest, item->key, bit);
    case INTEREST_REMOVE:
        if (!u64map_find(&hub->pins, pin_key(item->key, worker))) {
            interest_table_clear(&hub->interest, item->key, bit);
        }
        break;
    case INTEREST_JOINED: unpin(hub, item->key, worker); break;
    case INTEREST_NOT_JOINED:
        if (unpin(hub, item->key, worker)) {
            interest_table_clear(&hub->interest, item->key, bit);
        }
        break;
    }
    return 0;
}

static void tell_stats(struct hub *hub)
{
    const struct interest_table *table = &hub->interest;
    atomic_store_explicit(&hub->stats.interest_keys, table->count, memory_order_relaxed);
    atomic_store_explicit(&hub->stats.users, table->kinds[TARGET_USER], memory_order_relaxed);
    atomic_store_explicit(&hub->stats.groups, table->kinds[TARGET_GROUP], memory_order_relaxed);
}

static bool apply_batch(struct hub *hub, struct interest_batch *batch)
{
    while (batch->items_applied < batch->item_count) {
        if (apply_item(hub, &batch->items[batch->items_applied], batch->worker)) {
            return false;
        }
        batch->items_applied++;
    }
    return true;
}

static void apply_batches(struct hub *hub, struct hub_worker *worker)
{
    while (worker->unapplied.first && apply_batch(hub, worker->unapplied.first)) {
        struct interest_batch *batch = hub_batches_take(&worker->unapplied);
        if (batch->waiter_count > 0) {
            hub_return_fence(hub, worker, batch);
        } else {
            interest_batch_destroy(batch);
        }
    }
    interest_table_shrink(&hub->interest);
    tell_stats(hub);
}

void hub_interest(struct hub *hub, struct interest_batch *batch)
{
    struct hub_worker *worker = &hub->workers[batch->worker];
    hub_batches_add(&worker->unapplied, batch);
    apply_batches(hub, worker);
}

void hub_retry_interest(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->options.workers; i++) {
        if (hub->workers[i].unapplied.first) {
            apply_batches(hub, &hub->workers[i]);
        }
    }
}
