#include "server/ticket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"

static const uint8_t key[SIGNED_KEY_LEN] = {1, 2, 3};
static const struct ticket made = {.app = STR("demo"),
                                   .id = STR("t_x"),
                                   .scene = STR("real-name"),
                                   .user = STR("4\"2"),
                                   .expires_ms = 2000,
                                   .issued_ms = 1500};

static void what_is_written_is_read_again(void **state)
{
    struct buf text = {0};
    struct ticket ticket;
    char memory[TICKET_MEMORY];
    assert_int_equal(ticket_write(&text, key, &made), 0);
    assert_int_equal(ticket_read(&ticket, memory, key, buf_str(&text), 1999), 0);
    assert_true(str_equal(ticket.app, made.app));
    assert_true(str_equal(ticket.id, made.id));
    assert_true(str_equal(ticket.scene, made.scene));
    assert_true(str_equal(ticket.user, made.user));
    assert_int_equal(ticket.expires_ms, 2000);
    assert_int_equal(ticket.issued_ms, 1500);
    assert_int_equal(ticket_read(&ticket, memory, key, buf_str(&text), 2000), ERR_EXPIRED);
    buf_fini(&text);
}

static void a_forged_one_is_denied_before_its_time_is_looked_at(void **state)
{
    static const uint8_t other[SIGNED_KEY_LEN] = {9};
    struct buf text = {0};
    struct ticket ticket;
    char memory[TICKET_MEMORY];
    ticket_write(&text, other, &made);
    assert_int_equal(ticket_read(&ticket, memory, key, buf_str(&text), 5000), ERR_DENIED);
    buf_fini(&text);
}

static void a_grant_is_no_ticket(void **state)
{
    struct buf text = {0};
    struct ticket ticket;
    char memory[TICKET_MEMORY];
    signed_write(&text, key, STR("{\"a\":\"demo\",\"u\":\"42\",\"g\":\"x\",\"i\":1,\"e\":2000}"));
    assert_int_equal(ticket_read(&ticket, memory, key, buf_str(&text), 0), ERR_SYNTAX);
    buf_fini(&text);
}

/* As nodes made it that did not say when: whatever was revoked later is revoked. */
static void one_that_does_not_say_when_it_was_made_is_of_before_all(void **state)
{
    struct buf text = {0};
    struct ticket ticket;
    char memory[TICKET_MEMORY];
    signed_write(&text, key,
                 STR("{\"a\":\"demo\",\"t\":\"t_x\",\"s\":\"\",\"u\":\"42\",\"e\":2000}"));
    assert_int_equal(ticket_read(&ticket, memory, key, buf_str(&text), 0), 0);
    assert_int_equal(ticket.issued_ms, 1);
    buf_fini(&text);
}

static void one_that_is_too_long_for_a_url_is_not_made(void **state)
{
    static char user[3000];
    struct ticket large = made;
    struct buf text = {0};
    memset(user, 'u', sizeof(user));
    large.user = str_make(user, sizeof(user));
    assert_int_equal(ticket_write(&text, key, &large), ERR_TOO_LARGE);
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(one_that_does_not_say_when_it_was_made_is_of_before_all),
        cmocka_unit_test(a_forged_one_is_denied_before_its_time_is_looked_at),
        cmocka_unit_test(a_grant_is_no_ticket),
        cmocka_unit_test(one_that_is_too_long_for_a_url_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
