/* How long events are on their way: of each record one is a probe, chosen by chance, so that at
 * full rate the bus thread does not look at every event twice, and none is preferred. */
#include "core/hub_private.h"

/* The n-th event of a record takes the place with a chance of 1/n: each one's is the same. What
 * nodes tell each other has no start, and is none. */
void hub_probe_pack(struct hub_queue *queue, const struct publish_part *part)
{
    uint32_t draw = (part->counter * 2654435761u) >> 8;
    if (queue->record_parts == 1) {
        queue->probe.started_us = 0;
    }
    if (part->publish->started_us &&
        (!queue->probe.started_us || draw % queue->record_parts == 0)) {
        queue->probe = (struct hub_probe){.counter = part->counter,
                                          .started_us = part->publish->started_us};
    }
}

void hub_probe_send(struct hub *hub, struct hub_queue *queue)
{
    if (!queue->probe.started_us) {
        return;
    }
    queue->probe.sent_us = hub->now_us;
    queue->probes[queue->probes_in++ % HUB_PROBES] = queue->probe;
    if (queue->probes_in - queue->probes_out > HUB_PROBES) {
        queue->probes_out = queue->probes_in - HUB_PROBES;
    }
}

/* They come back in the order they went out; what is passed over never will. */
void hub_probe_own(struct hub *hub, uint32_t index, uint32_t counter, struct hub_probe *out_probe)
{
    struct hub_queue *queue = &hub->queues[index];
    while (queue->probes_out != queue->probes_in) {
        const struct hub_probe *probe = &queue->probes[queue->probes_out % HUB_PROBES];
        int32_t ahead = (int32_t)(probe->counter - counter);
        if (ahead > 0) {
            return;
        }
        queue->probes_out++;
        if (ahead == 0) {
            *out_probe = *probe;
            if (hub->callbacks->on_returned) {
                hub->callbacks->on_returned(hub->owner, probe->sent_us);
            }
            return;
        }
    }
}

void hub_probe_foreign(struct hub *hub, const struct arrival *arrival)
{
    uint64_t now_ms = hub_wall_ms(hub);
    uint64_t made_ms = arrival->event.time_ms;
    if (hub->callbacks->on_foreign && hub->wall_offset_ms && made_ms) {
        hub->callbacks->on_foreign(hub->owner, now_ms > made_ms ? now_ms - made_ms : 0);
    }
}
