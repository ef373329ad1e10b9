/* Who is there. Slot 0 is this node; the others come by their beacons. */
#include <stdio.h>

#include "base/mem.h"
#include "core/presence_private.h"

enum { TELL_MS = 60000 }; /* that there is no room */

bool members_is_there(const struct member *member)
{
    return member->node.boot && member->node.state != CLUSTER_GONE;
}

uint32_t members_find(const struct cluster *cluster, uint32_t boot)
{
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        if (cluster->members[slot].node.boot == boot) {
            return slot;
        }
    }
    return 0;
}

static bool knows_all(const struct cluster *cluster)
{
    return cluster->is_known && !cluster->is_crowded;
}

static void tell(struct cluster *cluster, const struct cluster_node *node,
                 enum cluster_change change)
{
    if (cluster->callbacks->on_change) {
        cluster->callbacks->on_change(cluster->owner, node, change);
    }
}

/* ---- nodes that can't be of one cluster ---- */

static bool conflicts(const struct cluster *cluster, const struct member *member)
{
    const struct cluster_node *self = &cluster->members[0].node;
    return members_is_there(member) &&
           (member->node.layout != self->layout || member->node.queues != self->queues);
}

/* The one that was there first is right. */
static bool is_older(const struct cluster_node *node, const struct cluster_node *self)
{
    return node->started_ms != self->started_ms ? node->started_ms < self->started_ms
                                                : node->boot < self->boot;
}

static void describe_conflict(const struct cluster *cluster, char *out, size_t size)
{
    const struct cluster_node *self = &cluster->members[0].node;
    out[0] = '\0';
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        const struct cluster_node *node = &cluster->members[slot].node;
        if (conflicts(cluster, &cluster->members[slot]) && is_older(node, self)) {
            snprintf(out, size,
                     "node '%s' has another layout of the bus (%u queues, layout %016llx; here %u, "
                     "%016llx)",
                     node->name, node->queues, (unsigned long long)node->layout, self->queues,
                     (unsigned long long)self->layout);
            return;
        }
    }
}

static void update_conflict(struct cluster *cluster)
{
    char conflict[sizeof(cluster->conflict)];
    describe_conflict(cluster, conflict, sizeof(conflict));
    pthread_mutex_lock(&cluster->lock);
    memcpy(cluster->conflict, conflict, sizeof(conflict));
    pthread_mutex_unlock(&cluster->lock);
}

static void tell_conflict(struct cluster *cluster, struct member *member)
{
    if (conflicts(cluster, member) && !member->is_told) {
        member->is_told = true;
        tell(cluster, &member->node, CLUSTER_CONFLICT);
    }
}

/* ---- coming and going ---- */

static void take_beacon(struct cluster *cluster, struct member *member, uint32_t boot,
                        const struct cluster_beacon *beacon)
{
    struct cluster_node *node = &member->node;
    pthread_mutex_lock(&cluster->lock);
    *node = (struct cluster_node){.state = beacon->state,
                                  .boot = boot,
                                  .sessions = beacon->sessions,
                                  .users = beacon->users,
                                  .lag_us = beacon->lag_us,
                                  .started_ms = beacon->started_ms,
                                  .window_age_ms = beacon->window_age_ms,
                                  .layout = beacon->layout,
                                  .counts_on = beacon->counts_on,
                                  .queues = beacon->queues,
                                  .keeps_users = beacon->keeps_users};
    cluster_copy_text(node->name, sizeof(node->name), beacon->node);
    cluster_copy_text(node->version, sizeof(node->version), beacon->version);
    pthread_mutex_unlock(&cluster->lock);
    member->seq = beacon->seq;
    member->heard_ms = cluster->live_ms;
}

/* What it still had to say is not waited for. */
static void forget_duties(struct cluster *cluster, uint32_t slot)
{
    reports_on_gone(cluster, slot);
    asks_on_gone(cluster, slot);
    presence_on_gone(cluster, slot);
    users_on_gone(cluster, slot);
    update_conflict(cluster);
}

/* What it said after its farewell must not count as said by who has the slot next. */
static void free_slot(struct cluster *cluster, uint32_t slot)
{
    pthread_mutex_lock(&cluster->lock);
    cluster->members[slot] = (struct member){0};
    pthread_mutex_unlock(&cluster->lock);
    forget_duties(cluster, slot);
}

/* Of those that have said farewell; 0: none has. */
static uint32_t find_longest_gone(const struct cluster *cluster)
{
    uint32_t found = 0;
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        const struct member *member = &cluster->members[slot];
        if (member->node.state == CLUSTER_GONE &&
            (!found || member->heard_ms < cluster->members[found].heard_ms)) {
            found = slot;
        }
    }
    return found;
}

