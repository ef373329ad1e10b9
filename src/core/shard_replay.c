/* What a returning session missed, read from the window queue by queue, as fast as the session
 * takes it. Nothing goes to it live meanwhile; once it has everything that left the ring, it goes
 * live from the next ring entry. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/shard_private.h"

enum { LIST_FIRST = 64, STEP_MESSAGES = 256 };

struct replay *replay_create(struct shard *shard, struct session *session,
                             const struct session_resume *resume)
{
    struct replay *replay = mem_zalloc(sizeof(*replay));
    if (replay) {
        replay->shard = shard;
        replay->slot = slot_of(shard, session);
        replay->resume = *resume;
        mem_account(MEM_SESSIONS, sizeof(*replay));
    }
    return replay;
}

static void leave_queue(struct shard *shard, struct replay *replay)
{
    for (struct replay **at = &shard->replay_queue; *at; at = &(*at)->next) {
        if (*at == replay) {
            *at = replay->next;
            if (!*at) {
                shard->replay_queue_end = at;
            }
            break;
        }
    }
    replay->queued = false;
}

static void give_up_place(struct shard *shard, struct replay *replay)
{
    if (replay->has_place) {
        replay->has_place = false;
        shard->replays--;
    }
    mem_account(MEM_SESSIONS, -(int64_t)(replay->seq_cap * sizeof(*replay->seqs)));
    mem_free(replay->seqs);
    replay->seqs = NULL;
    replay->seq_cap = replay->seq_count = replay->seq_at = 0;
    replay->listed = false;
}

void replay_destroy(struct shard *shard, struct replay *replay)
{
    if (!replay) {
        return;
    }
    if (replay->queued) {
        leave_queue(shard, replay);
    }
    give_up_place(shard, replay);
    mem_account(MEM_SESSIONS, -(int64_t)sizeof(*replay));
    mem_free(replay->joins);
    mem_free(replay);
}

static void enqueue(struct shard *shard, struct replay *replay)
{
    replay->next = NULL;
    replay->queued = true;
    *shard->replay_queue_end = replay;
    shard->replay_queue_end = &replay->next;
}

int replay_note_join(struct replay *replay, uint32_t member, struct bus_pos from)
{
    if (replay->join_count == replay->join_cap) {
        uint32_t cap = replay->join_cap ? replay->join_cap * 2 : 4;
        struct replay_join *joins = mem_realloc(replay->joins, sizeof(*joins) * cap);
        if (!joins) {
            return ERR_NO_MEMORY;
        }
        replay->joins = joins;
        replay->join_cap = cap;
    }
    replay->joins[replay->join_count++] = (struct replay_join){member, from};
    return 0;
}

void replay_forget_member(struct replay *replay, uint32_t member)
{
    for (uint32_t i = 0; i < replay->join_count; i++) {
        if (replay->joins[i].member == member) {
            replay->joins[i] = replay->joins[--replay->join_count];
            return;
        }
    }
}

static void tell_gap(struct shard *shard, struct session *session, uint32_t queue,
                     struct bus_pos from, struct bus_pos to, enum session_gap_why why)
{
    shard_count(&shard->stats.gaps, 1);
    ops_of(shard, session)->on_gap(shard, session, queue, from, to, why);
}

/* Positions above the head are another history's. */
static bool is_of_this_history(const struct replay *replay, const struct hub_heads *heads,
                               uint32_t queues)
{
    if (!replay->resume.same_epoch) {
        return false;
    }
    for (uint32_t q = 0; q < queues; q++) {
        if (replay->resume.has[q] &&
            bus_pos_compare(replay->resume.seen.pos[q], heads->pos[q]) > 0) {
            return false;
        }
    }
    return true;
}

/* Where the stream of each queue can begin; true where that is what the client asked for. */
static bool find_start(struct shard *shard, struct replay *replay, uint32_t queue,
                       const struct hub_heads *heads)
{
    struct window_span span;
    window_span(shard->options.window, queue, &span);
    if (!replay->resume.has[queue]) {
        replay->cursor.pos[queue] = heads->pos[queue];
        return false;
    }
    struct bus_pos seen = replay->resume.seen.pos[queue];
    bool complete = bus_pos_compare(seen, span.tail) >= 0;
    replay->cursor.pos[queue] = complete ? seen : span.tail;
    return complete;
}

static void start_anew(struct shard *shard, struct session *session, const struct hub_heads *heads)
{
    struct session_cold *cold = shard_session_cold(shard, session);
    replay_destroy(shard, cold->replay);
    cold->replay = NULL;
    session->state = SESSION_LIVE;
    session->live_from = shard->ordinal;
    ops_of(shard, session)->on_start(shard, session, SESSION_RESUMED_NONE, heads);
    struct bus_pos zero = {0, 0};
    tell_gap(shard, session, SESSION_ALL_QUEUES, zero, zero, SESSION_GAP_EPOCH);
}

