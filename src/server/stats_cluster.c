/* What is known of the other nodes, asked for at a scrape. */
#include <stddef.h>

#include "base/clock.h"
#include "core/presence.h"
#include "server/stats.h"
#include "server/stats_private.h"

static struct gateway *attached;

static double read_count(void *arg)
{
    char *stats = (char *)cluster_get_stats(attached->cluster);
    return (double)atomic_load_explicit((atomic_uint_fast64_t *)(stats + (size_t)arg),
                                        memory_order_relaxed);
}

static double read_known(void *arg)
{
    uint32_t counts[CLUSTER_GONE];
    return cluster_count_states(attached->cluster, counts) ? 1 : 0;
}

static double read_nodes(void *arg)
{
    uint32_t counts[CLUSTER_GONE];
    cluster_count_states(attached->cluster, counts);
    return counts[(size_t)arg];
}

static double read_lost(void *arg)
{
    return cluster_count_lost(attached->cluster, clock_monotonic_ms());
}

/* Why a node is not ready, as gateway_not_ready; a drain is somebody's wish. */
static double read_unready(void *arg)
{
    char reason[BUS_HEALTH_TEXT];
    switch ((size_t)arg) {
    case 0: return !bus_health_is_up(&attached->bus_health, reason);
    case 1: return cluster_is_unready(attached->cluster, reason, sizeof(reason));
    default: return atomic_load_explicit(&attached->draining, memory_order_acquire);
    }
}

static double read_lag(void *arg)
{
    return (double)cluster_lag_us(attached->cluster) / 1e6;
}

static double read_presence(void *arg)
{
    return (double)presence_users(attached->cluster);
}

static const struct stats_reader readers[] = {
    {FAMILY(presence_users), read_presence, 0},
    {FAMILY(presence_untracked_total), read_count, offsetof(struct cluster_stats, users_untracked)},
    {FAMILY(cluster_known), read_known, 0},
    {FAMILY(cluster_nodes_lost), read_lost, 0},
    {FAMILY(bus_lag_seconds), read_lag, 0},
    {FAMILY(cluster_beacons_received_total), read_count,
     offsetof(struct cluster_stats, beacons_in)},
    {FAMILY(cluster_reports_received_total), read_count,
     offsetof(struct cluster_stats, reports_in)},
    {FAMILY(cluster_receipts_short_total), read_count,
     offsetof(struct cluster_stats, receipts_short)},
    {FAMILY(cluster_questions_received_total), read_count, offsetof(struct cluster_stats, asks_in)},
    {FAMILY(cluster_questions_dropped_total), read_count,
     offsetof(struct cluster_stats, asks_dropped)},
    {FAMILY(cluster_events_bad_total), read_count, offsetof(struct cluster_stats, bad)},
};

static void set_node_readers(bool attach)
{
    static const struct {
        enum cluster_state state;
        const char *name;
    } states[] = {
        {CLUSTER_STARTING, "starting"}, {CLUSTER_READY, "ready"}, {CLUSTER_DRAINING, "draining"}};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        struct metric *nodes = SERIES(cluster_nodes, states[i].name);
        metric_set_reader(nodes, attach ? read_nodes : NULL, (void *)(size_t)states[i].state);
    }
}

static void set_unready_readers(bool attach)
{
    static const char *const reasons[] = {"bus", "cluster", "draining"};
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        metric_set_reader(SERIES(not_ready, reasons[i]), attach ? read_unready : NULL, (void *)i);
    }
}

void stats_set_cluster_readers(struct gateway *gateway, bool attach)
{
    attached = gateway;
    set_node_readers(attach);
    set_unready_readers(attach);
    stats_set_table(readers, sizeof(readers) / sizeof(readers[0]), attach);
}