static uint32_t take_slot(struct cluster *cluster)
{
    uint32_t slot = members_find(cluster, 0);
    if (!slot) {
        slot = find_longest_gone(cluster);
        if (slot) {
            free_slot(cluster, slot);
        }
    }
    return slot;
}

static void set_crowded(struct cluster *cluster, bool is_crowded)
{
    pthread_mutex_lock(&cluster->lock);
    cluster->is_crowded = is_crowded;
    pthread_mutex_unlock(&cluster->lock);
}

/* While somebody is there who is not counted, nothing is complete. */
static void refuse_member(struct cluster *cluster, uint32_t boot,
                          const struct cluster_beacon *beacon)
{
    cluster->crowded_ms = cluster->live_ms;
    set_crowded(cluster, true);
    if (cluster->told_crowded_ms == 0 || cluster->now_ms - cluster->told_crowded_ms >= TELL_MS) {
        struct cluster_node extra = {.boot = boot, .state = beacon->state};
        cluster_copy_text(extra.name, sizeof(extra.name), beacon->node);
        cluster->told_crowded_ms = cluster->now_ms;
        tell(cluster, &extra, CLUSTER_NO_ROOM);
    }
}

static void add_member(struct cluster *cluster, uint32_t boot, const struct cluster_beacon *beacon)
{
    uint32_t slot = take_slot(cluster);
    if (!slot) {
        refuse_member(cluster, boot, beacon);
        return;
    }
    struct member *member = &cluster->members[slot];
    member->is_told = false;
    take_beacon(cluster, member, boot, beacon);
    users_on_beacon(cluster, slot, beacon);
    lost_forget(cluster, &member->node);
    tell(cluster, &member->node, CLUSTER_CAME);
    tell_conflict(cluster, member);
    update_conflict(cluster);
}

/* Its slot stays for a while, so that an older beacon of another queue does not bring it back; but
 * not where another needs it. */
static void take_farewell(struct cluster *cluster, uint32_t slot,
                          const struct cluster_beacon *beacon)
{
    struct member *member = &cluster->members[slot];
    if (!members_is_there(member)) {
        return;
    }
    take_beacon(cluster, member, member->node.boot, beacon);
    tell(cluster, &member->node, CLUSTER_LEFT);
    forget_duties(cluster, slot);
}

/* A beacon that is older than one of another queue says nothing new, but of the users, who are in
 * one of them alone. */
static void refresh_member(struct cluster *cluster, struct member *member,
                           const struct cluster_beacon *beacon)
{
    if (!members_is_there(member)) {
        return;
    }
    users_on_beacon(cluster, (uint32_t)(member - cluster->members), beacon);
    if ((int32_t)(beacon->seq - member->seq) < 0) {
        return;
    }
    bool is_changed = beacon->layout != member->node.layout ||
                      beacon->queues != member->node.queues;
    take_beacon(cluster, member, member->node.boot, beacon);
    if (is_changed) {
        tell_conflict(cluster, member);
        update_conflict(cluster);
    }
}

void members_on_beacon(struct cluster *cluster, uint32_t queue, uint32_t boot, struct str body)
{
    struct cluster_beacon beacon;
    if (!cluster_read_beacon(&beacon, body)) {
        cluster_add(&cluster->stats.bad, 1);
        return;
    }
    hub_learn_history(cluster->hub, beacon.history);
    if (boot == cluster->members[0].node.boot) {
        beacons_on_own(cluster, queue, &beacon);
        return;
    }
    cluster_add(&cluster->stats.beacons_in, 1);
    uint32_t slot = members_find(cluster, boot);
    if (beacon.state == CLUSTER_GONE) {
        if (slot) {
            take_farewell(cluster, slot, &beacon);
        }
    } else if (!(cluster->current >> queue & 1)) {
        return;
    } else if (slot) {
        refresh_member(cluster, &cluster->members[slot], &beacon);
    } else {
        add_member(cluster, boot, &beacon);
    }
}

static void expire_member(struct cluster *cluster, uint32_t slot)
{
    struct cluster_node node = cluster->members[slot].node;
    bool was_there = members_is_there(&cluster->members[slot]);
    free_slot(cluster, slot);
    if (was_there) {
        lost_add(cluster, &node);
        tell(cluster, &node, CLUSTER_SILENT);
    }
}

static bool is_silent_since(const struct cluster *cluster, uint64_t heard_ms)
{
    return cluster->live_ms - heard_ms >= CLUSTER_SILENCE_MS;
}

