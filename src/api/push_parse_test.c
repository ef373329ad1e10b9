#include "api/push_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static struct settings *settings;

static int make_settings(void **state)
{
    return settings_create_default(&settings);
}

static int drop_settings(void **state)
{
    settings_unref(settings);
    return 0;
}

/* True, or false with the error; the caller ends push with push_fini. */
static bool read_text(struct push *push, const char *text, struct push_error *error)
{
    struct json_value object;
    *push = (struct push){0};
    push_reset(push);
    assert_int_equal(json_parse(&object, str_of(text), 32, NULL), 0);
    return push_read_object(push, object, &settings->limits, error);
}

static void assert_refused(const char *text, int status, const char *code)
{
    struct push push;
    struct push_error error = {0, "nothing", NULL};
    assert_false(read_text(&push, text, &error));
    assert_int_equal(error.status, status);
    assert_string_equal(error.code, code);
    assert_non_null(error.detail);
    push_fini(&push);
}

static void assert_target(const struct push *push, size_t i, enum target_kind kind,
                          const char *name)
{
    assert_true(i < push->target_count);
    assert_int_equal(push->targets[i].kind, kind);
    assert_true(str_equal(push->targets[i].name, str_of(name)));
}

static void a_message_says_what_was_written(void **state)
{
    struct push push;
    struct push_error error;
    assert_true(read_text(
        &push,
        "{\"to\":{\"users\":[\"42\",\"\\u00e9\"],\"groups\":[\"room:1\"],\"sessions\":[\"s_1\"],"
        "\"all\":true},\"except\":{\"sessions\":[\"s_9\"],\"origin\":\"page\"},\"type\":\"t\","
        "\"data\": { \"n\" : 1.0 } ,\"id\":\"i\",\"ttl_ms\":60000,\"wait\":\"written\",\"wait_ms\":7}",
        &error));
    assert_int_equal(push.target_count, 5);
    assert_target(&push, 0, TARGET_USER, "42");
    assert_target(&push, 1, TARGET_USER, "\xc3\xa9");
    assert_target(&push, 2, TARGET_GROUP, "room:1");
    assert_target(&push, 3, TARGET_SESSION, "s_1");
    assert_target(&push, 4, TARGET_ALL, "");
    assert_int_equal(push.except_count, 1);
    assert_true(str_equal(push.excepts[0], STR("s_9")));
    assert_true(str_equal(push.origin_tag, STR("page")));
    assert_true(str_equal(push.type, STR("t")));
    assert_true(str_equal(push.id, STR("i")));
    assert_true(str_equal(push.data, STR("{ \"n\" : 1.0 }")));
    assert_int_equal(push.data_kind, EVENT_DATA_JSON);
    assert_int_equal(push.ttl_ms, 60000);
    assert_int_equal(push.wait, PUSH_WAIT_WRITTEN);
    assert_int_equal(push.wait_ms, 7);
    push_fini(&push);
}

static void what_is_left_out_has_its_default(void **state)
{
    struct push push;
    struct push_error error;
    assert_true(read_text(&push, "{\"to\":{\"all\":true},\"data\":null}", &error));
    assert_int_equal(push.ttl_ms, 0);
    assert_int_equal(push.wait, PUSH_WAIT_NONE);
    assert_int_equal(push.wait_ms, 500);
    assert_int_equal(push.id.len + push.type.len + push.origin_tag.len, 0);
    assert_int_equal(push.except_count, 0);
    push_fini(&push);
}

static void bytes_come_as_base64(void **state)
{
    struct push push;
    struct push_error error;
    assert_true(
        read_text(&push, "{\"to\":{\"users\":[\"x\"]},\"data_base64\":\"AP8\\u002b\"}", &error));
    assert_int_equal(push.data_kind, EVENT_DATA_BINARY);
    assert_int_equal(push.data.len, 3);
    assert_memory_equal(push.data.ptr, "\x00\xff\x3e", 3);
    push_fini(&push);
}

