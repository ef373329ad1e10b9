#include "proto/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int decode(uint8_t *out, size_t cap, size_t *out_len, const char *text,
                  enum base64_alphabet alphabet)
{
    return base64_decode(out, cap, out_len, str_of(text), alphabet);
}

static void the_vectors_of_rfc_4648_section_10_hold(void **state)
{
    const char *vectors[][3] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xfb\xff\xfe", "+//+", "-__-"},
    };
    for (size_t i = 0; i < COUNT(vectors); i++) {
        for (enum base64_alphabet alphabet = BASE64_STANDARD; alphabet <= BASE64_URL; alphabet++) {
            char text[16] = "";
            uint8_t back[16];
            size_t len = strlen(vectors[i][0]);
            size_t written = base64_encode(text, vectors[i][0], len, alphabet);
            assert_int_equal(written, base64_encoded_len(len, alphabet));
            assert_string_equal(text, vectors[i][1 + alphabet]);
            assert_int_equal(decode(back, len, &written, text, alphabet), 0);
            assert_int_equal(written, len);
            assert_memory_equal(back, vectors[i][0], len);
        }
    }
}

static void every_length_and_byte_comes_back(void **state)
{
    uint8_t data[256];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 167 + 13);
    }
    for (size_t len = 0; len <= sizeof(data); len++) {
        char text[400];
        uint8_t back[256];
        size_t got;
        size_t chars = base64_encode(text, data, len, BASE64_URL);
        assert_true(base64_decoded_max(chars) >= len);
        assert_int_equal(base64_decode(back, len, &got, str_make(text, chars), BASE64_URL), 0);
        assert_int_equal(got, len);
        assert_memory_equal(back, data, len);
    }
}

static void only_the_canonical_text_is_decoded(void **state)
{
    const char *standard[] = {"Z",     "Zg",    "Zg=",  "Zg===",    "Zh==",   "Zm9=",     "Zm8",
                              "=",     "==",    "====", "Z===",     "Zm=8",   "Zg==Zg==", "Zm9v\n",
                              " Zm9v", "Zm 9v", "-__-", "Zm9v====", "Z\xc3=", "Zm9v=",    "+/+_"};
    const char *url[] = {"Z",    "Zg==",  "Zm8=",   "Zh",   "Zm9",
                         "+//+", "Zm9vY", "Zm9v\n", "Zm.v", "Zm9v "};
    uint8_t out[16];
    size_t len = 99;
    for (size_t i = 0; i < COUNT(standard); i++) {
        assert_int_equal(decode(out, sizeof(out), &len, standard[i], BASE64_STANDARD), ERR_SYNTAX);
    }
    for (size_t i = 0; i < COUNT(url); i++) {
        assert_int_equal(decode(out, sizeof(out), &len, url[i], BASE64_URL), ERR_SYNTAX);
    }
    assert_int_equal(base64_decode(out, sizeof(out), &len, STR("Zm9\0"), BASE64_URL), ERR_SYNTAX);
    assert_int_equal(len, 99);
}

static void what_does_not_fit_is_refused_before_it_is_written(void **state)
{
    uint8_t out[3] = {1, 2, 3};
    size_t len;
    assert_int_equal(decode(out, 2, &len, "Zm9v", BASE64_URL), ERR_TOO_LARGE);
    assert_int_equal(decode(out, 0, &len, "Zg", BASE64_URL), ERR_TOO_LARGE);
    assert_int_equal(out[0], 1);
    assert_int_equal(decode(out, 3, &len, "Zm9v", BASE64_URL), 0);
    assert_int_equal(decode(NULL, 0, &len, "", BASE64_STANDARD), 0);
    assert_int_equal(len, 0);
}

static void a_text_can_be_decoded_in_place(void **state)
{
    char text[] = "dGhlIHNhbWUgbWVtb3J5";
    size_t len;
    assert_int_equal(base64_decode((uint8_t *)text, strlen(text), &len, str_of(text), BASE64_URL),
                     0);
    assert_int_equal(len, 15);
    assert_memory_equal(text, "the same memory", len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_rfc_4648_section_10_hold),
        cmocka_unit_test(every_length_and_byte_comes_back),
        cmocka_unit_test(only_the_canonical_text_is_decoded),
        cmocka_unit_test(what_does_not_fit_is_refused_before_it_is_written),
        cmocka_unit_test(a_text_can_be_decoded_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
