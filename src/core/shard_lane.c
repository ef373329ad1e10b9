/* Each queue is a lane whose messages go out one after the other. A lane takes a slice of steps a
 * turn, so that the lanes share the worker fairly; one that is full keeps the ring waiting. */
#include "base/err.h"
#include "base/mem.h"
#include "core/shard_private.h"

enum { LANE_FIRST = 64 };

bool lane_is_busy(const struct shard *shard, uint32_t queue)
{
    return bit_is_set(shard->busy_lanes, queue);
}

bool lane_is_full(const struct shard *shard, uint32_t queue)
{
    return bit_is_set(shard->full_lanes, queue);
}

static struct lane_item *item_at(const struct lane *lane, uint32_t i)
{
    return &lane->items[(lane->head + i) & (lane->cap - 1)];
}

static void note_state(struct shard *shard, uint32_t queue)
{
    struct lane *lane = &shard->lanes[queue];
    bool busy = lane->cast.item.message || lane->count > 0;
    shard->busy_lanes = with_bit(shard->busy_lanes, queue, busy);
    shard->full_lanes = with_bit(shard->full_lanes, queue,
                                 lane->count >= shard->options.lane_items);
    if (lane->cast.item.message) {
        lane->done = lane->cast.item.before;
    } else {
        lane->done = lane->count > 0 ? item_at(lane, 0)->before : lane->drained;
    }
}

static struct lane_item pop_item(struct lane *lane)
{
    struct lane_item item = *item_at(lane, 0);
    lane->head++;
    lane->count--;
    return item;
}

/* How far a replay may read: not past a join or part in line, for which memberships change. */
struct bus_pos lane_settled(const struct shard *shard, uint32_t queue)
{
    const struct lane *lane = &shard->lanes[queue];
    return lane->controls > 0 ? lane->done : lane->drained;
}

static bool is_control(const struct message *message)
{
    return !event_kind_is_shown(message->event.kind);
}

static bool is_stray(const struct message *message)
{
    return message->event.header.flags & EVENT_IS_STRAY;
}

static void finish_cast(struct shard *shard, struct lane *lane)
{
    lane->controls -= is_control(lane->cast.item.message);
    shard->strays -= is_stray(lane->cast.item.message);
    cast_end(shard, &lane->cast);
}

/* While the positions are being told, all that was begun must be finished: a position is told only
 * to sessions that have everything up to it. So what would be left half done waits. */
static bool must_wait(const struct shard *shard, const struct lane *lane, uint32_t budget)
{
    return shard->heads_cursor && !cast_fits(shard, item_at(lane, 0)->message, budget);
}

static uint64_t next_ordinal(const struct lane *lane)
{
    if (lane->cast.item.message) {
        return lane->cast.item.ordinal;
    }
    return lane->count > 0 ? item_at(lane, 0)->ordinal : UINT64_MAX;
}

/* The lane whose message in hand, or next, came first of all. */
static struct lane *oldest_lane(struct shard *shard)
{
    struct lane *oldest = &shard->lanes[0];
    for (uint32_t q = 1; q < shard->options.queues; q++) {
        struct lane *lane = &shard->lanes[q];
        oldest = next_ordinal(lane) < next_ordinal(oldest) ? lane : oldest;
    }
    return oldest;
}

uint64_t shard_done(const struct shard *shard, struct hub_heads *out_heads)
{
    uint64_t oldest = UINT64_MAX;
    *out_heads = (struct hub_heads){.started = shard->started};
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        uint64_t ordinal = next_ordinal(&shard->lanes[q]);
        oldest = ordinal < oldest ? ordinal : oldest;
        out_heads->pos[q] = shard->lanes[q].done;
    }
    return oldest;
}

/* While a broker is away, messages of one key come through two lanes. They go out in the order they
 * came: as long as there are strays, the lanes take turns by age. */
