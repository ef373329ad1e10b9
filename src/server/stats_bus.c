/* What the engine of the bus counts, each series with its name as the label `bus`. */
#include <stddef.h>
#include <stdio.h>

#include "bus/bus.h"
#include "core/hub.h"
#include "server/stats.h"
#include "server/stats_private.h"

static struct metric *published;
static struct hub_stats *hub_stats; /* of the attached gateway */

void stats_name_bus(const char *engine)
{
    published = stats_labelled(metric_histogram, "tidegate_bus_publish_seconds",
                               "Time from sending a record to its acknowledgement.", "bus", engine,
                               NULL, NULL);
}

void stats_bus_published(uint64_t us)
{
    if (published) {
        metric_observe_us(published, us);
    }
}

static double read_counter(void *arg)
{
    return (double)atomic_load_explicit((atomic_uint_fast64_t *)arg, memory_order_relaxed);
}

static double read_up(void *arg)
{
    return hub_bus_is_up(arg) ? 1 : 0;
}

static const struct counter {
    bool is_counter;
    const char *name;
    const char *help;
    size_t offset; /* in struct bus_stats */
    const char *direction;
} counters[] = {
    {true, "tidegate_bus_reconnects_total", "Links to the bus that were lost and made again.",
     offsetof(struct bus_stats, reconnects), NULL},
    {true, "tidegate_bus_publish_retries_total", "Records that were sent again.",
     offsetof(struct bus_stats, retries), NULL},
    {true, "tidegate_bus_skipped_total", "Entries of a queue that are no records.",
     offsetof(struct bus_stats, skipped), NULL},
    {true, "tidegate_bus_bytes_total", "Bytes of records.", offsetof(struct bus_stats, bytes_out),
     "out"},
    {true, "tidegate_bus_bytes_total", "Bytes of records.", offsetof(struct bus_stats, bytes_in),
     "in"},
    {false, "tidegate_bus_links", "Links to the bus that are open.",
     offsetof(struct bus_stats, links), NULL},
};

enum { COUNTERS = sizeof(counters) / sizeof(counters[0]) };

static void set_counter(const struct counter *counter, struct bus *bus, bool attach)
{
    struct metric *metric = stats_labelled(
        counter->is_counter ? metric_counter : metric_gauge, counter->name, counter->help, "bus",
        bus->engine->name, counter->direction ? "direction" : NULL, counter->direction);
    metric_set_reader(metric, attach ? read_counter : NULL, (char *)&bus->stats + counter->offset);
}

/* The bit of a queue. */
static double read_queue_up(void *arg)
{
    return (double)(atomic_load_explicit(&hub_stats->queues_up, memory_order_relaxed) >>
                        (size_t)arg &
                    1);
}

static double read_queue_failed_over(void *arg)
{
    return (double)(atomic_load_explicit(&hub_stats->queues_failed_over, memory_order_relaxed) >>
                        (size_t)arg &
                    1);
}

static void set_queue_readers(const struct bus *bus, size_t queue, bool attach)
{
    char index[24];
    snprintf(index, sizeof(index), "%zu", queue);
    struct metric *up = stats_labelled(metric_gauge, "tidegate_bus_queue_up",
                                       "1 when the queue can be reached.", "bus", bus->engine->name,
                                       "queue", index);
    struct metric *failed_over = stats_labelled(metric_gauge, "tidegate_bus_queue_failed_over",
                                                "1 while the queue's keys go to other queues.",
                                                "bus", bus->engine->name, "queue", index);
    metric_set_reader(up, attach ? read_queue_up : NULL, (void *)queue);
    metric_set_reader(failed_over, attach ? read_queue_failed_over : NULL, (void *)queue);
}

void stats_set_bus_readers(struct gateway *gateway, bool attach)
{
    struct bus *bus = gateway->bus;
    struct metric *up = stats_labelled(metric_gauge, "tidegate_bus_up",
                                       "1 when the bus can be published to.", "bus",
                                       bus->engine->name, NULL, NULL);
    hub_stats = hub_get_stats(gateway->hub);
    metric_set_reader(up, attach ? read_up : NULL, gateway->hub);
    for (size_t i = 0; i < bus->queues; i++) {
        set_queue_readers(bus, i, attach);
    }
    for (size_t i = 0; i < COUNTERS; i++) {
        set_counter(&counters[i], bus, attach);
    }
}
