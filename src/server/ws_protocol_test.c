#include "server/ws_protocol.h"

#include "base/metrics.h"
#include "server/grant.h"
#include "server/test_gateway.h"
#include "server/token_mint.h"

static struct test_gateway t;

static int start(void **state)
{
    test_gateway_init(&t);
    test_gateway_start(&t, NULL);
    return 0;
}

static int stop(void **state)
{
    test_gateway_turn(&t, TEST_TURNS);
    assert_int_equal(admission_sessions(&t.gateway->admission), 0);
    test_gateway_stop(&t);
    return 0;
}

static struct test_client *say_hello(const char *hello)
{
    struct test_client *client = test_connect_v1(&t, hello);
    test_client_expect(client, "\"t\":\"welcome\"");
    return client;
}

static struct test_client *connect_v1(void)
{
    return say_hello("{\"t\":\"hello\",\"v\":1}");
}

/* A token of this user that is good for an hour; groups: one pattern or NULL. */
static const char *token_of(const char *user, const char *group)
{
    static char text[1024];
    struct buf token = {0};
    struct str groups[] = {str_of(group ? group : "")};
    struct token_claims claims = {.sub = str_of(user),
                                  .exp_s = clock_wall_ms() / 1000 + 3600,
                                  .groups = group ? groups : NULL,
                                  .group_count = group ? 1 : 0};
    assert_int_equal(token_mint(&token, STR(TEST_SECRET), STR(""), &claims), 0);
    snprintf(text, sizeof(text), "%s", buf_cstr(&token));
    buf_fini(&token);
    return text;
}

static struct test_client *hello_of(const char *user, const char *group)
{
    char hello[2048];
    snprintf(hello, sizeof(hello), "{\"t\":\"hello\",\"v\":1,\"token\":\"%s\"}",
             token_of(user, group));
    return say_hello(hello);
}

static void refresh(struct test_client *client, const char *user, const char *group)
{
    char frame[2048];
    snprintf(frame, sizeof(frame), "{\"t\":\"refresh\",\"re\":7,\"token\":\"%s\"}",
             token_of(user, group));
    test_client_send(client, WS_TEXT, frame);
}

static void expect_close(const char *hello, unsigned code)
{
    struct test_client *client = test_connect_v1(&t, hello);
    assert_int_equal(test_client_close_code(client), code);
    test_client_destroy(client);
}

/* ---- hello ---- */

static void a_welcome_says_who_and_where_and_what_is_allowed(void **state)
{
    struct test_client *client = hello_of("42", NULL);
    assert_non_null(strstr(client->text, "\"user\":\"42\""));
    assert_non_null(strstr(client->text, "\"sid\":\"s_"));
    assert_non_null(strstr(client->text, "\"resumed\":\"none\""));
    assert_non_null(strstr(client->text, "\"exp\":"));
    assert_non_null(strstr(client->text, "\"limits\":{\"msg\":65536}"));
    assert_non_null(strstr(client->text, shard_epoch(t.worker->shard).ptr));
    test_push(&t, TARGET_USER, "42", STR("for you"));
    test_client_expect(client, "for you");
    test_client_destroy(client);
}

static void a_first_frame_that_is_no_hello_is_4002(void **state)
{
    static const char *const frames[] = {
        "not json",
        "1",
        "{}",
        "{\"t\":1}",
        "{\"t\":\"join\",\"re\":1,\"g\":\"room:1\"}",
        "{\"t\":\"hello\"}",
        "{\"t\":\"hello\",\"v\":2}",
        "{\"t\":\"hello\",\"v\":1,\"token\":5}",
        "{\"t\":\"hello\",\"v\":1,\"device\":5}",
        "{\"t\":\"hello\",\"v\":1,\"attrs\":5}",
        "{\"t\":\"hello\",\"v\":1,\"origin\":{}}",
        "{\"t\":\"hello\",\"v\":1,\"groups\":\"room:1\"}",
        "{\"t\":\"hello\",\"v\":1,\"groups\":[1]}",
        "{\"t\":\"hello\",\"v\":1,\"grants\":{}}",
        "{\"t\":\"hello\",\"v\":1,\"resume\":1}",
        "{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e\"}}",
        "{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e\",\"pos\":{\"x\":\"1.0\"}}}",
        "{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e\",\"pos\":{\"99\":\"1.0\"}}}",
        "{\"t\":\"hello\",\"v\":1,\"resume\":{\"epoch\":\"e\",\"pos\":{\"1\":\"zero\"}}}",
        "{\"t\":\"hello\",\"t\":\"hello\",\"v\":1}",
    };
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        expect_close(frames[i], WS_CLOSE_BAD_FRAME);
    }
}

