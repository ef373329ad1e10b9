/* For tests: a book of alerts that is fed by hand. */
#ifndef TIDEGATE_API_ALERT_TEST_HELP_H
#define TIDEGATE_API_ALERT_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "api/alert_book.h"
#include "server/families.h"

static struct {
    struct alert_book book;
    uint64_t now_ms;
    int fired, resolved; /* changes that were told */
} alert_test;

#define ALERT_TEST_WALL 1767225600000u /* what the wall clock says at now_ms 0 */

static inline void alert_test_on_change(void *owner, const struct alert *alert)
{
    alert_test.fired += alert->state == ALERT_FIRING;
    alert_test.resolved += alert->state == ALERT_RESOLVED;
}

static inline int alert_test_setup(void **state)
{
    memset(&alert_test, 0, sizeof(alert_test));
    alert_test.now_ms = 1000000;
    assert_int_equal(alert_book_init(&alert_test.book), 0);
    alert_test.book.on_change = alert_test_on_change;
    return 0;
}

static inline int alert_test_teardown(void **state)
{
    alert_book_fini(&alert_test.book);
    return 0;
}

/* A pass after_ms later in which this family has this one series. */
static inline void alert_test_pass(uint64_t after_ms, const struct metric_family *family,
                                   const char *labels, double value)
{
    struct metric_sample sample = {.family = family, .labels = labels, .value = value};
    alert_test.now_ms += after_ms;
    alert_book_begin(&alert_test.book);
    alert_book_sample(&alert_test.book, &sample);
    alert_book_end(&alert_test.book, alert_test.now_ms, ALERT_TEST_WALL + alert_test.now_ms);
}

static inline void alert_test_bus(uint64_t after_ms, double up)
{
    alert_test_pass(after_ms, FAMILY(bus_up), "bus=\"redis\"", up);
}

/* The first alert of the rule; NULL: none. */
static inline struct alert *alert_test_find(const char *rule)
{
    for (size_t i = 0; i < alert_test.book.rule_count; i++) {
        if (strcmp(alert_test.book.rules[i].rule.name, rule) == 0) {
            return alert_test.book.rules[i].alerts;
        }
    }
    return NULL;
}

#endif
