/* Compares the reader with jansson, over the cases, the fuzz corpus and mutations of both. Where
 * the two differ by design:
 *   - depth: jansson goes to 2,048 levels, here both are asked for at most JSON_MAX_DEPTH
 *   - a number beyond a double's range (1e999) is an error for jansson; here it keeps its digits
 *   - an escaped NUL in a key is an error for jansson
 *   - jansson takes a NUL byte behind the value for white space; here it is never legal
 *   - jansson refuses equal keys at all levels; here that is a question of its own */
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "proto/json_test_cases.h"

enum { MAX_TEXTS = 1000, MAX_LEN = 4096, MUTATIONS = 200000 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct str texts[MAX_TEXTS];
static size_t text_count;

static void add_text(struct str text)
{
    assert_true(text_count < MAX_TEXTS);
    char *copy = malloc(text.len + 1);
    memcpy(copy, text.ptr, text.len);
    texts[text_count++] = str_make(copy, text.len);
}

static void add_file(const char *folder, const char *name)
{
    char path[512];
    char text[MAX_LEN];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof(text), file);
    fclose(file);
    add_text(str_make(text, len));
}

static int collect_texts(void **state)
{
    const char *folder = "tests/fuzz/proto.json";
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            add_file(folder, entry->d_name);
        }
    }
    closedir(dir);
    for (size_t i = 0; i < COUNT(json_accepted); i++) {
        add_text(json_accepted[i]);
    }
    for (size_t i = 0; i < COUNT(json_refused); i++) {
        add_text(json_refused[i]);
    }
    for (size_t i = 0; i < COUNT(json_not_utf8); i++) {
        add_text(json_not_utf8[i]);
    }
    return 0;
}

static int free_texts(void **state)
{
    while (text_count > 0) {
        free((char *)texts[--text_count].ptr);
    }
    return 0;
}

static json_t *oracle(struct str text, size_t flags, enum json_error_code *out_code)
{
    json_error_t error;
    json_t *root = json_loadb(text.ptr, text.len,
                              flags | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL,
                              &error);
    *out_code = root ? json_error_unknown : json_error_code(&error);
    return root;
}

static void assert_same_text(struct json_value value, const char *text, size_t len)
{
    struct buf mine = {0};
    assert_int_equal(json_string_append(value, &mine), 0);
    assert_true(str_equal(buf_str(&mine), str_make(text, len)));
    buf_fini(&mine);
}

static void assert_same(struct json_value value, json_t *other);

static void assert_same_array(struct json_value value, json_t *other)
{
    struct json_iter iter;
    struct json_value element;
    size_t count = 0;
    json_iter_init(&iter, value);
    while (json_next(&iter, NULL, &element)) {
        assert_same(element, json_array_get(other, count++));
    }
    assert_int_equal(count, json_array_size(other));
}

static void assert_same_object(struct json_value value, json_t *other)
{
    struct json_iter iter;
    struct json_value key, member;
    json_iter_init(&iter, value);
    void *at = json_object_iter(other);
    while (json_next(&iter, &key, &member)) {
        assert_non_null(at);
        const char *name = json_object_iter_key(at);
        assert_same_text(key, name, strlen(name));
        assert_same(member, json_object_iter_value(at));
        at = json_object_iter_next(other, at);
    }
    assert_null(at);
}

static void assert_same(struct json_value value, json_t *other)
{
    switch (value.type) {
    case JSON_TYPE_OBJECT:
        assert_true(json_is_object(other));
        return assert_same_object(value, other);
    case JSON_TYPE_ARRAY: assert_true(json_is_array(other)); return assert_same_array(value, other);
    case JSON_TYPE_STRING:
        assert_true(json_is_string(other));
        return assert_same_text(value, json_string_value(other), json_string_length(other));
    case JSON_TYPE_NUMBER: {
        char digits[MAX_LEN + 1];
        snprintf(digits, sizeof(digits), "%.*s", STR_ARG(value.raw));
        assert_true(strtod(digits, NULL) == json_real_value(other));
        return;
    }
    case JSON_TYPE_TRUE: assert_true(json_is_true(other)); return;
    case JSON_TYPE_FALSE: assert_true(json_is_false(other)); return;
    default: assert_int_equal(value.type, JSON_TYPE_NULL); assert_true(json_is_null(other));
    }
}

