#include "core/publish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/receipt.h"

static void ignore(struct receipt *receipt)
{
}

static void a_new_push_is_zero_but_for_its_parts(void **state)
{
    struct publish *publish = publish_create(3);
    assert_int_equal(publish->part_count, 3);
    assert_int_equal(publish->verdict, PUBLISH_ACCEPTED);
    assert_null(publish->receipt);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(publish->parts[i].publish, publish);
        assert_int_equal(publish->parts[i].event.len, 0);
        assert_false(publish->parts[i].finished);
    }
    publish_destroy(publish);
}

static void a_push_owns_its_events_and_a_reference_to_its_receipt(void **state)
{
    struct receipt *receipt = receipt_create(1, ignore, NULL);
    struct publish *publish = publish_create(1);
    publish->receipt = receipt_ref(receipt);
    assert_int_equal(buf_append_str(&publish->parts[0].event, STR("an event")), 0);
    publish_destroy(publish);
    assert_int_equal(receipt->refs, 1);
    receipt_unref(receipt);
}

static void without_memory_there_is_none(void **state)
{
    mem_fail_nth(1);
    assert_null(publish_create(1));
    publish_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_push_is_zero_but_for_its_parts),
        cmocka_unit_test(a_push_owns_its_events_and_a_reference_to_its_receipt),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
