/* JSON Pointers (RFC 6901): names of places in a JSON text, "/order/items/0/price". Several are
 * looked up in one walk that builds no tree, allocates nothing and goes no deeper than the
 * pointers: it reads each byte at most once a level. Pure; any thread. */
#ifndef TIDEGATE_PROTO_JSON_POINTER_H
#define TIDEGATE_PROTO_JSON_POINTER_H

#include "proto/json.h"

enum {
    JSON_POINTER_STEPS = 8, /* the most that one may have */
    JSON_POINTER_BYTES = 256,
    JSON_POINTERS_MAX = 64, /* looked up at a time */
};

struct json_pointer {
    size_t step_count;
    struct json_pointer_step {
        struct str key; /* unescaped; where the place is in an object */
        uint32_t index; /* where it is in an array; UINT32_MAX: in none */
    } steps[JSON_POINTER_STEPS];
};

/* Reads a pointer with at least one step. It unescapes text in place (`~0` is `~`, `~1` is `/`) and
 * borrows from it. ERR_SYNTAX, or ERR_TOO_LARGE; then text may be changed too. */
int json_pointer_read(struct json_pointer *out_pointer, char *text, size_t len);

/* What the pointers (at most JSON_POINTERS_MAX) name in text, which json_parse must have passed:
 * the first of members with the same name; JSON_TYPE_NONE when nothing is there. Bit i of wanted
 * asks for pointers[i] and out_values[i]; others stay as they are. */
void json_pointers_find(const struct json_pointer *pointers, uint64_t wanted, struct str text,
                        struct json_value *out_values);

#endif
