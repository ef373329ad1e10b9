#include "core/sid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct siphash_key key = {5, 6};
static const struct sid place = {0x12345678, 63, 0xfffffffe, 0x80000001};

static void an_id_tells_where_its_session_lives(void **state)
{
    const struct sid places[] = {place, {0, 0, 1, 1}, {UINT32_MAX, 255, UINT32_MAX, UINT32_MAX}};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char text[SID_LEN + 1];
        struct sid found = {0};
        sid_format(text, &key, &places[i]);
        assert_int_equal(strlen(text), SID_LEN);
        assert_memory_equal(text, "s_", 2);
        assert_true(sid_parse(&found, &key, str_of(text)));
        assert_int_equal(found.node, places[i].node);
        assert_int_equal(found.worker, places[i].worker);
        assert_int_equal(found.slot, places[i].slot);
        assert_int_equal(found.generation, places[i].generation);
    }
}

static void an_id_of_another_key_is_refused(void **state)
{
    const struct siphash_key other = {5, 7};
    char text[SID_LEN + 1];
    struct sid found;
    sid_format(text, &other, &place);
    assert_false(sid_parse(&found, &key, str_of(text)));
}

static void an_id_with_any_letter_changed_is_refused(void **state)
{
    char text[SID_LEN + 1];
    struct sid found;
    sid_format(text, &key, &place);
    for (int i = 0; i < SID_LEN; i++) {
        char right = text[i];
        for (int letter = 0; letter < 256; letter++) {
            text[i] = (char)letter;
            assert_true(sid_parse(&found, &key, str_make(text, SID_LEN)) ==
                        ((char)letter == right));
        }
        text[i] = right;
    }
}

static void an_id_of_another_length_is_refused(void **state)
{
    char text[SID_LEN + 2];
    struct sid found;
    sid_format(text, &key, &place);
    text[SID_LEN] = 'A';
    for (size_t len = 0; len <= SID_LEN + 1; len++) {
        assert_true(sid_parse(&found, &key, str_make(text, len)) == (len == SID_LEN));
    }
}

static void what_is_refused_leaves_the_output_alone(void **state)
{
    struct sid found = place;
    assert_false(sid_parse(&found, &key, STR("s_AAAAAAAAAAAAAAAAAAAAAAAAAAAA")));
    assert_int_equal(found.node, place.node);
    assert_int_equal(found.generation, place.generation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_tells_where_its_session_lives),
        cmocka_unit_test(an_id_of_another_key_is_refused),
        cmocka_unit_test(an_id_with_any_letter_changed_is_refused),
        cmocka_unit_test(an_id_of_another_length_is_refused),
        cmocka_unit_test(what_is_refused_leaves_the_output_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
