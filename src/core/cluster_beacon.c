/* Beacons on their way out and back. One's own that comes back tells that a queue is current, and
 * how long the way through the bus is. */
#include "base/mem.h"
#include "core/presence_private.h"

/* A pause of the bus that nobody has noticed yet must not age the members. */
enum { LONGEST_STEP_MS = 500, STALL_MS = 2 * CLUSTER_BEACON_MS + 500 };

/* What comes on the queue may be old, until a beacon that is sent from now on has come back. */
void beacons_doubt(struct cluster *cluster, uint32_t queue)
{
    cluster->current &= ~(1ull << queue);
    cluster->beacons[queue].required = cluster->seq + 1;
    cluster->beacons[queue].lag_us = 0;
    presence_on_doubt(cluster, queue);
}

static void doubt_all(struct cluster *cluster)
{
    for (uint32_t q = 0; q < cluster->queues; q++) {
        beacons_doubt(cluster, q);
    }
}

/* Times are taken at the end of the turn in which a beacon came, when the clock is fresh. */
static void note_return(struct cluster *cluster, struct beacon_queue *beacon)
{
    beacon->is_returned = false;
    beacon->returned_ms = cluster->now_ms;
    uint64_t lag_us = cluster->now_us - beacon->sent_us;
    beacon->lag_us = lag_us > UINT32_MAX ? UINT32_MAX : (uint32_t)lag_us;
}

void beacons_measure(struct cluster *cluster)
{
    uint32_t slowest = 0;
    for (uint32_t q = 0; q < cluster->queues; q++) {
        struct beacon_queue *beacon = &cluster->beacons[q];
        if (beacon->is_returned) {
            note_return(cluster, beacon);
        }
        slowest = beacon->lag_us > slowest ? beacon->lag_us : slowest;
    }
    atomic_store_explicit(&cluster->lag_us, slowest, memory_order_relaxed);
}

/* A process that stood still does not know what happened meanwhile: what it reads next is of then,
 * and whoever asked has given up. */
void beacons_advance(struct cluster *cluster)
{
    uint64_t step = cluster->last_ms ? cluster->now_ms - cluster->last_ms : 0;
    cluster->last_ms = cluster->now_ms;
    if (!cluster->is_shared) {
        return;
    }
    if (step >= STANDSTILL_MS) {
        asks_drop_pending(cluster);
        doubt_all(cluster);
    }
    if (cluster->current && cluster->now_ms - cluster->returned_ms <= STALL_MS) {
        cluster->live_ms += step > LONGEST_STEP_MS ? LONGEST_STEP_MS : step;
    }
}

static void doubt_silent(struct cluster *cluster)
{
    for (uint32_t q = 0; q < cluster->queues; q++) {
        if ((cluster->current >> q & 1) &&
            cluster->now_ms - cluster->beacons[q].returned_ms > CLUSTER_SILENCE_MS) {
            beacons_doubt(cluster, q);
        }
    }
}

/* What comes now on a queue that is up comes behind a beacon that says that this node counts it. */
static bool is_announced(const struct cluster *cluster)
{
    uint64_t up = 0;
    for (uint32_t q = 0; q < cluster->queues; q++) {
        up |= (uint64_t)cluster->beacons[q].is_up << q;
    }
    return (cluster->announced & up) == up;
}

void beacons_settle(struct cluster *cluster)
{
    doubt_silent(cluster);
    uint64_t since_ms = cluster->current ? cluster->live_ms - cluster->current_since_ms : 0;
    pthread_mutex_lock(&cluster->lock);
    cluster->is_known = since_ms >= CLUSTER_SETTLE_MS;
    cluster->has_settled = cluster->has_settled ||
                           (since_ms >= CLUSTER_READY_MS && is_announced(cluster));
    bool serves = cluster->has_settled && !cluster->conflict[0];
    pthread_mutex_unlock(&cluster->lock);
    atomic_store_explicit(&cluster->serves, serves, memory_order_release);
}

bool cluster_may_serve(const struct cluster *cluster)
{
    return atomic_load_explicit(&cluster->serves, memory_order_acquire);
}

void beacons_on_own(struct cluster *cluster, uint32_t queue, const struct cluster_beacon *own)
{
    struct beacon_queue *beacon = &cluster->beacons[queue];
    if ((int32_t)(own->seq - beacon->required) < 0) {
        return;
    }
    if (!cluster->current) {
        cluster->current_since_ms = cluster->live_ms;
    }
    if (own->seq == beacon->sent_seq) {
        beacon->is_returned = true;
    }
    beacon->returned_ms = cluster->returned_ms = cluster->now_ms;
    cluster->current |= 1ull << queue;
    cluster->was_current |= 1ull << queue;
    cluster->announced |= own->counts_on & 1ull << queue;
}

void cluster_on_queue_state(struct cluster *cluster, uint32_t queue, bool up)
{
    if (queue < cluster->queues) {
        cluster->beacons[queue].is_up = up;
        cluster->is_due = cluster->is_due || up;
        beacons_doubt(cluster, queue);
    }
}

