#include "bus/redis_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_frame_is_epoch_counter_and_record(void **state)
{
    struct redis_frame frame;
    assert_true(redis_frame_read(&frame, STR("00ff00ff00ff00ff 17 a b\0c")));
    assert_true(str_equal(frame.epoch, STR("00ff00ff00ff00ff")));
    assert_int_equal(frame.counter, 17);
    assert_true(str_equal(frame.record, STR("a b\0c")));
    assert_true(redis_frame_read(&frame, STR("e 9007199254740992 ")));
    assert_int_equal(frame.record.len, 0);
}

static void anything_else_is_not_ours(void **state)
{
    const char *const payloads[] = {
        "",
        " ",
        "e",
        "e 1",
        "e  r",
        " 1 r",
        "e 0 r",
        "e -1 r",
        "e +1 r",
        "e 1.0 r",
        "e 1x r",
        "e 9007199254740993 r",
        "e- 1 r",
        "\x01 1 r",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1 r",
    };
    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        struct redis_frame frame;
        assert_false(redis_frame_read(&frame, str_of(payloads[i])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_epoch_counter_and_record),
        cmocka_unit_test(anything_else_is_not_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
