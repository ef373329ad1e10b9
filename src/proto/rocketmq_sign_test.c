#include "proto/rocketmq_sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void assert_signs(struct rocketmq_field *fields, size_t count, struct str secret,
                         struct str body, const char *expected)
{
    char signature[ROCKETMQ_SIGNATURE_LEN];
    rocketmq_sign(signature, secret, fields, count, body);
    assert_memory_equal(signature, expected, ROCKETMQ_SIGNATURE_LEN);
}

/* Accepted by a real broker. The order in which the fields are given does not matter. */
static void a_known_request(void **state)
{
    struct rocketmq_field fields[] = {
        {STR("topic"), STR("sec")}, {STR("queueId"), STR("0")}, {STR("AccessKey"), STR("gw")}};
    assert_signs(fields, 3, STR("secret12"), STR(""), "h6kRwXGDjdcnVrKKZmV+57Z37eY=");
    assert_true(str_equal(fields[0].name, STR("AccessKey")));
    assert_true(str_equal(fields[2].name, STR("topic")));
}

/* RFC 2202, cases 2 and 6: a short key, and one over a block. */
static void known_hmacs(void **state)
{
    assert_signs(NULL, 0, STR("Jefe"), STR("what do ya want for nothing?"),
                 "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    char key[80];
    memset(key, 0xaa, sizeof(key));
    assert_signs(NULL, 0, str_make(key, sizeof(key)),
                 STR("Test Using Larger Than Block-Size Key - Hash Key First"),
                 "qkrl4VJy0A6VcFY3zoo7Ve1AIRI=");
}

static void a_name_that_begins_another_comes_first(void **state)
{
    struct rocketmq_field fields[] = {{STR("ab"), STR("2")}, {STR("a"), STR("1")}};
    struct rocketmq_field sorted[] = {{STR("x"), STR("12")}};
    char one[ROCKETMQ_SIGNATURE_LEN], other[ROCKETMQ_SIGNATURE_LEN];
    rocketmq_sign(one, STR("k"), fields, 2, STR("b"));
    rocketmq_sign(other, STR("k"), sorted, 1, STR("b"));
    assert_memory_equal(one, other, sizeof(one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_request),
        cmocka_unit_test(known_hmacs),
        cmocka_unit_test(a_name_that_begins_another_comes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
