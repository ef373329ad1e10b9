/* What nodes say to each other of their users: changes as they come, and all of them to who asks.
 */
#include "base/err.h"
#include "core/presence_private.h"

enum {
    BODY_BYTES = 48 * 1024, /* of an event, more or less */
    SAY_WITHIN_MS = 30000,
    ASK_AGAIN_MS = 3000,
    TELL_AGAIN_MS = 1000,
};

static uint64_t queues_up(const struct cluster *cluster)
{
    uint64_t up = 0;
    for (uint32_t q = 0; q < cluster->queues; q++) {
        up |= (uint64_t)cluster->beacons[q].is_up << q;
    }
    return up;
}

/* ---- out ---- */

static void want_telling(struct presence *presence, uint32_t to)
{
    presence->pending_to = presence->is_pending && presence->pending_to != to ? 0 : to;
    presence->is_pending = true;
}

static void on_said(struct publish *publish)
{
    struct cluster *cluster = publish->owner;
    if (publish->verdict == PUBLISH_FAILED) {
        cluster->presence->unsaid |= 1ull << publish->parts[0].queue;
    }
    publish_destroy(publish);
}

static void send(struct presence *presence, uint32_t to, uint32_t queue, struct buf *body)
{
    struct cluster *cluster = presence->cluster;
    if (buf_err(body) || cluster_send(cluster, EVENT_PRESENCE, to, queue, buf_str(body),
                                      cluster->now_ms + SAY_WITHIN_MS, on_said, cluster)) {
        presence->unsaid |= 1ull << queue;
    }
    buf_clear(body);
}

void presence_say(struct presence *presence, uint32_t queue,
                  const struct cluster_presence_item *item)
{
    struct buf *body = &presence->out[queue];
    cluster_write_presence(body, item);
    if (body->len >= BODY_BYTES) {
        send(presence, 0, queue, body);
    }
}

void presence_flush(struct cluster *cluster)
{
    struct presence *presence = cluster->presence;
    for (uint32_t q = 0; q < cluster->queues; q++) {
        if (presence->out[q].len > 0 || buf_err(&presence->out[q])) {
            send(presence, 0, q, &presence->out[q]);
        }
    }
}

/* ---- telling all ---- */

static void send_mark(struct presence *presence, enum cluster_presence_op op)
{
    struct cluster *cluster = presence->cluster;
    struct cluster_presence_item item = {.op = (uint8_t)op};
    uint64_t up = queues_up(cluster);
    for (uint32_t q = 0; q < cluster->queues; q++) {
        struct buf body = {0};
        if (up >> q & 1) {
            cluster_write_presence(&body, &item);
            send(presence, presence->telling_to, q, &body);
        }
        buf_fini(&body);
    }
}

static void write_here(struct presence *presence, const struct presence_user *user,
                       struct buf bodies[])
{
    if (!presence->cluster->beacons[user->queue].is_up) {
        return; /* who reads there asks when it is back */
    }
    struct cluster_presence_item item = {.op = PRESENCE_HERE,
                                         .app = user->app,
                                         .grace_ms = user->grace_ms,
                                         .boot = user->boot,
                                         .serial = user->serial,
                                         .time_ms = user->since_ms,
                                         .user = str_make(user->name, user->len)};
    if (item.serial == 0) { /* its own word has not come back yet, and maybe never will */
        item.op = PRESENCE_UP;
        item.boot = presence->cluster->members[0].node.boot;
        item.serial = ++presence->serial;
        item.time_ms = hub_wall_ms(presence->cluster->hub);
    }
    cluster_write_presence(&bodies[user->queue], &item);
    if (bodies[user->queue].len >= BODY_BYTES) {
        send(presence, presence->telling_to, user->queue, &bodies[user->queue]);
    }
}

/* What could not be said is made good by saying all. */
static void make_good(struct presence *presence)
{
    uint64_t up = queues_up(presence->cluster);
    if (presence->unsaid & up) {
        presence->unsaid &= ~up;
        want_telling(presence, 0);
    }
}

/* Others have told that the users of this node are offline: that they aren't is news. */
static void renew_all(struct presence *presence)
{
    for (uint32_t i = 1; i < slab_limit(&presence->users); i++) {
        struct presence_user *user = presence_user_at(presence, i);
        if (user->key && user->here > 0) {
            presence_renew(presence, user);
        }
    }
}

