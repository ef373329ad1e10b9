/* What else clients are told: their start, joins and parts, gaps, positions, kicks. */
#ifndef TIDEGATE_CORE_SIM_TOLD_TEST_HELP_H
#define TIDEGATE_CORE_SIM_TOLD_TEST_HELP_H

#include "core/sim_client_test_help.h"

/* Only for a reason: the bus has, or may have, another history, or the node stayed behind. */
static inline void sim_check_refusal(struct sim_client *client, const struct shard *shard)
{
    struct sim *sim = client->sim;
    bool has_other = false;
    for (uint32_t q = 0; q < sim->queues; q++) {
        struct bus_pos here = shard->lanes[q].drained;
        has_other = has_other || (shard_queue_is_known(shard, q) &&
                                  sim_history_of(here) != sim_history_of(client->resume_at[q]));
    }
    bool waited = sim->now_ms - client->started_ms >= shard->options.hold_ms;
    SIM_CHECK(sim, !client->is_of_epoch || has_other || waited, "client %d was refused its resume",
              sim_client_number(client));
    sim->holds_given_up += client->is_of_epoch && !has_other;
}

/* A queue that begins another history without another epoch can't tell positions of the old one
 * from its own once it is as far: what is behind them by number comes. */
static inline void sim_start_in_history(struct sim_client *client, uint32_t queue, uint64_t hi,
                                        uint32_t history)
{
    uint64_t passed = hi - (hi + SIM_HISTORIES - history) % SIM_HISTORIES;
    struct bus_pos before = {passed - 1, UINT64_MAX};
    sim_skip(client, queue, before);
    client->next_event[queue] = sim_event_after_number(&client->sim->logs[queue], hi, history);
}

static inline void sim_start_at(struct sim_client *client, const struct shard *shard,
                                uint32_t queue, struct bus_pos from)
{
    uint32_t here = sim_history_of(shard->lanes[queue].drained);
    bool is_other = shard_queue_is_known(shard, queue) && sim_history_of(from) != here;
    client->next_event[queue] = 0;
    if (is_other && client->is_of_epoch && from.hi >= SIM_HISTORIES) {
        sim_start_in_history(client, queue, from.hi, here);
    } else {
        sim_skip(client, queue, from);
    }
}

/* Of a queue that is not known at the start, what is read back comes as if it were new. */
static inline void sim_start_queue(struct sim_client *client, const struct shard *shard,
                                   uint32_t queue, struct bus_pos from, bool resumes)
{
    bool known = shard_queue_is_known(shard, queue);
    client->is_repeated[queue] = !known;
    client->fence[queue] = shard->lanes[queue].drained;
    sim_start_at(client, shard, queue, from);
    client->is_unowed[queue] = !known && !resumes;
    if (client->is_unowed[queue]) {
        client->next_event[queue] = client->sim->logs[queue].event_count;
    }
    client->floor[queue] = known ? client->pos[queue] : (struct bus_pos){0, 0};
    for (uint32_t g = 0; g < SIM_GROUPS; g++) {
        if (client->member[g] && sim_group_queue(client, g) == queue) {
            client->member_from[g] = client->floor[queue];
        }
    }
}

static inline void sim_on_start(struct shard *shard, struct session *session,
                                enum session_resumed resumed, const struct hub_heads *pos)
{
    struct sim_client *client = sim_client_of(shard, session);
    struct sim *sim = client->sim;
    if (client->state == SIM_CONDEMNED) {
        return;
    }
    bool resumes = client->has_resume && resumed != SESSION_RESUMED_NONE;
    SIM_CHECK(sim, client->state == SIM_STARTING, "started twice");
    SIM_CHECK(sim, client->has_resume || resumed == SESSION_RESUMED_NONE, "resumed from nowhere");
    client->state = SIM_HERE;
    client->starts_anew = client->has_resume && !resumes;
    client->is_of_epoch = str_equal(str_of(client->epoch), shard_epoch(shard));
    if (client->starts_anew) {
        sim_check_refusal(client, shard);
    }
    sim->resumes += resumes;
    snprintf(client->epoch, sizeof(client->epoch), "%.*s", STR_ARG(shard_epoch(shard)));
    for (uint32_t q = 0; q < sim->queues; q++) {
        bool known = shard_queue_is_known(shard, q);
        struct bus_pos here = known ? pos->pos[q] : (struct bus_pos){0, 0};
        struct bus_pos from = resumes ? client->resume_at[q] : here;
        bool same = !known || bus_pos_compare(from, pos->pos[q]) == 0;
        SIM_CHECK(sim, same || resumed == SESSION_RESUMED_PARTIAL, "resumed fully elsewhere");
        sim_start_queue(client, shard, q, from, resumes);
    }
}

