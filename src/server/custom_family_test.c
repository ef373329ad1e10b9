#include "server/custom_family.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static double bounds[] = {1, 2};
static struct settings_custom_label labels[] = {{.name = STR("a")}, {.name = STR("b")}};

static struct settings_custom custom(void)
{
    return (struct settings_custom){.name = STR("took_seconds"),
                                    .kind = SETTINGS_HISTOGRAM,
                                    .help = STR("Took."),
                                    .labels = labels,
                                    .label_count = 2,
                                    .buckets = bounds,
                                    .bucket_count = 2};
}

static void a_family_is_what_the_definition_says(void **state)
{
    struct settings_custom definition = custom();
    const struct metric_family *family = custom_family_get("shop", &definition);
    assert_string_equal(family->name, "tidegate_app_took_seconds");
    assert_string_equal(family->help, "Took.");
    assert_int_equal(family->kind, METRIC_HISTOGRAM);
    assert_int_equal(metric_label_count(family), 3);
    assert_string_equal(family->labels[0], "app");
    assert_string_equal(family->labels[2], "b");
    assert_int_equal(family->bound_count, 2);
    assert_true(family->bounds[1] == 2);
    family = custom_family_get_time("shop", &definition);
    assert_string_equal(family->name, "tidegate_app_took_seconds_timestamp_seconds");
    assert_int_equal(family->kind, METRIC_GAUGE);
    assert_int_equal(family->bound_count, 0);
}

static void an_equal_definition_is_the_same_family(void **state)
{
    static double equal_bounds[] = {1, 2};
    struct settings_custom definition = custom();
    const struct metric_family *family = custom_family_get("shop", &definition);
    definition.buckets = equal_bounds;
    assert_ptr_equal(custom_family_get("shop", &definition), family);
}

static void each_difference_makes_another_family(void **state)
{
    static double other_bounds[] = {1, 3};
    struct settings_custom definition = custom();
    struct settings_custom others[6];
    for (size_t i = 0; i < 6; i++) {
        others[i] = definition;
    }
    others[0].name = STR("took");
    others[1].kind = SETTINGS_COUNTER;
    others[2].help = STR("Took so long.");
    others[3].label_count = 1;
    others[4].bucket_count = 1;
    others[5].buckets = other_bounds;
    const struct metric_family *family = custom_family_get("shop", &definition);
    for (size_t i = 0; i < 6; i++) {
        assert_ptr_not_equal(custom_family_get("shop", &others[i]), family);
    }
    assert_ptr_not_equal(custom_family_get("blog", &definition), family);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_is_what_the_definition_says),
        cmocka_unit_test(an_equal_definition_is_the_same_family),
        cmocka_unit_test(each_difference_makes_another_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
