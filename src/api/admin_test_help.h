/* For tests: the whole gateway of gateway_test_help.h with an admin listener on the main loop. */
#ifndef TIDEGATE_API_ADMIN_TEST_HELP_H
#define TIDEGATE_API_ADMIN_TEST_HELP_H

#include "api/admin.h"
#include "api/gateway_test_help.h"

/* The gateway of the fixture, its questions going to an admin listener on the main loop. */
struct admin_test {
    struct gateway_test base;
    struct admin *admin;
};

static inline int admin_test_setup_tuned(void **state, gateway_test_tune tune)
{
    struct admin_test *test = malloc(sizeof(*test));
    struct addr addr;
    assert_non_null(test);
    gateway_test_begin(&test->base, tune);
    assert_int_equal(addr_parse(&addr, STR("127.0.0.1:0")), 0);
    assert_int_equal(admin_create(&test->admin, test->base.loop, &addr, test->base.gateway,
                                  test->base.settings, NULL),
                     0);
    admin_addr(test->admin, &addr);
    test->base.port = addr.port;
    *state = test;
    return 0;
}

static inline int admin_test_setup(void **state)
{
    return admin_test_setup_tuned(state, NULL);
}

static inline int admin_test_teardown(void **state)
{
    struct admin_test *test = *state;
    admin_destroy(test->admin);
    gateway_test_end(&test->base);
    free(test);
    return 0;
}

#endif
