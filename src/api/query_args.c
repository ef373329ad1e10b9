#include "api/query_args.h"

#include <stdio.h>

#include "base/err.h"
#include "proto/uri.h"
#include "server/token.h"

bool query_args_text(struct api_call *call, const char *name, const char *code,
                     char scratch[API_NAME_BYTES], struct str *out)
{
    ssize_t len = uri_query_get(call->request->query, str_of(name), scratch, API_NAME_BYTES);
    struct str text = str_make(scratch, len > 0 ? (size_t)len : 0);
    if (len > 0 && !token_name_is_clean(text, api_limits(call->worker)->name_bytes)) {
        len = ERR_SYNTAX;
    }
    if (len < 0 && len != ERR_NOT_FOUND) {
        char detail[128];
        snprintf(detail, sizeof(detail),
                 "`%s` is too long, is there twice, or has control characters.", name);
        api_refuse(call, 422, code, detail);
        return false;
    }
    *out = len == ERR_NOT_FOUND ? *out : text;
    return true;
}

bool query_args_number(struct api_call *call, const char *name, const char *code, uint64_t min,
                       uint64_t max, uint64_t *out)
{
    char digits[24];
    ssize_t len = uri_query_get(call->request->query, str_of(name), digits, sizeof(digits));
    uint64_t number = *out;
    if (len == ERR_NOT_FOUND ||
        (len > 0 && str_to_u64(str_make(digits, (size_t)len), max, &number) && number >= min)) {
        *out = number;
        return true;
    }
    char detail[128];
    snprintf(detail, sizeof(detail), "`%s` is a number of %llu to %llu.", name,
             (unsigned long long)min, (unsigned long long)max);
    api_refuse(call, 422, code, detail);
    return false;
}
