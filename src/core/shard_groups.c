/* Who is in which group on this worker, and what the hub must know of it. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/shard_private.h"

static struct interest_batch *current_batch(struct shard *shard)
{
    if (!shard->batch) {
        shard->batch = interest_batch_create(shard->options.worker);
    }
    return shard->batch;
}

/* app: target_app_hash. */
int interest_add(struct shard *shard, uint32_t app, uint64_t key, enum interest_op op)
{
    struct interest_batch *batch = current_batch(shard);
    int err = batch ? interest_batch_add(batch, key, op) : ERR_NO_MEMORY;
    if (!err) {
        batch->items[batch->item_count - 1].app = app;
    }
    return err;
}

int interest_wait(struct shard *shard, struct interest_waiter waiter)
{
    struct interest_batch *batch = current_batch(shard);
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

struct group *group_at(const struct shard *shard, uint32_t index)
{
    return name_table_at(&shard->groups, index);
}

struct member *member_at(const struct shard *shard, uint32_t index)
{
    return slab_at(&shard->members, index);
}

static void account_members(const struct group *group, int sign)
{
    mem_account(MEM_TABLES, sign * (int64_t)(sizeof(*group->members) * group->cap));
}

/* Keeps the group, even without members, until group_release. */
void group_hold(struct shard *shard, uint32_t index)
{
    group_at(shard, index)->casts++;
}

static void remove_if_unused(struct shard *shard, uint32_t index)
{
    struct group *group = group_at(shard, index);
    if (group->name.count > 0 || group->casts > 0) {
        return;
    }
    interest_add(shard, shard->apps[group->name.app].hash, group->name.key, INTEREST_REMOVE);
    account_members(group, -1);
    mem_free(group->members);
    name_table_remove(&shard->groups, index);
    shard_count(&shard->stats.groups, -1);
}

void group_release(struct shard *shard, uint32_t index)
{
    group_at(shard, index)->casts--;
    remove_if_unused(shard, index);
}

/* A new group is gone again unless a member follows or somebody holds it. */
uint32_t group_find_or_add(struct shard *shard, uint16_t app, struct str name)
{
    uint64_t key = shard_key(shard, app, TARGET_GROUP, name);
    uint32_t index = name_table_find(&shard->groups, key);
    if (index) {
        return index;
    }
    if (interest_add(shard, shard->apps[app].hash, key, INTEREST_ADD)) {
        return 0;
    }
    index = name_table_add(&shard->groups, key, app, name);
    if (index) {
        shard_count(&shard->stats.groups, 1);
    } else {
        interest_add(shard, shard->apps[app].hash, key, INTEREST_REMOVE);
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
uint32_t member_find(const struct shard *shard, const struct session *session, uint32_t group)
{
    uint32_t index = session->first_member;
    while (index && member_at(shard, index)->group != group) {
        index = member_at(shard, index)->next;
    }
    return index;
}

uint32_t member_add(struct shard *shard, struct session *session, uint32_t group_index,
                    uint64_t stamp)
{
    struct group *group = group_at(shard, group_index);
    uint32_t index = make_room(group) ? 0 : slab_alloc(&shard->members);
    if (!index) {
        remove_if_unused(shard, group_index);
        return 0;
    }
    *member_at(shard, index) = (struct member){.stamp = stamp,
                                               .slot = slot_of(shard, session),
                                               .group = group_index,
                                               .next = session->first_member,
                                               .index = group->name.count};
    group->members[group->name.count++] = index;
    session->first_member = index;
    ASSERT(session->group_count < UINT16_MAX); /* callers keep to a limit */
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
    remove_if_unused(shard, group_index);
}

void member_forget(struct shard *shard, struct session *session, uint32_t index)
{
    struct replay *replay = replay_of(shard, session);
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

static int wait_for_fence(struct shard *shard, const struct session *session, uint32_t member,
                          uint32_t tag)
{
    struct interest_waiter waiter = {
        .slot = slot_of(shard, session),
        .generation = session->generation,
        .member = member,
        .tag = tag,
        .serial = shard->join_serial,
        .key = group_at(shard, member_at(shard, member)->group)->name.key};
    return interest_wait(shard, waiter);
}

int shard_join(struct shard *shard, struct session *session, struct str name, uint32_t tag)
{
    uint32_t group = group_find_or_add(shard, session->app, name);
    if (!group) {
        return ERR_NO_MEMORY;
    }
    if (member_find(shard, session, group)) {
        return ERR_EXISTS;
    }
    bool with_start = session->state == SESSION_NEW;
    uint64_t serial = with_start ? 0 : ++shard->join_serial;
    uint32_t member = member_add(shard, session, group, MEMBER_PENDING | serial);
    if (!member) {
        return ERR_NO_MEMORY;
    }
    if (!with_start && wait_for_fence(shard, session, member, tag)) {
        remove_member(shard, session, member);
        return ERR_NO_MEMORY;
    }
    return 0;
}

int shard_leave(struct shard *shard, struct session *session, struct str name)
{
    uint64_t key = shard_key(shard, session->app, TARGET_GROUP, name);
    uint32_t group = name_table_find(&shard->groups, key);
    uint32_t member = group ? member_find(shard, session, group) : 0;
    if (!member) {
        return ERR_NOT_FOUND;
    }
    member_forget(shard, session, member);
    return 0;
}

void groups_start_members(struct shard *shard, struct session *session)
{
    for (uint32_t index = session->first_member; index; index = member_at(shard, index)->next) {
        struct member *member = member_at(shard, index);
        if (member->stamp == MEMBER_PENDING) {
            member->stamp = shard->ordinal;
        }
    }
}

struct str group_name(const struct shard *shard, uint32_t index)
{
    return name_entry_name(&group_at(shard, index)->name);
}

/* What comes from now on is for the member. A session that still replays will find what is between
 * here and then in the window. */
static int put_in_force(struct shard *shard, struct session *session, uint32_t index,
                        const struct hub_heads *heads)
{
    struct member *member = member_at(shard, index);
    struct replay *replay = replay_of(shard, session);
    member->stamp = shard->ordinal;
    return replay ? replay_note_join(replay, index, heads->pos) : 0;
}

/* The fence of a join. The session may have left meanwhile, or the API may have joined or parted
 * it; the answer is due all the same. */
void groups_on_fence(struct shard *shard, struct session *session,
                     const struct interest_waiter *waiter, const struct hub_heads *heads)
{
    uint32_t group = name_table_find(&shard->groups, waiter->key);
    uint32_t index = group ? member_find(shard, session, group) : 0;
    uint64_t stamp = index ? member_at(shard, index)->stamp : MEMBER_PENDING;
    bool waits = stamp == (MEMBER_PENDING | waiter->serial);
    bool is_in = waits || stamp < MEMBER_PENDING;
    if (waits && put_in_force(shard, session, index, heads)) {
        ops_of(shard, session)->on_kick(shard, session, 4100);
        return;
    }
    ops_of(shard, session)
        ->on_joined(shard, session, is_in ? group_name(shard, group) : STR(""), waiter->tag);
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
