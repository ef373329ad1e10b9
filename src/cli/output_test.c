#include "cli/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void a_text_becomes_one_line(void **state)
{
    struct buf out = {0};
    output_append_line(&out, STR("{\"a\":\r\n 1}"));
    output_append_line(&out, STR(""));
    assert_true(str_equal(buf_str(&out), STR("{\"a\":   1}\n\n")));
    buf_fini(&out);
}

static void a_full_disk_and_lost_memory_are_reported(void **state)
{
    struct buf out = {0};
    assert_int_equal(output_flush(&out), 0);
    mem_fail_nth(1);
    output_append_line(&out, STR("x"));
    mem_fail_nth(0);
    assert_int_equal(output_flush(&out), ERR_NO_MEMORY);

    FILE *saved = stdout;
    stdout = fopen("/dev/full", "w");
    output_append_line(&out, STR("x"));
    int err = output_flush(&out);
    fclose(stdout);
    stdout = saved;
    assert_int_equal(err, -ENOSPC);
    assert_int_equal(out.len, 0);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_becomes_one_line),
        cmocka_unit_test(a_full_disk_and_lost_memory_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
