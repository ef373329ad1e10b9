/* A returning session on its way to the present: what it missed is read from the window queue by
 * queue, as fast as the session takes it. Nothing goes to it live meanwhile; once it has everything
 * that left the ring, it goes live from the next ring entry. A replay that lists takes one of few
 * places; the others wait. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/receipt.h"
#include "core/shard_private.h"

/* A turn ends with the first of the three; a step is one replay's. A find looks at up to 512
 * messages of the window. */
enum { STEP_MESSAGES = 256, TURN_STEPS = 64, TURN_MESSAGES = 1024, TURN_FINDS = 256 };

struct turn {
    uint32_t sent;
    uint32_t finds;
};

static size_t size_of(uint32_t queues)
{
    return sizeof(struct replay) + queues * sizeof(struct replay_queue);
}

struct replay *replay_create(struct shard *shard, struct session *session,
                             const struct session_resume *resume)
{
    uint32_t queues = shard->options.queues;
    struct replay *replay = mem_zalloc(size_of(queues));
    if (!replay) {
        return NULL;
    }
    replay->shard = shard;
    replay->slot = slot_of(shard, session);
    memcpy(replay->epoch, resume->epoch, sizeof(replay->epoch));
    for (uint32_t q = 0; q < queues; q++) {
        replay->named = with_bit(replay->named, q, resume->has[q]);
        replay->queues[q].seen = resume->has[q] ? resume->seen.pos[q] : (struct bus_pos){0, 0};
    }
    mem_account(MEM_SESSIONS, (int64_t)size_of(queues));
    return replay;
}

void replay_list_add(struct replay_list *list, struct replay *replay)
{
    replay->in = list;
    replay->next = NULL;
    replay->prev = list->last;
    *(replay->prev ? &replay->prev->next : &list->first) = replay;
    list->last = replay;
}

void replay_list_remove(struct replay *replay)
{
    struct replay_list *list = replay->in;
    if (list) {
        *(replay->prev ? &replay->prev->next : &list->first) = replay->next;
        *(replay->next ? &replay->next->prev : &list->last) = replay->prev;
        replay->in = NULL;
    }
}

static void give_up_place(struct shard *shard, struct replay *replay)
{
    shard->replay_places -= replay->has_place;
    replay->has_place = false;
}

void replay_destroy(struct shard *shard, struct replay *replay)
{
    if (!replay) {
        return;
    }
    replay_list_remove(replay);
    give_up_place(shard, replay);
    replay_drop_list(replay);
    mem_account(MEM_SESSIONS, -(int64_t)size_of(shard->options.queues));
    replay_drop_joins(replay);
    mem_free(replay);
}

/* Where the stream of a queue can begin; true where that is what the client asked for. */
static bool find_start(struct shard *shard, struct replay *replay, uint32_t queue,
                       const struct hub_heads *heads)
{
    struct bus_pos *cursor = &replay->queues[queue].cursor;
    struct window_span span;
    window_span(shard->options.window, queue, &span);
    struct bus_pos seen = replay->queues[queue].seen; /* of a queue that was not named: nothing */
    struct bus_pos tail = bus_pos_min(span.tail, heads->pos[queue]);
    bool is_other = window_history_of(span.tail_seq) != shard->lanes[queue].history;
    *cursor = is_other ? seen : bus_pos_max(seen, tail);
    if (!bit_is_set(heads->started, queue) || is_other) {
        return true;
    }
    return bus_pos_compare(seen, tail) >= 0;
}

/* What the client missed in a queue that is not known comes when it is. */
static void promise(struct shard *shard, const struct replay *replay, uint32_t queue)
{
    struct bus_pos seen = replay->queues[queue].seen;
    struct bus_pos *from = &shard->promised_from[queue];
    if (!bit_is_set(replay->named, queue)) {
        return; /* it knows no more of the queue than this node */
    }
    *from = bit_is_set(shard->promised, queue) ? bus_pos_min(*from, seen) : seen;
    shard->promised = with_bit(shard->promised, queue, true);
}

static void start_anew(struct shard *shard, struct session *session, const struct hub_heads *heads)
{
    struct bus_pos zero = {0, 0};
    session_go_live(shard, session);
    shard_count(&shard->stats.gaps, 1);
    ops_of(shard, session)->on_start(shard, session, SESSION_RESUMED_NONE, heads);
    ops_of(shard, session)
        ->on_gap(shard, session, SESSION_ALL_QUEUES, zero, zero, SESSION_GAP_EPOCH);
}

