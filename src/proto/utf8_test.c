#include "proto/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static size_t encode(uint32_t point, uint8_t out[4])
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    out[0] = (uint8_t)((0xf00 >> len) | point);
    return len;
}

/* By the definition instead of the table: decode, encode again, compare. The length of the code
 * point at the start of data, 0 when it is none. */
static size_t expected_point(const uint8_t *data, size_t len)
{
    size_t size = data[0] < 0x80 ? 1 : data[0] < 0xe0 ? 2 : data[0] < 0xf0 ? 3 : 4;
    uint32_t point = size == 1 ? data[0] : data[0] & (0x7fu >> size);
    if (len < size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        point = point << 6 | (data[i] & 0x3f);
    }
    uint8_t again[4];
    bool in_range = point < 0xd800 || (point > 0xdfff && point <= 0x10ffff);
    return in_range && encode(point, again) == size && memcmp(again, data, size) == 0 ? size : 0;
}

static bool expected_valid(const uint8_t *data, size_t len)
{
    while (len > 0) {
        size_t size = expected_point(data, len);
        if (size == 0) {
            return false;
        }
        data += size;
        len -= size;
    }
    return true;
}

static bool valid_in_two_pieces(const uint8_t *data, size_t len, size_t cut)
{
    struct utf8 utf8 = {0};
    return utf8_feed(&utf8, data, cut) && utf8_feed(&utf8, data + cut, len - cut) &&
           utf8_is_complete(&utf8);
}

static void every_code_point_is_valid_but_the_surrogates(void **state)
{
    for (uint32_t point = 0; point <= 0x10ffff + 0x1000; point++) {
        uint8_t data[4];
        size_t len = encode(point, data);
        bool good = point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
        if (utf8_is_valid(str_make(data, len)) != good) {
            fail_msg("U+%04X", point);
        }
    }
}

/* All sequences of up to four bytes out of the edges of every class of byte. */
static void sequences_of_class_edges_are_judged_as_by_the_definition(void **state)
{
    const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1,
                             0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1,
                             0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xfc, 0xfe, 0xff};
    const size_t n = sizeof(edges);
    for (size_t i = 0; i < n * n * n * n; i++) {
        uint8_t data[4] = {edges[i % n], edges[i / n % n], edges[i / n / n % n],
                           edges[i / n / n / n]};
        for (size_t len = 1; len <= 4; len++) {
            if (utf8_is_valid(str_make(data, len)) != expected_valid(data, len)) {
                fail_msg("%02x %02x %02x %02x, %zu", data[0], data[1], data[2], data[3], len);
            }
        }
    }
}

static void a_text_cut_anywhere_is_judged_as_the_whole(void **state)
{
    const char *texts[] = {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5 plain ascii for a while",
                           "sixteen bytes !!\xf0\x9f\x98\x80 and then some more of the ascii",
                           "\xce\xba\xe1\xbd\xb9\xed\xa0\x80"
                           "edited",
                           "\xf4\x90\x80\x80", "\xc0\xaf and a long tail of ascii follows it"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const uint8_t *data = (const uint8_t *)texts[i];
        size_t len = strlen(texts[i]);
        for (size_t cut = 0; cut <= len; cut++) {
            assert_int_equal(valid_in_two_pieces(data, len, cut), expected_valid(data, len));
            assert_int_equal(utf8_is_valid(str_make(data, cut)), expected_valid(data, cut));
        }
    }
}

/* Autobahn 6.4: nothing may be waited for once a byte cannot be right. */
static void the_first_bad_byte_fails_the_piece_it_is_in(void **state)
{
    const char *bad[] = {"\xc0", "\xe0\x9f", "\xed\xa0",     "\xf0\x8f",      "\xf4\x90",
                         "\xf5", "\x80",     "\xe2\x82\x28", "\xf0\x9f\x98z", "\xc3\xc3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct utf8 utf8 = {0};
        size_t len = strlen(bad[i]);
        assert_true(utf8_feed(&utf8, bad[i], len - 1));
        assert_false(utf8_feed(&utf8, bad[i] + len - 1, 1));
        assert_false(utf8_feed(&utf8, "and never again good", 20));
        assert_false(utf8_is_complete(&utf8));
    }
}

static void a_bad_byte_is_found_at_any_place_in_a_block(void **state)
{
    char text[67];
    for (size_t at = 0; at < sizeof(text); at++) {
        memset(text, 'a', sizeof(text));
        assert_true(utf8_is_valid(str_make(text, sizeof(text))));
        text[at] = (char)0xff;
        assert_false(utf8_is_valid(str_make(text, sizeof(text))));
        text[at] = (char)0xc3; /* the start of two, followed by an a or by nothing */
        assert_false(utf8_is_valid(str_make(text, sizeof(text))));
    }
}

static void an_empty_text_is_valid(void **state)
{
    struct utf8 utf8 = {0};
    assert_true(utf8_feed(&utf8, NULL, 0));
    assert_true(utf8_is_complete(&utf8));
    assert_true(utf8_is_valid(STR("")));
}

static void truncation_cuts_no_code_point(void **state)
{
    struct str text = STR("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
    for (size_t max = 0; max < sizeof(expected) / sizeof(expected[0]); max++) {
        assert_int_equal(utf8_truncate(text, max).len, expected[max]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_valid_but_the_surrogates),
        cmocka_unit_test(sequences_of_class_edges_are_judged_as_by_the_definition),
        cmocka_unit_test(a_text_cut_anywhere_is_judged_as_the_whole),
        cmocka_unit_test(the_first_bad_byte_fails_the_piece_it_is_in),
        cmocka_unit_test(a_bad_byte_is_found_at_any_place_in_a_block),
        cmocka_unit_test(an_empty_text_is_valid),
        cmocka_unit_test(truncation_cuts_no_code_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