static bool is_out_of_turn(struct shard *shard, const struct lane *lane)
{
    return shard->strays > 0 && oldest_lane(shard) != lane;
}

static void lane_run(struct shard *shard, uint32_t queue, uint32_t budget)
{
    struct lane *lane = &shard->lanes[queue];
    while (budget > 0) {
        if (!lane->cast.item.message) {
            if (lane->count == 0 || must_wait(shard, lane, budget) || is_out_of_turn(shard, lane)) {
                break;
            }
            cast_begin(shard, &lane->cast, pop_item(lane));
        }
        if (cast_run(shard, &lane->cast, &budget)) {
            finish_cast(shard, lane);
            budget -= budget > 0;
        }
    }
    note_state(shard, queue);
}

void lanes_run(struct shard *shard)
{
    uint64_t busy = shard->busy_lanes;
    for (uint32_t q = 0; busy; q++, busy >>= 1) {
        if (busy & 1) {
            lane_run(shard, q, shard->options.slice);
        }
    }
}

static int lane_grow(struct lane *lane)
{
    uint32_t cap = lane->cap ? lane->cap * 2 : LANE_FIRST;
    struct lane_item *items = mem_alloc(sizeof(*items) * cap);
    if (!items) {
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < lane->count; i++) {
        items[i] = *item_at(lane, i);
    }
    mem_free(lane->items);
    lane->items = items;
    lane->cap = cap;
    lane->head = 0;
    return 0;
}

static void send_next(struct shard *shard, struct lane *lane)
{
    if (!lane->cast.item.message) {
        cast_begin(shard, &lane->cast, pop_item(lane));
    }
    for (bool done = false; !done;) {
        uint32_t budget = UINT32_MAX;
        done = cast_run(shard, &lane->cast, &budget);
    }
    finish_cast(shard, lane);
    note_state(shard, (uint32_t)(lane - shard->lanes));
}

/* Without memory to wait in line, what is before it goes out at once, and all of it. */
static void empty_lane(struct shard *shard, struct lane *lane)
{
    while (lane->cast.item.message || lane->count > 0) {
        send_next(shard, shard->strays > 0 ? oldest_lane(shard) : lane);
    }
}

/* What comes next is a stray that can't wait in line. */
static void empty_lanes(struct shard *shard)
{
    while (shard->busy_lanes) {
        send_next(shard, oldest_lane(shard));
    }
}

/* Takes the reference. */
void lane_add(struct shard *shard, struct message *message, bool reports)
{
    struct lane *lane = &shard->lanes[message->queue];
    struct lane_item item = {message, ++shard->ordinal, lane->drained, reports};
    if (lane->count == lane->cap && lane_grow(lane)) {
        empty_lane(shard, lane);
        if (is_stray(message) || shard->strays > 0) {
            empty_lanes(shard);
        }
        cast_begin(shard, &lane->cast, item);
    } else {
        *item_at(lane, lane->count++) = item;
    }
    lane->controls += is_control(message);
    shard->strays += is_stray(message);
    lane->drained = bus_pos_max(lane->drained, message->pos);
    note_state(shard, message->queue);
}

/* Everything up to pos has left the ring. */
void lane_pass(struct shard *shard, uint32_t queue, struct bus_pos pos)
{
    struct lane *lane = &shard->lanes[queue];
    lane->drained = bus_pos_max(lane->drained, pos);
    note_state(shard, queue);
}

/* The queue's history is another one, which goes on behind pos. The lane is idle. */
void lane_restart(struct shard *shard, uint32_t queue, struct bus_pos pos, uint32_t history)
{
    shard->lanes[queue].drained = pos;
    shard->lanes[queue].history = history;
    note_state(shard, queue);
}

void lanes_destroy(struct shard *shard)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        struct lane *lane = &shard->lanes[q];
        while (lane->count > 0) {
            message_unref(pop_item(lane).message);
        }
        cast_abandon(shard, &lane->cast);
        mem_free(lane->items);
    }
}
