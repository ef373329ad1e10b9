/* Each node's engine on the simulated bus, by which it reads and writes the logs. Records fail, are
 * acknowledged before or after they come back, arrive twice or late, and are lost; brokers go away
 * and come back; queues begin other histories. */
#ifndef TIDEGATE_CORE_SIM_BUS_TEST_HELP_H
#define TIDEGATE_CORE_SIM_BUS_TEST_HELP_H

#include "core/sim_log_test_help.h"

struct sim_reader {
    bool has_started, is_up; /* as the hub was told */
    uint32_t epoch, history;
    uint32_t next;      /* record */
    uint32_t start_end; /* where the log ended when it started */
};

struct sim_send {
    struct bus_publish *publish; /* NULL: none under way */
    bool was_tried;              /* it may have arrived */
    bool has_arrived;            /* and will be acknowledged */
    struct bus_pos pos;
};

struct sim_bus {
    struct bus bus; /* first */
    struct sim_node *node;
    uint32_t epoch; /* as the hub was told; 0: not yet */
    bool is_up, was_up;
    struct sim_reader readers[SIM_QUEUES];
    struct sim_send sends[SIM_QUEUES];
};

static inline int sim_bus_publish(struct bus *base, struct bus_publish *publish)
{
    struct sim_bus *bus = (struct sim_bus *)base;
    struct sim_send *send = &bus->sends[publish->queue];
    SIM_CHECK(bus->node->sim, !send->publish, "two records under way in a queue");
    if (sim_mishap(bus->node->sim, 2)) {
        return ERR_UNAVAILABLE;
    }
    *send = (struct sim_send){.publish = publish};
    return 0;
}

static inline void sim_bus_finish(struct sim_send *send, int err)
{
    struct bus_publish *publish = send->publish;
    struct bus_pos pos = err ? (struct bus_pos){0, 0} : send->pos;
    *send = (struct sim_send){0};
    publish->on_done(publish, err, pos);
}

/* Nobody will know what became of it. */
static inline void sim_bus_abandon(struct sim_bus *bus, struct sim_send *send, int err)
{
    struct sim *sim = bus->node->sim;
    if (!send->has_arrived && sim_mishap(sim, 50)) {
        sim_arrive_later(sim, send->publish->queue, send->publish->record);
    }
    sim_bus_finish(send, err);
}

static inline void sim_bus_send(struct sim_bus *bus, struct sim_send *send)
{
    struct sim *sim = bus->node->sim;
    uint32_t queue = send->publish->queue;
    if (!send->was_tried && sim_mishap(sim, 3)) {
        sim_bus_finish(send, ERR_UNAVAILABLE);
        return;
    }
    if ((sim->fates & SIM_UNUSED_POSITIONS) && sim_mishap(sim, 1)) {
        sim_log_skip(sim, queue);
    }
    if (sim_mishap(sim, 3)) {
        sim_arrive_later(sim, queue, send->publish->record); /* comes again */
    }
    send->pos = sim_log_add(sim, queue, send->publish->record)->pos;
    send->was_tried = true;
    send->has_arrived = !sim_mishap(sim, 10); /* or its answer is lost: it is sent again */
    if (send->has_arrived && sim_mishap(sim, 30)) {
        sim_bus_finish(send, 0);
    }
}

static inline bool sim_bus_serve(struct sim_bus *bus, uint32_t queue)
{
    struct sim *sim = bus->node->sim;
    struct sim_send *send = &bus->sends[queue];
    if (!send->publish) {
        return false;
    }
    bool is_late = send->publish->deadline_ms && send->publish->deadline_ms <= sim->now_ms;
    if (is_late) {
        sim_bus_abandon(bus, send, ERR_TIMEOUT);
    } else if (!sim_queue_is_up(sim, queue)) {
        return false;
    } else if (send->has_arrived) {
        sim_bus_finish(send, 0);
    } else {
        sim_bus_send(bus, send);
    }
    return true;
}

/* What the hub must make of an event, worked out apart from it. */
static inline void sim_node_notes_event(struct sim_node *node, uint32_t queue, uint32_t at)
{
    const struct sim_event *event = &node->sim->logs[queue].events[at];
    const struct sim_push *push = &node->sim->pushes[event->push];
    uint32_t *mark = &node->marks[sim_boot_index(event->boot)][queue];
    if (event->counter <= *mark) {
        node->repeats++;
        return;
    }
    *mark = event->counter;
    uint8_t *body = &node->id_bodies[push->first_of_id];
    uint8_t *parts = &node->id_parts[push->first_of_id];
    bool forgets = atomic_load(&hub_get_stats(node->hub)->evicted) > 0;
    bool known = *body && (*body != push->body + 1 || (*parts >> event->part & 1));
    if (push->has_id && known && !forgets) {
        return;
    }
    *body = *body ? *body : push->body + 1;
    *parts |= (uint8_t)(1 << event->part);
    node->arrivals[queue][at] = ++node->arrival;
}

