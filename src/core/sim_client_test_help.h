/* The clients of the simulated cluster. Each has at most one session at a time, on any node,
 * remembers the positions that it was told, resumes from them, and checks everything that it is
 * told against the logs. */
#ifndef TIDEGATE_CORE_SIM_CLIENT_TEST_HELP_H
#define TIDEGATE_CORE_SIM_CLIENT_TEST_HELP_H

#include "core/sim_node_test_help.h"

enum sim_client_state { SIM_AWAY, SIM_STARTING, SIM_HERE, SIM_CONDEMNED };

/* Of one client: its user, its groups, all and itself. */
enum { SIM_KEY_USER = SIM_GROUPS, SIM_KEY_ALL, SIM_KEY_SESSION, SIM_KEYS };

struct sim_client {
    struct sim *sim;
    enum sim_client_state state;
    uint32_t node;
    uint32_t worker;
    uint32_t slot;
    uint32_t generation;
    char sid[SID_LEN + 1];
    char origin_tag[12];
    char epoch[BUS_EPOCH_MAX + 1];
    uint16_t app;
    int user; /* -1: anonymous */
    bool is_slow;
    bool has_resume;
    bool is_of_epoch;    /* at the start, the node knew the epoch that the client said */
    bool starts_anew;    /* a resume was refused: the gap that says so is due */
    bool has_met_a_gap;  /* in this session */
    uint64_t started_ms; /* when it said hello */
    struct bus_pos resume_at[SIM_QUEUES];
    struct bus_pos fence[SIM_QUEUES]; /* heads at the start of this session */
    struct bus_pos pos[SIM_QUEUES];   /* what it was told last */
    struct bus_pos floor[SIM_QUEUES]; /* what comes in this session is behind that */
    bool is_repeated[SIM_QUEUES];     /* what it had may come again: the queue appeared late */
    bool is_unowed[SIM_QUEUES]; /* and it is new: what is before the queue's start is not missed */
    uint32_t next_event[SIM_QUEUES]; /* of the log: up to there it has, or was told, everything */
    bool member[SIM_GROUPS];
    bool member_is_whole[SIM_GROUPS];       /* in all queues: joined with the start */
    bool member_is_vague[SIM_GROUPS];       /* from where is not known exactly */
    struct bus_pos member_from[SIM_GROUPS]; /* in the group's home queue */
    uint32_t join_tag[SIM_GROUPS];          /* waits for an answer; 0: none */
    bool seen[SIM_PUSHES];                  /* by first_of_id */
    bool seen_live[SIM_PUSHES];             /* by this session */
    uint64_t seen_live_ms[SIM_PUSHES];
    uint32_t last_arrival[SIM_KEYS]; /* of what came live under a key */
    uint64_t order_catch_ups;        /* of its shard, when it looked */
    uint32_t order_from;             /* and the node's last arrival then */
};

static inline struct str sim_group_name(char out[12], uint32_t group)
{
    snprintf(out, 12, "room:%u", group);
    return str_of(out);
}

static inline int sim_group_of(struct str name)
{
    return name.len > 5 ? atoi(name.ptr + 5) : -1;
}

static inline uint32_t sim_group_queue(const struct sim_client *client, uint32_t group)
{
    char name[12];
    return sim_queue(client->app, TARGET_GROUP, sim_group_name(name, group), client->sim->queues);
}

static inline int sim_client_number(const struct sim_client *client)
{
    return (int)(client - client->sim->clients);
}

static inline struct sim_node *sim_client_node(const struct sim_client *client)
{
    return client->sim->nodes[client->node];
}

static inline struct sim_worker *sim_client_worker(const struct sim_client *client)
{
    return &sim_client_node(client)->workers[client->worker];
}

static inline struct sim_client *sim_client_of(struct shard *shard, const struct session *session)
{
    struct sim_worker *worker = shard_owner(shard);
    struct sim_client *client = &worker->node->sim->clients[session->fd];
    SIM_CHECK(client->sim,
              client->state != SIM_AWAY && client->generation == session->generation &&
                  client->node == worker->node->index && client->worker == worker->index,
              "told a session that is gone");
    return client;
}

