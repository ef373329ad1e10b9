#include "core/shard.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/shard_private.h"
#include "core/sid.h"

int shard_create(struct shard **out_shard, const struct shard_options *options,
                 const struct shard_callbacks *callbacks, void *owner)
{
    ASSERT(options->max_replays > 0 && options->queues <= BUS_MAX_QUEUES);
    struct shard *shard = mem_zalloc(sizeof(*shard));
    if (!shard) {
        return ERR_NO_MEMORY;
    }
    shard->options = *options;
    shard->options.slice = options->slice ? options->slice : SHARD_SLICE;
    shard->options.lane_items = options->lane_items ? options->lane_items : SHARD_LANE_ITEMS;
    shard->options.max_voids = options->max_voids ? options->max_voids : SHARD_VOIDS;
    revocations_init(&shard->revocations,
                     options->max_revocations ? options->max_revocations : SHARD_REVOCATIONS);
    shard->max_groups = UINT16_MAX;
    shard->callbacks = callbacks;
    shard->owner = owner;
    slab_init(&shard->sessions, sizeof(struct session), MEM_SESSIONS);
    slab_init(&shard->colds, sizeof(struct session_cold), MEM_SESSIONS);
    slab_init(&shard->members, sizeof(struct member), MEM_TABLES);
    slab_init(&shard->facts, sizeof(struct session_facts), MEM_SESSIONS);
    slab_init(&shard->policed, sizeof(struct policed), MEM_SESSIONS);
    name_table_init(&shard->users, sizeof(struct user));
    name_table_init(&shard->groups, sizeof(struct group));
    *out_shard = shard;
    return 0;
}

void shard_destroy(struct shard *shard)
{
    if (!shard) {
        return;
    }
    if (shard->catch_up) {
        hub_catch_up_destroy(shard->catch_up);
    }
    lanes_destroy(shard);
    interest_batch_destroy(shard->batch);
    user_tally_destroy(shard->tally);
    served_destroy_all(shard);
    u64map_fini(&shard->voids);
    revocations_fini(&shard->revocations);
    name_table_fini(&shard->groups);
    name_table_fini(&shard->users);
    slab_fini(&shard->policed);
    slab_fini(&shard->facts);
    slab_fini(&shard->members);
    slab_fini(&shard->colds);
    slab_fini(&shard->sessions);
    mem_free(shard->apps);
    mem_free(shard);
}

void *shard_owner(const struct shard *shard)
{
    return shard->owner;
}

const struct shard_options *shard_get_options(const struct shard *shard)
{
    return &shard->options;
}

struct str shard_epoch(const struct shard *shard)
{
    return str_of(shard->epoch);
}

bool shard_queue_is_known(const struct shard *shard, uint32_t queue)
{
    return bit_is_set(shard->started, queue);
}

struct shard_stats *shard_get_stats(struct shard *shard)
{
    return &shard->stats;
}

void shard_set_max_groups(struct shard *shard, uint32_t max_groups)
{
    ASSERT(max_groups <= UINT16_MAX);
    shard->max_groups = max_groups;
}

void shard_set_transport(struct shard *shard, uint8_t transport, const struct session_ops *ops)
{
    ASSERT(transport < SHARD_TRANSPORTS);
    shard->ops[transport] = ops;
}

int shard_add_app(struct shard *shard, uint16_t app, struct str name)
{
    if (app >= shard->app_count) {
        struct shard_app *apps = mem_realloc(shard->apps, sizeof(*apps) * ((size_t)app + 1));
        if (!apps) {
            return ERR_NO_MEMORY;
        }
        memset(apps + shard->app_count, 0, sizeof(*apps) * (app + 1 - shard->app_count));
        shard->apps = apps;
        shard->app_count = (uint32_t)app + 1;
    }
    struct shard_app *added = &shard->apps[app];
    added->known = true;
    added->hash = target_app_hash(&shard->options.space, name);
    added->all_key = shard_key(shard, app, TARGET_ALL, STR(""));
    return 0;
}

