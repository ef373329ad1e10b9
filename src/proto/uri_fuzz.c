/* Decoding never grows and what is encoded again decodes to the same; the segments of a checked
 * path are neither empty nor dots; a query gives only pairs that lie inside it. */
#include "proto/uri.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(struct str text, char *out, char *again)
{
    ssize_t len = uri_decode(text, out, text.len);
    if (len < 0) {
        ASSERT(len == ERR_SYNTAX);
        return;
    }
    ASSERT((size_t)len <= text.len && !memchr(out, '\0', (size_t)len));
    struct buf encoded = {0};
    uri_encode(&encoded, str_make(out, (size_t)len));
    ASSERT(uri_decode(buf_str(&encoded), again, text.len) == len);
    ASSERT(memcmp(out, again, (size_t)len) == 0);
    buf_fini(&encoded);
}

static void check_path(struct str path, char *out)
{
    if (uri_path_check(path) != 0) {
        return;
    }
    struct str rest = path;
    struct str segment;
    size_t bytes = 0;
    while (uri_path_next(&rest, &segment)) {
        ssize_t len = uri_decode(segment, out, path.len);
        ASSERT(len > 0 || (len == 0 && !rest.ptr));
        ASSERT(!str_equal(str_make(out, (size_t)len), STR(".")));
        ASSERT(!str_equal(str_make(out, (size_t)len), STR("..")));
        bytes += segment.len + 1;
    }
    ASSERT(bytes == path.len);
}

static void check_query(struct str query, char *out)
{
    struct str rest = query;
    struct str name;
    struct str value;
    size_t bytes = 0;
    while (uri_query_next(&rest, &name, &value)) {
        bytes += name.len + value.len;
        ssize_t name_len = uri_decode_query(name, out, query.len);
        if (name_len >= 0) {
            ssize_t got = uri_query_get(query, str_make(out, (size_t)name_len), out + query.len,
                                        query.len);
            ASSERT(got != ERR_NOT_FOUND && got != ERR_TOO_LARGE);
        }
    }
    ASSERT(bytes <= query.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The query check is quadratic in the number of pairs. */
    if (size > 2000) {
        return 0;
    }
    char *out = malloc(2 * size + 1);
    struct str text = str_make(data, size);
    check_round_trip(text, out, out + size);
    check_path(text, out);
    check_query(text, out);
    free(out);
    return 0;
}
