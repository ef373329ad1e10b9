/* What must hold when everything has come to rest. */
#ifndef TIDEGATE_CORE_SIM_CHECK_TEST_HELP_H
#define TIDEGATE_CORE_SIM_CHECK_TEST_HELP_H

#include "core/sim_fate_test_help.h"

/* Whether nothing but what is in the logs decides what became of the client's groups. */
static inline bool sim_has_all_controls(const struct sim_client *client, uint32_t queue)
{
    uint32_t unsure = (SIM_LOSSES & ~(SIM_SMALL_WINDOWS | SIM_UNUSED_POSITIONS)) | SIM_AWAY_BROKERS;
    return !client->sim->out_of_memory && !(client->sim->fates & unsure) &&
           !sim_client_node(client)->starts_late[queue];
}

static inline bool sim_is_control_of(const struct sim_client *client, const struct sim_event *event,
                                     uint32_t queue)
{
    const struct sim_push *push = event->push < 0 ? NULL : &client->sim->pushes[event->push];
    return push && push->kind != EVENT_MESSAGE && !event->again && push->app == client->app &&
           sim_pos_compare(event->pos, client->fence[queue]) > 0;
}

static inline bool sim_changes_group(const struct sim_client *client, const struct sim_event *event,
                                     uint32_t group)
{
    const struct sim_push *push = &client->sim->pushes[event->push];
    return push->kind != EVENT_KICK && client->user >= 0 &&
           atoi(push->subject + 1) == client->user &&
           (uint32_t)atoi(push->targets[0].name + 5) == group;
}

/* Groups that only the API touches: the last join or part after the start decides. */
static inline void sim_check_api_group(const struct sim_client *client, uint32_t group)
{
    uint32_t queue = sim_group_queue(client, group);
    const struct sim_log *log = &client->sim->logs[queue];
    bool expected = false;
    for (uint32_t i = 0; i < log->event_count; i++) {
        const struct sim_event *event = &log->events[i];
        if (sim_is_control_of(client, event, queue) && sim_changes_group(client, event, group)) {
            expected = client->sim->pushes[event->push].kind == EVENT_JOIN;
        }
    }
    SIM_CHECK(client->sim,
              !sim_has_all_controls(client, queue) || client->member[group] == expected,
              "client %d: a %s of %u was lost", sim_client_number(client),
              expected ? "join" : "part", group);
}

static inline void sim_check_kicks(const struct sim_client *client, uint32_t queue)
{
    const struct sim_log *log = &client->sim->logs[queue];
    for (uint32_t i = 0; i < log->event_count; i++) {
        const struct sim_event *event = &log->events[i];
        bool kicks = sim_is_control_of(client, event, queue) &&
                     client->sim->pushes[event->push].kind == EVENT_KICK &&
                     sim_may_come(client, event, queue);
        SIM_CHECK(client->sim, !kicks || !sim_has_all_controls(client, queue),
                  "client %d: a kick was lost", sim_client_number(client));
    }
}

static inline void sim_check_client(struct sim_client *client)
{
    struct sim *sim = client->sim;
    const struct hub *hub = sim_client_node(client)->hub;
    for (uint32_t q = 0; q < sim->queues; q++) {
        SIM_CHECK(sim, bus_pos_compare(client->pos[q], hub->heads.pos[q]) == 0,
                  "client %d does not know where queue %u is", sim_client_number(client), q);
        sim_advance(client, q, (struct bus_pos){UINT64_MAX - 1, 0}, true, "end");
        sim_check_kicks(client, q);
    }
    for (uint32_t g = 0; g < SIM_GROUPS; g++) {
        SIM_CHECK(sim, !client->join_tag[g], "a join was not answered");
        if (g >= SIM_GROUPS - SIM_API_GROUPS) {
            sim_check_api_group(client, g);
        }
    }
}

static inline void sim_check_node(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    for (uint32_t q = 0; q < sim->queues; q++) {
        struct bus_pos end = sim_next_pos(&sim->logs[q], sim->logs[q].count);
        SIM_CHECK(sim, node->hub->heads.pos[q].hi == end.hi - SIM_HISTORIES,
                  "node %u has not read queue %u to its end", node->index, q);
    }
    SIM_CHECK(sim,
              sim->out_of_memory ||
                  atomic_load(&hub_get_stats(node->hub)->events_repeated) == node->repeats,
              "node %u dropped other repeats than there were", node->index);
}

static inline void sim_check_gaps(const struct sim *sim)
{
    uint64_t told = 0;
    for (int why = 0; why < 4; why++) {
        told += sim->gaps[why];
    }
    SIM_CHECK(sim, told == 0 || sim->out_of_memory || sim->fates & SIM_LOSSES,
              "%u gaps, and nothing was lost", (unsigned)told);
}

/* A join that was lost leaves its pin, and its key. */
static inline void sim_check_tables(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    bool may_lose = sim->out_of_memory || sim_any_history_ended(sim);
    SIM_CHECK(sim, may_lose || node->hub->interest.count == 0, "%u keys of nobody",
              node->hub->interest.count);
    SIM_CHECK(sim, may_lose || node->hub->pins.count == 0, "%u pins are left",
              node->hub->pins.count);
    for (uint32_t i = 0; i < sim->shards; i++) {
        const struct shard *shard = node->workers[i].shard;
        SIM_CHECK(sim,
                  shard->users.count == 0 && shard->groups.count == 0 && shard->members.used == 0 &&
                      shard->sessions.used == 0 && shard->strays == 0,
                  "the tables are not empty");
    }
}

static inline void sim_check(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        sim_check_node(sim->nodes[i]);
    }
    for (uint32_t i = 0; i < sim->client_count; i++) {
        sim_check_client(&sim->clients[i]);
    }
    for (int i = 0; i < sim->push_count; i++) {
        sim_check_push(sim, i);
    }
    sim_check_gaps(sim);
}

#endif
