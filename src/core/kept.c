#include "core/kept.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/u64map.h"

/* What an app has of each budget. */
struct usage {
    uint64_t used[KEPT_BUDGETS];
    uint64_t reserved[KEPT_BUDGETS];
};

struct kept {
    struct kept_options options;
    struct u64map entries; /* place → struct kept_entry */
    struct u64map usages;  /* app hash → struct usage */
    struct kept_entry *oldest, *newest;
    struct timer_wheel wheel;
    struct kept_stats stats;
};

static void count(atomic_uint_fast64_t *counter, int64_t by)
{
    atomic_fetch_add_explicit(counter, (uint64_t)by, memory_order_relaxed);
}

int kept_create(struct kept **out_kept, const struct kept_options *options)
{
    struct kept *kept = mem_zalloc(sizeof(*kept));
    if (!kept) {
        return ERR_NO_MEMORY;
    }
    kept->options = *options;
    uint64_t *budgets = kept->options.budgets;
    budgets[KEPT_RESULTS] = budgets[KEPT_RESULTS] ? budgets[KEPT_RESULTS] : KEPT_RESULT_BYTES;
    budgets[KEPT_TICKETS] = budgets[KEPT_TICKETS] ? budgets[KEPT_TICKETS] : KEPT_TICKET_BYTES;
    budgets[KEPT_OTHERS] = budgets[KEPT_OTHERS] ? budgets[KEPT_OTHERS] : KEPT_OTHER_BYTES;
    timer_wheel_init(&kept->wheel, options->now_ms);
    *out_kept = kept;
    return 0;
}

struct kept_stats *kept_get_stats(struct kept *kept)
{
    return &kept->stats;
}

/* ---- budgets ---- */

static enum kept_budget budget_of(enum kept_kind kind)
{
    static const uint8_t budgets[KEPT_KINDS] = {[KEPT_REVOCATION] = KEPT_OTHERS,
                                                [KEPT_CLAIM] = KEPT_TICKETS,
                                                [KEPT_END] = KEPT_TICKETS,
                                                [KEPT_RESULT] = KEPT_RESULTS,
                                                [KEPT_VOID] = KEPT_TICKETS};
    return (enum kept_budget)budgets[kind];
}

static struct usage *find_usage(const struct kept *kept, uint32_t app)
{
    uint64_t *place = u64map_find(&kept->usages, app);
    return place ? (struct usage *)(uintptr_t)*place : NULL;
}

/* NULL: no memory for it. Stays until the end: there are as many as apps. */
static struct usage *usage_of(struct kept *kept, uint32_t app)
{
    struct usage *usage = find_usage(kept, app);
    if (usage) {
        return usage;
    }
    usage = mem_zalloc(sizeof(*usage));
    uint64_t *place = usage ? u64map_put(&kept->usages, app) : NULL;
    if (!place) {
        mem_free(usage);
        return NULL;
    }
    *place = (uint64_t)(uintptr_t)usage;
    return usage;
}

bool kept_reserve(struct kept *kept, enum kept_budget budget, uint32_t app, uint64_t bytes)
{
    struct usage *usage = usage_of(kept, app);
    if (!usage ||
        usage->used[budget] + usage->reserved[budget] + bytes > kept->options.budgets[budget]) {
        count(&kept->stats.refused[budget], 1);
        return false;
    }
    usage->reserved[budget] += bytes;
    return true;
}

void kept_release(struct kept *kept, enum kept_budget budget, uint32_t app, uint64_t bytes)
{
    struct usage *usage = find_usage(kept, app);
    ASSERT(usage && usage->reserved[budget] >= bytes);
    usage->reserved[budget] -= bytes;
}

static uint64_t bytes_of(const struct kept_entry *entry)
{
    return sizeof(*entry) + entry->message->size;
}

uint64_t kept_bytes(size_t encoded_len)
{
    return sizeof(struct kept_entry) + sizeof(struct message) + 2 * sizeof(uint64_t) + encoded_len;
}

