/* A hub on a bus that does only what the test says. */
#ifndef TIDEGATE_CORE_HUB_TEST_HELP_H
#define TIDEGATE_CORE_HUB_TEST_HELP_H

#include "base/err.h"
#include "base/mem.h"
#include "core/event_test_help.h"
#include "core/hub_private.h"
#include "core/receipt.h"

enum { HUB_TEST_QUEUES = 4, HUB_TEST_WORKERS = 2 };

struct hub_test {
    struct hub *hub;
    struct bus bus;
    struct bus_publish *under_way[HUB_TEST_QUEUES];
    uint64_t hi[HUB_TEST_QUEUES];
    int refuse; /* publish returns it */
    int wakes[HUB_TEST_WORKERS];
    int done;    /* pushes */
    int reports; /* receipts */
    struct publish *last_done;
    int published; /* records acknowledged */
    uint64_t published_sent_us;
    int returned; /* probes */
    uint64_t returned_sent_us;
    int foreign; /* ages of records of others that were told */
    uint64_t foreign_ms;
    bool is_up;
};

static struct hub_test hub_test;

static inline int hub_test_publish(struct bus *bus, struct bus_publish *publish)
{
    assert_null(hub_test.under_way[publish->queue]); /* one at a time */
    if (!hub_test.refuse) {
        hub_test.under_way[publish->queue] = publish;
    }
    return hub_test.refuse;
}

static inline void hub_test_bus_flush(struct bus *bus)
{
}

static inline void hub_test_bus_destroy(struct bus *bus)
{
    for (int q = 0; q < HUB_TEST_QUEUES; q++) {
        struct bus_publish *publish = hub_test.under_way[q];
        if (publish) {
            publish->on_done(publish, ERR_CANCELED, (struct bus_pos){0, 0});
        }
    }
}

static const struct bus_engine hub_test_engine = {.name = "test",
                                                  .destroy = hub_test_bus_destroy,
                                                  .publish = hub_test_publish,
                                                  .flush = hub_test_bus_flush};

static inline void hub_test_wake(void *owner, uint32_t worker)
{
    hub_test.wakes[worker]++;
}

static inline void hub_test_give_back(void *owner, uint32_t worker, struct mail_chain *done)
{
    for (struct mail *mail = done->first; mail;) {
        struct mail *next = mail->next;
        mail->run(mail);
        mail = next;
    }
}

static inline void hub_test_on_state(void *owner, bool up, const char *reason)
{
    hub_test.is_up = up;
}

static inline void hub_test_on_published(void *owner, uint64_t sent_us)
{
    hub_test.published++;
    hub_test.published_sent_us = sent_us;
}

static inline void hub_test_on_returned(void *owner, uint64_t sent_us)
{
    hub_test.returned++;
    hub_test.returned_sent_us = sent_us;
}

static inline void hub_test_on_foreign(void *owner, uint64_t age_ms)
{
    hub_test.foreign++;
    hub_test.foreign_ms = age_ms;
}

static const struct hub_callbacks hub_test_callbacks = {.wake = hub_test_wake,
                                                        .give_back = hub_test_give_back,
                                                        .on_bus_state = hub_test_on_state,
                                                        .on_published = hub_test_on_published,
                                                        .on_returned = hub_test_on_returned,
                                                        .on_foreign = hub_test_on_foreign};

/* The bus has started, and the workers know. */
static inline void hub_test_start(void)
{
    for (uint32_t q = 0; q < HUB_TEST_QUEUES; q++) {
        hub_bus_callbacks.on_start(hub_test.hub, q, (struct bus_pos){0, 0});
        hub_bus_callbacks.on_queue_state(hub_test.hub, q, true);
    }
    hub_bus_callbacks.on_state(hub_test.hub, true, "");
    for (uint32_t i = 0; i < HUB_TEST_WORKERS; i++) {
        hub_catch_up(hub_test.hub, i);
        hub_link_drain(hub_link(hub_test.hub, i));
        hub_test.hub->workers[i].wake = false;
    }
    atomic_store(&hub_get_stats(hub_test.hub)->ring_full, 0);
}

