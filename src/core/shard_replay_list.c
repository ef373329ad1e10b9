/* What a returning session missed in one queue: the seqs, in the window, of the messages to all its
 * targets. The window is searched from the newest to the oldest, some at a time; of many, the
 * oldest are kept, and the next ones are listed when these are sent. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/shard_private.h"
#include "core/sid.h"

enum {
    LIST_FIRST = 64,
    LIST_KEPT = 8192,      /* while it has a place */
    LIST_KEPT_SLOW = 1024, /* while it waits for room in its transport */
    STEP_COST = 512,       /* of one call of replay_list */
    MEMBER_COST = 1,
    FIND_COST = 32,
};

void replay_drop_list(struct replay *replay)
{
    mem_account(MEM_SESSIONS, -(int64_t)(replay->seq_cap * sizeof(*replay->seqs)));
    mem_free(replay->seqs);
    replay->seqs = NULL;
    replay->seq_cap = replay->seq_count = replay->seq_at = 0;
    replay->listed = replay->cut = false;
    replay->listing = (struct replay_listing){0};
}

static struct replay_join *find_join(const struct replay *replay, uint32_t member)
{
    for (uint32_t i = 0; i < replay->join_count; i++) {
        if (replay->joins[i].member == member) {
            return &replay->joins[i];
        }
    }
    return NULL;
}

static bool has_room_for_join(struct replay *replay)
{
    if (replay->join_count < replay->join_cap) {
        return true;
    }
    uint32_t cap = replay->join_cap ? replay->join_cap * 2 : 4;
    struct replay_join *joins = mem_realloc(replay->joins, sizeof(*joins) * cap);
    if (!joins) {
        return false;
    }
    replay->joins = joins;
    replay->join_cap = cap;
    return true;
}

static struct replay_join *add_join(struct replay *replay, uint32_t member)
{
    size_t size = sizeof(struct bus_pos) * replay->shard->options.queues;
    struct bus_pos *from = has_room_for_join(replay) ? mem_alloc(size) : NULL;
    if (!from) {
        return NULL;
    }
    mem_account(MEM_SESSIONS, (int64_t)size);
    struct replay_join *join = &replay->joins[replay->join_count++];
    *join = (struct replay_join){member, from};
    return join;
}

static void free_join(const struct replay *replay, struct replay_join *join)
{
    mem_account(MEM_SESSIONS, -(int64_t)(sizeof(struct bus_pos) * replay->shard->options.queues));
    mem_free(join->from);
}

/* The group's messages after from, in each queue, are for the session; what was noted before is
 * replaced. */
int replay_note_join(struct replay *replay, uint32_t member, const struct bus_pos *from)
{
    struct replay_join *noted = find_join(replay, member);
    noted = noted ? noted : add_join(replay, member);
    if (!noted) {
        return ERR_NO_MEMORY;
    }
    memcpy(noted->from, from, sizeof(*from) * replay->shard->options.queues);
    return 0;
}

void replay_drop_joins(struct replay *replay)
{
    while (replay->join_count > 0) {
        free_join(replay, &replay->joins[--replay->join_count]);
    }
    mem_free(replay->joins);
    replay->joins = NULL;
    replay->join_cap = 0;
}

/* What is listed for the group must not go out any more, so the rest is listed anew. */
void replay_forget_member(struct replay *replay, uint32_t member)
{
    struct replay_join *noted = find_join(replay, member);
    if (noted) {
        free_join(replay, noted);
        *noted = replay->joins[--replay->join_count];
    }
    replay_drop_list(replay);
}

static bool grow(struct replay *replay)
{
    if (replay->seq_count < replay->seq_cap) {
        return true;
    }
    uint32_t cap = replay->seq_cap ? replay->seq_cap * 2 : LIST_FIRST;
    uint64_t *seqs = mem_realloc(replay->seqs, sizeof(*seqs) * cap);
    if (!seqs) {
        return false;
    }
    mem_account(MEM_SESSIONS, (int64_t)((cap - replay->seq_cap) * sizeof(*seqs)));
    replay->seqs = seqs;
    replay->seq_cap = cap;
    return true;
}

