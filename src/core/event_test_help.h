/* Events for tests: what a push would encode, with as little to say as possible. */
#ifndef TIDEGATE_CORE_EVENT_TEST_HELP_H
#define TIDEGATE_CORE_EVENT_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/event.h"

static const struct target_space event_test_space = {.keys = {1, 2}, .open = {5, 6}};

enum { EVENT_TEST_APP = 4711, EVENT_TEST_BOOT = 77 };

static inline uint64_t event_test_key_of(enum target_kind kind, const char *name)
{
    return target_key(&event_test_space, EVENT_TEST_APP, kind, str_of(name));
}

static inline uint32_t event_test_queue_of(enum target_kind kind, const char *name, uint32_t queues)
{
    return target_queue(&event_test_space, EVENT_TEST_APP, kind, str_of(name), queues);
}

/* Of one part, in JSON. */
static inline struct event event_test_make(uint32_t counter, const char *data)
{
    return (struct event){
        .header = {.app = EVENT_TEST_APP, .origin = EVENT_TEST_BOOT, .counter = counter},
        .kind = EVENT_MESSAGE,
        .parts = 1,
        .data_kind = EVENT_DATA_JSON,
        .time_ms = 1767225600000,
        .id = STR("cmt-7"),
        .data = str_of(data)};
}

enum { EVENT_TEST_TARGETS = 1000 };

/* Appends it with targets "u:NAME", "g:NAME", "s:NAME", "n:NAME" or "*". */
static inline void event_test_encode(struct buf *out, const struct event *event,
                                     const char *const *targets, size_t count)
{
    static const char letters[] = " ugst*n";
    struct target list[EVENT_TEST_TARGETS];
    uint64_t keys[EVENT_TEST_TARGETS];
    assert_true(count <= EVENT_TEST_TARGETS);
    for (size_t i = 0; i < count; i++) {
        const char *name = targets[i][0] == '*' ? "" : targets[i] + 2;
        list[i].kind = (enum target_kind)(strchr(letters, targets[i][0]) - letters);
        list[i].name = str_of(name);
        keys[i] = event_test_key_of(list[i].kind, name);
    }
    assert_int_equal(event_encode(out, event, list, keys, count, NULL, 0), 0);
}

/* Of one whole event, as encoded. */
static inline struct event event_test_decode(const struct buf *wire)
{
    struct event event;
    size_t skip;
    assert_int_equal(event_decode(&event, wire->data, wire->len, &skip), wire->len);
    return event;
}

#endif
