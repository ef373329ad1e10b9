/* Some nodes on one bus, for tests: each is a hub and its cluster; the bus is a log for each queue
 * that they all read. Nodes can be killed, stopped and cut off; workers are played by the test. */
#ifndef TIDEGATE_CORE_CLUSTER_TEST_HELP_H
#define TIDEGATE_CORE_CLUSTER_TEST_HELP_H

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/cluster_private.h"
#include "core/event_test_help.h"
#include "core/hub_private.h"

enum { NET_NODES = 5, NET_QUEUES = 3, NET_RECORDS = 20000, NET_STEP_MS = 100, NET_MAILS = 4096 };

struct net_record {
    struct buf bytes;
};

struct net_node {
    struct bus bus; /* first */
    uint32_t index;
    uint32_t boot;
    struct hub *hub; /* NULL: dead */
    struct cluster *cluster;
    struct bus_publish *out[NET_QUEUES];
    uint32_t read[NET_QUEUES]; /* records taken */
    bool is_stopped;           /* SIGSTOP */
    bool is_cut;               /* from the bus, which it does not notice */
    bool is_deaf;              /* reads nothing, but writes */
    bool answers;              /* questions, at once: its boot and the payload */
    bool is_slow_worker;       /* worker 0 takes nothing from its ring */
    bool holds_counts;         /* what worker 0 takes is not written yet */
    bool is_draining;
    struct mail *mails[NET_MAILS];
    uint32_t mail_count;
    struct receipt *held[NET_MAILS];
    uint32_t held_count;
    uint32_t asked;
    uint32_t came, left, silent, conflicts, no_room;
};

struct net {
    uint64_t now_ms;
    uint64_t down; /* bit q: the queue's broker is away */
    struct net_node nodes[NET_NODES];
    struct net_record log[NET_QUEUES][NET_RECORDS];
    uint32_t count[NET_QUEUES];
    uint64_t dice;      /* 0: nothing happens by chance */
    bool out_of_memory; /* an allocation fails now and then */
    uint8_t push_flags; /* of events, further ones */
    void (*on_message)(struct net_node *node, const struct message *message);    /* may be NULL */
    void (*on_ask)(struct net_node *node, const struct cluster_ask *ask);        /* may be NULL */
    int (*on_user)(struct net_node *node, const struct presence_change *change); /* may be NULL */
};

static struct net net;

static inline uint32_t net_roll(uint32_t sides)
{
    net.dice ^= net.dice << 13;
    net.dice ^= net.dice >> 7;
    net.dice ^= net.dice << 17;
    return (uint32_t)((net.dice >> 20) % sides);
}

static inline bool net_chance(uint32_t percent)
{
    return net.dice && net_roll(100) < percent;
}

/* ---- the bus ---- */

static inline int net_publish(struct bus *bus, struct bus_publish *publish)
{
    struct net_node *node = (struct net_node *)bus;
    assert_null(node->out[publish->queue]);
    node->out[publish->queue] = publish;
    return 0;
}

static inline void net_bus_flush(struct bus *bus)
{
}

static inline void net_bus_destroy(struct bus *bus)
{
    struct net_node *node = (struct net_node *)bus;
    for (uint32_t q = 0; q < NET_QUEUES; q++) {
        struct bus_publish *publish = node->out[q];
        if (publish) {
            publish->on_done(publish, ERR_CANCELED, (struct bus_pos){0, 0});
        }
    }
}

static const struct bus_engine net_engine = {.name = "net",
                                             .nodes = true,
                                             .destroy = net_bus_destroy,
                                             .publish = net_publish,
                                             .flush = net_bus_flush};

static inline bool net_is_reachable(const struct net_node *node, uint32_t queue)
{
    return !node->is_cut && !(net.down >> queue & 1);
}

static inline void net_append(uint32_t queue, struct str bytes)
{
    assert_true(net.count[queue] < NET_RECORDS);
    struct net_record *record = &net.log[queue][net.count[queue]++];
    buf_append_str(&record->bytes, bytes);
    assert_int_equal(buf_err(&record->bytes), 0);
}

