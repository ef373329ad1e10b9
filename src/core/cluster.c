#include "core/cluster.h"

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/presence_private.h"

void cluster_copy_text(char *out, size_t size, struct str text)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;
    memcpy(out, text.ptr, len);
    out[len] = '\0';
}

static void fill_self(struct cluster *cluster, const struct cluster_options *options)
{
    struct cluster_node *node = &cluster->members[0].node;
    const struct bus *bus = hub_bus(cluster->hub);
    *node = (struct cluster_node){.boot = options->boot,
                                  .state = CLUSTER_STARTING,
                                  .started_ms = options->started_ms,
                                  .queues = (uint16_t)cluster->queues,
                                  .layout = bus ? bus->layout : 0,
                                  .is_self = true};
    cluster_copy_text(node->name, sizeof(node->name), options->node);
    cluster_copy_text(node->version, sizeof(node->version), options->version);
    snprintf(cluster->boot_name, sizeof(cluster->boot_name), "%08x", options->boot);
}

static struct cluster_door *create_door(struct cluster *cluster)
{
    struct cluster_door *door = mem_zalloc(sizeof(*door));
    if (door) {
        atomic_init(&door->refs, 1);
        door->cluster = cluster;
    }
    return door;
}

int cluster_create(struct cluster **out_cluster, struct hub *hub,
                   const struct cluster_options *options, const struct cluster_callbacks *callbacks,
                   void *owner)
{
    struct cluster *cluster = mem_zalloc(sizeof(*cluster));
    struct cluster_door *door = cluster ? create_door(cluster) : NULL;
    if (!door || pthread_mutex_init(&cluster->lock, NULL)) {
        mem_free(cluster);
        mem_free(door);
        return ERR_NO_MEMORY;
    }
    cluster->door = door;
    cluster->hub = hub;
    cluster->callbacks = callbacks;
    cluster->owner = owner;
    cluster->is_shared = options->is_shared;
    cluster->is_known = cluster->has_settled = !options->is_shared;
    atomic_init(&cluster->serves, !options->is_shared);
    cluster->queues = hub_get_options(hub)->queues;
    for (uint32_t q = 0; q < cluster->queues; q++) {
        cluster->beacons[q].required = 1;
    }
    fill_self(cluster, options);
    if (presence_create(cluster) || users_create(cluster)) {
        presence_destroy(cluster->presence);
        door_unref(door);
        pthread_mutex_destroy(&cluster->lock);
        mem_free(cluster);
        return ERR_NO_MEMORY;
    }
    hub_set_cluster(hub, cluster);
    *out_cluster = cluster;
    return 0;
}

void cluster_destroy(struct cluster *cluster)
{
    if (!cluster) {
        return;
    }
    atomic_store_explicit(&cluster->door->is_shut, true, memory_order_release);
    asks_drop_all(cluster);
    reports_drop_all(cluster);
    counts_drop_all(cluster);
    presence_destroy(cluster->presence);
    users_destroy(cluster);
    door_unref(cluster->door);
    pthread_mutex_destroy(&cluster->lock);
    mem_free(cluster);
}

/* ---- turns ---- */

void cluster_flush(struct cluster *cluster, uint64_t now_ms, uint64_t now_us)
{
    if (!cluster->is_shared) {
        return;
    }
    cluster->now_ms = now_ms;
    cluster->now_us = now_us;
    beacons_advance(cluster);
    beacons_measure(cluster);
    asks_dispatch(cluster);
    counts_send(cluster);
    presence_flush(cluster);
}

void cluster_tick(struct cluster *cluster, uint64_t now_ms)
{
    cluster->now_ms = now_ms;
    beacons_advance(cluster);
    members_describe_self(cluster);
    users_tick(cluster);
    if (!cluster->is_shared) {
        presence_tick(cluster);
        return;
    }
    beacons_settle(cluster);
    beacons_send(cluster);
    members_expire(cluster);
    reports_expire(cluster);
    counts_tell_acks(cluster);
    asks_expire(cluster);
    presence_tick(cluster);
}

static bool is_for_me(const struct cluster *cluster, const struct event *event)
{
    struct str rest = event->target_bytes;
    struct target target;
    event_next_target(&rest, &target);
    return target.name.len == 0 || str_equal(target.name, str_of(cluster->boot_name));
}

/* Of a node that is not there it is old, or comes before its beacon: then it is asked. */
static void on_presence(struct cluster *cluster, uint32_t queue, uint32_t boot, struct str body)
{
    bool is_own = boot == cluster->members[0].node.boot;
    uint32_t slot = is_own ? 0 : members_find(cluster, boot);
    if (is_own || (slot && members_is_there(&cluster->members[slot]))) {
        presence_on_event(cluster, slot, queue, body);
    }
}