static void an_unknown_frame_is_ignored_even_before_hello(void **state)
{
    struct test_client *client = test_connect_v1(&t, "{\"t\":\"tomorrow\"}");
    test_client_send(client, WS_TEXT, "{\"t\":\"hello\",\"v\":1,\"extra\":[1,2]}");
    test_client_expect(client, "\"welcome\"");
    test_client_destroy(client);
}

static void a_second_hello_is_4002(void **state)
{
    struct test_client *client = connect_v1();
    test_client_send(client, WS_TEXT, "{\"t\":\"hello\",\"v\":1}");
    assert_int_equal(test_client_close_code(client), WS_CLOSE_BAD_FRAME);
    test_client_destroy(client);
}

static void a_binary_message_is_4002(void **state)
{
    struct test_client *client = connect_v1();
    test_client_send(client, WS_BINARY, "{}");
    assert_int_equal(test_client_close_code(client), WS_CLOSE_BAD_FRAME);
    test_client_destroy(client);
}

static void a_token_that_is_not_good_is_4004(void **state)
{
    expect_close("{\"t\":\"hello\",\"v\":1,\"token\":\"a.b.c\"}", WS_CLOSE_TOKEN_INVALID);
    t.apps[0].auth.anonymous = false;
    expect_close("{\"t\":\"hello\",\"v\":1}", WS_CLOSE_TOKEN_INVALID);
}

static void a_user_has_as_many_sessions_as_it_may(void **state)
{
    t.settings->limits.sessions_per_user = 1;
    struct test_client *first = hello_of("42", NULL);
    char hello[2048];
    snprintf(hello, sizeof(hello), "{\"t\":\"hello\",\"v\":1,\"token\":\"%s\"}",
             token_of("42", NULL));
    expect_close(hello, WS_CLOSE_SESSION_LIMIT);
    test_client_destroy(first);
    test_client_destroy(hello_of("42", NULL));
}

static void a_list_of_frames_is_read_in_order(void **state)
{
    struct test_client *client = test_connect_v1(
        &t, "[{\"t\":\"hello\",\"v\":1},{\"t\":\"join\",\"re\":1,\"g\":\"room:1\"},"
            "{\"t\":\"leave\",\"re\":2,\"g\":\"room:9\"}]");
    test_client_expect(client, "\"re\":2,\"code\":\"not_found\"");
    test_client_expect(client, "\"welcome\"");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":1}");
    test_client_destroy(client);
}

static void a_list_that_is_too_long_is_4103(void **state)
{
    t.settings->limits.messages_per_second = 1;
    t.settings->limits.message_burst = 3;
    struct test_client *client = connect_v1();
    test_client_send(client, WS_TEXT, "[{\"t\":\"x\"},{\"t\":\"x\"},{\"t\":\"x\"}]");
    assert_int_equal(test_client_next(client), -1);
    test_client_send(client, WS_TEXT, "[{\"t\":\"x\"}]");
    assert_int_equal(test_client_close_code(client), WS_CLOSE_RATE_LIMITED);
    test_client_destroy(client);
}

