#include "api/gateway_test_help.h"
#include "api/push.h"

#define PUSH "POST /v1/messages"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define OTHER "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
#define TO_42 "\"to\":{\"users\":[\"42\"]},\"data\":1"

static struct push read_push(const char *text)
{
    struct settings *settings;
    struct json_value object;
    struct push_error error;
    struct push push = {0};
    push_reset(&push);
    assert_int_equal(settings_create_default(&settings), 0);
    assert_int_equal(json_parse(&object, str_of(text), 32, NULL), 0);
    assert_true(push_read_object(&push, object, &settings->limits, &error));
    settings_unref(settings);
    return push;
}

static struct http_fields fields_of(const char *lines)
{
    struct http_fields fields;
    enum http_refusal refusal;
    struct str text = str_of(lines);
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    assert_int_equal(
        http_fields_parse(&fields, &limits, (const uint8_t *)text.ptr, text.len, &refusal),
        text.len);
    return fields;
}

static void a_message_may_name_its_trace(void **state)
{
    struct push push = read_push("{" TO_42 ",\"traceparent\":\"" TRACE
                                 "\",\"tracestate\":\"a\\u003db\"}");
    assert_true(push.has_trace && !push.trace_is_wrong);
    assert_int_equal(push.trace.trace_id[0], 0x0a);
    assert_true(str_equal(push.trace_state, STR("a=b")));
    push_fini(&push);
}

static void a_trace_that_is_none_does_not_keep_a_push_out(void **state)
{
    static const char *const wrong[] = {"\"traceparent\":\"\"", "\"traceparent\":7",
                                        "\"traceparent\":{}", "\"traceparent\":\"00-1-2-3\""};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[128];
        snprintf(text, sizeof(text), "{" TO_42 ",%s}", wrong[i]);
        struct push push = read_push(text);
        assert_true(!push.has_trace && push.trace_is_wrong);
        push_fini(&push);
    }
}

static void a_tracestate_that_is_none_leaves_the_trace(void **state)
{
    struct push push = read_push("{" TO_42 ",\"traceparent\":\"" TRACE "\",\"tracestate\":\"A\"}");
    assert_true(push.has_trace && push.trace_is_wrong);
    assert_int_equal(push.trace_state.len, 0);
    push_fini(&push);
    push = read_push("{" TO_42 ",\"tracestate\":\"a=b\"}"); /* of no trace */
    assert_true(!push.has_trace && !push.trace_is_wrong);
    push_fini(&push);
}

/* fields are borrowed, and end behind its use. */
static struct push read_with(const char *text, const struct http_fields *fields)
{
    struct push push = read_push(text);
    push_take_trace_headers(&push, fields);
    return push;
}

static void headers_name_the_trace_of_a_message_that_does_not(void **state)
{
    struct push push = read_push("{" TO_42 "}");
    struct http_fields fields = fields_of("traceparent: " TRACE
                                          "\r\nTraceState: a=b\r\ntracestate: c=d\r\n\r\n");
    push_take_trace_headers(&push, &fields);
    assert_true(push.has_trace && !push.trace_is_wrong);
    assert_true(str_equal(push.trace_state, STR("a=b,c=d")));
    push_fini(&push);
    push = read_with("{" TO_42 ",\"traceparent\":\"" OTHER "\"}", &fields);
    assert_int_equal(push.trace.trace_id[0], 0x4b);
    assert_int_equal(push.trace_state.len, 0);
    push_fini(&push);
}

static void two_traceparents_are_none(void **state)
{
    struct http_fields fields = fields_of("traceparent: " TRACE "\r\ntraceparent: " TRACE
                                          "\r\n\r\n");
    struct push push = read_with("{" TO_42 "}", &fields);
    assert_true(!push.has_trace && push.trace_is_wrong);
    push_fini(&push);
}

static void a_tracestate_has_512_bytes_at_most(void **state)
{
    char lines[2048];
    for (int last = 252; last <= 253; last++) { /* "k0=" + 252 + "," + "k1=" + last */
        snprintf(lines, sizeof(lines),
                 "traceparent: " TRACE "\r\ntracestate: k0=%0252d\r\ntracestate: k1=%0*d\r\n\r\n",
                 7, last + 1, 7);
        struct http_fields fields = fields_of(lines);
        struct push push = read_with("{" TO_42 "}", &fields);
        assert_true(push.has_trace);
        assert_int_equal(push.trace_state.len, last == 252 ? 512 : 0);
        assert_int_equal(push.trace_is_wrong, last == 253);
        push_fini(&push);
    }
}

/* ---- through a gateway ---- */

static void a_client_gets_the_trace(void **state)
{
    struct gateway_test *test = *state;
    struct gateway_test_client client;
    const char *header = "traceparent: " TRACE "\r\n";
    gateway_test_open(test, &client, "shop", "42", "[]");
    assert_int_equal(gateway_test_ask_with(test, KEY_PUSH, PUSH, header, "{" TO_42 "}"), 202);
    gateway_test_gets(&client, "\"tp\":\"" TRACE "\"");
    assert_int_equal(
        gateway_test_ask_with(test, KEY_PUSH, "POST /v1/users/42/messages", header, "1"), 202);
    gateway_test_gets(&client, "\"tp\":\"" TRACE "\"");
    assert_int_equal(gateway_test_ask_with(test, KEY_PUSH, "POST /v1/messages:batch", header,
                                           "[{" TO_42 ",\"traceparent\":\"" OTHER "\"},{" TO_42
                                           "}]"),
                     200);
    gateway_test_gets(&client, "\"tp\":\"" OTHER "\"");
    gateway_test_gets(&client, "\"tp\":\"" TRACE "\"");
    assert_int_equal(gateway_test_ask(test, KEY_PUSH, PUSH, "{" TO_42 "}"), 202);
    gateway_test_gets(&client, "\"t\":\"msg\"");
    assert_null(strstr(client.text, "\"tp\""));
    gateway_test_close(&client);
}

/* Not what it says, only how it is followed. */
static void another_trace_is_no_other_body(void **state)
{
    const char *body = "{" TO_42 ",\"id\":\"one\"}";
    assert_int_equal(
        gateway_test_ask_with(*state, KEY_PUSH, PUSH, "traceparent: " TRACE "\r\n", body), 202);
    assert_int_equal(
        gateway_test_ask_with(*state, KEY_PUSH, PUSH, "traceparent: " OTHER "\r\n", body), 202);
    gateway_test_says(*state, "\"replayed\":true}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_may_name_its_trace),
        cmocka_unit_test(a_trace_that_is_none_does_not_keep_a_push_out),
        cmocka_unit_test(a_tracestate_that_is_none_leaves_the_trace),
        cmocka_unit_test(headers_name_the_trace_of_a_message_that_does_not),
        cmocka_unit_test(two_traceparents_are_none),
        cmocka_unit_test(a_tracestate_has_512_bytes_at_most),
        GATEWAY_TEST(a_client_gets_the_trace),
        GATEWAY_TEST(another_trace_is_no_other_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
