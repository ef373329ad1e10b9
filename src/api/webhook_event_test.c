#include "api/webhook_event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "proto/json.h"

static const struct webhook_event_parts parts = {
    .type = SETTINGS_EVENT_USER_ONLINE,
    .app = 3,
    .app_name = STR("shop"),
    .cluster = STR("eu-1"),
    .node = STR("n1"),
    .id = STR("p1"),
    .subject_kind = STR("users"),
    .subject_name = STR("a/\xc3\xa9\""),
    .wall_ms = 1769860800123u,
    .now_ms = 77,
    .data = STR("{\"user\":\"a/\xc3\xa9\\\"\"}"),
};

static void an_event_is_a_cloud_event(void **state)
{
    struct webhook_event *event = webhook_event_create(&parts);
    struct json_value value;
    assert_non_null(event);
    assert_int_equal(event->app, 3);
    assert_int_equal(event->born_ms, 77);
    assert_true(str_equal(event->id, STR("p1")));
    assert_string_equal(event->app_name, "shop");
    assert_int_equal(json_parse(&value, event->body, 4, NULL), 0);
    struct str expected = STR(
        "{\"specversion\":\"1.0\",\"id\":\"p1\",\"source\":\"/tidegate/eu-1/shop\","
        "\"type\":\"tidegate.user.online\",\"subject\":\"users/a%2F%C3%A9%22\","
        "\"time\":\"2026-01-31T12:00:00.123Z\",\"node\":\"n1\","
        "\"datacontenttype\":\"application/json\",\"data\":{\"user\":\"a/\xc3\xa9\\\"\"}}");
    assert_int_equal(event->body.len, expected.len);
    assert_memory_equal(event->body.ptr, expected.ptr, expected.len);
    webhook_event_destroy(event);
}

static void a_subject_has_one_hash_and_others_have_others(void **state)
{
    struct webhook_event_parts other = parts;
    struct webhook_event *one = webhook_event_create(&parts);
    other.type = SETTINGS_EVENT_USER_OFFLINE;
    struct webhook_event *two = webhook_event_create(&other);
    other.subject_name = STR("b");
    struct webhook_event *three = webhook_event_create(&other);
    assert_int_equal(one->subject_hash, two->subject_hash);
    assert_int_not_equal(two->subject_hash, three->subject_hash);
    webhook_event_destroy(one);
    webhook_event_destroy(two);
    webhook_event_destroy(three);
}

static void without_memory_there_is_none(void **state)
{
    struct webhook_event *event = NULL;
    unsigned long nth = 1;
    for (; nth < 100 && !event; nth++) {
        mem_fail_nth(nth);
        event = webhook_event_create(&parts);
        mem_fail_nth(0);
    }
    assert_non_null(event);
    assert_true(nth > 3);
    webhook_event_destroy(event);
    webhook_event_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_a_cloud_event),
        cmocka_unit_test(a_subject_has_one_hash_and_others_have_others),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
