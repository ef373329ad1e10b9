/* A simulated node for tests: one hub, some shards, a bus that is slow, fails, repeats and loses,
 * and mails between them that are stepped in a random order. Everything random comes from the seed,
 * so a seed that fails can be run alone. This part has the dice, the pushes and the history of the
 * bus; sim_client_test_help.h has the clients, who check what they are told against it. */
#ifndef TIDEGATE_CORE_SIM_TEST_HELP_H
#define TIDEGATE_CORE_SIM_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/hub_private.h"
#include "core/receipt.h"
#include "core/shard_private.h"
#include "core/sid.h"

enum {
    SIM_SHARDS = 3,
    SIM_QUEUES = 6,
    SIM_APPS = 2,
    SIM_USERS = 8,
    SIM_GROUPS = 6,
    SIM_API_GROUPS = 2, /* the last ones: clients never join them by themselves */
    SIM_CLIENTS = 40,
    SIM_PUSHES = 400,
    SIM_EVENTS = 2000,
    SIM_TARGETS = 4,
    SIM_BOOT = 77,
};

#define SIM_CHECK(sim, condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu%s: ", (unsigned long long)(sim)->seed,                      \
                    (sim)->out_of_memory ? " (with allocation failures)" : "");                    \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\n  run it alone: SIM_SEED=%llu\n", (unsigned long long)(sim)->seed); \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

struct sim_target {
    enum target_kind kind;
    char name[SID_LEN + 8];
    uint32_t queue;
};

struct sim_push {
    enum event_kind kind;
    uint16_t app;
    uint32_t target_count;
    struct sim_target targets[SIM_TARGETS];
    uint32_t parts;
    char id[16];
    char subject[12];
    char except[SID_LEN + 1];
    char origin_tag[12];
    bool has_id;
    bool has_ttl;
    bool wants_receipt;
    int first_of_id; /* the push that had the id first; itself else */
    int done;
    int receipts_delivered;
    uint32_t live_deliveries;
    uint32_t receipt_matched;
};

/* What the bus handed over, in queue order. */
struct sim_event {
    struct bus_pos pos;
    int push;   /* -1: a hole */
    bool again; /* the same record, or the same id, came before */
};

struct sim_history {
    struct sim_event events[SIM_EVENTS];
    uint32_t count;
};

struct sim;

struct sim_worker {
    struct sim *sim;
    uint32_t index;
    struct shard *shard;
    bool ready; /* must run */
    struct mail *outbox[4096];
    uint32_t outbox_head, outbox_count;
    struct mail *inbox[4096];
    uint32_t inbox_head, inbox_count;
};

struct sim_client;

struct sim {
    uint64_t seed;
    uint64_t dice;
    bool out_of_memory;
    uint32_t queues, shards, client_count;
    uint64_t now_ms;
    struct hub *hub;
    struct sim_worker workers[SIM_SHARDS];
    struct sim_client *clients;
    struct sim_push pushes[SIM_PUSHES];
    int push_count;
    struct sim_history histories[SIM_QUEUES];
    struct receipt *unsent[256]; /* of messages that wait in slow sessions */
    uint32_t unsent_count;
    bool is_quiet; /* nobody is slow and nothing fails any more */
    uint32_t next_tag;
    uint64_t gaps_told, delivered, catch_ups, kicks;
};

static inline uint32_t sim_roll(struct sim *sim, uint32_t sides)
{
    sim->dice ^= sim->dice << 13;
    sim->dice ^= sim->dice >> 7;
    sim->dice ^= sim->dice << 17;
    return (uint32_t)((sim->dice >> 20) % sides);
}

static inline bool sim_chance(struct sim *sim, uint32_t percent)
{
    return sim_roll(sim, 100) < percent;
}

/* Calls into the product may fail to allocate, one now and then. */
static inline void sim_arm(struct sim *sim)
{
    if (sim->out_of_memory && !sim->is_quiet && sim_chance(sim, 20)) {
        mem_fail_nth(1 + sim_roll(sim, 8));
    }
}

static inline void sim_disarm(void)
{
    mem_fail_nth(0);
}

static const struct target_space sim_space = {.keys = {1, 2}, .open = {5, 6}};
static const struct siphash_key sim_sid_key = {3, 4};
static const char *const sim_app_names[SIM_APPS] = {"one", "two"};

static inline uint64_t sim_key(uint16_t app, enum target_kind kind, struct str name)
{
    uint32_t hash = target_app_hash(&sim_space, str_of(sim_app_names[app]));
    return target_key(&sim_space, hash, kind, name);
}

