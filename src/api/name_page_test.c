#include "api/name_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"

/* Numbers of four digits, in an order of chance: 7919 is prime to 10,000. */
static void add_many(struct name_page *page, int count)
{
    for (int i = 0; i < count; i++) {
        char name[16];
        int number = (int)((i + 1) * 7919LL % count);
        snprintf(name, sizeof(name), "%04d", number);
        name_page_add(page, str_of(name), (uint64_t)number, 0);
    }
}

static void says(const struct name_page *page, int first, int step, uint32_t count)
{
    assert_int_equal(page->count, count);
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%04d", first + (int)i * step);
        assert_true(str_equal(page->items[i].name, str_of(name)));
        assert_int_equal(page->items[i].count, first + (int)i * step);
    }
}

static void the_smallest_are_kept_whatever_their_order(void **state)
{
    int64_t before = mem_accounted(MEM_HTTP);
    struct name_page page;
    name_page_init(&page, 100, STR(""), STR(""));
    add_many(&page, 10000);
    assert_int_equal(mem_accounted(MEM_HTTP) - before, 400);
    name_page_sort(&page, false);
    says(&page, 0, 1, 100);
    assert_true(page.has_more);
    name_page_fini(&page);
    assert_int_equal(mem_accounted(MEM_HTTP), before);
}

static void pages_follow_each_other_without_a_gap_or_a_repeat(void **state)
{
    char after[16] = "";
    for (int first = 0; first < 1000; first += 300) {
        struct name_page page;
        name_page_init(&page, 300, STR(""), str_of(after));
        add_many(&page, 1000);
        name_page_sort(&page, false);
        says(&page, first, 1, first < 900 ? 300 : 100);
        assert_int_equal(page.has_more, first < 900);
        snprintf(after, sizeof(after), "%04u", (unsigned)page.items[page.count - 1].count);
        name_page_fini(&page);
    }
}

static void only_names_with_the_prefix_count(void **state)
{
    struct name_page page;
    name_page_init(&page, 10, STR("99"), STR("9998"));
    add_many(&page, 10000);
    name_page_sort(&page, false);
    says(&page, 9999, 1, 1);
    assert_false(page.has_more);
    name_page_fini(&page);
}

static void a_page_that_is_just_full_has_no_more(void **state)
{
    struct name_page page;
    name_page_init(&page, 50, STR(""), STR(""));
    add_many(&page, 50);
    assert_false(page.has_more);
    name_page_sort(&page, false);
    name_page_cut(&page, 50);
    assert_false(page.has_more);
    name_page_cut(&page, 49);
    assert_true(page.has_more);
    says(&page, 0, 1, 49);
    name_page_fini(&page);
}

static void one_that_is_there_twice_is_listed_once_with_both_counts(void **state)
{
    struct name_page page;
    name_page_init(&page, 10, STR(""), STR(""));
    name_page_add(&page, STR("b"), 2, 0);
    name_page_add(&page, STR("a"), 1, 0);
    name_page_add(&page, STR("b"), 3, 0);
    name_page_sort(&page, true);
    assert_int_equal(page.count, 2);
    assert_int_equal(page.items[0].count, 1);
    assert_int_equal(page.items[1].count, 5);
    name_page_fini(&page);
}

static void without_memory_the_page_says_so(void **state)
{
    struct name_page page;
    mem_fail_nth(1);
    name_page_init(&page, 10, STR(""), STR(""));
    name_page_add(&page, STR("a"), 1, 0);
    assert_int_not_equal(page.err, 0);
    name_page_fini(&page);
    name_page_init(&page, 10, STR(""), STR(""));
    mem_fail_nth(1);
    name_page_add(&page, STR("a"), 1, 0);
    name_page_add(&page, STR("b"), 1, 0);
    assert_int_not_equal(page.err, 0);
    assert_int_equal(page.count, 0);
    name_page_fini(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_are_kept_whatever_their_order),
        cmocka_unit_test(pages_follow_each_other_without_a_gap_or_a_repeat),
        cmocka_unit_test(only_names_with_the_prefix_count),
        cmocka_unit_test(a_page_that_is_just_full_has_no_more),
        cmocka_unit_test(one_that_is_there_twice_is_listed_once_with_both_counts),
        cmocka_unit_test(without_memory_the_page_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
