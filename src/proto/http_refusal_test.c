#include "proto/http_refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"

static void every_refusal_has_a_status_a_name_and_a_sentence(void **state)
{
    assert_int_equal(http_refusal_status(HTTP_REFUSED_NOT), 0);
    assert_int_equal(http_refusal_err(HTTP_REFUSED_NOT), 0);
    for (unsigned i = 1; i < HTTP_REFUSALS; i++) {
        assert_in_range(http_refusal_status(i), 400, 505);
        assert_true(http_refusal_err(i) < 0);
        assert_true(strlen(http_refusal_slug(i)) > 1);
        assert_true(strlen(http_refusal_detail(i)) > 10);
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(http_refusal_slug(i), http_refusal_slug(j));
        }
    }
    assert_int_equal(http_refusal_status(HTTP_REFUSED_URI_TOO_LONG), 414);
    assert_int_equal(http_refusal_status(HTTP_REFUSED_TOO_MANY_HEADERS), 431);
    assert_int_equal(http_refusal_status(HTTP_REFUSED_TRANSFER_ENCODING), 501);
    assert_int_equal(http_refusal_err(HTTP_REFUSED_TRANSFER_ENCODING), ERR_UNSUPPORTED);
    assert_int_equal(http_refusal_err(HTTP_REFUSED_BODY_TOO_LARGE), ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_a_status_a_name_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
