/* From the ring to the sessions. Each queue is a lane whose messages go out one after the other; a
 * broadcast takes a slice of sends a turn, so that the lanes share the worker fairly. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/receipt.h"
#include "core/shard_private.h"
#include "core/sid.h"

enum { RUN_ENTRIES = 2048, SERVED_KEEP_MS = 5000, SWEEP_MS = 1000 };

enum session_delivery deliver_one(struct shard *shard, struct session *session,
                                  struct message *message)
{
    enum session_delivery result = ops_of(shard, session)->deliver(shard, session, message);
    switch (result) {
    case SESSION_WRITTEN: shard_count(&shard->stats.written, 1); break;
    case SESSION_QUEUED: shard_count(&shard->stats.queued, 1); break;
    case SESSION_DROPPED: shard_count(&shard->stats.dropped, 1); break;
    }
    return result;
}

static uint32_t origin_hash(const struct shard *shard, struct str tag)
{
    return tag.len ? (uint32_t)siphash(&shard->options.sid_key, tag.ptr, tag.len) | 1 : 0;
}

uint32_t shard_origin_hash(const struct shard *shard, struct str tag)
{
    return origin_hash(shard, tag);
}

bool message_excludes(const struct shard *shard, const struct message *message,
                      const struct session *session)
{
    uint32_t origin = origin_hash(shard, message->event.origin_tag);
    if (origin && origin == session->origin_hash) {
        return true;
    }
    struct str rest = message->event.except_bytes;
    struct str name;
    while (event_next_except(&rest, &name)) {
        struct sid sid;
        if (sid_parse(&sid, &shard->options.sid_key, name) && sid.node == shard->options.boot &&
            sid.worker == shard->options.worker && sid.generation == session->generation &&
            sid.slot == slot_of(shard, session)) {
            return true;
        }
    }
    return false;
}

static bool is_served(struct cast *cast, uint32_t slot)
{
    if (!cast->served) {
        return false;
    }
    uint64_t key = (slot + 1) * 0x9e3779b97f4a7c15u;
    uint64_t *seen = u64map_put(&cast->served->slots, key);
    bool before = seen && *seen;
    if (seen) {
        *seen = 1;
    }
    return before;
}

static bool is_excepted(const struct cast *cast, const struct session *session, uint32_t slot)
{
    uint64_t name = (uint64_t)slot << 32 | session->generation;
    for (uint32_t i = 0; i < cast->except_count; i++) {
        if (cast->excepts[i] == name) {
            return true;
        }
    }
    return cast->origin && cast->origin == session->origin_hash;
}

static void serve(struct shard *shard, struct cast *cast, uint32_t slot)
{
    struct session *session = session_at(shard, slot);
    if (session->live_from >= cast->ordinal || is_excepted(cast, session, slot) ||
        is_served(cast, slot)) {
        return;
    }
    cast->matched++;
    if (cast->message->event.kind == EVENT_KICK) {
        ops_of(shard, session)->on_kick(shard, session, 4000);
        return;
    }
    switch (deliver_one(shard, session, cast->message)) {
    case SESSION_WRITTEN: cast->written++; break;
    case SESSION_QUEUED: break;
    case SESSION_DROPPED: cast->dropped++; break;
    }
}

static void serve_user(struct shard *shard, struct cast *cast, uint64_t key)
{
    uint32_t index = name_table_find(&shard->users, key);
    const struct user *user = index ? name_table_at(&shard->users, index) : NULL;
    for (uint32_t slot = user ? user->first_session : 0; slot;) {
        uint32_t next = session_at(shard, slot)->user_next;
        serve(shard, cast, slot);
        slot = next;
    }
}

static void serve_session(struct shard *shard, struct cast *cast, struct str name)
{
    struct sid sid;
    if (!sid_parse(&sid, &shard->options.sid_key, name) || sid.node != shard->options.boot ||
        sid.worker != shard->options.worker) {
        return;
    }
    struct session *session = shard_session_find(shard, sid.slot, sid.generation);
    if (session && shard->apps[session->app].hash == cast->message->event.header.app) {
        serve(shard, cast, sid.slot);
    }
}

static void begin_group(struct shard *shard, struct cast *cast, uint64_t key)
{
    uint32_t index = name_table_find(&shard->groups, key);
    if (index) {
        struct group *group = name_table_at(&shard->groups, index);
        group->casts++;
        cast->walking = TARGET_GROUP;
        cast->group = index;
        cast->cursor = group->name.count;
    }
}

/* From the end to the start: see remove_member. */
static void walk_group(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    struct group *group = name_table_at(&shard->groups, cast->group);
    while (*budget > 0 && cast->cursor > 0) {
        cast->cursor = cast->cursor > group->name.count ? group->name.count : cast->cursor;
        if (cast->cursor == 0) {
            break;
        }
        struct member *member = slab_at(&shard->members, group->members[--cast->cursor]);
        if (member->stamp < cast->ordinal) {
            member->stamp = cast->ordinal;
            serve(shard, cast, member->slot);
        }
        (*budget)--;
    }
    if (cast->cursor == 0) {
        group->casts--;
        group_release(shard, cast->group);
        cast->walking = 0;
    }
}