static void every_mistake_has_its_code(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *code;
    } cases[] = {
        {"[]", 422, "invalid_message"},
        {"{\"to\":{\"users\":[\"x\"]},\"data\":1,\"d\\u0061ta\":1}", 422, "repeated_field"},
        {"{\"to\":{\"users\":[\"x\"]},\"data\":1,\"Data\":1}", 422, "unknown_field"},
        {"{\"data\":1}", 422, "invalid_to"},
        {"{\"to\":[],\"data\":1}", 422, "invalid_to"},
        {"{\"to\":{\"users\":[]},\"data\":1}", 422, "invalid_to"},
        {"{\"to\":{\"users\":[\"\"]},\"data\":1}", 422, "invalid_to"},
        {"{\"to\":{\"users\":[\"a\\n\"]},\"data\":1}", 422, "invalid_to"},
        {"{\"to\":{\"users\":[\"a\\u0000\"]},\"data\":1}", 422, "invalid_to"},
        {"{\"to\":{\"all\":1},\"data\":1}", 422, "invalid_to"},
        {"{\"to\":{\"tickets\":[]},\"data\":1}", 422, "invalid_to"},
        {"{\"to\":{\"tickets\":[\"\"]},\"data\":1}", 422, "invalid_to"},
        {"{\"to\":{\"all\":true},\"data\":1,\"collapse\":\"\"}", 422, "invalid_collapse"},
        {"{\"to\":{\"all\":true},\"data\":1,\"collapse\":7}", 422, "invalid_collapse"},
        {"{\"to\":{\"all\":true},\"data\":1,\"final\":true}", 422, "invalid_final"},
        {"{\"to\":{\"tickets\":[\"t\"]},\"data\":1,\"final\":1}", 422, "invalid_final"},
        {"{\"to\":{\"all\":true},\"data\":1,\"wait\":\"Acked\"}", 422, "invalid_wait"},
        {"{\"to\":{\"all\":true},\"data\":1,\"wait\":true}", 422, "invalid_wait"},
        {"{\"to\":{\"all\":true},\"data\":1,\"wait_ms\":10001}", 422, "invalid_wait_ms"},
        {"{\"to\":{\"all\":true},\"data\":1,\"ttl_ms\":0}", 422, "invalid_ttl_ms"},
        {"{\"to\":{\"all\":true},\"data\":1,\"ttl_ms\":1.5}", 422, "invalid_ttl_ms"},
        {"{\"to\":{\"all\":true},\"data\":1,\"ttl_ms\":4294967296}", 422, "invalid_ttl_ms"},
        {"{\"to\":{\"all\":true},\"data\":1,\"type\":7}", 422, "invalid_type"},
        {"{\"to\":{\"all\":true},\"data\":1,\"id\":\"\"}", 422, "invalid_id"},
        {"{\"to\":{\"all\":true},\"data\":1,\"except\":[]}", 422, "invalid_except"},
        {"{\"to\":{\"all\":true},\"data\":1,\"except\":{\"sessions\":[1]}}", 422, "invalid_except"},
        {"{\"to\":{\"all\":true},\"data\":1,\"except\":{\"users\":[]}}", 422, "invalid_except"},
        {"{\"to\":{\"all\":true}}", 422, "invalid_data"},
        {"{\"to\":{\"all\":true},\"data\":1,\"data_base64\":\"\"}", 422, "invalid_data"},
        {"{\"to\":{\"all\":true},\"data_base64\":\"A\"}", 422, "invalid_data_base64"},
        {"{\"to\":{\"all\":true},\"data_base64\":7}", 422, "invalid_data_base64"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_refused(cases[i].text, cases[i].status, cases[i].code);
    }
}

/* A message with count names of that kind. */
static bool read_names(const char *before, size_t count, const char *after,
                       struct push_error *error)
{
    struct buf text = {0};
    struct push push;
    buf_append_str(&text, str_of(before));
    for (size_t i = 0; i < count; i++) {
        buf_printf(&text, "%s\"n%zu\"", i ? "," : "", i);
    }
    buf_append_str(&text, str_of(after));
    bool good = read_text(&push, buf_cstr(&text), error);
    push_fini(&push);
    buf_fini(&text);
    return good;
}

static void lists_end_at_their_limits(void **state)
{
    struct push_error error;
    const char *to = "{\"data\":1,\"to\":{\"users\":[";
    const char *except = "{\"data\":1,\"to\":{\"all\":true},\"except\":{\"sessions\":[";
    assert_true(read_names(to, settings->limits.targets, "]}}", &error));
    assert_false(read_names(to, settings->limits.targets + 1, "]}}", &error));
    assert_string_equal(error.code, "too_many_targets");
    assert_true(read_names(except, PUSH_EXCEPTS_MAX, "]}}", &error));
    assert_false(read_names(except, PUSH_EXCEPTS_MAX + 1, "]}}", &error));
    assert_string_equal(error.code, "invalid_except");
}

static void data_ends_at_its_limit(void **state)
{
    struct buf text = {0};
    struct push push;
    struct push_error error;
    for (size_t more = 0; more < 2; more++) {
        buf_clear(&text);
        buf_append_str(&text, STR("{\"to\":{\"all\":true},\"data\":\""));
        size_t len = settings->limits.message_bytes - 2 + more;
        memset(buf_reserve(&text, len), 'x', len);
        text.len += len;
        buf_append_str(&text, STR("\"}"));
        assert_true(read_text(&push, buf_cstr(&text), &error) == (more == 0));
        push_fini(&push);
    }
    assert_int_equal(error.status, 413);
    assert_string_equal(error.code, "message_too_large");
    buf_fini(&text);
}