static void begin_telling(struct presence *presence)
{
    uint64_t now_ms = presence->cluster->now_ms;
    make_good(presence);
    if (presence->cursor || !presence->is_pending ||
        (presence->told_ms && now_ms - presence->told_ms < TELL_AGAIN_MS)) {
        return;
    }
    presence->told_ms = now_ms;
    presence->telling_to = presence->pending_to;
    presence->is_pending = false;
    presence->cursor = 1;
    if (presence->is_renewing) {
        presence->is_renewing = false;
        renew_all(presence);
    }
    send_mark(presence, PRESENCE_BEGIN);
}

/* What changes meanwhile is said behind it, queue by queue. */
static void go_on_telling(struct presence *presence)
{
    struct buf bodies[BUS_MAX_QUEUES] = {{0}};
    if (presence->cursor == 0) {
        return;
    }
    presence_flush(presence->cluster); /* what was said before comes before */
    uint32_t limit = slab_limit(&presence->users);
    for (int i = 0; i < PRESENCE_STEP && presence->cursor < limit; i++) {
        const struct presence_user *user = presence_user_at(presence, presence->cursor++);
        if (user->key && user->here > 0) {
            write_here(presence, user, bodies);
        }
    }
    for (uint32_t q = 0; q < BUS_MAX_QUEUES; q++) {
        if (bodies[q].len > 0 || buf_err(&bodies[q])) {
            send(presence, presence->telling_to, q, &bodies[q]);
        }
        buf_fini(&bodies[q]);
    }
    if (presence->cursor >= limit) {
        presence->cursor = 0;
        send_mark(presence, PRESENCE_END);
    }
}

/* ---- in ---- */

static void doubt_users(struct presence *presence, uint32_t slot, uint32_t queue)
{
    for (uint32_t i = 1; i < slab_limit(&presence->users); i++) {
        struct presence_user *user = presence_user_at(presence, i);
        if (user->key && user->queue == queue) {
            node_set_remove(&user->sure, slot);
        }
    }
}

static void clear_doubtful(struct presence *presence, uint32_t slot, uint32_t queue)
{
    uint64_t wall_ms = hub_wall_ms(presence->cluster->hub);
    for (uint32_t i = 1; i < slab_limit(&presence->users); i++) {
        struct presence_user *user = presence_user_at(presence, i);
        if (user->key && user->queue == queue && !node_set_has(&user->sure, slot)) {
            presence_clear_node(presence, user, slot, wall_ms, 0);
        }
    }
    presence->peers[slot].ended |= 1ull << queue;
}

static void take_item(struct presence *presence, uint32_t slot, uint32_t queue,
                      const struct cluster_presence_item *item)
{
    switch (item->op) {
    case PRESENCE_ASK:
        presence->is_renewing |= item->serial != 0;
        want_telling(presence, item->serial ? 0 : presence->cluster->members[slot].node.boot);
        break;
    case PRESENCE_BEGIN: doubt_users(presence, slot, queue); break;
    case PRESENCE_END: clear_doubtful(presence, slot, queue); break;
    case PRESENCE_HERE:
    case PRESENCE_UP:
    case PRESENCE_DOWN:
    case PRESENCE_TOLD_ONLINE:
    case PRESENCE_TOLD_OFFLINE: presence_on_item(presence, slot, queue, item); break;
    default: break;
    }
}

/* What another node said before this one had asked may be old, and what it says is asked for once
 * the queue is current. A node that asks is answered also where no app does here: it waits. */
void presence_on_event(struct cluster *cluster, uint32_t slot, uint32_t queue, struct str body)
{
    struct presence *presence = cluster->presence;
    struct cluster_presence_item item;
    struct str rest = body;
    bool is_news = presence->is_on && (slot == 0 || cluster->current >> queue & 1);
    bool is_good = cluster_begin_presence(&rest);
    pthread_mutex_lock(&presence->lock);
    while (is_good && rest.len > 0 && (is_good = cluster_next_presence(&rest, &item))) {
        if (is_news || item.op == PRESENCE_ASK) {
            take_item(presence, slot, queue, &item);
        }
    }
    pthread_mutex_unlock(&presence->lock);
    if (!is_good) {
        cluster_add(&cluster->stats.bad, 1);
    }
}

