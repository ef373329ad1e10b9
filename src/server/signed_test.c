#include "server/signed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static const uint8_t key[SIGNED_KEY_LEN] = {1, 2, 3};

static int read_back(struct str text, const uint8_t *with, struct str *out_claims)
{
    static char memory[64];
    return signed_read(memory, sizeof(memory), out_claims, with, text);
}

static void claims_come_back_as_they_were(void **state)
{
    struct buf text = {0};
    struct str claims;
    buf_append_str(&text, STR("x"));
    assert_int_equal(signed_write(&text, key, STR("{\"a\":1}")), 0);
    assert_int_equal(read_back(str_make(text.data + 1, text.len - 1), key, &claims), 0);
    assert_true(str_equal(claims, STR("{\"a\":1}")));
    buf_fini(&text);
}

static void another_key_does_not_read_them(void **state)
{
    static const uint8_t other[SIGNED_KEY_LEN] = {1, 2, 4};
    struct buf text = {0};
    struct str claims;
    signed_write(&text, key, STR("{}"));
    assert_int_equal(read_back(buf_str(&text), other, &claims), ERR_DENIED);
    buf_fini(&text);
}

static void no_letter_may_differ_or_be_missing(void **state)
{
    struct buf text = {0};
    struct str claims;
    signed_write(&text, key, STR("{\"a\":1}"));
    for (size_t i = 0; i < text.len; i++) {
        uint8_t letter = text.data[i];
        text.data[i] = letter == 'A' ? 'B' : 'A';
        assert_int_not_equal(read_back(buf_str(&text), key, &claims), 0);
        text.data[i] = letter;
        assert_int_not_equal(read_back(str_make(text.data, i), key, &claims), 0);
    }
    buf_append_char(&text, '.');
    assert_int_equal(read_back(buf_str(&text), key, &claims), ERR_SYNTAX);
    buf_fini(&text);
}

static void claims_that_do_not_fit_are_refused(void **state)
{
    static char large[200];
    struct buf text = {0};
    struct str claims;
    signed_write(&text, key, str_make(large, sizeof(large)));
    assert_int_equal(read_back(buf_str(&text), key, &claims), ERR_SYNTAX);
    buf_fini(&text);
}

static void want_of_memory_is_said(void **state)
{
    for (unsigned long n = 1; n < 10; n++) {
        struct buf text = {0};
        mem_fail_nth(n);
        int err = signed_write(&text, key, STR("{}"));
        bool failed = !mem_fail_pending();
        mem_fail_nth(0);
        buf_fini(&text);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : 0);
        if (!failed) {
            return;
        }
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_come_back_as_they_were),
        cmocka_unit_test(another_key_does_not_read_them),
        cmocka_unit_test(no_letter_may_differ_or_be_missing),
        cmocka_unit_test(claims_that_do_not_fit_are_refused),
        cmocka_unit_test(want_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