static inline uint32_t sim_queue(uint16_t app, enum target_kind kind, struct str name,
                                 uint32_t queues)
{
    uint32_t hash = target_app_hash(&sim_space, str_of(sim_app_names[app]));
    return target_queue(&sim_space, hash, kind, name, queues);
}

/* The bus: records wait, fail, are acknowledged before or after they arrive, and arrive twice. */
struct sim_record {
    struct sim_record *next;
    struct bus_publish *publish; /* NULL: acknowledged, or a repeat */
    struct bus_pos pos;
    size_t len;
    uint8_t bytes[];
};

struct sim_bus {
    struct bus bus; /* first */
    struct sim *sim;
    struct sim_record *first[SIM_QUEUES];
    uint64_t hi[SIM_QUEUES];
    bool announced;
};

static inline void sim_bus_add(struct sim_bus *bus, uint32_t queue, struct str bytes,
                               struct bus_publish *publish)
{
    struct sim_record *record = malloc(sizeof(*record) + bytes.len);
    *record = (struct sim_record){.publish = publish, .len = bytes.len};
    memcpy(record->bytes, bytes.ptr, bytes.len);
    struct sim_record **end = &bus->first[queue];
    while (*end) {
        end = &(*end)->next;
    }
    *end = record;
}

static inline int sim_bus_publish(struct bus *base, struct bus_publish *publish)
{
    struct sim_bus *bus = (struct sim_bus *)base;
    if (!bus->sim->is_quiet && sim_chance(bus->sim, 2)) {
        return ERR_UNAVAILABLE;
    }
    sim_bus_add(bus, publish->queue, publish->record, publish);
    return 0;
}

static inline void sim_note_event(struct sim *sim, uint32_t queue, struct bus_pos pos, int push)
{
    struct sim_history *history = &sim->histories[queue];
    assert_true(history->count < SIM_EVENTS);
    bool again = false;
    for (uint32_t i = 0; push >= 0 && i < history->count; i++) {
        int other = history->events[i].push;
        again = again || (other >= 0 && (other == push || sim->pushes[other].first_of_id ==
                                                              sim->pushes[push].first_of_id));
    }
    history->events[history->count++] = (struct sim_event){pos, push, again};
}

static inline void sim_note_record(struct sim *sim, uint32_t queue, struct bus_pos pos,
                                   struct str record)
{
    for (size_t at = 0; at < record.len; pos.lo++) {
        struct event event;
        size_t skip = 0;
        ssize_t len = event_decode(&event, (const uint8_t *)record.ptr + at, record.len - at,
                                   &skip);
        assert_true(len > 0);
        sim_note_event(sim, queue, pos, atoi(event.collapse.ptr));
        at += (size_t)len;
    }
}

static inline void sim_bus_acknowledge(struct sim_record *record)
{
    struct bus_publish *publish = record->publish;
    record->publish = NULL;
    if (publish) {
        publish->on_done(publish, 0, record->pos);
    }
}

static inline void sim_bus_hand_over(struct sim_bus *bus, uint32_t queue)
{
    struct sim_record *record = bus->first[queue];
    struct str bytes = str_make(record->bytes, record->len);
    bus->first[queue] = record->next;
    if (!bus->sim->is_quiet && sim_chance(bus->sim, 5)) {
        sim_bus_add(bus, queue, bytes, NULL); /* comes again */
    }
    sim_note_record(bus->sim, queue, record->pos, bytes);
    sim_arm(bus->sim);
    bus->bus.callbacks->on_record(bus->bus.owner, queue, record->pos, bytes, 0);
    sim_disarm();
    sim_bus_acknowledge(record);
    free(record);
}

static inline void sim_bus_lose(struct sim_bus *bus, uint32_t queue)
{
    struct bus_pos from = {bus->hi[queue], 1000};
    bus->hi[queue] += 3;
    struct bus_pos lost = {bus->hi[queue], 0};
    struct bus_pos to = {bus->hi[queue] + 1, 0};
    sim_note_event(bus->sim, queue, lost, -1);
    bus->bus.callbacks->on_hole(bus->bus.owner, queue, from, to, BUS_HOLE_LOST);
}

