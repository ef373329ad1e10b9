/* Sessions under a policy on several workers that know nothing of each other, through random
 * histories: they come, go, are slow, fall behind. What must hold: of those that were let in there
 * are never more than may be where the newcomer is refused; nobody is sent away but for as many
 * younger ones; and once all is quiet nobody is too many. Everything random comes from the seed:
 * SIM_SEED=7 runs one alone, SIM_SEEDS=100000 more. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/event_test_help.h"
#include "core/hub_private.h"
#include "core/receipt.h"
#include "core/shard_private.h"

enum { WORKERS = 3, QUEUES = 2, CLIENTS = 60, STEPS = 400, USERS = 2, DEVICES = 3, SEEDS = 150 };

struct client {
    struct session *session; /* NULL: it has ended */
    uint32_t worker, user, device;
    struct session_rank rank;
    bool is_admitted;
    uint32_t ended_at;
};

struct word {
    struct receipt *receipt;
    enum event_kind kind;
    uint32_t client;
    uint32_t said_at;
    bool is_back, is_done;
};

struct worker {
    struct shard *shard;
    bool asks_catch_up;
};

static struct sim {
    uint64_t seed, state;
    struct hub *hub;
    struct worker workers[WORKERS];
    struct client clients[CLIENTS];
    uint32_t client_count;
    struct word words[CLIENTS * CLIENTS];
    uint32_t word_count;
    uint32_t step;
    struct session_policy policy;
} sim;

static const char *const users[USERS] = {"u:a", "u:b"};
static const char *const devices[DEVICES] = {"", "tv", "phone"};
static uint64_t evicted, rejected;

#define CHECK(condition)                                                               \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: SIM_SEED=%llu, step %u: %s\n", __FILE__, __LINE__, \
                    (unsigned long long)sim.seed, sim.step, #condition);               \
            fail();                                                                    \
        }                                                                              \
    } while (0)

static uint32_t roll(uint32_t sides)
{
    sim.state = sim.state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(sim.state >> 33) % sides;
}

/* ---- words ---- */

static void on_report(struct receipt *receipt)
{
    struct word *word = receipt->request;
    word->is_back = true;
    receipt_unref(receipt);
}

static void on_published(struct publish *publish)
{
    publish_destroy(publish);
}

static void say(enum event_kind kind, uint32_t index)
{
    const struct client *client = &sim.clients[index];
    struct word *word = &sim.words[sim.word_count++];
    CHECK(sim.word_count < CLIENTS * CLIENTS);
    *word = (struct word){receipt_create(1, on_report, NULL), kind, index, sim.step, false, false};
    word->receipt->request = word;
    struct event event = event_test_make(0, "");
    event.kind = kind;
    event.subject = str_of(devices[client->device]);
    event.time_ms = client->rank.opened_ms;
    event.header.flags = EVENT_WANTS_RECEIPT | EVENT_IS_CONTROL;
    event.data = str_make((const char *)&client->rank.tie, sizeof(client->rank.tie));
    const char *target = users[client->user];
    struct publish *publish = publish_create(1);
    publish->on_done = on_published;
    publish->awaits_return = true;
    publish->receipt = receipt_ref(word->receipt);
    publish->parts[0].queue = event_test_queue_of(TARGET_USER, target + 2, QUEUES);
    event_test_encode(&publish->parts[0].event, &event, &target, 1);
    hub_publish(sim.hub, publish, 1000);
}

static void end(uint32_t index)
{
    struct client *client = &sim.clients[index];
    shard_session_free(sim.workers[client->worker].shard, client->session);
    client->session = NULL;
    client->ended_at = sim.step;
}

static uint32_t count_admitted(uint32_t user, uint32_t device)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim.client_count; i++) {
        const struct client *client = &sim.clients[i];
        count += client->session && client->is_admitted && client->user == user &&
                 (!device || client->device == device);
    }
    return count;
}

/* Of the client's user, younger, and there at some time since the step. */
static struct session_count count_younger(const struct client *client, uint32_t since)
{
    struct session_count count = {0};
    for (uint32_t i = 0; i < sim.client_count; i++) {
        const struct client *other = &sim.clients[i];
        bool counts = other->user == client->user &&
                      session_rank_is_younger(&other->rank, &client->rank) &&
                      (other->session || other->ended_at >= since);
        count.all += counts;
        count.same_device += counts && client->device && other->device == client->device;
    }
    return count;
}

static void judge_open(struct client *client, uint32_t index, struct session_count older)
{
    if (session_policy_rejects(&sim.policy, older)) {
        rejected++;
        end(index);
        return;
    }
    client->is_admitted = true;
    shard_session_admit(sim.workers[client->worker].shard, client->session, older);
    if (sim.policy.on_excess == SETTINGS_EXCESS_REJECT) {
        CHECK(count_admitted(client->user, 0) <= sim.policy.per_user);
    }
}

