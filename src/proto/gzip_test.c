#include "proto/gzip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>

#include "base/err.h"

/* By another library. */
static void assert_inflates_to(const struct buf *packed, struct str expected)
{
    static char text[128 * 1024];
    z_stream stream = {.next_in = packed->data,
                       .avail_in = (unsigned)packed->len,
                       .next_out = (Bytef *)text,
                       .avail_out = sizeof(text)};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, expected.len);
    assert_memory_equal(text, expected.ptr, expected.len);
    inflateEnd(&stream);
}

static void what_is_packed_comes_out_the_same(void **state)
{
    static char text[100 * 1024];
    memset(text, 'x', sizeof(text));
    const size_t lens[] = {0, 1, 1000, sizeof(text)};
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct buf out = {0};
        assert_int_equal(gzip_append(&out, str_make(text, lens[i])), 0);
        assert_inflates_to(&out, str_make(text, lens[i]));
        assert_true(out.len < 100 + lens[i] / 10);
        buf_fini(&out);
    }
}

static void what_is_over_the_limit_is_not_packed(void **state)
{
    struct buf out;
    buf_init(&out, 8);
    assert_int_equal(gzip_append(&out, STR("hello")), ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_out_the_same),
        cmocka_unit_test(what_is_over_the_limit_is_not_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