static inline void sim_bus_step(struct sim_bus *bus, uint32_t queue)
{
    struct sim_record *record = bus->first[queue];
    bool quiet = bus->sim->is_quiet;
    if (record->pos.hi) { /* acknowledged already */
        sim_bus_hand_over(bus, queue);
        return;
    }
    if (!quiet && record->publish && sim_chance(bus->sim, 3)) {
        bus->first[queue] = record->next;
        record->publish->on_done(record->publish, ERR_UNAVAILABLE, (struct bus_pos){0, 0});
        free(record);
        return;
    }
    if (!quiet && sim_chance(bus->sim, 1)) {
        sim_bus_lose(bus, queue);
    }
    record->pos = (struct bus_pos){++bus->hi[queue], 0};
    if (!quiet && sim_chance(bus->sim, 30)) {
        sim_bus_acknowledge(record);
    } else {
        sim_bus_hand_over(bus, queue);
    }
}

static inline void sim_bus_announce(struct sim_bus *bus)
{
    bus->announced = true;
    bus->bus.callbacks->on_epoch(bus->bus.owner, STR("sim"));
    for (uint32_t q = 0; q < bus->sim->queues; q++) {
        bus->bus.callbacks->on_start(bus->bus.owner, q, (struct bus_pos){0, 0});
        bus->bus.callbacks->on_queue_state(bus->bus.owner, q, true);
    }
    bus->bus.callbacks->on_state(bus->bus.owner, true, "");
}

static inline void sim_bus_flush(struct bus *base)
{
    struct sim_bus *bus = (struct sim_bus *)base;
    if (!bus->announced) {
        sim_bus_announce(bus);
    }
    for (uint32_t q = 0; q < bus->sim->queues; q++) {
        while (bus->first[q] && (bus->sim->is_quiet || sim_chance(bus->sim, 60))) {
            sim_bus_step(bus, q);
        }
    }
}

static inline void sim_bus_destroy(struct bus *base)
{
    struct sim_bus *bus = (struct sim_bus *)base;
    for (uint32_t q = 0; q < SIM_QUEUES; q++) {
        while (bus->first[q]) {
            struct sim_record *record = bus->first[q];
            bus->first[q] = record->next;
            if (record->publish) {
                record->publish->on_done(record->publish, ERR_CANCELED, (struct bus_pos){0, 0});
            }
            free(record);
        }
    }
    free(bus);
}

static const struct bus_engine sim_engine = {
    .name = "sim", .destroy = sim_bus_destroy, .publish = sim_bus_publish, .flush = sim_bus_flush};

static inline struct bus *sim_bus_create(struct sim *sim)
{
    struct sim_bus *bus = calloc(1, sizeof(*bus));
    bus->bus = (struct bus){.engine = &sim_engine,
                            .callbacks = &hub_bus_callbacks,
                            .owner = sim->hub,
                            .queues = sim->queues,
                            .max_record = UINT32_MAX,
                            .failover_after_ms = UINT64_MAX};
    bus->sim = sim;
    return &bus->bus;
}

/* Mails: first in, first out for each pair of threads. */
static inline void sim_post(struct mail **box, uint32_t *head, uint32_t *count, struct mail *mail)
{
    assert_true(*count < 4096);
    box[(*head + (*count)++) % 4096] = mail;
}

static inline struct mail *sim_take(struct mail **box, uint32_t *head, uint32_t *count)
{
    struct mail *mail = *count ? box[*head] : NULL;
    *head = (*head + (mail != NULL)) % 4096;
    *count -= mail != NULL;
    return mail;
}

static inline void sim_post_to_hub(struct sim_worker *worker, struct mail *mail)
{
    sim_post(worker->outbox, &worker->outbox_head, &worker->outbox_count, mail);
}

static inline void sim_run_interest(struct mail *mail)
{
    struct interest_batch *batch = MAIL_OWNER(mail, struct interest_batch, mail);
    struct sim_worker *worker = batch->owner;
    hub_interest(worker->sim->hub, batch);
}

static inline void sim_send_interest(void *owner, struct interest_batch *batch)
{
    batch->owner = owner;
    batch->mail.run = sim_run_interest;
    sim_post_to_hub(owner, &batch->mail);
}

struct sim_catch_up_mail {
    struct mail mail;
    struct sim_worker *worker;
};

static inline void sim_run_catch_up(struct mail *mail)
{
    struct sim_catch_up_mail *ask = MAIL_OWNER(mail, struct sim_catch_up_mail, mail);
    hub_catch_up(ask->worker->sim->hub, ask->worker->index);
    free(ask);
}

