/* Sessions under a policy. All that is kept is at the session: where it stands among its user's,
 * and how many younger ones it has heard of. Those may be gone again, so nothing ends by what was
 * heard: who may be in excess asks, and only what is there counts. So a node that dies, or an end
 * that nobody told, leaves nothing behind. */
#include <string.h>

#include "base/err.h"
#include "core/shard_private.h"

static struct session_facts *facts_at(const struct shard *shard, uint32_t index)
{
    return slab_at(&shard->facts, index);
}

struct session_facts *facts_of(const struct shard *shard, const struct session *session)
{
    const struct session_cold *cold = slab_at(&shard->colds, session->cold);
    return cold->facts ? facts_at(shard, cold->facts) : NULL;
}

struct session_facts *facts_make(struct shard *shard, struct session *session)
{
    struct session_cold *cold = slab_at(&shard->colds, session->cold);
    if (!cold->facts) {
        cold->facts = slab_alloc(&shard->facts);
        if (!cold->facts) {
            return NULL;
        }
        *facts_at(shard, cold->facts) = (struct session_facts){0};
    }
    return facts_at(shard, cold->facts);
}

static struct policed *policed_of(const struct shard *shard, const struct session *session)
{
    const struct session_facts *facts = facts_of(shard, session);
    return facts && facts->policed ? slab_at(&shard->policed, facts->policed) : NULL;
}

void facts_drop(struct shard *shard, struct session *session)
{
    struct session_cold *cold = slab_at(&shard->colds, session->cold);
    if (!cold->facts) {
        return;
    }
    uint32_t policed = facts_at(shard, cold->facts)->policed;
    if (policed) {
        slab_free(&shard->policed, policed);
    }
    slab_free(&shard->facts, cold->facts);
    cold->facts = 0;
}

static uint64_t device_key(const struct shard *shard, struct str device)
{
    return device.len ? siphash(&shard->options.sid_key, device.ptr, device.len) | 1 : 0;
}

int shard_session_police(struct shard *shard, struct session *session,
                         const struct session_policy *policy, struct session_rank rank,
                         struct str device)
{
    struct session_facts *facts = facts_make(shard, session);
    uint32_t index = facts ? slab_alloc(&shard->policed) : 0;
    if (!index) {
        return ERR_NO_MEMORY;
    }
    ASSERT(session->user && !facts->policed);
    facts->policed = index;
    *(struct policed *)slab_at(&shard->policed, index) = (struct policed){
        .rank = rank, .device = device_key(shard, device), .policy = *policy};
    return 0;
}

bool shard_session_policy(const struct shard *shard, const struct session *session,
                          struct session_policy *out_policy, struct session_rank *out_rank)
{
    const struct policed *policed = policed_of(shard, session);
    if (policed) {
        *out_policy = policed->policy;
        *out_rank = policed->rank;
    }
    return policed != NULL;
}

static bool may_be_in_excess(const struct policed *policed)
{
    return !policed->asks && session_policy_evicts(&policed->policy, policed->heard);
}

/* What it hears from here on counts beside the answer: perhaps twice, then it asks once more. */
static void ask_if_due(struct shard *shard, struct session *session, struct policed *policed)
{
    if (may_be_in_excess(policed)) {
        policed->asks = true;
        policed->heard = (struct session_count){0};
        ops_of(shard, session)->on_excess(shard, session);
    }
}

/* Clocks of nodes differ: one that came before may be younger all the same. */
void shard_session_admit(struct shard *shard, struct session *session, struct session_count older)
{
    struct policed *policed = policed_of(shard, session);
    if (policed) {
        policed->is_open = true;
        policed->heard.all += older.all;
        policed->heard.same_device += older.same_device;
        ask_if_due(shard, session, policed);
    }
}

void shard_session_ranked(struct shard *shard, struct session *session,
                          struct session_count younger)
{
    struct policed *policed = policed_of(shard, session);
    if (policed) {
        policed->asks = false;
        policed->heard.all += younger.all;
        policed->heard.same_device += younger.same_device;
        ask_if_due(shard, session, policed);
    }
}

void shard_session_leaves(struct shard *shard, const struct session *session)
{
    struct policed *policed = policed_of(shard, session);
    if (policed) {
        policed->is_leaving = true;
    }
}

void shard_set_leaving(struct shard *shard, bool is_leaving)
{
    shard->is_leaving = is_leaving;
}

static bool is_same(const struct session_rank *a, const struct session_rank *b)
{
    return a->tie == b->tie && a->opened_ms == b->opened_ms;
}

static void hear(struct shard *shard, struct session *session, struct policed *policed,
                 bool is_same_device)
{
    if (shard->is_leaving || policed->is_leaving) {
        return;
    }
    policed->heard.all++;
    policed->heard.same_device += is_same_device;
    ask_if_due(shard, session, policed);
}

/* What the events say. */
struct word {
    struct session_rank rank;
    uint64_t device;
};

static bool read_word(const struct shard *shard, const struct event *event, struct word *out_word)
{
    if (event->data.len != sizeof(out_word->rank.tie)) {
        return false;
    }
    out_word->rank.opened_ms = event->time_ms;
    memcpy(&out_word->rank.tie, event->data.ptr, sizeof(out_word->rank.tie));
    out_word->device = device_key(shard, event->subject);
    return true;
}

/* Of two that come at once, the one whose event is later counts the other. */
static bool on_open(struct shard *shard, struct session *session, struct policed *policed,
                    const struct word *word, bool is_same_device)
{
    if (is_same(&policed->rank, &word->rank)) {
        policed->is_open = true;
        return false;
    }
    if (!policed->is_open) {
        return false;
    }
    hear(shard, session, policed, is_same_device);
    return true;
}

static bool on_rank(const struct policed *policed, const struct word *word)
{
    return policed->is_open && session_rank_is_younger(&policed->rank, &word->rank);
}

/* Clients of a node that goes away are about to begin elsewhere: there they count. */
struct session_count control_police(struct shard *shard, const struct message *message)
{
    const struct event *event = &message->event;
    struct session_count count = {0};
    struct word word;
    uint32_t user = name_table_find(&shard->users, event->header.key);
    if (!user || !read_word(shard, event, &word)) {
        return count;
    }
    for (uint32_t slot = user_at(shard, user)->first_session; slot;) {
        struct session *session = session_at(shard, slot);
        struct policed *policed = policed_of(shard, session);
        slot = session->user_next;
        if (!policed) {
            continue;
        }
        bool is_same_device = word.device && policed->device == word.device;
        bool counts = event->kind == EVENT_OPEN
                          ? on_open(shard, session, policed, &word, is_same_device)
                          : on_rank(policed, &word);
        counts = counts && !shard->is_leaving && !policed->is_leaving;
        count.all += counts;
        count.same_device += counts && is_same_device;
    }
    return count;
}
