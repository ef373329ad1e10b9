#include "server/meter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "server/families.h"

static struct str types[] = {STR("comment.created"), STR("a\"b")};
static const struct settings_app shop = {.name = STR("shop"),
                                         .metrics = {.types = types, .type_count = 2}};

static struct meter *meter_of(const struct settings_app *app, const char *name, uint16_t id)
{
    struct meter *meter;
    assert_int_equal(meter_create(&meter, app, name, id), 0);
    return meter;
}

static void a_push_is_counted_by_target_and_type(void **state)
{
    static const struct {
        enum meter_target target;
        struct str type;
        const char *labels[3];
    } cases[] = {
        {METER_USER, STR("comment.created"), {"shop", "user", "comment.created"}},
        {METER_SEVERAL, STR("a\"b"), {"shop", "several", "a\"b"}},
        {METER_ALL, STR("unlisted"), {"shop", "all", "other"}},
        {METER_TICKET, STR("comment.create"), {"shop", "ticket", "other"}},
        {METER_GROUP, STR(""), {"shop", "group", "none"}},
    };
    struct meter *meter = meter_of(&shop, "shop", 3);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct metric *series = meter_accepted(meter, cases[i].target, cases[i].type);
        assert_ptr_equal(series,
                         metric_series_with(FAMILY(messages_accepted_total), cases[i].labels, 3));
        assert_ptr_equal(meter_accepted(meter, cases[i].target, cases[i].type), series);
    }
    meter_destroy(meter);
}

static void an_app_without_a_list_has_other_and_none(void **state)
{
    static const struct settings_app app = {.name = STR("bare")};
    struct meter *meter = meter_of(&app, "bare", 4);
    assert_ptr_equal(meter_accepted(meter, METER_USER, STR("x")),
                     SERIES(messages_accepted_total, "bare", "user", "other"));
    assert_ptr_equal(meter_accepted(meter, METER_USER, STR("")),
                     SERIES(messages_accepted_total, "bare", "user", "none"));
    meter_destroy(meter);
}

static void apps_beyond_the_table_share_a_place(void **state)
{
    for (uint16_t id = 62; id < 65; id++) {
        char name[16];
        snprintf(name, sizeof(name), "app%u", id);
        struct meter *meter = meter_of(&shop, name, id);
        metric_add(meter_accepted(meter, METER_USER, STR("")), 1);
        meter_destroy(meter);
    }
    assert_int_equal(metric_value(SERIES(messages_accepted_total, "app62", "user", "none")), 1);
    assert_int_equal(metric_value(SERIES(messages_accepted_total, "other", "user", "none")), 2);
}

static void memory_may_be_out(void **state)
{
    for (unsigned long nth = 1;; nth++) {
        struct meter *meter = NULL;
        mem_fail_nth(nth);
        int err = meter_create(&meter, &shop, "shop", 3);
        bool went_through = mem_fail_pending();
        mem_fail_nth(0);
        meter_destroy(meter);
        assert_int_equal(err, went_through ? 0 : ERR_NO_MEMORY);
        if (went_through) {
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_push_is_counted_by_target_and_type),
        cmocka_unit_test(an_app_without_a_list_has_other_and_none),
        cmocka_unit_test(apps_beyond_the_table_share_a_place),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