static inline void sim_ask_catch_up(void *owner)
{
    struct sim_catch_up_mail *ask = malloc(sizeof(*ask));
    ask->worker = owner;
    ask->mail.run = sim_run_catch_up;
    sim_post_to_hub(owner, &ask->mail);
}

static inline void sim_wake(void *owner, uint32_t worker)
{
    struct sim *sim = owner;
    sim->workers[worker].ready = true;
}

static inline void sim_give_back(void *owner, uint32_t index, struct mail_chain *done)
{
    struct sim_worker *worker = &((struct sim *)owner)->workers[index];
    for (struct mail *mail = done->first; mail;) {
        struct mail *next = mail->next;
        sim_post(worker->inbox, &worker->inbox_head, &worker->inbox_count, mail);
        mail = next;
    }
}

static inline void sim_on_bus_state(void *owner, bool up, const char *reason)
{
}

static const struct hub_callbacks sim_hub_callbacks = {
    .wake = sim_wake, .give_back = sim_give_back, .on_bus_state = sim_on_bus_state};
static const struct shard_callbacks sim_shard_callbacks = {.send_interest = sim_send_interest,
                                                           .ask_catch_up = sim_ask_catch_up};

static inline void sim_create_hub(struct sim *sim)
{
    struct hub_options options = {.workers = sim->shards,
                                  .queues = sim->queues,
                                  .window_bytes = 2000u << sim_roll(sim, 8),
                                  .window_age_ms = sim_chance(sim, 30) ? 2000 : 60000,
                                  .backlog_bytes = 20000,
                                  .record_bytes = 1000,
                                  .ring_slots = 1u << (1 + sim_roll(sim, 8)),
                                  .boot = SIM_BOOT,
                                  .space = sim_space,
                                  .sid_key = sim_sid_key};
    assert_int_equal(hub_create(&sim->hub, &options, &sim_hub_callbacks, sim), 0);
    hub_set_bus(sim->hub, sim_bus_create(sim));
}

static inline void sim_create_shard(struct sim *sim, uint32_t index, const struct session_ops *ops)
{
    struct sim_worker *worker = &sim->workers[index];
    struct shard_options options = {.worker = index,
                                    .queues = sim->queues,
                                    .boot = SIM_BOOT,
                                    .space = sim_space,
                                    .sid_key = sim_sid_key,
                                    .window = hub_window(sim->hub),
                                    .link = hub_link(sim->hub, index),
                                    .max_replays = 1 + sim_roll(sim, 3),
                                    .slice = 1 + sim_roll(sim, 8),
                                    .lane_items = 1 + sim_roll(sim, 20)};
    worker->sim = sim;
    worker->index = index;
    assert_int_equal(shard_create(&worker->shard, &options, &sim_shard_callbacks, worker), 0);
    shard_set_transport(worker->shard, 0, ops);
    for (uint32_t app = 0; app < SIM_APPS; app++) {
        assert_int_equal(shard_add_app(worker->shard, (uint16_t)app, str_of(sim_app_names[app])),
                         0);
    }
}

static inline bool sim_hub_takes_mail(struct sim *sim, uint32_t worker)
{
    struct sim_worker *from = &sim->workers[worker];
    struct mail *mail = sim_take(from->outbox, &from->outbox_head, &from->outbox_count);
    if (mail) {
        sim_arm(sim);
        mail->run(mail);
        sim_disarm();
    }
    return mail != NULL;
}

static inline bool sim_hub_flushes(struct sim *sim)
{
    sim_arm(sim);
    bool more = hub_flush(sim->hub, sim->now_ms, sim->now_ms * 1000);
    sim_disarm();
    return more;
}

static inline bool sim_worker_takes_mail(struct sim_worker *worker)
{
    struct mail *mail = sim_take(worker->inbox, &worker->inbox_head, &worker->inbox_count);
    if (mail) {
        mail->run(mail);
    }
    return mail != NULL;
}

static inline void sim_worker_runs(struct sim_worker *worker)
{
    worker->ready = false;
    sim_arm(worker->sim);
    worker->ready = shard_run(worker->shard, worker->sim->now_ms) || worker->ready;
    shard_flush(worker->shard);
    sim_disarm();
}

/* The receipts of what slow sessions had queued: written now. */
static inline void sim_write_unsent(struct sim *sim)
{
    while (sim->unsent_count > 0) {
        struct receipt *receipt = sim->unsent[--sim->unsent_count];
        receipt_close(receipt);
        receipt_unref(receipt);
    }
}

#endif