/* What a session that is live must be told of it. */
static inline void sim_node_notes_jump(struct sim_node *node, uint32_t queue, struct bus_pos to,
                                       enum session_gap_why why)
{
    for (uint32_t i = 0; why == SESSION_GAP_EPOCH && i < SIM_BOOTS; i++) {
        node->marks[i][queue] = 0; /* what came before was of another history */
    }
    node->holes[queue]++;
    node->lost[queue] += why == SESSION_GAP_BUS;
    node->jumped_to[queue] = to;
    node->jumped_why[queue] = why;
}

static inline void sim_bus_tell_hole(struct sim_bus *bus, uint32_t queue, struct bus_pos to,
                                     enum bus_hole why)
{
    struct bus_pos from = bus->node->hub->heads.pos[queue];
    sim_node_notes_jump(bus->node, queue, (struct bus_pos){to.hi - 1, UINT64_MAX},
                        why == BUS_HOLE_LOST    ? SESSION_GAP_BUS
                        : why == BUS_HOLE_EPOCH ? SESSION_GAP_EPOCH
                                                : SESSION_GAP_EXPIRED);
    sim_arm(bus->node->sim);
    bus->bus.callbacks->on_hole(bus->bus.owner, queue, from, to, why);
    sim_disarm();
}

static inline struct bus_pos sim_next_pos(const struct sim_log *log, uint32_t at)
{
    return at < log->count ? log->records[at]->pos
                           : (struct bus_pos){sim_hi(log->history, log->number + 1), 0};
}

static inline void sim_bus_hand_over(struct sim_bus *bus, uint32_t queue)
{
    struct sim_node *node = bus->node;
    struct sim_log *log = &node->sim->logs[queue];
    const struct sim_record *record = log->records[bus->readers[queue].next++];
    if (record->is_unused) {
        sim_bus_tell_hole(bus, queue, (struct bus_pos){record->pos.hi + SIM_HISTORIES, 0},
                          BUS_HOLE_LOST);
        return;
    }
    for (uint32_t i = 0; i < record->event_count; i++) {
        sim_node_notes_event(node, queue, record->first_event + i);
    }
    sim_arm(node->sim);
    bus->bus.callbacks->on_record(bus->bus.owner, queue, record->pos,
                                  str_make(record->bytes, record->len), record->wall_ms);
    sim_disarm();
}

/* Jumps to where the log goes on for this node, if that is not where it was. */
static inline bool sim_bus_jump(struct sim_bus *bus, uint32_t queue)
{
    struct sim *sim = bus->node->sim;
    struct sim_log *log = &sim->logs[queue];
    struct sim_reader *reader = &bus->readers[queue];
    if (reader->history != log->history) {
        reader->history = log->history;
        reader->next = log->begin;
        sim_bus_tell_hole(bus, queue, (struct bus_pos){sim_hi(log->history, log->base + 1), 0},
                          BUS_HOLE_EPOCH);
        return true;
    }
    bool expired = reader->next < log->kept;
    bool lost = (sim->fates & SIM_LOST_RECORDS) && reader->next + 1 < log->count &&
                sim_mishap(sim, 1);
    if (expired || lost) {
        reader->next = expired ? log->kept : reader->next + 1;
        sim_bus_tell_hole(bus, queue, sim_next_pos(log, reader->next),
                          expired ? BUS_HOLE_EXPIRED : BUS_HOLE_LOST);
    }
    return expired || lost;
}

static inline bool sim_bus_read(struct sim_bus *bus, uint32_t queue)
{
    struct sim_reader *reader = &bus->readers[queue];
    if (!reader->has_started || reader->epoch != bus->epoch || !reader->is_up ||
        !sim_queue_is_up(bus->node->sim, queue)) {
        return false;
    }
    if (sim_bus_jump(bus, queue)) {
        return true;
    }
    if (reader->next < bus->node->sim->logs[queue].count) {
        sim_bus_hand_over(bus, queue);
        return true;
    }
    return false;
}