static int compare_seqs(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void sort_list(struct replay *replay)
{
    uint32_t kept = 0;
    if (replay->seq_count > 0) {
        qsort(replay->seqs, replay->seq_count, sizeof(*replay->seqs), compare_seqs);
    }
    for (uint32_t i = 0; i < replay->seq_count; i++) {
        if (kept == 0 || replay->seqs[kept - 1] != replay->seqs[i]) {
            replay->seqs[kept++] = replay->seqs[i];
        }
    }
    replay->seq_count = kept;
}

/* Leaves the oldest ones. */
static void cut_list(struct replay *replay, uint32_t count)
{
    if (replay->seq_count > count) {
        replay->seq_count = count;
        replay->cut = true;
    }
}

/* What is newer than the oldest that fit need not be looked for any more. */
static bool make_room(struct replay *replay)
{
    if (replay->seq_count < 2 * LIST_KEPT) {
        return grow(replay);
    }
    sort_list(replay);
    cut_list(replay, LIST_KEPT);
    if (replay->cut) {
        replay->listing.to_seq = replay->seqs[replay->seq_count - 1];
        replay->listing.search.to_seq = replay->listing.to_seq;
    }
    return true;
}

/* Its transport is slow: the list holds little memory meanwhile, and need not be made anew. */
void replay_shorten_list(struct replay *replay)
{
    uint32_t rest = replay->seq_count - replay->seq_at;
    uint32_t count = rest < LIST_KEPT_SLOW ? rest : LIST_KEPT_SLOW;
    uint64_t *kept = replay->listed ? mem_alloc(sizeof(*kept) * (count + 1)) : NULL;
    if (!kept) {
        replay_drop_list(replay);
        return;
    }
    memcpy(kept, replay->seqs + replay->seq_at, sizeof(*kept) * count);
    mem_account(MEM_SESSIONS, ((int64_t)count + 1 - replay->seq_cap) * (int64_t)sizeof(*kept));
    mem_free(replay->seqs);
    replay->seqs = kept;
    replay->cut = replay->cut || rest > count;
    replay->seq_count = count;
    replay->seq_cap = count + 1;
    replay->seq_at = 0;
}

/* In any queue: while a broker is away, its keys' messages are in others. */
static void search_key_from(struct replay *replay, uint64_t key, uint64_t from_seq)
{
    replay->listing.searching = true;
    replay->listing.search = (struct window_search){
        .queue = replay->queue, .key = key, .from_seq = from_seq, .to_seq = replay->listing.to_seq};
}

static void search_key(struct replay *replay, uint64_t key)
{
    search_key_from(replay, key, replay->listing.from_seq);
}

/* From where the group's messages in the queue in hand are for the session. */
static uint64_t seq_of_join(const struct replay *replay, uint32_t member)
{
    const struct replay_listing *listing = &replay->listing;
    const struct replay_join *noted = find_join(replay, member);
    bool complete;
    if (!noted || bus_pos_compare(noted->from[replay->queue], listing->from) <= 0) {
        return listing->from_seq;
    }
    return window_seq_after(replay->shard->options.window, replay->queue,
                            noted->from[replay->queue], &complete);
}

static uint64_t session_key(const struct shard *shard, const struct session *session)
{
    struct sid sid;
    char text[SID_LEN + 1];
    shard_session_sid(shard, session, &sid);
    sid_format(text, &shard->options.sid_key, &sid);
    return shard_key(shard, session->app, TARGET_SESSION, str_of(text));
}

/* Who joins while the list is made is put before the member in hand, and what is in the list's
 * stretch is not for it. Who leaves lets the list be made anew. */
static bool search_group(struct replay *replay)
{
    struct shard *shard = replay->shard;
    struct replay_listing *listing = &replay->listing;
    if (!listing->member) {
        return false;
    }
    const struct member *member = member_at(shard, listing->member);
    if (member->stamp < MEMBER_PENDING) {
        search_key_from(replay, group_at(shard, member->group)->name.key,
                        seq_of_join(replay, listing->member));
    }
    listing->member = member->next;
    return true;
}

/* The next of its targets; false when there are no more. */
static bool search_next(struct replay *replay, const struct session *session)
{
    struct shard *shard = replay->shard;
    struct replay_listing *listing = &replay->listing;
    switch (listing->stage) {
    case LIST_BEGIN:
        listing->stage = LIST_ALL;
        search_key(replay, shard->apps[session->app].all_key);
        return true;
    case LIST_ALL:
        listing->stage = LIST_USER;
        if (session->user) {
            search_key(replay, user_at(shard, session->user)->name.key);
        }
        return true;
    case LIST_USER:
        listing->stage = LIST_SESSION;
        search_key(replay, session_key(shard, session));
        return true;
    case LIST_SESSION:
        listing->stage = LIST_GROUPS;
        listing->member = session->first_member;
        return true;
    case LIST_GROUPS: break;
    }
    return search_group(replay);
}

static bool find_some(struct replay *replay)
{
    struct replay_listing *listing = &replay->listing;
    if (!make_room(replay)) {
        return false;
    }
    replay->seq_count += (uint32_t)window_find(replay->shard->options.window, &listing->search,
                                               replay->seqs + replay->seq_count,
                                               replay->seq_cap - replay->seq_count);
    listing->searching = !listing->search.done;
    return true;
}

/* What was evicted before or while it was listed is told; looking only now misses nothing. */
static void tell_evicted(struct replay *replay, struct window_span span)
{
    struct shard *shard = replay->shard;
    struct bus_pos tail = bus_pos_min(span.tail, replay->list_end);
    if (bus_pos_compare(tail, replay->listing.from) <= 0) {
        return;
    }
    replay_tell_gap(shard, replay, tail, SESSION_GAP_OVERFLOW);
    while (replay->seq_at < replay->seq_count && replay->seqs[replay->seq_at] <= span.tail_seq) {
        replay->seq_at++;
    }
}

/* Up to what has left the ring. False when there is nothing: mostly no key need be looked for, as
 * nothing at all came in the queue meanwhile. */
static bool begin_list(struct replay *replay)
{
    struct window *window = replay->shard->options.window;
    struct replay_listing *listing = &replay->listing;
    struct bus_pos from = replay->queues[replay->queue].cursor;
    struct bus_pos to = lane_settled(replay->shard, replay->queue);
    bool has_all;
    bool ignored;
    listing->from = from;
    replay->list_end = bus_pos_max(from, to);
    if (bus_pos_compare(from, to) >= 0) {
        return false;
    }
    listing->from_seq = window_seq_after(window, replay->queue, from, &has_all);
    uint64_t end_seq = window_seq_after(window, replay->queue, to, &ignored);
    listing->to_seq = end_seq - 1;
    if (replay_must_wait(replay, end_seq)) {
        replay->list_end = from;
        return false;
    }
    return !has_all || listing->from_seq < end_seq;
}

/* Of a list that another history overtook, nothing holds. */
static void end_list(struct replay *replay)
{
    struct window_span span;
    window_span(replay->shard->options.window, replay->queue, &span);
    if (replay_must_wait(replay, span.tail_seq)) {
        replay->seq_count = 0;
        replay->list_end = replay->listing.from;
    }
    replay->listed = true;
    sort_list(replay);
    cut_list(replay, LIST_KEPT);
    tell_evicted(replay, span);
}

/* Goes on with the list of its queue. */
enum list_step replay_list(struct replay *replay, struct session *session, uint32_t *turn_finds)
{
    if (replay->listing.stage == LIST_BEGIN && !begin_list(replay)) {
        replay->listed = true;
        return LIST_DONE;
    }
    for (int cost = 0; cost < STEP_COST;) {
        if (replay->listing.searching) {
            if (!find_some(replay)) {
                return LIST_FAILED;
            }
            cost += FIND_COST;
            (*turn_finds)++;
        } else if (!search_next(replay, session)) {
            end_list(replay);
            return LIST_DONE;
        } else {
            cost += MEMBER_COST;
        }
    }
    return LIST_MORE;
}