static inline bool sim_joins_client(const struct sim_client *client, uint32_t group,
                                    const struct message *message)
{
    const struct sim_push *push = &client->sim->pushes[atoi(message->event.type.ptr)];
    return push->kind == EVENT_JOIN && push->app == client->app && client->user >= 0 &&
           atoi(push->subject + 1) == client->user &&
           (uint32_t)atoi(push->targets[0].name + 5) == group;
}

/* A join by the API that the fence of the client's own overtook in line: it counts from that event.
 */
static inline struct bus_pos sim_overtaken(const struct sim_client *client, uint32_t group,
                                           const struct lane *lane)
{
    for (uint32_t i = 0; i < lane->count; i++) {
        const struct message *message = lane->items[(lane->head + i) & (lane->cap - 1)].message;
        if (sim_joins_client(client, group, message) &&
            sim_pos_compare(message->pos, client->fence[message->queue]) > 0) {
            return message->pos;
        }
    }
    return lane->drained;
}

/* From where the membership counts. One by the API whose event is astray, or may be, is vague. */
static inline void sim_put_in_force(struct sim_client *client, const struct shard *shard,
                                    uint32_t group, bool by_api)
{
    const struct lane *lane = &shard->lanes[sim_group_queue(client, group)];
    const struct message *message = lane->cast.item.message;
    bool is_home = !by_api || (message && sim_joins_client(client, group, message));
    client->member[group] = true;
    client->member_is_whole[group] = false;
    client->member_is_vague[group] = !is_home || shard->strays > 0;
    client->member_from[group] = client->member_is_vague[group] ? (struct bus_pos){0, 0}
                                 : by_api                       ? message->pos
                                          : sim_overtaken(client, group, lane);
}

/* Whether there is more to do: the client is in the group only now. */
static inline bool sim_takes_answer(struct sim_client *client, int group, uint32_t tag)
{
    uint32_t g = 0;
    while (g < SIM_GROUPS && client->join_tag[g] != tag) {
        g++;
    }
    SIM_CHECK(client->sim, g < SIM_GROUPS, "a join was answered twice");
    SIM_CHECK(client->sim, group < 0 || (uint32_t)group == g, "joined another group");
    client->join_tag[g] = 0;
    return group >= 0 && !client->member[group]; /* or gone, or in force already */
}

static inline void sim_on_joined(struct shard *shard, struct session *session, struct str name,
                                 uint32_t tag)
{
    struct sim_client *client = sim_client_of(shard, session);
    int group = sim_group_of(name);
    if (client->state == SIM_CONDEMNED) {
        return;
    }
    SIM_CHECK(client->sim, client->state == SIM_HERE, "joined before the start");
    if (tag && !sim_takes_answer(client, group, tag)) {
        return;
    }
    SIM_CHECK(client->sim, group >= 0 && !client->member[group], "joined twice");
    sim_put_in_force(client, shard, (uint32_t)group, tag == 0);
}

static inline void sim_on_left(struct shard *shard, struct session *session, struct str name)
{
    struct sim_client *client = sim_client_of(shard, session);
    int group = sim_group_of(name);
    SIM_CHECK(client->sim,
              client->state == SIM_CONDEMNED || client->member[group] || client->join_tag[group],
              "left a group it was not in");
    client->member[group] = false;
}

/* Gaps. */

static inline bool sim_gap_has_reason(const struct sim_client *client, uint32_t queue,
                                      enum session_gap_why why)
{
    const struct sim_node *node = sim_client_node(client);
    bool evicted = atomic_load(&hub_get_stats(node->hub)->evicted) > 0;
    bool lacks = evicted || node->holes[queue] > 0 || node->starts_late[queue];
    switch (why) {
    case SESSION_GAP_EXPIRED: return lacks || client->sim->out_of_memory;
    case SESSION_GAP_OVERFLOW: return lacks || client->sim->out_of_memory;
    case SESSION_GAP_BUS: return node->lost[queue] > 0;
    case SESSION_GAP_EPOCH: return client->sim->logs[queue].history > 0;
    }
    return false;
}

