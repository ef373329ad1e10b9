/* A line of a pointer, then any bytes: what the walk finds is what step by step is found. */
#include "proto/json_pointer.h"

#include <stdlib.h>

#include "base/err.h"

/* The slow way: an element by counting, a member by json_get. */
static struct json_value one_step(struct json_value value, const struct json_pointer_step *step)
{
    struct json_value found = {0};
    struct json_iter iter;
    if (value.type == JSON_TYPE_OBJECT) {
        return json_get(value, step->key, &found) ? found : (struct json_value){0};
    }
    json_iter_init(&iter, value);
    for (uint32_t i = 0; step->index != UINT32_MAX && json_next(&iter, NULL, &found); i++) {
        if (i == step->index) {
            return found;
        }
    }
    return (struct json_value){0};
}

static void check(const struct json_pointer *pointer, struct json_value value)
{
    struct json_value found[2];
    const struct json_pointer twice[2] = {*pointer, *pointer};
    json_pointers_find(twice, 3, value.raw, found);
    for (size_t i = 0; i < pointer->step_count; i++) {
        value = one_step(value, &pointer->steps[i]);
    }
    ASSERT(found[0].type == value.type && found[0].raw.ptr == value.raw.ptr);
    ASSERT(found[1].raw.ptr == value.raw.ptr && found[1].raw.len == value.raw.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_make(data, size);
    struct str line;
    struct json_pointer pointer;
    struct json_value value;
    if (!str_split(&rest, '\n', &line)) {
        return 0;
    }
    char *text = malloc(line.len + 1);
    memcpy(text, line.ptr, line.len);
    if (json_pointer_read(&pointer, text, line.len) == 0 && rest.ptr &&
        json_parse(&value, rest, 16, NULL) == 0) {
        check(&pointer, value);
    }
    free(text);
    return 0;
}
