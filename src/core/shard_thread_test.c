/* One bus thread and two workers that really run at once: small rings, a small window, so that
 * workers fall behind and the window moves on under them. For the thread sanitizer above all. */
#include <pthread.h>
#include <sched.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/event_test_help.h"
#include "core/hub_private.h"
#include "core/receipt.h"
#include "core/shard_private.h"

enum { WORKERS = 2, QUEUES = 3, PUSHES = 3000, USERS = 8 };

/* Mails from the workers to the bus thread. */
struct box {
    pthread_mutex_t lock;
    struct mail_chain chain;
};

struct worker {
    pthread_t thread;
    uint32_t index;
    struct shard *shard;
    struct session *sessions[USERS];
    struct mail ask;
    struct bus_pos pos[USERS][QUEUES];
    uint64_t got;
    uint64_t gaps;
};

static struct rig {
    struct hub *hub;
    struct box box;
    struct worker workers[WORKERS];
    atomic_bool stop;
    atomic_uint started;
    atomic_uint reports;
    uint32_t done;
} rig;

static void post(struct mail *mail)
{
    pthread_mutex_lock(&rig.box.lock);
    mail_chain_add(&rig.box.chain, mail);
    pthread_mutex_unlock(&rig.box.lock);
}

static void run_mails(void)
{
    pthread_mutex_lock(&rig.box.lock);
    struct mail_chain chain = rig.box.chain;
    rig.box.chain = (struct mail_chain){NULL, NULL};
    pthread_mutex_unlock(&rig.box.lock);
    for (struct mail *mail = chain.first; mail;) {
        struct mail *next = mail->next;
        mail->run(mail);
        mail = next;
    }
}

static void run_interest(struct mail *mail)
{
    hub_interest(rig.hub, MAIL_OWNER(mail, struct interest_batch, mail));
}

static void send_interest(void *owner, struct interest_batch *batch)
{
    batch->mail.run = run_interest;
    post(&batch->mail);
}

static void run_ask(struct mail *mail)
{
    hub_catch_up(rig.hub, MAIL_OWNER(mail, struct worker, ask)->index);
}

static void ask_catch_up(void *owner)
{
    struct worker *worker = owner;
    worker->ask.run = run_ask;
    post(&worker->ask);
}

static const struct shard_callbacks shard_callbacks = {.send_interest = send_interest,
                                                       .ask_catch_up = ask_catch_up};

static void advance(struct worker *worker, const struct session *session, uint32_t queue,
                    struct bus_pos pos)
{
    struct bus_pos *last = &worker->pos[session->fd][queue];
    ASSERT(bus_pos_compare(pos, *last) > 0);
    *last = pos;
}

static enum session_delivery deliver(struct shard *shard, struct session *session,
                                     struct message *message)
{
    struct worker *worker = shard_owner(shard);
    advance(worker, session, message->queue, message->pos);
    worker->got++;
    return SESSION_WRITTEN;
}

static void on_start(struct shard *shard, struct session *session, enum session_resumed resumed,
                     const struct hub_heads *pos)
{
    atomic_fetch_add(&rig.started, 1);
}

static void on_joined(struct shard *shard, struct session *session, struct str group, uint32_t tag)
{
}

static void on_left(struct shard *shard, struct session *session, struct str group)
{
}

static void on_gap(struct shard *shard, struct session *session, uint32_t queue,
                   struct bus_pos from, struct bus_pos to, enum session_gap_why why)
{
    struct worker *worker = shard_owner(shard);
    advance(worker, session, queue, to);
    worker->gaps++;
}

static void on_heads(struct shard *shard, struct session *session, const struct hub_heads *heads)
{
}

static bool has_room(struct shard *shard, const struct session *session)
{
    return true;
}

static void on_kick(struct shard *shard, struct session *session, int close_code)
{
    ASSERT(false);
}

static const struct session_ops ops = {.deliver = deliver,
                                       .on_start = on_start,
                                       .on_joined = on_joined,
                                       .on_left = on_left,
                                       .on_gap = on_gap,
                                       .on_heads = on_heads,
                                       .has_room = has_room,
                                       .on_kick = on_kick};

static void connect_all(struct worker *worker)
{
    for (int i = 0; i < USERS; i++) {
        char name[8] = {'u', (char)('0' + i), 0};
        struct session *session = shard_session_create(worker->shard, 0, 0);
        session->fd = i;
        worker->sessions[i] = session;
        assert_int_equal(shard_session_set_user(worker->shard, session, str_of(name)), 0);
        assert_int_equal(shard_join(worker->shard, session, STR("room"), 0), 0);
        assert_int_equal(shard_session_start(worker->shard, session, NULL), 0);
    }
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    bool more = true;
    while (!atomic_load(&rig.stop) || more) {
        more = shard_run(worker->shard, 1000);
        shard_flush(worker->shard);
        sched_yield();
    }
    return NULL;
}