static void tell_start(struct shard *shard, struct session *session, const struct replay *replay,
                       uint64_t incomplete)
{
    struct hub_heads start = {0};
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        start.pos[q] = replay->queues[q].cursor;
    }
    enum session_resumed how = incomplete ? SESSION_RESUMED_PARTIAL : SESSION_RESUMED_FULL;
    ops_of(shard, session)->on_start(shard, session, how, &start);
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        if (bit_is_set(incomplete, q)) {
            shard_count(&shard->stats.gaps, 1);
            ops_of(shard, session)
                ->on_gap(shard, session, q, replay->queues[q].seen, start.pos[q],
                         SESSION_GAP_EXPIRED);
        }
    }
}

void replay_on_fence(struct shard *shard, struct session *session, const struct hub_heads *heads)
{
    struct replay *replay = replay_of(shard, session);
    uint32_t queues = shard->options.queues;
    switch (replay_compare(shard, session, heads)) {
    case REPLAY_FITS: break;
    case REPLAY_HELD: return;
    case REPLAY_FOREIGN: start_anew(shard, session, heads); return;
    }
    uint64_t incomplete = 0;
    for (uint32_t q = 0; q < queues; q++) {
        incomplete = with_bit(incomplete, q, !find_start(shard, replay, q, heads));
        if (!bit_is_set(heads->started, q)) {
            promise(shard, replay, q);
        }
    }
    session->state = SESSION_REPLAYING;
    replay->since = shard->ordinal;
    tell_start(shard, session, replay, incomplete);
    replay_list_add(&shard->waiting_replays, replay);
}

/* What is between the cursor and to can't be had any more. */
void replay_tell_gap(struct shard *shard, struct replay *replay, struct bus_pos to,
                     enum session_gap_why why)
{
    struct session *session = session_at(shard, replay->slot);
    struct bus_pos *cursor = &replay->queues[replay->queue].cursor;
    shard_count(&shard->stats.gaps, 1);
    ops_of(shard, session)->on_gap(shard, session, replay->queue, *cursor, to, why);
    *cursor = to;
}

/* The queue's history is another one, which goes on behind from; what was joined meanwhile is in
 * force. Returns how far it got with the old one. */
struct bus_pos replay_restart(struct replay *replay, uint32_t queue, struct bus_pos from)
{
    struct bus_pos cursor = replay->queues[queue].cursor;
    replay->queues[queue].cursor = from;
    for (uint32_t i = 0; i < replay->join_count; i++) {
        replay->joins[i].from[queue] = from;
    }
    if (replay->queue == queue) {
        replay_drop_list(replay);
    }
    return cursor;
}

/* The window has another history of the queue in hand: this worker is about to hear of it. */
bool replay_must_wait(const struct replay *replay, uint64_t seq)
{
    return window_history_of(seq) != replay->shard->lanes[replay->queue].history;
}

/* It was listed and is gone: so is the rest of what was evicted with it. */
static void skip_evicted(struct shard *shard, struct replay *replay)
{
    struct window_span span;
    window_span(shard->options.window, replay->queue, &span);
    if (replay_must_wait(replay, span.tail_seq)) {
        replay_drop_list(replay);
        return;
    }
    replay_tell_gap(shard, replay, bus_pos_min(span.tail, replay->list_end), SESSION_GAP_OVERFLOW);
    while (replay->seq_at < replay->seq_count && replay->seqs[replay->seq_at] <= span.tail_seq) {
        replay->seq_at++;
    }
}

/* Joins, parts and kicks are not repeated: they did what they had to when they came. */
static bool is_for_replay(const struct shard *shard, const struct message *message,
                          const struct session *session)
{
    return event_kind_is_shown(message->event.kind) && !message_is_expired(shard, message) &&
           !message_has_fate(message, MESSAGE_IS_VOID | MESSAGE_IS_SUPERSEDED) &&
           !message_excludes(shard, message, session);
}

static void note_replayed(const struct message *message)
{
    if (message->receipt) {
        atomic_fetch_add_explicit(&message->receipt->replayed, 1, memory_order_relaxed);
    }
}

static void replay_next(struct shard *shard, struct replay *replay, struct session *session)
{
    uint64_t seq = replay->seqs[replay->seq_at];
    struct message *message = window_get(shard->options.window, replay->queue, seq);
    if (!message) {
        skip_evicted(shard, replay);
        return;
    }
    replay->seq_at++;
    replay->queues[replay->queue].cursor = message->pos;
    if (is_for_replay(shard, message, session)) {
        shard_count(&shard->stats.replayed, 1);
        note_replayed(message);
        deliver_one(shard, session, message);
    }
    message_unref(message);
}