void presence_on_gone(struct cluster *cluster, uint32_t slot)
{
    struct presence *presence = cluster->presence;
    uint32_t boot = presence->peers[slot].boot;
    uint64_t wall_ms = hub_wall_ms(cluster->hub);
    presence->peers[slot] = (struct presence_peer){0};
    if (boot == 0) {
        return;
    }
    presence->gone[presence->gone_count++ % PRESENCE_GONE_MAX] = boot;
    pthread_mutex_lock(&presence->lock);
    for (uint32_t i = 1; i < slab_limit(&presence->users); i++) {
        struct presence_user *user = presence_user_at(presence, i);
        if (user->key) {
            presence_clear_node(presence, user, slot, wall_ms, PRESENCE_GONE_GRACE_MS);
        }
    }
    pthread_mutex_unlock(&presence->lock);
}

/* Something may have been missed there, of one's own, too. */
void presence_on_doubt(struct cluster *cluster, uint32_t queue)
{
    cluster->presence->unsaid |= cluster->presence->is_on ? 1ull << queue : 0;
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        struct presence_peer *peer = &cluster->presence->peers[slot];
        peer->ended &= ~(1ull << queue);
    }
}

/* ---- turns ---- */

static bool was_gone(const struct presence *presence, uint32_t boot)
{
    for (uint32_t i = 0; i < PRESENCE_GONE_MAX; i++) {
        if (presence->gone[i] == boot) {
            return true;
        }
    }
    return false;
}

static void ask(struct presence *presence, struct presence_peer *peer)
{
    struct cluster *cluster = presence->cluster;
    struct cluster_presence_item item = {.op = PRESENCE_ASK, .serial = peer->was_gone};
    struct buf body = {0};
    int queue = cluster_pick_queue(cluster);
    if (queue >= 0 && !cluster_write_presence(&body, &item)) {
        peer->asked_ms = cluster->now_ms;
        cluster_send(cluster, EVENT_PRESENCE, peer->boot, (uint32_t)queue, buf_str(&body),
                     cluster->now_ms + ASK_AGAIN_MS, NULL, NULL);
    }
    buf_fini(&body);
}

/* True when all that can be known of the node is. */
static bool follow(struct presence *presence, uint32_t slot, uint64_t up)
{
    struct cluster *cluster = presence->cluster;
    struct presence_peer *peer = &presence->peers[slot];
    const struct member *member = &cluster->members[slot];
    if (!members_is_there(member)) {
        return true;
    }
    if (peer->boot != member->node.boot) {
        *peer = (struct presence_peer){.boot = member->node.boot,
                                       .was_gone = was_gone(presence, member->node.boot)};
    }
    if ((up & ~peer->ended) == 0) {
        return true;
    }
    if (peer->asked_ms == 0 || cluster->now_ms - peer->asked_ms >= ASK_AGAIN_MS) {
        ask(presence, peer);
    }
    return false;
}

static void follow_all(struct presence *presence)
{
    struct cluster *cluster = presence->cluster;
    uint64_t up = queues_up(cluster);
    bool is_whole = cluster->has_settled;
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        is_whole &= follow(presence, slot, up);
    }
    if (is_whole && !presence->keeps) {
        presence->keeps = true;
        cluster->is_due = true; /* the others should know soon */
    }
}

void presence_tick(struct cluster *cluster)
{
    struct presence *presence = cluster->presence;
    pthread_mutex_lock(&presence->lock);
    if (presence->is_on && cluster->is_shared) {
        follow_all(presence);
        records_run(presence);
    }
    if (cluster->is_shared) {
        begin_telling(presence);
        go_on_telling(presence);
    }
    timer_wheel_advance(&presence->timers, presence_now_ms(presence));
    pthread_mutex_unlock(&presence->lock);
}

/* The others hear that nobody is here as far as this node says. */
static void switch_off(struct presence *presence)
{
    presence_forget_all(presence);
    memset(presence->peers, 0, sizeof(presence->peers));
    presence->keeps = !presence->cluster->is_shared;
    want_telling(presence, 0);
}

void presence_set(struct cluster *cluster, bool is_on, uint64_t max_users)
{
    struct presence *presence = cluster->presence;
    pthread_mutex_lock(&presence->lock);
    presence->max_users = max_users;
    if (presence->is_on && !is_on) {
        switch_off(presence);
    }
    presence->is_on = is_on;
    pthread_mutex_unlock(&presence->lock);
}