static void account(struct kept *kept, const struct kept_entry *entry, struct usage *usage,
                    int sign)
{
    enum kept_budget budget = budget_of(entry->kind);
    int64_t bytes = sign * (int64_t)bytes_of(entry);
    usage->used[budget] += (uint64_t)bytes;
    count(&kept->stats.bytes[budget], bytes);
    count(&kept->stats.entries[entry->kind], sign);
    mem_account(MEM_KEPT, bytes);
}

/* ---- the order in which they were looked at ---- */

static void unlink_entry(struct kept *kept, struct kept_entry *entry)
{
    *(entry->older ? &entry->older->newer : &kept->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &kept->newest) = entry->older;
}

static void link_newest(struct kept *kept, struct kept_entry *entry)
{
    entry->newer = NULL;
    entry->older = kept->newest;
    *(kept->newest ? &kept->newest->newer : &kept->oldest) = entry;
    kept->newest = entry;
}

static void link_oldest(struct kept *kept, struct kept_entry *entry)
{
    entry->older = NULL;
    entry->newer = kept->oldest;
    *(kept->oldest ? &kept->oldest->older : &kept->newest) = entry;
    kept->oldest = entry;
}

/* What is due stands first. The rest of what a start reads back, queue by queue, is as good as in
 * order: none is older than one that is due. */
static void see(struct kept *kept, struct kept_entry *entry, const struct kept_offer *offer)
{
    entry->seen_ms = offer->now_ms - offer->age_ms;
    entry->looked_ms = entry->seen_ms;
    (offer->is_due ? link_oldest : link_newest)(kept, entry);
}

static void see_again(struct kept *kept, struct kept_entry *entry, const struct kept_offer *offer)
{
    if (offer->now_ms - offer->age_ms >= entry->seen_ms) {
        unlink_entry(kept, entry);
        see(kept, entry, offer);
    }
}

/* ---- entries ---- */

static uint64_t place_of(const struct kept *kept, enum kept_kind kind, uint64_t key, struct str id)
{
    struct siphash_key hash_key = {kept->options.hash_key.k0 ^ key,
                                   kept->options.hash_key.k1 + kind};
    return siphash(&hash_key, id.ptr, id.len);
}

static struct kept_entry *at_place(const struct kept *kept, uint64_t place)
{
    uint64_t *found = u64map_find(&kept->entries, place);
    return found ? (struct kept_entry *)(uintptr_t)*found : NULL;
}

struct kept_entry *kept_find(const struct kept *kept, enum kept_kind kind, uint64_t key,
                             struct str id)
{
    return at_place(kept, place_of(kept, kind, key, id));
}

static void on_timer(struct timer *timer)
{
    struct kept_entry *entry = (struct kept_entry *)((char *)timer -
                                                     offsetof(struct kept_entry, timer));
    struct kept *kept = entry->kept;
    if (kept->options.on_expire) {
        kept->options.on_expire(kept->options.owner, entry);
    }
    kept_drop(kept, entry);
}

static bool is_over_hard_limit(const struct kept *kept, const struct usage *usage,
                               const struct kept_offer *offer)
{
    enum kept_budget budget = budget_of(offer->kind);
    return usage->used[budget] + kept_bytes(offer->encoded.len) > 2 * kept->options.budgets[budget];
}

static struct kept_entry *create_entry(struct kept *kept, uint64_t place,
                                       const struct kept_offer *offer)
{
    struct kept_entry *entry = mem_zalloc(sizeof(*entry));
    struct message *message = message_create(offer->encoded, offer->event, offer->queue,
                                             offer->first);
    uint64_t *slot = entry && message ? u64map_put(&kept->entries, place) : NULL;
    if (!slot) {
        message_unref(message);
        mem_free(entry);
        return NULL;
    }
    *slot = (uint64_t)(uintptr_t)entry;
    *entry = (struct kept_entry){.kind = offer->kind,
                                 .key = offer->key,
                                 .expires_ms = offer->expires_ms,
                                 .message = message,
                                 .place = place,
                                 .kept = kept,
                                 .timer = {.on_fire = on_timer}};
    return entry;
}