static inline void hub_test_open(uint32_t ring_slots)
{
    hub_test = (struct hub_test){0};
    struct hub_options options = {.workers = HUB_TEST_WORKERS,
                                  .queues = HUB_TEST_QUEUES,
                                  .window_bytes = 1 << 20,
                                  .window_age_ms = 4000,
                                  .backlog_bytes = 4000,
                                  .record_bytes = 1000,
                                  .ring_slots = ring_slots,
                                  .boot = EVENT_TEST_BOOT,
                                  .space = event_test_space,
                                  .sid_key = {7, 8}};
    assert_int_equal(hub_create(&hub_test.hub, &options, &hub_test_callbacks, &hub_test), 0);
    hub_test.bus = (struct bus){.engine = &hub_test_engine,
                                .callbacks = &hub_bus_callbacks,
                                .owner = hub_test.hub,
                                .queues = HUB_TEST_QUEUES,
                                .max_record = UINT32_MAX,
                                .failover_after_ms = UINT64_MAX};
    hub_set_bus(hub_test.hub, &hub_test.bus);
    hub_test_start();
}

static inline int hub_test_setup(void **state)
{
    hub_test_open(8);
    return 0;
}

static inline int hub_test_teardown(void **state)
{
    hub_destroy(hub_test.hub);
    assert_int_equal(mem_accounted_total(), 0);
    return 0;
}

static inline bool hub_test_flush(uint64_t now_ms)
{
    return hub_flush(hub_test.hub, now_ms, now_ms * 1000);
}

/* A record arrives; its bytes as encoded. Returns its position. */
static inline struct bus_pos hub_test_receive(uint32_t queue, const struct buf *record)
{
    struct bus_pos pos = {++hub_test.hi[queue], 0};
    hub_bus_callbacks.on_record(hub_test.hub, queue, pos, buf_str(record), 0);
    return pos;
}

/* One event of somebody else arrives. */
static inline struct bus_pos hub_test_receive_event(uint32_t queue, struct event event,
                                                    const char *target)
{
    struct buf record = {0};
    event.header.origin = event.header.origin == EVENT_TEST_BOOT ? 99 : event.header.origin;
    event_test_encode(&record, &event, &target, 1);
    struct bus_pos pos = hub_test_receive(queue, &record);
    buf_fini(&record);
    return pos;
}

/* A message, with the next counter. */
static inline struct bus_pos hub_test_receive_to(uint32_t queue, const char *target)
{
    struct event event = event_test_make((uint32_t)hub_test.hi[queue] + 1, "1");
    return hub_test_receive_event(queue, event, target);
}

static inline struct interest_batch *hub_test_batch(uint32_t worker, uint64_t key,
                                                    enum interest_op op)
{
    struct interest_batch *batch = interest_batch_create(worker);
    assert_int_equal(interest_batch_add(batch, key, op), 0);
    return batch;
}

static inline void hub_test_tell(uint32_t worker, uint64_t key, enum interest_op op)
{
    hub_interest(hub_test.hub, hub_test_batch(worker, key, op));
}

/* Adds a key, and a fence that comes back with this tag. */
static inline void hub_test_ask_fence(uint32_t worker, uint64_t key, uint32_t tag)
{
    struct interest_batch *batch = hub_test_batch(worker, key, INTEREST_ADD);
    struct interest_waiter waiter = {.tag = tag};
    assert_int_equal(interest_batch_wait(batch, waiter), 0);
    hub_interest(hub_test.hub, batch);
}

static inline void *hub_test_pop(uint32_t worker, enum ring_kind kind)
{
    enum ring_kind found;
    void *ptr = ring_pop(&hub_link(hub_test.hub, worker)->ring, &found);
    assert_non_null(ptr);
    assert_int_equal(found, kind);
    return ptr;
}

static inline void hub_test_assert_ring_empty(uint32_t worker)
{
    assert_true(ring_is_empty(&hub_link(hub_test.hub, worker)->ring));
}

static inline void hub_test_assert_message(uint32_t worker, struct bus_pos pos)
{
    struct message *message = hub_test_pop(worker, RING_MESSAGE);
    assert_int_equal(bus_pos_compare(message->pos, pos), 0);
    message_unref(message);
}

static inline void hub_test_assert_fence(uint32_t worker, uint32_t tag, uint32_t queue, uint64_t hi)
{
    struct interest_batch *batch = hub_test_pop(worker, RING_FENCE);
    assert_int_equal(batch->waiters[0].tag, tag);
    assert_int_equal(batch->heads.pos[queue].hi, hi);
    interest_batch_destroy(batch);
}

static inline bool hub_test_is_behind(uint32_t worker)
{
    return atomic_load(&hub_link(hub_test.hub, worker)->behind);
}

#endif