static void walk_all(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    uint32_t limit = slab_limit(&shard->sessions);
    uint32_t app = cast->message->event.header.app;
    while (*budget > 0 && cast->cursor < limit) {
        uint32_t slot = cast->cursor++;
        const struct session *session = slot ? session_at(shard, slot) : NULL;
        if (session && session->state == SESSION_LIVE && shard->apps[session->app].hash == app) {
            serve(shard, cast, slot);
            (*budget)--;
        }
    }
    if (cast->cursor >= limit) {
        cast->walking = 0;
    }
}

static void begin_target(struct shard *shard, struct cast *cast, const struct target *target)
{
    uint64_t key = event_key(&cast->message->event, cast->target_index++);
    switch (target->kind) {
    case TARGET_USER: serve_user(shard, cast, key); break;
    case TARGET_SESSION: serve_session(shard, cast, target->name); break;
    case TARGET_GROUP: begin_group(shard, cast, key); break;
    case TARGET_ALL:
        cast->walking = TARGET_ALL;
        cast->cursor = 0;
        break;
    case TARGET_TICKET: break;
    }
}

static void forget_served(struct shard *shard, uint64_t key, struct served *served)
{
    u64map_remove(&shard->served, key);
    u64map_fini(&served->slots);
    mem_free(served);
}

static uint64_t served_key(const struct shard *shard, const struct event *event)
{
    return siphash(&shard->options.sid_key, event->id.ptr, event->id.len) ^ event->header.app;
}

/* A session gets a message once, however many of its targets it matches. */
static struct served *find_served(struct shard *shard, const struct event *event)
{
    if (event->header.target_count == 1 && event->parts == 1) {
        return NULL;
    }
    uint64_t key = served_key(shard, event);
    uint64_t *place = u64map_put(&shard->served, key);
    if (!place) {
        return NULL;
    }
    struct served *served = (struct served *)(uintptr_t)*place;
    if (!served) {
        served = mem_zalloc(sizeof(*served));
        if (!served) {
            u64map_remove(&shard->served, key);
            return NULL;
        }
        served->until_ms = shard->now_ms + SERVED_KEEP_MS;
        *place = (uint64_t)(uintptr_t)served;
    }
    return served;
}

static void end_served(struct shard *shard, struct cast *cast)
{
    const struct event *event = &cast->message->event;
    if (!cast->served) {
        return;
    }
    cast->served->parts_seen |= 1ull << (event->part & 63);
    uint64_t all = UINT64_MAX >> (64 - (event->parts > 64 ? 64 : event->parts));
    if (cast->served->parts_seen == all) {
        forget_served(shard, served_key(shard, event), cast->served);
    }
    cast->served = NULL;
}

