#include "core/id_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void bytes_come_back_as_they_went(void **state)
{
    uint8_t raw[48];
    uint8_t back[48];
    char text[64];
    for (int i = 0; i < 48; i++) {
        raw[i] = (uint8_t)(i * 77);
    }
    id_text_encode(text, raw, sizeof(raw));
    assert_true(id_text_decode(back, sizeof(back), text));
    assert_memory_equal(back, raw, sizeof(raw));
    id_text_encode(text, (const uint8_t *)"\xfb\xef\xff", 3);
    assert_memory_equal(text, "--__", 4); /* the alphabet of URLs */
}

static void a_letter_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {"AAA+", "AA/A", "A=AA", " AAA", "AAA\xff"};
    uint8_t raw[3];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(id_text_decode(raw, sizeof(raw), bad[i]));
    }
    assert_false(id_text_decode(raw, sizeof(raw), "AA\0A"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_back_as_they_went),
        cmocka_unit_test(a_letter_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