void replay_on_fence(struct shard *shard, struct session *session, const struct hub_heads *heads)
{
    struct replay *replay = shard_session_cold(shard, session)->replay;
    uint32_t queues = shard->options.queues;
    if (!is_of_this_history(replay, heads, queues)) {
        start_anew(shard, session, heads);
        return;
    }
    uint64_t incomplete = 0;
    for (uint32_t q = 0; q < queues; q++) {
        incomplete |= (uint64_t)!find_start(shard, replay, q, heads) << q;
    }
    session->state = SESSION_REPLAYING;
    ops_of(shard, session)
        ->on_start(shard, session, incomplete ? SESSION_RESUMED_PARTIAL : SESSION_RESUMED_FULL,
                   &replay->cursor);
    for (uint32_t q = 0; q < queues; q++) {
        if (incomplete >> q & 1) {
            tell_gap(shard, session, q, replay->resume.seen.pos[q], replay->cursor.pos[q],
                     SESSION_GAP_EXPIRED);
        }
    }
    enqueue(shard, replay);
}

static int compare_seqs(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static bool grow_list(struct replay *replay, uint32_t wanted)
{
    uint32_t cap = replay->seq_cap ? replay->seq_cap : LIST_FIRST;
    while (cap < wanted) {
        cap *= 2;
    }
    if (cap == replay->seq_cap) {
        return true;
    }
    uint64_t *seqs = mem_realloc(replay->seqs, sizeof(*seqs) * cap);
    if (!seqs) {
        return false;
    }
    mem_account(MEM_SESSIONS, (int64_t)((cap - replay->seq_cap) * sizeof(*seqs)));
    replay->seqs = seqs;
    replay->seq_cap = cap;
    return true;
}

/* Adds the seqs of one key's messages in (from, to] to the list. False when memory is out. */
static bool list_key(struct replay *replay, uint64_t key, struct bus_pos from, struct bus_pos to)
{
    struct window *window = replay->shard->options.window;
    uint32_t queue = replay->queue;
    bool complete;
    bool more = true;
    uint64_t from_seq = window_seq_after(window, queue, from, &complete);
    uint64_t to_seq = window_seq_after(window, queue, to, &complete) - 1;
    while (more) {
        if (!grow_list(replay, replay->seq_count + LIST_FIRST)) {
            return false;
        }
        uint64_t *room = replay->seqs + replay->seq_count;
        size_t max = replay->seq_cap - replay->seq_count;
        size_t found = window_find(window, queue, key, from_seq, to_seq, room, max, &more);
        replay->seq_count += (uint32_t)found;
        to_seq = more ? room[found - 1] - 1 : to_seq;
    }
    return true;
}

static bool list_if_here(struct replay *replay, uint64_t key, struct bus_pos from,
                         struct bus_pos to)
{
    if (target_queue(key, replay->shard->options.queues) != replay->queue) {
        return true;
    }
    return list_key(replay, key, from, to);
}

static struct bus_pos join_pos(const struct replay *replay, uint32_t member, struct bus_pos cursor)
{
    for (uint32_t i = 0; i < replay->join_count; i++) {
        struct bus_pos from = replay->joins[i].from;
        if (replay->joins[i].member == member && bus_pos_compare(from, cursor) > 0) {
            return from;
        }
    }
    return cursor;
}

static bool list_groups(struct replay *replay, const struct session *session, struct bus_pos to)
{
    struct shard *shard = replay->shard;
    struct bus_pos cursor = replay->cursor.pos[replay->queue];
    const struct member *member;
    for (uint32_t index = session->first_member; index; index = member->next) {
        member = slab_at(&shard->members, index);
        if (member->stamp >= MEMBER_PENDING) {
            continue;
        }
        const struct group *group = name_table_at(&shard->groups, member->group);
        if (!list_if_here(replay, group->name.key, join_pos(replay, index, cursor), to)) {
            return false;
        }
    }
    return true;
}

static void sort_list(struct replay *replay)
{
    qsort(replay->seqs, replay->seq_count, sizeof(*replay->seqs), compare_seqs);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < replay->seq_count; i++) {
        if (kept == 0 || replay->seqs[kept - 1] != replay->seqs[i]) {
            replay->seqs[kept++] = replay->seqs[i];
        }
    }
    replay->seq_count = kept;
}

