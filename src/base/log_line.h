/* Builds one log line, a JSON object and a newline, in memory of the caller. Part of log.c; pure.
 */
#ifndef TIDEGATE_BASE_LOG_LINE_H
#define TIDEGATE_BASE_LOG_LINE_H

#include <stdbool.h>

#include "base/log.h"
#include "base/str.h"

/* A byte becomes at most six (\u001b), so a line of all at their longest fits. */
enum {
    LOG_EVENT_MAX = 128,
    LOG_MESSAGE_MAX = 2048,
    LOG_PAIRS_MAX = 2048, /* values of all pairs together */
    LOG_LINE_MAX = 28 * 1024
};

/* One key of a line. */
struct log_pair {
    const char *name; /* a literal */
    struct str value; /* empty: left out */
    bool is_raw;      /* JSON already, our own: a number, true */
};

struct log_line {
    uint64_t wall_ms;  /* since 1970-01-01 UTC */
    const char *level; /* a literal */
    struct str event;  /* cut at LOG_EVENT_MAX */
    const struct log_pair *pairs;
    size_t pair_count;
    struct str message;  /* cut at LOG_MESSAGE_MAX */
    bool cut;            /* an ellipsis follows the message */
    uint64_t suppressed; /* 0: not shown */
};

/* Returns the length, newline included. */
size_t log_line_build(char out[static LOG_LINE_MAX], const struct log_line *line);

/* "debug", "info", "warn", "error" */
const char *log_line_level_name(enum log_level level);

#endif
