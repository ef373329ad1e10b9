/* One message on its way to whom it concerns on this worker. A broadcast takes a slice of sends a
 * turn and goes on where it stopped. */
#include "base/mem.h"
#include "core/receipt.h"
#include "core/shard_private.h"
#include "core/sid.h"

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

uint32_t shard_origin_hash(const struct shard *shard, struct str tag)
{
    return tag.len ? (uint32_t)siphash(&shard->options.sid_key, tag.ptr, tag.len) | 1 : 0;
}

bool message_is_expired(const struct shard *shard, const struct message *message)
{
    return message->expires_ms && message->expires_ms <= shard->now_ms;
}

/* Whether the id is that of a session of this worker. */
static bool parse_own_sid(const struct shard *shard, struct sid *out_sid, struct str name)
{
    return sid_parse(out_sid, &shard->options.sid_key, name) &&
           out_sid->node == shard->options.boot && out_sid->worker == shard->options.worker;
}

bool message_excludes(const struct shard *shard, const struct message *message,
                      const struct session *session)
{
    uint32_t origin = shard_origin_hash(shard, message->event.origin_tag);
    if (origin && origin == session->origin_hash) {
        return true;
    }
    struct str rest = message->event.except_bytes;
    struct str name;
    while (event_next_except(&rest, &name)) {
        struct sid sid;
        if (parse_own_sid(shard, &sid, name) && sid.generation == session->generation &&
            sid.slot == slot_of(shard, session)) {
            return true;
        }
    }
    return false;
}

static bool is_excepted(const struct shard *shard, const struct cast *cast,
                        const struct session *session, uint32_t slot)
{
    if (cast->excepts_unread) {
        return message_excludes(shard, cast->item.message, session);
    }
    uint64_t name = (uint64_t)slot << 32 | session->generation;
    for (uint32_t i = 0; i < cast->except_count; i++) {
        if (cast->excepts[i] == name) {
            return true;
        }
    }
    return cast->origin && cast->origin == session->origin_hash;
}

/* Whether the session had begun when the event came. None goes live while a control event is in
 * line, so of one that is live the ordinal tells. */
bool session_was_before(const struct shard *shard, const struct session *session, uint64_t ordinal)
{
    bool replays = session->state == SESSION_REPLAYING;
    return (replays ? replay_of(shard, session)->since : session->live_from) < ordinal;
}

/* A session that replays gets nothing live, but a kick does not wait. */
static bool concerns(const struct shard *shard, const struct cast *cast,
                     const struct session *session)
{
    uint64_t ordinal = cast->item.ordinal;
    return cast->item.message->event.kind == EVENT_KICK
               ? session_was_before(shard, session, ordinal)
               : session->live_from < ordinal;
}

static bool was_served_as(const struct shard *shard, const struct cast *cast,
                          const struct session *session, const struct target *target, uint64_t key)
{
    const struct user *user = session->user ? name_table_at(&shard->users, session->user) : NULL;
    struct sid sid;
    switch (target->kind) {
    case TARGET_ALL: return true;
    case TARGET_USER: return user && user->name.key == key;
    case TARGET_SESSION:
        return parse_own_sid(shard, &sid, target->name) && sid.generation == session->generation;
    case TARGET_GROUP: {
        uint32_t group = name_table_find(&shard->groups, key);
        uint32_t member = group ? member_find(shard, session, group) : 0;
        return member && member_at(shard, member)->stamp == cast->item.ordinal;
    }
    case TARGET_TICKET: break;
    }
    return false;
}

/* Where nobody can remember who got it: whether a target before the one in hand matched. */
static bool matched_before(const struct shard *shard, const struct cast *cast,
                           const struct session *session)
{
    const struct event *event = &cast->item.message->event;
    struct str rest = event->target_bytes;
    struct target target;
    for (size_t i = 0; i + 1 < cast->target_index && event_next_target(&rest, &target); i++) {
        if (was_served_as(shard, cast, session, &target, event_key(event, i))) {
            return true;
        }
    }
    return false;
}

