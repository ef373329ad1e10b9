#include "server/cookie.h"

static int find_in(struct str cookies, struct str name, struct str *out_value)
{
    struct str rest = cookies;
    struct str pair;
    int count = 0;
    while (str_split(&rest, ';', &pair)) {
        struct str value = str_trim(pair);
        struct str key;
        if (!str_split(&value, '=', &key) || !value.ptr || !str_equal(key, name)) {
            continue;
        }
        if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"') {
            value = str_make(value.ptr + 1, value.len - 2);
        }
        *out_value = value;
        count++;
    }
    return count;
}

int cookie_find(const struct http_request *request, struct str name, struct str *out_value)
{
    int count = 0;
    for (uint32_t i = 0; i < request->fields.count; i++) {
        const struct http_header *header = &request->fields.headers[i];
        if (header->field == HTTP_FIELD_COOKIE) {
            count += find_in(header->value, name, out_value);
        }
    }
    return count;
}
