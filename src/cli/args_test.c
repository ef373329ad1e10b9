#include "cli/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct {
    bool all;
    const char *url;
    struct args_list users;
    const char *file;
} got;

static const struct args_option options[] = {
    {.name = "all", .help = "everybody", .flag = &got.all},
    {.name = "url", .value = "URL", .help = "where", .text = &got.url},
    {.name = "user", .value = "U", .help = "to whom", .list = &got.users},
};

static const struct args_verb verb = {
    .name = "push",
    .synopsis = "[options]",
    .summary = "Pushes.",
    .options = options,
    .option_count = COUNT(options),
};

static const struct args_verb verb_with_operand = {
    .name = "check",
    .options = options,
    .option_count = COUNT(options),
    .operand = &got.file,
};

#define PARSE(which, error, ...)                                               \
    args_parse(which, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), \
               (char *[]){__VA_ARGS__}, error)

static int reset(void **state)
{
    memset(&got, 0, sizeof(got));
    return 0;
}

static void options_take_their_value_in_both_forms(void **state)
{
    char error[ARGS_ERROR_MAX];
    assert_int_equal(
        PARSE(&verb, error, "push", "--user", "a", "--user=b=c", "--all", "--url", "-x"), 0);
    assert_int_equal(got.users.count, 2);
    assert_string_equal(got.users.items[0], "a");
    assert_string_equal(got.users.items[1], "b=c");
    assert_true(got.all);
    assert_string_equal(got.url, "-x");
}

static void an_empty_value_is_a_value(void **state)
{
    char error[ARGS_ERROR_MAX];
    assert_int_equal(PARSE(&verb, error, "push", "--url="), 0);
    assert_string_equal(got.url, "");
}

static void mistakes_are_named(void **state)
{
    char error[ARGS_ERROR_MAX];
    assert_int_equal(PARSE(&verb, error, "push", "--usr", "a"), ERR_SYNTAX);
    assert_string_equal(error, "unknown option '--usr'");
    assert_int_equal(PARSE(&verb, error, "push", "--user"), ERR_SYNTAX);
    assert_string_equal(error, "--user needs a value: --user U");
    assert_int_equal(PARSE(&verb, error, "push", "--all=yes"), ERR_SYNTAX);
    assert_string_equal(error, "--all takes no value");
    assert_int_equal(PARSE(&verb, error, "push", "--url", "a", "--url=b"), ERR_SYNTAX);
    assert_string_equal(error, "--url stands there twice");
    assert_int_equal(PARSE(&verb, error, "push", "-u"), ERR_SYNTAX);
    assert_string_equal(error, "unknown option '-u'; options start with '--'");
    assert_int_equal(PARSE(&verb, error, "push", "word"), ERR_SYNTAX);
    assert_string_equal(error, "unexpected argument 'word'");
}

static void a_secret_behind_an_unknown_option_is_not_echoed(void **state)
{
    char error[ARGS_ERROR_MAX];
    assert_int_equal(PARSE(&verb, error, "push", "--key=tg_secret"), ERR_SYNTAX);
    assert_null(strstr(error, "secret"));
}

static void a_list_has_an_end(void **state)
{
    char *argv[ARGS_LIST_MAX + 2] = {"push"};
    for (size_t i = 1; i < COUNT(argv); i++) {
        argv[i] = "--user=x";
    }
    char error[ARGS_ERROR_MAX];
    assert_int_equal(args_parse(&verb, COUNT(argv) - 1, argv, error), 0);
    memset(&got, 0, sizeof(got));
    assert_int_equal(args_parse(&verb, COUNT(argv), argv, error), ERR_SYNTAX);
}

static void one_operand_is_taken_where_one_is_wanted(void **state)
{
    char error[ARGS_ERROR_MAX];
    assert_int_equal(PARSE(&verb_with_operand, error, "check", "f.yaml"), 0);
    assert_string_equal(got.file, "f.yaml");
    assert_int_equal(PARSE(&verb_with_operand, error, "check", "g.yaml"), ERR_SYNTAX);
    reset(NULL);
    assert_int_equal(PARSE(&verb_with_operand, error, "check", "--", "--all"), 0);
    assert_string_equal(got.file, "--all");
    reset(NULL);
    assert_int_equal(PARSE(&verb_with_operand, error, "check", "-"), 0);
    assert_string_equal(got.file, "-");
    reset(NULL);
    assert_int_equal(PARSE(&verb_with_operand, error, "check", "--all"), ERR_SYNTAX);
    assert_string_equal(error, "an argument is missing");
}

static void help_wins_over_a_missing_operand_and_names_every_option(void **state)
{
    char error[ARGS_ERROR_MAX];
    assert_int_equal(PARSE(&verb_with_operand, error, "check", "-h"), ARGS_HELP);
    assert_int_equal(PARSE(&verb, error, "push", "--all", "--help"), ARGS_HELP);
    struct buf help = {0};
    args_write_help(&verb, &help);
    const char *text = buf_cstr(&help);
    assert_non_null(strstr(text, "usage: tidegate push [options]\n"));
    assert_non_null(strstr(text, "  --url URL                where\n"));
    assert_non_null(strstr(text, "  --user U                 to whom (may stand several times)\n"));
    buf_fini(&help);
}

static void durations_have_a_unit(void **state)
{
    const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"500ms", 500}, {"60s", 60000}, {"10m", 600000}, {"2h", 7200000}, {"366d", 31622400000}};
    uint64_t ms = 0;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(args_duration_ms(good[i].text, &ms));
        assert_true(ms == good[i].ms);
    }
    const char *bad[] = {
        "", "s", "60", "0s", "-1s", "1.5s", "1 s", "1sec", "367d", "1w", "99999999999999999999s"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(args_duration_ms(bad[i], &ms));
    }
}

static void numbers_stay_within_their_bounds(void **state)
{
    uint64_t number = 0;
    assert_true(args_number("1", 1, 10, &number));
    assert_true(args_number("10", 1, 10, &number));
    assert_false(args_number("0", 1, 10, &number));
    assert_false(args_number("11", 1, 10, &number));
    assert_false(args_number("", 0, 10, &number));
    assert_int_equal(number, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(options_take_their_value_in_both_forms, reset),
        cmocka_unit_test_setup(an_empty_value_is_a_value, reset),
        cmocka_unit_test_setup(mistakes_are_named, reset),
        cmocka_unit_test_setup(a_secret_behind_an_unknown_option_is_not_echoed, reset),
        cmocka_unit_test_setup(a_list_has_an_end, reset),
        cmocka_unit_test_setup(one_operand_is_taken_where_one_is_wanted, reset),
        cmocka_unit_test_setup(help_wins_over_a_missing_operand_and_names_every_option, reset),
        cmocka_unit_test(durations_have_a_unit),
        cmocka_unit_test(numbers_stay_within_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
