/* Pushes to the simulated cluster, and what their callers are told. */
#ifndef TIDEGATE_CORE_SIM_PUSH_TEST_HELP_H
#define TIDEGATE_CORE_SIM_PUSH_TEST_HELP_H

#include "core/sim_acts_test_help.h"

static inline void sim_name_user(struct sim *sim, struct sim_target *target)
{
    target->kind = TARGET_USER;
    snprintf(target->name, sizeof(target->name), "u%u", sim_roll(sim, SIM_USERS));
}

static inline void sim_name_group(struct sim *sim, struct sim_target *target)
{
    target->kind = TARGET_GROUP;
    snprintf(target->name, sizeof(target->name), "room:%u", sim_roll(sim, SIM_GROUPS));
}

static inline void sim_choose_target(struct sim *sim, const struct sim_push *push,
                                     struct sim_target *target)
{
    uint32_t die = sim_roll(sim, 10);
    const struct sim_client *client = &sim->clients[sim_roll(sim, sim->client_count)];
    target->name[0] = '\0';
    if (push->kind == EVENT_JOIN || push->kind == EVENT_PART) {
        sim_name_group(sim, target);
    } else if (die < 2 && client->state == SIM_HERE && client->app == push->app) {
        target->kind = TARGET_SESSION;
        memcpy(target->name, client->sid, sizeof(client->sid));
    } else if (die < 5 || push->kind != EVENT_MESSAGE) {
        sim_name_user(sim, target);
    } else if (die < 9) {
        sim_name_group(sim, target);
    } else {
        target->kind = TARGET_ALL;
    }
    target->queue = sim_queue(push->app, target->kind, str_of(target->name), sim->queues);
}

/* One part for each queue that the targets have their home in. */
static inline void sim_split(struct sim_push *push)
{
    push->parts = 0;
    for (uint32_t i = 0; i < push->target_count; i++) {
        struct sim_target *target = &push->targets[i];
        target->part = (uint8_t)push->parts;
        for (uint32_t j = 0; j < i; j++) {
            if (push->targets[j].queue == target->queue) {
                target->part = push->targets[j].part;
            }
        }
        push->parts += target->part == push->parts;
    }
}

static inline void sim_choose_push(struct sim *sim, struct sim_push *push, int index)
{
    uint32_t die = sim_roll(sim, 100);
    push->kind = die < 86   ? EVENT_MESSAGE
                 : die < 92 ? EVENT_JOIN
                 : die < 97 ? EVENT_PART
                            : EVENT_KICK;
    push->app = sim_chance(sim, 80) ? 0 : 1;
    push->target_count = push->kind == EVENT_MESSAGE && sim_chance(sim, 25)
                             ? 2 + sim_roll(sim, SIM_TARGETS - 1)
                             : 1;
    for (uint32_t i = 0; i < push->target_count; i++) {
        sim_choose_target(sim, push, &push->targets[i]);
    }
    sim_split(push);
    push->first_of_id = index;
    push->has_id = push->kind == EVENT_MESSAGE && sim_chance(sim, 25);
    push->has_ttl = push->kind == EVENT_MESSAGE && sim_chance(sim, 10);
    snprintf(push->id, sizeof(push->id), "m%d", index);
    snprintf(push->subject, sizeof(push->subject), "u%u", sim_roll(sim, SIM_USERS));
    const struct sim_client *client = &sim->clients[sim_roll(sim, sim->client_count)];
    if (sim_chance(sim, 10)) {
        memcpy(push->except, client->sid, sizeof(push->except));
    }
    if (sim_chance(sim, 10)) {
        memcpy(push->origin_tag, client->origin_tag, sizeof(push->origin_tag));
    }
}

/* Now and then the same push again, as a caller does who got no answer, to whatever node; or
 * another one under the same id. */
static inline void sim_choose_or_repeat(struct sim *sim, struct sim_push *push, int index)
{
    int other = (int)sim_roll(sim, (uint32_t)index + 1);
    if (other == index || !sim->pushes[other].has_id) {
        sim_choose_push(sim, push, index);
        return;
    }
    *push = sim->pushes[other];
    push->done = push->receipts_delivered = 0;
    push->live_deliveries = push->receipt_matched = 0;
    push->is_orphan = false;
    memset(push->traces, 0, sizeof(push->traces));
    push->body = sim_chance(sim, 20) ? push->body + 1 : push->body;
}

/* Encoding: as the API does on the node that takes the push. */

static inline void sim_encode(struct buf *out, const struct sim_push *push, struct event event,
                              const struct target_space *space)
{
    struct target targets[SIM_TARGETS];
    uint64_t keys[SIM_TARGETS];
    size_t count = 0;
    for (uint32_t i = 0; i < push->target_count; i++) {
        if (push->targets[i].part == event.part) {
            targets[count] = (struct target){push->targets[i].kind, str_of(push->targets[i].name)};
            keys[count] = target_key(space, event.header.app, targets[count].kind,
                                     targets[count].name);
            count++;
        }
    }
    struct str except = str_of(push->except);
    assert_int_equal(event_encode(out, &event, targets, keys, count, &except, except.len > 0), 0);
}

