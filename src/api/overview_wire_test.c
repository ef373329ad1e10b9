#include "api/overview_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct overview_part part, back;

static int fill(void **state)
{
    memset(&part, 0, sizeof(part));
    memset(&back, 0, sizeof(back));
    part = (struct overview_part){.boot = 0x4f3a90c1,
                                  .tick = 353445000,
                                  .memory_bytes = 1ull << 40,
                                  .bus_up = true,
                                  .alerts = 2,
                                  .scope_count = OVERVIEW_SCOPES,
                                  .stage_count = OVERVIEW_STAGES,
                                  .point_count = OVERVIEW_POINTS};
    for (int i = 0; i < OVERVIEW_SCOPES; i++) {
        snprintf(part.scopes[i].app, sizeof(part.scopes[i].app), "app-%d", i);
        part.scopes[i].connections[OVERVIEW_SSE_RAW] = 7;
        part.scopes[i].flow.dropped = UINT32_MAX;
    }
    memset(part.stages[7].name, 'n', OVERVIEW_NAME);
    part.stages[7].buckets[OVERVIEW_BUCKETS - 1] = 9;
    part.points[OVERVIEW_POINTS - 1].is_there = true;
    part.points[OVERVIEW_POINTS - 1].cluster_users = 10000;
    return 0;
}

static void what_is_written_is_read(void **state)
{
    struct buf out = {0};
    assert_int_equal(overview_part_write(&out, &part), 0);
    buf_append_str(&out, STR("next"));
    struct str text = buf_str(&out);
    assert_true(overview_part_read(&back, &text));
    assert_true(str_equal(text, STR("next")));
    assert_memory_equal(&back, &part, sizeof(part));
    buf_fini(&out);
}

static void one_that_is_cut_anywhere_is_none(void **state)
{
    struct buf out = {0};
    part.point_count = 2;
    assert_int_equal(overview_part_write(&out, &part), 0);
    for (size_t len = 0; len < out.len; len++) {
        struct str text = str_make((const char *)out.data, len);
        assert_false(overview_part_read(&back, &text));
    }
    buf_fini(&out);
}

static void more_than_there_may_be_and_other_versions_are_none(void **state)
{
    struct buf out = {0};
    enum { COUNTS_AT = 26 };
    assert_int_equal(overview_part_write(&out, &part), 0);
    for (int i = 0; i < 3; i++) {
        uint8_t right = out.data[COUNTS_AT + i];
        struct str text = buf_str(&out);
        out.data[COUNTS_AT + i] = 255;
        assert_false(overview_part_read(&back, &text));
        out.data[COUNTS_AT + i] = right;
    }
    out.data[0] = 2;
    struct str text = buf_str(&out);
    assert_false(overview_part_read(&back, &text));
    buf_fini(&out);
}

#define WIRE_TEST(name) cmocka_unit_test_setup(name, fill)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(what_is_written_is_read),
        WIRE_TEST(one_that_is_cut_anywhere_is_none),
        WIRE_TEST(more_than_there_may_be_and_other_versions_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