static bool is_repeat(const struct shard *shard, const struct cast *cast,
                      const struct session *session)
{
    struct served *served = cast->served;
    if (served && served_note(served, session)) {
        return true;
    }
    return (!served || served->incomplete) && matched_before(shard, cast, session);
}

static void serve(struct shard *shard, struct cast *cast, uint32_t slot)
{
    struct session *session = session_at(shard, slot);
    if (!concerns(shard, cast, session) || is_excepted(shard, cast, session, slot) ||
        is_repeat(shard, cast, session)) {
        return;
    }
    cast->matched++;
    if (cast->item.message->event.kind == EVENT_KICK) {
        ops_of(shard, session)->on_kick(shard, session, 4000);
        return;
    }
    switch (deliver_one(shard, session, cast->item.message)) {
    case SESSION_WRITTEN: cast->written++; break;
    case SESSION_QUEUED: break;
    case SESSION_DROPPED: cast->dropped++; break;
    }
}

static void spend(uint32_t *budget)
{
    *budget -= *budget > 0;
}

/* All its sessions at once: their list may change between slices. */
static void serve_user(struct shard *shard, struct cast *cast, uint64_t key, uint32_t *budget)
{
    uint32_t index = name_table_find(&shard->users, key);
    const struct user *user = index ? name_table_at(&shard->users, index) : NULL;
    for (uint32_t slot = user ? user->first_session : 0; slot;) {
        uint32_t next = session_at(shard, slot)->user_next;
        serve(shard, cast, slot);
        spend(budget);
        slot = next;
    }
}

static void serve_session(struct shard *shard, struct cast *cast, struct str name)
{
    struct sid sid;
    if (!parse_own_sid(shard, &sid, name)) {
        return;
    }
    struct session *session = shard_session_find(shard, sid.slot, sid.generation);
    if (session && shard->apps[session->app].hash == cast->item.message->event.header.app) {
        serve(shard, cast, sid.slot);
    }
}

static void begin_group(struct shard *shard, struct cast *cast, uint64_t key)
{
    uint32_t index = name_table_find(&shard->groups, key);
    if (index) {
        group_hold(shard, index);
        cast->walking = TARGET_GROUP;
        cast->group = index;
        cast->cursor = group_at(shard, index)->name.count;
    }
}

static void end_group(struct shard *shard, struct cast *cast)
{
    cast->walking = 0;
    group_release(shard, cast->group);
}

/* From the end to the start: where a member leaves, the last one takes its place. */
static void walk_group(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    const struct group *group = group_at(shard, cast->group);
    uint32_t count = group->name.count;
    cast->cursor = cast->cursor > count ? count : cast->cursor;
    for (; *budget > 0 && cast->cursor > 0; (*budget)--) {
        struct member *member = member_at(shard, group->members[--cast->cursor]);
        if (member->stamp < cast->item.ordinal) {
            member->stamp = cast->item.ordinal;
            serve(shard, cast, member->slot);
        }
    }
    if (cast->cursor == 0) {
        end_group(shard, cast);
    }
}

static bool is_in_app(const struct shard *shard, const struct session *session, uint32_t app_hash)
{
    return (session->state == SESSION_LIVE || session->state == SESSION_REPLAYING) &&
           shard->apps[session->app].hash == app_hash;
}

static void walk_all(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    uint32_t limit = slab_limit(&shard->sessions);
    while (*budget > 0 && cast->cursor < limit) {
        uint32_t slot = cast->cursor++;
        if (is_in_app(shard, session_at(shard, slot), cast->item.message->event.header.app)) {
            serve(shard, cast, slot);
            (*budget)--;
        }
    }
    if (cast->cursor >= limit) {
        cast->walking = 0;
    }
}

static void begin_target(struct shard *shard, struct cast *cast, const struct target *target,
                         uint32_t *budget)
{
    uint64_t key = event_key(&cast->item.message->event, cast->target_index++);
    switch (target->kind) {
    case TARGET_USER: serve_user(shard, cast, key, budget); break;
    case TARGET_SESSION: serve_session(shard, cast, target->name); break;
    case TARGET_GROUP: begin_group(shard, cast, key); break;
    case TARGET_ALL:
        cast->walking = TARGET_ALL;
        cast->cursor = 1;
        break;
    case TARGET_TICKET: break;
    }
}