static void wake(void *owner, uint32_t worker)
{
}

static void give_back(void *owner, uint32_t worker, struct mail_chain *done)
{
    for (struct mail *mail = done->first; mail;) {
        struct mail *next = mail->next;
        mail->run(mail);
        mail = next;
    }
}

static void on_bus_state(void *owner, bool up, const char *reason)
{
}

static const struct hub_callbacks hub_callbacks = {
    .wake = wake, .give_back = give_back, .on_bus_state = on_bus_state};

static void on_done(struct publish *publish)
{
    ASSERT(publish->verdict == PUBLISH_ACCEPTED);
    rig.done++;
    publish_destroy(publish);
}

static void on_report(struct receipt *receipt)
{
    atomic_fetch_add(&rig.reports, 1);
    receipt_unref(receipt);
}

static void push(uint32_t number)
{
    char name[8] = {'u', ':', 'u', (char)('0' + number % USERS), 0};
    const char *target = number % 3 ? name : "g:room";
    enum target_kind kind = number % 3 ? TARGET_USER : TARGET_GROUP;
    struct event event = event_test_make(0, "1");
    struct publish *publish = publish_create(1);
    event.header.flags = EVENT_WANTS_RECEIPT;
    publish->on_done = on_done;
    publish->awaits_return = true;
    publish->receipt = receipt_create(1, on_report, NULL);
    publish->parts[0].queue = event_test_queue_of(kind, target + 2, QUEUES);
    event_test_encode(&publish->parts[0].event, &event, &target, 1);
    hub_publish(rig.hub, publish, 1000);
}

static void create_hub(void)
{
    struct hub_options options = {.workers = WORKERS,
                                  .queues = QUEUES,
                                  .window_bytes = 40000,
                                  .backlog_bytes = 1 << 20,
                                  .record_bytes = 1 << 16,
                                  .ring_slots = 16,
                                  .boot = EVENT_TEST_BOOT,
                                  .space = event_test_space,
                                  .sid_key = {7, 8}};
    struct bus_options bus_options = {.queues = QUEUES};
    struct bus *bus;
    assert_int_equal(hub_create(&rig.hub, &options, &hub_callbacks, NULL), 0);
    assert_int_equal(bus_engine_find(STR("memory"))
                         ->create(&bus, NULL, &bus_options, &hub_bus_callbacks, rig.hub),
                     0);
    hub_set_bus(rig.hub, bus);
}

static void create_worker(uint32_t index)
{
    struct worker *worker = &rig.workers[index];
    struct shard_options options = {.worker = index,
                                    .queues = QUEUES,
                                    .boot = EVENT_TEST_BOOT,
                                    .space = event_test_space,
                                    .sid_key = {7, 8},
                                    .window = hub_window(rig.hub),
                                    .link = hub_link(rig.hub, index),
                                    .max_replays = 1,
                                    .slice = 4,
                                    .lane_items = 8};
    worker->index = index;
    assert_int_equal(shard_create(&worker->shard, &options, &shard_callbacks, worker), 0);
    shard_set_transport(worker->shard, 0, &ops);
    assert_int_equal(shard_add_app(worker->shard, 0, STR("demo")), 0);
    worker->shard->apps[0].hash = EVENT_TEST_APP;
    connect_all(worker);
    assert_int_equal(pthread_create(&worker->thread, NULL, work, worker), 0);
}

static void turn_hub(void)
{
    run_mails();
    while (hub_flush(rig.hub, 1000, 1000000)) {
    }
    sched_yield();
}

static void end_worker(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    for (int i = 0; i < USERS; i++) {
        shard_session_free(worker->shard, worker->sessions[i]);
    }
    shard_flush(worker->shard);
    run_mails();
    shard_destroy(worker->shard);
}

static void threads_agree_on_order_gaps_and_receipts(void **state)
{
    rig = (struct rig){.box.lock = PTHREAD_MUTEX_INITIALIZER};
    create_hub();
    for (uint32_t i = 0; i < WORKERS; i++) {
        create_worker(i);
    }
    while (atomic_load(&rig.started) < WORKERS * USERS) {
        turn_hub();
    }
    for (uint32_t i = 0; i < PUSHES; i++) {
        push(i);
        if (i % 7 == 0) {
            turn_hub();
        }
    }
    while (atomic_load(&rig.reports) < PUSHES) {
        turn_hub();
    }
    atomic_store(&rig.stop, true);
    assert_int_equal(rig.done, PUSHES);
    for (uint32_t i = 0; i < WORKERS; i++) {
        end_worker(&rig.workers[i]);
        assert_true(rig.workers[i].got > 0);
        assert_true(rig.workers[i].gaps > 0 ||
                    rig.workers[i].got == PUSHES / 3 * USERS + PUSHES * 2 / 3);
    }
    hub_destroy(rig.hub);
    assert_int_equal(mem_accounted_total(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_agree_on_order_gaps_and_receipts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
