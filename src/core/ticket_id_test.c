#include "core/ticket_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct siphash_key key = {1, 2};
static const uint64_t EXPIRES_MS = 1800000123456;

static void make(char id[TICKET_ID_LEN + 1])
{
    ticket_id_format(id, &key, 7, EXPIRES_MS, (const uint8_t *)"0123456");
}

static void an_id_says_when_it_expires(void **state)
{
    char id[TICKET_ID_LEN + 1];
    make(id);
    assert_true(ticket_id_check(&key, 7, str_of(id)));
    assert_int_equal(ticket_id_expires_ms(str_of(id)), EXPIRES_MS);
}

static void an_id_of_another_key_or_app_is_none(void **state)
{
    static const struct siphash_key other = {1, 3};
    char id[TICKET_ID_LEN + 1];
    make(id);
    assert_false(ticket_id_check(&other, 7, str_of(id)));
    assert_false(ticket_id_check(&key, 8, str_of(id)));
}

static void an_id_that_is_changed_anywhere_is_none(void **state)
{
    for (size_t i = 0; i < TICKET_ID_LEN; i++) {
        char id[TICKET_ID_LEN + 1];
        make(id);
        id[i] = id[i] == 'A' ? 'B' : 'A';
        assert_false(ticket_id_check(&key, 7, str_of(id)));
    }
}

static void what_has_not_its_form_is_none(void **state)
{
    static const char *const bad[] = {"",
                                      "t_",
                                      "s_AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "t_AAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "t_AAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "t_AAAAAAAAAAAAAAAAAAAAAAAAAAA+"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(ticket_id_check(&key, 7, str_of(bad[i])));
        assert_int_equal(ticket_id_expires_ms(str_of(bad[i])), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_says_when_it_expires),
        cmocka_unit_test(an_id_of_another_key_or_app_is_none),
        cmocka_unit_test(an_id_that_is_changed_anywhere_is_none),
        cmocka_unit_test(what_has_not_its_form_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