static void empty_lists_count_too(void **state)
{
    t.settings->limits.messages_per_second = 1;
    t.settings->limits.message_burst = 1;
    struct test_client *client = connect_v1();
    test_client_send(client, WS_TEXT, "[]");
    assert_int_equal(test_client_next(client), -1);
    test_client_send(client, WS_TEXT, "[]");
    assert_int_equal(test_client_close_code(client), WS_CLOSE_RATE_LIMITED);
    test_client_destroy(client);
}

static void before_hello_all_frames_count_but_the_hello(void **state)
{
    t.settings->limits.messages_per_second = 1;
    t.settings->limits.message_burst = 2;
    struct test_client *client = test_connect_v1(&t, "{\"t\":\"x\"}");
    test_client_send(client, WS_TEXT, "[{\"t\":\"x\"},{\"t\":\"hello\",\"v\":1}]");
    test_client_expect(client, "\"welcome\"");
    test_client_send(client, WS_TEXT, "{\"t\":\"x\"}");
    assert_int_equal(test_client_close_code(client), WS_CLOSE_RATE_LIMITED);
    test_client_destroy(client);
    expect_close("[{\"t\":\"x\"},{\"t\":\"x\"},{\"t\":\"x\"}]", WS_CLOSE_RATE_LIMITED);
}

/* ---- groups ---- */

static void a_join_is_answered_and_its_messages_come(void **state)
{
    struct test_client *client = connect_v1();
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":1,\"g\":\"room:1\"}");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":1}");
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":2,\"g\":\"room:1\"}");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":2}"); /* a member already */
    test_push(&t, TARGET_GROUP, "room:1", STR("hi"));
    test_client_expect(client, "\"g\":\"room:1\"");
    test_client_send(client, WS_TEXT, "{\"t\":\"leave\",\"re\":0,\"g\":\"room:1\"}");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":0}");
    test_push(&t, TARGET_GROUP, "room:1", STR("hi"));
    assert_int_equal(test_client_next(client), -1);
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"g\":\"room:2\"}"); /* wants no answer */
    assert_int_equal(test_client_next(client), -1);
    test_push(&t, TARGET_GROUP, "room:2", STR("hi"));
    test_client_expect(client, "\"g\":\"room:2\"");
    test_client_destroy(client);
}

static void a_ping_is_answered(void **state)
{
    struct test_client *client = connect_v1();
    test_client_send(client, WS_TEXT, "{\"t\":\"ping\",\"re\":9}");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":9}");
    test_client_send(client, WS_TEXT, "{\"t\":\"ping\"}"); /* wants no answer */
    assert_int_equal(test_client_next(client), -1);
    test_client_destroy(client);
}

static void a_join_that_may_not_be_says_why(void **state)
{
    static const struct {
        const char *frame;
        const char *answer;
    } joins[] = {
        {"{\"t\":\"join\",\"re\":1,\"g\":\"secret\"}", "\"code\":\"forbidden\""},
        {"{\"t\":\"join\",\"re\":1,\"g\":\"\"}", "\"code\":\"invalid_group\""},
        {"{\"t\":\"join\",\"re\":1,\"g\":5}", "\"code\":\"invalid_group\""},
        {"{\"t\":\"join\",\"re\":1}", "\"code\":\"invalid_group\""},
        {"{\"t\":\"join\",\"re\":1,\"g\":\"room:\\u0001\"}", "\"code\":\"invalid_group\""},
        {"{\"t\":\"join\",\"re\":1,\"g\":\"secret\",\"token\":\"x\"}", "\"code\":\"forbidden\""},
        {"{\"t\":\"leave\",\"re\":1,\"g\":\"room:1\"}", "\"code\":\"not_found\""},
        {"{\"t\":\"send\",\"re\":1}", "\"code\":\"unsupported\""},
        {"{\"t\":\"ack\",\"re\":1,\"ids\":5}", "\"code\":\"invalid_frame\""},
    };
    struct test_client *client = connect_v1();
    for (size_t i = 0; i < sizeof(joins) / sizeof(joins[0]); i++) {
        test_client_send(client, WS_TEXT, joins[i].frame);
        test_client_expect(client, joins[i].answer);
        assert_non_null(strstr(client->text, "\"re\":1"));
        assert_non_null(strstr(client->text, "\"title\":\""));
    }
    test_client_destroy(client);
}

