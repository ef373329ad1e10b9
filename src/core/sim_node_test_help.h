/* A simulated node: one hub, some shards, and mails between their threads, which are stepped in a
 * random order. It dies with all that it knew, and begins again with a boot of its own. */
#ifndef TIDEGATE_CORE_SIM_NODE_TEST_HELP_H
#define TIDEGATE_CORE_SIM_NODE_TEST_HELP_H

#include "core/sim_bus_test_help.h"

enum { SIM_MAILS = 1024 };

/* Mails: first in, first out for each pair of threads. */
static inline void sim_post(struct mail **box, uint32_t *head, uint32_t *count, struct mail *mail)
{
    assert_true(*count < SIM_MAILS);
    box[(*head + (*count)++) % SIM_MAILS] = mail;
}

static inline struct mail *sim_take(struct mail **box, uint32_t *head, uint32_t *count)
{
    struct mail *mail = *count ? box[*head] : NULL;
    *head = (*head + (mail != NULL)) % SIM_MAILS;
    *count -= mail != NULL;
    return mail;
}

static inline void sim_post_to_hub(struct sim_worker *worker, struct mail *mail)
{
    sim_post(worker->outbox, &worker->outbox_head, &worker->outbox_count, mail);
}

static inline struct mail *sim_take_from_outbox(struct sim_worker *worker)
{
    return sim_take(worker->outbox, &worker->outbox_head, &worker->outbox_count);
}

static inline void sim_run_publish(struct mail *mail)
{
    struct publish *publish = MAIL_OWNER(mail, struct publish, mail);
    struct sim_push *push = publish->owner;
    assert_int_equal(push->done, 0);
    hub_publish(publish->hub, publish, publish->hub->now_ms);
}

static inline void sim_run_interest(struct mail *mail)
{
    struct interest_batch *batch = MAIL_OWNER(mail, struct interest_batch, mail);
    struct sim_worker *worker = batch->owner;
    hub_interest(worker->node->hub, batch);
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
    hub_catch_up(ask->worker->node->hub, ask->worker->index);
    free(ask);
}

static inline void sim_ask_catch_up(void *owner)
{
    struct sim_catch_up_mail *ask = malloc(sizeof(*ask));
    ask->worker = owner;
    ask->mail.run = sim_run_catch_up;
    sim_post_to_hub(owner, &ask->mail);
}

static inline void sim_ask_run(void *owner, uint32_t delay_ms)
{
    struct sim_worker *worker = owner;
    worker->run_at_ms = worker->node->sim->now_ms + delay_ms;
}

static inline void sim_wake(void *owner, uint32_t worker)
{
    struct sim_node *node = owner;
    node->workers[worker].ready = true;
}

