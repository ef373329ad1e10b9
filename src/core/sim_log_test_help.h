/* The logs of the simulated bus: the truth that all nodes read, and what the checker notes of it.
 */
#ifndef TIDEGATE_CORE_SIM_LOG_TEST_HELP_H
#define TIDEGATE_CORE_SIM_LOG_TEST_HELP_H

#include "core/sim_test_help.h"

static inline uint32_t sim_boot_index(uint32_t boot)
{
    return boot - SIM_FIRST_BOOT;
}

static inline bool sim_push_has_in_log(const struct sim_push *push, uint8_t part, bool any_part)
{
    for (uint32_t p = 0; p < push->parts; p++) {
        if (push->traces[p].is_in_log && (any_part || p == part)) {
            return true;
        }
    }
    return false;
}

/* Whether the id stands in any log, with this part or with another body. */
static inline bool sim_id_is_in_log(const struct sim *sim, const struct sim_push *push,
                                    uint8_t part)
{
    for (int i = push->first_of_id; i < sim->push_count; i++) {
        const struct sim_push *other = &sim->pushes[i];
        if (other->first_of_id == push->first_of_id &&
            sim_push_has_in_log(other, part, other->body != push->body)) {
            return true;
        }
    }
    return false;
}

/* One part of a push is tried in one queue under one counter, however often. */
static inline void sim_trace(struct sim *sim, const struct sim_event *event, uint32_t queue)
{
    struct sim_trace *trace = &sim->pushes[event->push].traces[event->part];
    SIM_CHECK(sim, !trace->is_in_log || (trace->queue == queue && trace->counter == event->counter),
              "part %u of push %d was sent twice", event->part, event->push);
    *trace = (struct sim_trace){true, queue, event->counter};
}

static inline void sim_log_add_event(struct sim *sim, uint32_t queue, struct sim_event event)
{
    struct sim_log *log = &sim->logs[queue];
    assert_true(log->event_count < SIM_EVENTS);
    if (event.push >= 0) {
        uint32_t *mark = &log->marks[sim_boot_index(event.boot)];
        const struct sim_push *push = &sim->pushes[event.push];
        event.again = event.counter <= *mark ||
                      (push->has_id && sim_id_is_in_log(sim, push, event.part));
        *mark = event.counter > *mark ? event.counter : *mark;
        sim_trace(sim, &event, queue);
    }
    log->events[log->event_count++] = event;
}

static inline void sim_log_add_events(struct sim *sim, uint32_t queue,
                                      const struct sim_record *record)
{
    struct bus_pos pos = record->pos;
    for (size_t at = 0; at < record->len; pos.lo++) {
        struct event event;
        size_t skip = 0;
        ssize_t len = event_decode(&event, record->bytes + at, record->len - at, &skip);
        assert_true(len > 0);
        sim_log_add_event(sim, queue,
                          (struct sim_event){.pos = pos,
                                             .push = atoi(event.type.ptr),
                                             .part = event.part,
                                             .boot = event.header.origin,
                                             .counter = event.header.counter});
        sim->strays += (event.header.flags & EVENT_IS_STRAY) != 0;
        at += (size_t)len;
    }
}

static inline struct sim_record *sim_log_add(struct sim *sim, uint32_t queue, struct str bytes)
{
    struct sim_log *log = &sim->logs[queue];
    struct sim_record *record = malloc(sizeof(*record) + bytes.len);
    *record = (struct sim_record){.pos = {sim_hi(log->history, ++log->number), 0},
                                  .wall_ms = sim->now_ms + SIM_WALL_OFFSET_MS,
                                  .first_event = log->event_count,
                                  .len = bytes.len};
    if (bytes.len) {
        memcpy(record->bytes, bytes.ptr, bytes.len);
    }
    assert_true(log->count < SIM_EVENTS);
    log->records[log->count++] = record;
    sim_log_add_events(sim, queue, record);
    record->event_count = log->event_count - record->first_event;
    return record;
}

static inline void sim_log_skip(struct sim *sim, uint32_t queue)
{
    struct sim_record *record = sim_log_add(sim, queue, STR(""));
    record->is_unused = true;
    record->event_count = 1;
    sim_log_add_event(sim, queue, (struct sim_event){.pos = record->pos, .push = -1});
}

static inline void sim_arrive_later(struct sim *sim, uint32_t queue, struct str bytes)
{
    struct sim_late *late = malloc(sizeof(*late) + bytes.len);
    *late = (struct sim_late){.next = sim->late, .queue = queue, .len = bytes.len};
    memcpy(late->bytes, bytes.ptr, bytes.len);
    sim->late = late;
}

static inline bool sim_queue_is_up(const struct sim *sim, uint32_t queue)
{
    return sim->broker_is_up[queue % SIM_BROKERS];
}

static inline void sim_late_arrives(struct sim *sim)
{
    struct sim_late *late = sim->late;
    if (late && sim_queue_is_up(sim, late->queue)) {
        sim->late = late->next;
        sim_log_add(sim, late->queue, str_make(late->bytes, late->len));
        free(late);
    }
}

static inline void sim_logs_destroy(struct sim *sim)
{
    for (uint32_t q = 0; q < sim->queues; q++) {
        for (uint32_t i = 0; i < sim->logs[q].count; i++) {
            free(sim->logs[q].records[i]);
        }
    }
    while (sim->late) {
        struct sim_late *late = sim->late;
        sim->late = late->next;
        free(late);
    }
}

#endif
