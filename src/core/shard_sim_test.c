/* The whole of core in a simulation: thousands of seeds, each a few hundred random steps. SIM_SEED
 * runs one seed alone, SIM_SEEDS that many. */
#include "core/sim_client_test_help.h"

#if defined(__SANITIZE_THREAD__)
enum { SEEDS = 150 };
#elif defined(__SANITIZE_ADDRESS__)
enum { SEEDS = 500 };
#else
enum { SEEDS = 2000 };
#endif

/* Pushes. */

static void choose_target(struct sim *sim, struct sim_push *push, struct sim_target *target)
{
    uint32_t die = sim_roll(sim, 10);
    const struct sim_client *client = &sim->clients[sim_roll(sim, sim->client_count)];
    target->name[0] = '\0';
    if (push->kind == EVENT_JOIN || push->kind == EVENT_PART) {
        target->kind = TARGET_GROUP;
        snprintf(target->name, sizeof(target->name), "room:%u", sim_roll(sim, SIM_GROUPS));
    } else if (die < 2 && client->state == SIM_HERE && client->app == push->app) {
        target->kind = TARGET_SESSION;
        memcpy(target->name, client->sid, sizeof(client->sid));
    } else if (die < 5) {
        target->kind = TARGET_USER;
        snprintf(target->name, sizeof(target->name), "u%u", sim_roll(sim, SIM_USERS));
    } else if (die < 9 && push->kind == EVENT_MESSAGE) {
        target->kind = TARGET_GROUP;
        snprintf(target->name, sizeof(target->name), "room:%u", sim_roll(sim, SIM_GROUPS));
    } else if (push->kind == EVENT_MESSAGE) {
        target->kind = TARGET_ALL;
    } else {
        target->kind = TARGET_USER;
        snprintf(target->name, sizeof(target->name), "u%u", sim_roll(sim, SIM_USERS));
    }
    target->queue = sim_queue(push->app, target->kind, str_of(target->name), sim->queues);
}

static void choose_push(struct sim *sim, struct sim_push *push, int index)
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
        choose_target(sim, push, &push->targets[i]);
    }
    push->first_of_id = index;
    push->has_id = push->kind == EVENT_MESSAGE && sim_chance(sim, 25);
    push->has_ttl = push->kind == EVENT_MESSAGE && sim_chance(sim, 10);
    push->wants_receipt = sim_chance(sim, 30);
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

/* Now and then the same push again, as a caller does who got no answer. */
static void choose_or_repeat(struct sim *sim, struct sim_push *push, int index)
{
    int other = (int)sim_roll(sim, (uint32_t)index + 1);
    if (other < index && sim->pushes[other].has_id) {
        bool wants_receipt = sim_chance(sim, 30);
        *push = sim->pushes[other];
        push->done = push->receipts_delivered = 0;
        push->live_deliveries = push->receipt_matched = 0;
        push->wants_receipt = wants_receipt;
        return;
    }
    choose_push(sim, push, index);
}

static uint32_t list_queues(const struct sim_push *push, uint32_t out_queues[SIM_TARGETS])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < push->target_count; i++) {
        uint32_t at = 0;
        while (at < count && out_queues[at] != push->targets[i].queue) {
            at++;
        }
        if (at == count) {
            out_queues[count++] = push->targets[i].queue;
        }
    }
    return count;
}

static void encode_part(const struct sim_push *push, int index, uint32_t part,
                        struct publish_part *out_part)
{
    struct target targets[SIM_TARGETS];
    uint64_t keys[SIM_TARGETS];
    size_t count = 0;
    for (uint32_t i = 0; i < push->target_count; i++) {
        if (push->targets[i].queue == out_part->queue) {
            targets[count] = (struct target){push->targets[i].kind, str_of(push->targets[i].name)};
            keys[count] = sim_key(push->app, targets[count].kind, targets[count].name);
            count++;
        }
    }
    char number[12];
    snprintf(number, sizeof(number), "%d", index);
    struct event event = {
        .header = {.flags = (uint8_t)((push->has_id ? EVENT_HAS_ID : 0) |
                                      (push->wants_receipt ? EVENT_WANTS_RECEIPT : 0)),
                   .app = target_app_hash(&sim_space, str_of(sim_app_names[push->app])),
                   .ttl_ms = push->has_ttl ? 100 : 0,
                   .origin = SIM_BOOT},
        .id_hash = 1000 + (uint64_t)push->first_of_id,
        .body_hash = 7,
        .kind = push->kind,
        .part = (uint8_t)part,
        .parts = (uint8_t)push->parts,
        .data_kind = EVENT_DATA_TEXT,
        .time_ms = 1,
        .id = str_of(push->id),
        .collapse = {number, strlen(number) + 1}, /* with its NUL: see sim_deliver */
        .origin_tag = str_of(push->origin_tag),
        .subject = str_of(push->subject),
        .data = STR("hello")};
    struct str except = str_of(push->except);
    assert_int_equal(
        event_encode(&out_part->event, &event, targets, keys, count, &except, except.len > 0), 0);
}

