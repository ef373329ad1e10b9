/* What the sources of push_parse share; nobody else includes it.
 *   push_parse.c      a JSON object
 *   push_parse_raw.c  a raw body with options in the query */
#ifndef TIDEGATE_API_PUSH_PARSE_PRIVATE_H
#define TIDEGATE_API_PUSH_PARSE_PRIVATE_H

#include "api/push_parse.h"

/* Both return false. */
bool push_fail(struct push_error *error, int status, const char *code, const char *detail);
bool push_out_of_memory(struct push_error *error);

/* Scratch is reserved once for a whole input, since texts point into it. */
bool push_reserve_scratch(struct push *push, size_t len);

bool push_set_final(struct push *push, struct push_error *error);
bool push_set_wait(struct push *push, struct str wait, struct push_error *error);

#endif
