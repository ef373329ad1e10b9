#include "api/users.h"

#include "api/gateway_test_help.h"
#include "server/ws_session.h"

static void ask(struct gateway_test *test, const char *query)
{
    char line[1200];
    snprintf(line, sizeof(line), "GET /v1/users%s", query);
    assert_int_equal(gateway_test_ask(test, KEY_READ, line, NULL), 200);
    gateway_test_says(test, "\"as_of\":1");
    gateway_test_says(test, "\"complete\":true}");
}

static void a_user_counts_once_over_all_workers_with_all_its_sessions(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client clients[5];
    gateway_test_open_on(test, &clients[0], 0, "anna", "[]");
    gateway_test_open_on(test, &clients[1], 1, "anna", "[]");
    gateway_test_open_on(test, &clients[2], 1, "bert", "[]");
    gateway_test_open_on(test, &clients[3], 0, "anton", "[]");
    gateway_test_open(test, &clients[4], "other", "zoe", "[]");
    ask(test, "");
    gateway_test_says(test, "{\"users\":[{\"user\":\"anna\",\"sessions\":2},{\"user\":\"anton\","
                            "\"sessions\":1},{\"user\":\"bert\",\"sessions\":1}],\"as_of\"");
    ask(test, "?prefix=an&limit=1");
    gateway_test_says(test, "[{\"user\":\"anna\",\"sessions\":2}],\"next\":\"anna\",");
    ask(test, "?prefix=an&limit=1&after=anna");
    gateway_test_says(test, "[{\"user\":\"anton\",\"sessions\":1}],\"as_of\"");
    ask(test, "?prefix=an&after=anton");
    gateway_test_says(test, "\"users\":[],\"as_of\"");
    for (int i = 0; i < 5; i++) {
        gateway_test_close(&clients[i]);
    }
}

static void names_are_as_they_are(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    gateway_test_open(test, &client, "shop", "<img src=x> \"7\"", "[]");
    ask(test, "?prefix=%3Cimg%20");
    gateway_test_says(test, "[{\"user\":\"<img src=x> \\\"7\\\"\",\"sessions\":1}]");
    gateway_test_close(&client);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct gateway_test *test = *state;
    char line[1200] = "GET /v1/users?prefix=";
    memset(line + strlen(line), 'x', 257);
    const char *const wrong[][2] = {{"GET /v1/users?limit=0", "invalid_limit"},
                                    {"GET /v1/users?limit=1001", "invalid_limit"},
                                    {"GET /v1/users?limit=", "invalid_limit"},
                                    {"GET /v1/users?limit=1&limit=2", "invalid_limit"},
                                    {"GET /v1/users?prefix=%01", "invalid_prefix"},
                                    {"GET /v1/users?after=a%0a", "invalid_after"},
                                    {line, "invalid_prefix"}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(gateway_test_ask(test, KEY_READ, wrong[i][0], NULL), 422);
        gateway_test_says_code(test, wrong[i][1]);
    }
    ask(test, "?limit=1000&prefix=&after=");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, "GET /v1/users", NULL), 403);
}

/* ---- many, and between nodes ---- */

enum { MANY = 3 * USERS_SLICE };

static void add_users(struct gateway_test_job *job, struct worker *worker)
{
    for (int i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%05d", (int)(i * 7919LL % MANY));
        struct session *session = shard_session_create(worker->shard, 0, WS_TRANSPORT);
        assert_non_null(session);
        assert_int_equal(shard_session_set_user(worker->shard, session, str_of(name)), 0);
        session->state = SESSION_LIVE; /* as if it were welcomed */
    }
    gateway_test_job_end(job);
}

static void remove_users(struct gateway_test_job *job, struct worker *worker)
{
    for (uint32_t slot = 1; slot < shard_slot_limit(worker->shard); slot++) {
        struct session *session = shard_session_at(worker->shard, slot);
        if (session->state != SESSION_FREE) {
            session->state = SESSION_NEW;
            shard_session_end(worker->shard, session);
            shard_session_free(worker->shard, session);
        }
    }
    gateway_test_job_end(job);
}

static void many_users_are_looked_through_in_slices(void **state)
{
    struct gateway_test *test = *state;
    gateway_test_run(test, 0, add_users, NULL);
    gateway_test_run(test, 1, add_users, NULL);
    ask(test, "?prefix=u12&limit=2");
    gateway_test_says(test, "{\"users\":[{\"user\":\"u12000\",\"sessions\":2},{\"user\":\"u12001\","
                            "\"sessions\":2}],\"next\":\"u12001\"");
    ask(test, "?limit=1000&after=u11999");
    gateway_test_says(test, "\"user\":\"u12287\",\"sessions\":2}],\"as_of\"");
    gateway_test_run(test, 0, remove_users, NULL);
    gateway_test_run(test, 1, remove_users, NULL);
}

/* The parts as two nodes would send them: the second had no room for more than a and b. */
static void begin_merge(struct gateway_test_job *job, struct worker *worker)
{
    struct gather *gather = mem_zalloc(sizeof(*gather) + 2 * sizeof(struct gather_part));
    struct gather_part out = {0};
    gather->asker = worker;
    gather->name = STR("10\n\n");
    gather->part_count = gather->worker_parts = 2;
    buf_append_str(&gather->parts[0].text, STR("1 a\0"
                                               "1 b\0"
                                               "1 c\0"
                                               "1 d\0"));
    buf_append_str(&gather->parts[1].text, STR("2 a\0"
                                               "2 b b\0"));
    gather->parts[1].counts[0] = 1;
    users_list_kind.fold(gather, &out);
    struct str folded = buf_str(&out.text);
    assert_true(str_equal(folded, STR("3 a\0"
                                      "1 b\0"
                                      "2 b b\0")));
    assert_int_equal(out.counts[0], 1);
    buf_fini(&out.text);
    buf_fini(&gather->parts[0].text);
    buf_fini(&gather->parts[1].text);
    mem_free(gather);
    gateway_test_job_end(job);
}

static void nobody_is_listed_behind_a_part_that_has_more(void **state)
{
    gateway_test_run(*state, 0, begin_merge, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(a_user_counts_once_over_all_workers_with_all_its_sessions),
        GATEWAY_TEST(names_are_as_they_are),
        GATEWAY_TEST(what_makes_no_sense_is_refused),
        GATEWAY_TEST(many_users_are_looked_through_in_slices),
        GATEWAY_TEST(nobody_is_listed_behind_a_part_that_has_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