static void on_receipt_mail(struct mail *mail)
{
    struct receipt *receipt = MAIL_OWNER(mail, struct receipt, mail);
    struct sim_push *push = receipt->owner;
    push->receipts_delivered++;
    push->receipt_matched = atomic_load(&receipt->matched);
    receipt_unref(receipt);
}

static void deliver_receipt(struct receipt *receipt)
{
    receipt->mail.run = on_receipt_mail;
    receipt->mail.run(&receipt->mail);
}

static void on_publish_done(struct publish *publish)
{
    struct sim_push *push = publish->owner;
    push->done++;
    publish_destroy(publish);
}

static void run_publish(struct mail *mail)
{
    struct publish *publish = MAIL_OWNER(mail, struct publish, mail);
    struct sim_push *push = publish->owner;
    struct sim *sim = (struct sim *)(void *)publish->deadline_ms;
    publish->deadline_ms = sim_chance(sim, 70) ? sim->now_ms + sim_roll(sim, 3000) : 0;
    SIM_CHECK(sim, push->done == 0, "done before it began");
    hub_publish(sim->hub, publish, sim->now_ms);
}

static void push_something(struct sim *sim)
{
    if (sim->push_count == SIM_PUSHES) {
        return;
    }
    int index = sim->push_count++;
    struct sim_push *push = &sim->pushes[index];
    choose_or_repeat(sim, push, index);
    uint32_t queues[SIM_TARGETS];
    push->parts = list_queues(push, queues);
    struct publish *publish = publish_create(push->parts);
    for (uint32_t i = 0; i < push->parts; i++) {
        publish->parts[i].queue = queues[i];
        encode_part(push, index, i, &publish->parts[i]);
    }
    uint32_t worker = sim_roll(sim, sim->shards);
    publish->owner = push;
    publish->worker = worker;
    publish->on_done = on_publish_done;
    publish->awaits_return = push->has_id || push->wants_receipt;
    publish->receipt = push->wants_receipt ? receipt_create(push->parts, deliver_receipt, push)
                                           : NULL;
    publish->mail.run = run_publish;
    publish->deadline_ms = (uint64_t)(uintptr_t)sim;
    sim_post_to_hub(&sim->workers[worker], &publish->mail);
}

/* A run. */

static struct sim *sim_create(uint64_t seed, bool out_of_memory)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    sim->seed = seed;
    sim->dice = seed * 0x9e3779b97f4a7c15u + 0x1234567;
    sim->out_of_memory = out_of_memory;
    sim->now_ms = 1000000;
    for (int i = 0; i < 10; i++) {
        sim_roll(sim, 2);
    }
    sim->queues = 1 + sim_roll(sim, SIM_QUEUES);
    sim->shards = 1 + sim_roll(sim, SIM_SHARDS);
    sim->client_count = 3 + sim_roll(sim, SIM_CLIENTS - 3);
    sim->clients = calloc(sim->client_count, sizeof(*sim->clients));
    for (uint32_t i = 0; i < sim->client_count; i++) {
        struct sim_client *client = &sim->clients[i];
        client->sim = sim;
        client->app = sim_chance(sim, 80) ? 0 : 1;
        client->user = sim_chance(sim, 80) ? (int)sim_roll(sim, SIM_USERS) : -1;
        snprintf(client->origin_tag, sizeof(client->origin_tag), "t%u", i);
    }
    sim_create_hub(sim);
    for (uint32_t i = 0; i < sim->shards; i++) {
        sim_create_shard(sim, i, &sim_ops);
    }
    return sim;
}

static void step_worker(struct sim *sim)
{
    struct sim_worker *worker = &sim->workers[sim_roll(sim, sim->shards)];
    sim_worker_takes_mail(worker);
    if (worker->ready) {
        sim_worker_runs(worker);
    }
}

