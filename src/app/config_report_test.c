#include "app/config_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void must_print(const struct config_report *report, bool as_json, const char *expected)
{
    struct buf out = {0};
    if (as_json) {
        config_report_json(report, &out);
    } else {
        config_report_lines(report, &out);
    }
    assert_string_equal(buf_cstr(&out), expected);
    buf_fini(&out);
}

static void a_line_names_file_place_and_key(void **state)
{
    struct config_report report;
    config_report_init(&report, STR("f.yaml"));
    config_report_add(&report, false, (struct config_place){12, 18}, STR("limits.message"),
                      "bad %d", 7);
    config_report_add(&report, true, (struct config_place){3, 1}, STR("a"), "hm");
    config_report_add(&report, false, (struct config_place){0}, STR(""), "whole");
    must_print(&report, false,
               "f.yaml:12:18: limits.message: bad 7\nf.yaml:3:1: warning: a: hm\nf.yaml: whole\n");
    assert_int_equal(report.mistakes, 2);
    assert_int_equal(report.warnings, 1);
    config_report_fini(&report);
}

static void json_says_the_same(void **state)
{
    struct config_report report;
    config_report_init(&report, STR("f.yaml"));
    must_print(&report, true,
               "{\"file\":\"f.yaml\",\"ok\":true,\"mistakes\":[],\"warnings\":[]}\n");
    config_report_add(&report, false, (struct config_place){2, 3}, STR("k"), "got \"x\"");
    config_report_add(&report, false, (struct config_place){0}, STR("E"), "y");
    config_report_add(&report, true, (struct config_place){0}, STR(""), "z");
    must_print(&report, true,
               "{\"file\":\"f.yaml\",\"ok\":false,\"mistakes\":[{\"line\":2,\"column\":3,\"key\":"
               "\"k\",\"text\":\"got \\\"x\\\"\"},{\"key\":\"E\",\"text\":\"y\"}],\"warnings\":[{"
               "\"key\":\"\",\"text\":\"z\"}]}\n");
    config_report_fini(&report);
}

static void twenty_of_a_kind_are_kept_and_the_rest_is_counted(void **state)
{
    struct config_report report;
    config_report_init(&report, STR("f"));
    for (int i = 0; i < 25; i++) {
        config_report_add(&report, false, (struct config_place){0}, STR(""), "m%d", i);
    }
    for (int i = 0; i < 21; i++) {
        config_report_add(&report, true, (struct config_place){0}, STR(""), "w%d", i);
    }
    assert_int_equal(report.count, 40);
    struct buf out = {0};
    config_report_lines(&report, &out);
    assert_non_null(strstr(buf_cstr(&out), "f: m19\n"));
    assert_null(strstr(buf_cstr(&out), "m20"));
    assert_non_null(strstr(buf_cstr(&out), "f: and 5 more mistakes\nf: and 1 more warnings\n"));
    buf_fini(&out);
    config_report_fini(&report);
}

static void a_remark_that_finds_no_memory_still_counts(void **state)
{
    for (unsigned long n = 1; n <= 2; n++) {
        struct config_report report;
        config_report_init(&report, STR("f"));
        mem_fail_nth(n);
        config_report_add(&report, false, (struct config_place){0}, STR("k"), "m");
        assert_int_equal(report.mistakes, 1);
        assert_int_equal(report.count, 0);
        assert_int_equal(report.err, ERR_NO_MEMORY);
        config_report_fini(&report);
    }
}

static void quoted_texts_are_short_and_harmless(void **state)
{
    char out[CONFIG_QUOTE_MAX];
    assert_string_equal(config_quote(STR("64 kilos"), out), "\"64 kilos\"");
    assert_string_equal(config_quote(STR("a\n\x1b[31m\0z"), out), "\"a\\x0a\\x1b[31m\\x00z\"");
    char text[100];
    memset(text, '\n', sizeof(text));
    assert_int_equal(strlen(config_quote(str_make(text, 60), out)), 242);
    assert_int_equal(strlen(config_quote(str_make(text, 61), out)), 245);
    memset(text, 'x', sizeof(text));
    memcpy(text + 59, "\xc3\xa4", 2); /* would be cut in half */
    assert_int_equal(strlen(config_quote(str_make(text, 100), out)), 59 + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_names_file_place_and_key),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(twenty_of_a_kind_are_kept_and_the_rest_is_counted),
        cmocka_unit_test(a_remark_that_finds_no_memory_still_counts),
        cmocka_unit_test(quoted_texts_are_short_and_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