/* What the app was sent, and what it was told of sessions. */
static struct buf app_told;

static const char *take_client_message(struct worker *worker, struct session *session,
                                       struct str type, struct str data)
{
    buf_printf(&app_told, "%.*s %.*s\n", STR_ARG(type), STR_ARG(data));
    return str_equal(type, STR("full")) ? "overloaded" : NULL;
}

static void take_opened(struct worker *worker, struct session *session)
{
    buf_append_str(&app_told, STR("opened\n"));
}

static void take_closed(struct worker *worker, struct session *session, const char *reason)
{
    buf_printf(&app_told, "closed %s\n", reason);
}

static void webhooks_hear_of_sessions_and_what_they_send(void **state)
{
    static const struct {
        const char *frame, *answer;
    } sends[] = {
        {"{\"t\":\"send\",\"re\":1,\"type\":\"a\",\"data\":{ \"n\": 1.0 }}", "\"t\":\"ok\""},
        {"{\"t\":\"send\",\"re\":1,\"type\":\"full\",\"data\":null}", "\"overloaded\""},
        {"{\"t\":\"send\",\"re\":1,\"type\":\"a\"}", "\"invalid_frame\""},
        {"{\"t\":\"send\",\"re\":1,\"data\":1}", "\"invalid_type\""},
        {"{\"t\":\"send\",\"re\":1,\"type\":\"\\u0007\",\"data\":1}", "\"invalid_type\""},
        {"{\"t\":\"send\",\"re\":1,\"type\":[],\"data\":1}", "\"invalid_type\""},
    };
    t.gateway->options.hooks.on_client_message = take_client_message;
    t.gateway->options.hooks.on_session_opened = take_opened;
    t.gateway->options.hooks.on_session_closed = take_closed;
    struct test_client *unheard = connect_v1();
    test_client_destroy(unheard);
    assert_int_equal(app_told.len, 0);
    t.apps[0].webhook_events = SETTINGS_EVENT_CLIENT_MESSAGE | SETTINGS_EVENT_SESSION_OPENED |
                               SETTINGS_EVENT_SESSION_CLOSED;
    struct test_client *client = connect_v1();
    for (size_t i = 0; i < sizeof(sends) / sizeof(sends[0]); i++) {
        test_client_send(client, WS_TEXT, sends[i].frame);
        test_client_expect(client, sends[i].answer);
    }
    test_client_send(client, WS_TEXT, "{\"t\":\"send\",\"type\":\"quiet\",\"data\":[]}");
    assert_int_equal(test_client_next(client), -1);
    test_client_destroy(client);
    assert_string_equal(buf_cstr(&app_told), "opened\na { \"n\": 1.0 }\nfull null\nquiet []\n"
                                             "closed connection_lost\n");
    struct test_client *early = test_connect(&t, "/v1/ws", "tidegate.v1.json"); /* says no hello */
    test_client_destroy(early);
    assert_null(strstr(buf_cstr(&app_told), "lost\nclosed"));
    buf_fini(&app_told);
}

static uint64_t tokens_verified(void)
{
    struct buf text = {0};
    uint64_t sum = 0;
    assert_int_equal(metrics_render(&text), 0);
    for (const char *at = buf_cstr(&text);
         at && (at = strstr(at, "tidegate_auth_results_total{"));) {
        at = strchr(at, '}');
        sum += strtoull(at + 1, NULL, 10);
    }
    buf_fini(&text);
    return sum;
}