/* Parts of one push whose other queues went to nobody here never arrive. */
static void sweep_served(struct shard *shard)
{
    shard->next_sweep_ms = shard->now_ms + SWEEP_MS;
    for (bool again = true; again;) {
        again = false;
        size_t at = 0;
        for (struct u64map_entry *entry = u64map_next(&shard->served, &at); entry && !again;
             entry = u64map_next(&shard->served, &at)) {
            struct served *served = (struct served *)(uintptr_t)entry->value;
            if (served->until_ms <= shard->now_ms && !served->casts) {
                forget_served(shard, entry->key, served);
                again = true;
            }
        }
    }
}

static void read_excepts(struct shard *shard, struct cast *cast)
{
    const struct event *event = &cast->message->event;
    cast->origin = origin_hash(shard, event->origin_tag);
    if (event->except_count == 0) {
        return;
    }
    cast->excepts = mem_alloc(sizeof(*cast->excepts) * event->except_count);
    struct str rest = event->except_bytes;
    struct str name;
    while (cast->excepts && event_next_except(&rest, &name)) {
        struct sid sid;
        if (sid_parse(&sid, &shard->options.sid_key, name) && sid.node == shard->options.boot &&
            sid.worker == shard->options.worker) {
            cast->excepts[cast->except_count++] = (uint64_t)sid.slot << 32 | sid.generation;
        }
    }
}

static bool is_expired(struct shard *shard, const struct message *message)
{
    if (!message->expires_ms || message->expires_ms > shard->now_ms) {
        return false;
    }
    shard_count(&shard->stats.expired, 1);
    return true;
}

/* Takes the reference. */
static void cast_begin(struct shard *shard, struct lane *lane, struct lane_item item)
{
    struct cast *cast = &lane->cast;
    *cast = (struct cast){.message = item.message, .ordinal = item.ordinal};
    const struct event *event = &item.message->event;
    switch (event->kind) {
    case EVENT_JOIN:
        groups_on_join_event(shard, item.message, item.ordinal, &cast->matched);
        return;
    case EVENT_PART: groups_on_part_event(shard, item.message, &cast->matched); return;
    case EVENT_MESSAGE:
    case EVENT_KICK: break;
    }
    if (is_expired(shard, item.message)) {
        return;
    }
    cast->targets = event->target_bytes;
    cast->served = find_served(shard, event);
    if (cast->served) {
        cast->served->casts++;
    }
    read_excepts(shard, cast);
}

static void cast_end(struct shard *shard, struct lane *lane)
{
    struct cast *cast = &lane->cast;
    struct receipt *receipt = cast->message->receipt;
    shard_count(&shard->stats.matched, cast->matched);
    if (receipt) {
        atomic_fetch_add_explicit(&receipt->matched, cast->matched, memory_order_relaxed);
        atomic_fetch_add_explicit(&receipt->written, cast->written, memory_order_relaxed);
        atomic_fetch_add_explicit(&receipt->dropped, cast->dropped, memory_order_relaxed);
        receipt_close(receipt);
    }
    if (cast->served) {
        cast->served->casts--;
    }
    end_served(shard, cast);
    lane->done = cast->message->pos;
    mem_free(cast->excepts);
    message_unref(cast->message);
    *cast = (struct cast){0};
}

/* True when the message went to everybody. */
static bool cast_run(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    struct target target;
    for (;;) {
        if (cast->walking == TARGET_GROUP) {
            walk_group(shard, cast, budget);
        } else if (cast->walking == TARGET_ALL) {
            walk_all(shard, cast, budget);
        }
        if (cast->walking) {
            return false;
        }
        if (!event_next_target(&cast->targets, &target)) {
            return true;
        }
        begin_target(shard, cast, &target);
    }
}

static struct lane_item pop_item(struct lane *lane)
{
    struct lane_item item = lane->items[lane->head & (lane->cap - 1)];
    lane->head++;
    lane->count--;
    return item;
}