static inline void sim_give_back(void *owner, uint32_t index, struct mail_chain *done)
{
    struct sim_worker *worker = &((struct sim_node *)owner)->workers[index];
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
static const struct shard_callbacks sim_shard_callbacks = {
    .send_interest = sim_send_interest, .ask_catch_up = sim_ask_catch_up, .ask_run = sim_ask_run};

/* Life. */

static inline void sim_create_hub(struct sim_node *node)
{
    struct sim *sim = node->sim;
    bool small_window = sim->fates & SIM_SMALL_WINDOWS;
    bool small_ring = sim->fates & SIM_SMALL_RINGS;
    struct hub_options options = {
        .workers = sim->shards,
        .queues = sim->queues,
        .window_bytes = small_window ? 2000u << sim_roll(sim, 8) : 1u << 30,
        .window_age_ms = small_window && sim_chance(sim, 50) ? 2000 : 60000,
        .backlog_bytes = 20000,
        .record_bytes = 1000,
        .ring_slots = small_ring ? 1u << (1 + sim_roll(sim, 8)) : 4096,
        .boot = node->boot,
        .space = node->space,
        .sid_key = sim_sid_key};
    assert_int_equal(hub_create(&node->hub, &options, &sim_hub_callbacks, node), 0);
    node->bus = sim_bus_create(node);
    hub_set_bus(node->hub, &node->bus->bus);
    hub_set_wall_offset(node->hub, SIM_WALL_OFFSET_MS);
    hub_set_now(node->hub, sim->now_ms, sim->now_ms * 1000);
}

/* Where nothing is lost, a client that is ahead waits for as long as it takes. */
static inline uint32_t sim_hold_ms(struct sim *sim)
{
    if (sim->node_count == 1 && !(sim->fates & SIM_DEATHS)) {
        return 0;
    }
    return sim->fates & SIM_LOSSES ? 200 + sim_roll(sim, 3000) : 1u << 30;
}

static inline void sim_create_shard(struct sim_node *node, uint32_t index,
                                    const struct session_ops *ops)
{
    struct sim *sim = node->sim;
    struct sim_worker *worker = &node->workers[index];
    struct shard_options options = {.worker = index,
                                    .queues = sim->queues,
                                    .boot = node->boot,
                                    .space = node->space,
                                    .sid_key = sim_sid_key,
                                    .window = hub_window(node->hub),
                                    .link = hub_link(node->hub, index),
                                    .max_replays = 1 + sim_roll(sim, 3),
                                    .slice = 1 + sim_roll(sim, 8),
                                    .lane_items = 1 + sim_roll(sim, 20),
                                    .hold_ms = sim_hold_ms(sim)};
    worker->node = node;
    worker->index = index;
    assert_int_equal(shard_create(&worker->shard, &options, &sim_shard_callbacks, worker), 0);
    shard_set_transport(worker->shard, 0, ops);
    for (uint32_t app = 0; app < SIM_APPS; app++) {
        assert_int_equal(shard_add_app(worker->shard, (uint16_t)app, str_of(sim_app_names[app])),
                         0);
    }
}

static inline void sim_node_starts(struct sim *sim, uint32_t index, const struct session_ops *ops)
{
    struct sim_node *node = calloc(1, sizeof(*node));
    assert_true(sim->boots < SIM_BOOTS);
    node->sim = sim;
    node->index = index;
    node->boot = SIM_FIRST_BOOT + sim->boots++;
    node->space = sim_spaces[sim->fates & SIM_TWO_SECRETS ? sim_roll(sim, 2) : 0];
    node->pace = sim->node_count == 1 ? 60 : 20 + sim_roll(sim, 75);
    sim_create_hub(node);
    for (uint32_t i = 0; i < sim->shards; i++) {
        sim_create_shard(node, i, ops);
    }
    sim->nodes[index] = node;
}

static inline bool sim_worker_takes_mail(struct sim_worker *worker)
{
    struct mail *mail = sim_take(worker->inbox, &worker->inbox_head, &worker->inbox_count);
    if (mail) {
        mail->run(mail);
    }
    return mail != NULL;
}

/* What the hub never got of it. */
static inline void sim_discard(struct mail *mail)
{
    if (mail->run == sim_run_interest) {
        interest_batch_destroy(MAIL_OWNER(mail, struct interest_batch, mail));
    } else if (mail->run == sim_run_catch_up) {
        free(MAIL_OWNER(mail, struct sim_catch_up_mail, mail));
    } else {
        struct publish *publish = MAIL_OWNER(mail, struct publish, mail);
        publish->verdict = PUBLISH_FAILED;
        publish->on_done(publish);
    }
}

/* All sessions are gone. Who waits for an answer to a push is told, in this simulation, that it is
 * canceled: what became of it nobody knows. */
static inline void sim_node_ends(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (int i = 0; i < sim->push_count; i++) {
        struct sim_push *push = &sim->pushes[i];
        push->is_orphan = push->is_orphan || (push->boot == node->boot && !push->done);
        push->is_orphan = push->is_orphan || (push->boot == node->boot &&
                                              push->receipts_delivered < push->wants_receipt);
    }
    sim->repeats += node->repeats;
    for (uint32_t i = 0; i < sim->shards; i++) {
        struct sim_worker *worker = &node->workers[i];
        sim->catch_ups += worker->shard->stats.catch_ups;
        for (struct mail *mail = sim_take_from_outbox(worker); mail;
             mail = sim_take_from_outbox(worker)) {
            sim_discard(mail);
        }
        shard_destroy(worker->shard);
    }
    hub_destroy(node->hub);
    for (uint32_t i = 0; i < sim->shards; i++) {
        while (sim_worker_takes_mail(&node->workers[i])) {
        }
    }
    sim->nodes[node->index] = NULL;
    free(node);
}

/* Steps. */

static inline bool sim_hub_takes_mail(struct sim_worker *worker)
{
    struct mail *mail = sim_take_from_outbox(worker);
    if (mail) {
        sim_arm(worker->node->sim);
        mail->run(mail);
        sim_disarm();
    }
    return mail != NULL;
}

static inline bool sim_hub_flushes(struct sim_node *node)
{
    struct sim *sim = node->sim;
    sim_arm(sim);
    bool more = hub_flush(node->hub, sim->now_ms, sim->now_ms * 1000);
    sim_disarm();
    return more;
}

static inline void sim_hub_ticks(struct sim_node *node)
{
    sim_arm(node->sim);
    hub_tick(node->hub, node->sim->now_ms);
    sim_disarm();
}

static inline bool sim_worker_is_due(const struct sim_worker *worker)
{
    return worker->ready || (worker->run_at_ms && worker->run_at_ms <= worker->node->sim->now_ms);
}

static inline void sim_worker_runs(struct sim_worker *worker)
{
    struct sim *sim = worker->node->sim;
    worker->ready = false;
    worker->run_at_ms = worker->run_at_ms <= sim->now_ms ? 0 : worker->run_at_ms;
    sim_arm(sim);
    worker->ready = shard_run(worker->shard, sim->now_ms) || worker->ready;
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
