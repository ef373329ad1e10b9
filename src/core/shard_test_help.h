/* One shard with a hub on the memory bus, and a transport that writes down what each session is
 * told, as "start none, msg hello, joined room 7". */
#ifndef TIDEGATE_CORE_SHARD_TEST_HELP_H
#define TIDEGATE_CORE_SHARD_TEST_HELP_H

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/event_test_help.h"
#include "core/hub_private.h"
#include "core/receipt.h"
#include "core/shard_private.h"

enum { SHARD_TEST_QUEUES = 4, SHARD_TEST_SESSIONS = 2000 };

struct shard_test {
    struct hub *hub;
    struct shard *shard;
    uint64_t now_ms;
    bool is_woken;
    bool bus_is_held; /* nothing goes to the hub or comes from it */
    bool ask_is_pending;
    struct interest_batch *batches[64];
    int batch_count;
    uint32_t sessions;
    struct buf logs[SHARD_TEST_SESSIONS]; /* by fd */
    bool is_slow[SHARD_TEST_SESSIONS];
    enum session_delivery deliveries[SHARD_TEST_SESSIONS]; /* what becomes of what comes for it */
    bool tells_heads;
    uint32_t counter;
    int reports;
    struct buf users;        /* "+a -a ": who came and went, of those that are tracked */
    bool refuses_users;      /* as if memory was out */
    uint32_t run_asked_ms;   /* by the shard */
    struct bus_pos gap_from; /* of the last one */
    bool wants_traces;
    struct buf traces; /* "m1 3/1/1; ": matched, written, dropped */
};

static struct shard_test shard_test;

static inline struct buf *shard_test_log(const struct session *session)
{
    struct buf *log = &shard_test.logs[session->fd];
    if (log->len > 0) {
        buf_append_str(log, STR(", "));
    }
    return log;
}

static inline enum session_delivery shard_test_deliver(struct shard *shard, struct session *session,
                                                       struct message *message)
{
    buf_printf(shard_test_log(session), "msg %.*s", STR_ARG(message->event.data));
    return shard_test.deliveries[session->fd];
}

static inline void shard_test_on_start(struct shard *shard, struct session *session,
                                       enum session_resumed resumed, const struct hub_heads *pos)
{
    static const char *const names[] = {"none", "partial", "full"};
    buf_printf(shard_test_log(session), "start %s", names[resumed]);
}

static inline void shard_test_on_joined(struct shard *shard, struct session *session,
                                        struct str group, uint32_t tag)
{
    buf_printf(shard_test_log(session), "joined %.*s %u", STR_ARG(group), tag);
}

static inline void shard_test_on_left(struct shard *shard, struct session *session,
                                      struct str group)
{
    buf_printf(shard_test_log(session), "left %.*s", STR_ARG(group));
}

static inline void shard_test_on_gap(struct shard *shard, struct session *session, uint32_t queue,
                                     struct bus_pos from, struct bus_pos to,
                                     enum session_gap_why why)
{
    static const char *const names[] = {"expired", "overflow", "bus", "epoch"};
    shard_test.gap_from = from;
    buf_printf(shard_test_log(session), "gap %s", names[why]);
}

static inline void shard_test_on_heads(struct shard *shard, struct session *session,
                                       const struct hub_heads *heads)
{
    if (shard_test.tells_heads) {
        buf_printf(shard_test_log(session), "heads");
    }
}

static inline bool shard_test_has_room(struct shard *shard, const struct session *session)
{
    return !shard_test.is_slow[session->fd];
}

static inline void shard_test_on_kick(struct shard *shard, struct session *session, int close_code)
{
    buf_printf(shard_test_log(session), "kick %d", close_code);
}

static inline void shard_test_on_excess(struct shard *shard, struct session *session)
{
    buf_printf(shard_test_log(session), "excess");
}

static const struct session_ops shard_test_ops = {.deliver = shard_test_deliver,
                                                  .on_start = shard_test_on_start,
                                                  .on_joined = shard_test_on_joined,
                                                  .on_left = shard_test_on_left,
                                                  .on_gap = shard_test_on_gap,
                                                  .on_heads = shard_test_on_heads,
                                                  .has_room = shard_test_has_room,
                                                  .on_kick = shard_test_on_kick,
                                                  .on_excess = shard_test_on_excess};

static inline void shard_test_send_interest(void *owner, struct interest_batch *batch)
{
    assert_true(shard_test.batch_count < 64);
    shard_test.batches[shard_test.batch_count++] = batch;
}

static inline void shard_test_ask_catch_up(void *owner)
{
    shard_test.ask_is_pending = true;
}

static inline void shard_test_ask_run(void *owner, uint32_t delay_ms)
{
    shard_test.run_asked_ms = delay_ms;
}

static inline void shard_test_wake(void *owner, uint32_t worker)
{
    shard_test.is_woken = true;
}

static inline void shard_test_give_back(void *owner, uint32_t worker, struct mail_chain *done)
{
    for (struct mail *mail = done->first; mail;) {
        struct mail *next = mail->next;
        mail->run(mail);
        mail = next;
    }
}

