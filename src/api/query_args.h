/* What the query of a GET asks for: each option at most once. */
#ifndef TIDEGATE_API_QUERY_ARGS_H
#define TIDEGATE_API_QUERY_ARGS_H

#include "api/api.h"

/* Both answer 422 with the code (a literal: "invalid_<name>") and return false when the option is
 * there and wrong; without it *out stays as it is. */

/* A text without control characters, at most limits.name long; borrowed from scratch. An empty one
 * is fine. */
bool query_args_text(struct api_call *call, const char *name, const char *code,
                     char scratch[API_NAME_BYTES], struct str *out);
bool query_args_number(struct api_call *call, const char *name, const char *code, uint64_t min,
                       uint64_t max, uint64_t *out);

#endif
