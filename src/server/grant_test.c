#include "server/grant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static const uint8_t key[GRANT_KEY_LEN] = {1, 2, 3};
static const struct grant granted = {.app = STR("demo"),
                                     .user = STR("4\"2"),
                                     .group = STR("room:1"),
                                     .issued_ms = 1000,
                                     .expires_ms = 2000};

static struct buf written(void)
{
    struct buf text = {0};
    assert_int_equal(grant_write(&text, key, &granted), 0);
    return text;
}

static void what_is_written_is_read_again(void **state)
{
    struct buf text = written();
    struct grant grant;
    char memory[GRANT_MEMORY];
    assert_int_equal(grant_read(&grant, memory, key, buf_str(&text), 1999), 0);
    assert_true(str_equal(grant.app, granted.app));
    assert_true(str_equal(grant.user, granted.user));
    assert_true(str_equal(grant.group, granted.group));
    assert_int_equal(grant.issued_ms, 1000);
    assert_int_equal(grant.expires_ms, 2000);
    buf_fini(&text);
}

static void it_ends_with_its_time(void **state)
{
    struct buf text = written();
    struct grant grant;
    char memory[GRANT_MEMORY];
    assert_int_equal(grant_read(&grant, memory, key, buf_str(&text), 2000), ERR_EXPIRED);
    buf_fini(&text);
}

static void another_nodes_key_does_not_make_it_good(void **state)
{
    struct buf text = written();
    struct grant grant;
    char memory[GRANT_MEMORY];
    uint8_t other[GRANT_KEY_LEN] = {1, 2, 4};
    assert_int_equal(grant_read(&grant, memory, other, buf_str(&text), 1500), ERR_DENIED);
    buf_fini(&text);
}

static void no_byte_of_it_can_be_changed_or_left_out(void **state)
{
    struct buf text = written();
    struct grant grant;
    char memory[GRANT_MEMORY];
    for (size_t i = 0; i < text.len; i++) {
        uint8_t kept = text.data[i];
        text.data[i] = kept == 'A' ? 'B' : 'A';
        assert_true(grant_read(&grant, memory, key, buf_str(&text), 1500) < 0);
        text.data[i] = kept;
        assert_true(grant_read(&grant, memory, key, str_make(text.data, i), 1500) < 0);
    }
    buf_append_char(&text, '.');
    assert_int_equal(grant_read(&grant, memory, key, buf_str(&text), 1500), ERR_SYNTAX);
    buf_fini(&text);
}

static void one_that_is_too_long_is_refused(void **state)
{
    struct grant grant;
    char memory[GRANT_MEMORY];
    char text[GRANT_MAX + 1];
    memset(text, 'A', sizeof(text));
    assert_int_equal(grant_read(&grant, memory, key, str_make(text, sizeof(text)), 1), ERR_SYNTAX);
    assert_int_equal(grant_read(&grant, memory, key, STR(""), 1), ERR_SYNTAX);
}

static void the_longest_names_have_room(void **state)
{
    char name[1024]; /* limits.name is never more */
    struct buf text = {0};
    struct grant grant;
    char memory[GRANT_MEMORY];
    memset(name, '"', sizeof(name)); /* two bytes each in JSON */
    struct grant longest = {.app = str_make(name, sizeof(name)),
                            .user = str_make(name, sizeof(name)),
                            .group = str_make(name, sizeof(name)),
                            .expires_ms = UINT64_MAX};
    assert_int_equal(grant_write(&text, key, &longest), 0);
    assert_true(text.len <= GRANT_MAX);
    assert_int_equal(grant_read(&grant, memory, key, buf_str(&text), 1), 0);
    assert_true(str_equal(grant.group, longest.group));
    buf_fini(&text);
}

static void memory_may_be_out(void **state)
{
    for (unsigned long n = 1;; n++) {
        struct buf text = {0};
        mem_fail_nth(n);
        int err = grant_write(&text, key, &granted);
        bool went_through = mem_fail_pending();
        mem_fail_nth(0);
        buf_fini(&text);
        assert_int_equal(err, went_through ? 0 : ERR_NO_MEMORY);
        if (went_through) {
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(it_ends_with_its_time),
        cmocka_unit_test(another_nodes_key_does_not_make_it_good),
        cmocka_unit_test(no_byte_of_it_can_be_changed_or_left_out),
        cmocka_unit_test(one_that_is_too_long_is_refused),
        cmocka_unit_test(the_longest_names_have_room),
        cmocka_unit_test(memory_may_be_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
