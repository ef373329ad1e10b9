/* One message on its way to whom it concerns on this worker. It takes a slice of steps a turn and
 * goes on where it stopped. A step is a target looked up, a session sent to, or SCAN_SLOTS slots
 * looked at. */
#include "base/mem.h"
#include "core/receipt.h"
#include "core/shard_private.h"
#include "core/sid.h"

enum { SCAN_SLOTS = 32 };

enum session_delivery deliver_one(struct shard *shard, struct session *session,
                                  struct message *message)
{
    enum session_delivery result = ops_of(shard, session)->deliver(shard, session, message);
    switch (result) {
    case SESSION_WRITTEN: shard_count(&shard->stats.written, 1); break;
    case SESSION_QUEUED: shard_count(&shard->stats.queued, 1); break;
    case SESSION_DROPPED:
    case SESSION_WITHDRAWN: shard_count(&shard->stats.dropped, 1); break;
    case SESSION_SKIPPED: break;
    }
    return result;
}

enum session_delivery shard_deliver(struct shard *shard, struct session *session,
                                    struct message *message)
{
    shard_count(&shard->stats.matched, 1);
    return deliver_one(shard, session, message);
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

/* An event that is read back from a queue that appears late was for the sessions of then. */
bool session_is_younger(const struct shard *shard, const struct session *session,
                        const struct message *message)
{
    const struct session_cold *cold = slab_at(&shard->colds, session->cold);
    return message->received_us / 1000000 < cold->opened_s;
}

/* A session that replays gets nothing live, but a kick does not wait. */
static bool concerns(const struct shard *shard, const struct cast *cast,
                     const struct session *session)
{
    uint64_t ordinal = cast->item.ordinal;
    if (cast->item.message->event.kind == EVENT_REVOCATION) {
        return revocation_ends(shard, session, cast->item.message);
    }
    return cast->item.message->event.kind == EVENT_KICK
               ? session_was_before(shard, session, ordinal) &&
                     !session_is_younger(shard, session, cast->item.message)
               : session->live_from < ordinal;
}

static bool was_served_as(const struct shard *shard, const struct cast *cast,
                          const struct session *session, const struct target *target, uint64_t key)
{
    const struct user *user = session->user ? user_at(shard, session->user) : NULL;
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
    case TARGET_TICKET:
    case TARGET_NODE: break;
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

static void note_delivery(struct cast *cast, enum session_delivery delivery)
{
    bool is_revoke = cast->item.message->event.kind == EVENT_REVOKE;
    switch (delivery) {
    case SESSION_WRITTEN: cast->written++; break;
    case SESSION_QUEUED: break;
    case SESSION_DROPPED: /* one that ends has neither to be told nor was it spared */
        cast->dropped += !is_revoke;
        cast->matched -= is_revoke;
        break;
    case SESSION_SKIPPED: cast->matched--; break;
    case SESSION_WITHDRAWN: cast->withdrawn++; break;
    }
}

static void serve(struct shard *shard, struct cast *cast, uint32_t slot)
{
    struct session *session = session_at(shard, slot);
    if (!concerns(shard, cast, session) || is_excepted(shard, cast, session, slot) ||
        is_repeat(shard, cast, session)) {
        return;
    }
    cast->matched++;
    if (!event_kind_is_shown(cast->item.message->event.kind)) {
        bool is_kick = cast->item.message->event.kind == EVENT_KICK;
        ops_of(shard, session)->on_kick(shard, session, is_kick ? 4000 : 4301);
        return;
    }
    note_delivery(cast, deliver_one(shard, session, cast->item.message));
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
        cast->held = index;
        cast->cursor = group_at(shard, index)->name.count;
    }
}

static void end_group(struct shard *shard, struct cast *cast)
{
    cast->walking = 0;
    group_release(shard, cast->held);
}

/* From the end to the start: where a member leaves, the last one takes its place. */
static void walk_group(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    const struct group *group = group_at(shard, cast->held);
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

static void begin_user(struct shard *shard, struct cast *cast, uint64_t key)
{
    uint32_t index = name_table_find(&shard->users, key);
    if (index) {
        user_hold(shard, index);
        cast->walking = TARGET_USER;
        cast->held = index;
        cast->cursor = user_at(shard, index)->first_session;
    }
}

static void end_user(struct shard *shard, struct cast *cast)
{
    cast->walking = 0;
    user_release(shard, cast->held);
}

/* Who begins meanwhile comes before the cursor, and the message is not for it. */
static void walk_user(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    for (; *budget > 0 && cast->cursor; (*budget)--) {
        uint32_t slot = cast->cursor;
        cast->cursor = session_at(shard, slot)->user_next;
        serve(shard, cast, slot);
    }
    if (cast->cursor == 0) {
        end_user(shard, cast);
    }
}

/* The session leaves its user: who would have come to it goes on with the next. */
void casts_skip_session(struct shard *shard, const struct session *session)
{
    for (uint32_t q = 0; q < shard->options.queues; q++) {
        struct cast *cast = &shard->lanes[q].cast;
        if (cast->walking == TARGET_USER && cast->cursor == slot_of(shard, session)) {
            cast->cursor = session->user_next;
        }
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
        *budget -= slot % SCAN_SLOTS == 0;
        if (is_in_app(shard, session_at(shard, slot), cast->item.message->event.header.app)) {
            serve(shard, cast, slot);
            *budget -= *budget > 0;
        }
    }
    if (cast->cursor >= limit) {
        cast->walking = 0;
    }
}

static void begin_target(struct shard *shard, struct cast *cast, const struct target *target)
{
    uint64_t key = event_key(&cast->item.message->event, cast->target_index++);
    switch (target->kind) {
    case TARGET_USER: begin_user(shard, cast, key); break;
    case TARGET_SESSION: serve_session(shard, cast, target->name); break;
    case TARGET_GROUP: begin_group(shard, cast, key); break;
    case TARGET_ALL:
        cast->walking = TARGET_ALL;
        cast->cursor = 1;
        break;
    case TARGET_TICKET:
    case TARGET_NODE: break;
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

static void police(struct shard *shard, struct cast *cast)
{
    struct session_count count = control_police(shard, cast->item.message);
    cast->matched = count.all;
    cast->written = count.same_device;
}

/* Takes the item's reference. */
void cast_begin(struct shard *shard, struct cast *cast, struct lane_item item)
{
    *cast = (struct cast){.item = item};
    const struct event *event = &item.message->event;
    switch (event->kind) {
    case EVENT_JOIN: cast->matched = control_join(shard, item.message, item.ordinal); return;
    case EVENT_PART: cast->matched = control_part(shard, item.message); return;
    case EVENT_OPEN:
    case EVENT_RANK: police(shard, cast); return;
    case EVENT_REVOCATION: control_revoke(shard, item.message); break;
    case EVENT_MESSAGE:
    case EVENT_REVOKE:
    case EVENT_KICK: break;
    default: return; /* the hub keeps what nodes tell each other */
    }
    if (message_is_expired(shard, item.message)) {
        shard_count(&shard->stats.expired, 1);
        return;
    }
    if (message_has_fate(item.message, MESSAGE_IS_VOID)) {
        return;
    }
    cast->targets = event->target_bytes;
    cast->served = served_begin(shard, event);
    read_excepts(shard, cast);
}

static void walk(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    switch (cast->walking) {
    case TARGET_USER: walk_user(shard, cast, budget); break;
    case TARGET_GROUP: walk_group(shard, cast, budget); break;
    case TARGET_ALL: walk_all(shard, cast, budget); break;
    default: break;
    }
}

/* True when the message went to everybody; false when the budget, in steps, is used up. */
bool cast_run(struct shard *shard, struct cast *cast, uint32_t *budget)
{
    struct target target;
    for (;;) {
        walk(shard, cast, budget);
        if (cast->walking || (*budget == 0 && cast->targets.len > 0)) {
            return false;
        }
        if (!event_next_target(&cast->targets, &target)) {
            return true;
        }
        (*budget)--;
        begin_target(shard, cast, &target);
    }
}

static void report_receipt(const struct cast *cast, struct receipt *receipt)
{
    atomic_fetch_add_explicit(&receipt->matched, cast->matched, memory_order_relaxed);
    atomic_fetch_add_explicit(&receipt->written, cast->written, memory_order_relaxed);
    if (cast->dropped) {
        receipt_drop(receipt, RECEIPT_CLOSED, cast->dropped);
    }
    if (cast->withdrawn) {
        receipt_drop(receipt, RECEIPT_REVOKED, cast->withdrawn);
    }
    receipt_close(receipt);
}

/* The last worker of those that were offered it tells. */
static void tell_fan_out(const struct shard *shard, const struct cast *cast)
{
    struct message *message = cast->item.message;
    if (message->event.kind != EVENT_MESSAGE || !shard->callbacks->on_fan_out) {
        return;
    }
    atomic_fetch_add_explicit(&message->matched, cast->matched, memory_order_relaxed);
    if (atomic_fetch_sub_explicit(&message->open_workers, 1, memory_order_acq_rel) == 1) {
        shard->callbacks->on_fan_out(shard->owner,
                                     atomic_load_explicit(&message->matched, memory_order_relaxed));
    }
}

static void report_trace(const struct cast *cast, struct message *message)
{
    struct message_trace *trace = message_trace(message);
    atomic_fetch_add_explicit(&trace->matched, cast->matched, memory_order_relaxed);
    atomic_fetch_add_explicit(&trace->written, cast->written, memory_order_relaxed);
    atomic_fetch_add_explicit(&trace->dropped, cast->dropped + cast->withdrawn,
                              memory_order_relaxed);
    message_trace_close(message, 1);
}

static void report(const struct cast *cast)
{
    struct message *message = cast->item.message;
    if (message->receipt) {
        report_receipt(cast, message->receipt);
    }
    if (message->is_traced) {
        report_trace(cast, message);
    }
}

void cast_end(struct shard *shard, struct cast *cast)
{
    tell_fan_out(shard, cast);
    if (!event_kind_is_of_police(cast->item.message->event.kind)) {
        shard_count(&shard->stats.matched, cast->matched);
    }
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
    switch (cast->walking) {
    case TARGET_USER: end_user(shard, cast); break;
    case TARGET_GROUP: end_group(shard, cast); break;
    default: break;
    }
    if (cast->served) {
        served_end(shard, cast->served, &cast->item.message->event);
    }
    mem_free(cast->excepts);
    message_unref(cast->item.message);
    *cast = (struct cast){0};
}

/* The steps a target takes, at most. */
static uint64_t weigh_target(const struct shard *shard, const struct target *target, uint64_t key)
{
    uint32_t index;
    switch (target->kind) {
    case TARGET_ALL: return 2 + shard->sessions.used + slab_limit(&shard->sessions) / SCAN_SLOTS;
    case TARGET_USER:
        index = name_table_find(&shard->users, key);
        return 1 + (index ? user_at(shard, index)->name.count : 0);
    case TARGET_GROUP:
        index = name_table_find(&shard->groups, key);
        return 1 + (index ? group_at(shard, index)->name.count : 0);
    case TARGET_SESSION:
    case TARGET_TICKET:
    case TARGET_NODE: break;
    }
    return 1;
}

/* Whether cast_run will come to the message's end with less than the budget. */
bool cast_fits(const struct shard *shard, const struct message *message, uint32_t budget)
{
    struct str rest = message->event.target_bytes;
    struct target target;
    uint64_t weight = 0;
    for (size_t i = 0; weight < budget && event_next_target(&rest, &target); i++) {
        weight += weigh_target(shard, &target, event_key(&message->event, i));
    }
    return weight < budget;
}
