/* What receivers are told of alerts, as JSON: which alerts need telling, and in which words. Pure:
 * alert_sender.h brings it there.
 *
 * An Alertmanager (its v2 API) forgets what is not said again, so firing alerts are repeated each
 * ALERT_RESEND_MS, each time with an end four times as far ahead; a node that dies lets its alerts
 * run out. A resolved one is told with the time of its end, and again until the book forgets it. A
 * plain webhook is told of each change, and of what still fires each ALERT_REPEAT_MS. */
#ifndef TIDEGATE_API_ALERT_NOTICE_H
#define TIDEGATE_API_ALERT_NOTICE_H

#include "api/alert_book.h"
#include "core/settings.h"

enum {
    ALERT_RESEND_MS = 60 * 1000,
    ALERT_REPEAT_MS = 4 * 3600 * 1000,
    ALERT_NOTICE_MAX = 64, /* alerts in one */
};

/* Who speaks; borrowed. */
struct alert_site {
    struct str cluster, node;
    const struct settings_alerts *settings;
};

struct alert_notice {
    unsigned receiver; /* its place in alert.told */
    enum settings_receiver_kind kind;
    uint64_t now_ms, wall_ms;
};

/* Appends the body of a request and returns how many alerts are in it; 0: nothing needs telling,
 * and nothing was written. What is in it counts as told only by alert_notice_done. */
size_t alert_notice_write(struct buf *out, const struct alert_book *book,
                          const struct alert_site *site, const struct alert_notice *notice);

/* The last notice to the receiver has arrived, or, is_taken false, has not. */
void alert_notice_done(const struct alert_book *book, unsigned receiver, bool is_taken);

/* All receivers are others than before: nobody was told anything. */
void alert_notice_forget(const struct alert_book *book);

/* The labels of an alert as members of a JSON object, without braces. */
void alert_write_labels(struct buf *out, const struct alert *alert, const struct alert_site *site);

/* Only those of its group. */
void alert_write_group_labels(struct buf *out, const struct alert *alert);

#endif
