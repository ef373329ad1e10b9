#include "api/webhook_sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

/* The specification's own example. */
static const struct webhook_signed example = {STR("msg_p5jXN8AQM9LWM0D4loKWxJek"), 1614265330,
                                              STR("{\"test\": 2432232314}")};
static const struct settings_secret secrets[] = {
    {.material = STR("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")},
    {.material = STR("0123456789abcdef0123456789abcdef")},
};

static void the_example_of_standard_webhooks_comes_out(void **state)
{
    struct buf out = {0};
    assert_int_equal(webhook_sign(&out, &example, secrets, 1), 0);
    assert_string_equal(buf_cstr(&out), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    buf_fini(&out);
}

static void each_secret_signs_for_a_rotation(void **state)
{
    struct buf out = {0};
    assert_int_equal(webhook_sign(&out, &example, secrets, 2), 0);
    assert_string_equal(buf_cstr(&out), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= "
                                        "v1,hK4CWvngkaAwjY1pABLuUbOIkEJjW9tAapq1no4ojG0=");
    buf_fini(&out);
}

static void a_secret_that_claims_to_be_base64_must_be(void **state)
{
    assert_true(webhook_secret_is_sound(secrets[0].material));
    assert_true(webhook_secret_is_sound(secrets[1].material));
    assert_false(webhook_secret_is_sound(STR("whsec_!KQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")));
    assert_false(webhook_secret_is_sound(STR("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS")));
    assert_false(webhook_secret_is_sound(STR("whsec_")));
    assert_false(webhook_secret_is_sound(STR("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLQ==")));
}

static void without_memory_nothing_is_signed(void **state)
{
    for (unsigned long nth = 1; nth <= 3; nth++) {
        struct buf out = {0};
        mem_fail_nth(nth);
        assert_int_equal(webhook_sign(&out, &example, secrets, 1), ERR_NO_MEMORY);
        mem_fail_nth(0);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_standard_webhooks_comes_out),
        cmocka_unit_test(each_secret_signs_for_a_rotation),
        cmocka_unit_test(a_secret_that_claims_to_be_base64_must_be),
        cmocka_unit_test(without_memory_nothing_is_signed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
