/* What the bus thread hands over: messages go into their lanes; a fence lets those begin who waited
 * for it; heads are told to everybody; a catch-up feeds the lanes from the window. */
#include <string.h>

#include "base/mem.h"
#include "core/shard_private.h"

enum { RUN_ENTRIES = 2048 };

static void pass_all(struct shard *shard, const struct hub_heads *heads)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        lane_pass(shard, q, heads->pos[q]);
    }
}

static void start_session(struct shard *shard, struct session *session,
                          const struct hub_heads *heads)
{
    if (session_is_revoked(shard, session)) {
        ops_of(shard, session)->on_kick(shard, session, 4301); /* between its hello and here */
        return;
    }
    groups_start_members(shard, session);
    if (replay_of(shard, session)) {
        replay_on_fence(shard, session, heads);
        return;
    }
    session_go_live(shard, session);
    ops_of(shard, session)->on_start(shard, session, SESSION_RESUMED_NONE, heads);
}

static void on_waiter(struct shard *shard, const struct interest_waiter *waiter,
                      const struct hub_heads *heads)
{
    struct session *session = shard_session_find(shard, waiter->slot, waiter->generation);
    if (!session || session->state == SESSION_ENDED) {
        return;
    }
    if (waiter->member) {
        groups_on_fence(shard, session, waiter, heads);
    } else {
        start_session(shard, session, heads);
    }
}

static void on_fence(struct shard *shard, struct interest_batch *batch)
{
    shard->ordinal++;
    pass_all(shard, &batch->heads);
    for (uint32_t i = 0; i < batch->waiter_count; i++) {
        on_waiter(shard, &batch->waiters[i], &batch->heads);
    }
    interest_batch_destroy(batch);
}

/* A round that is under way goes on: it tells where the lanes are, not where the heads were. */
static void on_heads(struct shard *shard, struct hub_heads *heads)
{
    pass_all(shard, heads);
    if (shard->heads_cursor == 0) {
        shard->heads_cursor = 1;
    }
    mem_free(heads);
}

/* What still waits in a lane, oldest of all. A session that began after it is further than the
 * lane. */
static uint64_t oldest_waiting(const struct shard *shard)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        const struct lane *lane = &shard->lanes[q];
        if (lane->count > 0) {
            uint64_t ordinal = lane->items[lane->head & (lane->cap - 1)].ordinal;
            oldest = ordinal < oldest ? ordinal : oldest;
        }
    }
    return oldest;
}

static bool is_half_done(const struct shard *shard)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        if (shard->lanes[q].cast.item.message) {
            return true;
        }
    }
    return false;
}

static void tell_slice(struct shard *shard, const struct hub_heads *heads)
{
    uint64_t oldest = oldest_waiting(shard);
    uint32_t limit = slab_limit(&shard->sessions);
    for (uint32_t told = 0; told < shard->options.slice && shard->heads_cursor < limit;) {
        struct session *session = session_at(shard, shard->heads_cursor++);
        if (session->state == SESSION_LIVE && session->live_from < oldest) {
            ops_of(shard, session)->on_heads(shard, session, heads);
            told++;
        }
    }
    if (shard->heads_cursor >= limit) {
        shard->heads_cursor = 0;
    }
}

/* Each slice tells the positions of its own moment, and only while no broadcast is half done:
 * otherwise a position would be told that some sessions are past and others have not reached. */
void shard_tell_heads(struct shard *shard)
{
    if (shard->heads_cursor == 0 || is_half_done(shard)) {
        return;
    }
    struct hub_heads heads = {0};
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        heads.pos[q] = shard->lanes[q].done;
    }
    tell_slice(shard, &heads);
}

/* What was evicted while the worker was slow, or what the hub itself lost. */
static enum session_gap_why why_lost(const struct shard *shard, uint32_t queue, struct bus_pos to)
{
    const struct hub_loss *loss = &shard->catch_up->losses[queue];
    return bus_pos_compare(loss->to, to) == 0 && loss->to.hi ? loss->why : SESSION_GAP_OVERFLOW;
}

static void tell_gap(struct shard *shard, uint32_t queue, struct bus_pos from, struct bus_pos to,
                     enum session_gap_why why)
{
    if (shard->catch_up->controls_lost) {
        shard_void_all(shard, shard->catch_up->lost_until_ms); /* there may be parts among them */
        cover_revocations(shard, shard->catch_up->revoked_until_ms);
    }
    for (uint32_t slot = 1; slot < slab_limit(&shard->sessions); slot++) {
        struct session *session = session_at(shard, slot);
        bool concerned = session->state == SESSION_LIVE || session->state == SESSION_REPLAYING;
        if (concerned && shard->catch_up->controls_lost) {
            ops_of(shard, session)->on_kick(shard, session, 4100);
        } else if (session->state == SESSION_LIVE) {
            shard_count(&shard->stats.gaps, 1);
            ops_of(shard, session)->on_gap(shard, session, queue, from, to, why);
        }
    }
}

