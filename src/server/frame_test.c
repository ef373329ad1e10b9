#include "server/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "core/receipt.h"

static void a_frame_is_ready_for_the_wire(void **state)
{
    struct frame *frame = frame_create(WS_TEXT, false, STR("hi"));
    assert_int_equal(frame->len, 4);
    assert_memory_equal(frame->bytes, "\x81\x02hi", 4);
    frame_unref(frame);
    frame = frame_create(WS_BINARY, true, STR(""));
    assert_int_equal(frame->len, 2);
    assert_memory_equal(frame->bytes, "\xc2\x00", 2);
    frame_unref(frame);
}

static void the_last_reference_frees_it_and_its_receipt(void **state)
{
    int64_t before = mem_accounted(MEM_QUEUES);
    struct receipt *receipt = receipt_create(1, NULL, NULL);
    struct frame *frame = frame_of_bytes("abc", 3);
    frame->receipt = receipt_ref(receipt);
    assert_ptr_equal(frame_ref(frame), frame);
    frame_unref(frame);
    assert_memory_equal(frame->bytes, "abc", 3);
    assert_true(mem_accounted(MEM_QUEUES) > before);
    frame_unref(frame);
    assert_int_equal(mem_accounted(MEM_QUEUES), before);
    assert_int_equal(atomic_load(&receipt->refs), 1);
    receipt_unref(receipt);
    frame_unref(NULL);
}

static void without_memory_there_is_none(void **state)
{
    mem_fail_nth(1);
    assert_null(frame_create(WS_TEXT, false, STR("hi")));
    mem_fail_nth(1);
    assert_null(frame_of_bytes("hi", 2));
    mem_fail_nth(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_ready_for_the_wire),
        cmocka_unit_test(the_last_reference_frees_it_and_its_receipt),
        cmocka_unit_test(without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
