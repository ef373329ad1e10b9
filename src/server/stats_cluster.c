/* What is known of the other nodes, asked for at a scrape. */
#include <stddef.h>

#include "base/metrics.h"
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

static double read_lag(void *arg)
{
    return (double)cluster_lag_us(attached->cluster) / 1e6;
}

static double read_presence(void *arg)
{
    return (double)presence_users(attached->cluster);
}

static const struct stats_reader readers[] = {
    {false, "tidegate_presence_users", "Users of the cluster that are followed.", read_presence, 0},
    {true, "tidegate_presence_untracked_total", "Users that were not followed for want of room.",
     read_count, offsetof(struct cluster_stats, users_untracked)},
    {false, "tidegate_cluster_known", "1 when it is known which nodes there are.", read_known, 0},
    {false, "tidegate_bus_lag_seconds", "A beacon's way through the bus and back.", read_lag, 0},
    {true, "tidegate_cluster_beacons_received_total", "Beacons of other nodes.", read_count,
     offsetof(struct cluster_stats, beacons_in)},
    {true, "tidegate_cluster_reports_received_total", "Reports by other nodes.", read_count,
     offsetof(struct cluster_stats, reports_in)},
    {true, "tidegate_cluster_receipts_short_total", "Events that some node did not report in time.",
     read_count, offsetof(struct cluster_stats, receipts_short)},
    {true, "tidegate_cluster_questions_received_total", "Questions of other nodes.", read_count,
     offsetof(struct cluster_stats, asks_in)},
    {true, "tidegate_cluster_questions_dropped_total", "Questions too old, or too many.",
     read_count, offsetof(struct cluster_stats, asks_dropped)},
    {true, "tidegate_cluster_events_bad_total", "Events among nodes that could not be read.",
     read_count, offsetof(struct cluster_stats, bad)},
};

static void set_node_readers(bool attach)
{
    static const struct {
        enum cluster_state state;
        const char *name;
    } states[] = {
        {CLUSTER_STARTING, "starting"}, {CLUSTER_READY, "ready"}, {CLUSTER_DRAINING, "draining"}};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        struct metric *nodes = stats_labelled(metric_gauge, "tidegate_cluster_nodes",
                                              "Nodes of the cluster, by their state.", "state",
                                              states[i].name, NULL, NULL);
        metric_set_reader(nodes, attach ? read_nodes : NULL, (void *)(size_t)states[i].state);
    }
}

void stats_set_cluster_readers(struct gateway *gateway, bool attach)
{
    attached = gateway;
    set_node_readers(attach);
    stats_set_table(readers, sizeof(readers) / sizeof(readers[0]), attach);
}
