#include "cli/tail_verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <cmocka.h>

#include "base/err.h"
#include "cli/exit_code.h"

static void close_codes_are_obeyed_by_their_hundreds(void **state)
{
    const struct {
        uint16_t code;
        enum tail_action action;
        int exit_code;
    } cases[] = {
        {1000, TAIL_STOP, EXIT_CODE_OK},           {1001, TAIL_RETRY, EXIT_CODE_CONNECT},
        {1002, TAIL_STOP, EXIT_CODE_PROTOCOL},     {1005, TAIL_RETRY, EXIT_CODE_CONNECT},
        {1008, TAIL_STOP, EXIT_CODE_REFUSED},      {1009, TAIL_STOP, EXIT_CODE_REFUSED},
        {1012, TAIL_RETRY, EXIT_CODE_UNAVAILABLE}, {4000, TAIL_STOP, EXIT_CODE_REFUSED},
        {4001, TAIL_STOP, EXIT_CODE_REFUSED},      {4002, TAIL_STOP, EXIT_CODE_PROTOCOL},
        {4003, TAIL_STOP, EXIT_CODE_REFUSED},      {4004, TAIL_NEW_TOKEN, EXIT_CODE_REFUSED},
        {4005, TAIL_STOP, EXIT_CODE_REFUSED},      {4006, TAIL_STOP, EXIT_CODE_REFUSED},
        {4050, TAIL_STOP, EXIT_CODE_REFUSED},      {4100, TAIL_RETRY, EXIT_CODE_UNAVAILABLE},
        {4101, TAIL_RETRY, EXIT_CODE_UNAVAILABLE}, {4103, TAIL_RETRY, EXIT_CODE_UNAVAILABLE},
        {4200, TAIL_RETRY_NOW, EXIT_CODE_CONNECT}, {4300, TAIL_NEW_TOKEN, EXIT_CODE_REFUSED},
        {4301, TAIL_NEW_TOKEN, EXIT_CODE_REFUSED}, {3000, TAIL_STOP, EXIT_CODE_PROTOCOL},
        {4999, TAIL_STOP, EXIT_CODE_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tail_verdict verdict = tail_judge_close(cases[i].code);
        assert_int_equal(verdict.action, cases[i].action);
        assert_int_equal(verdict.exit_code, cases[i].exit_code);
        assert_non_null(verdict.words);
    }
}

static void a_refused_upgrade_stops_unless_it_may_pass(void **state)
{
    assert_int_equal(tail_judge_status(401).action, TAIL_NEW_TOKEN);
    assert_int_equal(tail_judge_status(403).action, TAIL_STOP);
    assert_int_equal(tail_judge_status(426).action, TAIL_STOP);
    assert_int_equal(tail_judge_status(426).exit_code, EXIT_CODE_REFUSED);
    assert_int_equal(tail_judge_status(429).action, TAIL_RETRY);
    assert_int_equal(tail_judge_status(503).action, TAIL_RETRY);
    assert_int_equal(tail_judge_status(200).action, TAIL_STOP);
    assert_int_equal(tail_judge_status(200).exit_code, EXIT_CODE_PROTOCOL);
    assert_int_equal(tail_judge_status(302).exit_code, EXIT_CODE_PROTOCOL);
}

static void a_lost_connection_is_tried_again_and_a_foreign_one_is_not(void **state)
{
    assert_int_equal(tail_judge_error(-ECONNRESET).action, TAIL_RETRY);
    assert_int_equal(tail_judge_error(ERR_CLOSED).action, TAIL_RETRY);
    assert_int_equal(tail_judge_error(ERR_TIMEOUT).action, TAIL_RETRY);
    assert_int_equal(tail_judge_error(ERR_TIMEOUT).exit_code, EXIT_CODE_TIMEOUT);
    assert_int_equal(tail_judge_error(ERR_PROTOCOL).action, TAIL_STOP);
    assert_int_equal(tail_judge_error(ERR_TOO_LARGE).exit_code, EXIT_CODE_PROTOCOL);
    assert_int_equal(tail_judge_error(ERR_NO_MEMORY).exit_code, EXIT_CODE_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_codes_are_obeyed_by_their_hundreds),
        cmocka_unit_test(a_refused_upgrade_stops_unless_it_may_pass),
        cmocka_unit_test(a_lost_connection_is_tried_again_and_a_foreign_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