static bool read_raw(struct push *push, const char *query, const char *type, struct str body,
                     struct push_error *error)
{
    *push = (struct push){0};
    push_reset(push);
    assert_true(push_add_target(push, TARGET_USER, STR("42")));
    return push_read_raw(push, str_of(query), str_of(type), body, &settings->limits, error);
}

static void the_type_of_a_raw_body_follows_from_its_content_type(void **state)
{
    static const struct {
        const char *type;
        struct str body;
        enum event_data_kind kind;
    } cases[] = {
        {"application/json", {" {\"n\":1}\n", 9}, EVENT_DATA_JSON},
        {"Application/JSON; charset=utf-8", {"7", 1}, EVENT_DATA_JSON},
        {"application/problem+json", {"7", 1}, EVENT_DATA_JSON},
        {"application/x-www-form-urlencoded", {"{\"n\":1}", 7}, EVENT_DATA_JSON},
        {"application/x-www-form-urlencoded", {"hi there", 8}, EVENT_DATA_TEXT},
        {"", {"[1]", 3}, EVENT_DATA_JSON},
        {"", {"", 0}, EVENT_DATA_TEXT},
        {"", {"\xff", 1}, EVENT_DATA_BINARY},
        {"text/plain", {"[1]", 3}, EVENT_DATA_TEXT},
        {"text/html; charset=utf-8", {"<p>", 3}, EVENT_DATA_TEXT},
        {"application/octet-stream", {"[1]", 3}, EVENT_DATA_BINARY},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct push push;
        struct push_error error;
        assert_true(read_raw(&push, "", cases[i].type, cases[i].body, &error));
        assert_int_equal(push.data_kind, cases[i].kind);
        push_fini(&push);
    }
}

static void options_come_in_the_query(void **state)
{
    struct push push;
    struct push_error error;
    assert_true(read_raw(&push, "type=a+b&id=%C3%A9&origin=p&ttl_ms=5&wait=routed&wait_ms=9&app=x",
                         "", STR("1"), &error));
    assert_true(str_equal(push.type, STR("a b")));
    assert_true(str_equal(push.id, STR("\xc3\xa9")));
    assert_true(str_equal(push.origin_tag, STR("p")));
    assert_int_equal(push.ttl_ms, 5);
    assert_int_equal(push.wait, PUSH_WAIT_ROUTED);
    assert_int_equal(push.wait_ms, 9);
    push_fini(&push);
}

static void every_wrong_raw_push_has_its_code(void **state)
{
    static const struct {
        const char *query;
        const char *type;
        const char *body;
        const char *code;
    } cases[] = {
        {"", "application/json", "", "bad_json"},
        {"", "application/json", "{", "bad_json"},
        {"", "text/plain", "\xff", "bad_text"},
        {"type=%z", "", "1", "bad_query"},
        {"type=%FF", "", "1", "invalid_type"},
        {"id=", "", "1", "invalid_id"},
        {"origin=%01", "", "1", "invalid_except"},
        {"ttl_ms=0", "", "1", "invalid_ttl_ms"},
        {"ttl_ms=4294967296", "", "1", "invalid_ttl_ms"},
        {"wait=soon", "", "1", "invalid_wait"},
        {"wait_ms=10001", "", "1", "invalid_wait_ms"},
        {"tll_ms=1", "", "1", "unknown_option"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct push push;
        struct push_error error = {0, "nothing", NULL};
        assert_false(read_raw(&push, cases[i].query, cases[i].type, str_of(cases[i].body), &error));
        assert_string_equal(error.code, cases[i].code);
        push_fini(&push);
    }
}

static void when_memory_is_out_it_is_503(void **state)
{
    const char
        *text = "{\"to\":{\"users\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]},"
                "\"data_base64\":\"AAAA\",\"id\":\"\\u0061\"}";
    struct push push;
    struct push_error error;
    unsigned long n = 1;
    for (bool good = false; !good; n++) {
        mem_fail_nth(n);
        good = read_text(&push, text, &error);
        mem_fail_nth(0);
        assert_true(good ||
                    (error.status == 503 && str_equal(str_of(error.code), STR("overloaded"))));
        push_fini(&push);
    }
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_says_what_was_written),
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(bytes_come_as_base64),
        cmocka_unit_test(every_mistake_has_its_code),
        cmocka_unit_test(lists_end_at_their_limits),
        cmocka_unit_test(data_ends_at_its_limit),
        cmocka_unit_test(the_type_of_a_raw_body_follows_from_its_content_type),
        cmocka_unit_test(options_come_in_the_query),
        cmocka_unit_test(every_wrong_raw_push_has_its_code),
        cmocka_unit_test(when_memory_is_out_it_is_503),
    };
    return cmocka_run_group_tests(tests, make_settings, drop_settings);
}
