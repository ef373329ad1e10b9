#include "core/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void defaults_are_those_of_the_documents(void **state)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    assert_string_equal(settings->listen.client.ptr, "127.0.0.1:8080");
    assert_int_equal(settings->limits.message_bytes, 65536);
    assert_int_equal(settings->window.max_age_ms, 600000);
    assert_int_equal(settings->app_count, 0);
    settings_unref(settings);
}

static void texts_are_copied_and_end_in_nul(void **state)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    char source[] = "abcdef";
    struct str copy = settings_copy(settings, str_make(source, 3));
    source[0] = 'z';
    assert_string_equal(copy.ptr, "abc");
    assert_int_equal(copy.len, 3);
    assert_string_equal(settings_copy(settings, (struct str){NULL, 0}).ptr, "");
    settings_unref(settings);
}

static void the_last_reference_frees(void **state)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    assert_non_null(settings_alloc(settings, 100));
    assert_ptr_equal(settings_ref(settings), settings);
    settings_unref(settings);
    assert_int_equal(settings->limits.headers, 100); /* still there: asan would tell */
    settings_unref(settings);
    settings_unref(NULL);
}

static void an_array_whose_size_overflows_is_refused(void **state)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    assert_null(settings_array(settings, SIZE_MAX / 2, 3));
    uint64_t *numbers = settings_array(settings, 4, sizeof(*numbers));
    assert_non_null(numbers);
    assert_int_equal(numbers[3], 0);
    settings_unref(settings);
}

static void failed_allocations_are_told(void **state)
{
    struct settings *settings;
    mem_fail_nth(1);
    assert_int_equal(settings_create_default(&settings), ERR_NO_MEMORY);
    assert_int_equal(settings_create_default(&settings), 0);
    mem_fail_nth(1);
    assert_null(settings_copy(settings, STR("x")).ptr);
    settings_unref(settings);
}

static void workers_are_counted_from_the_cpus_unless_said(void **state)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    assert_in_range(settings_worker_count(settings), 1, 256);
    settings->workers = 3;
    assert_int_equal(settings_worker_count(settings), 3);
    settings->workers = 100000;
    assert_int_equal(settings_worker_count(settings), 256);
    settings_unref(settings);
}

static void a_node_is_named_after_its_host_unless_said(void **state)
{
    struct settings *settings;
    char name[SETTINGS_NODE_MAX + 1];
    assert_int_equal(settings_create_default(&settings), 0);
    settings_node_name(settings, name);
    assert_in_range(strlen(name), 1, SETTINGS_NODE_MAX);
    settings->cluster.node = STR("eu_1.a");
    settings_node_name(settings, name);
    assert_string_equal(name, "eu_1.a");
    settings->cluster.node = STR("a b\x1b\xc3\xa4");
    settings_node_name(settings, name);
    assert_string_equal(name, "a-b---");
    settings_unref(settings);
}

static void an_app_is_found_by_its_whole_name(void **state)
{
    struct settings *settings;
    assert_int_equal(settings_create_default(&settings), 0);
    settings->apps = settings_array(settings, 2, sizeof(*settings->apps));
    settings->app_count = 2;
    settings->apps[0].name = STR("demo");
    settings->apps[1].name = STR("shop");
    assert_ptr_equal(settings_find_app(settings, STR("shop")), &settings->apps[1]);
    assert_null(settings_find_app(settings, STR("sho")));
    settings_unref(settings);
}

static void scopes_have_names(void **state)
{
    assert_int_equal(settings_scope_parse(STR("push")), SETTINGS_SCOPE_PUSH);
    assert_int_equal(settings_scope_parse(STR("admin")), SETTINGS_SCOPE_ADMIN);
    assert_int_equal(settings_scope_parse(STR("monitor")), SETTINGS_SCOPE_MONITOR);
    assert_int_equal(settings_scope_parse(STR("Push")), 0);
    assert_int_equal(settings_scope_parse(STR("")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_documents),
        cmocka_unit_test(texts_are_copied_and_end_in_nul),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(an_array_whose_size_overflows_is_refused),
        cmocka_unit_test(failed_allocations_are_told),
        cmocka_unit_test(workers_are_counted_from_the_cpus_unless_said),
        cmocka_unit_test(a_node_is_named_after_its_host_unless_said),
        cmocka_unit_test(an_app_is_found_by_its_whole_name),
        cmocka_unit_test(scopes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
