#include "api/export_sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/metrics.h"

static void labels_come_back_as_they_were_written(void **state)
{
    struct buf labels = {0};
    struct buf value = {0};
    struct str name;
    metric_label(&labels, "app", STR("a\"b\\c\nd,e=\"f"));
    metric_label(&labels, "reason", STR(""));
    metric_label(&labels, "z", STR("last"));
    struct str rest = buf_str(&labels);
    assert_true(sample_next_label(&rest, &name, &value));
    assert_true(str_equal(name, STR("app")));
    assert_true(str_equal(buf_str(&value), STR("a\"b\\c\nd,e=\"f")));
    assert_true(sample_next_label(&rest, &name, &value));
    assert_true(str_equal(name, STR("reason")));
    assert_int_equal(value.len, 0);
    assert_true(sample_next_label(&rest, &name, &value));
    assert_true(str_equal(name, STR("z")));
    assert_true(str_equal(buf_str(&value), STR("last")));
    assert_false(sample_next_label(&rest, &name, &value));
    buf_fini(&labels);
    buf_fini(&value);
}

static void labels_cut_anywhere_end(void **state)
{
    struct str text = STR("a=\"x\\\"\",b=\"y\"");
    struct buf value = {0};
    struct str name;
    for (size_t len = 0; len < text.len; len++) {
        struct str rest = str_make(text.ptr, len);
        int count = 0;
        while (sample_next_label(&rest, &name, &value)) {
            assert_true(++count <= 2);
        }
    }
    buf_fini(&value);
}

static void a_name_tells_its_unit(void **state)
{
    assert_true(str_equal(sample_unit("tidegate_latency_seconds"), STR("s")));
    assert_true(str_equal(sample_unit("tidegate_written_bytes_total"), STR("By")));
    assert_true(str_equal(sample_unit("tidegate_gaps_total"), STR("")));
    assert_true(str_equal(sample_unit("tidegate_sessions"), STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_come_back_as_they_were_written),
        cmocka_unit_test(labels_cut_anywhere_end),
        cmocka_unit_test(a_name_tells_its_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
