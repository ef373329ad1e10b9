/* Values that are asked for at a scrape. */
#include <stddef.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
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
    return (double)loop_take_longest_turn_us(arg) / 1e6;
}

static double read_log_lost(void *arg)
{
    return (double)log_lines_lost();
}

static double read_log_suppressed(void *arg)
{
    return (double)log_lines_suppressed();
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
    {false, "tidegate_users", "Distinct users with a session.", read_hub,
     offsetof(struct hub_stats, users)},
    {false, "tidegate_groups", "Groups with a member.", read_hub,
     offsetof(struct hub_stats, groups)},
    {false, "tidegate_group_members", "Memberships of sessions in groups.", read_shard,
     offsetof(struct shard_stats, members)},
    {true, "tidegate_messages_matched_total", "Sessions that a message was for.", read_shard,
     offsetof(struct shard_stats, matched)},
    {true, "tidegate_messages_replayed_total", "Messages sent to sessions that resumed.",
     read_shard, offsetof(struct shard_stats, replayed)},
    {true, "tidegate_messages_expired_total", "Messages past their ttl, counted on each worker.",
     read_shard, offsetof(struct shard_stats, expired)},
    {true, "tidegate_catch_ups_total", "Times a worker read the window because its ring was full.",
     read_shard, offsetof(struct shard_stats, catch_ups)},
    {true, "tidegate_revocations_folded_total",
     "Times a worker lost revocations or had no room, and refuses all tokens of before instead.",
     read_shard, offsetof(struct shard_stats, revocations_folded)},
    {true, "tidegate_bus_records_received_total", "Records received from the bus.", read_hub,
     offsetof(struct hub_stats, records_in)},
    {true, "tidegate_bus_events_received_total", "Events received from the bus.", read_hub,
     offsetof(struct hub_stats, events_in)},
    {true, "tidegate_bus_events_foreign_total", "Events for nobody on this node.", read_hub,
     offsetof(struct hub_stats, events_foreign)},
    {true, "tidegate_bus_events_repeated_total", "Events received twice and dropped.", read_hub,
     offsetof(struct hub_stats, events_repeated)},
    {true, "tidegate_bus_events_bad_total", "Events that could not be read.", read_hub,
     offsetof(struct hub_stats, events_bad)},
    {true, "tidegate_bus_events_failed_over_total",
     "Events published to another queue than that of their key.", read_hub,
     offsetof(struct hub_stats, failed_over)},
    {true, "tidegate_bus_events_rekeyed_total", "Events received that another secret made.",
     read_hub, offsetof(struct hub_stats, rekeyed)},
    {true, "tidegate_bus_records_published_total", "Records published.", read_hub,
     offsetof(struct hub_stats, records_out)},
    {true, "tidegate_bus_events_published_total", "Events published.", read_hub,
     offsetof(struct hub_stats, events_out)},
    {true, "tidegate_bus_holes_total", "Holes that the bus reported.", read_hub,
     offsetof(struct hub_stats, holes)},
    {true, "tidegate_window_evicted_total", "Messages that left the window.", read_hub,
     offsetof(struct hub_stats, evicted)},
    {false, "tidegate_interest_keys", "Targets that this node has sessions for.", read_hub,
     offsetof(struct hub_stats, interest_keys)},
    {false, "tidegate_window_bytes", "Bytes in the window, its index included.", read_window_bytes,
     0},
    {false, "tidegate_window_messages", "Messages in the window.", read_window_messages, 0},
    {false, "tidegate_receipts", "Messages whose deliveries are being counted.", read_receipts, 0},
    {false, "tidegate_window_age_seconds", "Age of the oldest message in the window.",
     read_window_age, 0},
    {true, "tidegate_log_lines_lost_total", "Log lines that never reached the stream.",
     read_log_lost, 0},
    {true, "tidegate_log_lines_suppressed_total", "Log lines held back by the rate limit.",
     read_log_suppressed, 0},
    {true, "tidegate_accept_shortages_total",
     "Times that descriptors or memory were short for accepting.", read_shortages, 0},
};

enum { READERS = sizeof(readers) / sizeof(readers[0]) };

void stats_set_table(const struct stats_reader *table, size_t count, bool attach)
{
    for (size_t i = 0; i < count; i++) {
        const struct stats_reader *reader = &table[i];
        struct metric *series = reader->is_counter ? metric_counter(reader->name, reader->help, "")
                                                   : metric_gauge(reader->name, reader->help, "");
        metric_set_reader(series, attach ? reader->read : NULL, (void *)reader->arg);
    }
}

static void set_loop_readers(struct loop *loop, const char *thread, bool attach)
{
    struct metric *busy = stats_labelled(metric_counter, "tidegate_loop_busy_seconds_total",
                                         "Time that a loop was not waiting.", "thread", thread,
                                         NULL, NULL);
    struct metric *lag = stats_labelled(metric_gauge, "tidegate_loop_lag_seconds",
                                        "Longest turn of a loop since the last scrape.", "thread",
                                        thread, NULL, NULL);
    metric_set_reader(busy, attach ? read_busy : NULL, loop);
    metric_set_reader(lag, attach ? read_lag : NULL, loop);
}

static void set_readers(struct gateway *gateway, bool attach)
{
    stats_set_table(readers, READERS, attach);
    for (int owner = 0; owner < MEM_OWNERS; owner++) {
        struct metric *bytes = stats_labelled(metric_gauge, "tidegate_memory_bytes",
                                              "Memory held, by what for.", "owner",
                                              mem_owner_name((enum mem_owner)owner), NULL, NULL);
        metric_set_reader(bytes, attach ? read_memory : NULL, (void *)(size_t)owner);
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