static enum kept_verdict lose(struct kept *kept, enum kept_verdict verdict)
{
    count(&kept->stats.lost, 1);
    return verdict;
}

static enum kept_verdict take_new(struct kept *kept, uint64_t place, const struct kept_offer *offer,
                                  struct kept_entry **out_entry)
{
    struct usage *usage = usage_of(kept, offer->event->header.app);
    if (usage && is_over_hard_limit(kept, usage, offer)) {
        return lose(kept, KEPT_FULL);
    }
    struct kept_entry *entry = usage ? create_entry(kept, place, offer) : NULL;
    if (!entry) {
        return lose(kept, KEPT_NO_MEMORY);
    }
    see(kept, entry, offer);
    timer_start(&kept->wheel, &entry->timer, offer->now_ms, offer->expires_ms - offer->wall_ms);
    account(kept, entry, usage, 1);
    *out_entry = entry;
    return KEPT_NEW;
}

enum kept_verdict kept_take(struct kept *kept, const struct kept_offer *offer,
                            struct kept_entry **out_entry)
{
    uint64_t place = place_of(kept, offer->kind, offer->key, offer->event->id);
    struct kept_entry *entry = at_place(kept, place);
    if (entry) {
        see_again(kept, entry, offer);
        *out_entry = entry;
        return KEPT_KNOWN;
    }
    return offer->expires_ms <= offer->wall_ms ? KEPT_EXPIRED
                                               : take_new(kept, place, offer, out_entry);
}

void kept_drop(struct kept *kept, struct kept_entry *entry)
{
    account(kept, entry, find_usage(kept, entry->message->event.header.app), -1);
    timer_stop(&kept->wheel, &entry->timer);
    unlink_entry(kept, entry);
    u64map_remove(&kept->entries, entry->place);
    message_unref(entry->message);
    mem_free(entry);
}

void kept_advance(struct kept *kept, uint64_t now_ms)
{
    uint32_t before = kept->entries.count;
    timer_wheel_advance(&kept->wheel, now_ms);
    if (kept->entries.count < before) {
        u64map_shrink(&kept->entries);
    }
}

/* ---- again ---- */

struct kept_entry *kept_next_due(struct kept *kept, uint64_t now_ms, uint64_t wall_ms,
                                 uint64_t interval_ms, uint64_t retain_ms)
{
    struct kept_entry *entry;
    while ((entry = kept->oldest) && now_ms - entry->looked_ms >= interval_ms) {
        uint64_t lost_in_ms = entry->seen_ms + retain_ms - now_ms;
        bool is_covered = entry->seen_ms + retain_ms > now_ms &&
                          entry->expires_ms <= wall_ms + lost_in_ms;
        unlink_entry(kept, entry);
        entry->looked_ms = now_ms;
        link_newest(kept, entry);
        if (!is_covered) {
            count(&kept->stats.again, 1);
            return entry;
        }
    }
    return NULL;
}

void kept_not_told(struct kept *kept, uint64_t place)
{
    struct kept_entry *entry = at_place(kept, place);
    if (entry && entry->looked_ms != entry->seen_ms) {
        unlink_entry(kept, entry);
        entry->looked_ms = entry->seen_ms;
        link_oldest(kept, entry);
    }
}

/* ---- the end ---- */

void kept_destroy(struct kept *kept)
{
    if (!kept) {
        return;
    }
    while (kept->oldest) {
        kept_drop(kept, kept->oldest);
    }
    size_t at = 0;
    for (struct u64map_entry *entry = u64map_next(&kept->usages, &at); entry;
         entry = u64map_next(&kept->usages, &at)) {
        mem_free((void *)(uintptr_t)entry->value);
    }
    u64map_fini(&kept->usages);
    u64map_fini(&kept->entries);
    mem_free(kept);
}