void cluster_on_hole(struct cluster *cluster, uint32_t queue)
{
    if (queue < cluster->queues) {
        beacons_doubt(cluster, queue);
    }
}

/* ---- out ---- */

static int write_beacon(struct cluster *cluster, struct buf *body, enum cluster_state state,
                        struct str users)
{
    const struct cluster_node *self = &cluster->members[0].node;
    struct cluster_beacon beacon = {.state = state,
                                    .seq = cluster->seq,
                                    .queues = self->queues,
                                    .layout = self->layout,
                                    .counts_on = cluster->was_current,
                                    .started_ms = self->started_ms,
                                    .window_age_ms = self->window_age_ms,
                                    .history = hub_history(cluster->hub),
                                    .keeps_users = cluster->presence->keeps,
                                    .tells_users = true,
                                    .key_tag = hub_get_options(cluster->hub)->space.tag,
                                    .user_counts = users,
                                    .sessions = self->sessions,
                                    .users = self->users,
                                    .lag_us = self->lag_us,
                                    .node = str_of(self->name),
                                    .version = str_of(self->version)};
    return cluster_write_beacon(body, &beacon);
}

static void on_beacon_done(struct publish *publish)
{
    struct beacon_queue *beacon = publish->owner;
    beacon->is_out = false;
    publish_destroy(publish);
}

/* Where one is still under way, another would only wait behind it. */
static void send_beacon(struct cluster *cluster, uint32_t queue, struct str body)
{
    struct beacon_queue *beacon = &cluster->beacons[queue];
    if (!beacon->is_up || beacon->is_out) {
        return;
    }
    beacon->is_out = true;
    beacon->sent_us = cluster->now_us;
    beacon->sent_seq = cluster->seq;
    if (cluster_send(cluster, EVENT_BEACON, 0, queue, body, cluster->now_ms + CLUSTER_SILENCE_MS,
                     on_beacon_done, beacon)) {
        beacon->is_out = false;
    }
}

/* One after the other, of those that take a beacon; none: the count of queues. */
static uint32_t pick_queue_of_users(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->queues; i++) {
        uint32_t queue = (cluster->users_queue + i) % cluster->queues;
        if (cluster->beacons[queue].is_up && !cluster->beacons[queue].is_out) {
            cluster->users_queue = queue + 1;
            return queue;
        }
    }
    return cluster->queues;
}

/* With the users, which all queues need not carry. */
static void send_to_one(struct cluster *cluster, uint32_t queue)
{
    struct buf users = {0};
    struct buf body = {0};
    if (queue < cluster->queues && !users_tell(cluster, &users) &&
        !write_beacon(cluster, &body, cluster->members[0].node.state, buf_str(&users))) {
        send_beacon(cluster, queue, buf_str(&body));
    }
    buf_fini(&body);
    buf_fini(&users);
}

static void send_to_others(struct cluster *cluster, uint32_t but)
{
    struct buf body = {0};
    if (!write_beacon(cluster, &body, cluster->members[0].node.state, STR(""))) {
        for (uint32_t q = 0; q < cluster->queues; q++) {
            if (q != but) {
                send_beacon(cluster, q, buf_str(&body));
            }
        }
    }
    buf_fini(&body);
}

void beacons_send(struct cluster *cluster)
{
    bool is_due = cluster->is_due || cluster->now_ms - cluster->beacon_sent_ms >= CLUSTER_BEACON_MS;
    if (cluster->is_leaving || !is_due || !hub_bus_was_up(cluster->hub)) {
        return;
    }
    cluster->is_due = false;
    cluster->beacon_sent_ms = cluster->now_ms;
    cluster->seq++;
    uint32_t queue_of_users = pick_queue_of_users(cluster);
    send_to_one(cluster, queue_of_users);
    send_to_others(cluster, queue_of_users);
}

/* ---- the last ones ---- */

static void close_farewell(struct cluster *cluster)
{
    if (--cluster->farewells == 0) {
        atomic_store_explicit(&cluster->has_left, true, memory_order_release);
    }
}

static void on_farewell_done(struct publish *publish)
{
    close_farewell(publish->owner);
    publish_destroy(publish);
}

static void send_farewells(struct cluster *cluster, struct str body)
{
    for (uint32_t q = 0; q < cluster->queues; q++) {
        if (!cluster->beacons[q].is_up) {
            continue;
        }
        cluster->farewells++;
        if (cluster_send(cluster, EVENT_BEACON, 0, q, body, cluster->now_ms + CLUSTER_BEACON_MS,
                         on_farewell_done, cluster)) {
            close_farewell(cluster);
        }
    }
}

void cluster_leave(struct cluster *cluster, uint64_t now_ms)
{
    struct buf body = {0};
    if (cluster->is_leaving) {
        return;
    }
    cluster->now_ms = now_ms;
    cluster->is_leaving = true;
    cluster->farewells = 1;
    cluster->seq++;
    if (cluster->is_shared && !write_beacon(cluster, &body, CLUSTER_GONE, STR(""))) {
        send_farewells(cluster, buf_str(&body));
    }
    close_farewell(cluster);
    buf_fini(&body);
}
