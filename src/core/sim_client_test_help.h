/* The clients of the simulated node. Each has at most one session at a time, remembers the
 * positions that it was told, resumes from them, and checks everything that it is told against the
 * history of the bus. */
#ifndef TIDEGATE_CORE_SIM_CLIENT_TEST_HELP_H
#define TIDEGATE_CORE_SIM_CLIENT_TEST_HELP_H

#include "core/sim_test_help.h"

enum sim_client_state { SIM_AWAY, SIM_STARTING, SIM_HERE, SIM_CONDEMNED };

struct sim_client {
    struct sim *sim;
    enum sim_client_state state;
    uint32_t worker;
    uint32_t slot;
    uint32_t generation;
    char sid[SID_LEN + 1];
    char origin_tag[12];
    uint16_t app;
    int user; /* -1: anonymous */
    bool is_slow;
    bool has_resume;
    bool told_start;
    struct bus_pos resume_at[SIM_QUEUES];
    struct bus_pos fence[SIM_QUEUES]; /* heads at the start of this session */
    struct bus_pos pos[SIM_QUEUES];   /* what it was told last */
    uint32_t next_event[SIM_QUEUES];  /* of the history: the first after pos */
    bool member[SIM_GROUPS];
    struct bus_pos member_from[SIM_GROUPS];
    uint32_t join_tag[SIM_GROUPS]; /* waits for an answer; 0: none */
    bool seen[SIM_PUSHES];         /* by first_of_id */
    bool seen_live[SIM_PUSHES];    /* by this session */
    uint64_t seen_live_ms[SIM_PUSHES];
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

static inline struct sim_client *sim_client_of(struct shard *shard, const struct session *session)
{
    struct sim_worker *worker = shard_owner(shard);
    struct sim_client *client = &worker->sim->clients[session->fd];
    SIM_CHECK(client->sim, client->state != SIM_AWAY && client->generation == session->generation,
              "told a session that is gone");
    return client;
}

static inline bool sim_target_matches(const struct sim_client *client,
                                      const struct sim_target *target, struct bus_pos pos,
                                      uint32_t queue)
{
    if (target->queue != queue) {
        return false;
    }
    switch (target->kind) {
    case TARGET_ALL: return true;
    case TARGET_USER: return client->user >= 0 && atoi(target->name + 1) == client->user;
    case TARGET_SESSION: return strcmp(target->name, client->sid) == 0;
    case TARGET_GROUP: {
        int group = atoi(target->name + 5);
        return client->member[group] && bus_pos_compare(client->member_from[group], pos) < 0;
    }
    default: return false;
    }
}

/* Whether the event may come to the session. */
static inline bool sim_may_come(const struct sim_client *client, const struct sim_event *event,
                                uint32_t queue)
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
        if (sim_target_matches(client, &push->targets[i], event->pos, queue)) {
            return true;
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
           !client->seen[push->first_of_id] && sim_may_come(client, event, queue);
}

/* The session was told a position: nothing between that and the last may have been for it. */
static inline void sim_advance(struct sim_client *client, uint32_t queue, struct bus_pos to,
                               bool with_to, const char *what)
{
    const struct sim_history *history = &client->sim->histories[queue];
    uint32_t *at = &client->next_event[queue];
    for (; *at < history->count; (*at)++) {
        const struct sim_event *event = &history->events[*at];
        int order = bus_pos_compare(event->pos, to);
        if (order > 0 || (order == 0 && !with_to)) {
            break;
        }
        SIM_CHECK(client->sim, !sim_must_come(client, event, queue),
                  "%s %u.%u in queue %u: lost message %d at %u.%u to client %d", what,
                  (unsigned)to.hi, (unsigned)to.lo, queue, event->push, (unsigned)event->pos.hi,
                  (unsigned)event->pos.lo, (int)(client - client->sim->clients));
    }
}

static inline void sim_skip(struct sim_client *client, uint32_t queue, struct bus_pos to)
{
    const struct sim_history *history = &client->sim->histories[queue];
    uint32_t *at = &client->next_event[queue];
    while (*at < history->count && bus_pos_compare(history->events[*at].pos, to) <= 0) {
        (*at)++;
    }
    client->pos[queue] = to;
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

static inline enum session_delivery sim_answer(struct sim_client *client, struct session *session,
                                               struct message *message, struct sim_push *push)
{
    struct sim *sim = client->sim;
    bool counted = session->state == SESSION_LIVE && message->receipt;
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

static inline enum session_delivery sim_deliver(struct shard *shard, struct session *session,
                                                struct message *message)
{
    struct sim_client *client = sim_client_of(shard, session);
    struct sim *sim = client->sim;
    uint32_t queue = message->queue;
    struct sim_push *push = &sim->pushes[atoi(message->event.collapse.ptr)];
    if (client->state == SIM_CONDEMNED) {
        push->live_deliveries += session->state == SESSION_LIVE && message->receipt;
        return SESSION_DROPPED;
    }
    SIM_CHECK(sim, client->state == SIM_HERE, "a message before the start");
    SIM_CHECK(sim, push->kind == EVENT_MESSAGE, "a control event was delivered");
    if (sim->out_of_memory && push->target_count > 1 &&
        bus_pos_compare(message->pos, client->pos[queue]) == 0) {
        push->live_deliveries += session->state == SESSION_LIVE && message->receipt;
        return SESSION_DROPPED; /* twice under one id: nobody could remember that it was served */
    }
    SIM_CHECK(sim, bus_pos_compare(message->pos, client->pos[queue]) > 0,
              "queue %u: message %d at %u.%u after %u.%u to client %d", queue,
              (int)(push - sim->pushes), (unsigned)message->pos.hi, (unsigned)message->pos.lo,
              (unsigned)client->pos[queue].hi, (unsigned)client->pos[queue].lo,
              (int)(client - sim->clients));
    sim_advance(client, queue, message->pos, false, "message");
    const struct sim_event *event = &sim->histories[queue].events[client->next_event[queue]];
    SIM_CHECK(sim, bus_pos_compare(event->pos, message->pos) == 0, "a message that never was");
    SIM_CHECK(sim, sim_may_come(client, event, queue), "message %d at %u.%u is not for client %d",
              event->push, (unsigned)event->pos.hi, (unsigned)event->pos.lo,
              (int)(client - sim->clients));
    client->next_event[queue]++;
    client->pos[queue] = message->pos;
    client->seen[push->first_of_id] = true;
    if (session->state == SESSION_LIVE) {
        sim_note_live(client, push->first_of_id, push->target_count > 1 && !push->has_id);
    }
    sim->delivered++;
    return sim_answer(client, session, message, push);
}

static inline void sim_on_start(struct shard *shard, struct session *session,
                                enum session_resumed resumed, const struct hub_heads *pos)
{
    struct sim_client *client = sim_client_of(shard, session);
    struct sim *sim = client->sim;
    if (client->state == SIM_CONDEMNED) {
        return;
    }
    SIM_CHECK(sim, client->state == SIM_STARTING, "started twice");
    SIM_CHECK(sim, client->has_resume == (resumed != SESSION_RESUMED_NONE), "resumed wrongly");
    client->state = SIM_HERE;
    for (uint32_t q = 0; q < sim->queues; q++) {
        struct bus_pos from = client->has_resume ? client->resume_at[q] : pos->pos[q];
        bool same = bus_pos_compare(from, pos->pos[q]) == 0;
        SIM_CHECK(sim, same || resumed == SESSION_RESUMED_PARTIAL, "resumed fully elsewhere");
        client->fence[q] = shard->lanes[q].drained;
        client->next_event[q] = 0;
        sim_skip(client, q, from);
        for (uint32_t g = 0; g < SIM_GROUPS; g++) {
            char name[12];
            struct str group = sim_group_name(name, g);
            if (client->member[g] &&
                sim_queue(client->app, TARGET_GROUP, group, sim->queues) == q) {
                client->member_from[g] = from;
            }
        }
    }
}

static inline uint32_t sim_group_queue(const struct sim_client *client, uint32_t group)
{
    char name[12];
    return sim_queue(client->app, TARGET_GROUP, sim_group_name(name, group), client->sim->queues);
}

/* A join by the API that the fence of the client's own overtook in line: it counts from that event.
 */
static inline struct bus_pos sim_overtaken(const struct sim_client *client, uint32_t group,
                                           const struct lane *lane)
{
    for (uint32_t i = 0; i < lane->count; i++) {
        const struct message *message = lane->items[(lane->head + i) & (lane->cap - 1)].message;
        const struct sim_push *push = &client->sim->pushes[atoi(message->event.collapse.ptr)];
        if (push->kind == EVENT_JOIN && push->app == client->app && client->user >= 0 &&
            atoi(push->subject + 1) == client->user &&
            (uint32_t)atoi(push->targets[0].name + 5) == group &&
            bus_pos_compare(message->pos, client->fence[message->queue]) > 0) {
            return message->pos;
        }
    }
    return lane->drained;
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
    if (tag) {
        uint32_t g = 0;
        while (g < SIM_GROUPS && client->join_tag[g] != tag) {
            g++;
        }
        SIM_CHECK(client->sim, g < SIM_GROUPS, "a join was answered twice");
        SIM_CHECK(client->sim, group < 0 || (uint32_t)group == g, "joined another group");
        client->join_tag[g] = 0;
        if (group < 0 || client->member[group]) {
            return; /* gone, or in force already */
        }
    }
    SIM_CHECK(client->sim, group >= 0 && !client->member[group], "joined twice");
    struct lane *lane = &shard->lanes[sim_group_queue(client, (uint32_t)group)];
    client->member[group] = true;
    client->member_from[group] = tag ? sim_overtaken(client, (uint32_t)group, lane)
                                     : lane->cast.item.message->pos;
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

static inline void sim_on_gap(struct shard *shard, struct session *session, uint32_t queue,
                              struct bus_pos from, struct bus_pos to, enum session_gap_why why)
{
    struct sim_client *client = sim_client_of(shard, session);
    if (client->state == SIM_CONDEMNED) {
        return;
    }
    SIM_CHECK(client->sim, queue < client->sim->queues, "another epoch's gap");
    SIM_CHECK(client->sim, bus_pos_compare(from, to) < 0, "an empty gap");
    sim_advance(client, queue, from, true, "gap");
    SIM_CHECK(client->sim, bus_pos_compare(to, client->pos[queue]) > 0, "a gap goes back");
    sim_skip(client, queue, to);
    client->sim->gaps_told++;
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
        SIM_CHECK(sim, bus_pos_compare(heads->pos[q], client->pos[q]) >= 0,
                  "heads of queue %u go back", q);
        sim_advance(client, q, heads->pos[q], true, "heads");
        client->pos[q] = heads->pos[q];
    }
}

static inline bool sim_has_room(struct shard *shard, const struct session *session)
{
    struct sim_client *client = sim_client_of(shard, session);
    if (!client->sim->is_quiet && sim_chance(client->sim, 20)) {
        client->is_slow = true;
    }
    return !client->is_slow;
}

static inline void sim_on_kick(struct shard *shard, struct session *session, int close_code)
{
    struct sim_client *client = sim_client_of(shard, session);
    SIM_CHECK(client->sim,
              close_code == 4000 || client->sim->out_of_memory || client->state == SIM_STARTING ||
                  client->state == SIM_CONDEMNED,
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

static inline struct session *sim_session(const struct sim_client *client)
{
    struct shard *shard = client->sim->workers[client->worker].shard;
    struct session *session = shard_session_find(shard, client->slot, client->generation);
    SIM_CHECK(client->sim, session != NULL, "a session went by itself");
    return session;
}

static inline void sim_client_forget_session(struct sim_client *client)
{
    memset(client->member, 0, sizeof(client->member));
    memset(client->join_tag, 0, sizeof(client->join_tag));
    memset(client->seen_live, 0, sizeof(client->seen_live));
    client->is_slow = false;
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
            client->member[g] = true;
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
    struct session_resume resume = {.epoch = "sim"};
    for (uint32_t q = 0; q < sim->queues; q++) {
        resume.has[q] = true;
        resume.seen.pos[q] = client->resume_at[q] = client->pos[q];
    }
    return err ? err : shard_session_start(shard, session, client->has_resume ? &resume : NULL);
}

static inline void sim_client_arrives(struct sim_client *client)
{
    struct sim *sim = client->sim;
    client->worker = sim_roll(sim, sim->shards);
    struct shard *shard = sim->workers[client->worker].shard;
    sim_arm(sim);
    struct session *session = shard_session_create(shard, client->app, 0);
    if (!session) {
        sim_disarm();
        return;
    }
    session->fd = (int)(client - sim->clients);
    session->origin_hash = shard_origin_hash(shard, str_of(client->origin_tag));
    client->slot = shard_session_slot(shard, session);
    client->generation = session->generation;
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

static inline void sim_client_leaves(struct sim_client *client)
{
    struct shard *shard = client->sim->workers[client->worker].shard;
    struct session *session = sim_session(client);
    client->has_resume = client->state == SIM_HERE && sim_chance(client->sim, 80);
    if (sim_chance(client->sim, 50)) {
        shard_session_end(shard, session); /* it says goodbye first */
    }
    shard_session_free(shard, session);
    client->state = SIM_AWAY;
}

static inline void sim_client_joins(struct sim_client *client)
{
    struct sim *sim = client->sim;
    struct shard *shard = sim->workers[client->worker].shard;
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
    struct shard *shard = sim->workers[client->worker].shard;
    uint32_t group = sim_roll(sim, SIM_GROUPS - SIM_API_GROUPS);
    char name[12];
    int err = shard_leave(shard, sim_session(client), sim_group_name(name, group));
    bool was = client->member[group] || client->join_tag[group];
    SIM_CHECK(sim, err == 0 || err == ERR_NOT_FOUND, "leave failed");
    SIM_CHECK(sim, err != 0 || was, "left what it was not in");
    SIM_CHECK(sim, err == 0 || !client->member[group], "could not leave");
    client->member[group] = false;
}

static inline void sim_client_acts(struct sim_client *client)
{
    struct sim *sim = client->sim;
    struct sim_worker *worker = &sim->workers[client->worker];
    switch (client->state) {
    case SIM_AWAY: sim_client_arrives(client); break;
    case SIM_CONDEMNED: sim_client_leaves(client); break;
    case SIM_STARTING:
        if (sim_chance(sim, 10)) {
            sim_client_leaves(client);
        }
        break;
    case SIM_HERE:
        switch (sim_roll(sim, 6)) {
        case 0: sim_client_leaves(client); break;
        case 1: sim_client_parts(client); break;
        case 2:
        case 3: sim_client_joins(client); break;
        default:
            client->is_slow = false;
            shard_replay_continue(worker->shard, sim_session(client));
            worker->ready = true;
        }
    }
    worker = &sim->workers[client->worker];
    sim_arm(sim);
    shard_flush(worker->shard);
    sim_disarm();
}

#endif
