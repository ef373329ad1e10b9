#include "api/sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/loop.h"
#include "server/families.h"

enum { STEP = OVERVIEW_STEP_MS };

static struct loop *loop;
static struct sampler *sampler;
static struct overview_part part;
static uint64_t tick; /* of the sample that the making took */

static int begin(void **state)
{
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(sampler_create(&sampler, loop), 0);
    sampler_read(sampler, STR(""), 0, &part);
    tick = part.tick;
    return 0;
}

static int end(void **state)
{
    sampler_destroy(sampler);
    loop_destroy(loop);
    return 0;
}

static const struct overview_scope *find(const char *app)
{
    for (uint32_t i = 0; i < part.scope_count; i++) {
        if (strcmp(part.scopes[i].app, app) == 0) {
            return &part.scopes[i];
        }
    }
    fail_msg("no scope %s", app);
    return NULL;
}

static void an_app_has_what_its_series_say_and_the_node_the_sum(void **state)
{
    metric_gauge_add(SERIES(connections, "sampled", "v1"), 3);
    metric_gauge_add(SERIES(connections, "sampled", "sse"), 2);
    metric_gauge_add(SERIES(connections, "sampled_too", "v1"), 1);
    metric_gauge_add(SERIES(users, "sampled"), 4);
    sampler_take(sampler, (tick + 1) * STEP);
    sampler_read(sampler, STR("sampled"), 1, &part);
    assert_int_equal(find("sampled")->connections[OVERVIEW_V1], 3);
    assert_int_equal(find("sampled")->connections[OVERVIEW_SSE], 2);
    assert_int_equal(find("sampled")->users, 4);
    assert_string_equal(part.scopes[0].app, "");
    assert_true(part.scopes[0].connections[OVERVIEW_V1] >= 4);
    assert_int_equal(part.point_count, 1);
    assert_int_equal(part.points[0].connections, 5);
}

static void counters_are_told_by_how_much_they_grew_in_a_step(void **state)
{
    struct metric *written = SERIES(messages_written_total, "sampled");
    metric_add(written, 1000); /* before */
    sampler_take(sampler, (tick + 1) * STEP);
    metric_add(written, 7);
    metric_observe_us(SERIES(delivery_seconds, "sampled_stage"), 700);
    sampler_take(sampler, (tick + 2) * STEP);
    sampler_take(sampler, (tick + 3) * STEP);
    SERIES(delivery_seconds, "never"); /* is there, and was never measured */
    sampler_read(sampler, STR("sampled"), 3, &part);
    assert_int_equal(find("sampled")->flow.written, 0);
    assert_int_equal(part.points[0].flow.written, 0);
    assert_int_equal(part.points[1].flow.written, 7);
    assert_int_equal(part.stages[part.stage_count - 1].buckets[6], 1); /* 0.5 to 1 ms */
    assert_int_equal(part.points[1].buckets[6], 1);
}

static void samples_that_were_not_taken_are_holes(void **state)
{
    sampler_take(sampler, (tick + 3) * STEP);
    sampler_read(sampler, STR(""), 4, &part);
    assert_int_equal(part.tick, tick + 3);
    assert_true(part.points[0].is_there);
    assert_false(part.points[1].is_there);
    assert_false(part.points[2].is_there);
    assert_true(part.points[3].is_there);
}

static void the_past_is_a_quarter_of_an_hour(void **state)
{
    for (uint64_t i = 1; i <= 2 * OVERVIEW_POINTS; i++) {
        sampler_take(sampler, (tick + i) * STEP);
    }
    sampler_read(sampler, STR(""), 100000, &part);
    assert_int_equal(part.point_count, OVERVIEW_POINTS);
    for (uint32_t i = 0; i < part.point_count; i++) {
        assert_true(part.points[i].is_there);
    }
}

static void an_app_that_nobody_has_has_no_past(void **state)
{
    sampler_read(sampler, STR("nobody"), 10, &part);
    assert_int_equal(part.point_count, 0);
    assert_true(part.scope_count >= 1);
}

static void more_apps_than_there_is_room_for_are_left_out(void **state)
{
    char name[32];
    for (int i = 0; i < OVERVIEW_SCOPES + 10; i++) {
        snprintf(name, sizeof(name), "many_%d", i);
        metric_gauge_add(SERIES(groups, name), 1);
    }
    sampler_take(sampler, (tick + 1) * STEP);
    sampler_read(sampler, STR(""), 1, &part);
    assert_int_equal(part.scope_count, OVERVIEW_SCOPES);
}

static void memory_that_is_out_leaves_holes_alone(void **state)
{
    for (unsigned long nth = 1; nth < 20; nth++) {
        mem_fail_nth(nth);
        sampler_take(sampler, (tick + nth) * STEP);
        mem_fail_nth(0);
    }
    sampler_read(sampler, STR(""), 1, &part);
    assert_int_equal(part.tick, tick + 19);
}

#define SAMPLER_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAMPLER_TEST(an_app_has_what_its_series_say_and_the_node_the_sum),
        SAMPLER_TEST(counters_are_told_by_how_much_they_grew_in_a_step),
        SAMPLER_TEST(samples_that_were_not_taken_are_holes),
        SAMPLER_TEST(the_past_is_a_quarter_of_an_hour),
        SAMPLER_TEST(an_app_that_nobody_has_has_no_past),
        SAMPLER_TEST(memory_that_is_out_leaves_holes_alone),
        SAMPLER_TEST(more_apps_than_there_is_room_for_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