/* What the bus did is told as such, unless the worker had begun to read before it heard of it. */
static inline bool sim_gap_has_other_reason(const struct sim_client *client, uint32_t queue,
                                            struct bus_pos to, enum session_gap_why why)
{
    const struct sim_node *node = sim_client_node(client);
    return to.hi > 0 && bus_pos_compare(to, node->jumped_to[queue]) == 0 &&
           why != node->jumped_why[queue] && why != SESSION_GAP_OVERFLOW;
}

/* The gap of a resume that was refused. */
static inline void sim_on_whole_gap(struct sim_client *client, enum session_gap_why why)
{
    SIM_CHECK(client->sim, client->starts_anew && why == SESSION_GAP_EPOCH, "another epoch's gap");
    client->starts_anew = false;
}

/* One who comes back while its worker still has to hear of the new history may get some of that
 * before it is told, and then once more. */
static inline void sim_on_gap(struct shard *shard, struct session *session, uint32_t queue,
                              struct bus_pos from, struct bus_pos to, enum session_gap_why why)
{
    struct sim_client *client = sim_client_of(shard, session);
    struct sim *sim = client->sim;
    if (client->state == SIM_CONDEMNED) {
        return;
    }
    client->has_met_a_gap = true;
    sim->gaps[why]++;
    if (queue == SESSION_ALL_QUEUES) {
        sim_on_whole_gap(client, why);
        return;
    }
    SIM_CHECK(sim, queue < sim->queues, "a gap nowhere");
    bool is_empty = sim_pos_compare(from, to) >= 0; /* or begins with what another client knows */
    SIM_CHECK(sim, !is_empty || why == SESSION_GAP_EPOCH, "an empty gap");
    SIM_CHECK(sim, sim_gap_has_reason(client, queue, why), "a gap in queue %u for no reason (%d)",
              queue, why);
    SIM_CHECK(sim,
              session->state != SESSION_LIVE || !sim_gap_has_other_reason(client, queue, to, why),
              "a gap in queue %u for another reason (%d)", queue, why);
    sim_advance(client, queue, is_empty ? to : from, true, "gap");
    bool goes_back = sim_pos_compare(to, client->floor[queue]) <= 0;
    SIM_CHECK(sim, !goes_back || why == SESSION_GAP_EPOCH, "a gap goes back");
    client->is_repeated[queue] = client->is_repeated[queue] || goes_back;
    sim_skip(client, queue, to);
}

static inline void sim_on_heads(struct shard *shard, struct session *session,
                                const struct hub_heads *heads)
{
    struct sim_client *client = sim_client_of(shard, session);
    struct sim *sim = client->sim;
    if (client->state == SIM_CONDEMNED) {
        return;
    }
    SIM_CHECK(sim, client->state == SIM_HERE, "heads before the start");
    for (uint32_t q = 0; q < sim->queues; q++) {
        if (!shard_queue_is_known(shard, q)) {
            continue; /* the transport does not tell it */
        }
        SIM_CHECK(sim, sim_pos_compare(heads->pos[q], client->floor[q]) >= 0,
                  "heads of queue %u go back", q);
        sim_advance(client, q, heads->pos[q], true, "heads");
        sim_set_pos(client, q, heads->pos[q]);
    }
}

static inline bool sim_has_room(struct shard *shard, const struct session *session)
{
    struct sim_client *client = sim_client_of(shard, session);
    if (sim_mishap(client->sim, 20)) {
        client->is_slow = true;
    }
    return !client->is_slow;
}

/* Joins and kicks that a worker had not seen went with it. */
static inline bool sim_any_history_ended(const struct sim *sim)
{
    bool any = false;
    for (uint32_t q = 0; q < sim->queues; q++) {
        any = any || sim->logs[q].history > 0;
    }
    return any;
}

static inline void sim_on_kick(struct shard *shard, struct session *session, int close_code)
{
    struct sim_client *client = sim_client_of(shard, session);
    SIM_CHECK(client->sim,
              close_code == 4000 || client->sim->out_of_memory || client->state == SIM_STARTING ||
                  client->state == SIM_CONDEMNED || sim_any_history_ended(client->sim),
              "kicked with %d", close_code);
    client->state = SIM_CONDEMNED;
    client->sim->kicks++;
}

static const struct session_ops sim_ops = {
    .deliver = sim_deliver,
    .on_start = sim_on_start,
    .on_joined = sim_on_joined,
    .on_left = sim_on_left,
    .on_gap = sim_on_gap,
    .on_heads = sim_on_heads,
    .has_room = sim_has_room,
    .on_kick = sim_on_kick,
};

#endif