static inline void shard_test_on_state(void *owner, bool up, const char *reason)
{
}

static inline bool shard_test_wants_traces(void *owner)
{
    return shard_test.wants_traces;
}

static inline void shard_test_on_traced(void *owner, struct message *message)
{
    struct message_trace *trace = message_trace(message);
    buf_printf(&shard_test.traces, "%.*s %u/%u/%u; ", STR_ARG(message->event.id), trace->matched,
               trace->written, trace->dropped);
}

static const struct hub_callbacks shard_test_hub_callbacks = {
    .wants_traces = shard_test_wants_traces,
    .on_traced = shard_test_on_traced,
    .wake = shard_test_wake,
    .give_back = shard_test_give_back,
    .on_bus_state = shard_test_on_state};
static inline bool shard_test_on_user(void *owner, uint16_t app, uint64_t key, struct str user,
                                      bool is_there)
{
    if (shard_test.refuses_users) {
        return false;
    }
    buf_printf(&shard_test.users, "%s%.*s ", is_there ? "+" : "-", STR_ARG(user));
    return true;
}

static const struct shard_callbacks shard_test_callbacks = {
    .send_interest = shard_test_send_interest,
    .ask_catch_up = shard_test_ask_catch_up,
    .ask_run = shard_test_ask_run,
    .on_user = shard_test_on_user};

static inline void shard_test_open_hub(uint32_t ring_slots, uint64_t window_bytes)
{
    struct hub_options options = {.workers = 1,
                                  .queues = SHARD_TEST_QUEUES,
                                  .window_bytes = window_bytes,
                                  .window_age_ms = 60000,
                                  .backlog_bytes = 1 << 20,
                                  .record_bytes = 1 << 16,
                                  .ring_slots = ring_slots,
                                  .boot = EVENT_TEST_BOOT,
                                  .space = event_test_space,
                                  .sid_key = {7, 8}};
    struct bus_options bus_options = {.queues = SHARD_TEST_QUEUES};
    struct bus *bus;
    assert_int_equal(hub_create(&shard_test.hub, &options, &shard_test_hub_callbacks, NULL), 0);
    assert_int_equal(bus_engine_find(STR("memory"))
                         ->create(&bus, NULL, &bus_options, &hub_bus_callbacks, shard_test.hub),
                     0);
    hub_set_bus(shard_test.hub, bus);
}

/* The bus thread's turn. */
static inline void shard_test_turn_hub(void)
{
    for (int i = 0; i < shard_test.batch_count; i++) {
        hub_interest(shard_test.hub, shard_test.batches[i]);
    }
    shard_test.batch_count = 0;
    if (shard_test.ask_is_pending) {
        shard_test.ask_is_pending = false;
        hub_catch_up(shard_test.hub, 0);
    }
    while (hub_flush(shard_test.hub, shard_test.now_ms, shard_test.now_ms * 1000)) {
    }
}

/* The worker's turn. */
static inline bool shard_test_turn_shard(void)
{
    bool more = shard_run(shard_test.shard, shard_test.now_ms);
    shard_flush(shard_test.shard);
    return more;
}

/* Until nothing moves any more. */
static inline void shard_test_run(void)
{
    bool more = true;
    for (int rounds = 0; more; rounds++) {
        assert_true(rounds < 10000);
        shard_flush(shard_test.shard);
        shard_test.is_woken = false;
        shard_test_turn_hub();
        more = shard_test_turn_shard() || shard_test.is_woken || shard_test.batch_count > 0 ||
               shard_test.ask_is_pending;
    }
}

static inline void shard_test_open(uint32_t ring_slots, uint64_t window_bytes, uint32_t slice)
{
    shard_test = (struct shard_test){.now_ms = 1000};
    shard_test_open_hub(ring_slots, window_bytes);
    struct shard_options options = {.queues = SHARD_TEST_QUEUES,
                                    .boot = EVENT_TEST_BOOT,
                                    .space = event_test_space,
                                    .sid_key = {7, 8},
                                    .window = hub_window(shard_test.hub),
                                    .link = hub_link(shard_test.hub, 0),
                                    .max_replays = 1,
                                    .slice = slice};
    assert_int_equal(shard_create(&shard_test.shard, &options, &shard_test_callbacks, NULL), 0);
    shard_set_transport(shard_test.shard, 0, &shard_test_ops);
    assert_int_equal(shard_add_app(shard_test.shard, 0, STR("demo")), 0);
    /* the app of event_test_make */
    shard_test.shard->apps[0].hash = EVENT_TEST_APP;
    shard_test.shard->apps[0].all_key = event_test_key_of(TARGET_ALL, "");
    shard_test_run(); /* the bus is up, and the worker knows */
    atomic_store(&hub_get_stats(shard_test.hub)->ring_full, 0);
    atomic_store(&shard_test.shard->stats.catch_ups, 0);
}

static inline int shard_test_setup(void **state)
{
    shard_test_open(1024, 1 << 20, 0);
    return 0;
}

