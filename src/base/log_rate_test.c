#include "base/log_rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct log_rate rate;

static int reset(void **state)
{
    memset(&rate, 0, sizeof(rate));
    return 0;
}

/* The number of lines of `lines` at this time that are let through. */
static int speak(const char *event, uint64_t now_ms, int lines)
{
    int allowed = 0;
    uint64_t suppressed;
    for (int i = 0; i < lines; i++) {
        allowed += log_rate_allow(&rate, event, 1, now_ms, &suppressed);
    }
    return allowed;
}

static void ten_lines_a_second_pass_and_the_rest_is_told_later(void **state)
{
    uint64_t suppressed = 99;
    assert_int_equal(speak("a.b", 5000, 10), 10);
    assert_int_equal(speak("a.b", 5999, 7), 0);
    assert_true(log_rate_allow(&rate, "a.b", 1, 6000, &suppressed));
    assert_int_equal(suppressed, 7);
    assert_true(log_rate_allow(&rate, "a.b", 1, 6000, &suppressed));
    assert_int_equal(suppressed, 0);
}

static void lines_that_are_held_back_leave_the_count_alone(void **state)
{
    uint64_t suppressed = 99;
    speak("a.b", 5000, 10);
    assert_false(log_rate_allow(&rate, "a.b", 1, 5000, &suppressed));
    assert_int_equal(suppressed, 99);
}

static void one_event_does_not_silence_another(void **state)
{
    assert_int_equal(speak("a.b", 5000, 100), 10);
    assert_int_equal(speak("a.c", 5000, 100), 10);
}

static void the_same_text_at_two_addresses_is_one_event(void **state)
{
    char copy[] = "a.b";
    assert_int_equal(speak("a.b", 5000, 6), 6);
    assert_int_equal(speak(copy, 5000, 6), 4);
}

static void the_very_first_second_of_the_clock_counts_too(void **state)
{
    assert_int_equal(speak("a.b", 0, 20), 10);
}

static void names_beyond_the_table_share_one_place(void **state)
{
    static char names[LOG_RATE_EVENTS][24];
    for (int i = 0; i < LOG_RATE_EVENTS; i++) {
        snprintf(names[i], sizeof(names[i]), "event.%d", i);
        assert_int_equal(speak(names[i], 5000, 11), 10);
    }
    assert_int_equal(speak("other.1", 5000, 6), 6);
    assert_int_equal(speak("other.2", 5000, 6), 4);
    assert_int_equal(speak(names[7], 6000, 11), 10); /* those in the table keep their own */
}

static void what_nothing_follows_is_told_once_its_second_is_over(void **state)
{
    struct log_rate_entry entry;
    speak("a.b", 5000, 13);
    speak("a.calm", 5000, 10);
    assert_false(log_rate_next(&rate, 5999, &entry));
    assert_true(log_rate_next(&rate, 6000, &entry));
    assert_string_equal(entry.event, "a.b");
    assert_int_equal(entry.suppressed, 3);
    assert_int_equal(entry.level, 1);
    assert_false(log_rate_next(&rate, 6000, &entry));
    uint64_t suppressed = 99;
    assert_true(log_rate_allow(&rate, "a.b", 1, 6000, &suppressed));
    assert_int_equal(suppressed, 0); /* it was told already */
}

static void what_was_held_back_of_names_beyond_the_table_is_told_too(void **state)
{
    static char names[LOG_RATE_EVENTS + 1][24];
    struct log_rate_entry entry;
    for (int i = 0; i <= LOG_RATE_EVENTS; i++) {
        snprintf(names[i], sizeof(names[i]), "event.%d", i);
        speak(names[i], 5000, 12);
    }
    uint64_t told = 0;
    int nameless = 0;
    for (; log_rate_next(&rate, 7000, &entry); told += entry.suppressed) {
        nameless += entry.event == NULL;
    }
    assert_int_equal(told, 2 * (LOG_RATE_EVENTS + 1));
    assert_int_equal(nameless, 1);
}

static int keep(const char *event, uint64_t now_ms, int lines)
{
    int kept = 0;
    for (int i = 0; i < lines; i++) {
        kept += log_rate_keep(&rate, event, now_ms);
    }
    return kept;
}

static void one_event_does_not_push_all_others_out_of_memory(void **state)
{
    assert_int_equal(keep("a.b", 5000, 100), LOG_RATE_KEEP);
    assert_int_equal(keep("a.c", 5000, 3), 3);
    assert_int_equal(keep("a.b", 5000 + LOG_RATE_KEEP_MS - 1, 100), 0);
    assert_int_equal(keep("a.b", 5000 + LOG_RATE_KEEP_MS, 100), 1);
    assert_int_equal(keep("a.b", 5000 + 100 * LOG_RATE_KEEP_MS, 100), LOG_RATE_KEEP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ten_lines_a_second_pass_and_the_rest_is_told_later, reset),
        cmocka_unit_test_setup(lines_that_are_held_back_leave_the_count_alone, reset),
        cmocka_unit_test_setup(one_event_does_not_silence_another, reset),
        cmocka_unit_test_setup(the_same_text_at_two_addresses_is_one_event, reset),
        cmocka_unit_test_setup(the_very_first_second_of_the_clock_counts_too, reset),
        cmocka_unit_test_setup(names_beyond_the_table_share_one_place, reset),
        cmocka_unit_test_setup(what_nothing_follows_is_told_once_its_second_is_over, reset),
        cmocka_unit_test_setup(one_event_does_not_push_all_others_out_of_memory, reset),
        cmocka_unit_test_setup(what_was_held_back_of_names_beyond_the_table_is_told_too, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