bool shard_has_app(const struct shard *shard, uint16_t app)
{
    return app < shard->app_count && shard->apps[app].known;
}

uint32_t shard_app_hash(const struct shard *shard, uint16_t app)
{
    return shard->apps[app].hash;
}

uint32_t shard_app_sessions(const struct shard *shard, uint16_t app)
{
    return app < shard->app_count ? shard->apps[app].sessions : 0;
}

uint64_t shard_key(const struct shard *shard, uint16_t app, enum target_kind kind, struct str name)
{
    return target_key(&shard->options.space, shard->apps[app].hash, kind, name);
}

struct session *shard_session_create(struct shard *shard, uint16_t app, uint8_t transport)
{
    ASSERT(app < shard->app_count && shard->apps[app].known);
    uint32_t slot = slab_alloc(&shard->sessions);
    uint32_t cold_index = slot ? slab_alloc(&shard->colds) : 0;
    if (!cold_index) {
        if (slot) {
            slab_free(&shard->sessions, slot);
        }
        return NULL;
    }
    ASSERT(cold_index == slot); /* both hand out the lowest that is free: see slot_of */
    struct session *session = session_at(shard, slot);
    *session = (struct session){.generation = ++shard->generation,
                                .fd = -1,
                                .live_from = SESSION_NOT_LIVE,
                                .state = SESSION_NEW,
                                .transport = transport,
                                .app = app,
                                .cold = cold_index};
    struct session_cold *cold = slab_at(&shard->colds, cold_index);
    cold->slot = slot;
    return session;
}

static void tell_user(const struct shard *shard, struct user *user, bool is_there)
{
    bool is_asked = shard->apps[user->name.app].tracks_users && shard->callbacks->on_user;
    if (is_asked && user->is_told != is_there) {
        bool is_taken = shard->callbacks->on_user(shard->owner, user->name.app, user->name.key,
                                                  name_entry_name(&user->name), is_there);
        user->is_told = is_there && is_taken;
    }
}

static void tell_users(const struct shard *shard, uint16_t app, bool is_there)
{
    for (uint32_t index = 1; index < slab_limit(&shard->users.slab); index++) {
        struct user *user = user_at(shard, index);
        if (user->name.key && user->name.app == app && user->name.count > 0) {
            tell_user(shard, user, is_there);
        }
    }
}

void shard_track_users(struct shard *shard, uint16_t app, bool is_on)
{
    struct shard_app *tracked = &shard->apps[app];
    if (tracked->tracks_users == is_on) {
        return;
    }
    tracked->tracks_users = true;
    tell_users(shard, app, is_on);
    tracked->tracks_users = is_on;
}

static void remove_user_if_unused(struct shard *shard, uint32_t index)
{
    const struct user *user = user_at(shard, index);
    if (user->name.count > 0 || user->casts > 0) {
        return;
    }
    interest_add(shard, shard->apps[user->name.app].hash, user->name.key, INTEREST_REMOVE);
    name_table_remove(&shard->users, index);
    shard_count(&shard->stats.users, -1);
}

/* Keeps the user, even without sessions, until user_release. */
void user_hold(struct shard *shard, uint32_t index)
{
    user_at(shard, index)->casts++;
}

void user_release(struct shard *shard, uint32_t index)
{
    user_at(shard, index)->casts--;
    remove_user_if_unused(shard, index);
}

static void remove_from_user(struct shard *shard, struct session *session)
{
    struct user *user = name_table_at(&shard->users, session->user);
    if (user->casts > 0) {
        casts_skip_session(shard, session);
    }
    uint32_t slot = slot_of(shard, session);
    uint32_t *link = &user->first_session;
    while (*link != slot) {
        link = &session_at(shard, *link)->user_next;
    }
    *link = session->user_next;
    if (--user->name.count == 0) {
        tell_user(shard, user, false);
        shard->users_changed = true;
    }
    remove_user_if_unused(shard, session->user);
    session->user = 0;
    session->user_next = 0;
}