static void a_token_of_a_join_is_verified_only_where_it_matters(void **state)
{
    static const char *const groups[] = {"", "room:1", "room:2"};
    t.settings->limits.groups_per_session = 1;
    struct test_client *client = test_connect_v1(
        &t, "{\"t\":\"hello\",\"v\":1,\"groups\":[\"room:1\"]}");
    test_client_expect(client, "\"welcome\"");
    uint64_t before = tokens_verified();
    for (int i = 0; i < 3; i++) {
        char frame[2048];
        snprintf(frame, sizeof(frame), "{\"t\":\"join\",\"re\":1,\"g\":\"%s\",\"token\":\"%s\"}",
                 groups[i], token_of("42", "team:*"));
        test_client_send(client, WS_TEXT, frame);
        test_client_expect(client, "\"re\":1");
    }
    assert_int_equal(tokens_verified(), before);
    test_client_destroy(client);
}

static void one_group_over_the_limit_is_refused(void **state)
{
    t.settings->limits.groups_per_session = 1;
    struct test_client *client = test_connect_v1(
        &t, "{\"t\":\"hello\",\"v\":1,\"groups\":[\"room:1\",\"room:2\"]}");
    test_client_expect(client, "\"code\":\"group_limit\"");
    test_client_expect(client, "\"welcome\"");
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":1,\"g\":\"room:3\"}");
    test_client_expect(client, "\"code\":\"group_limit\"");
    test_client_destroy(client);
    /* What is behind the first one over the limit is not looked at; the session starts. */
    client = test_connect_v1(
        &t, "{\"t\":\"hello\",\"v\":1,\"groups\":[\"room:1\",\"room:2\",\"room:3\"]}");
    test_client_expect(client, "\"code\":\"group_limit\"");
    test_client_expect(client, "\"welcome\"");
    test_client_destroy(client);
}

static void a_token_brings_groups_and_a_refresh_without_them_takes_them(void **state)
{
    struct test_client *client = hello_of("42", "team:*");
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":1,\"g\":\"team:a\"}");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":1}");
    refresh(client, "42", NULL);
    test_client_expect(client, "{\"t\":\"ok\",\"re\":7}");
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":2,\"g\":\"team:b\"}");
    test_client_expect(client, "\"code\":\"forbidden\"");
    refresh(client, "42", "team:*");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":7}");
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":3,\"g\":\"team:b\"}");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":3}");
    test_client_destroy(client);
}

static void a_session_remembers_64_patterns_of_its_token_and_accounts_for_them(void **state)
{
    enum { PATTERNS = WS_GROUPS_KEPT + 1 };
    static char names[PATTERNS][32];
    struct str groups[PATTERNS];
    struct buf hello = {0};
    for (int i = 0; i < PATTERNS; i++) {
        snprintf(names[i], sizeof(names[i]), "team:%d", i);
        groups[i] = str_of(names[i]);
    }
    struct token_claims claims = {.sub = STR("42"),
                                  .exp_s = clock_wall_ms() / 1000 + 3600,
                                  .groups = groups,
                                  .group_count = PATTERNS};
    buf_append_str(&hello, STR("{\"t\":\"hello\",\"v\":1,\"device\":\"d\",\"token\":\""));
    assert_int_equal(token_mint(&hello, STR(TEST_SECRET), STR(""), &claims), 0);
    buf_append_str(&hello, STR("\"}"));
    int64_t before = mem_accounted(MEM_SESSIONS);
    struct test_client *client = say_hello(buf_cstr(&hello));
    assert_true(mem_accounted(MEM_SESSIONS) - before >
                (int64_t)(sizeof(struct ws_extra) + WS_GROUPS_KEPT * sizeof(struct str)));
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":1,\"g\":\"team:63\"}");
    test_client_expect(client, "{\"t\":\"ok\",\"re\":1}");
    test_client_send(client, WS_TEXT, "{\"t\":\"join\",\"re\":2,\"g\":\"team:64\"}");
    test_client_expect(client, "\"code\":\"forbidden\"");
    test_client_destroy(client);
    buf_fini(&hello);
}

