/* The node among others: what the cluster (core/cluster.h) asks of the gateway, and the gateway of
 * it. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/presence.h"
#include "server/gateway_private.h"
#include "server/worker.h"

/* ---- the cluster's callbacks ---- */

static void describe(void *owner, struct cluster_self *out_self)
{
    struct gateway *gateway = owner;
    out_self->sessions = (uint32_t)admission_sessions(&gateway->admission);
    out_self->is_draining = atomic_load_explicit(&gateway->draining, memory_order_acquire);
}

static void post(void *owner, struct mail *mail)
{
    struct gateway *gateway = owner;
    struct mail_chain chain = {NULL, NULL};
    mail_chain_add(&chain, mail);
    hub_gate_send(&gateway->gate, &chain);
}

static void on_ask(void *owner, struct cluster_ask *ask)
{
    struct gateway *gateway = owner;
    gateway->options.hooks.on_node_ask(gateway, ask);
}

static void log_conflict(const struct gateway *gateway, const struct cluster_node *node)
{
    char reason[256];
    bool yields = cluster_is_unready(gateway->cluster, reason, sizeof(reason));
    log_error("node.conflict",
              "node '%s' (%08x) has another layout of the bus: %u queues, layout %016llx; %s",
              node->name, node->boot, node->queues, (unsigned long long)node->layout,
              yields ? "it was here first, so this node does not serve"
                     : "this node was here first and goes on");
}

static void on_change(void *owner, const struct cluster_node *node, enum cluster_change change)
{
    const struct gateway *gateway = owner;
    switch (change) {
    case CLUSTER_CAME:
        log_info("node.joined", "node '%s' (%08x) is there", node->name, node->boot);
        break;
    case CLUSTER_LEFT:
        log_info("node.left", "node '%s' (%08x) has left", node->name, node->boot);
        break;
    case CLUSTER_SILENT:
        log_warn("node.silent", "node '%s' (%08x) is gone: nothing was heard of it for %d ms",
                 node->name, node->boot, CLUSTER_SILENCE_MS);
        break;
    case CLUSTER_CONFLICT: log_conflict(gateway, node); break;
    case CLUSTER_NO_ROOM:
        log_error("node.full", "node '%s' (%08x) is not counted: %d nodes are there already",
                  node->name, node->boot, CLUSTER_MAX_NODES);
        break;
    }
}

/* A change of a user on its way to a worker, which knows the apps. */
struct told_user {
    struct mail mail;
    struct worker *worker;
    struct presence_change change;
    char name[];
};

static void run_told_user(struct mail *mail)
{
    struct told_user *told = MAIL_OWNER(mail, struct told_user, mail);
    const struct gateway_hooks *hooks = &told->worker->gateway->options.hooks;
    if (hooks->on_user_changed) {
        hooks->on_user_changed(told->worker, &told->change);
    }
    mem_free(told);
}

/* A user's changes stay in order: they go to the same worker. */
static int on_user(void *owner, const struct presence_change *change)
{
    struct gateway *gateway = owner;
    struct told_user *told = mem_alloc(sizeof(*told) + change->user.len);
    if (!told) {
        log_warn("presence.untold", "memory was out: a change of a user is not told by this node");
        return ERR_NO_MEMORY;
    }
    memcpy(told->name, change->user.ptr, change->user.len);
    told->change = *change;
    told->change.user = str_make(told->name, change->user.len);
    told->worker = &gateway->workers[change->user.len % gateway->worker_count];
    told->mail.run = run_told_user;
    worker_post(told->worker, &told->mail);
    return 0;
}

/* ---- the gateway's side ---- */

static bool follows_users(const struct settings *settings)
{
    for (size_t i = 0; i < settings->app_count; i++) {
        if (settings->apps[i].presence.enabled) {
            return true;
        }
    }
    return false;
}

struct follow {
    struct mail mail;
    struct gateway *gateway;
    bool is_on;
    uint64_t max_users;
};

static void run_follow(struct mail *mail)
{
    struct follow *follow = MAIL_OWNER(mail, struct follow, mail);
    presence_set(follow->gateway->cluster, follow->is_on, follow->max_users);
    mem_free(follow);
}

int gateway_follow_users(struct gateway *gateway, const struct settings *settings)
{
    struct follow *follow = mem_zalloc(sizeof(*follow));
    if (!follow) {
        return ERR_NO_MEMORY;
    }
    *follow = (struct follow){.gateway = gateway,
                              .is_on = follows_users(settings),
                              .max_users = settings->limits.presence_users};
    follow->mail.run = run_follow;
    post(gateway, &follow->mail);
    return 0;
}

int gateway_join_cluster(struct gateway *gateway)
{
    static const struct cluster_callbacks silent = {
        .describe = describe, .post = post, .on_change = on_change, .on_user = on_user};
    static const struct cluster_callbacks answering = {.describe = describe,
                                                       .post = post,
                                                       .on_ask = on_ask,
                                                       .on_change = on_change,
                                                       .on_user = on_user};
    struct cluster_options options = {.is_shared = gateway->options.engine->nodes,
                                      .boot = gateway->boot,
                                      .started_ms = gateway->started_ms,
                                      .node = str_of(gateway->node),
                                      .version = STR(TIDEGATE_VERSION)};
    const struct settings *settings = gateway->options.settings;
    int err = cluster_create(&gateway->cluster, gateway->hub, &options,
                             gateway->options.hooks.on_node_ask ? &answering : &silent, gateway);
    if (!err) {
        presence_set(gateway->cluster, follows_users(settings), settings->limits.presence_users);
    }
    return err;
}

static void run_leave(struct mail *mail)
{
    struct gateway *gateway = MAIL_OWNER(mail, struct gateway, leave);
    cluster_leave(gateway->cluster, clock_monotonic_ms());
}

void gateway_leave(struct gateway *gateway)
{
    gateway->leave.run = run_leave;
    post(gateway, &gateway->leave);
}

bool gateway_has_left(const struct gateway *gateway)
{
    return cluster_has_left(gateway->cluster);
}

const char *gateway_not_ready(struct gateway *gateway, char text[GATEWAY_WHY_BYTES])
{
    char reason[BUS_HEALTH_TEXT];
    if (atomic_load_explicit(&gateway->draining, memory_order_acquire)) {
        snprintf(text, GATEWAY_WHY_BYTES, "draining");
        return text;
    }
    if (!bus_health_is_up(&gateway->bus_health, reason)) {
        snprintf(text, GATEWAY_WHY_BYTES, "the bus is not up: %s", reason);
        return text;
    }
    return cluster_is_unready(gateway->cluster, text, GATEWAY_WHY_BYTES) ? text : NULL;
}