static void step(struct sim *sim)
{
    uint32_t die = sim_roll(sim, 100);
    sim->now_ms += sim_chance(sim, 5) ? sim_roll(sim, 400) : sim_roll(sim, 3);
    if (die < 20) {
        push_something(sim);
    } else if (die < 40) {
        sim_client_acts(&sim->clients[sim_roll(sim, sim->client_count)]);
    } else if (die < 60) {
        sim_hub_takes_mail(sim, sim_roll(sim, sim->shards));
    } else if (die < 72) {
        sim_hub_flushes(sim);
    } else if (die < 75) {
        sim_arm(sim);
        hub_tick(sim->hub, sim->now_ms);
        sim_disarm();
    } else if (die < 77) {
        sim_write_unsent(sim);
    } else {
        step_worker(sim);
    }
}

static bool quiet_round(struct sim *sim)
{
    bool more = sim_hub_flushes(sim);
    for (uint32_t i = 0; i < sim->shards; i++) {
        struct sim_worker *worker = &sim->workers[i];
        while (sim_worker_takes_mail(worker) || sim_hub_takes_mail(sim, i)) {
            more = true;
        }
        if (worker->ready) {
            sim_worker_runs(worker);
            more = true;
        }
        shard_flush(worker->shard);
        more = more || worker->outbox_count > 0;
    }
    return more;
}

/* Everything under way comes to its end. */
static void settle(struct sim *sim)
{
    sim->is_quiet = true;
    for (uint32_t i = 0; i < sim->client_count; i++) {
        struct sim_client *client = &sim->clients[i];
        client->is_slow = false;
        if (client->state == SIM_HERE) {
            shard_replay_continue(sim->workers[client->worker].shard, sim_session(client));
            sim->workers[client->worker].ready = true;
        }
    }
    for (int ticks = 0; ticks < 5; ticks++) {
        for (int round = 0; quiet_round(sim); round++) {
            SIM_CHECK(sim, round < 100000, "it never comes to rest");
        }
        sim_write_unsent(sim);
        hub_tick(sim->hub, sim->now_ms);
    }
}

static bool concerns_user(const struct sim_push *push, const struct sim_client *client,
                          const char *name)
{
    return push->app == client->app && client->user >= 0 && atoi(name + 1) == client->user;
}

/* Groups that only the API touches: the last join or part after the start decides. */
static void check_api_groups(struct sim *sim, const struct sim_client *client)
{
    for (uint32_t g = SIM_GROUPS - SIM_API_GROUPS; g < SIM_GROUPS; g++) {
        uint32_t queue = sim_group_queue(client, g);
        const struct sim_history *history = &sim->histories[queue];
        bool expected = false;
        for (uint32_t i = 0; i < history->count; i++) {
            const struct sim_event *event = &history->events[i];
            const struct sim_push *push = event->push < 0 ? NULL : &sim->pushes[event->push];
            if (push && (push->kind == EVENT_JOIN || push->kind == EVENT_PART) && !event->again &&
                bus_pos_compare(event->pos, client->fence[queue]) > 0 &&
                concerns_user(push, client, push->subject) &&
                (uint32_t)atoi(push->targets[0].name + 5) == g) {
                expected = push->kind == EVENT_JOIN;
            }
        }
        SIM_CHECK(sim, client->member[g] == expected, "client %d: a %s of %u was lost",
                  (int)(client - sim->clients), expected ? "join" : "part", g);
    }
}

static void check_kicks(struct sim *sim, const struct sim_client *client)
{
    for (uint32_t q = 0; q < sim->queues; q++) {
        for (uint32_t i = 0; i < sim->histories[q].count; i++) {
            const struct sim_event *event = &sim->histories[q].events[i];
            const struct sim_push *push = event->push < 0 ? NULL : &sim->pushes[event->push];
            bool kicks = push && push->kind == EVENT_KICK && !event->again &&
                         bus_pos_compare(event->pos, client->fence[q]) > 0 &&
                         sim_may_come(client, event, q);
            SIM_CHECK(sim, !kicks, "client %d: a kick was lost", (int)(client - sim->clients));
        }
    }
}

static void check_client(struct sim *sim, struct sim_client *client)
{
    SIM_CHECK(sim, client->state != SIM_STARTING, "it never started");
    if (client->state != SIM_HERE) {
        return;
    }
    SIM_CHECK(sim, sim_session(client)->state == SESSION_LIVE, "it never went live");
    for (uint32_t q = 0; q < sim->queues; q++) {
        struct bus_pos end = {UINT64_MAX, 0};
        SIM_CHECK(sim, bus_pos_compare(client->pos[q], sim->hub->heads.pos[q]) == 0,
                  "client %d does not know where queue %u is", (int)(client - sim->clients), q);
        sim_advance(client, q, end, true, "end");
    }
    for (uint32_t g = 0; g < SIM_GROUPS; g++) {
        SIM_CHECK(sim, !client->join_tag[g], "a join was not answered");
    }
    if (!sim->out_of_memory) {
        check_api_groups(sim, client);
        check_kicks(sim, client);
    }
}

