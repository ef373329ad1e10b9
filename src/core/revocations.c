#include "core/revocations.h"

enum { SWEEP_FROM = 1024, FULL_SWEEP_S = 60 };

void revocations_init(struct revocations *revocations, uint32_t max)
{
    *revocations = (struct revocations){.max = max};
    u64map_init(&revocations->entries);
}

void revocations_fini(struct revocations *revocations)
{
    u64map_fini(&revocations->entries);
}

static uint32_t before_of(uint64_t value)
{
    return (uint32_t)(value >> 32);
}

static uint32_t until_of(uint64_t value)
{
    return (uint32_t)value;
}

/* What was issued before is refused in any case. A single token may be of a clock that is ahead. */
static bool is_covered(const struct revocations *revocations, uint64_t value)
{
    return before_of(value) <= revocations->all_before_s;
}

/* Without memory for a smaller table the old one stays. */
static void sweep(struct revocations *revocations, uint32_t now_s)
{
    struct u64map kept = {0};
    size_t at = 0;
    for (struct u64map_entry *entry = u64map_next(&revocations->entries, &at); entry;
         entry = u64map_next(&revocations->entries, &at)) {
        if (until_of(entry->value) <= now_s || is_covered(revocations, entry->value)) {
            continue;
        }
        uint64_t *place = u64map_put(&kept, entry->key);
        if (!place) {
            u64map_fini(&kept);
            return;
        }
        *place = entry->value;
    }
    u64map_fini(&revocations->entries);
    revocations->entries = kept;
    revocations->swept_at = kept.count;
}

/* A sweep walks over all: at the limit not for each further one. Events that are told again are of
 * before. */
static bool is_due(struct revocations *revocations, uint32_t now_s)
{
    if (revocations->entries.count < revocations->max) {
        return revocations->entries.count > 2 * (uint64_t)revocations->swept_at + SWEEP_FROM;
    }
    if (revocations->swept_s && now_s < revocations->swept_s + FULL_SWEEP_S) {
        return false;
    }
    revocations->swept_s = now_s;
    return true;
}

static uint64_t *find_place(struct revocations *revocations, uint64_t key)
{
    uint64_t *place = u64map_find(&revocations->entries, key);
    bool is_full = revocations->entries.count >= revocations->max;
    return place || is_full ? place : u64map_put(&revocations->entries, key);
}

/* One by time of issue may reach beyond now, since clocks differ. */
static void fold(struct revocations *revocations, const struct revocation *revocation,
                 uint32_t now_s)
{
    bool reaches_on = revocation->before_s != REVOCATION_OF_ALL_TIME &&
                      revocation->before_s > now_s;
    revocations->folded++;
    revocations_cover(revocations, reaches_on ? revocation->before_s - 1 : now_s);
}

void revocations_add(struct revocations *revocations, const struct revocation *revocation,
                     uint32_t now_s)
{
    if (is_due(revocations, now_s)) {
        sweep(revocations, now_s);
    }
    uint64_t *place = find_place(revocations, revocation->key);
    if (!place) {
        fold(revocations, revocation, now_s);
        return;
    }
    uint32_t before = before_of(*place);
    uint32_t until = until_of(*place);
    before = revocation->before_s > before ? revocation->before_s : before;
    until = revocation->until_s > until ? revocation->until_s : until;
    *place = (uint64_t)before << 32 | until;
}

void revocations_cover(struct revocations *revocations, uint32_t until_s)
{
    uint32_t before = until_s == UINT32_MAX ? UINT32_MAX : until_s + 1;
    revocations->all_before_s = before > revocations->all_before_s ? before
                                                                   : revocations->all_before_s;
}

bool revocations_have(const struct revocations *revocations, uint64_t key, uint32_t issued_s)
{
    if (issued_s < revocations->all_before_s) {
        return true;
    }
    const uint64_t *value = key ? u64map_find(&revocations->entries, key) : NULL;
    return value && issued_s < before_of(*value);
}
