/* Any bytes: what is accepted must walk, read back and be written again as the same. */
#include "proto/json.h"

#include <stdlib.h>

#include "base/err.h"

static void check_string(struct json_value value)
{
    struct buf text = {0};
    struct buf again = {0};
    ASSERT(json_string_append(value, &text) == 0);
    ASSERT(json_equals(value, buf_str(&text)));
    json_write_string(&again, buf_str(&text));
    struct json_value back;
    ASSERT(json_parse(&back, buf_str(&again), 0, NULL) == 0);
    ASSERT(json_equals(back, buf_str(&text)));
    buf_fini(&text);
    buf_fini(&again);
}

/* Each part is a value by itself, with the same span. */
static void check_value(struct json_value value)
{
    struct json_value same;
    ASSERT(json_parse(&same, value.raw, JSON_MAX_DEPTH, NULL) == 0);
    ASSERT(same.type == value.type && str_equal(same.raw, value.raw));
    if (value.type == JSON_TYPE_STRING) {
        check_string(value);
    }
    struct json_iter iter;
    struct json_value key, member;
    json_iter_init(&iter, value);
    while (json_next(&iter, &key, &member)) {
        if (value.type == JSON_TYPE_OBJECT) {
            check_value(key);
        }
        check_value(member);
    }
}

static void check_fields(struct json_value value)
{
    struct json_field fields[] = {{.name = STR("to")}, {.name = STR("data")}, {.name = STR("a")}};
    size_t unknown;
    int err = json_read_fields(value, fields, 3, &unknown);
    ASSERT(err != ERR_EXISTS || json_check_unique_keys(value) != 0);
    for (size_t i = 0; i < 3 && !err; i++) {
        struct json_value found;
        bool there = json_get(value, fields[i].name, &found);
        ASSERT(there == (fields[i].value.type != JSON_TYPE_NONE));
        ASSERT(!there || found.raw.ptr == fields[i].value.raw.ptr);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_value value;
    size_t at = 0;
    int err = json_parse(&value, str_make(data, size), 16, &at);
    if (err) {
        ASSERT(at <= size);
        return 0;
    }
    check_value(value);
    check_fields(value);
    return 0;
}
