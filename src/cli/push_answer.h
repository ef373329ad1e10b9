/* What the gateway's answer to a push means: an exit code, a line for stdout, words for stderr.
 * Pure but for the caller's buffers. */
#ifndef TIDEGATE_CLI_PUSH_ANSWER_H
#define TIDEGATE_CLI_PUSH_ANSWER_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

struct push_answer {
    int status;
    struct str body;
    struct str retry_after; /* the header's value; empty when there is none */
    bool as_json;           /* the body itself goes to stdout, refusals too */
};

/* Appends to out the line(s) for stdout and to words what went wrong and what to do next (nothing
 * when all is well). Returns an enum exit_code. */
int push_answer_judge(const struct push_answer *answer, struct buf *out, struct buf *words);

#endif
