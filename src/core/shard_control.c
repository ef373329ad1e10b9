/* Joins and parts by the API: events on the group's queue, so they have their place among its
 * messages. A part also makes void the grants that were issued before it. */
#include "base/err.h"
#include "core/shard_private.h"

enum { VOIDS_KEPT = 1024 };

static uint64_t subject_key(const struct shard *shard, const struct message *message)
{
    return target_key(&shard->options.space, message->event.header.app, TARGET_USER,
                      message->event.subject);
}

static struct str event_group(const struct message *message)
{
    struct str rest = message->event.target_bytes;
    struct target target = {TARGET_GROUP, STR("")};
    event_next_target(&rest, &target);
    return target.name;
}

/* A join of the client's own that still waits for its fence is in force now, and the fence will
 * only bring the answer. One whose fence overtook this event in line is in force from the event on:
 * nothing that came after the event has been served in this lane. */
static uint32_t make_member(struct shard *shard, struct session *session, uint32_t group,
                            uint64_t ordinal)
{
    uint32_t index = member_find(shard, session, group);
    if (!index) {
        return member_add(shard, session, group, ordinal);
    }
    member_at(shard, index)->stamp = ordinal;
    return index;
}

static bool is_in_force(const struct shard *shard, const struct session *session, uint32_t group)
{
    uint32_t index = member_find(shard, session, group);
    return index && member_at(shard, index)->stamp < MEMBER_PENDING;
}

static bool was_in_force(const struct shard *shard, const struct session *session, uint32_t group,
                         uint64_t ordinal)
{
    uint32_t index = member_find(shard, session, group);
    return index && member_at(shard, index)->stamp <= ordinal;
}

/* What a session that replays must find of its new group: in the event's own queue what comes
 * behind it, in the others what this worker has not sent yet. */
static int note_join(struct shard *shard, struct session *session, uint32_t member,
                     const struct message *message)
{
    struct replay *replay = replay_of(shard, session);
    struct bus_pos from[BUS_MAX_QUEUES];
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        from[q] = q == message->queue ? message->pos : shard->lanes[q].done;
    }
    return replay ? replay_note_join(replay, member, from) : 0;
}

static bool join_session(struct shard *shard, struct session *session, uint32_t group,
                         const struct message *message, uint64_t ordinal)
{
    if (!session_was_before(shard, session, ordinal) ||
        session_is_younger(shard, session, message)) {
        return false;
    }
    if (was_in_force(shard, session, group, ordinal)) {
        return true;
    }
    if (session->group_count >= shard->max_groups && !member_find(shard, session, group)) {
        return false;
    }
    bool is_told = is_in_force(shard, session, group);
    uint32_t member = make_member(shard, session, group, ordinal);
    if (!member || note_join(shard, session, member, message)) {
        ops_of(shard, session)->on_kick(shard, session, 4100);
        return false;
    }
    if (!is_told) {
        ops_of(shard, session)->on_joined(shard, session, group_name(shard, group), 0);
    }
    return true;
}

static void kick_user(struct shard *shard, const struct user *user)
{
    for (uint32_t slot = user->first_session; slot;) {
        struct session *session = session_at(shard, slot);
        slot = session->user_next;
        ops_of(shard, session)->on_kick(shard, session, 4100);
    }
}

static uint32_t join_user(struct shard *shard, const struct user *user, struct message *message,
                          uint64_t ordinal)
{
    uint32_t group = group_find_or_add(shard, user->name.app, event_group(message));
    if (!group) {
        kick_user(shard, user);
        return 0;
    }
    uint32_t matched = 0;
    group_hold(shard, group);
    for (uint32_t slot = user->first_session; slot;) {
        struct session *session = session_at(shard, slot);
        slot = session->user_next;
        matched += join_session(shard, session, group, message, ordinal);
    }
    group_release(shard, group);
    return matched;
}

/* Returns the sessions that are in the group now because of it. */
uint32_t control_join(struct shard *shard, struct message *message, uint64_t ordinal)
{
    uint32_t user = name_table_find(&shard->users, subject_key(shard, message));
    uint64_t key = message->event.header.key;
    uint32_t matched = 0;
    if (user) {
        matched = join_user(shard, name_table_at(&shard->users, user), message, ordinal);
    }
    bool has_group = name_table_find(&shard->groups, key) != 0;
    interest_add(shard, message->event.header.app, key,
                 has_group ? INTEREST_JOINED : INTEREST_NOT_JOINED);
    return matched;
}

/* One that has not been told of its start can't be told of the part: it starts anew. A part that is
 * read back late ends the membership of younger sessions too: they may have it by a grant of before
 * the part. */