/* As far back as the window reaches. */
static inline void sim_bus_start(struct sim_bus *bus, uint32_t queue)
{
    struct sim *sim = bus->node->sim;
    const struct sim_log *log = &sim->logs[queue];
    struct sim_reader *reader = &bus->readers[queue];
    uint64_t oldest = sim->now_ms + SIM_WALL_OFFSET_MS - bus->node->hub->options.window_age_ms;
    uint32_t at = log->kept;
    while (at < log->count && log->records[at]->wall_ms < oldest) {
        at++;
    }
    struct bus_pos from = {sim_hi(log->history, log->base), 0};
    if (at > log->begin) {
        from = (struct bus_pos){sim_next_pos(log, at).hi - 1, UINT64_MAX};
    }
    if (reader->has_started) {
        sim_node_notes_jump(bus->node, queue, from, SESSION_GAP_EPOCH);
    }
    *reader = (struct sim_reader){.has_started = true,
                                  .is_up = reader->is_up,
                                  .epoch = sim->epoch,
                                  .history = log->history,
                                  .next = at,
                                  .start_end = log->count};
    bus->node->starts_late[queue] |= from.hi > 0;
    bus->bus.callbacks->on_start(bus->bus.owner, queue, from);
}

static inline void sim_bus_watch_queue(struct sim_bus *bus, uint32_t queue)
{
    struct sim_reader *reader = &bus->readers[queue];
    bool up = sim_queue_is_up(bus->node->sim, queue);
    if (up && (!reader->has_started || reader->epoch != bus->epoch)) {
        sim_bus_start(bus, queue);
    }
    if (reader->is_up != up) {
        reader->is_up = up;
        bus->bus.callbacks->on_queue_state(bus->bus.owner, queue, up);
    }
}

static inline bool sim_bus_can_be_up(const struct sim_bus *bus)
{
    bool any = false;
    for (uint32_t q = 0; q < bus->bus.queues; q++) {
        const struct sim_reader *reader = &bus->readers[q];
        bool reachable = sim_queue_is_up(bus->node->sim, q);
        bool is_read = reader->has_started && reader->next >= reader->start_end;
        any = any || reader->is_up;
        if (!bus->was_up && reachable && !is_read) {
            return false;
        }
    }
    return any;
}

static inline void sim_bus_tell_state(struct sim_bus *bus)
{
    bool up = sim_bus_can_be_up(bus);
    if (up != bus->is_up) {
        bus->is_up = up;
        bus->was_up = bus->was_up || up;
        bus->bus.callbacks->on_state(bus->bus.owner, up, up ? "" : "no broker is there");
    }
}

static inline bool sim_any_broker_is_up(const struct sim *sim)
{
    return sim->broker_is_up[0] || (sim->queues > 1 && sim->broker_is_up[1]);
}

static inline void sim_bus_watch(struct sim_bus *bus)
{
    struct sim *sim = bus->node->sim;
    if (bus->epoch != sim->epoch && sim_any_broker_is_up(sim)) {
        char name[16];
        bus->epoch = sim->epoch;
        snprintf(name, sizeof(name), "e%u", sim->epoch);
        bus->bus.callbacks->on_epoch(bus->bus.owner, str_of(name));
    }
    for (uint32_t q = 0; q < sim->queues && bus->epoch; q++) {
        if (sim->is_quiet || sim_chance(sim, 70)) {
            sim_bus_watch_queue(bus, q);
        }
    }
}

static inline void sim_bus_flush(struct bus *base)
{
    struct sim_bus *bus = (struct sim_bus *)base;
    struct sim *sim = bus->node->sim;
    sim_bus_watch(bus);
    for (uint32_t q = 0; q < sim->queues; q++) {
        bool more = true;
        while (more && (sim->is_quiet || sim_chance(sim, bus->node->pace))) {
            bool first = sim_chance(sim, 50);
            more = first ? sim_bus_serve(bus, q) || sim_bus_read(bus, q)
                         : sim_bus_read(bus, q) || sim_bus_serve(bus, q);
        }
    }
    sim_bus_tell_state(bus);
}

static inline void sim_bus_destroy(struct bus *base)
{
    struct sim_bus *bus = (struct sim_bus *)base;
    for (uint32_t q = 0; q < SIM_QUEUES; q++) {
        if (bus->sends[q].publish) {
            sim_bus_abandon(bus, &bus->sends[q], ERR_CANCELED);
        }
    }
    free(bus);
}

static const struct bus_engine sim_engine = {
    .name = "sim", .destroy = sim_bus_destroy, .publish = sim_bus_publish, .flush = sim_bus_flush};

static inline struct sim_bus *sim_bus_create(struct sim_node *node)
{
    struct sim_bus *bus = calloc(1, sizeof(*bus));
    bus->bus = (struct bus){
        .engine = &sim_engine,
        .callbacks = &hub_bus_callbacks,
        .owner = node->hub,
        .queues = node->sim->queues,
        .max_record = UINT32_MAX,
        .failover_after_ms = node->sim->fates & SIM_AWAY_BROKERS ? SIM_FAILOVER_MS : UINT64_MAX};
    bus->node = node;
    return bus;
}

#endif
