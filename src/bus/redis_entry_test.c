#include "bus/redis_entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct redis_id id_of(const char *text)
{
    struct redis_id id = {0, 0};
    assert_true(text[0] == '\0' || redis_id_parse(&id, str_of(text)));
    return id;
}

static void an_id_is_two_numbers(void **state)
{
    const char *const wrong[] = {"",      "-",    "1",    "1-",  "-1",
                                 "1-2-3", "1 -2", "+1-2", "a-b", "18446744073709551616-0"};
    char text[REDIS_ID_TEXT_MAX];
    struct redis_id id;
    assert_string_equal(redis_id_format(id_of("18446744073709551615-18446744073709551615"), text),
                        "18446744073709551615-18446744073709551615");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(redis_id_parse(&id, str_of(wrong[i])));
    }
}

static void ids_ascend_and_places_do(void **state)
{
    assert_true(redis_id_compare(id_of("5-1"), id_of("5-2")) < 0);
    assert_true(redis_id_compare(id_of("6-0"), id_of("5-9")) > 0);
    assert_int_equal(redis_id_pos(id_of("5-1")).hi, 5 << 20 | 1);
    assert_int_equal(redis_id_pos(id_of("8796093022207-1048575")).hi, INT64_MAX);
}

static void what_has_no_place_gets_the_nearest(void **state)
{
    assert_true(redis_id_fits(id_of("8796093022207-1048575")));
    assert_false(redis_id_fits(id_of("8796093022208-0")));
    assert_false(redis_id_fits(id_of("5-1048576")));
    assert_int_equal(redis_id_pos(id_of("5-1048576")).hi, 5 << 20 | 1048575);
    assert_int_equal(redis_id_pos(id_of("8796093022208-0")).hi, INT64_MAX);
    assert_false(redis_id_is_end(id_of("8796093022206-1048576")));
    assert_true(redis_id_is_end(id_of("8796093022207-0")));
}

static void the_id_before(void **state)
{
    char text[REDIS_ID_TEXT_MAX];
    assert_string_equal(redis_id_format(redis_id_before(id_of("5-2")), text), "5-1");
    assert_string_equal(redis_id_format(redis_id_before(id_of("5-0")), text),
                        "4-18446744073709551615");
    assert_string_equal(redis_id_format(redis_id_before(id_of("0-0")), text), "0-0");
}

/* ---- entries ---- */

static struct redis_reply text_reply(const char *text)
{
    return (struct redis_reply){.type = REDIS_REPLY_IS_TEXT, .text = str_of(text)};
}

static struct redis_entry entry_of(const char *id, struct redis_reply *fields, size_t count)
{
    struct redis_reply items[] = {text_reply(id),
                                  {.type = REDIS_REPLY_IS_ARRAY, .items = fields, .count = count}};
    struct redis_reply reply = {.type = REDIS_REPLY_IS_ARRAY, .items = items, .count = 2};
    struct redis_entry entry;
    assert_true(redis_entry_read(&entry, &reply));
    return entry;
}

static void one_field_of_our_name_is_a_record(void **state)
{
    struct redis_reply fields[] = {text_reply("r"), text_reply("abc"), text_reply("s"),
                                   text_reply("x")};
    struct redis_reply other[] = {text_reply("q"), text_reply("abc")};
    struct redis_reply empty[] = {text_reply("r"), text_reply("")};
    assert_true(entry_of("5-1", fields, 2).is_record);
    assert_true(str_equal(entry_of("5-1", fields, 2).record, STR("abc")));
    assert_false(entry_of("5-1", fields, 4).is_record);
    assert_false(entry_of("5-1", fields, 0).is_record);
    assert_false(entry_of("5-1", other, 2).is_record);
    assert_false(entry_of("5-1", empty, 2).is_record);
    assert_false(entry_of("5-1048576", fields, 2).is_record);
    assert_int_equal(entry_of("5-1", other, 2).record.len, 0);
}

static void an_entry_has_an_id(void **state)
{
    struct redis_reply no_id = text_reply("5");
    struct redis_reply reply = {.type = REDIS_REPLY_IS_ARRAY, .items = &no_id, .count = 1};
    struct redis_entry entry;
    assert_false(redis_entry_read(&entry, &reply));
    assert_false(redis_entry_read(&entry, &no_id));
}

/* ---- facts ---- */

