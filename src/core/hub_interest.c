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

/* ---- how many, by app ---- */

static struct hub_app *find_app(struct hub *hub, uint32_t hash)
{
    uint32_t count = atomic_load_explicit(&hub->app_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        if (atomic_load_explicit(&hub->apps[i].hash, memory_order_relaxed) == hash) {
            return &hub->apps[i];
        }
    }
    return NULL;
}

static struct hub_app *find_or_add_app(struct hub *hub, uint32_t hash)
{
    struct hub_app *app = find_app(hub, hash);
    uint32_t count = atomic_load_explicit(&hub->app_count, memory_order_relaxed);
    if (!app && count < HUB_APPS) {
        app = &hub->apps[count];
        atomic_store_explicit(&app->hash, hash, memory_order_relaxed);
        atomic_store_explicit(&hub->app_count, count + 1, memory_order_release);
    }
    return app;
}

static atomic_uint *place_of(struct hub_app *app, enum target_kind kind)
{
    switch (kind) {
    case TARGET_USER: return &app->users;
    case TARGET_GROUP: return &app->groups;
    default: return NULL;
    }
}

static void count_key(struct hub *hub, uint32_t hash, uint64_t key, unsigned change)
{
    struct hub_app *app = change ? find_or_add_app(hub, hash) : NULL;
    atomic_uint *place = app ? place_of(app, target_key_kind(key)) : NULL;
    if (place) {
        atomic_fetch_add_explicit(place, change, memory_order_relaxed);
    }
}

uint64_t hub_app_keys(struct hub *hub, uint32_t hash, enum target_kind kind)
{
    struct hub_app *app = find_app(hub, hash);
    return app ? atomic_load_explicit(place_of(app, kind), memory_order_relaxed) : 0;
}

static int add_key(struct hub *hub, uint32_t app, uint64_t key, uint64_t workers)
{
    uint32_t before = hub->interest.count;
    int err = interest_table_add(&hub->interest, key, workers);
    count_key(hub, app, key, hub->interest.count - before);
    return err;
}

static void clear_key(struct hub *hub, uint32_t app, uint64_t key, uint64_t workers)
{
    uint32_t before = hub->interest.count;
    interest_table_clear(&hub->interest, key, workers);
    count_key(hub, app, key, hub->interest.count - before);
}

/* ---- who has which ---- */

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
int hub_pin_group(struct hub *hub, uint32_t app, uint64_t key, uint64_t mask)
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
    if (add_key(hub, app, key, mask)) {
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
    case INTEREST_ADD: return add_key(hub, item->app, item->key, bit);
    case INTEREST_REMOVE:
        if (!u64map_find(&hub->pins, pin_key(item->key, worker))) {
            clear_key(hub, item->app, item->key, bit);
        }
        break;
    case INTEREST_JOINED: unpin(hub, item->key, worker); break;
    case INTEREST_NOT_JOINED:
        if (unpin(hub, item->key, worker)) {
            clear_key(hub, item->app, item->key, bit);
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