static inline bool sim_group_matches(const struct sim_client *client, uint32_t group,
                                     const struct sim_event *event, bool is_home, bool surely)
{
    if (!client->member[group] || (surely && client->member_is_vague[group])) {
        return false;
    }
    bool is_behind = sim_pos_compare(client->member_from[group], event->pos) < 0;
    return is_home ? is_behind : !surely || client->member_is_whole[group];
}

static inline bool sim_target_matches(const struct sim_client *client,
                                      const struct sim_target *target,
                                      const struct sim_event *event, uint32_t queue, bool surely)
{
    if (target->part != event->part) {
        return false;
    }
    switch (target->kind) {
    case TARGET_ALL: return true;
    case TARGET_USER: return client->user >= 0 && atoi(target->name + 1) == client->user;
    case TARGET_SESSION: return strcmp(target->name, client->sid) == 0;
    case TARGET_GROUP:
        return sim_group_matches(client, (uint32_t)atoi(target->name + 5), event,
                                 queue == target->queue, surely);
    default: return false;
    }
}

static inline bool sim_is_for(const struct sim_client *client, const struct sim_event *event,
                              uint32_t queue, bool surely)
{
    if (event->push < 0) {
        return false;
    }
    const struct sim_push *push = &client->sim->pushes[event->push];
    if (push->app != client->app || strcmp(push->except, client->sid) == 0 ||
        (push->origin_tag[0] && strcmp(push->origin_tag, client->origin_tag) == 0)) {
        return false;
    }
    for (uint32_t i = 0; i < push->target_count; i++) {
        if (sim_target_matches(client, &push->targets[i], event, queue, surely)) {
            return true;
        }
    }
    return false;
}

/* Whether the event may come to the session. */
static inline bool sim_may_come(const struct sim_client *client, const struct sim_event *event,
                                uint32_t queue)
{
    return sim_is_for(client, event, queue, false);
}

/* In two queues: the same part, because a broker was away, or another body. */
static inline bool sim_is_twin(const struct sim_push *push, const struct sim_push *other,
                               uint32_t part)
{
    const struct sim_trace *trace = &other->traces[part];
    return trace->is_in_log && (trace->queue != push->traces[part].queue ||
                                (other->body != push->body && push->parts > 1));
}

/* Nodes may meet the two in either order. */
static inline bool sim_has_twin(const struct sim *sim, const struct sim_push *push)
{
    for (int i = push->first_of_id; push->has_id && i < sim->push_count; i++) {
        const struct sim_push *other = &sim->pushes[i];
        for (uint32_t p = 0; other->first_of_id == push->first_of_id && p < other->parts; p++) {
            if (sim_is_twin(push, other, p)) {
                return true;
            }
        }
    }
    return false;
}

/* Whether the session must have got it, or been told of a gap. */
static inline bool sim_must_come(const struct sim_client *client, const struct sim_event *event,
                                 uint32_t queue)
{
    if (event->push < 0) {
        return true; /* a hole is told to all */
    }
    const struct sim_push *push = &client->sim->pushes[event->push];
    return push->kind == EVENT_MESSAGE && !push->has_ttl && !event->again &&
           !client->seen[push->first_of_id] && sim_is_for(client, event, queue, true) &&
           !sim_has_twin(client->sim, push);
}

/* Position hi of an old history is taken for one of this history: what is behind it, by number. */
static inline uint32_t sim_event_after_number(const struct sim_log *log, uint64_t hi,
                                              uint32_t history)
{
    uint64_t passed = hi - (hi + SIM_HISTORIES - history) % SIM_HISTORIES;
    return sim_event_after(log, (struct bus_pos){passed, UINT64_MAX - 1});
}

/* A queue that appears late may have begun another history, which nobody can tell without another
 * epoch. */
static inline void sim_meet_history(struct sim_client *client, uint32_t queue, uint32_t history)
{
    uint64_t hi = client->pos[queue].hi;
    bool is_first = client->floor[queue].hi == 0 && hi >= SIM_HISTORIES;
    if (is_first && client->sim->fates & SIM_NEW_HISTORIES &&
        history > sim_history_of(client->pos[queue])) {
        uint32_t after = sim_event_after_number(&client->sim->logs[queue], hi, history);
        uint32_t *at = &client->next_event[queue];
        *at = after > *at ? after : *at;
    }
}