static void count_out_of_app(struct shard *shard, const struct session *session)
{
    struct shard_app *app = &shard->apps[session->app];
    if (--app->sessions == 0) {
        interest_add(shard, app->hash, app->all_key, INTEREST_REMOVE);
    }
}

static void drop_replay(struct shard *shard, struct session *session)
{
    struct session_cold *cold = shard_session_cold(shard, session);
    replay_destroy(shard, cold->replay);
    cold->replay = NULL;
}

void shard_session_end(struct shard *shard, struct session *session)
{
    if (session->state == SESSION_ENDED || session->state == SESSION_FREE) {
        return;
    }
    drop_replay(shard, session);
    groups_leave_all(shard, session);
    if (session->user) {
        remove_from_user(shard, session);
    }
    facts_drop(shard, session);
    if (session->state != SESSION_NEW) {
        count_out_of_app(shard, session);
    }
    session->state = SESSION_ENDED;
    session->live_from = SESSION_NOT_LIVE;
}

void shard_session_free(struct shard *shard, struct session *session)
{
    shard_session_end(shard, session);
    uint32_t slot = slot_of(shard, session);
    slab_free(&shard->colds, session->cold);
    session->state = SESSION_FREE;
    slab_free(&shard->sessions, slot);
}

struct session *shard_session_find(struct shard *shard, uint32_t slot, uint32_t generation)
{
    if (slot == 0 || slot >= slab_limit(&shard->sessions)) {
        return NULL;
    }
    struct session *session = session_at(shard, slot);
    bool found = session->state != SESSION_FREE && session->generation == generation;
    return found ? session : NULL;
}

uint32_t shard_session_slot(const struct shard *shard, const struct session *session)
{
    return slot_of(shard, session);
}

struct session *shard_session_at(const struct shard *shard, uint32_t slot)
{
    return session_at(shard, slot);
}

struct session_cold *shard_session_cold(const struct shard *shard, const struct session *session)
{
    return slab_at(&shard->colds, session->cold);
}

uint32_t shard_slot_limit(const struct shard *shard)
{
    return slab_limit(&shard->sessions);
}

uint32_t shard_session_count(const struct shard *shard)
{
    return shard->sessions.used;
}

void shard_session_sid(const struct shard *shard, const struct session *session,
                       struct sid *out_sid)
{
    *out_sid = (struct sid){shard->options.boot, (uint8_t)shard->options.worker,
                            slot_of(shard, session), session->generation};
}

static uint32_t find_or_add_user(struct shard *shard, uint16_t app, struct str name)
{
    uint64_t key = shard_key(shard, app, TARGET_USER, name);
    uint32_t index = name_table_find(&shard->users, key);
    if (index) {
        return index;
    }
    if (interest_add(shard, shard->apps[app].hash, key, INTEREST_ADD)) {
        return 0;
    }
    index = name_table_add(&shard->users, key, app, name);
    if (index) {
        shard_count(&shard->stats.users, 1);
    } else {
        interest_add(shard, shard->apps[app].hash, key, INTEREST_REMOVE);
    }
    return index;
}

int shard_session_set_user(struct shard *shard, struct session *session, struct str name)
{
    ASSERT(session->state == SESSION_NEW && session->user == 0);
    uint32_t index = find_or_add_user(shard, session->app, name);
    if (!index) {
        return ERR_NO_MEMORY;
    }
    struct user *user = name_table_at(&shard->users, index);
    session->user = index;
    session->user_next = user->first_session;
    user->first_session = slot_of(shard, session);
    user->name.count++;
    shard->users_changed = true;
    tell_user(shard, user, true);
    return 0;
}