static void a_token_in_a_join_is_good_for_its_own_user_alone(void **state)
{
    char frame[2048];
    struct test_client *client = hello_of("42", NULL);
    snprintf(frame, sizeof(frame), "{\"t\":\"join\",\"re\":1,\"g\":\"team:a\",\"token\":\"%s\"}",
             token_of("41", "team:*"));
    test_client_send(client, WS_TEXT, frame);
    test_client_expect(client, "\"code\":\"forbidden\"");
    snprintf(frame, sizeof(frame), "{\"t\":\"join\",\"re\":2,\"g\":\"team:a\",\"token\":\"%s\"}",
             token_of("42", "team:*"));
    test_client_send(client, WS_TEXT, frame);
    test_client_expect(client, "{\"t\":\"ok\",\"re\":2}");
    test_client_destroy(client);
}

static void a_refresh_by_another_user_is_4003_and_a_bad_one_4004(void **state)
{
    struct test_client *client = hello_of("42", NULL);
    refresh(client, "41", NULL);
    assert_int_equal(test_client_close_code(client), WS_CLOSE_FORBIDDEN);
    test_client_destroy(client);
    static const char *const bad[] = {"{\"t\":\"refresh\",\"re\":1}",
                                      "{\"t\":\"refresh\",\"re\":1,\"token\":\"\"}",
                                      "{\"t\":\"refresh\",\"re\":1,\"token\":\"a.b.c\"}"};
    for (int i = 0; i < 3; i++) {
        client = hello_of("42", NULL);
        test_client_send(client, WS_TEXT, bad[i]);
        assert_int_equal(test_client_close_code(client), WS_CLOSE_TOKEN_INVALID);
        test_client_destroy(client);
    }
}

static const char *hello_with_grant(const char *user, const char *granted_to, uint64_t issued_ms)
{
    static char hello[4096];
    struct buf text = {0};
    struct grant grant = {.app = STR("demo"),
                          .user = str_of(granted_to),
                          .group = STR("team:a"),
                          .issued_ms = issued_ms,
                          .expires_ms = clock_wall_ms() + 60000};
    assert_int_equal(grant_write(&text, t.gateway->keys.grant_keys[0], &grant), 0);
    snprintf(hello, sizeof(hello), "{\"t\":\"hello\",\"v\":1,\"token\":\"%s\",\"grants\":[\"%s\"]}",
             token_of(user, NULL), buf_cstr(&text));
    buf_fini(&text);
    return hello;
}

static void a_grant_lets_its_user_in_again_and_nobody_else(void **state)
{
    uint64_t now = clock_wall_ms();
    struct test_client *client = say_hello(hello_with_grant("42", "42", now));
    test_push(&t, TARGET_GROUP, "team:a", STR("hi"));
    test_client_expect(client, "\"g\":\"team:a\"");
    test_client_destroy(client);
    client = test_connect_v1(&t, hello_with_grant("41", "42", now));
    test_client_expect(client, "\"code\":\"forbidden\"");
    test_client_expect(client, "\"welcome\"");
    test_client_destroy(client);
}

/* ---- raw sessions ---- */

static void a_raw_session_gets_its_groups_payloads_and_is_not_heard(void **state)
{
    struct test_client *client = test_connect(&t, "/v1/ws?group=room:1&x=y&group=room%3A2", "");
    test_client_send(client, WS_TEXT, "anything");
    test_push(&t, TARGET_GROUP, "room:2", STR("plain"));
    test_client_expect(client, "plain");
    assert_int_equal(client->len, 5);
    test_client_destroy(client);
}

static void a_raw_session_that_may_not_join_is_4003(void **state)
{
    static const char *const targets[] = {"/v1/ws?group=secret",
                                          "/v1/ws?group=", "/v1/ws?group=%zz"};
    for (int i = 0; i < 3; i++) {
        struct test_client *client = test_connect(&t, targets[i], "");
        assert_int_equal(test_client_close_code(client), WS_CLOSE_FORBIDDEN);
        test_client_destroy(client);
    }
}

/* ---- the end ---- */

