/* What outlives the window (core/kept.h), asked for at a scrape. */
#include <stddef.h>

#include "core/kept.h"
#include "server/stats.h"
#include "server/stats_private.h"

static struct gateway *attached;

static double read_stat(void *arg)
{
    char *stats = (char *)hub_get_kept_stats(attached->hub);
    return (double)atomic_load_explicit((atomic_uint_fast64_t *)(stats + (size_t)arg),
                                        memory_order_relaxed);
}

static const struct stats_reader readers[] = {
    {FAMILY(kept_lost_total), read_stat, offsetof(struct kept_stats, lost)},
    {FAMILY(kept_again_total), read_stat, offsetof(struct kept_stats, again)},
};

static void set_reader(struct metric *series, bool attach, size_t offset)
{
    metric_set_reader(series, attach ? read_stat : NULL, (void *)offset);
}

static void set_kind_readers(bool attach)
{
    static const char *const kinds[KEPT_KINDS] = {[KEPT_REVOCATION] = "revocation",
                                                  [KEPT_CLAIM] = "claim",
                                                  [KEPT_END] = "end",
                                                  [KEPT_RESULT] = "result",
                                                  [KEPT_VOID] = "cancelled"};
    for (size_t i = 0; i < KEPT_KINDS; i++) {
        struct metric *entries = SERIES(kept_entries, kinds[i]);
        set_reader(entries, attach,
                   offsetof(struct kept_stats, entries) + i * sizeof(atomic_uint_fast64_t));
    }
}

static void set_budget_readers(bool attach)
{
    static const char *const budgets[KEPT_BUDGETS] = {
        [KEPT_RESULTS] = "results", [KEPT_TICKETS] = "tickets", [KEPT_OTHERS] = "others"};
    for (size_t i = 0; i < KEPT_BUDGETS; i++) {
        struct metric *bytes = SERIES(kept_bytes, budgets[i]);
        struct metric *refused = SERIES(kept_refused_total, budgets[i]);
        size_t at = i * sizeof(atomic_uint_fast64_t);
        set_reader(bytes, attach, offsetof(struct kept_stats, bytes) + at);
        set_reader(refused, attach, offsetof(struct kept_stats, refused) + at);
    }
}

void stats_set_kept_readers(struct gateway *gateway, bool attach)
{
    attached = gateway;
    stats_set_table(readers, sizeof(readers) / sizeof(readers[0]), attach);
    set_kind_readers(attach);
    set_budget_readers(attach);
}
