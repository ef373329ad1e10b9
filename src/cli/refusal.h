/* What an answer of the API that is no success means: an exit code, and words with what to do next.
 * Pure but for the caller's buffer. */
#ifndef TIDEGATE_CLI_REFUSAL_H
#define TIDEGATE_CLI_REFUSAL_H

#include <stdbool.h>

#include "base/buf.h"
#include "proto/json.h"

struct refusal {
    int status;
    struct json_value body; /* an object, or JSON_TYPE_NONE */
    struct str retry_after; /* the header's value; empty when there is none */
    const char *scope;      /* that the call needs: "push" */
    bool is_push;           /* which may be repeated with its id */
};

/* Appends "refused with 403 scope_missing: …; use a key that has the scope push". Returns an enum
 * exit_code. */
int refusal_explain(const struct refusal *refusal, struct buf *words);

/* An answer that tidegate would not give. */
int refusal_not_ours(int status, struct buf *words);

#endif
