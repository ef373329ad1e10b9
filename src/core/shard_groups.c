/* Who is in which group on this worker, and what the hub must know of it. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/shard_private.h"

enum { VOIDS_KEPT = 1024 };

static struct interest_batch *current_batch(struct shard *shard)
{
    if (!shard->batch) {
        shard->batch = interest_batch_create(shard->options.worker);
    }
    return shard->batch;
}

int interest_add(struct shard *shard, uint64_t key, enum interest_op op)
{
    struct interest_batch *batch = current_batch(shard);
    return batch ? interest_batch_add(batch, key, op) : ERR_NO_MEMORY;
}

int interest_wait(struct shard *shard, const struct session *session, uint32_t member,
                  uint64_t serial, uint32_t tag)
{
    struct interest_batch *batch = current_batch(shard);
    struct interest_waiter waiter = {slot_of(shard, session), session->generation, member, tag,
                                     serial};
    return batch ? interest_batch_wait(batch, waiter) : ERR_NO_MEMORY;
}

void shard_flush(struct shard *shard)
{
    struct interest_batch *batch = shard->batch;
    if (batch) {
        shard->batch = NULL;
        shard->callbacks->send_interest(shard->owner, batch);
    }
}

static struct group *group_at(const struct shard *shard, uint32_t index)
{
    return name_table_at(&shard->groups, index);
}

static struct member *member_at(const struct shard *shard, uint32_t index)
{
    return slab_at(&shard->members, index);
}

static void account_members(const struct group *group, int sign)
{
    mem_account(MEM_TABLES, sign * (int64_t)(sizeof(*group->members) * group->cap));
}

/* Frees the group when nobody is in it and no broadcast walks it. */
void group_release(struct shard *shard, uint32_t index)
{
    struct group *group = group_at(shard, index);
    if (group->name.count > 0 || group->casts > 0) {
        return;
    }
    interest_add(shard, group->name.key, INTEREST_REMOVE);
    account_members(group, -1);
    mem_free(group->members);
    name_table_remove(&shard->groups, index);
    shard_count(&shard->stats.groups, -1);
}

static uint32_t find_or_add_group(struct shard *shard, uint16_t app, struct str name)
{
    uint64_t key = shard_key(shard, app, TARGET_GROUP, name);
    uint32_t index = name_table_find(&shard->groups, key);
    if (index) {
        return index;
    }
    if (interest_add(shard, key, INTEREST_ADD)) {
        return 0;
    }
    index = name_table_add(&shard->groups, key, app, name);
    if (index) {
        shard_count(&shard->stats.groups, 1);
    } else {
        interest_add(shard, key, INTEREST_REMOVE);
    }
    return index;
}

static int make_room(struct group *group)
{
    if (group->name.count < group->cap) {
        return 0;
    }
    uint32_t cap = group->cap ? group->cap + group->cap / 2 + 1 : 2;
    uint32_t *members = mem_realloc(group->members, sizeof(*members) * cap);
    if (!members) {
        return ERR_NO_MEMORY;
    }
    account_members(group, -1);
    group->members = members;
    group->cap = cap;
    account_members(group, 1);
    return 0;
}

/* The session's membership in the group, or 0. */
static uint32_t find_member(const struct shard *shard, const struct session *session,
                            uint32_t group)
{
    uint32_t index = session->first_member;
    while (index && member_at(shard, index)->group != group) {
        index = member_at(shard, index)->next;
    }
    return index;
}

static uint32_t add_member(struct shard *shard, struct session *session, uint32_t group_index,
                           uint64_t stamp)
{
    struct group *group = group_at(shard, group_index);
    uint32_t index = make_room(group) ? 0 : slab_alloc(&shard->members);
    if (!index) {
        group_release(shard, group_index);
        return 0;
    }
    *member_at(shard, index) = (struct member){.stamp = stamp,
                                               .slot = slot_of(shard, session),
                                               .group = group_index,
                                               .next = session->first_member,
                                               .index = group->name.count};
    group->members[group->name.count++] = index;
    session->first_member = index;
    session->group_count++;
    shard_count(&shard->stats.members, 1);
    return index;
}

/* The last of the group takes the place of the one that goes. A broadcast walks from the end to the
 * start, so nobody is missed; stamps keep it from serving one twice. */
static void remove_member(struct shard *shard, struct session *session, uint32_t index)
{
    struct member *member = member_at(shard, index);
    uint32_t group_index = member->group;
    struct group *group = group_at(shard, group_index);
    uint32_t moved = group->members[--group->name.count];
    group->members[member->index] = moved;
    member_at(shard, moved)->index = member->index;

    uint32_t *link = &session->first_member;
    while (*link != index) {
        link = &member_at(shard, *link)->next;
    }
    *link = member->next;
    session->group_count--;
    slab_free(&shard->members, index);
    shard_count(&shard->stats.members, -1);
    group_release(shard, group_index);
}

