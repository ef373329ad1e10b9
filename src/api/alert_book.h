/* All alert rules at work: which conditions hold, since when, and what is firing. Pure but for
 * memory: samples and times are arguments; alerter.h gives it the registry and a clock.
 *
 * An alert is one rule and one group of series, as in Prometheus: inactive until the condition
 * holds, pending until it has held for the rule's time, then firing, and resolved once it holds no
 * more. Resolved ones are kept for ALERT_KEEP_MS, so that receivers that were away hear of them;
 * one that is pending again and then not becomes resolved again while a receiver thinks that it
 * fires. */
#ifndef TIDEGATE_API_ALERT_BOOK_H
#define TIDEGATE_API_ALERT_BOOK_H

#include "api/alert_query.h"

enum { ALERT_KEEP_MS = 15 * 60 * 1000, ALERT_RECEIVERS_MAX = 8 };

enum alert_state { ALERT_PENDING, ALERT_FIRING, ALERT_RESOLVED };

/* What a receiver was told last of an alert; 0: nothing. sending_ms: a notice is under way. */
struct alert_told {
    uint64_t at_ms, sending_ms;
    bool is_resolved, sending_resolved;
};

/* Times ending in _at are wall, in ms since 1970; the others monotonic. */
struct alert {
    struct alert *next;
    const struct alert_rule *rule;
    enum alert_state state;
    double value;                                /* when it was last true */
    uint64_t since_ms;                           /* when the condition began to hold */
    uint64_t changed_ms;                         /* when it got its state */
    uint64_t active_at;                          /* since_ms */
    uint64_t fired_at;                           /* the last time; 0: not yet */
    uint64_t resolved_at;                        /* the last time; 0: it fires, or not yet */
    struct alert_told told[ALERT_RECEIVERS_MAX]; /* alert_notice.h */
    char labels[];                               /* of its group */
};

/* Of a rule. */
enum alert_part {
    ALERT_VALUE,
    ALERT_DIVISOR,
    ALERT_ALSO,
    ALERT_ALSO_DIVISOR,
    ALERT_QUERIES,
};

struct alert_rule_state {
    struct alert_rule rule; /* with the site's threshold and hold time */
    bool is_on;
    struct alert_query_state queries[ALERT_QUERIES];
    struct alert *alerts;
};

struct alert_book {
    struct alert_rule_state *rules; /* of the whole table, but for external ones */
    size_t rule_count;
    uint64_t left_out; /* series, in the last pass; alerts for want of memory too */
    /* An alert got another state (ALERT_PENDING never is one). May be NULL. */
    void (*on_change)(void *owner, const struct alert *alert);
    void *owner;
    const char *family;                                                /* of the sample before */
    struct alert_query_state *takers[ALERT_QUERIES * ALERT_RULES_MAX]; /* of that family */
    size_t taker_count;
};

/* 0 or ERR_NO_MEMORY. fini takes a half-built one. */
int alert_book_init(struct alert_book *book);
void alert_book_fini(struct alert_book *book);

/* The site's changes of the rules; settings NULL: none. What is switched off resolves in the next
 * pass. */
void alert_book_set(struct alert_book *book, const struct settings_alerts *settings);

/* One pass: begin, all samples as metrics_visit shows them, end. */
void alert_book_begin(struct alert_book *book);
void alert_book_sample(void *book, const struct metric_sample *sample);
void alert_book_end(struct alert_book *book, uint64_t now_ms, uint64_t wall_ms);

const char *alert_state_name(enum alert_state state);

#endif