static void next_queue(struct shard *shard, struct replay *replay)
{
    replay->queues[replay->queue].cursor = replay->list_end;
    replay->queue = (replay->queue + 1) % shard->options.queues;
    replay_drop_list(replay);
}

/* The list is through: it is the next queue's turn, unless there is more of this one. */
static void end_of_list(struct shard *shard, struct replay *replay)
{
    if (replay->cut) {
        replay_drop_list(replay);
    } else {
        next_queue(shard, replay);
    }
}

/* With a join, part or kick in line it is not: one that goes live counts as later than these. */
static bool is_caught_up(const struct shard *shard, const struct replay *replay)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        const struct lane *lane = &shard->lanes[q];
        if (lane->controls > 0 || bus_pos_compare(replay->queues[q].cursor, lane->drained) < 0) {
            return false;
        }
    }
    return true;
}

enum step { STEP_LIVE, STEP_FULL, STEP_MORE, STEP_FAILED };

static enum step replay_step(struct shard *shard, struct replay *replay, struct session *session,
                             struct turn *turn)
{
    uint32_t idle_queues = 0;
    for (int sent = 0; sent < STEP_MESSAGES && idle_queues < shard->options.queues;) {
        if (!replay->listed) {
            enum list_step step = replay_list(replay, session, &turn->finds);
            if (step != LIST_DONE) {
                return step == LIST_MORE ? STEP_MORE : STEP_FAILED;
            }
        }
        if (replay->seq_at == replay->seq_count) {
            end_of_list(shard, replay);
            if (is_caught_up(shard, replay)) {
                return STEP_LIVE;
            }
            idle_queues++;
            continue;
        }
        if (!ops_of(shard, session)->has_room(shard, session)) {
            return STEP_FULL;
        }
        replay_next(shard, replay, session);
        idle_queues = 0;
        sent++;
        turn->sent++;
    }
    return STEP_MORE;
}

/* The replay is in no list here. */
static void replay_run(struct shard *shard, struct replay *replay, struct turn *turn)
{
    struct session *session = session_at(shard, replay->slot);
    switch (replay_step(shard, replay, session, turn)) {
    case STEP_LIVE: session_go_live(shard, session); break;
    case STEP_FULL: /* others may go on meanwhile */
        give_up_place(shard, replay);
        replay_shorten_list(replay);
        break;
    case STEP_MORE: replay_list_add(&shard->running_replays, replay); break;
    case STEP_FAILED:
        give_up_place(shard, replay);
        replay_drop_list(replay);
        ops_of(shard, session)->on_kick(shard, session, 4100);
        break;
    }
}

static void fill_places(struct shard *shard)
{
    struct replay *replay = shard->waiting_replays.first;
    while (replay && shard->replay_places < shard->options.max_replays) {
        replay_list_remove(replay);
        replay_list_add(&shard->running_replays, replay);
        replay->has_place = true;
        shard->replay_places++;
        replay = shard->waiting_replays.first;
    }
}

/* Some steps of those that have a place. True: call it again at once. */
bool replays_run(struct shard *shard)
{
    struct turn turn = {0};
    for (int steps = 0; steps < TURN_STEPS && turn.sent < TURN_MESSAGES && turn.finds < TURN_FINDS;
         steps++) {
        fill_places(shard);
        struct replay *replay = shard->running_replays.first;
        if (!replay) {
            return false;
        }
        replay_list_remove(replay);
        replay_run(shard, replay, &turn);
    }
    return shard->running_replays.first || shard->waiting_replays.first;
}

void shard_replay_continue(struct shard *shard, struct session *session)
{
    struct replay *replay = replay_of(shard, session);
    if (session->state == SESSION_REPLAYING && replay && !replay->in) {
        replay_list_add(&shard->waiting_replays, replay);
    }
}

bool shard_replay_done(const struct shard *shard, const struct session *session,
                       struct hub_heads *out_heads)
{
    const struct replay *replay = replay_of(shard, session);
    *out_heads = (struct hub_heads){.started = shard->started};
    if (session->state != SESSION_REPLAYING || !replay) {
        return false;
    }
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        out_heads->started = with_bit(out_heads->started, q,
                                      bit_is_set(shard->started | replay->named, q));
        out_heads->pos[q] = replay->queues[q].cursor;
    }
    return true;
}