static void forget_member(struct shard *shard, struct session *session, uint32_t index)
{
    struct replay *replay = shard_session_cold(shard, session)->replay;
    if (replay) {
        replay_forget_member(replay, index);
    }
    remove_member(shard, session, index);
}

void groups_leave_all(struct shard *shard, struct session *session)
{
    while (session->first_member) {
        remove_member(shard, session, session->first_member);
    }
}

int shard_join(struct shard *shard, struct session *session, struct str name, uint32_t tag)
{
    uint32_t group = find_or_add_group(shard, session->app, name);
    if (!group) {
        return ERR_NO_MEMORY;
    }
    if (find_member(shard, session, group)) {
        return ERR_EXISTS;
    }
    bool with_start = session->state == SESSION_NEW;
    uint64_t serial = with_start ? 0 : ++shard->join_serial;
    uint32_t member = add_member(shard, session, group, MEMBER_PENDING | serial);
    if (!member) {
        return ERR_NO_MEMORY;
    }
    if (!with_start && interest_wait(shard, session, member, serial, tag)) {
        remove_member(shard, session, member);
        return ERR_NO_MEMORY;
    }
    return 0;
}

int shard_leave(struct shard *shard, struct session *session, struct str name)
{
    uint64_t key = shard_key(shard, session->app, TARGET_GROUP, name);
    uint32_t group = name_table_find(&shard->groups, key);
    uint32_t member = group ? find_member(shard, session, group) : 0;
    if (!member) {
        return ERR_NOT_FOUND;
    }
    forget_member(shard, session, member);
    return 0;
}

void groups_start_members(struct shard *shard, struct session *session, uint64_t ordinal)
{
    for (uint32_t index = session->first_member; index; index = member_at(shard, index)->next) {
        struct member *member = member_at(shard, index);
        if (member->stamp == MEMBER_PENDING) {
            member->stamp = ordinal;
        }
    }
}

static struct str group_name(const struct shard *shard, uint32_t index)
{
    return name_entry_name(&group_at(shard, index)->name);
}

/* The fence of a join: what comes from now on is for it. A session that still replays will find
 * what is between here and then in the window. */
void groups_on_fence(struct shard *shard, struct session *session,
                     const struct interest_waiter *waiter, const struct hub_heads *heads)
{
    uint32_t index = session->first_member;
    while (index && index != waiter->member) {
        index = member_at(shard, index)->next;
    }
    struct member *member = index ? member_at(shard, index) : NULL;
    if (!member || member->stamp != (MEMBER_PENDING | waiter->serial)) {
        return;
    }
    member->stamp = shard->ordinal;
    struct replay *replay = shard_session_cold(shard, session)->replay;
    uint64_t key = group_at(shard, member->group)->name.key;
    uint32_t queue = target_queue(key, shard->options.queues);
    if (replay && replay_note_join(replay, index, heads->pos[queue])) {
        ops_of(shard, session)->on_kick(shard, session, 4100);
        return;
    }
    ops_of(shard, session)
        ->on_joined(shard, session, group_name(shard, member->group), waiter->tag);
}

static bool join_by_event(struct shard *shard, struct session *session, uint32_t group,
                          const struct message *message, uint64_t ordinal)
{
    if (session->state != SESSION_LIVE && session->state != SESSION_REPLAYING) {
        return false;
    }
    if (find_member(shard, session, group)) {
        return true;
    }
    uint32_t member = add_member(shard, session, group, ordinal);
    struct replay *replay = shard_session_cold(shard, session)->replay;
    if (!member || (replay && replay_note_join(replay, member, message->pos))) {
        ops_of(shard, session)->on_kick(shard, session, 4100);
        return false;
    }
    ops_of(shard, session)->on_joined(shard, session, group_name(shard, group), 0);
    return true;
}

static uint64_t void_key(const struct shard *shard, uint64_t user_key, uint64_t group_key)
{
    uint64_t both[2] = {user_key, group_key};
    return siphash(&shard->options.sid_key, both, sizeof(both));
}

static uint64_t subject_key(const struct shard *shard, const struct message *message)
{
    return target_key(&shard->options.cluster_key, message->event.header.app, TARGET_USER,
                      message->event.subject);
}

static struct str event_group(const struct message *message)
{
    struct str rest = message->event.target_bytes;
    struct target target = {TARGET_GROUP, STR("")};
    event_next_target(&rest, &target);
    return target.name;
}

/* casts keeps the group while its first member is still to come. */
static void join_user(struct shard *shard, uint32_t user_index, struct message *message,
                      uint64_t ordinal, uint32_t *out_matched)
{
    const struct user *user = name_table_at(&shard->users, user_index);
    uint32_t group = find_or_add_group(shard, user->name.app, event_group(message));
    if (!group) {
        return;
    }
    group_at(shard, group)->casts++;
    for (uint32_t slot = user->first_session; slot;) {
        struct session *session = session_at(shard, slot);
        slot = session->user_next;
        *out_matched += join_by_event(shard, session, group, message, ordinal);
    }
    group_at(shard, group)->casts--;
    group_release(shard, group);
}

