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
    published = SERIES(bus_publish_seconds, engine);
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
    const struct metric_family *family;
    size_t offset; /* in struct bus_stats */
    const char *direction;
} counters[] = {
    {FAMILY(bus_reconnects_total), offsetof(struct bus_stats, reconnects), NULL},
    {FAMILY(bus_publish_retries_total), offsetof(struct bus_stats, retries), NULL},
    {FAMILY(bus_skipped_total), offsetof(struct bus_stats, skipped), NULL},
    {FAMILY(bus_bytes_total), offsetof(struct bus_stats, bytes_out), "out"},
    {FAMILY(bus_bytes_total), offsetof(struct bus_stats, bytes_in), "in"},
    {FAMILY(bus_links), offsetof(struct bus_stats, links), NULL},
};

enum { COUNTERS = sizeof(counters) / sizeof(counters[0]) };

static void set_counter(const struct counter *counter, struct bus *bus, bool attach)
{
    const char *values[] = {bus->engine->name, counter->direction};
    struct metric *metric = metric_series_with(counter->family, values, counter->direction ? 2 : 1);
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
    struct metric *up = SERIES(bus_queue_up, bus->engine->name, index);
    struct metric *failed_over = SERIES(bus_queue_failed_over, bus->engine->name, index);
    metric_set_reader(up, attach ? read_queue_up : NULL, (void *)queue);
    metric_set_reader(failed_over, attach ? read_queue_failed_over : NULL, (void *)queue);
}

void stats_set_bus_readers(struct gateway *gateway, bool attach)
{
    struct bus *bus = gateway->bus;
    struct metric *up = SERIES(bus_up, bus->engine->name);
    hub_stats = hub_get_stats(gateway->hub);
    metric_set_reader(up, attach ? read_up : NULL, gateway->hub);
    for (size_t i = 0; i < bus->queues; i++) {
        set_queue_readers(bus, i, attach);
    }
    for (size_t i = 0; i < COUNTERS; i++) {
        set_counter(&counters[i], bus, attach);
    }
}
