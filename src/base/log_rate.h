/* Who may speak: at most 10 lines a second an event name. Part of log.c; the caller locks. */
#ifndef TIDEGATE_BASE_LOG_RATE_H
#define TIDEGATE_BASE_LOG_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum { LOG_RATE_EVENTS = 256, LOG_RATE_LINES = 10, LOG_RATE_WINDOW_MS = 1000 };

struct log_rate_entry {
    const char *event; /* borrowed, a literal; NULL: free */
    uint64_t window_start_ms;
    uint32_t spoken; /* in this window */
    uint64_t suppressed;
};

/* Zeroed: empty. */
struct log_rate {
    struct log_rate_entry entries[LOG_RATE_EVENTS];
    struct log_rate_entry others; /* all names that came when the table was full */
};

/* Whether a line of this event may be written now; if so, *out_suppressed is how many were not
 * since its last one. Equal texts are one event, whatever their addresses. */
bool log_rate_allow(struct log_rate *rate, const char *event, uint64_t now_ms,
                    uint64_t *out_suppressed);

#endif