static void lane_run(struct shard *shard, uint32_t queue, uint32_t budget)
{
    struct lane *lane = &shard->lanes[queue];
    while (budget > 0) {
        if (!lane->cast.message) {
            if (lane->count == 0) {
                break;
            }
            cast_begin(shard, lane, pop_item(lane));
        }
        if (cast_run(shard, &lane->cast, &budget)) {
            cast_end(shard, lane);
            budget -= budget > 0;
        }
    }
    bool busy = lane->cast.message || lane->count > 0;
    shard->busy_lanes = busy ? shard->busy_lanes | 1ull << queue
                             : shard->busy_lanes & ~(1ull << queue);
    if (!busy) {
        lane->done = lane->drained;
    }
}

static int lane_grow(struct lane *lane)
{
    uint32_t cap = lane->cap ? lane->cap * 2 : 64;
    struct lane_item *items = mem_alloc(sizeof(*items) * cap);
    if (!items) {
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < lane->count; i++) {
        items[i] = lane->items[(lane->head + i) & (lane->cap - 1)];
    }
    mem_free(lane->items);
    lane->items = items;
    lane->cap = cap;
    lane->head = 0;
    return 0;
}

/* Takes the reference. Without memory to wait in line, what is before it goes out at once. */
static void lane_add(struct shard *shard, struct message *message)
{
    struct lane *lane = &shard->lanes[message->queue];
    struct lane_item item = {message, ++shard->ordinal};
    lane->drained = message->pos;
    if (lane->count == lane->cap && lane_grow(lane)) {
        while (lane->cast.message || lane->count > 0) {
            lane_run(shard, message->queue, UINT32_MAX);
        }
        cast_begin(shard, lane, item);
    } else {
        lane->items[(lane->head + lane->count++) & (lane->cap - 1)] = item;
    }
    shard->busy_lanes |= 1ull << message->queue;
}

static void set_drained(struct shard *shard, const struct hub_heads *heads)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        struct lane *lane = &shard->lanes[q];
        if (bus_pos_compare(heads->pos[q], lane->drained) > 0) {
            lane->drained = heads->pos[q];
        }
        if (!(shard->busy_lanes >> q & 1)) {
            lane->done = lane->drained;
        }
    }
}

void session_on_fence(struct shard *shard, struct session *session, const struct hub_heads *heads)
{
    groups_start_members(shard, session, shard->ordinal);
    if (shard_session_cold(shard, session)->replay) {
        replay_on_fence(shard, session, heads);
        return;
    }
    session->state = SESSION_LIVE;
    session->live_from = shard->ordinal;
    ops_of(shard, session)->on_start(shard, session, SESSION_RESUMED_NONE, heads);
}

static void on_waiter(struct shard *shard, const struct interest_waiter *waiter, int err,
                      const struct hub_heads *heads)
{
    struct session *session = shard_session_find(shard, waiter->slot, waiter->generation);
    if (!session || session->state == SESSION_ENDED) {
        return;
    }
    if (err) {
        ops_of(shard, session)->on_kick(shard, session, 4100);
    } else if (waiter->member) {
        groups_on_fence(shard, session, waiter, heads);
    } else {
        session_on_fence(shard, session, heads);
    }
}

static void on_fence(struct shard *shard, struct interest_batch *batch)
{
    shard->ordinal++;
    set_drained(shard, &batch->heads);
    for (uint32_t i = 0; i < batch->waiter_count; i++) {
        on_waiter(shard, &batch->waiters[i], batch->err, &batch->heads);
    }
    interest_batch_destroy(batch);
}

static void on_heads(struct shard *shard, struct hub_heads *heads)
{
    set_drained(shard, heads);
    shard->heads_cursor = 1;
    mem_free(heads);
}

