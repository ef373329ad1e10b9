#include "proto/ws_deflate_offer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"

#define PMD "permessage-deflate"
#define ANSWER PMD "; server_no_context_takeover; client_no_context_takeover"

static int choose(struct ws_deflate_choice *choice, const char *line)
{
    struct str lines[] = {str_of(line)};
    return ws_deflate_choose(choice, lines, 1);
}

static void assert_answered(const char *line, const char *answer)
{
    struct ws_deflate_choice choice;
    char out[WS_DEFLATE_ANSWER_MAX];
    assert_int_equal(choose(&choice, line), 0);
    if (!choice.accepted) {
        fail_msg("declined: %s", line);
    }
    ws_deflate_answer_write(out, &choice);
    assert_string_equal(out, answer);
}

static void assert_declined(const char *line)
{
    struct ws_deflate_choice choice;
    assert_int_equal(choose(&choice, line), 0);
    if (choice.accepted) {
        fail_msg("accepted: %s", line);
    }
}

static void every_good_offer_is_answered_without_context_takeover(void **state)
{
    assert_answered(PMD, ANSWER);
    assert_answered(PMD "; client_max_window_bits", ANSWER); /* browsers and Node's ws */
    assert_answered(PMD ";client_max_window_bits=8", ANSWER);
    assert_answered(PMD "; server_no_context_takeover; client_no_context_takeover", ANSWER);
    assert_answered(" \t" PMD " ;\tclient_no_context_takeover\t", ANSWER);
    assert_answered(PMD "; client_max_window_bits = \"10\"", ANSWER);
}

static void the_window_a_client_can_bear_is_honoured(void **state)
{
    for (int bits = 9; bits <= 15; bits++) {
        char line[64];
        char answer[128];
        struct ws_deflate_choice choice;
        snprintf(line, sizeof(line), PMD "; server_max_window_bits=%d", bits);
        snprintf(answer, sizeof(answer), ANSWER "; server_max_window_bits=%d", bits);
        assert_answered(line, answer);
        choose(&choice, line);
        assert_int_equal(choice.window_bits, bits);
    }
    struct ws_deflate_choice choice;
    assert_int_equal(choose(&choice, PMD), 0);
    assert_int_equal(choice.window_bits, 15);
    assert_false(choice.bits_asked);
}

static void a_window_of_8_bits_is_declined_and_the_next_offer_taken(void **state)
{
    assert_declined(PMD "; server_max_window_bits=8");
    assert_answered(PMD "; server_max_window_bits=8, " PMD "; server_max_window_bits=\"12\"",
                    ANSWER "; server_max_window_bits=12");
}

static void unknown_repeated_and_bad_parameters_decline_the_offer(void **state)
{
    const char *bad[] = {
        PMD "; unknown",
        PMD "; unknown=1",
        PMD "; server_max_window_bits",
        PMD "; server_max_window_bits=7",
        PMD "; server_max_window_bits=16",
        PMD "; server_max_window_bits=010",
        PMD "; server_max_window_bits=09",
        PMD "; server_max_window_bits=+10",
        PMD "; server_max_window_bits=1e1",
        PMD "; server_max_window_bits=\"\"",
        PMD "; server_max_window_bits=\"1\\0\"",
        PMD "; server_max_window_bits=99999999999999999999",
        PMD "; client_max_window_bits=7",
        PMD "; client_max_window_bits=16",
        PMD "; client_max_window_bits=\"\"",
        PMD "; server_no_context_takeover=1",
        PMD "; client_no_context_takeover=\"\"",
        PMD "; server_no_context_takeover; server_no_context_takeover",
        PMD "; client_no_context_takeover; client_no_context_takeover",
        PMD "; server_max_window_bits=10; server_max_window_bits=10",
        PMD "; client_max_window_bits; client_max_window_bits",
        PMD "; Server_no_context_takeover",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char both[256];
        assert_declined(bad[i]);
        snprintf(both, sizeof(both), "%s, " PMD, bad[i]);
        assert_answered(both, ANSWER);
    }
}

