/* Tells receivers of alerts by HTTP. Each has at most one request under way, made anew from what
 * the book says at that moment, so nothing queues up however long one is away: after a failure it
 * rests, longer each time, and then hears all that it has missed. Main thread.
 *
 * Receivers are the operator's own: their addresses are not restricted as those of webhooks are. */
#ifndef TIDEGATE_API_ALERT_SENDER_H
#define TIDEGATE_API_ALERT_SENDER_H

#include "api/alert_notice.h"
#include "net/fetch.h"

struct alert_sender; /* alert_sender.c */

/* book and site are borrowed; they hold still while a call into here lasts. 0 or ERR_NO_MEMORY. */
int alert_sender_create(struct alert_sender **out_sender, struct loop *loop,
                        struct fetcher *fetcher, const struct alert_book *book,
                        const struct alert_site *site);

/* What is under way is given up. NULL is fine. */
void alert_sender_destroy(struct alert_sender *sender);

/* site->settings are other ones; those before still exist. Receivers that are the same keep what
 * they know. */
void alert_sender_set_receivers(struct alert_sender *sender);

/* The book may have changed. */
void alert_sender_pump(struct alert_sender *sender);

#endif