static void the_survey_is_read(void **state)
{
    struct redis_reply items[] = {
        text_reply("9-0"), text_reply("5-0"), text_reply(""),
        text_reply("2-0"), text_reply("12"),  {.type = REDIS_REPLY_IS_INTEGER, .integer = 4}};
    struct redis_reply reply = {.type = REDIS_REPLY_IS_ARRAY, .items = items, .count = 6};
    struct redis_facts facts;
    assert_true(redis_facts_read(&facts, &reply));
    assert_int_equal(facts.last.ms, 9);
    assert_int_equal(facts.first.ms, 5);
    assert_true(redis_id_is_zero(facts.floor));
    assert_int_equal(facts.erased.ms, 2);
    assert_true(facts.is_counted);
    assert_int_equal(facts.trimmed, 8);
    items[4] = text_reply(""); /* before Redis 7 */
    assert_true(redis_facts_read(&facts, &reply));
    assert_false(facts.is_counted);
    items[4] = text_reply("3");
    assert_false(redis_facts_read(&facts, &reply));
    items[4] = text_reply("12");
    items[0] = text_reply("x");
    assert_false(redis_facts_read(&facts, &reply));
    assert_false(redis_facts_read(&facts, &items[0]));
}

static void assert_start(struct redis_facts facts, const char *start, uint64_t from_ms,
                         uint64_t from_lo)
{
    struct bus_pos from;
    char text[REDIS_ID_TEXT_MAX];
    assert_string_equal(redis_id_format(redis_facts_start(&facts, &from), text), start);
    assert_int_equal(from.hi >> REDIS_ID_SEQ_BITS, from_ms);
    assert_true(from.lo == from_lo);
}

static void a_start_is_honest_about_what_is_gone(void **state)
{
    struct redis_facts new = {.is_counted = true};
    assert_start(new, "0-0", 0, 0);
    struct redis_facts all_there = {
        .last = {9, 0}, .first = {5, 0}, .added = 3, .is_counted = true};
    assert_start(all_there, "0-0", 0, 0);
    struct redis_facts with_floor = {
        .last = {9, 0}, .first = {5, 0}, .floor = {7, 3}, .added = 3, .is_counted = true};
    assert_start(with_floor, "7-2", 7, UINT64_MAX);
    struct redis_facts trimmed = {
        .last = {9, 0}, .first = {5, 1}, .added = 3, .trimmed = 1, .is_counted = true};
    assert_start(trimmed, "5-0", 5, UINT64_MAX);
    struct redis_facts all_gone = {.last = {9, 0}, .added = 3, .trimmed = 3, .is_counted = true};
    assert_start(all_gone, "9-0", 9, UINT64_MAX);
    struct redis_facts erased = {.last = {9, 0},
                                 .first = {5, 0},
                                 .floor = {5, 0},
                                 .erased = {7, 0},
                                 .added = 3,
                                 .trimmed = 1,
                                 .is_counted = true};
    assert_start(erased, "7-0", 7, UINT64_MAX);
}

static void an_old_server_does_not_count(void **state)
{
    struct redis_facts new = {.is_counted = false};
    assert_start(new, "0-0", 0, 0);
    struct redis_facts some = {.last = {9, 0}, .first = {5, 1}};
    assert_start(some, "5-0", 5, UINT64_MAX);
}

static void what_was_trimmed_unread_is_a_hole(void **state)
{
    struct redis_facts facts = {
        .last = {9, 0}, .first = {5, 0}, .added = 10, .trimmed = 6, .is_counted = true};
    struct redis_id resume;
    assert_false(redis_facts_hole(&facts, (struct redis_id){5, 0}, 7, &resume));
    assert_false(redis_facts_hole(&facts, (struct redis_id){9, 0}, 10, &resume));
    assert_false(redis_facts_hole(&facts, (struct redis_id){4, 0}, 6, &resume));
    assert_true(redis_facts_hole(&facts, (struct redis_id){4, 0}, 5, &resume));
    assert_int_equal(redis_id_compare(resume, redis_id_before((struct redis_id){5, 0})), 0);
    assert_true(redis_facts_hole(&facts, (struct redis_id){4, 0}, -1, &resume));
}

static void an_emptied_stream_is_a_hole_up_to_its_end(void **state)
{
    struct redis_facts facts = {.last = {9, 0}, .added = 10, .trimmed = 10, .is_counted = true};
    struct redis_id resume;
    assert_true(redis_facts_hole(&facts, (struct redis_id){8, 0}, 9, &resume));
    assert_int_equal(redis_id_compare(resume, facts.last), 0);
    assert_false(redis_facts_hole(&facts, facts.last, 10, &resume));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_two_numbers),
        cmocka_unit_test(ids_ascend_and_places_do),
        cmocka_unit_test(what_has_no_place_gets_the_nearest),
        cmocka_unit_test(the_id_before),
        cmocka_unit_test(one_field_of_our_name_is_a_record),
        cmocka_unit_test(an_entry_has_an_id),
        cmocka_unit_test(the_survey_is_read),
        cmocka_unit_test(a_start_is_honest_about_what_is_gone),
        cmocka_unit_test(an_old_server_does_not_count),
        cmocka_unit_test(what_was_trimmed_unread_is_a_hole),
        cmocka_unit_test(an_emptied_stream_is_a_hole_up_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