struct str shard_session_user(const struct shard *shard, const struct session *session)
{
    if (!session->user) {
        return STR("");
    }
    const struct user *user = name_table_at(&shard->users, session->user);
    return name_entry_name(&user->name);
}

static int attach_replay(struct shard *shard, struct session *session,
                         const struct session_resume *resume)
{
    if (!resume) {
        return 0;
    }
    struct session_cold *cold = shard_session_cold(shard, session);
    cold->replay = replay_create(shard, session, resume);
    return cold->replay ? 0 : ERR_NO_MEMORY;
}

void session_go_live(struct shard *shard, struct session *session)
{
    drop_replay(shard, session);
    session->state = SESSION_LIVE;
    session->live_from = shard->ordinal;
}

int session_wait_for_fence(struct shard *shard, struct session *session)
{
    struct interest_waiter waiter = {.slot = slot_of(shard, session),
                                     .generation = session->generation};
    return interest_wait(shard, waiter);
}

static int ask_for_fence(struct shard *shard, struct session *session)
{
    struct shard_app *app = &shard->apps[session->app];
    if (app->sessions == 0 && interest_add(shard, app->hash, app->all_key, INTEREST_ADD)) {
        return ERR_NO_MEMORY;
    }
    if (session_wait_for_fence(shard, session)) {
        if (app->sessions == 0) {
            interest_add(shard, app->hash, app->all_key, INTEREST_REMOVE);
        }
        return ERR_NO_MEMORY;
    }
    app->sessions++;
    return 0;
}

int shard_session_start(struct shard *shard, struct session *session,
                        const struct session_resume *resume)
{
    ASSERT(session->state == SESSION_NEW);
    int err = attach_replay(shard, session, resume);
    if (!err) {
        err = ask_for_fence(shard, session);
    }
    if (err) {
        drop_replay(shard, session);
        return err;
    }
    session->state = SESSION_STARTING;
    return 0;
}

uint32_t shard_visit_user(struct shard *shard, uint16_t app, struct str name,
                          void (*visit)(void *arg, struct session *session), void *arg)
{
    uint32_t index = name_table_find(&shard->users, shard_key(shard, app, TARGET_USER, name));
    if (!index) {
        return 0;
    }
    const struct user *user = name_table_at(&shard->users, index);
    uint32_t count = 0;
    for (uint32_t slot = user->first_session; slot;) {
        struct session *session = session_at(shard, slot);
        slot = session->user_next;
        if (session->state >= SESSION_REPLAYING) {
            count++;
            if (visit) {
                visit(arg, session);
            }
        }
    }
    return count;
}

uint32_t shard_walk_users(struct shard *shard, uint16_t app, uint32_t from, uint32_t steps,
                          void (*visit)(void *arg, uint32_t user, struct str name), void *arg)
{
    uint32_t limit = slab_limit(&shard->users.slab);
    uint32_t until = limit > from && limit - from > steps ? from + steps : limit;
    for (uint32_t index = from; index < until; index++) {
        const struct user *user = user_at(shard, index);
        if (user->name.key && user->name.app == app && user->name.count > 0) {
            visit(arg, index, name_entry_name(&user->name));
        }
    }
    return until < limit ? until : 0;
}

uint32_t shard_user_sessions(const struct shard *shard, uint32_t index)
{
    uint32_t count = 0;
    for (uint32_t slot = user_at(shard, index)->first_session; slot;) {
        const struct session *session = session_at(shard, slot);
        slot = session->user_next;
        count += session->state >= SESSION_REPLAYING;
    }
    return count;
}

uint64_t shard_backlog(const struct shard *shard)
{
    uint64_t count = ring_count(&shard->options.link->ring);
    uint64_t busy = shard->busy_lanes;
    for (uint32_t q = 0; busy; q++, busy >>= 1) {
        count += busy & 1 ? shard->lanes[q].count : 0;
    }
    return count;
}