static void judge_rank(struct client *client, uint32_t index, struct session_count younger,
                       uint32_t said_at)
{
    if (!session_policy_evicts(&sim.policy, younger)) {
        shard_session_ranked(sim.workers[client->worker].shard, client->session, younger);
        return;
    }
    CHECK(session_policy_evicts(&sim.policy, count_younger(client, said_at)));
    evicted++;
    end(index);
}

static bool take_word(struct word *word)
{
    if (!word->is_back || word->is_done) {
        return false;
    }
    struct session_count count = {word->receipt->matched, word->receipt->written};
    struct client *client = &sim.clients[word->client];
    CHECK(receipt_is_complete(word->receipt));
    word->is_done = true;
    receipt_unref(word->receipt);
    if (client->session && word->kind == EVENT_OPEN) {
        judge_open(client, word->client, count);
    } else if (client->session) {
        judge_rank(client, word->client, count, word->said_at);
    }
    return true;
}

/* ---- what core asks of a transport ---- */

static enum session_delivery deliver(struct shard *shard, struct session *session,
                                     struct message *message)
{
    return SESSION_WRITTEN;
}

static void on_start(struct shard *shard, struct session *session, enum session_resumed resumed,
                     const struct hub_heads *pos)
{
}

static void on_gap(struct shard *shard, struct session *session, uint32_t queue,
                   struct bus_pos from, struct bus_pos to, enum session_gap_why why)
{
}

static void on_heads(struct shard *shard, struct session *session, const struct hub_heads *heads)
{
}

static void on_kick(struct shard *shard, struct session *session, int close_code)
{
    CHECK(!"nobody kicks");
}

static void on_excess(struct shard *shard, struct session *session)
{
    say(EVENT_RANK, (uint32_t)session->fd);
}

static const struct session_ops ops = {.deliver = deliver,
                                       .on_start = on_start,
                                       .on_gap = on_gap,
                                       .on_heads = on_heads,
                                       .on_kick = on_kick,
                                       .on_excess = on_excess};

/* ---- hub and workers ---- */

static void run_interest(void *owner, struct interest_batch *batch)
{
    hub_interest(sim.hub, batch);
}

static void ask_catch_up(void *owner)
{
    struct worker *worker = owner;
    worker->asks_catch_up = true;
}

static const struct shard_callbacks shard_callbacks = {.send_interest = run_interest,
                                                       .ask_catch_up = ask_catch_up};

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

static void turn_hub(void)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        if (sim.workers[i].asks_catch_up) {
            sim.workers[i].asks_catch_up = false;
            hub_catch_up(sim.hub, i);
        }
    }
    while (hub_flush(sim.hub, 1000, 1000000)) {
    }
}

static bool turn_worker(uint32_t index)
{
    bool more = shard_run(sim.workers[index].shard, 1000);
    shard_flush(sim.workers[index].shard);
    return more || sim.workers[index].asks_catch_up;
}

static void open_all(void)
{
    struct hub_options options = {.workers = WORKERS,
                                  .queues = QUEUES,
                                  .window_bytes = 1 << 20,
                                  .window_age_ms = 60000,
                                  .backlog_bytes = 1 << 20,
                                  .record_bytes = 1 << 16,
                                  .ring_slots = 4, /* they fall behind often */
                                  .boot = EVENT_TEST_BOOT,
                                  .space = event_test_space,
                                  .sid_key = {7, 8}};
    struct bus_options bus_options = {.queues = QUEUES};
    struct bus *bus;
    assert_int_equal(hub_create(&sim.hub, &options, &hub_callbacks, NULL), 0);
    assert_int_equal(bus_engine_find(STR("memory"))
                         ->create(&bus, NULL, &bus_options, &hub_bus_callbacks, sim.hub),
                     0);
    hub_set_bus(sim.hub, bus);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct shard_options shard_options = {.worker = i,
                                              .queues = QUEUES,
                                              .boot = EVENT_TEST_BOOT,
                                              .space = event_test_space,
                                              .sid_key = {7, 8},
                                              .window = hub_window(sim.hub),
                                              .link = hub_link(sim.hub, i),
                                              .max_replays = 1};
        struct worker *worker = &sim.workers[i];
        assert_int_equal(shard_create(&worker->shard, &shard_options, &shard_callbacks, worker), 0);
        shard_set_transport(worker->shard, 0, &ops);
        assert_int_equal(shard_add_app(worker->shard, 0, STR("demo")), 0);
        worker->shard->apps[0].hash = EVENT_TEST_APP; /* the app of event_test_make */
        worker->shard->apps[0].all_key = event_test_key_of(TARGET_ALL, "");
    }
}

