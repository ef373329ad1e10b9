#include "server/tenants.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static struct settings *settings_of(const char *first, const char *second)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    settings->apps = settings_array(settings, 2, sizeof(*settings->apps));
    settings->apps[settings->app_count++].name = settings_copy(settings, str_of(first));
    if (second) {
        settings->apps[settings->app_count++].name = settings_copy(settings, str_of(second));
    }
    return settings;
}

static struct tenants *tenants_of(const char *first, const char *second,
                                  const struct tenants *previous)
{
    struct tenants *tenants = NULL;
    struct settings *settings = settings_of(first, second);
    struct tenants_options options = {.settings = settings, .previous = previous};
    assert_int_equal(tenants_create(&tenants, &options), 0);
    settings_unref(settings);
    return tenants;
}

static void an_app_is_found_by_name(void **state)
{
    struct tenants *tenants = tenants_of("a", "b", NULL);
    assert_int_equal(tenants_find(tenants, STR("a"))->id, 0);
    assert_int_equal(tenants_find(tenants, STR("b"))->id, 1);
    assert_null(tenants_find(tenants, STR("c")));
    assert_null(tenants_only(tenants));
    assert_true(tenants_are_complete(tenants));
    tenants_destroy(tenants);
}

static void what_an_app_uses_is_counted_over_reloads(void **state)
{
    struct tenants *first = tenants_of("a", NULL, NULL);
    struct settings_quotas limits = {.sessions = 1};
    assert_true(quota_take_session(tenants_find(first, STR("a"))->quota, &limits));
    struct tenants *second = tenants_of("b", "a", first);
    tenants_destroy(first);
    assert_false(quota_take_session(tenants_find(second, STR("a"))->quota, &limits));
    assert_true(quota_take_session(tenants_find(second, STR("b"))->quota, &limits));
    tenants_destroy(second);
}

static void numbers_stay_over_reloads(void **state)
{
    struct tenants *first = tenants_of("a", "b", NULL);
    struct tenants *second = tenants_of("c", "b", first);
    tenants_destroy(first);
    assert_int_equal(tenants_find(second, STR("b"))->id, 1);
    assert_int_equal(tenants_find(second, STR("c"))->id, 2);
    assert_null(tenants_find(second, STR("a"))); /* taken out, but its sessions are still there */
    assert_string_equal(second->items[0].name, "a");
    assert_null(second->items[0].settings);
    struct tenants *third = tenants_of("a", NULL, second);
    tenants_destroy(second);
    assert_int_equal(tenants_find(third, STR("a"))->id, 0);
    assert_ptr_equal(tenants_only(third), &third->items[0]);
    tenants_destroy(third);
}

static void memory_may_be_out(void **state)
{
    struct tenants *previous = tenants_of("a", "b", NULL);
    struct settings *settings = settings_of("b", "c");
    for (unsigned long n = 1;; n++) {
        struct tenants *tenants = NULL;
        struct tenants_options options = {.settings = settings, .previous = previous};
        mem_fail_nth(n);
        int err = tenants_create(&tenants, &options);
        bool went_through = mem_fail_pending();
        mem_fail_nth(0);
        tenants_destroy(tenants);
        assert_int_equal(err, went_through ? 0 : ERR_NO_MEMORY);
        if (went_through) {
            break;
        }
    }
    settings_unref(settings);
    tenants_destroy(previous);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_app_is_found_by_name),
        cmocka_unit_test(what_an_app_uses_is_counted_over_reloads),
        cmocka_unit_test(numbers_stay_over_reloads),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