void members_expire(struct cluster *cluster)
{
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        const struct member *member = &cluster->members[slot];
        if (member->node.boot && is_silent_since(cluster, member->heard_ms)) {
            expire_member(cluster, slot);
        }
    }
    if (cluster->is_crowded && is_silent_since(cluster, cluster->crowded_ms)) {
        set_crowded(cluster, false);
    }
}

/* ---- this node ---- */

static enum cluster_state own_state(const struct cluster *cluster, const struct cluster_self *self)
{
    if (self->is_draining) {
        return CLUSTER_DRAINING;
    }
    bool is_ready = cluster->has_settled && !cluster->conflict[0] && hub_bus_is_up(cluster->hub);
    return is_ready ? CLUSTER_READY : CLUSTER_STARTING;
}

void members_describe_self(struct cluster *cluster)
{
    struct cluster_self self = {0};
    cluster->callbacks->describe(cluster->owner, &self);
    struct cluster_node *node = &cluster->members[0].node;
    pthread_mutex_lock(&cluster->lock);
    node->state = own_state(cluster, &self);
    node->sessions = self.sessions;
    node->users = (uint32_t)atomic_load_explicit(&hub_get_stats(cluster->hub)->users,
                                                 memory_order_relaxed);
    node->window_age_ms = window_age_ms(hub_window(cluster->hub), cluster->now_ms);
    node->lag_us = cluster_lag_us(cluster);
    node->counts_on = cluster->was_current;
    pthread_mutex_unlock(&cluster->lock);
}

bool members_expected(const struct cluster *cluster, uint32_t queue, struct node_set *out_set)
{
    bool all = knows_all(cluster) && (cluster->current >> queue & 1);
    *out_set = (struct node_set){{0}};
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        const struct member *member = &cluster->members[slot];
        if (!members_is_there(member)) {
            continue;
        }
        if (member->node.counts_on >> queue & 1) {
            node_set_add(out_set, slot);
        } else if (member->node.state != CLUSTER_STARTING) {
            all = false;
        }
    }
    return all;
}

bool cluster_leads(const struct cluster *cluster)
{
    uint32_t own = cluster->members[0].node.boot;
    for (uint32_t slot = 1; slot < CLUSTER_MAX_NODES; slot++) {
        const struct cluster_node *node = &cluster->members[slot].node;
        if (members_is_there(&cluster->members[slot]) && node->state != CLUSTER_STARTING &&
            node->boot < own) {
            return false;
        }
    }
    return true;
}

/* ---- any thread ---- */

uint32_t cluster_nodes(struct cluster *cluster, struct cluster_node out[CLUSTER_MAX_NODES],
                       bool *out_is_known)
{
    uint32_t count = 0;
    pthread_mutex_lock(&cluster->lock);
    for (uint32_t slot = 0; slot < CLUSTER_MAX_NODES; slot++) {
        if (members_is_there(&cluster->members[slot])) {
            out[count++] = cluster->members[slot].node;
        }
    }
    *out_is_known = knows_all(cluster);
    pthread_mutex_unlock(&cluster->lock);
    return count;
}

bool cluster_count_states(struct cluster *cluster, uint32_t out_counts[CLUSTER_GONE])
{
    memset(out_counts, 0, sizeof(out_counts[0]) * CLUSTER_GONE);
    pthread_mutex_lock(&cluster->lock);
    for (uint32_t slot = 0; slot < CLUSTER_MAX_NODES; slot++) {
        if (members_is_there(&cluster->members[slot])) {
            out_counts[cluster->members[slot].node.state]++;
        }
    }
    bool is_known = knows_all(cluster);
    pthread_mutex_unlock(&cluster->lock);
    return is_known;
}

bool cluster_may_have(struct cluster *cluster, uint32_t boot)
{
    pthread_mutex_lock(&cluster->lock);
    bool is_self = boot == cluster->members[0].node.boot;
    uint32_t slot = is_self ? 0 : members_find(cluster, boot);
    bool is_member = is_self || (slot && members_is_there(&cluster->members[slot]));
    bool may = is_member || !knows_all(cluster);
    pthread_mutex_unlock(&cluster->lock);
    return may;
}

bool cluster_is_unready(struct cluster *cluster, char *out_reason, size_t size)
{
    pthread_mutex_lock(&cluster->lock);
    bool is_conflict = cluster->conflict[0];
    bool is_unready = is_conflict || !cluster->has_settled;
    snprintf(out_reason, size, "%s",
             is_conflict ? cluster->conflict : "learning who else is in the cluster");
    pthread_mutex_unlock(&cluster->lock);
    return is_unready;
}