static void close_all(void)
{
    for (uint32_t i = 0; i < sim.client_count; i++) {
        if (sim.clients[i].session) {
            end(i);
        }
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        turn_worker(i);
        shard_destroy(sim.workers[i].shard);
    }
    hub_destroy(sim.hub);
    assert_int_equal(mem_accounted_total(), 0);
}

/* ---- a history ---- */

/* The wall clock of another node may be behind, and several may come in one ms. */
static void come(void)
{
    uint32_t index = sim.client_count++;
    struct client *client = &sim.clients[index];
    *client = (struct client){
        .worker = roll(WORKERS), .user = roll(USERS), .device = roll(DEVICES)};
    struct shard *shard = sim.workers[client->worker].shard;
    client->rank = (struct session_rank){1000 + sim.step / 4 - client->worker, index + 1};
    client->session = shard_session_create(shard, 0, 0);
    client->session->fd = (int32_t)index;
    struct str name = str_of(users[client->user] + 2);
    assert_int_equal(shard_session_set_user(shard, client->session, name), 0);
    assert_int_equal(shard_session_start(shard, client->session, NULL), 0);
    assert_int_equal(shard_session_police(shard, client->session, &sim.policy, client->rank,
                                          str_of(devices[client->device])),
                     0);
    shard_flush(shard); /* the interest is there before the event, as in a worker's turn */
    say(EVENT_OPEN, index);
}

static void go(void)
{
    uint32_t index = sim.client_count ? roll(sim.client_count) : 0;
    if (sim.client_count && sim.clients[index].session) {
        end(index);
    }
}

static bool take_any_word(void)
{
    uint32_t from = sim.word_count ? roll(sim.word_count) : 0;
    for (uint32_t i = 0; i < sim.word_count; i++) {
        if (take_word(&sim.words[(from + i) % sim.word_count])) {
            return true;
        }
    }
    return false;
}

static void do_something(void)
{
    switch (roll(8)) {
    case 0:
        if (sim.client_count < CLIENTS) {
            come();
        }
        break;
    case 1: go(); break;
    case 2:
    case 3: turn_hub(); break;
    case 4: take_any_word(); break;
    default: turn_worker(roll(WORKERS)); break;
    }
}

static void settle(void)
{
    bool more = true;
    for (int rounds = 0; more; rounds++) {
        CHECK(rounds < 10000);
        turn_hub();
        more = false;
        for (uint32_t i = 0; i < WORKERS; i++) {
            more = turn_worker(i) || more;
        }
        while (take_any_word()) {
            more = true;
        }
    }
}

static void check_quiet(void)
{
    for (uint32_t i = 0; i < sim.word_count; i++) {
        CHECK(sim.words[i].is_done);
    }
    for (uint32_t user = 0; user < USERS; user++) {
        CHECK(!sim.policy.per_user || count_admitted(user, 0) <= sim.policy.per_user);
        for (uint32_t device = 1; device < DEVICES; device++) {
            CHECK(!sim.policy.per_device || count_admitted(user, device) <= sim.policy.per_device);
        }
    }
}

static void run(uint64_t seed, struct session_policy policy)
{
    memset(&sim, 0, sizeof(sim));
    sim.seed = sim.state = seed;
    sim.policy = policy;
    roll(2);
    open_all();
    turn_hub();
    for (sim.step = 1; sim.step < STEPS; sim.step++) {
        do_something();
    }
    settle();
    check_quiet();
    close_all();
}

static void run_seeds(uint64_t per_user, uint64_t per_device, enum settings_on_excess on_excess)
{
    struct settings_sessions settings = {per_user, per_device, on_excess};
    const char *alone = getenv("SIM_SEED");
    const char *many = getenv("SIM_SEEDS");
    uint64_t first = alone ? strtoull(alone, NULL, 10) : 1;
    uint64_t count = alone ? 1 : many ? strtoull(many, NULL, 10) : SEEDS;
    evicted = rejected = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        run(seed, session_policy_of(&settings));
    }
}

static void of_newcomers_only_as_many_as_may_be_are_let_in(void **state)
{
    run_seeds(2, 1, SETTINGS_EXCESS_REJECT);
    assert_true(rejected > 0 || getenv("SIM_SEED"));
    assert_int_equal(evicted, 0);
}

static void the_oldest_go_and_nobody_else(void **state)
{
    run_seeds(2, 1, SETTINGS_EXCESS_OLDEST);
    assert_true(evicted > 0 || getenv("SIM_SEED"));
    assert_int_equal(rejected, 0);
}

static void a_device_goes_for_itself(void **state)
{
    run_seeds(3, 0, SETTINGS_EXCESS_SAME_DEVICE);
    assert_true((evicted > 0 && rejected > 0) || getenv("SIM_SEED"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_newcomers_only_as_many_as_may_be_are_let_in),
        cmocka_unit_test(the_oldest_go_and_nobody_else),
        cmocka_unit_test(a_device_goes_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
