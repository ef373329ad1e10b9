#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void zeroed_memory_is_zero(void **state)
{
    const char zeroes[300] = {0};
    char *dirty = mem_alloc(300);
    assert_non_null(dirty);
    memset(dirty, 1, 300);
    mem_free(dirty);
    char *memory = mem_zalloc(300);
    assert_memory_equal(memory, zeroes, 300);
    mem_free(memory);
    mem_free(NULL);
}

static void realloc_keeps_the_contents_and_a_failed_one_the_block(void **state)
{
    char *memory = mem_realloc(NULL, 4);
    assert_non_null(memory);
    memcpy(memory, "abcd", 4);
    mem_fail_nth(1);
    assert_null(mem_realloc(memory, 100));
    assert_memory_equal(memory, "abcd", 4);
    memory = mem_realloc(memory, 100000);
    assert_non_null(memory);
    assert_memory_equal(memory, "abcd", 4);
    mem_free(memory);
}

static void strndup_copies_len_bytes_and_terminates(void **state)
{
    char *copy = mem_strndup("abcdef", 3);
    assert_string_equal(copy, "abc");
    mem_free(copy);
    copy = mem_strndup(NULL, 0);
    assert_string_equal(copy, "");
    mem_free(copy);
    mem_fail_nth(1);
    assert_null(mem_strndup("abc", 3));
}

static void pages_are_zeroed_aligned_and_writable(void **state)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE) * 3;
    uint8_t *pages = mem_pages_alloc(size);
    assert_non_null(pages);
    assert_int_equal((uintptr_t)pages % 4096, 0);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(pages[i], 0);
    }
    memset(pages, 0xff, size);
    mem_pages_free(pages, size);
    mem_pages_free(NULL, size);
    assert_null(mem_pages_alloc(SIZE_MAX / 2)); /* more than there is */
}

/* Each of the five functions that allocate, in turn. */
static void *allocate(int which)
{
    static void *(*const makers[])(size_t) = {mem_alloc, mem_zalloc, mem_pages_alloc};
    switch (which) {
    case 3: return mem_realloc(NULL, 64);
    case 4: return mem_strndup("text", 4);
    default: return makers[which](64);
    }
}

static void release(int which, void *memory)
{
    if (which == 2) {
        mem_pages_free(memory, 64);
    } else {
        mem_free(memory);
    }
}

static void exactly_the_nth_allocation_fails_once(void **state)
{
    for (int nth = 1; nth <= 5; nth++) {
        mem_fail_nth((unsigned long)nth);
        for (int which = 0; which < 5; which++) {
            assert_int_equal(mem_fail_pending(), which < nth);
            void *memory = allocate(which);
            assert_int_equal(memory == NULL, which == nth - 1);
            release(which, memory);
        }
        assert_false(mem_fail_pending());
    }
}

static void zero_takes_the_failure_back(void **state)
{
    mem_fail_nth(1);
    mem_fail_nth(0);
    assert_false(mem_fail_pending());
    void *memory = mem_alloc(1);
    assert_non_null(memory);
    mem_free(memory);
}

static void *allocate_in_thread(void *arg)
{
    void *memory = mem_alloc(1);
    int ok = memory != NULL && !mem_fail_pending();
    mem_free(memory);
    return ok ? arg : NULL;
}

static void a_failure_is_for_the_thread_that_asked(void **state)
{
    pthread_t thread;
    void *result;
    int mark;
    mem_fail_nth(1);
    assert_int_equal(pthread_create(&thread, NULL, allocate_in_thread, &mark), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &mark);
    assert_true(mem_fail_pending());
    mem_fail_nth(0);
}

static void accounts_are_apart_and_add_up(void **state)
{
    int64_t sessions = mem_accounted(MEM_SESSIONS);
    int64_t total = mem_accounted_total();
    mem_account(MEM_SESSIONS, 1000);
    mem_account(MEM_BUS, 5);
    mem_account(MEM_SESSIONS, -400);
    assert_int_equal(mem_accounted(MEM_SESSIONS) - sessions, 600);
    assert_int_equal(mem_accounted_total() - total, 605);
    mem_account(MEM_SESSIONS, -600);
    mem_account(MEM_BUS, -5);
    assert_int_equal(mem_accounted_total(), total);
}

static void *account_1000_times(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        mem_account(MEM_WINDOW, 3);
        mem_account(MEM_WINDOW, -1);
    }
    return NULL;
}

static void threads_account_together(void **state)
{
    int64_t before = mem_accounted(MEM_WINDOW);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, account_1000_times, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(mem_accounted(MEM_WINDOW) - before, 8000);
    mem_account(MEM_WINDOW, -8000);
}

static void every_owner_has_a_name_of_its_own(void **state)
{
    for (int owner = 0; owner < MEM_OWNERS; owner++) {
        const char *name = mem_owner_name((enum mem_owner)owner);
        assert_non_null(name);
        for (int other = 0; other < owner; other++) {
            assert_string_not_equal(name, mem_owner_name((enum mem_owner)other));
        }
    }
    assert_string_equal(mem_owner_name(MEM_SESSIONS), "sessions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_memory_is_zero),
        cmocka_unit_test(realloc_keeps_the_contents_and_a_failed_one_the_block),
        cmocka_unit_test(strndup_copies_len_bytes_and_terminates),
        cmocka_unit_test(pages_are_zeroed_aligned_and_writable),
        cmocka_unit_test(exactly_the_nth_allocation_fails_once),
        cmocka_unit_test(zero_takes_the_failure_back),
        cmocka_unit_test(a_failure_is_for_the_thread_that_asked),
        cmocka_unit_test(accounts_are_apart_and_add_up),
        cmocka_unit_test(threads_account_together),
        cmocka_unit_test(every_owner_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