static bool has_equal_keys(struct json_value value)
{
    struct json_iter iter;
    struct json_value member;
    if (json_check_unique_keys(value) == ERR_EXISTS) {
        return true;
    }
    json_iter_init(&iter, value);
    while (json_next(&iter, NULL, &member)) {
        if (has_equal_keys(member)) {
            return true;
        }
    }
    return false;
}

static bool differs_by_design(enum json_error_code code)
{
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key;
}

/* True when both accept. */
static bool compare(struct str text)
{
    struct json_value value;
    enum json_error_code code;
    int err = json_parse(&value, text, JSON_MAX_DEPTH, NULL);
    if (text.len > 0 && memchr(text.ptr, 0, text.len)) {
        assert_true(err < 0);
        return false;
    }
    json_t *other = oracle(text, 0, &code);
    if (!other && differs_by_design(code)) {
        return false;
    }
    if ((err == 0) != (other != NULL)) {
        fail_msg("%s here, %s there: %.*s", err_str(err), other ? "accepted" : "refused",
                 STR_ARG(text));
    }
    if (!other) {
        return false;
    }
    json_t *unique = oracle(text, JSON_REJECT_DUPLICATES, &code);
    assert_int_equal(has_equal_keys(value), unique == NULL);
    if (unique) {
        assert_same(value, unique);
    }
    json_decref(unique);
    json_decref(other);
    return true;
}

static void both_readers_agree_on_every_text(void **state)
{
    size_t accepted = 0;
    for (size_t i = 0; i < text_count; i++) {
        accepted += compare(texts[i]);
    }
    assert_in_range(accepted, COUNT(json_accepted) - 1, text_count - COUNT(json_refused));
}

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed % below;
}

/* Replaces, drops, doubles or inserts a byte or a piece of another text. */
static size_t mutate(char *text, size_t len, uint64_t *seed)
{
    static const char likely[] =
        "\"\\{}[],:0123456789.eE+-u dDcC8tfn/ \n\t\x80\xbf\xc3\xed\xf0\xff";
    size_t at = draw(seed, len + 1);
    struct str piece = texts[draw(seed, text_count)];
    switch (draw(seed, 4)) {
    case 0:
        if (at < len) {
            text[at] = likely[draw(seed, sizeof(likely))];
        }
        return len;
    case 1:
        if (at < len) {
            memmove(text + at, text + at + 1, len - at - 1);
            return len - 1;
        }
        return len;
    case 2: {
        char c = likely[draw(seed, sizeof(likely))];
        piece = str_make(&c, 1);
        memmove(text + at + 1, text + at, len - at);
        text[at] = c;
        return len + 1;
    }
    default:
        if (len + piece.len > MAX_LEN) {
            return len;
        }
        memmove(text + at + piece.len, text + at, len - at);
        memcpy(text + at, piece.ptr, piece.len);
        return len + piece.len;
    }
}

static void both_readers_agree_on_mutated_texts(void **state)
{
    uint64_t seed = 0x7469646567617465;
    size_t accepted = 0;
    for (size_t i = 0; i < MUTATIONS; i++) {
        char text[2 * MAX_LEN];
        struct str from = texts[draw(&seed, text_count)];
        memcpy(text, from.ptr, from.len);
        size_t len = from.len;
        for (uint64_t times = 1 + draw(&seed, 3); times > 0; times--) {
            len = mutate(text, len, &seed);
        }
        accepted += compare(str_make(text, len));
    }
    assert_in_range(accepted, MUTATIONS / 50, MUTATIONS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_readers_agree_on_every_text),
        cmocka_unit_test(both_readers_agree_on_mutated_texts),
    };
    return cmocka_run_group_tests(tests, collect_texts, free_texts);
}
