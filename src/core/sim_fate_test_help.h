/* What happens to the simulated cluster from outside: nodes die, come back and stop for a while,
 * brokers go away, logs are trimmed or begin another history. */
#ifndef TIDEGATE_CORE_SIM_FATE_TEST_HELP_H
#define TIDEGATE_CORE_SIM_FATE_TEST_HELP_H

#include "core/sim_push_test_help.h"

static inline void sim_kill(struct sim *sim, uint32_t index)
{
    struct sim_node *node = sim->nodes[index];
    for (uint32_t i = 0; i < sim->client_count; i++) {
        struct sim_client *client = &sim->clients[i];
        if (client->state != SIM_AWAY && client->node == index) {
            client->has_resume = client->has_resume || client->state == SIM_HERE;
            sim_client_is_gone(client, false);
        }
    }
    sim->deaths++;
    sim->back_at_ms[index] = sim->now_ms + sim_roll(sim, 1000);
    sim_node_ends(node);
}

static inline void sim_revive(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (!sim->nodes[i] && (sim->is_quiet || sim->back_at_ms[i] <= sim->now_ms)) {
            sim_node_starts(sim, i, &sim_ops);
        }
    }
    for (uint32_t b = 0; b < SIM_BROKERS; b++) {
        sim->broker_is_up[b] = sim->broker_is_up[b] || sim->is_quiet ||
                               sim->broker_back_at_ms[b] <= sim->now_ms;
    }
}

/* The records of before are gone at once. Its positions are low again, or not. */
static inline bool sim_begin_history(struct sim *sim, uint32_t queue)
{
    struct sim_log *log = &sim->logs[queue];
    if (log->history == SIM_HISTORIES - 1) {
        return false;
    }
    log->history++;
    log->number = log->base = sim_chance(sim, 70) ? 0 : sim_roll(sim, 100);
    log->begin = log->kept = log->count;
    return true;
}

static inline void sim_begin_epoch(struct sim *sim)
{
    for (uint32_t q = 0; q < sim->queues; q++) {
        if (sim->logs[q].history == SIM_HISTORIES - 1) {
            return;
        }
    }
    sim->epoch++;
    for (uint32_t q = 0; q < sim->queues; q++) {
        sim_begin_history(sim, q);
    }
}

static inline void sim_trim(struct sim *sim, uint32_t queue)
{
    struct sim_log *log = &sim->logs[queue];
    uint64_t oldest_ms = sim->now_ms + SIM_WALL_OFFSET_MS - 1000;
    while (log->kept < log->count && log->records[log->kept]->wall_ms < oldest_ms) {
        log->kept++;
    }
}

static inline void sim_lose_node(struct sim *sim)
{
    uint32_t node = sim_roll(sim, sim->node_count);
    if (sim->nodes[node] && sim->boots < SIM_BOOTS - SIM_NODES) {
        sim_kill(sim, node);
    }
}

/* Now and then a node goes with it, and comes back first. */
static inline void sim_lose_broker(struct sim *sim)
{
    uint32_t broker = sim_roll(sim, SIM_BROKERS);
    sim->broker_is_up[broker] = false;
    sim->broker_back_at_ms[broker] = sim->now_ms + 50 + sim_roll(sim, 4000);
    if (sim->fates & SIM_DEATHS && sim_chance(sim, 50)) {
        sim_lose_node(sim);
    }
}

static inline void sim_stop(struct sim *sim, struct sim_node *node)
{
    if (node) {
        node->stopped_until_ms = sim->now_ms + sim_roll(sim, 2000);
    }
}

/* One thing at a time; which ones at all, the seed has decided. */
static inline void sim_strike(struct sim *sim)
{
    uint32_t fate = 1u << sim_roll(sim, 11);
    switch (sim->fates & fate) {
    case SIM_DEATHS: sim_lose_node(sim); break;
    case SIM_STOPS: sim_stop(sim, sim->nodes[sim_roll(sim, sim->node_count)]); break;
    case SIM_AWAY_BROKERS: sim_lose_broker(sim); break;
    case SIM_TRIMMED_LOGS: sim_trim(sim, sim_roll(sim, sim->queues)); break;
    case SIM_NEW_HISTORIES:
        if (sim_chance(sim, 20)) {
            sim_begin_history(sim, sim_roll(sim, sim->queues));
        }
        break;
    case SIM_NEW_EPOCHS:
        if (sim_chance(sim, 20)) {
            sim_begin_epoch(sim);
        }
        break;
    default: break;
    }
}

#endif
