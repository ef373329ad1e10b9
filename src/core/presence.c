/* The table of users, their grace times, and who tells of a change. */
#include "core/presence.h"

#include <string.h>

#include "base/err.h"
#include "core/presence_private.h"

enum { NAME_MAX_BYTES = 1024 };

struct presence_note *presence_note_create(uint64_t key, struct str user)
{
    struct presence_note *note = user.len <= NAME_MAX_BYTES ? mem_zalloc(sizeof(*note) + user.len)
                                                            : NULL;
    if (note) {
        note->key = key;
        note->len = (uint16_t)user.len;
        memcpy(note->user, user.ptr, user.len);
    }
    return note;
}

void presence_note_destroy(struct presence_note *note)
{
    mem_free(note);
}

/* ---- the table ---- */

int presence_create(struct cluster *cluster)
{
    struct presence *presence = mem_zalloc(sizeof(*presence));
    if (!presence || pthread_mutex_init(&presence->lock, NULL)) {
        mem_free(presence);
        return ERR_NO_MEMORY;
    }
    presence->cluster = cluster;
    presence->keeps = !cluster->is_shared;
    slab_init(&presence->users, sizeof(struct presence_user), MEM_TABLES);
    u64map_init(&presence->by_key);
    timer_wheel_init(&presence->timers, 0);
    cluster->presence = presence;
    return 0;
}

static void free_user(struct presence *presence, struct presence_user *user)
{
    uint64_t *index = u64map_find(&presence->by_key, user->key);
    uint32_t slot = (uint32_t)*index;
    timer_stop(&presence->timers, &user->timer);
    u64map_remove(&presence->by_key, user->key);
    mem_account(MEM_TABLES, -(int64_t)user->len);
    mem_free(user->name);
    user->key = 0;
    slab_free(&presence->users, slot);
}

void presence_forget_all(struct presence *presence)
{
    for (uint32_t slot = 1; slot < slab_limit(&presence->users); slot++) {
        struct presence_user *user = presence_user_at(presence, slot);
        if (user->key) {
            free_user(presence, user);
        }
    }
    records_forget(presence);
}

void presence_destroy(struct presence *presence)
{
    if (!presence) {
        return;
    }
    presence_forget_all(presence);
    for (uint32_t q = 0; q < BUS_MAX_QUEUES; q++) {
        buf_fini(&presence->out[q]);
    }
    u64map_fini(&presence->by_key);
    slab_fini(&presence->users);
    pthread_mutex_destroy(&presence->lock);
    mem_free(presence);
}

struct presence_user *presence_get(const struct presence *presence, uint64_t key)
{
    const uint64_t *index = u64map_find(&presence->by_key, key);
    return index ? presence_user_at(presence, (uint32_t)*index) : NULL;
}

static void on_grace_over(struct timer *timer);

static struct presence_user *fill(struct presence *presence, uint32_t slot, uint64_t key,
                                  struct str name)
{
    struct presence_user *user = presence_user_at(presence, slot);
    user->name = mem_strndup(name.ptr, name.len);
    uint64_t *index = user->name ? u64map_put(&presence->by_key, key) : NULL;
    if (!index) {
        mem_free(user->name);
        slab_free(&presence->users, slot);
        return NULL;
    }
    *index = slot;
    user->key = key;
    user->len = (uint16_t)name.len;
    user->presence = presence;
    user->timer.on_fire = on_grace_over;
    mem_account(MEM_TABLES, (int64_t)name.len);
    return user;
}

/* NULL: there is no room. */
static struct presence_user *get_or_add(struct presence *presence, uint64_t key, struct str name)
{
    struct presence_user *user = presence_get(presence, key);
    if (user) {
        return user;
    }
    bool has_room = presence->by_key.count < presence->max_users;
    uint32_t slot = has_room ? slab_alloc(&presence->users) : 0;
    user = slot ? fill(presence, slot, key, name) : NULL;
    if (!user) {
        cluster_add(&presence->cluster->stats.users_untracked, 1);
    }
    return user;
}

/* ---- coming and going ---- */

