/* The node among others: what the cluster (core/cluster.h) asks of the gateway, and the gateway of
 * it. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/gateway_private.h"

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

/* ---- the gateway's side ---- */

int gateway_join_cluster(struct gateway *gateway)
{
    static const struct cluster_callbacks silent = {
        .describe = describe, .post = post, .on_change = on_change};
    static const struct cluster_callbacks answering = {
        .describe = describe, .post = post, .on_ask = on_ask, .on_change = on_change};
    struct cluster_options options = {.is_shared = gateway->options.engine->nodes,
                                      .boot = gateway->boot,
                                      .started_ms = gateway->started_ms,
                                      .node = str_of(gateway->node),
                                      .version = STR(TIDEGATE_VERSION)};
    return cluster_create(&gateway->cluster, gateway->hub, &options,
                          gateway->options.hooks.on_node_ask ? &answering : &silent, gateway);
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