static void the_first_good_offer_wins_over_all_lines(void **state)
{
    struct str lines[] = {STR("x-webkit-deflate-frame, foo; a=b; c=\"d, e;f\""), STR(""),
                          STR(PMD "; x, " PMD "; server_max_window_bits=11"), STR(PMD)};
    struct ws_deflate_choice choice;
    assert_int_equal(ws_deflate_choose(&choice, lines, 4), 0);
    assert_true(choice.accepted);
    assert_int_equal(choice.window_bits, 11);
    assert_int_equal(ws_deflate_choose(&choice, lines, 2), 0);
    assert_false(choice.accepted);
    assert_int_equal(ws_deflate_choose(&choice, NULL, 0), 0);
    assert_false(choice.accepted);
}

static void other_extensions_are_passed_over(void **state)
{
    assert_declined("");
    assert_declined(" , ,");
    assert_declined("permessage-bzip2");
    assert_declined("permessage-deflate2");
    assert_declined("foo; x=\"a, " PMD ", b\"");
    assert_answered("foo, ," PMD ",", ANSWER);
}

static void a_line_that_is_no_list_of_extensions_is_an_error(void **state)
{
    const char *bad[] = {PMD ";",
                         PMD "; ;",
                         PMD "; a=",
                         PMD "; a=\"b",
                         PMD "; a=\"b\\\"",
                         PMD " x",
                         ";",
                         "=",
                         PMD "; =1",
                         PMD "; a=\"b\"c",
                         "\"" PMD "\"",
                         PMD "; a=b c",
                         PMD ", "
                             "\x01",
                         PMD "\xc3\xa9",
                         PMD ", ;"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ws_deflate_choice choice = {.accepted = true};
        assert_int_equal(choose(&choice, bad[i]), ERR_SYNTAX);
        assert_false(choice.accepted);
    }
}

static void a_client_reads_the_answer_to_its_own_offer(void **state)
{
    char offer[WS_DEFLATE_ANSWER_MAX];
    char answer[WS_DEFLATE_ANSWER_MAX];
    for (int bits = 9; bits <= 15; bits++) {
        struct ws_deflate_choice ours;
        struct ws_deflate_choice theirs;
        struct str line = ws_deflate_offer_write(offer, bits);
        assert_int_equal(ws_deflate_choose(&ours, &line, 1), 0);
        line = ws_deflate_answer_write(answer, &ours);
        assert_int_equal(ws_deflate_answer_read(&theirs, line), 0);
        assert_true(theirs.accepted);
        assert_int_equal(theirs.window_bits, bits);
    }
}

static void a_client_refuses_what_it_did_not_offer(void **state)
{
    struct ws_deflate_choice choice;
    assert_int_equal(ws_deflate_answer_read(&choice, STR("")), 0);
    assert_false(choice.accepted);
    const char *bad[] = {PMD,
                         PMD "; client_no_context_takeover",
                         ANSWER "; client_max_window_bits=10",
                         ANSWER "; server_max_window_bits=7",
                         ANSWER "; unknown",
                         ANSWER ", " ANSWER,
                         "foo",
                         ANSWER ";",
                         ANSWER ", ;"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ws_deflate_answer_read(&choice, str_of(bad[i])), ERR_PROTOCOL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_good_offer_is_answered_without_context_takeover),
        cmocka_unit_test(the_window_a_client_can_bear_is_honoured),
        cmocka_unit_test(a_window_of_8_bits_is_declined_and_the_next_offer_taken),
        cmocka_unit_test(unknown_repeated_and_bad_parameters_decline_the_offer),
        cmocka_unit_test(the_first_good_offer_wins_over_all_lines),
        cmocka_unit_test(other_extensions_are_passed_over),
        cmocka_unit_test(a_line_that_is_no_list_of_extensions_is_an_error),
        cmocka_unit_test(a_client_reads_the_answer_to_its_own_offer),
        cmocka_unit_test(a_client_refuses_what_it_did_not_offer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
