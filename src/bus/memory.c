/* The embedded bus: queues inside the process, a cluster of one. A record is acknowledged and
 * handed back at the flush that ends the turn it was published in; nothing is kept here, the window
 * keeps it. */
#include <stdio.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/mem.h"
#include "bus/engines.h"

struct memory_bus {
    struct bus bus;            /* first */
    struct bus_publish *first; /* gathered in this turn */
    struct bus_publish **end;
    uint64_t counters[BUS_MAX_QUEUES]; /* the hi of each queue's last record */
    uint64_t history;                  /* what was before is gone, and says so by another number */
    bool announced;
};

static int memory_create(struct bus **out_bus, struct loop *loop, const struct bus_options *options,
                         const struct bus_callbacks *callbacks, void *owner)
{
    ASSERT(options->queues >= 1 && options->queues <= BUS_MAX_QUEUES);
    struct memory_bus *memory = mem_zalloc(sizeof(*memory));
    if (!memory) {
        return ERR_NO_MEMORY;
    }
    if (getrandom(&memory->history, sizeof(memory->history), 0) != sizeof(memory->history)) {
        mem_free(memory);
        return ERR_UNAVAILABLE;
    }
    memory->bus.engine = &bus_memory_engine;
    memory->bus.callbacks = callbacks;
    memory->bus.owner = owner;
    memory->bus.queues = options->queues;
    memory->bus.max_record = UINT32_MAX;
    memory->bus.failover_after_ms = UINT64_MAX;
    memory->end = &memory->first;
    *out_bus = &memory->bus;
    return 0;
}

static int memory_publish(struct bus *bus, struct bus_publish *publish)
{
    struct memory_bus *memory = (struct memory_bus *)bus;
    ASSERT(publish->queue < bus->queues);
    publish->next = NULL;
    *memory->end = publish;
    memory->end = &publish->next;
    return 0;
}

static void hand_back(struct memory_bus *memory, struct bus_publish *publish)
{
    struct bus_pos pos = {++memory->counters[publish->queue], 0};
    memory->bus.callbacks->on_record(memory->bus.owner, publish->queue, pos, publish->record, 0);
    publish->on_done(publish, 0, pos);
}

static struct bus_publish *take_all(struct memory_bus *memory)
{
    struct bus_publish *first = memory->first;
    memory->first = NULL;
    memory->end = &memory->first;
    return first;
}

static void announce(struct memory_bus *memory)
{
    struct bus *bus = &memory->bus;
    char epoch[17];
    snprintf(epoch, sizeof(epoch), "%016llx", (unsigned long long)memory->history);
    memory->announced = true;
    bus->callbacks->on_epoch(bus->owner, str_of(epoch));
    for (uint32_t i = 0; i < bus->queues; i++) {
        bus->callbacks->on_start(bus->owner, i, (struct bus_pos){0, 0});
        bus->callbacks->on_queue_state(bus->owner, i, true);
    }
    bus->callbacks->on_state(bus->owner, true, "");
}

static void memory_flush(struct bus *bus)
{
    struct memory_bus *memory = (struct memory_bus *)bus;
    if (!memory->announced) {
        announce(memory);
    }
    for (struct bus_publish *publish = take_all(memory); publish;) {
        struct bus_publish *next = publish->next;
        hand_back(memory, publish);
        publish = next;
    }
}

static void memory_destroy(struct bus *bus)
{
    struct memory_bus *memory = (struct memory_bus *)bus;
    for (struct bus_publish *publish = take_all(memory); publish;) {
        struct bus_publish *next = publish->next;
        publish->on_done(publish, ERR_CANCELED, (struct bus_pos){0, 0});
        publish = next;
    }
    mem_free(memory);
}

const struct bus_engine bus_memory_engine = {
    .name = "memory",
    .lossless = true,
    .any_thread = true,
    .create = memory_create,
    .destroy = memory_destroy,
    .publish = memory_publish,
    .flush = memory_flush,
};