static inline void sim_encode_part(const struct sim *sim, const struct sim_push *push,
                                   uint32_t part, const struct sim_node *node, struct buf *out)
{
    char number[12];
    snprintf(number, sizeof(number), "%d", (int)(push - sim->pushes));
    uint32_t app = target_app_hash(&node->space, str_of(sim_app_names[push->app]));
    struct event event = {
        .header = {.flags = (uint8_t)((push->has_id ? EVENT_HAS_ID : 0) |
                                      (push->wants_receipt ? EVENT_WANTS_RECEIPT : 0)),
                   .app = app,
                   .ttl_ms = push->has_ttl ? 100 : 0,
                   .origin = node->boot},
        .id_hash = event_id_hash(&node->space, app, str_of(push->id)),
        .body_hash = 7 + push->body,
        .kind = push->kind,
        .part = (uint8_t)part,
        .parts = (uint8_t)push->parts,
        .data_kind = EVENT_DATA_TEXT,
        .key_tag = node->space.tag,
        .time_ms = sim->now_ms + SIM_WALL_OFFSET_MS,
        .id = str_of(push->id),
        .type = {number, strlen(number) + 1}, /* with its NUL: see sim_check_message */
        .origin_tag = str_of(push->origin_tag),
        .subject = str_of(push->subject),
        .data = STR("hello")};
    sim_encode(out, push, event, &node->space);
}

static inline void sim_on_receipt_mail(struct mail *mail)
{
    struct receipt *receipt = MAIL_OWNER(mail, struct receipt, mail);
    struct sim_push *push = receipt->owner;
    push->receipts_delivered++;
    push->receipt_matched = atomic_load(&receipt->matched);
    receipt_unref(receipt);
}

static inline void sim_deliver_receipt(struct receipt *receipt)
{
    receipt->mail.run = sim_on_receipt_mail;
    receipt->mail.run(&receipt->mail);
}

/* What the caller is told. */

static inline bool sim_stands_in_log(const struct sim *sim, const struct publish_part *part,
                                     int push)
{
    const struct sim_log *log = &sim->logs[part->queue];
    for (uint32_t i = 0; i < log->event_count; i++) {
        if (log->events[i].push == push && bus_pos_compare(log->events[i].pos, part->pos) == 0) {
            return true;
        }
    }
    return false;
}

static inline bool sim_id_was_taken(const struct sim *sim, const struct sim_push *push,
                                    bool same_body)
{
    for (int i = push->first_of_id; i < sim->push_count; i++) {
        const struct sim_push *other = &sim->pushes[i];
        if (other != push && other->first_of_id == push->first_of_id &&
            (other->body == push->body) == same_body && sim_push_has_in_log(other, 0, true)) {
            return true;
        }
    }
    return false;
}

static inline void sim_check_verdict(const struct sim *sim, const struct sim_push *push,
                                     const struct publish *publish)
{
    int index = (int)(push - sim->pushes);
    switch (publish->verdict) {
    case PUBLISH_ACCEPTED:
        for (uint32_t i = 0; i < publish->part_count; i++) {
            SIM_CHECK(sim, sim_stands_in_log(sim, &publish->parts[i], index),
                      "push %d was accepted, but is not in the log", index);
        }
        break;
    case PUBLISH_REPLAYED:
        SIM_CHECK(sim, sim_id_was_taken(sim, push, true), "push %d repeats nothing", index);
        break;
    case PUBLISH_CONFLICT:
        SIM_CHECK(sim, sim_id_was_taken(sim, push, false), "push %d conflicts with none", index);
        break;
    case PUBLISH_FAILED: break; /* nobody knows */
    }
}

static inline void sim_on_publish_done(struct publish *publish)
{
    struct sim_push *push = publish->owner;
    push->done++;
    sim_check_verdict(push->sim, push, publish);
    publish_destroy(publish);
}

/* Where something may be lost to this node, its own record may not come back. */
static inline uint64_t sim_deadline(struct sim *sim)
{
    bool has_one = sim->fates & SIM_LOSSES & ~SIM_SMALL_WINDOWS ? true : sim_chance(sim, 70);
    return has_one ? sim->now_ms + 1 + sim_roll(sim, 3000) : 0;
}

static inline struct publish *sim_make_publish(struct sim *sim, struct sim_push *push,
                                               struct sim_node *node)
{
    struct publish *publish = publish_create(push->parts);
    for (uint32_t i = 0; i < push->target_count; i++) {
        publish->parts[push->targets[i].part].queue = push->targets[i].queue;
    }
    for (uint32_t i = 0; i < push->parts; i++) {
        sim_encode_part(sim, push, i, node, &publish->parts[i].event);
    }
    publish->owner = push;
    publish->hub = node->hub;
    publish->on_done = sim_on_publish_done;
    publish->awaits_return = push->has_id || push->wants_receipt;
    publish->receipt = push->wants_receipt ? receipt_create(push->parts, sim_deliver_receipt, push)
                                           : NULL;
    publish->mail.run = sim_run_publish;
    publish->deadline_ms = sim_deadline(sim);
    return publish;
}

static inline void sim_push_something(struct sim *sim, struct sim_node *node)
{
    if (sim->push_count == SIM_PUSHES) {
        return;
    }
    int index = sim->push_count++;
    struct sim_push *push = &sim->pushes[index];
    sim_choose_or_repeat(sim, push, index);
    push->sim = sim;
    push->boot = node->boot;
    push->wants_receipt = sim_chance(sim, 30);
    struct publish *publish = sim_make_publish(sim, push, node);
    publish->worker = sim_roll(sim, sim->shards);
    sim_post_to_hub(&node->workers[publish->worker], &publish->mail);
}

static inline void sim_check_push(const struct sim *sim, int index)
{
    const struct sim_push *push = &sim->pushes[index];
    SIM_CHECK(sim, push->done == 1, "push %d was done %d times", index, push->done);
    if (push->is_orphan) {
        return;
    }
    SIM_CHECK(sim, push->receipts_delivered == push->wants_receipt,
              "push %d: its receipt came %d times", index, push->receipts_delivered);
    if (push->wants_receipt && push->kind == EVENT_MESSAGE) {
        SIM_CHECK(sim, push->receipt_matched == push->live_deliveries,
                  "push %d: the receipt counts %u, %u got it", index, push->receipt_matched,
                  push->live_deliveries);
    }
}

#endif
