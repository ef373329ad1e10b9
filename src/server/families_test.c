#include "server/families.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/settings.h"

static const char page[] = "docs/metrics.md";

static void the_page_is_what_the_catalogue_says(void **state)
{
    struct buf out = {0};
    families_write_markdown(&out);
    assert_int_equal(buf_err(&out), 0);
    FILE *file = fopen(page, "r");
    char *written = calloc(1, out.len + 2);
    assert_non_null(file);
    assert_non_null(written);
    size_t len = fread(written, 1, out.len + 1, file);
    fclose(file);
    if (len != out.len || memcmp(written, out.data, len) != 0) {
        fail_msg("%s is not what src/server/families.def says: write it with ./dev docs", page);
    }
    free(written);
    buf_fini(&out);
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t len = strlen(text);
    size_t suffix_len = strlen(suffix);
    return len > suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

static void check_name(const struct metric_family *family)
{
    static const char *const taken[] = {"_bucket", "_sum", "_count"};
    bool is_common = strncmp(family->name, "process_", 8) == 0; /* as every program has it */
    assert_true(is_common || strncmp(family->name, "tidegate_", 9) == 0);
    assert_int_not_equal(
        strncmp(family->name, SETTINGS_CUSTOM_PREFIX, strlen(SETTINGS_CUSTOM_PREFIX)),
        0); /* those are for apps */
    assert_int_equal(strspn(family->name, "abcdefghijklmnopqrstuvwxyz_0123456789"),
                     strlen(family->name));
    assert_int_equal(has_suffix(family->name, "_total"), family->kind == METRIC_COUNTER);
    for (size_t i = 0; i < 3; i++) {
        assert_false(has_suffix(family->name, taken[i]));
    }
}

/* HELP is read by people in a list of hundreds. */
static void check_help(const struct metric_family *family)
{
    size_t len = strlen(family->help);
    assert_in_range(len, 5, 100);
    assert_int_equal(family->help[len - 1], '.');
    assert_null(strpbrk(family->help, "`|\n"));
    assert_null(strpbrk(family->more, "|\n"));
}

/* A family as families_visit shows it, and whether one of its name came before. */
static void check_family(void *arg, const char *section, const struct metric_family *family)
{
    const char **names = arg;
    assert_non_null(section);
    check_name(family);
    check_help(family);
    while (*names) {
        assert_string_not_equal(*names, family->name);
        names++;
    }
    *names = family->name;
}

static void names_and_texts_keep_the_rules(void **state)
{
    const char *names[FAMILIES + 8] = {NULL};
    families_visit(check_family, names);
    assert_non_null(names[FAMILIES]); /* those of base are there too */
}

static void a_series_has_the_labels_of_its_family(void **state)
{
    struct metric *series = SERIES(acks_given_up_total, "shop");
    assert_ptr_equal(series, metric_series(FAMILY(acks_given_up_total), "shop"));
    metric_add(series, 1);
    struct buf text = {0};
    assert_int_equal(metrics_render(&text), 0);
    assert_non_null(
        strstr(buf_cstr(&text),
               "# HELP tidegate_acks_given_up_total Messages whose confirmation is awaited no "
               "longer.\n"
               "# TYPE tidegate_acks_given_up_total counter\n"
               "tidegate_acks_given_up_total{app=\"shop\"} 1\n"));
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_is_what_the_catalogue_says),
        cmocka_unit_test(names_and_texts_keep_the_rules),
        cmocka_unit_test(a_series_has_the_labels_of_its_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
