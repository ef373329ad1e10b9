#include "net/resolve.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/resolve_test_help.h"

enum { PATIENCE_MS = 20000 };

struct answer {
    struct loop *loop;
    struct resolve *resolve;
    int calls;
    int err;
    size_t count;
    struct addr addrs[RESOLVE_MAX_ADDRS];
    char detail[100];
};

static void on_done(void *owner, int err, const struct addr *addrs, size_t count,
                    const char *detail)
{
    struct answer *answer = owner;
    answer->calls++;
    answer->err = err;
    answer->count = count;
    if (!err) {
        memcpy(answer->addrs, addrs, count * sizeof(*addrs));
    } else {
        snprintf(answer->detail, sizeof(answer->detail), "%s", detail);
    }
}

static void ask(struct answer *answer, struct loop *loop, const char *host)
{
    *answer = (struct answer){.loop = loop};
    assert_int_equal(resolve_start(&answer->resolve, loop, host, 6379, on_done, answer), 0);
    assert_int_equal(answer->calls, 0);
}

static void await(struct answer *answer)
{
    uint64_t end_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (answer->calls == 0 && clock_monotonic_ms() < end_ms) {
        loop_turn(answer->loop, 10);
    }
    assert_int_equal(answer->calls, 1);
}

static int setup(void **state)
{
    return loop_create((struct loop **)state);
}

static int teardown(void **state)
{
    assert_true(names_all_quiet());
    loop_destroy(*state);
    return 0;
}

static void assert_addr(const struct addr *addr, const char *expected)
{
    char text[ADDR_TEXT_MAX];
    assert_string_equal(addr_format(addr, text), expected);
}

static void a_name_gives_its_addresses_in_order(void **state)
{
    struct answer answer;
    ask(&answer, *state, "two.test");
    await(&answer);
    assert_int_equal(answer.err, 0);
    assert_int_equal(answer.count, 2);
    assert_addr(&answer.addrs[0], "192.0.2.1:6379");
    assert_addr(&answer.addrs[1], "192.0.2.2:6379");
}

static void an_address_needs_no_thread_and_is_answered_later_too(void **state)
{
    struct answer answer;
    ask(&answer, *state, "192.0.2.7");
    assert_int_equal(resolve_thread_count(), 0);
    await(&answer);
    assert_int_equal(answer.count, 1);
    assert_addr(&answer.addrs[0], "192.0.2.7:6379");
}

static void more_addresses_than_we_hold_are_left_out(void **state)
{
    struct answer answer;
    ask(&answer, *state, "many.test");
    await(&answer);
    assert_int_equal(answer.count, RESOLVE_MAX_ADDRS);
}

static void a_failure_tells_its_kind(void **state)
{
    static const struct {
        const char *host;
        int err;
    } cases[] = {{"unknown.test", ERR_NOT_FOUND},
                 {"later.test", ERR_UNAVAILABLE},
                 {"none.test", ERR_NOT_FOUND},
                 {"", ERR_NOT_FOUND}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct answer answer;
        ask(&answer, *state, cases[i].host);
        await(&answer);
        assert_int_equal(answer.err, cases[i].err);
        assert_true(answer.detail[0] != '\0');
    }
}

static void a_canceled_look_up_may_outlive_its_loop(void **state)
{
    struct loop *loop;
    struct answer answer;
    assert_int_equal(loop_create(&loop), 0);
    names_hold(true);
    ask(&answer, loop, "two.test");
    resolve_cancel(answer.resolve);
    loop_destroy(loop);
    assert_int_equal(resolve_thread_count(), 1);
    names_hold(false);
    assert_true(names_all_quiet());
    assert_int_equal(answer.calls, 0);
}

static void a_look_up_canceled_with_its_answer_waiting_stays_silent(void **state)
{
    struct answer answer;
    ask(&answer, *state, "two.test");
    assert_true(names_all_quiet());
    resolve_cancel(answer.resolve);
    loop_turn(*state, 0);
    assert_int_equal(answer.calls, 0);
}

static void a_resolver_that_hangs_does_not_pile_up_threads(void **state)
{
    struct answer answers[RESOLVE_MAX_THREADS];
    struct resolve *refused;
    names_hold(true);
    for (int i = 0; i < RESOLVE_MAX_THREADS; i++) {
        ask(&answers[i], *state, "two.test");
    }
    assert_int_equal(resolve_start(&refused, *state, "two.test", 1, on_done, NULL),
                     ERR_UNAVAILABLE);
    names_hold(false);
    for (int i = 0; i < RESOLVE_MAX_THREADS; i++) {
        await(&answers[i]);
    }
}

static void without_memory_nothing_starts(void **state)
{
    struct resolve *resolve;
    for (unsigned long n = 1;; n++) {
        mem_fail_nth(n);
        int err = resolve_start(&resolve, *state, "two.test", 1, on_done, NULL);
        if (mem_fail_pending()) {
            mem_fail_nth(0);
            assert_int_equal(err, 0);
            resolve_cancel(resolve);
            return;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
        assert_int_equal(resolve_thread_count(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_name_gives_its_addresses_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_needs_no_thread_and_is_answered_later_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(more_addresses_than_we_hold_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_tells_its_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(a_canceled_look_up_may_outlive_its_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(a_look_up_canceled_with_its_answer_waiting_stays_silent,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_resolver_that_hangs_does_not_pile_up_threads, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_memory_nothing_starts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