static void check_pushes(struct sim *sim)
{
    for (int i = 0; i < sim->push_count; i++) {
        const struct sim_push *push = &sim->pushes[i];
        SIM_CHECK(sim, push->done == 1, "push %d was done %d times", i, push->done);
        SIM_CHECK(sim, push->receipts_delivered == push->wants_receipt,
                  "push %d: its receipt came %d times", i, push->receipts_delivered);
        if (push->wants_receipt && push->kind == EVENT_MESSAGE) {
            SIM_CHECK(sim, push->receipt_matched == push->live_deliveries,
                      "push %d: the receipt counts %u, %u got it", i, push->receipt_matched,
                      push->live_deliveries);
        }
    }
}

static void close_all(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->client_count; i++) {
        if (sim->clients[i].state != SIM_AWAY) {
            sim_client_leaves(&sim->clients[i]);
        }
    }
    settle(sim);
    SIM_CHECK(sim, sim->out_of_memory || sim->hub->interest.count == 0, "%u keys of nobody",
              sim->hub->interest.count);
    SIM_CHECK(sim, sim->out_of_memory || sim->hub->pins.count == 0, "%u pins are left",
              sim->hub->pins.count);
    for (uint32_t i = 0; i < sim->shards; i++) {
        const struct shard *shard = sim->workers[i].shard;
        SIM_CHECK(sim,
                  shard->users.count == 0 && shard->groups.count == 0 && shard->members.used == 0 &&
                      shard->sessions.used == 0,
                  "the tables are not empty");
    }
}

static void sim_destroy(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->shards; i++) {
        sim->catch_ups += sim->workers[i].shard->stats.catch_ups;
        shard_destroy(sim->workers[i].shard);
    }
    hub_destroy(sim->hub);
    for (uint32_t i = 0; i < sim->shards; i++) {
        while (sim_worker_takes_mail(&sim->workers[i])) {
        }
    }
    free(sim->clients);
    free(sim);
}

static struct sim totals;

static void add_to_totals(const struct sim *sim)
{
    totals.delivered += sim->delivered;
    totals.gaps_told += sim->gaps_told;
    totals.kicks += sim->kicks;
    for (uint32_t i = 0; i < sim->shards; i++) {
        totals.catch_ups += sim->workers[i].shard->stats.catch_ups;
    }
}

static void run_seed(uint64_t seed, bool out_of_memory)
{
    int64_t before = mem_accounted_total();
    struct sim *sim = sim_create(seed, out_of_memory);
    uint32_t steps = 200 + sim_roll(sim, 800);
    for (uint32_t i = 0; i < steps; i++) {
        step(sim);
    }
    settle(sim);
    hub_send_heads(sim->hub);
    settle(sim);
    for (uint32_t i = 0; i < sim->client_count; i++) {
        check_client(sim, &sim->clients[i]);
    }
    check_pushes(sim);
    close_all(sim);
    add_to_totals(sim);
    sim_destroy(sim);
    assert_int_equal(mem_accounted_total(), before);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void run_seeds(bool out_of_memory)
{
    uint64_t alone = number_from("SIM_SEED", 0);
    uint64_t count = alone ? 1 : number_from("SIM_SEEDS", SEEDS);
    totals = (struct sim){0};
    for (uint64_t i = 0; i < count; i++) {
        run_seed(alone ? alone : i + 1, out_of_memory);
    }
    printf("%llu seeds: %llu messages, %llu gaps, %llu catch-ups, %llu kicks\n",
           (unsigned long long)count, (unsigned long long)totals.delivered,
           (unsigned long long)totals.gaps_told, (unsigned long long)totals.catch_ups,
           (unsigned long long)totals.kicks);
}

static void whatever_happens_each_session_gets_what_is_for_it_once_and_in_order(void **state)
{
    run_seeds(false);
}

static void what_is_lost_for_want_of_memory_is_told(void **state)
{
    run_seeds(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_each_session_gets_what_is_for_it_once_and_in_order),
        cmocka_unit_test(what_is_lost_for_want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
