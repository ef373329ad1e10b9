#include "server/bearer.h"

static bool is_visible(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~') {
            return false;
        }
    }
    return text.len > 0;
}

bool bearer_parse(struct str authorization, struct str *out_credential)
{
    struct str rest = authorization;
    struct str scheme;
    if (!str_split(&rest, ' ', &scheme) || !str_equal_nocase(scheme, STR("Bearer")) || !rest.ptr) {
        return false;
    }
    rest = str_trim(rest);
    if (!is_visible(rest)) {
        return false;
    }
    *out_credential = rest;
    return true;
}
