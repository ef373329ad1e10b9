#include "api/alert_notice.h"

#include "api/alert_test_help.h"
#include "proto/json.h"

static struct settings_label labels[] = {{STR("dc"), STR("eu\"1")}, {STR("bus"), STR("hidden")}};
static struct settings_alerts settings = {
    .enabled = true, .interval_ms = 5000, .labels = labels, .label_count = 2};
static const struct alert_site site = {STR("c"), STR("gw-1"), &settings};

static size_t tell(struct buf *out, enum settings_receiver_kind kind)
{
    struct alert_notice notice = {.receiver = 1,
                                  .kind = kind,
                                  .now_ms = alert_test.now_ms,
                                  .wall_ms = ALERT_TEST_WALL + alert_test.now_ms};
    struct json_value value;
    buf_clear(out);
    size_t count = alert_notice_write(out, &alert_test.book, &site, &notice);
    assert_int_equal(buf_err(out), 0);
    if (count) {
        assert_int_equal(json_parse(&value, buf_str(out), 8, NULL), 0);
    } else {
        assert_int_equal(out->len, 0);
    }
    return count;
}

static void done(bool is_taken)
{
    alert_notice_done(&alert_test.book, 1, is_taken);
}

static void begin_firing(void)
{
    alert_test_bus(0, 0);
    alert_test_bus(30000, 0);
}

static void has(struct buf *out, const char *part)
{
    if (!strstr(buf_cstr(out), part)) {
        fail_msg("%s is not in %s", part, buf_cstr(out));
    }
}

static void an_alertmanager_gets_what_its_api_takes(void **state)
{
    struct buf out = {0};
    begin_firing();
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 1);
    assert_string_equal(
        buf_cstr(&out),
        "[{\"labels\":{\"alertname\":\"TidegateBusDown\",\"severity\":\"critical\",\"cluster\":\"c\","
        "\"node\":\"gw-1\",\"dc\":\"eu\\\"1\",\"bus\":\"redis\"},\"annotations\":{\"summary\":\"The "
        "bus is down\",\"description\":\"Pushes get 503 and nothing is delivered; clients stay "
        "connected.\",\"value\":\"0\",\"runbook_url\":\"docs/runbooks/bus-down.md\"},\"startsAt\":"
        "\"2026-01-01T00:17:10.000Z\",\"endsAt\":\"2026-01-01T00:21:10.000Z\"}]");
    buf_fini(&out);
}

static void a_pending_alert_is_not_told(void **state)
{
    struct buf out = {0};
    alert_test_bus(0, 0);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 0);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 0);
    buf_fini(&out);
}

static void an_alertmanager_is_told_again_each_minute(void **state)
{
    struct buf out = {0};
    begin_firing();
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 1);
    done(true);
    alert_test_bus(59999, 0);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 0);
    alert_test_bus(1, 0);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 1);
    buf_fini(&out);
}

static void what_was_not_taken_is_told_again_at_once(void **state)
{
    struct buf out = {0};
    begin_firing();
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 1);
    done(false);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 1);
    buf_fini(&out);
}

static void the_end_is_told_with_its_time(void **state)
{
    struct buf out = {0};
    begin_firing();
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 1);
    done(true);
    alert_test_bus(5000, 1);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 1);
    has(&out, "\"startsAt\":\"2026-01-01T00:17:10.000Z\",\"endsAt\":\"2026-01-01T00:17:15.000Z\"}");
    done(true);
    alert_test_bus(5000, 1);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 0);
    buf_fini(&out);
}

/* It resolves while the notice that it fires is under way: that one says nothing of the end. */
static void an_end_behind_a_notice_under_way_is_told(void **state)
{
    struct buf out = {0};
    begin_firing();
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 1);
    alert_test_bus(5000, 1);
    done(true);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 1);
    has(&out, "\"status\":\"resolved\"");
    buf_fini(&out);
}

static void a_webhook_is_told_of_changes_and_seldom_again(void **state)
{
    struct buf out = {0};
    settings.link = STR("https://gw-1.example.com/console/");
    begin_firing();
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 1);
    has(&out, "{\"version\":\"4\",\"receiver\":\"tidegate\",\"status\":\"firing\",");
    has(&out, "\"externalURL\":\"https://gw-1.example.com/console/\"");
    has(&out, "\"alerts\":[{\"status\":\"firing\",\"labels\":{\"alertname\":\"TidegateBusDown\"");
    has(&out, "\"generatorURL\":\"https://gw-1.example.com/console/\"");
    settings.link = STR("");
    done(true);
    alert_test_bus(3600000, 0);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 0);
    alert_test_bus(3 * 3600000, 0);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 1);
    done(true);
    alert_test_bus(5000, 1);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 1);
    has(&out, "\"status\":\"resolved\",\"groupKey\"");
    done(true);
    alert_test_bus(5000, 1);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 0);
    buf_fini(&out);
}

static void other_receivers_know_nothing(void **state)
{
    struct buf out = {0};
    begin_firing();
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 1);
    done(true);
    alert_notice_forget(&alert_test.book);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_WEBHOOK), 1);
    buf_fini(&out);
}

static void a_notice_has_room_for_so_many(void **state)
{
    struct buf out = {0};
    alert_book_begin(&alert_test.book);
    for (int i = 0; i < ALERT_NOTICE_MAX + 5; i++) {
        char text[32];
        snprintf(text, sizeof(text), "app=\"%d\"", i);
        struct metric_sample sample = {
            .family = FAMILY(webhook_dead_letters_total), .labels = text, .value = 1};
        alert_book_sample(&alert_test.book, &sample);
    }
    alert_book_end(&alert_test.book, alert_test.now_ms, ALERT_TEST_WALL);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), ALERT_NOTICE_MAX);
    done(true);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 5);
    done(true);
    assert_int_equal(tell(&out, SETTINGS_RECEIVER_ALERTMANAGER), 0);
    buf_fini(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, alert_test_setup, alert_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_alertmanager_gets_what_its_api_takes),
        TEST(a_pending_alert_is_not_told),
        TEST(an_alertmanager_is_told_again_each_minute),
        TEST(what_was_not_taken_is_told_again_at_once),
        TEST(the_end_is_told_with_its_time),
        TEST(an_end_behind_a_notice_under_way_is_told),
        TEST(a_webhook_is_told_of_changes_and_seldom_again),
        TEST(other_receivers_know_nothing),
        TEST(a_notice_has_room_for_so_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