static void read_excepts(struct shard *shard, struct cast *cast)
{
    const struct event *event = &cast->item.message->event;
    cast->origin = shard_origin_hash(shard, event->origin_tag);
    if (event->except_count == 0) {
        return;
    }
    cast->excepts = mem_alloc(sizeof(*cast->excepts) * event->except_count);
    if (!cast->excepts) {
        cast->excepts_unread = true;
        return;
    }
    struct str rest = event->except_bytes;
    struct str name;
    while (event_next_except(&rest, &name)) {
        struct sid sid;
        if (parse_own_sid(shard, &sid, name)) {
            cast->excepts[cast->except_count++] = (uint64_t)sid.slot << 32 | sid.generation;
        }
    }
}

/* Takes the item's reference. */
void cast_begin(struct shard *shard, struct cast *cast, struct lane_item item)
{
    *cast = (struct cast){.item = item};
    const struct event *event = &item.message->event;
    switch (event->kind) {
    case EVENT_JOIN: cast->matched = control_join(shard, item.message, item.ordinal); return;
    case EVENT_PART: cast->matched = control_part(shard, item.message); return;
    case EVENT_MESSAGE:
    case EVENT_KICK: break;
    }
    if (message_is_expired(shard, item.message)) {
        shard_count(&shard->stats.expired, 1);
        return;
    }
    cast->targets = event->target_bytes;
    cast->served = served_begin(shard, event);
    read_excepts(shard, cast);
}

/* True when the message went to everybody; false when the budget, in sends, is used up. */
bool cast_run(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    struct target target;
    for (;;) {
        switch (cast->walking) {
        case TARGET_GROUP: walk_group(shard, cast, budget); break;
        case TARGET_ALL: walk_all(shard, cast, budget); break;
        default: break;
        }
        if (cast->walking) {
            return false;
        }
        if (cast->targets.len == 0) {
            return true;
        }
        if (*budget == 0) {
            return false;
        }
        event_next_target(&cast->targets, &target);
        begin_target(shard, cast, &target, budget);
    }
}

static void report(const struct cast *cast)
{
    struct receipt *receipt = cast->item.message->receipt;
    atomic_fetch_add_explicit(&receipt->matched, cast->matched, memory_order_relaxed);
    atomic_fetch_add_explicit(&receipt->written, cast->written, memory_order_relaxed);
    atomic_fetch_add_explicit(&receipt->dropped, cast->dropped, memory_order_relaxed);
    receipt_close(receipt);
}

void cast_end(struct shard *shard, struct cast *cast)
{
    shard_count(&shard->stats.matched, cast->matched);
    if (cast->item.reports) {
        report(cast);
    }
    cast_abandon(shard, cast);
}

/* Lets go of what it holds. */
void cast_abandon(struct shard *shard, struct cast *cast)
{
    if (!cast->item.message) {
        return;
    }
    if (cast->walking == TARGET_GROUP) {
        end_group(shard, cast);
    }
    if (cast->served) {
        served_end(shard, cast->served, &cast->item.message->event);
    }
    mem_free(cast->excepts);
    message_unref(cast->item.message);
    *cast = (struct cast){0};
}

static uint32_t weigh_target(const struct shard *shard, const struct target *target, uint64_t key)
{
    const struct name_table *table = target->kind == TARGET_USER ? &shard->users : &shard->groups;
    uint32_t index = name_table_find(table, key);
    const struct name_entry *entry = index ? name_table_at(table, index) : NULL;
    if (target->kind == TARGET_ALL) {
        return shard->sessions.used;
    }
    return entry ? entry->count : 0;
}

/* How much of a budget cast_run will use, at most. */
uint32_t cast_weight(const struct shard *shard, const struct message *message)
{
    struct str rest = message->event.target_bytes;
    struct target target;
    uint32_t weight = 0;
    for (size_t i = 0; event_next_target(&rest, &target); i++) {
        weight += weigh_target(shard, &target, event_key(&message->event, i));
    }
    return weight;
}
