#include "core/event.h"

#include "base/err.h"
#include "base/mem.h"
#include "core/event_test_help.h"

static const struct target_space other_space = {.keys = {3, 4}, .tag = 5};
static const char *const targets[] = {"u:42", "g:room:1", "*"};

static void encode(struct buf *out, uint8_t flags)
{
    struct event event = event_test_make(9, "{}");
    event.header.flags = flags;
    event.id_hash = event_id_hash(&event_test_space, EVENT_TEST_APP, event.id);
    event.body_hash = 0xdef;
    event_test_encode(out, &event, targets, 3);
}

static void decode(struct event *event, const struct buf *wire)
{
    size_t skip;
    assert_int_equal(event_decode(event, wire->data, wire->len, &skip), wire->len);
}

static void assert_keys(const struct event *event, const struct target_space *space)
{
    struct str rest = event->target_bytes;
    struct target target;
    for (size_t i = 0; event_next_target(&rest, &target); i++) {
        assert_true(event_key(event, i) ==
                    target_key(space, EVENT_TEST_APP, target.kind, target.name));
    }
    assert_int_equal(event->key_tag, space->tag);
}

static void rekeyed_and_decoded(uint8_t flags)
{
    struct buf wire = {0};
    struct buf again = {0};
    struct event event;
    encode(&wire, flags);
    decode(&event, &wire);
    assert_keys(&event, &event_test_space);
    assert_int_equal(event_rekey(&again, &event, buf_str(&wire), &other_space), 0);
    decode(&event, &again);
    assert_keys(&event, &other_space);
    assert_true(str_equal(event.data, STR("{}")));
    assert_int_equal(event.data_kind, EVENT_DATA_JSON);
    if (flags & EVENT_HAS_ID) {
        assert_true(event.id_hash == event_id_hash(&other_space, EVENT_TEST_APP, event.id));
        assert_int_equal(event.body_hash, 0xdef);
    }
    buf_fini(&wire);
    buf_fini(&again);
}

static void all_keys_become_those_of_the_space(void **state)
{
    rekeyed_and_decoded(0);
}

static void so_does_the_hash_of_an_id(void **state)
{
    rekeyed_and_decoded(EVENT_HAS_ID);
}

static void without_memory_nothing_is_appended(void **state)
{
    struct buf wire = {0};
    struct buf again = {0};
    struct event event;
    encode(&wire, 0);
    decode(&event, &wire);
    mem_fail_nth(1);
    assert_int_equal(event_rekey(&again, &event, buf_str(&wire), &other_space), ERR_NO_MEMORY);
    assert_int_equal(again.len, 0);
    buf_fini(&wire);
    buf_fini(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_keys_become_those_of_the_space),
        cmocka_unit_test(so_does_the_hash_of_an_id),
        cmocka_unit_test(without_memory_nothing_is_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