/* By chance it fails, or nobody knows whether it did, or it is tried twice. */
static inline void net_write(struct net_node *node, uint32_t queue)
{
    struct bus_publish *publish = node->out[queue];
    if (!publish || !net_is_reachable(node, queue) || net_chance(20)) {
        return;
    }
    bool fails = net_chance(3);
    if (!fails || net_chance(50)) {
        net_append(queue, publish->record);
    }
    if (net_chance(3)) {
        net_append(queue, publish->record);
    }
    node->out[queue] = NULL;
    publish->on_done(publish, fails ? ERR_TIMEOUT : 0, (struct bus_pos){net.count[queue], 0});
}

static inline void net_read(struct net_node *node, uint32_t queue)
{
    while (node->hub && !node->is_deaf && !net_chance(20) && net_is_reachable(node, queue) &&
           node->read[queue] < net.count[queue]) {
        const struct net_record *record = &net.log[queue][node->read[queue]++];
        hub_bus_callbacks.on_record(node->hub, queue, (struct bus_pos){node->read[queue], 0},
                                    buf_str(&record->bytes), 0);
    }
}

/* ---- a node ---- */

static inline void net_wake(void *owner, uint32_t worker)
{
}

static inline void net_give_back(void *owner, uint32_t worker, struct mail_chain *done)
{
    for (struct mail *mail = done->first; mail;) {
        struct mail *next = mail->next;
        mail->run(mail);
        mail = next;
    }
}

static inline void net_on_state(void *owner, bool up, const char *reason)
{
}

static const struct hub_callbacks net_hub_callbacks = {
    .wake = net_wake, .give_back = net_give_back, .on_bus_state = net_on_state};

static inline void net_describe(void *owner, struct cluster_self *self)
{
    struct net_node *node = owner;
    self->sessions = node->index + 10;
    self->is_draining = node->is_draining;
}

static inline void net_post(void *owner, struct mail *mail)
{
    struct net_node *node = owner;
    assert_true(node->mail_count < NET_MAILS);
    node->mails[node->mail_count++] = mail;
}

static inline void net_on_ask(void *owner, struct cluster_ask *ask)
{
    struct net_node *node = owner;
    struct cluster_reply_body reply = {.counts = {node->boot}, .text = ask->body.payload};
    node->asked++;
    if (net.on_ask) {
        net.on_ask(node, ask);
    }
    if (node->answers) {
        cluster_answer(node->cluster, ask, &reply, net.now_ms);
    } else {
        asks_end(node->cluster, ask);
    }
}

static inline void net_on_change(void *owner, const struct cluster_node *of,
                                 enum cluster_change change)
{
    struct net_node *node = owner;
    node->came += change == CLUSTER_CAME;
    node->left += change == CLUSTER_LEFT;
    node->silent += change == CLUSTER_SILENT;
    node->conflicts += change == CLUSTER_CONFLICT;
    node->no_room += change == CLUSTER_NO_ROOM;
}

static inline int net_on_user(void *owner, const struct presence_change *change)
{
    return net.on_user ? net.on_user(owner, change) : 0;
}

static const struct cluster_callbacks net_cluster_callbacks = {.describe = net_describe,
                                                               .post = net_post,
                                                               .on_ask = net_on_ask,
                                                               .on_change = net_on_change,
                                                               .on_user = net_on_user};

static inline void net_create_hub(struct net_node *node, uint64_t layout)
{
    struct hub_options options = {.workers = 1,
                                  .queues = NET_QUEUES,
                                  .window_bytes = 1 << 20,
                                  .window_age_ms = 60000,
                                  .backlog_bytes = 1 << 20,
                                  .record_bytes = 4000,
                                  .ring_slots = 1024,
                                  .boot = node->boot,
                                  .space = event_test_space,
                                  .sid_key = {7, 8}};
    assert_int_equal(hub_create(&node->hub, &options, &net_hub_callbacks, node), 0);
    node->bus = (struct bus){.engine = &net_engine,
                             .callbacks = &hub_bus_callbacks,
                             .owner = node->hub,
                             .queues = NET_QUEUES,
                             .max_record = 1 << 20,
                             .failover_after_ms = UINT64_MAX,
                             .layout = layout};
    hub_set_bus(node->hub, &node->bus);
}

