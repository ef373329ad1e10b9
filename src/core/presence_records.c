/* Changes: who tells the app, and that somebody does. A change is told by its keeper, who says so
 * on the user's queue; the other nodes remember it until then. One that is not confirmed in time
 * (the keeper has died, or does not agree that it is the keeper) is told by who remembers it. */
#include <string.h>

#include "base/err.h"
#include "core/presence_private.h"

enum { RECORDS_MAX = 65536, CONFIRM_MS = 3000, SPREAD_MS = 2000 };

static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 31) * 0x7fb5d329728ea185u;
    value = (value ^ value >> 27) * 0x81dadef4bc2dd44du;
    return value ^ value >> 33;
}

/* ---- who ---- */

static void consider(uint32_t boot, uint64_t hash, uint32_t *best, uint64_t *best_score)
{
    uint64_t score = mix(hash ^ mix(boot));
    if (*best == 0 || score > *best_score) {
        *best = boot;
        *best_score = score;
    }
}

/* The boot of who tells of the user; 0: nobody can yet. From what doesn't change with the cluster's
 * secret, since nodes may be in the midst of that. */
static uint32_t find_keeper(const struct presence *presence, const struct presence_user *user)
{
    const struct cluster *cluster = presence->cluster;
    const struct siphash_key *open = &hub_get_options(cluster->hub)->space.open;
    uint64_t hash = siphash(open, user->name, user->len) ^ user->app;
    uint32_t best = 0;
    uint64_t score = 0;
    if (presence->keeps && !cluster->is_leaving) {
        consider(cluster->members[0].node.boot, hash, &best, &score);
    }
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        const struct member *member = &cluster->members[slot];
        if (members_is_there(member) && member->node.keeps_users) {
            consider(member->node.boot, hash, &best, &score);
        }
    }
    return best;
}

/* ---- telling ---- */

static void say_told(struct presence *presence, const struct presence_change *change,
                     uint32_t queue)
{
    struct cluster_presence_item item = {.op = change->is_online ? PRESENCE_TOLD_ONLINE
                                                                 : PRESENCE_TOLD_OFFLINE,
                                         .app = change->app,
                                         .boot = change->boot,
                                         .serial = change->serial,
                                         .time_ms = hub_wall_ms(presence->cluster->hub),
                                         .user = change->user};
    presence_say(presence, queue, &item);
}

/* What finds no memory is not confirmed, so that another node tells it. */
static void tell(struct presence *presence, const struct presence_change *change, uint32_t queue)
{
    const struct cluster *cluster = presence->cluster;
    int err = 0;
    if (cluster->callbacks->on_user) {
        err = cluster->callbacks->on_user(cluster->owner, change);
    }
    if (!err && cluster->is_shared) {
        say_told(presence, change, queue);
    }
}

/* ---- what is not confirmed yet ---- */

static uint64_t name_of(uint32_t boot, uint64_t serial, bool is_online)
{
    return mix(mix(serial) ^ ((uint64_t)boot << 1 | is_online)) | 1;
}

static size_t bytes_of(const struct presence_record *record)
{
    return sizeof(*record) + record->change.user.len;
}

static void drop_oldest(struct presence *presence)
{
    struct presence_record *record = presence->records;
    presence->records = record->next;
    presence->newest = record->next ? presence->newest : NULL;
    if (!record->is_done) {
        u64map_remove(&presence->open_records, record->name);
    }
    presence->record_count--;
    mem_account(MEM_TABLES, -(int64_t)bytes_of(record));
    mem_free(record);
}

void records_forget(struct presence *presence)
{
    while (presence->records) {
        drop_oldest(presence);
    }
    u64map_fini(&presence->open_records);
}

static void append(struct presence *presence, struct presence_record *record)
{
    if (presence->newest) {
        presence->newest->next = record;
    } else {
        presence->records = record;
    }
    presence->newest = record;
    presence->record_count++;
}

/* Nodes don't look at the same moment, so that mostly one tells. */
static uint64_t due_ms(const struct presence *presence)
{
    uint32_t boot = presence->cluster->members[0].node.boot;
    return presence_now_ms(presence) + CONFIRM_MS + mix(boot) % SPREAD_MS;
}

/* Without memory the keeper alone sees to it. */
static void remember(struct presence *presence, const struct presence_user *user,
                     const struct presence_change *change)
{
    struct presence_record *record = mem_alloc(sizeof(*record) + change->user.len);
    uint64_t name = name_of(change->boot, change->serial, change->is_online);
    uint64_t *place = record ? u64map_put(&presence->open_records, name) : NULL;
    if (!place || *place) {
        mem_free(record);
        return;
    }
    *place = (uint64_t)(uintptr_t)record;
    *record = (struct presence_record){.due_ms = due_ms(presence),
                                       .name = name,
                                       .key = user->key,
                                       .queue = user->queue,
                                       .change = *change};
    memcpy(record + 1, change->user.ptr, change->user.len);
    record->change.user = str_make((const char *)(record + 1), change->user.len);
    append(presence, record);
    mem_account(MEM_TABLES, (int64_t)bytes_of(record));
    if (presence->record_count > RECORDS_MAX) {
        drop_oldest(presence);
    }
}

void records_announce(struct presence *presence, const struct presence_user *user, bool is_online)
{
    uint32_t keeper = find_keeper(presence, user);
    struct presence_change change = {.is_online = is_online,
                                     .app = user->app,
                                     .user = str_make(user->name, user->len),
                                     .boot = user->boot,
                                     .serial = user->serial,
                                     .since_ms = user->since_ms,
                                     .last_seen_ms = user->last_seen_ms};
    if (keeper == presence->cluster->members[0].node.boot) {
        tell(presence, &change, user->queue);
    } else if (presence->keeps) { /* else it may be no change at all */
        remember(presence, user, &change);
    }
}

void records_on_told(struct presence *presence, const struct cluster_presence_item *item)
{
    uint64_t name = name_of(item->boot, item->serial, item->op == PRESENCE_TOLD_ONLINE);
    const uint64_t *place = u64map_find(&presence->open_records, name);
    if (place) {
        struct presence_record *record = (struct presence_record *)(uintptr_t)*place;
        record->is_done = true;
        u64map_remove(&presence->open_records, name);
    }
}

/* What has changed again since is of no use to the app, and would come behind what is. */
static bool is_still_so(const struct presence *presence, const struct presence_record *record)
{
    const struct presence_user *user = presence_get(presence, record->key);
    bool is_online = user && user->serial;
    return record->change.is_online == is_online;
}

void records_run(struct presence *presence)
{
    uint64_t now_ms = presence_now_ms(presence);
    while (presence->records &&
           (presence->records->is_done || presence->records->due_ms <= now_ms)) {
        struct presence_record *record = presence->records;
        if (!record->is_done && presence->keeps && is_still_so(presence, record)) {
            tell(presence, &record->change, record->queue);
        }
        drop_oldest(presence);
    }
    if (!presence->records) {
        u64map_shrink(&presence->open_records);
    }
}
