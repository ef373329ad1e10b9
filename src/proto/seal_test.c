#include "proto/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"

static const uint8_t key[SEAL_KEY_LEN] = {1, 2, 3};
static const uint8_t other_key[SEAL_KEY_LEN] = {1, 2, 4};

static struct buf sealed;
static struct buf text;

static int stop(void **state)
{
    buf_fini(&sealed);
    buf_fini(&text);
    return 0;
}

static void what_is_sealed_is_opened_and_cannot_be_read_before(void **state)
{
    buf_append_str(&sealed, STR("head:"));
    assert_int_equal(seal_write(&sealed, key, STR("s_1"), STR("a secret token")), 0);
    assert_int_equal(sealed.len, 5 + 14 + SEAL_EXTRA);
    assert_null(memmem(sealed.data, sealed.len, "secret", 6));
    struct str body = str_make(sealed.data + 5, sealed.len - 5);
    assert_int_equal(seal_read(&text, key, STR("s_1"), body), 0);
    assert_true(str_equal(buf_str(&text), STR("a secret token")));
}

static void an_empty_text_has_a_seal_too(void **state)
{
    assert_int_equal(seal_write(&sealed, key, STR(""), STR("")), 0);
    assert_int_equal(seal_read(&text, key, STR(""), buf_str(&sealed)), 0);
    assert_int_equal(text.len, 0);
    assert_int_equal(seal_read(&text, key, STR("x"), buf_str(&sealed)), ERR_DENIED);
}

static void the_same_text_is_never_sealed_the_same_way(void **state)
{
    struct buf again = {0};
    assert_int_equal(seal_write(&sealed, key, STR(""), STR("same")), 0);
    assert_int_equal(seal_write(&again, key, STR(""), STR("same")), 0);
    assert_false(str_equal(buf_str(&sealed), buf_str(&again)));
    buf_fini(&again);
}

static void any_other_byte_is_denied(void **state)
{
    assert_int_equal(seal_write(&sealed, key, STR("s_1"), STR("text")), 0);
    struct str whole = buf_str(&sealed);
    assert_int_equal(seal_read(&text, other_key, STR("s_1"), whole), ERR_DENIED);
    assert_int_equal(seal_read(&text, key, STR("s_2"), whole), ERR_DENIED);
    for (size_t i = 0; i < sealed.len; i++) {
        sealed.data[i] ^= 1;
        assert_int_equal(seal_read(&text, key, STR("s_1"), whole), ERR_DENIED);
        sealed.data[i] ^= 1;
        assert_int_equal(seal_read(&text, key, STR("s_1"), str_make(whole.ptr, i)), ERR_DENIED);
    }
    assert_int_equal(text.len, 0);
    assert_int_equal(seal_read(&text, key, STR("s_1"), whole), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_is_sealed_is_opened_and_cannot_be_read_before, stop),
        cmocka_unit_test_teardown(an_empty_text_has_a_seal_too, stop),
        cmocka_unit_test_teardown(the_same_text_is_never_sealed_the_same_way, stop),
        cmocka_unit_test_teardown(any_other_byte_is_denied, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