/* Starts it: everything that is on the bus is read first. */
static inline struct net_node *net_start_as(uint32_t index, uint32_t boot, uint64_t layout)
{
    struct net_node *node = &net.nodes[index];
    char name[16];
    snprintf(name, sizeof(name), "node-%u", index);
    *node = (struct net_node){.index = index, .boot = boot, .answers = true};
    net_create_hub(node, layout);
    struct cluster_options options = {.is_shared = true,
                                      .boot = boot,
                                      .started_ms = net.now_ms,
                                      .node = str_of(name),
                                      .version = STR("1.2.3")};
    assert_int_equal(
        cluster_create(&node->cluster, node->hub, &options, &net_cluster_callbacks, node), 0);
    for (uint32_t q = 0; q < NET_QUEUES; q++) {
        hub_bus_callbacks.on_start(node->hub, q, (struct bus_pos){0, 0});
        hub_bus_callbacks.on_queue_state(node->hub, q, true);
    }
    hub_bus_callbacks.on_state(node->hub, true, "");
    hub_catch_up(node->hub, 0); /* nothing came before */
    hub_link_drain(hub_link(node->hub, 0));
    return node;
}

static inline struct net_node *net_start(uint32_t index)
{
    return net_start_as(index, 1000 + index, 1);
}

static inline void net_release_counts(struct net_node *node)
{
    while (node->held_count > 0) {
        struct receipt *receipt = node->held[--node->held_count];
        receipt_close(receipt);
        receipt_unref(receipt);
    }
}

static inline void net_drop_mails(struct net_node *node)
{
    for (uint32_t i = 0; i < node->mail_count; i++) {
        node->mails[i]->run(node->mails[i]);
    }
    node->mail_count = 0;
}

/* kill -9: what it had under way is not written any more. */
static inline void net_kill(struct net_node *node)
{
    if (node->hub) {
        hub_link_drain(hub_link(node->hub, 0));
        hub_destroy(node->hub);
        node->hub = NULL;
        net_release_counts(node);
        net_drop_mails(node);
    }
}

/* Each event that reaches the worker has one session that takes it at once. */
static inline void net_run_worker(struct net_node *node)
{
    enum ring_kind kind;
    for (void *ptr = ring_pop(&hub_link(node->hub, 0)->ring, &kind); ptr;
         ptr = ring_pop(&hub_link(node->hub, 0)->ring, &kind)) {
        if (kind != RING_MESSAGE) {
            mem_free(ptr);
            continue;
        }
        struct message *message = ptr;
        struct receipt *receipt = message->receipt;
        if (net.on_message) {
            net.on_message(node, message);
        }
        if (receipt) {
            atomic_fetch_add(&receipt->matched, 1);
            atomic_fetch_add(&receipt->written, 1);
        }
        if (receipt && node->holds_counts) {
            node->held[node->held_count++] = receipt_ref(receipt);
        } else if (receipt) {
            receipt_close(receipt);
        }
        message_unref(message);
    }
    if (hub_worker_is_behind(&node->hub->workers[0])) {
        hub_catch_up(node->hub, 0); /* what it missed it leaves in the window, and never counts */
        hub_link_drain(hub_link(node->hub, 0));
    }
}

static inline void net_arm(void)
{
    if (net.out_of_memory && net_chance(10)) {
        mem_fail_nth(1 + net_roll(6));
    }
}

static inline void net_disarm(void)
{
    mem_fail_nth(0);
}

static inline void net_turn(struct net_node *node)
{
    net_arm();
    for (uint32_t q = 0; q < NET_QUEUES; q++) {
        net_read(node, q);
    }
    net_disarm();
    if (!node->is_slow_worker) {
        net_run_worker(node);
    }
    net_arm();
    net_drop_mails(node);
    while (hub_flush(node->hub, net.now_ms, net.now_ms * 1000)) {
    }
    net_disarm();
    for (uint32_t q = 0; q < NET_QUEUES; q++) {
        net_write(node, q);
    }
}

static inline void net_step(void)
{
    net.now_ms += NET_STEP_MS;
    for (uint32_t i = 0; i < NET_NODES; i++) {
        if (net.nodes[i].hub && !net.nodes[i].is_stopped) {
            net_arm();
            hub_tick(net.nodes[i].hub, net.now_ms);
            net_disarm();
        }
    }
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < NET_NODES; i++) {
            if (net.nodes[i].hub && !net.nodes[i].is_stopped) {
                net_turn(&net.nodes[i]);
            }
        }
    }
}

