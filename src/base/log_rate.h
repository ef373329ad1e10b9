/* Who may speak: at most 10 lines a second an event name. Part of log.c; the caller locks. */
#ifndef TIDEGATE_BASE_LOG_RATE_H
#define TIDEGATE_BASE_LOG_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LOG_RATE_EVENTS = 256,
    LOG_RATE_LINES = 10,
    LOG_RATE_WINDOW_MS = 1000,
    LOG_RATE_KEEP = 16,
    LOG_RATE_KEEP_MS = 10000
};

struct log_rate_entry {
    const char *event; /* borrowed, a literal; NULL: free */
    uint64_t window_start_ms;
    uint32_t spoken;  /* in this window */
    int level;        /* of the line that was held back last */
    uint64_t keep_ms; /* see log_rate_keep: when all that were kept are paid for */
    uint64_t suppressed;
};

/* Zeroed: empty. */
struct log_rate {
    struct log_rate_entry entries[LOG_RATE_EVENTS];
    struct log_rate_entry others; /* all names that came when the table was full */
    bool is_holding;              /* some has suppressed lines */
};

/* Whether a line of this event may be written now; if so, *out_suppressed is how many were not
 * since its last one. Equal texts are one event, whatever their addresses. level is kept for
 * log_rate_next. */
bool log_rate_allow(struct log_rate *rate, const char *event, int level, uint64_t now_ms,
                    uint64_t *out_suppressed);

/* Whether a line of this event, which may be written, is worth remembering: 16 at once and then one
 * each 10 s, so that one event that a peer can provoke does not push all others out. */
bool log_rate_keep(struct log_rate *rate, const char *event, uint64_t now_ms);

/* An event of which lines were held back and whose window is over by now, so that nothing may
 * follow that says so: *out_entry is a copy, and its count starts anew. False: there is none
 * (more). The event of lines beyond the table is NULL. */
bool log_rate_next(struct log_rate *rate, uint64_t now_ms, struct log_rate_entry *out_entry);

#endif
