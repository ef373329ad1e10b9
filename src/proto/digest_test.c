#include "proto/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void sha256_of_known_texts(void **state)
{
    char hex[DIGEST_SHA256_HEX_LEN];
    assert_int_equal(digest_sha256_hex(hex, "abc", 3), 0);
    assert_memory_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                        64);
    assert_int_equal(digest_sha256_hex(hex, NULL, 0), 0);
    assert_memory_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                        64);
}

static void hmac_of_rfc_4231_case_2(void **state)
{
    uint8_t mac[DIGEST_SHA256_LEN];
    char hex[DIGEST_SHA256_HEX_LEN];
    struct str text = STR("what do ya want for nothing?");
    assert_int_equal(digest_hmac_sha256(mac, STR("Jefe"), text.ptr, text.len), 0);
    hex_encode(hex, mac, sizeof(mac));
    assert_memory_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                        64);
}

static void an_empty_hmac_key_is_not_the_key_of_last_time(void **state)
{
    uint8_t first[DIGEST_SHA256_LEN];
    uint8_t second[DIGEST_SHA256_LEN];
    assert_int_equal(digest_hmac_sha256(first, STR("secret"), "a", 1), 0);
    assert_int_equal(digest_hmac_sha256(first, str_make(NULL, 0), "a", 1), 0);
    assert_int_equal(digest_hmac_sha256(second, STR(""), "a", 1), 0);
    assert_memory_equal(first, second, sizeof(first));
}

static void hex_is_read_in_either_case_and_at_the_right_length_only(void **state)
{
    uint8_t out[2] = {0, 0};
    assert_true(hex_decode(out, 2, STR("0aFf")));
    assert_int_equal(out[0], 0x0a);
    assert_int_equal(out[1], 0xff);
    const char *bad[] = {"", "0aF", "0aFf0", "0aFf00", "0g00", "0x0a", " aff", "0a\xc3\xa9"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(hex_decode(out, 2, str_of(bad[i])));
    }
}

static void a_difference_is_found_at_every_place(void **state)
{
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    assert_true(crypto_equal(a, b, sizeof(a)));
    assert_true(crypto_equal(a, b, 0));
    for (size_t i = 0; i < sizeof(a); i++) {
        b[i] = 0x80;
        assert_false(crypto_equal(a, b, sizeof(a)));
        b[i] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_of_known_texts),
        cmocka_unit_test(hmac_of_rfc_4231_case_2),
        cmocka_unit_test(an_empty_hmac_key_is_not_the_key_of_last_time),
        cmocka_unit_test(hex_is_read_in_either_case_and_at_the_right_length_only),
        cmocka_unit_test(a_difference_is_found_at_every_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