/* Each slice tells the positions of its own moment, so that nobody's go back. */
static void tell_heads(struct shard *shard)
{
    struct hub_heads heads;
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        heads.pos[q] = shard->lanes[q].done;
    }
    uint32_t limit = slab_limit(&shard->sessions);
    for (uint32_t told = 0; told < SHARD_SLICE && shard->heads_cursor < limit;) {
        struct session *session = session_at(shard, shard->heads_cursor++);
        if (session->state == SESSION_LIVE) {
            ops_of(shard, session)->on_heads(shard, session, &heads);
            told++;
        }
    }
    if (shard->heads_cursor >= limit) {
        shard->heads_cursor = 0;
    }
}

static void tell_gap(struct shard *shard, uint32_t queue, struct bus_pos from, struct bus_pos to)
{
    for (uint32_t slot = 1; slot < slab_limit(&shard->sessions); slot++) {
        struct session *session = session_at(shard, slot);
        if (session->state == SESSION_LIVE) {
            shard_count(&shard->stats.gaps, 1);
            ops_of(shard, session)->on_gap(shard, session, queue, from, to, SESSION_GAP_OVERFLOW);
        }
    }
}

static void catch_up_queue(struct shard *shard, uint32_t queue, struct bus_pos from,
                           struct bus_pos to)
{
    struct window *window = shard->options.window;
    bool complete;
    uint64_t seq = window_seq_after(window, queue, from, &complete);
    if (!complete) {
        struct window_span span;
        window_span(window, queue, &span);
        tell_gap(shard, queue, from, span.tail);
    }
    for (;; seq++) {
        struct message *message = window_get(window, queue, seq);
        if (!message) {
            break;
        }
        if (bus_pos_compare(message->pos, to) > 0) {
            message_unref(message);
            break;
        }
        lane_add(shard, message);
    }
}

static void on_catch_up(struct shard *shard, struct hub_span *span)
{
    shard->asked_catch_up = false;
    shard_count(&shard->stats.catch_ups, 1);
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        catch_up_queue(shard, q, span->from.pos[q], span->to.pos[q]);
    }
    set_drained(shard, &span->to);
    mem_free(span);
}

static void on_entry(struct shard *shard, enum ring_kind kind, void *ptr)
{
    switch (kind) {
    case RING_MESSAGE: lane_add(shard, ptr); break;
    case RING_FENCE: on_fence(shard, ptr); break;
    case RING_HEADS: on_heads(shard, ptr); break;
    case RING_CATCH_UP: on_catch_up(shard, ptr); break;
    }
}

static void drain_ring(struct shard *shard)
{
    struct hub_link *link = shard->options.link;
    enum ring_kind kind;
    for (int i = 0; i < RUN_ENTRIES; i++) {
        void *ptr = ring_pop(&link->ring, &kind);
        if (!ptr) {
            break;
        }
        on_entry(shard, kind, ptr);
    }
    if (!shard->asked_catch_up && atomic_load_explicit(&link->behind, memory_order_acquire) &&
        ring_is_empty(&link->ring)) {
        shard->asked_catch_up = true;
        shard->callbacks->ask_catch_up(shard->owner);
    }
}

static void run_lanes(struct shard *shard)
{
    uint64_t busy = shard->busy_lanes;
    for (uint32_t q = 0; busy; q++, busy >>= 1) {
        if (busy & 1) {
            lane_run(shard, q, SHARD_SLICE);
        }
    }
}

bool shard_run(struct shard *shard, uint64_t now_ms)
{
    shard->now_ms = now_ms;
    drain_ring(shard);
    run_lanes(shard);
    if (shard->heads_cursor) {
        tell_heads(shard);
    }
    bool replays = replay_run_queue(shard);
    if (shard->served.count > 0 && now_ms >= shard->next_sweep_ms) {
        sweep_served(shard);
    }
    return shard->busy_lanes || shard->heads_cursor || replays ||
           !ring_is_empty(&shard->options.link->ring);
}

void lanes_destroy(struct shard *shard)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        struct lane *lane = &shard->lanes[q];
        while (lane->count > 0) {
            message_unref(pop_item(lane).message);
        }
        mem_free(lane->cast.excepts);
        message_unref(lane->cast.message);
        mem_free(lane->items);
    }
}
