/* What the API listener tells the audit log, and how requests are known by their ids. */
#include <fcntl.h>
#include <sys/stat.h>

#include "api/api.h"
#include "api/admin_test_help.h"
#include "base/audit.h"
#include "base/text_test_help.h"

static char path[] = "/tmp/api_audit_test.XXXXXX";
static char text[100000];

static void open_file(void)
{
    strcpy(path, "/tmp/api_audit_test.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(audit_open(str_of(path)), 0);
}

static int begin(void **state)
{
    open_file();
    return gateway_test_setup(state);
}

static int begin_admin(void **state)
{
    open_file();
    return admin_test_setup(state);
}

static int end(void **state)
{
    audit_close();
    unlink(path);
    return gateway_test_teardown(state);
}

static int end_admin(void **state)
{
    audit_close();
    unlink(path);
    return admin_test_teardown(state);
}

/* Everything that was told so far. */
static const char *told(void)
{
    audit_close();
    return text_of_file(path, text, sizeof(text));
}

static void assert_told(const char *event, const char *target, const char *result)
{
    char head[128];
    char tail[256];
    snprintf(head, sizeof(head), "\"event\":\"%s\",", event);
    snprintf(tail, sizeof(tail), "\"target\":\"%s\"}", target);
    char *line = strstr(text, head);
    assert_non_null(line);
    char *line_end = strchr(line, '\n');
    assert_non_null(line_end);
    *line_end = '\0';
    assert_non_null(strstr(line, tail));
    assert_non_null(strstr(line, result));
    assert_non_null(strstr(line, "\"via\":\"api\",\"peer\":\"127.0.0.1:"));
    *line_end = '\n';
}

static void acts_of_administration_are_told_with_their_end(void **state)
{
    gateway_test_ask(*state, KEY_ALL, "DELETE /v1/users/4%202/sessions", NULL);
    gateway_test_ask(*state, KEY_ALL, "DELETE /v1/sessions/s_nobody", NULL);
    gateway_test_ask(*state, KEY_ALL, "PUT /v1/groups/room:1/users/42", NULL);
    gateway_test_ask(*state, KEY_ALL, "DELETE /v1/groups/room:1/users/42", NULL);
    gateway_test_ask(*state, KEY_ALL, "DELETE /v1/messages/nothing", NULL);
    gateway_test_ask(*state, KEY_ALL, "POST /v1/revocations", "{\"user\":\"mallory\"}");
    gateway_test_ask(*state, KEY_ALL, "POST /v1/revocations", "{\"token_id\":\"jti-7\"}");
    gateway_test_ask(*state, KEY_ALL, "POST /v1/revocations", "nonsense");
    gateway_test_ask(*state, KEY_ADMIN, "POST /v1/nodes/nowhere:drain", "{}");
    told();
    assert_told("user.kick", "users/4%202/sessions",
                "\"result\":\"done\",\"app\":\"shop\",\"key\":\"tg_all\","
                "\"role\":\"app\"");
    assert_told("session.kick", "sessions/s_nobody", "\"result\":\"refused\"");
    assert_told("group.join", "groups/room:1/users/42", "\"result\":\"done\"");
    assert_told("group.part", "groups/room:1/users/42", "\"status\":200");
    assert_told("message.cancel", "messages/nothing", "\"result\":\"refused\"");
    assert_told("token.revoke", "users/mallory", "\"result\":\"done\"");
    assert_non_null(strstr(text, "\"target\":\"tokens/jti-7\"}"));
    assert_non_null(strstr(text, "\"target\":\"revocations\"}"));
    assert_told("node.drain", "nodes/nowhere", "\"key\":\"tg_admin\",\"role\":\"admin\"");
    assert_int_equal(text_count(text, "\n"), 9);
}

static void looking_at_frames_is_when_it_begins(void **state)
{
    struct gateway_test_client client;
    char line[128];
    char target[128];
    gateway_test_open(*state, &client, "shop", "42", "[]");
    snprintf(line, sizeof(line), "GET /v1/sessions/%s/frames", client.sid);
    snprintf(target, sizeof(target), "sessions/%s", client.sid);
    assert_int_equal(gateway_test_ask(*state, KEY_READ, line, NULL), 200);
    snprintf(line, sizeof(line), "GET /v1/sessions/%s/frames?after=1.1", client.sid);
    assert_int_equal(gateway_test_ask(*state, KEY_READ, line, NULL), 410);
    told();
    assert_told("session.watch", target, "\"result\":\"done\"");
    assert_int_equal(text_count(text, "\n"), 1);
    gateway_test_close(&client);
}

static void reading_messages_is_when_it_begins(void **state)
{
    gateway_test_ask(*state, KEY_ALL, "POST /v1/users/42/messages?id=m1", "{\"secret\":1}");
    assert_int_equal(gateway_test_ask(*state, KEY_READ, "GET /v1/users/42/messages", NULL), 200);
    const char *next = strstr(((struct gateway_test *)*state)->body, "\"after\":\"");
    assert_non_null(next);
    next += strlen("\"after\":\"");
    char line[256];
    snprintf(line, sizeof(line), "GET /v1/users/42/messages?after=%.*s", (int)strcspn(next, "\""),
             next);
    assert_int_equal(gateway_test_ask(*state, KEY_READ, line, NULL), 200);
    assert_int_equal(gateway_test_ask(*state, KEY_MONITOR, "GET /v1/users/7/messages", NULL), 200);
    gateway_test_ask(*state, KEY_READ, "GET /v1/groups/room:1/messages", NULL);
    gateway_test_ask(*state, KEY_READ, "GET /v1/tickets/none/messages", NULL);
    told();
    assert_told("messages.read", "users/42/messages", "\"result\":\"done\"");
    assert_non_null(strstr(text, "\"target\":\"groups/room:1/messages\"}"));
    assert_non_null(strstr(text, "\"code\":\"ticket_not_found\""));
    assert_null(strstr(text, "secret"));
    assert_int_equal(text_count(text, "\n"), 3);
}

#define OWN "Host: localhost\r\nOrigin: http://localhost\r\nX-Tidegate-Console: 1\r\n"
#define JSON "Content-Type: application/json\r\n"

static void what_a_person_pushes_is(void **state)
{
    struct gateway_test *test = &((struct admin_test *)*state)->base;
    static const char message[] = "{\"to\":{\"users\":[\"42\"],\"groups\":[\"room:1\"]},"
                                  "\"type\":\"x\",\"data\":\"secret\"}";
    char own[512];
    gateway_test_ask_with(test, NULL, "POST /console/session", OWN JSON,
                          "{\"key\":\"" KEY_ADMIN "\"}");
    const char *cookie = strstr(test->head, "Set-Cookie: ");
    assert_non_null(cookie);
    cookie += strlen("Set-Cookie: ");
    snprintf(own, sizeof(own), OWN JSON "Cookie: %.*s\r\n", (int)strcspn(cookie, ";"), cookie);
    assert_int_equal(
        gateway_test_ask_with(test, NULL, "POST /console/api/v1/messages", own, message), 202);
    gateway_test_ask_with(test, NULL, "POST /console/api/v1/messages", own, "nonsense");
    gateway_test_ask_with(test, NULL, "POST /console/api/v1/broadcast?app=other", own, "1");
    gateway_test_ask_with(test, NULL, "GET /console/api/v1/users/42/messages", own, NULL);
    told();
    assert_non_null(strstr(text, "\"event\":\"operator.sign_in\""));
    assert_non_null(strstr(text, "\"target\":\"users/42,groups/room:1\"}"));
    assert_non_null(strstr(text, "\"code\":\"bad_json\",\"status\":400"));
    assert_non_null(strstr(text, "\"result\":\"done\",\"app\":\"other\",\"key\":\"" KEY_ADMIN
                                 "\",\"role\":\"admin\",\"via\":\"console\""));
    assert_non_null(strstr(text, "\"target\":\"broadcast\"}"));
    assert_non_null(strstr(text, "\"target\":\"users/42/messages\"}"));
    assert_int_equal(text_count(text, "\"event\":\"message.push\""), 3);
    assert_int_equal(text_count(text, "\"event\":\"messages.read\""), 1);
    assert_null(strstr(text, "secret"));
}

static void pushes_and_questions_are_not(void **state)
{
    gateway_test_ask(*state, KEY_ALL, "POST /v1/users/42/messages", "{\"secret\":1}");
    gateway_test_ask(*state, KEY_ALL, "GET /v1/users/42", NULL);
    gateway_test_ask(*state, KEY_ALL, "GET /nowhere", NULL);
    assert_string_equal(told(), "");
}

static void a_key_that_is_refused_is_told_but_not_shown(void **state)
{
    gateway_test_ask(*state, "tg_guessed", "DELETE /v1/users/42/sessions?x=tg_hidden", NULL);
    gateway_test_ask(*state, KEY_READ, "DELETE /v1/users/42/sessions", NULL);
    told();
    assert_told("key.refused", "users/42/sessions", "\"code\":\"unauthorized\",\"status\":401");
    assert_non_null(strstr(text, "\"key\":\"tg_read\",\"role\":\"app\",\"via\":\"api\""));
    assert_non_null(strstr(text, "\"code\":\"scope_missing\",\"status\":403"));
    assert_null(strstr(text, "tg_guessed"));
    assert_null(strstr(text, "tg_hidden"));
    assert_int_equal(text_count(text, "\n"), 2);
}

static void an_id_of_the_caller_is_in_the_answer_the_problem_and_the_audit(void **state)
{
    const char *lines = "X-Request-Id: trace-me-1\r\nAuthorization: Bearer " KEY_ALL "\r\n";
    gateway_test_ask_with(*state, NULL, "DELETE /v1/messages/nothing", lines, NULL);
    gateway_test_has_header(*state, "X-Request-Id: trace-me-1");
    gateway_test_says(*state, "\"request_id\":\"trace-me-1\"}");
    assert_int_equal(text_count(told(), "\"request_id\":\"trace-me-1\""), 1);
}

static void who_brings_no_id_gets_one(void **state)
{
    struct gateway_test *test = *state;
    gateway_test_ask(test, KEY_ALL, "GET /v1/users/42", NULL);
    const char *first = strstr(test->head, "X-Request-Id: ");
    assert_non_null(first);
    assert_int_equal(strcspn(first + 14, "\r"), REQUEST_ID_MADE);
    gateway_test_ask(test, KEY_ALL, "POST /v1/messages", "nonsense");
    assert_non_null(strstr(test->head, "X-Request-Id: "));
    gateway_test_says(test, ",\"request_id\":\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(acts_of_administration_are_told_with_their_end, begin, end),
        cmocka_unit_test_setup_teardown(looking_at_frames_is_when_it_begins, begin, end),
        cmocka_unit_test_setup_teardown(reading_messages_is_when_it_begins, begin, end),
        cmocka_unit_test_setup_teardown(what_a_person_pushes_is, begin_admin, end_admin),
        cmocka_unit_test_setup_teardown(pushes_and_questions_are_not, begin, end),
        cmocka_unit_test_setup_teardown(a_key_that_is_refused_is_told_but_not_shown, begin, end),
        cmocka_unit_test_setup_teardown(
            an_id_of_the_caller_is_in_the_answer_the_problem_and_the_audit, begin, end),
        cmocka_unit_test_setup_teardown(who_brings_no_id_gets_one, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
