/* Pushes on their way through the hub of hub_test_help.h, and what its bus does with them. */
#ifndef TIDEGATE_CORE_HUB_PUSH_TEST_HELP_H
#define TIDEGATE_CORE_HUB_PUSH_TEST_HELP_H

#include "core/hub_test_help.h"

static inline void hub_test_on_done(struct publish *publish)
{
    hub_test.done++;
    hub_test.last_done = publish;
}

static inline struct publish *hub_test_make_push(uint32_t part_count)
{
    struct publish *publish = publish_create(part_count);
    publish->on_done = hub_test_on_done;
    publish->worker = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        struct event event = event_test_make(0, "{\"some\":\"data\"}");
        event.part = (uint8_t)i;
        event.parts = (uint8_t)part_count;
        publish->parts[i].queue = i;
        event_test_encode(&publish->parts[i].event, &event, (const char *[]){"u:a"}, 1);
    }
    return publish;
}

static inline void hub_test_push(struct publish *publish)
{
    hub_publish(hub_test.hub, publish, 1);
}

/* What the bus does with the record under way in a queue. */
static inline struct bus_pos hub_test_hand_back(uint32_t queue)
{
    struct bus_pos pos = {++hub_test.hi[queue], 0};
    hub_bus_callbacks.on_record(hub_test.hub, queue, pos, hub_test.under_way[queue]->record, 0);
    return pos;
}

static inline void hub_test_finish(uint32_t queue, int err, struct bus_pos pos)
{
    struct bus_publish *publish = hub_test.under_way[queue];
    hub_test.under_way[queue] = NULL;
    publish->on_done(publish, err, pos);
}

/* Acknowledges and hands back, as the memory bus does. */
static inline struct bus_pos hub_test_accept(uint32_t queue)
{
    struct bus_pos pos = hub_test_hand_back(queue);
    hub_test_finish(queue, 0, pos);
    return pos;
}

#endif
