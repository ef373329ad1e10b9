/* What clients do: come, go, join and leave groups, and read slowly. */
#ifndef TIDEGATE_CORE_SIM_ACTS_TEST_HELP_H
#define TIDEGATE_CORE_SIM_ACTS_TEST_HELP_H

#include "core/sim_told_test_help.h"

static inline struct session *sim_session(const struct sim_client *client)
{
    struct shard *shard = sim_client_worker(client)->shard;
    struct session *session = shard_session_find(shard, client->slot, client->generation);
    SIM_CHECK(client->sim, session != NULL, "a session went by itself");
    return session;
}

static inline void sim_client_forget_session(struct sim_client *client)
{
    memset(client->member, 0, sizeof(client->member));
    memset(client->join_tag, 0, sizeof(client->join_tag));
    memset(client->seen_live, 0, sizeof(client->seen_live));
    memset(client->last_arrival, 0, sizeof(client->last_arrival));
    client->is_slow = client->starts_anew = client->has_met_a_gap = false;
}

/* Groups that it joins with the start: those that it may join by itself. */
static inline int sim_client_join_first(struct sim_client *client, struct shard *shard,
                                        struct session *session)
{
    for (uint32_t g = 0; g < SIM_GROUPS - SIM_API_GROUPS; g++) {
        char name[12];
        if (sim_chance(client->sim, 40)) {
            int err = shard_join(shard, session, sim_group_name(name, g), 0);
            if (err) {
                return err;
            }
            client->member[g] = client->member_is_whole[g] = true;
            client->member_is_vague[g] = false;
        }
    }
    return 0;
}

static inline int sim_client_start(struct sim_client *client, struct shard *shard,
                                   struct session *session)
{
    struct sim *sim = client->sim;
    char user[8];
    snprintf(user, sizeof(user), "u%d", client->user);
    int err = client->user >= 0 ? shard_session_set_user(shard, session, str_of(user)) : 0;
    err = err ? err : sim_client_join_first(client, shard, session);
    struct session_resume resume = {.epoch = ""};
    memcpy(resume.epoch, client->epoch, sizeof(resume.epoch));
    for (uint32_t q = 0; q < sim->queues; q++) {
        resume.has[q] = true;
        resume.seen.pos[q] = client->resume_at[q] = client->pos[q];
    }
    return err ? err : shard_session_start(shard, session, client->has_resume ? &resume : NULL);
}

/* A node that takes clients; NULL when it does not. */
static inline struct sim_node *sim_open_node(struct sim *sim, uint32_t index)
{
    struct sim_node *node = sim->nodes[index];
    bool open = node && node->stopped_until_ms <= sim->now_ms && hub_bus_was_up(node->hub);
    return open ? node : NULL;
}

static inline void sim_client_arrives(struct sim_client *client)
{
    struct sim *sim = client->sim;
    client->node = sim_roll(sim, sim->node_count);
    client->worker = sim_roll(sim, sim->shards);
    if (!sim_open_node(sim, client->node)) {
        return;
    }
    struct shard *shard = sim_client_worker(client)->shard;
    sim_arm(sim);
    struct session *session = shard_session_create(shard, client->app, 0);
    if (!session) {
        sim_disarm();
        return;
    }
    session->fd = sim_client_number(client);
    session->origin_hash = shard_origin_hash(shard, str_of(client->origin_tag));
    client->slot = shard_session_slot(shard, session);
    client->generation = session->generation;
    client->started_ms = sim->now_ms;
    struct sid sid;
    shard_session_sid(shard, session, &sid);
    sid_format(client->sid, &sim_sid_key, &sid);
    sim_client_forget_session(client);
    client->state = SIM_STARTING;
    int err = sim_client_start(client, shard, session);
    sim_disarm();
    if (err) {
        client->state = SIM_CONDEMNED;
    }
}

static inline void sim_client_is_gone(struct sim_client *client, bool says_goodbye)
{
    struct shard *shard = sim_client_worker(client)->shard;
    struct session *session = sim_session(client);
    if (says_goodbye) {
        shard_session_end(shard, session);
    }
    shard_session_free(shard, session);
    client->state = SIM_AWAY;
}

/* One that was kicked, or whose start never came, has what it had before. */
static inline void sim_client_leaves(struct sim_client *client)
{
    bool has_pos = client->state == SIM_HERE || client->has_resume;
    client->has_resume = has_pos && sim_chance(client->sim, 80);
    sim_client_is_gone(client, sim_chance(client->sim, 50));
}

static inline void sim_client_joins(struct sim_client *client)
{
    struct sim *sim = client->sim;
    struct shard *shard = sim_client_worker(client)->shard;
    uint32_t group = sim_roll(sim, SIM_GROUPS - SIM_API_GROUPS);
    char name[12];
    if (client->join_tag[group]) {
        return;
    }
    uint32_t tag = ++sim->next_tag;
    sim_arm(sim);
    int err = shard_join(shard, sim_session(client), sim_group_name(name, group), tag);
    sim_disarm();
    if (!err) {
        client->join_tag[group] = tag;
    } else {
        SIM_CHECK(sim, (err == ERR_EXISTS) == client->member[group] || err == ERR_NO_MEMORY,
                  "join refused");
    }
}

static inline void sim_client_parts(struct sim_client *client)
{
    struct sim *sim = client->sim;
    struct shard *shard = sim_client_worker(client)->shard;
    uint32_t group = sim_roll(sim, SIM_GROUPS - SIM_API_GROUPS);
    char name[12];
    int err = shard_leave(shard, sim_session(client), sim_group_name(name, group));
    bool was = client->member[group] || client->join_tag[group];
    SIM_CHECK(sim, err == 0 || err == ERR_NOT_FOUND, "leave failed");
    SIM_CHECK(sim, err != 0 || was, "left what it was not in");
    SIM_CHECK(sim, err == 0 || !client->member[group], "could not leave");
    client->member[group] = false;
}

static inline void sim_client_reads(struct sim_client *client)
{
    struct sim_worker *worker = sim_client_worker(client);
    client->is_slow = false;
    shard_replay_continue(worker->shard, sim_session(client));
    worker->ready = true;
}

static inline void sim_client_does_something(struct sim_client *client)
{
    switch (sim_roll(client->sim, 6)) {
    case 0: sim_client_leaves(client); break;
    case 1: sim_client_parts(client); break;
    case 2:
    case 3: sim_client_joins(client); break;
    default: sim_client_reads(client);
    }
}

static inline void sim_client_flushes(const struct sim_client *client)
{
    if (sim_client_node(client)) {
        sim_arm(client->sim);
        shard_flush(sim_client_worker(client)->shard);
        sim_disarm();
    }
}

static inline void sim_client_acts(struct sim_client *client)
{
    struct sim *sim = client->sim;
    if (client->state != SIM_AWAY && !sim_open_node(sim, client->node)) {
        return; /* the node is stopped */
    }
    switch (client->state) {
    case SIM_AWAY: sim_client_arrives(client); break;
    case SIM_CONDEMNED: sim_client_leaves(client); break;
    case SIM_STARTING:
        if (sim_chance(sim, 10)) {
            sim_client_leaves(client);
        }
        break;
    case SIM_HERE: sim_client_does_something(client); break;
    }
    sim_client_flushes(client);
}

#endif