static bool has_nodes(const struct presence_user *user)
{
    return node_set_count(&user->nodes) > 0;
}

/* The time online is over. One whose coming is on its way to the bus stays for that. */
static void end_time(struct presence *presence, struct presence_user *user)
{
    timer_stop(&presence->timers, &user->timer);
    user->serial = 0;
    if (user->here == 0) {
        free_user(presence, user);
    }
}

static void on_grace_over(struct timer *timer)
{
    struct presence_user *user = MAIL_OWNER(timer, struct presence_user, timer);
    struct presence *presence = user->presence;
    records_announce(presence, user, false);
    end_time(presence, user);
}

void presence_clear_node(struct presence *presence, struct presence_user *user, uint32_t slot,
                         uint64_t wall_ms, uint32_t least_grace_ms)
{
    if (!node_set_has(&user->nodes, slot)) {
        return;
    }
    node_set_remove(&user->nodes, slot);
    node_set_remove(&user->sure, slot);
    if (has_nodes(user)) {
        return;
    }
    user->last_seen_ms = wall_ms;
    uint32_t grace_ms = user->grace_ms > least_grace_ms ? user->grace_ms : least_grace_ms;
    timer_start(&presence->timers, &user->timer, presence_now_ms(presence), grace_ms);
}

static void begin_time(struct presence_user *user, const struct cluster_presence_item *item)
{
    user->boot = item->boot;
    user->serial = item->serial;
    user->since_ms = item->time_ms;
}

/* What is said again is no news: it was told when it was new. */
static void take_up(struct presence *presence, struct presence_user *user, uint32_t slot,
                    const struct cluster_presence_item *item)
{
    bool is_again = item->op == PRESENCE_HERE;
    bool is_new = user->serial == 0;
    bool is_older = is_again && !presence->keeps && item->time_ms < user->since_ms;
    if (is_new || is_older) {
        begin_time(user, item);
    }
    timer_stop(&presence->timers, &user->timer);
    node_set_add(&user->nodes, slot);
    node_set_add(&user->sure, slot);
    user->grace_ms = item->grace_ms;
    user->app = item->app;
    if (is_new && !is_again) {
        records_announce(presence, user, true);
    }
}

static uint64_t key_of(const struct presence *presence, const struct cluster_presence_item *item)
{
    return target_key(&hub_get_options(presence->cluster->hub)->space, item->app, TARGET_USER,
                      item->user);
}

/* The node that told had its grace time over a moment before; or it could not see who has the user,
 * and the app must hear that he is online. */
static void on_told_offline(struct presence *presence, struct presence_user *user,
                            const struct cluster_presence_item *item)
{
    if (has_nodes(user)) {
        user->serial += PRESENCE_NEXT_TIME;
        user->since_ms = item->time_ms;
        records_announce(presence, user, true);
    } else if (user->boot == item->boot && user->serial == item->serial) {
        end_time(presence, user);
    }
}

static void on_told(struct presence *presence, uint32_t slot, struct presence_user *user,
                    const struct cluster_presence_item *item)
{
    if (slot == 0) {
        return; /* this node knows */
    }
    records_on_told(presence, item);
    if (user && user->serial && item->op == PRESENCE_TOLD_OFFLINE) {
        on_told_offline(presence, user, item);
    }
}

void presence_on_item(struct presence *presence, uint32_t slot, uint32_t queue,
                      const struct cluster_presence_item *item)
{
    bool is_up = item->op == PRESENCE_UP || item->op == PRESENCE_HERE;
    if (item->user.len == 0 || item->user.len > NAME_MAX_BYTES || item->serial == 0) {
        cluster_add(&presence->cluster->stats.bad, 1);
        return;
    }
    uint64_t key = key_of(presence, item);
    struct presence_user *user = is_up ? get_or_add(presence, key, item->user)
                                       : presence_get(presence, key);
    if (item->op == PRESENCE_TOLD_ONLINE || item->op == PRESENCE_TOLD_OFFLINE) {
        on_told(presence, slot, user, item);
        return;
    }
    if (!user) {
        return;
    }
    user->queue = (uint8_t)queue;
    if (is_up) {
        take_up(presence, user, slot, item);
    } else {
        presence_clear_node(presence, user, slot, item->time_ms, 0);
    }
}

