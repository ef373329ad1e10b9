#include "server/sse_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/str.h"

static struct hub_heads some_heads(void)
{
    struct hub_heads heads = {.started = 1ull << 0 | 1ull << 2 | 1ull << 5 | 1ull << 63};
    heads.pos[0] = (struct bus_pos){81723, 4};
    heads.pos[1] = (struct bus_pos){99999999, 7}; /* not known, so not said */
    heads.pos[2] = bus_pos_behind(81700);
    heads.pos[63] = (struct bus_pos){UINT64_MAX, UINT64_MAX - 1};
    return heads;
}

static void an_id_is_read_as_it_was_written(void **state)
{
    struct hub_heads heads = some_heads();
    char id[SSE_ID_MAX];
    struct session_resume resume;
    size_t len = sse_id_write(id, STR("e-7"), &heads);
    assert_true(sse_id_read(&resume, str_make(id, len), BUS_MAX_QUEUES));
    assert_string_equal(resume.epoch, "e-7");
    for (uint32_t q = 0; q < BUS_MAX_QUEUES; q++) {
        assert_int_equal(resume.has[q], heads.started >> q & 1);
        if (resume.has[q]) {
            assert_int_equal(bus_pos_compare(resume.seen.pos[q], heads.pos[q]), 0);
        }
    }
}

static void queues_that_are_not_here_are_left_out(void **state)
{
    struct hub_heads heads = some_heads();
    char id[SSE_ID_MAX];
    struct session_resume resume;
    size_t len = sse_id_write(id, STR("e"), &heads);
    assert_true(sse_id_read(&resume, str_make(id, len), 5));
    assert_true(resume.has[2]);
    assert_false(resume.has[5]);
}

static void the_longest_id_fits_and_a_usual_one_is_short(void **state)
{
    struct hub_heads heads = {.started = UINT64_MAX};
    char epoch[HUB_EPOCH_MAX];
    char id[SSE_ID_MAX];
    struct session_resume resume;
    memset(epoch, 'e', sizeof(epoch));
    for (uint32_t q = 0; q < BUS_MAX_QUEUES; q++) {
        heads.pos[q] = (struct bus_pos){q == 0 ? UINT64_MAX : q, UINT64_MAX - 1};
    }
    size_t len = sse_id_write(id, str_make(epoch, sizeof(epoch)), &heads);
    assert_in_range(len, 1, SSE_ID_MAX);
    assert_true(sse_id_read(&resume, str_make(id, len), BUS_MAX_QUEUES));
    assert_int_equal(bus_pos_compare(resume.seen.pos[9], heads.pos[9]), 0);

    heads.started = 0xffff; /* sixteen streams of Redis, within a minute of each other */
    for (uint32_t q = 0; q < 16; q++) {
        heads.pos[q] = bus_pos_behind(1795000000000000ull + q * 3700000ull);
    }
    assert_in_range(sse_id_write(id, STR("0123456789abcdef"), &heads), 1, 200);
}

static void what_is_no_id_is_refused(void **state)
{
    struct hub_heads heads = some_heads();
    char id[SSE_ID_MAX + 1];
    struct session_resume resume;
    size_t len = sse_id_write(id, STR("e-7"), &heads);
    for (size_t cut = 0; cut < len;
         cut++) { /* at the end of a queue the rest is one that is short */
        (void)sse_id_read(&resume, str_make(id, cut), BUS_MAX_QUEUES);
    }
    static const char *const bad[] = {
        "",           "A",          "????",   "AQ",       "AgFl",
        "AUFl",       "AQFl",       "AQEAAA", "AQFlAEAA", "AQFl____________",
        "AQFlAAAFBQ", "AQFlAD8AAQA"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (sse_id_read(&resume, str_of(bad[i]), BUS_MAX_QUEUES)) {
            print_error("'%s' was read\n", bad[i]);
            fail();
        }
    }
    memset(id, 'A', SSE_ID_MAX + 1);
    assert_false(sse_id_read(&resume, str_make(id, SSE_ID_MAX + 1), BUS_MAX_QUEUES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_read_as_it_was_written),
        cmocka_unit_test(queues_that_are_not_here_are_left_out),
        cmocka_unit_test(the_longest_id_fits_and_a_usual_one_is_short),
        cmocka_unit_test(what_is_no_id_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