void cluster_on_event(struct cluster *cluster, uint32_t queue, const struct event *event)
{
    uint32_t boot = event->header.origin;
    bool is_own = boot == cluster->members[0].node.boot;
    if (!cluster->is_shared || !(is_own || is_for_me(cluster, event))) {
        return;
    }
    if (boot == 0) { /* no node; a slot that is free has it */
        cluster_add(&cluster->stats.bad, 1);
        return;
    }
    if (event->kind == EVENT_BEACON) {
        members_on_beacon(cluster, queue, boot, event->data);
    } else if (event->kind == EVENT_PRESENCE) {
        on_presence(cluster, queue, boot, event->data);
    } else if (is_own && event->kind == EVENT_ASK) {
        asks_on_own(cluster, queue, event->data);
    } else if (is_own) {
        return;
    } else if (event->kind == EVENT_ASK) {
        asks_on_ask(cluster, queue, boot, event->data);
    } else if (event->kind == EVENT_REPLY) {
        asks_on_reply(cluster, boot, event->data);
    } else {
        reports_on_event(cluster, boot, event->data);
    }
}

/* ---- sending ---- */

static int encode(struct cluster *cluster, struct buf *out, enum event_kind kind, uint32_t to,
                  struct str body)
{
    char name[9] = "";
    struct event event = {.kind = kind, .parts = 1, .data_kind = EVENT_DATA_BINARY, .data = body};
    event.header.origin = cluster->members[0].node.boot;
    event.header.flags = EVENT_IS_CONTROL;
    event.key_tag = hub_get_options(cluster->hub)->space.tag;
    if (to) {
        snprintf(name, sizeof(name), "%08x", to);
    }
    struct target target = {TARGET_NODE, str_of(name)};
    uint64_t key = (uint64_t)to << 32 | (uint64_t)TARGET_NODE << 29;
    return event_encode(out, &event, &target, &key, 1, NULL, 0);
}

struct publish *cluster_make_publish(struct cluster *cluster, enum event_kind kind, uint32_t to,
                                     uint32_t queue, struct str body, uint64_t deadline_ms)
{
    struct publish *publish = publish_create(1);
    if (!publish || encode(cluster, &publish->parts[0].event, kind, to, body)) {
        publish_destroy(publish);
        return NULL;
    }
    publish->parts[0].queue = queue;
    publish->worker = HUB_NO_WORKER;
    publish->stays = true;
    publish->deadline_ms = deadline_ms;
    publish->on_done = publish_destroy;
    return publish;
}

/* The hub's time may be later than that of the cluster's last turn, and must not go back. */
void cluster_publish(struct cluster *cluster, struct publish *publish)
{
    uint64_t hub_ms = hub_now_ms(cluster->hub);
    hub_publish(cluster->hub, publish, hub_ms > cluster->now_ms ? hub_ms : cluster->now_ms);
}

int cluster_send(struct cluster *cluster, enum event_kind kind, uint32_t to, uint32_t queue,
                 struct str body, uint64_t deadline_ms, void (*on_done)(struct publish *publish),
                 void *owner)
{
    struct publish *publish = cluster_make_publish(cluster, kind, to, queue, body, deadline_ms);
    if (!publish) {
        return ERR_NO_MEMORY;
    }
    publish->owner = owner;
    publish->on_done = on_done ? on_done : publish_destroy;
    cluster_publish(cluster, publish);
    return 0;
}

int cluster_tell_again(struct cluster *cluster, uint32_t queue, struct str body,
                       uint64_t deadline_ms, void (*on_done)(struct publish *publish), void *owner)
{
    return cluster_send(cluster, EVENT_AGAIN, 0, queue, body, deadline_ms, on_done, owner);
}

/* One after the other, so that no queue carries all; current ones, whose way is known to work,
 * before those that are up alone. ERR_UNAVAILABLE when none is up. */
int cluster_pick_queue(struct cluster *cluster)
{
    int up = ERR_UNAVAILABLE;
    for (uint32_t i = 0; i < cluster->queues; i++) {
        uint32_t queue = (cluster->next_queue + i) % cluster->queues;
        if (cluster->current >> queue & 1) {
            cluster->next_queue = queue + 1;
            return (int)queue;
        }
        up = up < 0 && cluster->beacons[queue].is_up ? (int)queue : up;
    }
    return up;
}

void door_unref(struct cluster_door *door)
{
    if (atomic_fetch_sub_explicit(&door->refs, 1, memory_order_acq_rel) == 1) {
        mem_free(door);
    }
}

/* ---- any thread ---- */

bool cluster_is_shared(const struct cluster *cluster)
{
    return cluster->is_shared;
}

bool cluster_has_left(const struct cluster *cluster)
{
    return atomic_load_explicit(&cluster->has_left, memory_order_acquire);
}

uint32_t cluster_lag_us(const struct cluster *cluster)
{
    return atomic_load_explicit(&cluster->lag_us, memory_order_relaxed);
}

struct cluster_stats *cluster_get_stats(struct cluster *cluster)
{
    return &cluster->stats;
}
