/* A run of the simulated cluster from its seed to its end. SIM_SEED runs one seed alone,
 * SIM_SEEDS that many. */
#ifndef TIDEGATE_CORE_SIM_RUN_TEST_HELP_H
#define TIDEGATE_CORE_SIM_RUN_TEST_HELP_H

#include "core/sim_check_test_help.h"

#if defined(__SANITIZE_THREAD__)
enum { SIM_SEEDS = 150 };
#elif defined(__SANITIZE_ADDRESS__)
enum { SIM_SEEDS = 500 };
#else
enum { SIM_SEEDS = 2000 };
#endif

/* What a test asks for. */
struct sim_kind {
    uint32_t max_nodes;
    bool out_of_memory;
    uint32_t fates; /* always */
    uint32_t maybe; /* each in some seeds */
};

static inline void sim_create_client(struct sim *sim, uint32_t index)
{
    struct sim_client *client = &sim->clients[index];
    client->sim = sim;
    client->app = sim_chance(sim, 80) ? 0 : 1;
    client->user = sim_chance(sim, 80) ? (int)sim_roll(sim, SIM_USERS) : -1;
    snprintf(client->origin_tag, sizeof(client->origin_tag), "t%u", index);
}

/* In some seeds nothing may be lost, whatever else happens. */
static inline void sim_choose_fates(struct sim *sim, const struct sim_kind *kind)
{
    bool is_lossless = sim_chance(sim, 25);
    sim->fates = kind->fates;
    for (uint32_t fate = 1; fate <= SIM_TWO_SECRETS; fate <<= 1) {
        sim->fates |= kind->maybe & fate && sim_chance(sim, 35) ? fate : 0;
    }
    if (is_lossless) {
        sim->fates &= kind->fates | ~SIM_LOSSES;
    }
}

static inline struct sim *sim_create(uint64_t seed, const struct sim_kind *kind)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    sim->seed = seed;
    sim->dice = seed * 0x9e3779b97f4a7c15u + 0x1234567;
    sim->out_of_memory = kind->out_of_memory;
    sim->now_ms = 1000000;
    sim->epoch = 1;
    sim->broker_is_up[0] = sim->broker_is_up[1] = true;
    for (int i = 0; i < 10; i++) {
        sim_roll(sim, 2);
    }
    sim_choose_fates(sim, kind);
    sim->node_count = 1 + sim_roll(sim, kind->max_nodes);
    sim->queues = 1 + sim_roll(sim, SIM_QUEUES);
    sim->shards = 1 + sim_roll(sim, SIM_SHARDS);
    sim->client_count = 3 + sim_roll(sim, SIM_CLIENTS - 3);
    sim->clients = calloc(sim->client_count, sizeof(*sim->clients));
    for (uint32_t i = 0; i < sim->client_count; i++) {
        sim_create_client(sim, i);
    }
    for (uint32_t i = 0; i < sim->node_count; i++) {
        sim_node_starts(sim, i, &sim_ops);
    }
    return sim;
}

static inline void sim_destroy(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (sim->nodes[i]) {
            sim_node_ends(sim->nodes[i]);
        }
    }
    sim_logs_destroy(sim);
    free(sim->clients);
    free(sim);
}

/* Steps. */

static inline void sim_step_worker(struct sim_worker *worker)
{
    sim_worker_takes_mail(worker);
    if (sim_worker_is_due(worker)) {
        sim_worker_runs(worker);
    }
}

static inline void sim_step_node(struct sim *sim, struct sim_node *node, uint32_t die)
{
    struct sim_worker *worker = &node->workers[sim_roll(sim, sim->shards)];
    if (die < 20) {
        sim_push_something(sim, node);
    } else if (die < 40) {
        sim_hub_takes_mail(worker);
    } else if (die < 54) {
        sim_hub_flushes(node);
    } else if (die < 59) {
        sim_hub_ticks(node);
    } else {
        sim_step_worker(worker);
    }
}

static inline void sim_step(struct sim *sim)
{
    uint32_t die = sim_roll(sim, 100);
    struct sim_node *node = sim->nodes[sim_roll(sim, sim->node_count)];
    sim->now_ms += sim_chance(sim, 5) ? sim_roll(sim, 400) : sim_roll(sim, 3);
    sim_revive(sim);
    if (die < 20) {
        sim_client_acts(&sim->clients[sim_roll(sim, sim->client_count)]);
    } else if (die < 22) {
        sim_write_unsent(sim);
    } else if (die < 24) {
        sim_late_arrives(sim);
    } else if (die < 27) {
        sim_strike(sim);
    } else if (die < 28) {
        sim_log_add(sim, sim_roll(sim, sim->queues), STR("")); /* what is no record */
    } else if (node && node->stopped_until_ms <= sim->now_ms) {
        sim_step_node(sim, node, sim_roll(sim, 80));
    }
}

/* The end: everything under way comes to rest. */

static inline bool sim_quiet_round(struct sim_node *node)
{
    bool more = sim_hub_flushes(node);
    for (uint32_t i = 0; i < node->sim->shards; i++) {
        struct sim_worker *worker = &node->workers[i];
        while (sim_worker_takes_mail(worker) || sim_hub_takes_mail(worker)) {
            more = true;
        }
        if (sim_worker_is_due(worker)) {
            sim_worker_runs(worker);
            more = true;
        }
        shard_flush(worker->shard);
        more = more || worker->outbox_count > 0 || worker->ready;
    }
    return more;
}

static inline void sim_come_to_rest(struct sim *sim)
{
    bool more = true;
    for (int round = 0; more; round++) {
        SIM_CHECK(sim, round < 100000, "it never comes to rest");
        more = false;
        for (uint32_t i = 0; i < sim->node_count; i++) {
            more = sim_quiet_round(sim->nodes[i]) || more;
        }
    }
}