static bool part_session(struct shard *shard, struct session *session, uint32_t group)
{
    uint32_t member = member_find(shard, session, group);
    if (!member) {
        return false;
    }
    if (session->state == SESSION_LIVE || session->state == SESSION_REPLAYING) {
        ops_of(shard, session)->on_left(shard, session, group_name(shard, group));
    } else {
        ops_of(shard, session)->on_kick(shard, session, 4100);
    }
    member_forget(shard, session, member);
    return true;
}

static uint32_t part_user(struct shard *shard, const struct user *user, uint32_t group)
{
    uint32_t matched = 0;
    group_hold(shard, group);
    for (uint32_t slot = user->first_session; slot;) {
        struct session *session = session_at(shard, slot);
        slot = session->user_next;
        matched += part_session(shard, session, group);
    }
    group_release(shard, group);
    return matched;
}

/* No grant that was issued until then is good. */
void shard_void_all(struct shard *shard, uint64_t time_ms)
{
    shard->all_void_ms = time_ms > shard->all_void_ms ? time_ms : shard->all_void_ms;
}

/* Grants of before have expired by themselves, so their voids are of no use any more. */
static void sweep_voids(struct shard *shard, uint64_t now_ms)
{
    struct u64map kept = {0};
    size_t at = 0;
    for (struct u64map_entry *entry = u64map_next(&shard->voids, &at); entry;
         entry = u64map_next(&shard->voids, &at)) {
        if (entry->value + SHARD_GRANT_LIFE_MS < now_ms) {
            continue;
        }
        uint64_t *place = u64map_put(&kept, entry->key);
        if (!place) {
            u64map_fini(&kept);
            return;
        }
        *place = entry->value;
    }
    u64map_fini(&shard->voids);
    shard->voids = kept;
    shard->voids_swept_at = kept.count;
}

static uint64_t void_key(const struct shard *shard, uint64_t user_key, uint64_t group_key)
{
    uint64_t both[2] = {user_key, group_key};
    return siphash(&shard->options.sid_key, both, sizeof(both));
}

/* A client whose grant is refused gets a new one, so to refuse too many is safe. */
static void fold_voids(struct shard *shard)
{
    size_t at = 0;
    for (struct u64map_entry *entry = u64map_next(&shard->voids, &at); entry;
         entry = u64map_next(&shard->voids, &at)) {
        shard_void_all(shard, entry->value);
    }
    u64map_fini(&shard->voids);
    shard->voids_swept_at = 0;
    shard_count(&shard->stats.voids_folded, 1);
}

/* At the limit; what a sweep leaves must be well below, or each further part would sweep. */
static void make_room_for_void(struct shard *shard, uint64_t now_ms)
{
    sweep_voids(shard, now_ms);
    if (shard->voids.count > shard->options.max_voids / 4 * 3) {
        fold_voids(shard);
    }
}

static void void_grants(struct shard *shard, uint64_t key, uint64_t time_ms)
{
    if (shard->voids.count > 2 * shard->voids_swept_at + VOIDS_KEPT) {
        sweep_voids(shard, time_ms);
    }
    if (shard->voids.count >= shard->options.max_voids) {
        make_room_for_void(shard, time_ms);
    }
    uint64_t *until = u64map_put(&shard->voids, key);
    until = until ? until : &shard->all_void_ms;
    *until = time_ms > *until ? time_ms : *until;
}

/* Returns the sessions that were in the group. One that is told again ends nothing: who is in the
 * group now came back with a grant of after it. */
uint32_t control_part(struct shard *shard, struct message *message)
{
    uint64_t user_key = subject_key(shard, message);
    uint64_t group_key = message->event.header.key;
    void_grants(shard, void_key(shard, user_key, group_key), message->event.time_ms);
    if (message->event.header.flags & EVENT_IS_AGAIN) {
        return 0;
    }
    uint32_t user = name_table_find(&shard->users, user_key);
    uint32_t group = name_table_find(&shard->groups, group_key);
    return user && group ? part_user(shard, name_table_at(&shard->users, user), group) : 0;
}

bool shard_grant_is_revoked(const struct shard *shard, uint16_t app, struct str user,
                            struct str group, uint64_t issued_ms)
{
    uint64_t key = void_key(shard, shard_key(shard, app, TARGET_USER, user),
                            shard_key(shard, app, TARGET_GROUP, group));
    const uint64_t *until = u64map_find(&shard->voids, key);
    /* Of a grant and a part in the same ms nobody knows which was first: the grant is refused. */
    return (until && issued_ms <= *until) || issued_ms <= shard->all_void_ms;
}