/* The session was told a position: nothing between that and the last may have been for it. */
static inline void sim_advance(struct sim_client *client, uint32_t queue, struct bus_pos to,
                               bool with_to, const char *what)
{
    const struct sim_log *log = &client->sim->logs[queue];
    uint32_t *at = &client->next_event[queue];
    sim_meet_history(client, queue, sim_history_of(to));
    if (client->is_unowed[queue] && to.hi > 0) {
        client->is_unowed[queue] = false;
        *at = sim_event_after(log, to);
    }
    for (; *at < log->event_count; (*at)++) {
        const struct sim_event *event = &log->events[*at];
        int order = sim_pos_compare(event->pos, to);
        if (order > 0 || (order == 0 && !with_to)) {
            break;
        }
        SIM_CHECK(client->sim, !sim_must_come(client, event, queue),
                  "%s %u.%u in queue %u: lost message %d at %u.%u to client %d", what,
                  (unsigned)to.hi, (unsigned)to.lo, queue, event->push, (unsigned)event->pos.hi,
                  (unsigned)event->pos.lo, sim_client_number(client));
    }
}

static inline void sim_set_pos(struct sim_client *client, uint32_t queue, struct bus_pos pos)
{
    client->pos[queue] = client->floor[queue] = pos;
}

static inline void sim_skip(struct sim_client *client, uint32_t queue, struct bus_pos to)
{
    uint32_t after = sim_event_after(&client->sim->logs[queue], to);
    uint32_t *at = &client->next_event[queue];
    *at = after > *at ? after : *at;
    sim_set_pos(client, queue, to);
}

static inline void sim_note_live(struct sim_client *client, int first_of_id, bool several)
{
    struct sim *sim = client->sim;
    bool again = client->seen_live[first_of_id] &&
                 sim->now_ms < client->seen_live_ms[first_of_id] + 3000;
    SIM_CHECK(sim, !again || !several || sim->out_of_memory, "message %d came twice", first_of_id);
    client->seen_live[first_of_id] = true;
    client->seen_live_ms[first_of_id] = sim->now_ms;
}

static inline uint32_t sim_key_of(const struct sim_target *target)
{
    switch (target->kind) {
    case TARGET_USER: return SIM_KEY_USER;
    case TARGET_GROUP: return (uint32_t)atoi(target->name + 5);
    case TARGET_SESSION: return SIM_KEY_SESSION;
    default: return SIM_KEY_ALL;
    }
}

/* Messages of one key, also in two queues because a broker is away, go out in the order in which
 * the node got them; but a worker that was behind reads queue by queue. */
static inline void sim_check_order(struct sim_client *client, const struct shard *shard,
                                   const struct sim_push *push, uint32_t arrival)
{
    if (client->order_catch_ups != shard->stats.catch_ups) {
        client->order_catch_ups = shard->stats.catch_ups;
        client->order_from = sim_client_node(client)->arrival;
    }
    if (push->target_count == 1 && arrival > client->order_from) {
        uint32_t *last = &client->last_arrival[sim_key_of(&push->targets[0])];
        SIM_CHECK(client->sim, *last < arrival, "message %d came to client %d out of turn",
                  (int)(push - client->sim->pushes), sim_client_number(client));
        *last = arrival;
    }
}

static inline bool sim_is_waited_for(const struct message *message)
{
    return message->receipt && !message->receipt->is_for_later;
}

static inline enum session_delivery sim_answer(struct sim_client *client, struct session *session,
                                               struct message *message, struct sim_push *push)
{
    struct sim *sim = client->sim;
    bool counted = session->state == SESSION_LIVE && sim_is_waited_for(message);
    push->live_deliveries += counted;
    if (!sim_chance(sim, 20) || sim->unsent_count == 256) {
        return SESSION_WRITTEN;
    }
    if (counted) {
        receipt_open(message->receipt);
        sim->unsent[sim->unsent_count++] = receipt_ref(message->receipt);
    }
    return SESSION_QUEUED;
}