/* Its connect came before the drain, its hello behind the one who told all the others. */
static void who_says_hello_while_the_node_drains_is_told_too(void **state)
{
    struct test_client *client = test_client_create(&t, &t.gateway->client_addr);
    assert_int_equal(test_client_upgrade(client, "/v1/ws", "tidegate.v1.json", ""), 101);
    gateway_drain(t.gateway, &t.settings->drain, 60000, false);
    test_gateway_turn(&t, 4);
    test_client_send(client, WS_TEXT, "{\"t\":\"hello\",\"v\":1}");
    test_client_expect(client, "\"t\":\"welcome\"");
    test_client_expect(client, "\"t\":\"goaway\"");
    assert_non_null(strstr(client->text, "\"window_ms\":60000"));
    test_client_destroy(client);
}

static void a_resume_closes_nobody_and_lets_all_in(void **state)
{
    struct test_client *client = connect_v1();
    gateway_drain(t.gateway, &t.settings->drain, 100, false);
    test_gateway_turn(&t, 4);
    test_client_expect(client, "\"t\":\"goaway\"");
    assert_true(gateway_resume(t.gateway));
    test_gateway_turn_for(&t, 150);
    test_client_destroy(connect_v1());
    assert_false(gateway_is_empty(t.gateway));
    gateway_drain(t.gateway, &t.settings->drain, 60000, true);
    assert_false(gateway_resume(t.gateway));
    test_client_destroy(client);
}

static void a_drain_tells_who_listens_and_closes_them_within_the_window(void **state)
{
    struct test_client *v1 = connect_v1();
    struct test_client *raw = test_connect(&t, "/v1/ws", "");
    gateway_drain(t.gateway, &t.settings->drain, 100, false);
    test_gateway_turn(&t, 4);
    test_client_expect(v1, "\"t\":\"goaway\"");
    assert_non_null(strstr(v1->text, "\"window_ms\":100"));
    char why[GATEWAY_WHY_BYTES];
    assert_non_null(gateway_not_ready(t.gateway, why));
    test_gateway_turn_for(&t, 150);
    assert_int_equal(test_client_close_code(v1), WS_CLOSE_DRAIN);
    assert_int_equal(test_client_close_code(raw), WS_CLOSE_DRAIN);
    test_client_destroy(v1);
    test_client_destroy(raw);
    assert_true(gateway_is_empty(t.gateway));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_welcome_says_who_and_where_and_what_is_allowed),
        TEST(a_first_frame_that_is_no_hello_is_4002),
        TEST(an_unknown_frame_is_ignored_even_before_hello),
        TEST(a_second_hello_is_4002),
        TEST(webhooks_hear_of_sessions_and_what_they_send),
        TEST(a_binary_message_is_4002),
        TEST(a_token_that_is_not_good_is_4004),
        TEST(a_user_has_as_many_sessions_as_it_may),
        TEST(a_list_of_frames_is_read_in_order),
        TEST(a_list_that_is_too_long_is_4103),
        TEST(empty_lists_count_too),
        TEST(before_hello_all_frames_count_but_the_hello),
        TEST(a_token_of_a_join_is_verified_only_where_it_matters),
        TEST(a_join_is_answered_and_its_messages_come),
        TEST(a_ping_is_answered),
        TEST(a_join_that_may_not_be_says_why),
        TEST(one_group_over_the_limit_is_refused),
        TEST(a_token_brings_groups_and_a_refresh_without_them_takes_them),
        TEST(a_session_remembers_64_patterns_of_its_token_and_accounts_for_them),
        TEST(a_token_in_a_join_is_good_for_its_own_user_alone),
        TEST(a_refresh_by_another_user_is_4003_and_a_bad_one_4004),
        TEST(a_grant_lets_its_user_in_again_and_nobody_else),
        TEST(a_raw_session_gets_its_groups_payloads_and_is_not_heard),
        TEST(a_raw_session_that_may_not_join_is_4003),
        TEST(who_says_hello_while_the_node_drains_is_told_too),
        TEST(a_resume_closes_nobody_and_lets_all_in),
        TEST(a_drain_tells_who_listens_and_closes_them_within_the_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
