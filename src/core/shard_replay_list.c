/* What a returning session missed in one queue: the seqs, in the window, of the messages to all its
 * targets. */
#include "base/err.h"
#include "base/mem.h"
#include "core/shard_private.h"
#include "core/sid.h"

enum { LIST_FIRST = 64 };

void replay_drop_list(struct replay *replay)
{
    mem_account(MEM_SESSIONS, -(int64_t)(replay->seq_cap * sizeof(*replay->seqs)));
    mem_free(replay->seqs);
    replay->seqs = NULL;
    replay->seq_cap = replay->seq_count = replay->seq_at = 0;
    replay->listed = false;
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

/* The group's messages after from are for the session; what was noted before is replaced. */
int replay_note_join(struct replay *replay, uint32_t member, struct bus_pos from)
{
    struct replay_join *noted = find_join(replay, member);
    if (noted) {
        noted->from = from;
        return 0;
    }
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

/* What is listed for the group must not go out any more, so the rest is listed anew. */
void replay_forget_member(struct replay *replay, uint32_t member)
{
    struct replay_join *noted = find_join(replay, member);
    if (noted) {
        *noted = replay->joins[--replay->join_count];
    }
    replay_drop_list(replay);
}

static bool make_room(struct replay *replay)
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

/* A stretch of the queue, after from, up to and including to, and its seqs. */
struct stretch {
    struct bus_pos from;
    struct bus_pos to;
    uint64_t to_seq;
};

static bool add_key(struct replay *replay, uint64_t key, const struct stretch *stretch)
{
    struct window *window = replay->shard->options.window;
    if (target_queue(key, replay->shard->options.queues) != replay->queue) {
        return true;
    }
    bool complete;
    struct window_search search = {
        .queue = replay->queue,
        .key = key,
        .from_seq = window_seq_after(window, replay->queue, stretch->from, &complete),
        .to_seq = stretch->to_seq};
    while (!search.done) {
        if (!make_room(replay)) {
            return false;
        }
        replay->seq_count += (uint32_t)window_find(
            window, &search, replay->seqs + replay->seq_count, replay->seq_cap - replay->seq_count);
    }
    return true;
}

static bool add_user(struct replay *replay, const struct session *session,
                     const struct stretch *stretch)
{
    const struct shard *shard = replay->shard;
    const struct user *user = session->user ? name_table_at(&shard->users, session->user) : NULL;
    return !user || add_key(replay, user->name.key, stretch);
}

static bool add_session(struct replay *replay, const struct session *session,
                        const struct stretch *stretch)
{
    const struct shard *shard = replay->shard;
    struct sid sid;
    char text[SID_LEN + 1];
    shard_session_sid(shard, session, &sid);
    sid_format(text, &shard->options.sid_key, &sid);
    return add_key(replay, shard_key(shard, session->app, TARGET_SESSION, str_of(text)), stretch);
}

/* From where the group's messages are for the session. */
static struct bus_pos join_pos(const struct replay *replay, uint32_t member, struct bus_pos cursor)
{
    const struct replay_join *noted = find_join(replay, member);
    return noted ? bus_pos_max(noted->from, cursor) : cursor;
}

static bool add_groups(struct replay *replay, const struct session *session,
                       const struct stretch *stretch)
{
    struct shard *shard = replay->shard;
    const struct member *member;
    for (uint32_t index = session->first_member; index; index = member->next) {
        member = member_at(shard, index);
        if (member->stamp >= MEMBER_PENDING) {
            continue;
        }
        struct stretch since_join = *stretch;
        since_join.from = join_pos(replay, index, stretch->from);
        if (!add_key(replay, group_at(shard, member->group)->name.key, &since_join)) {
            return false;
        }
    }
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

/* What was evicted before or while it was listed is told; looking only now misses nothing. */
static void tell_evicted(struct replay *replay, const struct stretch *stretch)
{
    struct shard *shard = replay->shard;
    struct window_span span;
    window_span(shard->options.window, replay->queue, &span);
    struct bus_pos tail = bus_pos_min(span.tail, stretch->to);
    if (bus_pos_compare(tail, stretch->from) <= 0) {
        return;
    }
    replay_tell_gap(shard, replay, tail, SESSION_GAP_OVERFLOW);
    while (replay->seq_at < replay->seq_count && replay->seqs[replay->seq_at] <= span.tail_seq) {
        replay->seq_at++;
    }
}

/* Lists what the session misses in its queue up to what has left the ring. False when memory is
 * out. */
bool replay_list(struct replay *replay, struct session *session)
{
    struct shard *shard = replay->shard;
    struct stretch stretch = {.from = replay->queues[replay->queue].cursor,
                              .to = lane_settled(shard, replay->queue)};
    replay->list_end = bus_pos_max(stretch.from, stretch.to);
    replay->listed = true;
    if (bus_pos_compare(stretch.from, stretch.to) >= 0) {
        return true;
    }
    bool complete;
    stretch.to_seq = window_seq_after(shard->options.window, replay->queue, stretch.to, &complete) -
                     1;
    if (!add_key(replay, shard->apps[session->app].all_key, &stretch) ||
        !add_user(replay, session, &stretch) || !add_session(replay, session, &stretch) ||
        !add_groups(replay, session, &stretch)) {
        return false;
    }
    sort_list(replay);
    tell_evicted(replay, &stretch);
    return true;
}