/* ---- this node's own sessions ---- */

static void say_of(struct presence *presence, struct presence_user *user,
                   enum cluster_presence_op op)
{
    struct cluster *cluster = presence->cluster;
    struct cluster_presence_item item = {.op = (uint8_t)op,
                                         .app = user->app,
                                         .grace_ms = user->grace_ms,
                                         .boot = cluster->members[0].node.boot,
                                         .serial = ++presence->serial,
                                         .time_ms = hub_wall_ms(cluster->hub),
                                         .user = str_make(user->name, user->len)};
    if (cluster->is_shared) {
        presence_say(presence, user->queue, &item);
    } else {
        presence_on_item(presence, 0, user->queue, &item);
    }
}

static void note_there(struct presence *presence, const struct presence_note *note)
{
    const struct hub_options *options = hub_get_options(presence->cluster->hub);
    struct str name = str_make(note->user, note->len);
    struct presence_user *user = get_or_add(presence, note->key, name);
    if (!user) {
        return;
    }
    user->app = note->app;
    user->grace_ms = note->grace_ms;
    user->queue = (uint8_t)target_queue(&options->space, note->app, TARGET_USER, name,
                                        presence->cluster->queues);
    bool is_first = user->here == 0;
    user->here |= 1ull << note->worker;
    if (is_first) {
        say_of(presence, user, PRESENCE_UP);
    }
}

/* One whose coming has not been heard yet, and maybe never will be: if it is, he is added anew, and
 * his going comes behind it. */
static void forget_if_unheard(struct presence *presence, uint64_t key)
{
    struct presence_user *user = presence_get(presence, key);
    if (user && user->serial == 0 && user->here == 0) {
        free_user(presence, user);
    }
}

/* One of before presence was on, or that found no room, is not known. */
static void note_gone(struct presence *presence, const struct presence_note *note)
{
    struct presence_user *user = presence_get(presence, note->key);
    uint64_t worker = 1ull << note->worker;
    if (!user || !(user->here & worker)) {
        return;
    }
    user->here &= ~worker;
    if (user->here == 0) {
        say_of(presence, user, PRESENCE_DOWN);
        forget_if_unheard(presence, note->key);
    }
}

void presence_take_note(struct cluster *cluster, struct presence_note *note)
{
    struct presence *presence = cluster->presence;
    cluster->now_ms = hub_now_ms(cluster->hub) > cluster->now_ms ? hub_now_ms(cluster->hub)
                                                                 : cluster->now_ms;
    pthread_mutex_lock(&presence->lock);
    if (note->is_there && presence->is_on) {
        note_there(presence, note);
    } else if (!note->is_there) {
        note_gone(presence, note);
    }
    pthread_mutex_unlock(&presence->lock);
    presence_note_destroy(note);
}

/* Who else has the user is not sure either. */
void presence_renew(struct presence *presence, struct presence_user *user)
{
    struct cluster *cluster = presence->cluster;
    user->boot = cluster->members[0].node.boot;
    user->serial = ++presence->serial;
    user->since_ms = hub_wall_ms(cluster->hub);
    records_announce(presence, user, true);
}

/* ---- any thread ---- */

bool presence_find(struct cluster *cluster, uint64_t key, struct presence_state *out_state)
{
    struct presence *presence = cluster->presence;
    pthread_mutex_lock(&presence->lock);
    const struct presence_user *user = presence_get(presence, key);
    bool is_online = user && user->serial != 0;
    if (is_online) {
        *out_state = (struct presence_state){has_nodes(user), user->since_ms, user->last_seen_ms};
    }
    pthread_mutex_unlock(&presence->lock);
    return is_online;
}

uint64_t presence_users(struct cluster *cluster)
{
    struct presence *presence = cluster->presence;
    pthread_mutex_lock(&presence->lock);
    uint64_t count = presence->by_key.count;
    pthread_mutex_unlock(&presence->lock);
    return count;
}