static inline void sim_check_message(struct sim_client *client, const struct shard *shard,
                                     const struct message *message, bool is_live)
{
    struct sim *sim = client->sim;
    uint32_t queue = message->queue;
    uint32_t at = sim_event_after(&sim->logs[queue], message->pos);
    const struct sim_event *event = &sim->logs[queue].events[at - (at > 0)];
    SIM_CHECK(sim, at > 0 && sim_pos_compare(event->pos, message->pos) == 0,
              "a message that never was");
    at--;
    SIM_CHECK(sim, event->push == atoi(message->event.type.ptr), "another message stood there");
    SIM_CHECK(sim, at >= client->next_event[queue] || client->is_repeated[queue],
              "message %d came again to client %d", event->push, sim_client_number(client));
    SIM_CHECK(sim, sim_may_come(client, event, queue), "message %d at %u.%u is not for client %d",
              event->push, (unsigned)event->pos.hi, (unsigned)event->pos.lo,
              sim_client_number(client));
    if (sim->out_of_memory) {
        return;
    }
    uint32_t arrival = sim_client_node(client)->arrivals[queue][at];
    SIM_CHECK(sim, arrival > 0, "message %d at %u.%u is a repeat", event->push,
              (unsigned)event->pos.hi, (unsigned)event->pos.lo);
    if (is_live) {
        sim_check_order(client, shard, &sim->pushes[event->push], arrival);
    }
}

/* A transport may say with the message how far the session is: never further than it is. */
static inline void sim_check_done(struct sim_client *client, const struct shard *shard,
                                  const struct session *session)
{
    struct hub_heads done;
    if (session->state == SESSION_REPLAYING) {
        shard_replay_done(shard, session, &done);
    } else if (session->live_from >= shard_done(shard, &done)) {
        return; /* it is not said */
    }
    for (uint32_t q = 0; q < client->sim->queues; q++) {
        uint32_t next_event = client->next_event[q];
        bool is_unowed = client->is_unowed[q];
        if (done.started >> q & 1 && sim_pos_compare(done.pos[q], client->pos[q]) > 0) {
            sim_advance(client, q, done.pos[q], true, "id");
        }
        client->next_event[q] = next_event;
        client->is_unowed[q] = is_unowed;
    }
}

static inline enum session_delivery sim_deliver(struct shard *shard, struct session *session,
                                                struct message *message)
{
    struct sim_client *client = sim_client_of(shard, session);
    struct sim *sim = client->sim;
    uint32_t queue = message->queue;
    bool is_live = session->state == SESSION_LIVE;
    struct sim_push *push = &sim->pushes[atoi(message->event.type.ptr)];
    if (client->state == SIM_CONDEMNED) {
        push->live_deliveries += is_live && sim_is_waited_for(message);
        return SESSION_DROPPED;
    }
    SIM_CHECK(sim, client->state == SIM_HERE && !client->starts_anew, "a message before the start");
    SIM_CHECK(sim, push->kind == EVENT_MESSAGE, "a control event was delivered");
    if (sim->out_of_memory && push->target_count > 1 &&
        bus_pos_compare(message->pos, client->pos[queue]) == 0) {
        push->live_deliveries += is_live && sim_is_waited_for(message);
        return SESSION_DROPPED; /* twice under one id: nobody could remember that it was served */
    }
    SIM_CHECK(sim, sim_pos_compare(message->pos, client->floor[queue]) > 0,
              "queue %u: message %d at %u.%u after %u.%u to client %d", queue,
              (int)(push - sim->pushes), (unsigned)message->pos.hi, (unsigned)message->pos.lo,
              (unsigned)client->floor[queue].hi, (unsigned)client->floor[queue].lo,
              sim_client_number(client));
    sim_advance(client, queue, message->pos, false, "message");
    sim_check_message(client, shard, message, is_live);
    sim_skip(client, queue, message->pos);
    client->seen[push->first_of_id] = true;
    if (is_live) {
        sim_note_live(client, push->first_of_id, push->target_count > 1 && !push->has_id);
    }
    sim->delivered++;
    sim_check_done(client, shard, session);
    return sim_answer(client, session, message, push);
}

#endif
