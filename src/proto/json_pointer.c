#include "proto/json_pointer.h"

#include "base/err.h"
#include "proto/json_bytes.h"

/* RFC 6901 section 4: digits without a leading zero. */
static uint32_t index_of(struct str key)
{
    uint32_t index = 0;
    if (key.len == 0 || key.len > 9 || (key.len > 1 && key.ptr[0] == '0')) {
        return UINT32_MAX;
    }
    for (size_t i = 0; i < key.len; i++) {
        if (!json_is_digit(key.ptr[i])) {
            return UINT32_MAX;
        }
        index = index * 10 + (uint32_t)(key.ptr[i] - '0');
    }
    return index;
}

/* From behind a slash to the next one or end: unescapes the step in place. */
static int read_step(struct json_pointer_step *out_step, char **inout_at, const char *end)
{
    char *from = *inout_at;
    char *at = from;
    char *to = from;
    for (; at < end && *at != '/'; at++, to++) {
        *to = *at;
        if (*at == '~') {
            at++;
            if (at == end || (*at != '0' && *at != '1')) {
                return ERR_SYNTAX;
            }
            *to = *at == '0' ? '~' : '/';
        }
    }
    *inout_at = at;
    out_step->key = str_make(from, (size_t)(to - from));
    out_step->index = index_of(out_step->key);
    return 0;
}

int json_pointer_read(struct json_pointer *out_pointer, char *text, size_t len)
{
    struct json_pointer pointer = {0};
    char *at = text;
    const char *end = text + len;
    if (len > JSON_POINTER_BYTES) {
        return ERR_TOO_LARGE;
    }
    if (len == 0 || *text != '/') {
        return ERR_SYNTAX;
    }
    while (at < end) {
        if (pointer.step_count == JSON_POINTER_STEPS) {
            return ERR_TOO_LARGE;
        }
        at++; /* the slash */
        int err = read_step(&pointer.steps[pointer.step_count++], &at, end);
        if (err) {
            return err;
        }
    }
    *out_pointer = pointer;
    return 0;
}

static uint64_t lowest(uint64_t bits)
{
    return bits & -bits;
}

/* Those of wanted that end at this level; value is theirs. */
static uint64_t take_ended(const struct json_pointer *pointers, uint64_t wanted, size_t level,
                           struct json_value value, struct json_value *out_values)
{
    uint64_t ended = 0;
    for (uint64_t rest = wanted; rest; rest &= rest - 1) {
        int i = __builtin_ctzll(rest);
        if (pointers[i].step_count == level) {
            out_values[i] = value;
            ended |= lowest(rest);
        }
    }
    return ended;
}

static bool leads_to(const struct json_pointer_step *step, struct json_value key, struct str plain,
                     uint32_t index)
{
    if (plain.ptr) {
        return str_equal(step->key, plain);
    }
    return key.type == JSON_TYPE_NONE ? step->index == index : json_equals(key, step->key);
}

/* Those of wanted whose step leads to this member, or to this element. */
static uint64_t match(const struct json_pointer *pointers, uint64_t wanted, size_t level,
                      struct json_value key, uint32_t index)
{
    struct str plain = {0}; /* most keys have no escapes: looked for once, not for each pointer */
    uint64_t matched = 0;
    json_string_plain(key, &plain);
    for (uint64_t rest = wanted; rest; rest &= rest - 1) {
        const struct json_pointer_step *step = &pointers[__builtin_ctzll(rest)].steps[level];
        matched |= leads_to(step, key, plain, index) ? lowest(rest) : 0;
    }
    return matched;
}

/* Recursion as deep as the deepest pointer: JSON_POINTER_STEPS at most. */
static void find(const struct json_pointer *pointers, uint64_t wanted, size_t level,
                 struct json_value value, struct json_value *out_values)
{
    struct json_iter iter;
    struct json_value key, member;
    wanted &= ~take_ended(pointers, wanted, level, value, out_values);
    json_iter_init(&iter, value);
    for (uint32_t index = 0; wanted && json_next(&iter, &key, &member); index++) {
        uint64_t matched = match(pointers, wanted, level, key, index);
        if (matched) {
            find(pointers, matched, level + 1, member, out_values);
            wanted &= ~matched;
        }
    }
}

void json_pointers_find(const struct json_pointer *pointers, uint64_t wanted, struct str text,
                        struct json_value *out_values)
{
    for (uint64_t rest = wanted; rest; rest &= rest - 1) {
        out_values[__builtin_ctzll(rest)] = (struct json_value){0};
    }
    if (text.len > 0) {
        find(pointers, wanted, 0, json_make_value(text.ptr, text.ptr + text.len), out_values);
    }
}