/* Lists what the session misses in its queue up to what has left the ring. */
static bool list_queue(struct replay *replay, const struct session *session)
{
    struct shard *shard = replay->shard;
    struct bus_pos from = replay->cursor.pos[replay->queue];
    struct bus_pos to = shard->lanes[replay->queue].drained;
    replay->seq_count = replay->seq_at = 0;
    replay->list_end = to;
    bool listed = list_if_here(replay, shard->apps[session->app].all_key, from, to);
    if (listed && session->user) {
        const struct user *user = name_table_at(&shard->users, session->user);
        listed = list_if_here(replay, user->name.key, from, to);
    }
    listed = listed && list_groups(replay, session, to);
    if (listed) {
        sort_list(replay);
    }
    return listed;
}

static bool is_for_replay(struct shard *shard, const struct message *message,
                          const struct session *session)
{
    return message->event.kind == EVENT_MESSAGE &&
           (!message->expires_ms || message->expires_ms > shard->now_ms) &&
           !message_excludes(shard, message, session);
}

/* Evicted while it waited for its turn: the rest of what was evicted is gone as well. */
static void skip_evicted(struct shard *shard, struct replay *replay, struct session *session)
{
    struct window_span span;
    window_span(shard->options.window, replay->queue, &span);
    tell_gap(shard, session, replay->queue, replay->cursor.pos[replay->queue], span.tail,
             SESSION_GAP_OVERFLOW);
    replay->cursor.pos[replay->queue] = span.tail;
    while (replay->seq_at < replay->seq_count && replay->seqs[replay->seq_at] <= span.tail_seq) {
        replay->seq_at++;
    }
}

static void replay_next(struct shard *shard, struct replay *replay, struct session *session)
{
    uint64_t seq = replay->seqs[replay->seq_at];
    struct message *message = window_get(shard->options.window, replay->queue, seq);
    if (!message) {
        skip_evicted(shard, replay, session);
        return;
    }
    replay->seq_at++;
    replay->cursor.pos[replay->queue] = message->pos;
    if (is_for_replay(shard, message, session)) {
        shard_count(&shard->stats.replayed, 1);
        deliver_one(shard, session, message);
    }
    message_unref(message);
}

static bool is_caught_up(const struct shard *shard, const struct replay *replay)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        if (bus_pos_compare(replay->cursor.pos[q], shard->lanes[q].drained) < 0) {
            return false;
        }
    }
    return true;
}

static void go_live(struct shard *shard, struct session *session)
{
    struct session_cold *cold = shard_session_cold(shard, session);
    replay_destroy(shard, cold->replay);
    cold->replay = NULL;
    session->state = SESSION_LIVE;
    session->live_from = shard->ordinal;
}

enum step { STEP_LIVE, STEP_FULL, STEP_MORE, STEP_FAILED };

static enum step replay_step(struct shard *shard, struct replay *replay, struct session *session)
{
    for (int sent = 0; sent < STEP_MESSAGES;) {
        if (!replay->listed && !list_queue(replay, session)) {
            return STEP_FAILED;
        }
        replay->listed = true;
        if (replay->seq_at < replay->seq_count) {
            if (!ops_of(shard, session)->has_room(shard, session)) {
                return STEP_FULL;
            }
            replay_next(shard, replay, session);
            sent++;
            continue;
        }
        replay->cursor.pos[replay->queue] = replay->list_end;
        if (is_caught_up(shard, replay)) {
            return STEP_LIVE;
        }
        replay->queue = (replay->queue + 1) % shard->options.queues;
        replay->listed = false;
    }
    return STEP_MORE;
}

/* True when it must be called again this turn. */
static bool replay_run(struct shard *shard, struct replay *replay)
{
    struct session *session = session_at(shard, replay->slot);
    switch (replay_step(shard, replay, session)) {
    case STEP_LIVE: go_live(shard, session); return false;
    case STEP_FULL: give_up_place(shard, replay); return false; /* others may go on meanwhile */
    case STEP_MORE: return true;
    case STEP_FAILED: ops_of(shard, session)->on_kick(shard, session, 4100); return false;
    }
    return false;
}

static void take_place(struct shard *shard, struct replay *replay)
{
    if (!replay->has_place) {
        replay->has_place = true;
        shard->replays++;
    }
}

bool replay_run_queue(struct shard *shard)
{
    struct replay *last = NULL;
    while (shard->replay_queue && shard->replay_queue != last) {
        struct replay *replay = shard->replay_queue;
        if (!replay->has_place && shard->replays >= shard->options.max_replays) {
            return false;
        }
        take_place(shard, replay);
        leave_queue(shard, replay);
        if (replay_run(shard, replay)) {
            enqueue(shard, replay);
            last = last ? last : replay;
        }
    }
    return shard->replay_queue != NULL;
}

void shard_replay_continue(struct shard *shard, struct session *session)
{
    struct replay *replay = shard_session_cold(shard, session)->replay;
    if (session->state == SESSION_REPLAYING && replay && !replay->queued) {
        enqueue(shard, replay);
    }
}