static inline void sim_calm_down(struct sim *sim)
{
    sim->is_quiet = true;
    sim_revive(sim);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        sim->nodes[i]->stopped_until_ms = 0;
        sim->nodes[i]->pace = 100;
    }
    for (uint32_t i = 0; i < sim->client_count; i++) {
        if (sim->clients[i].state == SIM_HERE) {
            sim_client_reads(&sim->clients[i]);
        }
    }
    while (sim->late) {
        sim_late_arrives(sim);
    }
}

/* Nodes tell each other all the time that they are there, on every queue. */
static inline void sim_send_beacons(struct sim *sim)
{
    for (uint32_t q = 0; q < sim->queues; q++) {
        sim_log_add(sim, q, STR(""));
    }
}

static inline bool sim_bring_all_back(struct sim *sim)
{
    bool all = true;
    for (uint32_t i = 0; i < sim->client_count; i++) {
        struct sim_client *client = &sim->clients[i];
        if (client->state == SIM_AWAY || client->state == SIM_CONDEMNED) {
            sim_client_acts(client);
        }
        all = all && client->state == SIM_HERE && sim_session(client)->state == SESSION_LIVE;
    }
    return all;
}

static inline bool sim_pushes_are_done(const struct sim *sim)
{
    for (int i = 0; i < sim->push_count; i++) {
        if (!sim->pushes[i].done) {
            return false;
        }
    }
    return true;
}

static inline void sim_tick(struct sim *sim)
{
    sim->now_ms += 50;
    sim_come_to_rest(sim);
    sim_write_unsent(sim);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        hub_tick(sim->nodes[i]->hub, sim->now_ms);
    }
}

/* All clients come back and are up to date. */
static inline void sim_settle(struct sim *sim)
{
    bool settled = false;
    sim_calm_down(sim);
    for (int ticks = 0; ticks < 5 || !settled; ticks++) {
        SIM_CHECK(sim, ticks < 200, "it never settles");
        sim_send_beacons(sim);
        settled = sim_bring_all_back(sim) && sim_pushes_are_done(sim);
        sim_tick(sim);
    }
    for (uint32_t i = 0; i < sim->node_count; i++) {
        hub_send_heads(sim->nodes[i]->hub);
    }
    sim_come_to_rest(sim);
    sim_write_unsent(sim);
}

static inline void sim_close(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->client_count; i++) {
        sim_client_is_gone(&sim->clients[i], sim_chance(sim, 50));
    }
    for (int ticks = 0; ticks < 5; ticks++) {
        sim_tick(sim);
    }
    sim_come_to_rest(sim);
    for (uint32_t i = 0; i < sim->node_count; i++) {
        sim_check_tables(sim->nodes[i]);
    }
}

/* Many of them. */

static struct sim sim_totals;

static inline void sim_add_to_totals(const struct sim *sim)
{
    for (int why = 0; why < 4; why++) {
        sim_totals.gaps[why] += sim->gaps[why];
    }
    sim_totals.delivered += sim->delivered;
    sim_totals.resumes += sim->resumes;
    sim_totals.kicks += sim->kicks;
    sim_totals.strays += sim->strays;
    sim_totals.deaths += sim->deaths;
    sim_totals.holds_given_up += sim->holds_given_up;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        sim_totals.repeats += sim->nodes[i]->repeats;
        for (uint32_t w = 0; w < sim->shards; w++) {
            sim_totals.catch_ups += sim->nodes[i]->workers[w].shard->stats.catch_ups;
        }
    }
}

static inline void sim_run_seed(uint64_t seed, const struct sim_kind *kind)
{
    int64_t before = mem_accounted_total();
    struct sim *sim = sim_create(seed, kind);
    uint32_t steps = (200 + sim_roll(sim, 800)) * (1 + sim->node_count) / 2;
    for (uint32_t i = 0; i < steps; i++) {
        sim_step(sim);
    }
    sim_settle(sim);
    sim_check(sim);
    sim_close(sim);
    sim_add_to_totals(sim);
    sim_destroy(sim);
    assert_int_equal(mem_accounted_total(), before);
}

static inline uint64_t sim_number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

#define SIM_COUNT(name) (unsigned long long)sim_totals.name

static inline void sim_run_seeds(const struct sim_kind *kind)
{
    uint64_t alone = sim_number_from("SIM_SEED", 0);
    uint64_t first = alone ? alone : sim_number_from("SIM_FIRST", 1);
    uint64_t count = alone ? 1 : sim_number_from("SIM_SEEDS", SIM_SEEDS);
    sim_totals = (struct sim){0};
    for (uint64_t i = 0; i < count; i++) {
        sim_run_seed(first + i, kind);
    }
    printf("%llu seeds: %llu messages, %llu resumes, %llu catch-ups, %llu kicks, %llu strays, "
           "%llu repeats, %llu deaths, %llu holds given up; gaps: %llu expired, %llu overflow, "
           "%llu bus, %llu epoch\n",
           (unsigned long long)count, SIM_COUNT(delivered), SIM_COUNT(resumes),
           SIM_COUNT(catch_ups), SIM_COUNT(kicks), SIM_COUNT(strays), SIM_COUNT(repeats),
           SIM_COUNT(deaths), SIM_COUNT(holds_given_up), SIM_COUNT(gaps[SESSION_GAP_EXPIRED]),
           SIM_COUNT(gaps[SESSION_GAP_OVERFLOW]), SIM_COUNT(gaps[SESSION_GAP_BUS]),
           SIM_COUNT(gaps[SESSION_GAP_EPOCH]));
}

#endif
