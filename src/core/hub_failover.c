/* Which queue a push goes to. A key has its home queue; while that one's broker is away for longer
 * than bus.failover_after, the key goes to the next reachable queue in rendezvous order, until the
 * home is back. The event is marked as a stray, for workers keep the order of a key over queues
 * only where they must. */
#include "base/err.h"
#include "core/hub_private.h"

/* What stands for the event's first target. Its key does not: that one changes with the secret, and
 * while secrets are being rotated all nodes must choose alike. */
static uint64_t stable_key_of(const struct hub *hub, const struct publish_part *part)
{
    struct event event;
    struct target target;
    size_t skip;
    if (event_decode(&event, part->event.data, part->event.len, &skip) < 0 ||
        !event_next_target(&event.target_bytes, &target)) {
        return 0; /* never: this node encoded it */
    }
    const struct siphash_key *open = &hub->options.space.open;
    uint64_t parts[3] = {event.header.app, target.kind,
                         siphash(open, target.name.ptr, target.name.len)};
    return siphash(open, parts, sizeof(parts));
}

/* Highest random weight: each key has an order of queues of its own, the same on every node. */
static uint64_t weight(const struct hub *hub, uint64_t key, uint32_t queue)
{
    uint64_t both[2] = {key, queue};
    return siphash(&hub->options.space.open, both, sizeof(both));
}

static uint32_t next_in_order(const struct hub *hub, const struct publish_part *part)
{
    uint64_t key = stable_key_of(hub, part);
    uint32_t best = part->queue;
    uint64_t most = 0;
    for (uint32_t q = 0; q < hub->options.queues; q++) {
        uint64_t weighs = hub->queues[q].is_up ? weight(hub, key, q) : 0;
        if (weighs > most) {
            most = weighs;
            best = q;
        }
    }
    return best;
}

void hub_choose_queue(struct hub *hub, struct publish_part *part)
{
    if (part->publish->stays || !hub->queues[part->queue].is_failed_over) {
        return;
    }
    uint32_t queue = next_in_order(hub, part);
    if (queue != part->queue) {
        part->queue = queue;
        event_add_flag(part->event.data, EVENT_IS_STRAY);
        hub_count(&hub->stats.failed_over, 1);
    }
}

/* What was not tried yet goes elsewhere; what is under way may have arrived, and stays. */
static void move_waiting(struct hub *hub, uint32_t index)
{
    struct hub_queue *queue = &hub->queues[index];
    struct publish_part *last = NULL;
    for (struct publish_part *part = queue->waiting; part; part = part->next) {
        last = part;
    }
    for (bool more = last != NULL; more;) {
        struct publish_part *part = hub_pop_waiting(hub, queue);
        more = part != last;
        hub_choose_queue(hub, part);
        hub_wait_in_line(hub, part);
    }
}

static void tell_stats(struct hub *hub)
{
    uint64_t up = 0;
    uint64_t failed_over = 0;
    for (uint32_t q = 0; q < hub->options.queues; q++) {
        up |= (uint64_t)hub->queues[q].is_up << q;
        failed_over |= (uint64_t)hub->queues[q].is_failed_over << q;
    }
    atomic_store_explicit(&hub->stats.queues_up, up, memory_order_relaxed);
    atomic_store_explicit(&hub->stats.queues_failed_over, failed_over, memory_order_relaxed);
}

static void tell(struct hub *hub, uint32_t queue, enum hub_queue_state state)
{
    tell_stats(hub);
    if (hub->callbacks->on_queue_state) {
        hub->callbacks->on_queue_state(hub->owner, queue, state);
    }
}

void hub_set_queue_state(struct hub *hub, uint32_t index, bool up)
{
    struct hub_queue *queue = &hub->queues[index];
    if (queue->is_up == up) {
        return;
    }
    queue->is_up = up;
    queue->down_since_ms = HUB_NEVER;
    if (up) {
        queue->is_failed_over = false;
    }
    tell(hub, index, up ? HUB_QUEUE_UP : HUB_QUEUE_DOWN);
}

bool hub_is_any_queue_up(const struct hub *hub)
{
    for (uint32_t q = 0; q < hub->options.queues; q++) {
        if (hub->queues[q].is_up) {
            return true;
        }
    }
    return false;
}

static bool is_away_too_long(struct hub *hub, struct hub_queue *queue)
{
    if (queue->is_up) {
        return false;
    }
    if (queue->down_since_ms == HUB_NEVER) {
        queue->down_since_ms = hub->now_ms;
    }
    return hub->now_ms - queue->down_since_ms >= hub->bus->failover_after_ms;
}

/* A queue that failed over moves what waits each time: those that it went to may be away by now. */
void hub_fail_over(struct hub *hub)
{
    if (!hub->bus || hub->bus->failover_after_ms == HUB_NEVER || !hub_is_any_queue_up(hub)) {
        return;
    }
    for (uint32_t q = 0; q < hub->options.queues; q++) {
        struct hub_queue *queue = &hub->queues[q];
        if (!is_away_too_long(hub, queue)) {
            continue;
        }
        if (!queue->is_failed_over) {
            queue->is_failed_over = true;
            tell(hub, q, HUB_QUEUE_FAILED_OVER);
        }
        move_waiting(hub, q);
    }
}