/* Whether the message was for this worker. */
static bool take_owed(const struct shard *shard, struct message *message)
{
    uint64_t bit = 1ull << shard->options.worker;
    return atomic_fetch_and_explicit(&message->owed, ~bit, memory_order_relaxed) & bit;
}

/* Takes the reference. What is not for this worker must not be acted on: a join, for one, would be
 * answered though nobody waits for the answer. */
static void take_late(struct shard *shard, struct message *message)
{
    if (take_owed(shard, message)) {
        lane_add(shard, message, message_is_counted(message));
    } else {
        message_unref(message);
    }
}

/* Joins, parts and kicks of a stretch that is gone from the window. */
static void take_controls(struct shard *shard, uint32_t queue, struct bus_pos from,
                          struct bus_pos to)
{
    const struct hub_catch_up *catch_up = shard->catch_up;
    for (uint32_t i = 0; i < catch_up->control_count; i++) {
        struct message *message = catch_up->controls[i];
        if (message->queue == queue && bus_pos_compare(message->pos, from) > 0 &&
            bus_pos_compare(message->pos, to) <= 0) {
            bool reports = take_owed(shard, message) && message_is_counted(message);
            lane_add(shard, message_ref(message), reports);
        }
    }
}

static void skip_lost(struct shard *shard, uint32_t queue, struct bus_pos to)
{
    struct bus_pos *from = &shard->catch_up->span.from.pos[queue];
    tell_gap(shard, queue, *from, to, why_lost(shard, queue, to));
    lane_pass(shard, queue, to);
    take_controls(shard, queue, *from, to);
    *from = to;
}

/* The span's history is over, and the window has another one: the next catch-up begins with that.
 * True when that is told. */
static bool skip_history(struct shard *shard, uint32_t queue)
{
    struct hub_span *span = &shard->catch_up->span;
    struct bus_pos from = span->from.pos[queue];
    struct bus_pos to = span->to.pos[queue];
    if (lane_is_busy(shard, queue)) {
        return false;
    }
    tell_gap(shard, queue, from, to, SESSION_GAP_EPOCH);
    lane_pass(shard, queue, to);
    take_controls(shard, queue, from, to);
    span->from.pos[queue] = to;
    return true;
}

static bool is_of_history(const struct shard *shard, uint32_t queue, uint64_t seq)
{
    return window_history_of(seq) == shard->catch_up->histories[queue];
}

/* Feeds what follows span.from and is in the window; stops where the lane is full. */
static void feed_lane(struct shard *shard, uint32_t queue, uint64_t seq)
{
    struct hub_span *span = &shard->catch_up->span;
    struct window *window = shard->options.window;
    while (!lane_is_full(shard, queue)) {
        struct message *message = window_get(window, queue, seq++);
        if (!message) {
            return;
        }
        if (bus_pos_compare(message->pos, span->to.pos[queue]) > 0) {
            message_unref(message);
            return;
        }
        span->from.pos[queue] = message->pos;
        take_late(shard, message);
    }
}

/* What they lack of the old history ends with it. */
static void restart_replays(struct shard *shard, uint32_t queue, struct bus_pos to)
{
    for (uint32_t slot = 1; slot < slab_limit(&shard->sessions); slot++) {
        struct session *session = session_at(shard, slot);
        if (session->state == SESSION_REPLAYING) {
            struct bus_pos from = replay_restart(replay_of(shard, session), queue, to);
            shard_count(&shard->stats.gaps, 1);
            ops_of(shard, session)->on_gap(shard, session, queue, from, to, SESSION_GAP_EPOCH);
        }
    }
}

/* Another name of the history reaches clients with the positions. */
static void tell_epoch(struct shard *shard, const char *epoch)
{
    bool is_other = shard->epoch[0] && strcmp(shard->epoch, epoch) != 0;
    memcpy(shard->epoch, epoch, sizeof(shard->epoch));
    if (is_other) {
        shard->heads_cursor = 1; /* again for those who were told of the old one in this round */
    }
}

static void restart_queue(struct shard *shard, uint32_t queue)
{
    const struct hub_catch_up *catch_up = shard->catch_up;
    struct bus_pos from = catch_up->old.pos[queue];
    struct bus_pos to = catch_up->span.from.pos[queue];
    lane_restart(shard, queue, to, catch_up->histories[queue]);
    restart_replays(shard, queue, to);
    tell_gap(shard, queue, from, to, SESSION_GAP_EPOCH);
}

/* Queues whose history is another one. True when that is told, all at once, since the epoch is of
 * them all; it waits until what came of the old ones has gone out. */
static bool restart_queues(struct shard *shard)
{
    struct hub_catch_up *catch_up = shard->catch_up;
    uint64_t restarted = catch_up->restarted;
    if (restarted == 0) {
        return true;
    }
    if (restarted & shard->busy_lanes) {
        return false;
    }
    catch_up->restarted = 0;
    tell_epoch(shard, catch_up->epoch);
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        if (bit_is_set(restarted, q)) {
            restart_queue(shard, q);
        }
    }
    return true;
}

