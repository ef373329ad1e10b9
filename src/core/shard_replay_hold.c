/* A client that has seen more than this node. It comes from a node that was a moment ahead of this
 * one, or knows another history of the bus: a head that reaches its positions soon tells. Until
 * then it waits for its start; each look is a fence of its own. */
#include "base/err.h"
#include "core/shard_private.h"

enum { LOOK_MS = 50 };

/* Of a queue that is not known here, because its broker is away, nobody can tell; what the client
 * missed there comes when the queue does. */
static bool is_ahead(const struct replay *replay, const struct hub_heads *heads, uint32_t queue)
{
    return bit_is_set(heads->started, queue) &&
           bus_pos_compare(replay->queues[queue].seen, heads->pos[queue]) > 0;
}

static bool is_ahead_anywhere(const struct shard *shard, const struct replay *replay,
                              const struct hub_heads *heads)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        if (is_ahead(replay, heads, q)) {
            return true;
        }
    }
    return false;
}

static void begin_hold(struct shard *shard, struct replay *replay, const struct hub_heads *heads)
{
    replay->held_since_ms = shard->now_ms ? shard->now_ms : 1;
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        replay->queues[q].cursor = heads->pos[q];
    }
}

static void hold(struct shard *shard, struct replay *replay)
{
    if (!shard->held_replays.first) {
        shard->held_until_ms = shard->now_ms + LOOK_MS;
        shard->callbacks->ask_run(shard->owner, LOOK_MS);
    }
    replay_list_add(&shard->held_replays, replay);
}

/* Nodes move every queue on all the time, so one that stands still is cut off from this node. */
static bool stands_still(const struct shard *shard, const struct replay *replay,
                         const struct hub_heads *heads)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        if (is_ahead(replay, heads, q) &&
            bus_pos_compare(replay->queues[q].cursor, heads->pos[q]) == 0) {
            return true;
        }
    }
    return false;
}

/* A node that hears nothing can't say what history it is: the client had better try another. */
static enum replay_comparison give_up(struct shard *shard, struct session *session,
                                      const struct replay *replay, const struct hub_heads *heads)
{
    if (!stands_still(shard, replay, heads)) {
        return REPLAY_FOREIGN;
    }
    ops_of(shard, session)->on_kick(shard, session, 4100);
    return REPLAY_HELD;
}

enum replay_comparison replay_compare(struct shard *shard, struct session *session,
                                      const struct hub_heads *heads)
{
    struct replay *replay = replay_of(shard, session);
    if (!str_equal(str_of(replay->epoch), shard_epoch(shard))) {
        return REPLAY_FOREIGN;
    }
    if (!is_ahead_anywhere(shard, replay, heads)) {
        return REPLAY_FITS;
    }
    if (shard->options.hold_ms == 0) {
        return REPLAY_FOREIGN;
    }
    if (replay->held_since_ms == 0) {
        begin_hold(shard, replay, heads);
    } else if (shard->now_ms - replay->held_since_ms >= shard->options.hold_ms) {
        return give_up(shard, session, replay, heads);
    }
    hold(shard, replay);
    return REPLAY_HELD;
}

void replays_look_again(struct shard *shard)
{
    if (!shard->held_replays.first || shard->now_ms < shard->held_until_ms) {
        return;
    }
    while (shard->held_replays.first) {
        struct replay *replay = shard->held_replays.first;
        struct session *session = session_at(shard, replay->slot);
        replay_list_remove(replay);
        if (session_wait_for_fence(shard, session)) {
            ops_of(shard, session)->on_kick(shard, session, 4100);
        }
    }
}