void groups_on_join_event(struct shard *shard, struct message *message, uint64_t ordinal,
                          uint32_t *out_matched)
{
    uint32_t user = name_table_find(&shard->users, subject_key(shard, message));
    uint64_t key = message->event.header.key;
    if (user) {
        join_user(shard, user, message, ordinal, out_matched);
    }
    bool has_group = name_table_find(&shard->groups, key) != 0;
    interest_add(shard, key, has_group ? INTEREST_JOINED : INTEREST_NOT_JOINED);
}

static bool part_by_event(struct shard *shard, struct session *session, uint32_t group)
{
    uint32_t member = find_member(shard, session, group);
    if (!member) {
        return false;
    }
    ops_of(shard, session)->on_left(shard, session, group_name(shard, group));
    forget_member(shard, session, member);
    return true;
}

/* Grants of before have expired by themselves, so their voids are of no use any more. */
static void sweep_voids(struct shard *shard, uint64_t now_ms)
{
    for (bool again = true; again;) {
        again = false;
        size_t at = 0;
        struct u64map_entry *entry = u64map_next(&shard->voids, &at);
        while (entry && entry->value + SHARD_GRANT_LIFE_MS >= now_ms) {
            entry = u64map_next(&shard->voids, &at);
        }
        if (entry) {
            again = u64map_remove(&shard->voids, entry->key);
        }
    }
    shard->voids_swept_at = shard->voids.count;
}

void groups_on_part_event(struct shard *shard, struct message *message, uint32_t *out_matched)
{
    uint64_t user_key = subject_key(shard, message);
    uint64_t group_key = message->event.header.key;
    uint64_t *until = u64map_put(&shard->voids, void_key(shard, user_key, group_key));
    if (until) {
        *until = message->event.time_ms;
    }
    if (shard->voids.count > 2 * shard->voids_swept_at + VOIDS_KEPT) {
        sweep_voids(shard, message->event.time_ms);
    }
    uint32_t user_index = name_table_find(&shard->users, user_key);
    uint32_t group = name_table_find(&shard->groups, group_key);
    if (!user_index || !group) {
        return;
    }
    const struct user *user = name_table_at(&shard->users, user_index);
    group_at(shard, group)->casts++;
    for (uint32_t slot = user->first_session; slot;) {
        struct session *session = session_at(shard, slot);
        slot = session->user_next;
        *out_matched += part_by_event(shard, session, group);
    }
    group_at(shard, group)->casts--;
    group_release(shard, group);
}

bool shard_grant_is_revoked(const struct shard *shard, uint16_t app, struct str user,
                            struct str group, uint64_t issued_ms)
{
    uint64_t key = void_key(shard, shard_key(shard, app, TARGET_USER, user),
                            shard_key(shard, app, TARGET_GROUP, group));
    const uint64_t *until = u64map_find(&shard->voids, key);
    return until && issued_ms <= *until;
}

uint32_t shard_group_size(const struct shard *shard, uint16_t app, struct str name)
{
    uint64_t key = shard_key(shard, app, TARGET_GROUP, name);
    uint32_t index = name_table_find(&shard->groups, key);
    return index ? group_at(shard, index)->name.count : 0;
}

uint32_t shard_group_users(const struct shard *shard, uint16_t app, struct str name,
                           struct buf *out)
{
    uint64_t key = shard_key(shard, app, TARGET_GROUP, name);
    uint32_t index = name_table_find(&shard->groups, key);
    const struct group *group = index ? group_at(shard, index) : NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; group && i < group->name.count; i++) {
        const struct session *session = session_at(shard,
                                                   member_at(shard, group->members[i])->slot);
        if (session->user) {
            const struct user *user = name_table_at(&shard->users, session->user);
            buf_append(out, &user->name.key, sizeof(user->name.key));
            count++;
        }
    }
    return count;
}

uint32_t shard_visit_group(struct shard *shard, uint16_t app, struct str name,
                           void (*visit)(void *arg, struct session *session), void *arg)
{
    uint64_t key = shard_key(shard, app, TARGET_GROUP, name);
    uint32_t index = name_table_find(&shard->groups, key);
    if (!index) {
        return 0;
    }
    const struct group *group = group_at(shard, index);
    for (uint32_t i = 0; i < group->name.count; i++) {
        visit(arg, session_at(shard, member_at(shard, group->members[i])->slot));
    }
    return group->name.count;
}

void shard_visit_session_groups(struct shard *shard, const struct session *session,
                                void (*visit)(void *arg, struct str group), void *arg)
{
    for (uint32_t index = session->first_member; index; index = member_at(shard, index)->next) {
        visit(arg, group_name(shard, member_at(shard, index)->group));
    }
}
