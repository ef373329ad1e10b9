/* Values that are asked for at a scrape. */
#include <stddef.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/audit.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/hub.h"
#include "core/receipt.h"
#include "server/stats.h"
#include "server/stats_private.h"

static struct gateway *attached;

static double sum_shards(size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; attached && i < attached->worker_count; i++) {
        char *stats = (char *)shard_get_stats(attached->workers[i].shard);
        sum += atomic_load_explicit((atomic_uint_fast64_t *)(stats + offset), memory_order_relaxed);
    }
    return (double)sum;
}

static double read_shard(void *arg)
{
    return sum_shards((size_t)arg);
}

static double read_hub(void *arg)
{
    char *stats = (char *)hub_get_stats(attached->hub);
    return (double)atomic_load_explicit((atomic_uint_fast64_t *)(stats + (size_t)arg),
                                        memory_order_relaxed);
}

static double read_memory(void *arg)
{
    return (double)mem_accounted((enum mem_owner)(size_t)arg);
}

static double read_window_bytes(void *arg)
{
    return (double)window_bytes(hub_window(attached->hub));
}

static double read_window_messages(void *arg)
{
    return (double)window_messages(hub_window(attached->hub));
}

static double read_window_age(void *arg)
{
    return (double)window_age_ms(hub_window(attached->hub), clock_monotonic_ms()) / 1000;
}

static double read_start(void *arg)
{
    return (double)attached->started_ms / 1000;
}

static double read_receipts(void *arg)
{
    return (double)receipt_held();
}

static double read_busy(void *arg)
{
    return (double)loop_busy_us(arg) / 1e6;
}

static double read_lag(void *arg)
{
    return (double)loop_longest_turn_us(arg, clock_monotonic_us()) / 1e6;
}

static double read_log_lost(void *arg)
{
    return (double)log_lines_lost();
}

static double read_log_suppressed(void *arg)
{
    return (double)log_lines_suppressed();
}

static double read_queued_bytes(void *arg)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < attached->worker_count; i++) {
        sum += atomic_load_explicit(&attached->workers[i].pool.bytes, memory_order_relaxed);
    }
    return (double)sum;
}

static double read_audit(void *arg)
{
    return (double)audit_lines();
}

static double read_audit_lost(void *arg)
{
    return (double)audit_lines_lost();
}

static double read_shortages(void *arg)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < attached->worker_count; i++) {
        const struct worker *worker = &attached->workers[i];
        sum += worker->client_listener ? listener_shortages(worker->client_listener) : 0;
        sum += worker->api_listener ? listener_shortages(worker->api_listener) : 0;
    }
    return (double)sum;
}

static const struct stats_reader readers[] = {
    {FAMILY(group_members), read_shard, offsetof(struct shard_stats, members)},
    {FAMILY(messages_matched_total), read_shard, offsetof(struct shard_stats, matched)},
    {FAMILY(messages_replayed_total), read_shard, offsetof(struct shard_stats, replayed)},
    {FAMILY(messages_expired_total), read_shard, offsetof(struct shard_stats, expired)},
    {FAMILY(catch_ups_total), read_shard, offsetof(struct shard_stats, catch_ups)},
    {FAMILY(revocations_folded_total), read_shard,
     offsetof(struct shard_stats, revocations_folded)},
    {FAMILY(bus_records_received_total), read_hub, offsetof(struct hub_stats, records_in)},
    {FAMILY(bus_events_received_total), read_hub, offsetof(struct hub_stats, events_in)},
    {FAMILY(bus_events_foreign_total), read_hub, offsetof(struct hub_stats, events_foreign)},
    {FAMILY(bus_events_repeated_total), read_hub, offsetof(struct hub_stats, events_repeated)},
    {FAMILY(bus_events_bad_total), read_hub, offsetof(struct hub_stats, events_bad)},
    {FAMILY(bus_events_failed_over_total), read_hub, offsetof(struct hub_stats, failed_over)},
    {FAMILY(bus_events_rekeyed_total), read_hub, offsetof(struct hub_stats, rekeyed)},
    {FAMILY(bus_records_published_total), read_hub, offsetof(struct hub_stats, records_out)},
    {FAMILY(bus_events_published_total), read_hub, offsetof(struct hub_stats, events_out)},
    {FAMILY(bus_holes_total), read_hub, offsetof(struct hub_stats, holes)},
    {FAMILY(window_evicted_total), read_hub, offsetof(struct hub_stats, evicted)},
    {FAMILY(interest_keys), read_hub, offsetof(struct hub_stats, interest_keys)},
    {FAMILY(window_bytes), read_window_bytes, 0},
    {FAMILY(window_messages), read_window_messages, 0},
    {FAMILY(start_time_seconds), read_start, 0},
    {FAMILY(receipts), read_receipts, 0},
    {FAMILY(window_age_seconds), read_window_age, 0},
    {FAMILY(log_lines_lost_total), read_log_lost, 0},
    {FAMILY(log_lines_suppressed_total), read_log_suppressed, 0},
    {FAMILY(audit_lines_total), read_audit, 0},
    {FAMILY(audit_lines_lost_total), read_audit_lost, 0},
    {FAMILY(accept_shortages_total), read_shortages, 0},
    {FAMILY(queued_bytes), read_queued_bytes, 0},
};

enum { READERS = sizeof(readers) / sizeof(readers[0]) };

void stats_set_table(const struct stats_reader *table, size_t count, bool attach)
{
    for (size_t i = 0; i < count; i++) {
        const struct stats_reader *reader = &table[i];
        metric_set_reader(metric_series(reader->family), attach ? reader->read : NULL,
                          (void *)reader->arg);
    }
}

static void set_loop_readers(struct loop *loop, const char *thread, bool attach)
{
    struct metric *busy = SERIES(loop_busy_seconds_total, thread);
    struct metric *lag = SERIES(loop_lag_seconds, thread);
    metric_set_reader(busy, attach ? read_busy : NULL, loop);
    metric_set_reader(lag, attach ? read_lag : NULL, loop);
}

static void set_readers(struct gateway *gateway, bool attach)
{
    stats_set_table(readers, READERS, attach);
    for (int owner = 0; owner < MEM_OWNERS; owner++) {
        struct metric *bytes = SERIES(memory_bytes, mem_owner_name((enum mem_owner)owner));
        metric_set_reader(bytes, attach ? read_memory : NULL, (void *)(size_t)owner);
    }
    if (attach) {
        stats_set_apps(gateway, gateway->workers[0].tenants);
    } else {
        stats_drop_apps();
    }
    stats_set_cluster_readers(gateway, attach);
    stats_set_kept_readers(gateway, attach);
    stats_set_bus_readers(gateway, attach);
    set_loop_readers(gateway->hub_loop, "bus", attach);
    for (uint32_t i = 0; i < gateway->worker_count; i++) {
        char name[24];
        snprintf(name, sizeof(name), "worker%u", i);
        set_loop_readers(gateway->workers[i].loop, name, attach);
    }
}

void stats_attach(struct gateway *gateway)
{
    attached = gateway;
    set_readers(gateway, true);
}

void stats_detach(void)
{
    if (attached) {
        set_readers(attached, false);
        attached = NULL;
    }
}