static inline void net_run(uint64_t ms)
{
    for (uint64_t end = net.now_ms + ms; net.now_ms < end;) {
        net_step();
    }
}

static inline void net_open(uint32_t nodes)
{
    net = (struct net){.now_ms = 1000000};
    for (uint32_t i = 0; i < nodes; i++) {
        net_start(i);
    }
    net_run(7000);
}

static inline void net_close(void)
{
    for (uint32_t i = 0; i < NET_NODES; i++) {
        net_kill(&net.nodes[i]);
    }
    for (uint32_t q = 0; q < NET_QUEUES; q++) {
        for (uint32_t i = 0; i < net.count[q]; i++) {
            buf_fini(&net.log[q][i].bytes);
        }
        net.count[q] = 0;
    }
    assert_int_equal(mem_accounted_total(), 0);
}

/* Sees the other nodes, itself not counted. */
static inline uint32_t net_sees(const struct net_node *node)
{
    struct cluster_node list[CLUSTER_MAX_NODES];
    bool is_known;
    return cluster_nodes(node->cluster, list, &is_known) - 1;
}

static inline bool net_is_known(const struct net_node *node)
{
    struct cluster_node list[CLUSTER_MAX_NODES];
    bool is_known;
    cluster_nodes(node->cluster, list, &is_known);
    return is_known;
}

static inline bool net_is_ready(const struct net_node *node)
{
    char reason[300];
    return !cluster_is_unready(node->cluster, reason, sizeof(reason));
}

/* ---- sessions and pushes ---- */

/* The node's worker has a session of the user. */
static inline void net_connect(struct net_node *node, const char *user)
{
    struct interest_batch *batch = interest_batch_create(0);
    assert_int_equal(interest_batch_add(batch, event_test_key_of(TARGET_USER, user), INTEREST_ADD),
                     0);
    hub_interest(node->hub, batch);
}

/* A push that waits, as the API has one. */
struct net_push {
    struct receipt *receipt;
    uint32_t delivered; /* times that its receipt was */
    uint32_t done;
    enum publish_verdict verdict;
};

static inline void net_deliver(struct receipt *receipt)
{
    struct net_push *push = receipt->request;
    push->delivered++;
    receipt_unref(receipt);
}

static inline void net_on_done(struct publish *publish)
{
    struct net_push *push = publish->owner;
    push->done++;
    push->verdict = publish->verdict;
    publish_destroy(publish);
}

static inline void net_push_data(struct net_push *push, struct net_node *node, uint32_t queue,
                                 const char *const *targets, size_t count, uint64_t wait_ms,
                                 const char *data)
{
    struct publish *publish = publish_create(1);
    struct event event = event_test_make(0, data);
    event.header.origin = node->boot;
    event.header.flags = (uint8_t)(EVENT_WANTS_RECEIPT | EVENT_COUNTS_WRITES | net.push_flags);
    event_test_encode(&publish->parts[0].event, &event, targets, count);
    *push = (struct net_push){0};
    push->receipt = receipt_create(1, net_deliver, node);
    push->receipt->request = push;
    push->receipt->until_ms = net.now_ms + wait_ms;
    publish->parts[0].queue = queue;
    publish->receipt = receipt_ref(push->receipt);
    publish->awaits_return = true;
    publish->worker = HUB_NO_WORKER;
    publish->deadline_ms = net.now_ms + 5000;
    publish->owner = push;
    publish->on_done = net_on_done;
    hub_publish(node->hub, publish, net.now_ms);
}

static inline void net_push_to(struct net_push *push, struct net_node *node, uint32_t queue,
                               const char *const *targets, size_t count, uint64_t wait_ms)
{
    net_push_data(push, node, queue, targets, count, wait_ms, "1");
}

static inline void net_count_done(struct cluster_question *question)
{
    uint32_t *done = question->owner;
    ++*done;
}

static inline void net_end_push(struct net_push *push)
{
    receipt_unref(push->receipt);
    push->receipt = NULL;
}

#endif