/* A session in state NEW; user NULL: anonymous. */
static inline struct session *shard_test_connect(const char *user)
{
    struct session *session = shard_session_create(shard_test.shard, 0, 0);
    assert_non_null(session);
    assert_true(shard_test.sessions < SHARD_TEST_SESSIONS);
    session->fd = (int32_t)shard_test.sessions++;
    assert_non_null(
        buf_reserve(&shard_test.logs[session->fd], 100)); /* not to fail in a test's place */
    if (user) {
        assert_int_equal(shard_session_set_user(shard_test.shard, session, str_of(user)), 0);
    }
    return session;
}

static inline struct session *shard_test_start(const char *user, const char *group)
{
    struct session *session = shard_test_connect(user);
    if (group) {
        assert_int_equal(shard_join(shard_test.shard, session, str_of(group), 0), 0);
    }
    assert_int_equal(shard_session_start(shard_test.shard, session, NULL), 0);
    return session;
}

/* Of a client that knows this history, and has seen nothing of it. */
static inline struct session_resume shard_test_resume(void)
{
    struct session_resume resume = {.epoch = ""};
    snprintf(resume.epoch, sizeof(resume.epoch), "%s", shard_test.shard->epoch);
    return resume;
}

/* Of a client that has seen everything that is in the window now. */
static inline struct session_resume shard_test_here(void)
{
    struct session_resume resume = shard_test_resume();
    for (uint32_t q = 0; q < SHARD_TEST_QUEUES; q++) {
        resume.has[q] = true;
        resume.seen.pos[q] = shard_test.hub->heads.pos[q];
    }
    return resume;
}

/* It is in the group, if that is not NULL; the replay waits for shard_test_run. */
static inline struct session *shard_test_come_back(const char *user, const char *group,
                                                   const struct session_resume *resume)
{
    struct session *session = shard_test_connect(user);
    if (group) {
        assert_int_equal(shard_join(shard_test.shard, session, str_of(group), 0), 0);
    }
    assert_int_equal(shard_session_start(shard_test.shard, session, resume), 0);
    return session;
}

/* What it was told since the last look. */
static inline void shard_test_assert_told(const struct session *session, const char *expected)
{
    struct buf *log = &shard_test.logs[session->fd];
    assert_string_equal(buf_cstr(log), expected);
    buf_clear(log);
}

/* One that is live; its start is not told any more. */
static inline struct session *shard_test_live(const char *user, const char *group)
{
    struct session *session = shard_test_start(user, group);
    shard_test_run();
    shard_test_assert_told(session, "start none");
    return session;
}

static inline void shard_test_on_done(struct publish *publish)
{
    assert_int_equal(publish->verdict, PUBLISH_ACCEPTED);
    publish_destroy(publish);
}

/* One event with all targets, in the queue of the first; the hub gets it at its next turn. */
static inline void shard_test_push_event(struct event event, const char *const *targets,
                                         size_t count, struct receipt *receipt)
{
    static const char letters[] = " ugst*";
    struct publish *publish = publish_create(1);
    enum target_kind kind = (enum target_kind)(strchr(letters, targets[0][0]) - letters);
    const char *name = targets[0][0] == '*' ? "" : targets[0] + 2;
    publish->on_done = shard_test_on_done;
    publish->worker = 0;
    publish->receipt = receipt;
    publish->awaits_return = receipt != NULL;
    event.header.flags |= receipt ? EVENT_WANTS_RECEIPT : 0;
    publish->parts[0].queue = event_test_queue_of(kind, name, SHARD_TEST_QUEUES);
    event_test_encode(&publish->parts[0].event, &event, targets, count);
    hub_publish(shard_test.hub, publish, shard_test.now_ms);
}

static inline void shard_test_push(const char *target, const char *data)
{
    shard_test_push_event(event_test_make(0, data), &target, 1, NULL);
}

static inline void shard_test_control(enum event_kind kind, const char *target, const char *subject)
{
    struct event event = event_test_make(0, "");
    event.kind = kind;
    event.subject = str_of(subject);
    event.time_ms = 5000;
    shard_test_push_event(event, &target, 1, NULL);
}

static inline void shard_test_end(struct session *session)
{
    shard_session_free(shard_test.shard, session);
}

static inline int shard_test_teardown(void **state)
{
    for (uint32_t slot = 1; slot < shard_slot_limit(shard_test.shard); slot++) {
        struct session *session = shard_session_at(shard_test.shard, slot);
        if (session->state != SESSION_FREE) {
            shard_session_free(shard_test.shard, session);
        }
    }
    shard_test_run();
    assert_int_equal(shard_test.hub->interest.count, 0);
    assert_int_equal(shard_test.hub->pins.count, 0);
    shard_destroy(shard_test.shard);
    hub_destroy(shard_test.hub);
    for (uint32_t i = 0; i < shard_test.sessions; i++) {
        buf_fini(&shard_test.logs[i]);
    }
    buf_fini(&shard_test.users);
    assert_int_equal(mem_accounted_total(), 0);
    return 0;
}

#define WITH_SHARD(test) \
    cmocka_unit_test_setup_teardown(test, shard_test_setup, shard_test_teardown)

#endif