/* True when the queue is through. A gap is told when what came before it has gone out. */
static bool catch_up_queue(struct shard *shard, uint32_t queue)
{
    struct hub_span *span = &shard->catch_up->span;
    struct bus_pos to = span->to.pos[queue];
    if (bus_pos_compare(span->from.pos[queue], to) >= 0) {
        return true;
    }
    bool complete;
    uint64_t seq = window_seq_after(shard->options.window, queue, span->from.pos[queue], &complete);
    if (!is_of_history(shard, queue, seq)) {
        return skip_history(shard, queue);
    }
    if (complete) {
        feed_lane(shard, queue, seq);
    }
    struct window_span here;
    window_span(shard->options.window, queue, &here);
    if (!is_of_history(shard, queue, here.tail_seq)) {
        return false;
    }
    if (bus_pos_compare(here.tail, span->from.pos[queue]) > 0) {
        if (!lane_is_busy(shard, queue)) {
            skip_lost(shard, queue, bus_pos_min(here.tail, to));
        }
        return false;
    }
    return !lane_is_full(shard, queue);
}

/* True when it is through and the ring may go on. */
static bool catch_up_run(struct shard *shard)
{
    bool through = true;
    if (!restart_queues(shard)) {
        return false;
    }
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        through = catch_up_queue(shard, q) && through;
    }
    if (through) {
        pass_all(shard, &shard->catch_up->span.to);
        hub_catch_up_destroy(shard->catch_up);
        shard->catch_up = NULL;
    }
    return through;
}

/* The queue is known from here on, but it may no longer have everything that was promised of it. */
static void begin_queue(struct shard *shard, uint32_t queue)
{
    struct bus_pos from = shard->promised_from[queue];
    struct bus_pos to = shard->catch_up->span.from.pos[queue];
    bool is_promised = bit_is_set(shard->promised, queue);
    shard->promised = with_bit(shard->promised, queue, false);
    if (bit_is_set(shard->catch_up->restarted, queue)) {
        struct bus_pos *old = &shard->catch_up->old.pos[queue];
        *old = is_promised ? bus_pos_min(*old, from) : *old; /* the gap begins there */
        return;
    }
    lane_pass(shard, queue, to);
    bool is_too_late = bit_is_set(shard->catch_up->too_late, queue);
    from = is_promised ? from : (struct bus_pos){0, 0};
    if ((is_promised || is_too_late) && bus_pos_compare(from, to) < 0) {
        tell_gap(shard, queue, from, to, SESSION_GAP_EXPIRED);
    }
}

static void on_catch_up(struct shard *shard, struct hub_catch_up *catch_up)
{
    shard->asked_catch_up = false;
    shard->catch_up = catch_up;
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        if (bit_is_set(catch_up->span.to.started & ~shard->started, q)) {
            begin_queue(shard, q);
        }
    }
    shard->started = catch_up->span.to.started;
    if (catch_up->restarted == 0) {
        tell_epoch(shard, catch_up->epoch);
    }
    shard_count(&shard->stats.catch_ups, 1);
}

static void on_entry(struct shard *shard, enum ring_kind kind, void *ptr)
{
    switch (kind) {
    case RING_MESSAGE: {
        struct message *message = ptr;
        lane_add(shard, message, message_is_counted(message));
        break;
    }
    case RING_FENCE: on_fence(shard, ptr); break;
    case RING_HEADS: on_heads(shard, ptr); break;
    case RING_CATCH_UP: on_catch_up(shard, ptr); break;
    }
}

static bool must_ask(const struct shard *shard)
{
    return !shard->asked_catch_up &&
           atomic_load_explicit(&shard->options.link->behind, memory_order_acquire);
}

static void ask_if_behind(struct shard *shard)
{
    if (must_ask(shard) && ring_is_empty(&shard->options.link->ring)) {
        shard->asked_catch_up = true;
        shard->callbacks->ask_catch_up(shard->owner);
    }
}

void shard_drain_ring(struct shard *shard)
{
    struct hub_link *link = shard->options.link;
    enum ring_kind kind;
    for (int i = 0; i < RUN_ENTRIES; i++) {
        if ((shard->catch_up && !catch_up_run(shard)) || shard->full_lanes) {
            return;
        }
        void *ptr = ring_pop(&link->ring, &kind);
        if (!ptr) {
            break;
        }
        on_entry(shard, kind, ptr);
    }
    ask_if_behind(shard);
}

static bool has_more(const struct shard *shard)
{
    return shard->busy_lanes || shard->heads_cursor || shard->catch_up || must_ask(shard) ||
           !ring_is_empty(&shard->options.link->ring);
}

bool shard_run(struct shard *shard, uint64_t now_ms)
{
    shard->now_ms = now_ms;
    replays_look_again(shard);
    shard_drain_ring(shard);
    lanes_run(shard);
    shard_tell_heads(shard);
    bool replays = replays_run(shard);
    served_sweep(shard);
    return replays || has_more(shard);
}
