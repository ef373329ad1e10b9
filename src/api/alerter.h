/* The built-in alerter: looks at the metrics of this process each alerts.interval, knows what is
 * pending and firing (alert_book.h), logs each change, and tells the receivers of the configuration
 * (alert_sender.h). For sites without a Prometheus; with one it says the same.
 *
 * It belongs to the main thread; GET /v1/alerts asks from workers, through a lock. What it can't
 * see is its own node's death: the others do (TidegateClusterNodeLost). */
#ifndef TIDEGATE_API_ALERTER_H
#define TIDEGATE_API_ALERTER_H

#include "api/alert_book.h"
#include "core/settings.h"
#include "net/loop.h"

struct alerter; /* alerter.c */
struct fetcher;

/* A reference to the settings is taken. 0 or ERR_NO_MEMORY. */
int alerter_create(struct alerter **out_alerter, struct loop *loop, struct fetcher *fetcher,
                   struct settings *settings);
void alerter_destroy(struct alerter *alerter); /* NULL is fine */

/* Main thread, in a reload. */
void alerter_set_settings(struct alerter *alerter, struct settings *settings);

/* Any thread: appends each alert that is not forgotten as a JSON object, ended by a NUL. */
void alerter_write(struct alerter *alerter, struct buf *out);

/* Any thread: the rules as the site has them, a JSON array. */
void alerter_write_rules(struct alerter *alerter, struct buf *out);

/* Any thread: how many fire. */
size_t alerter_firing(struct alerter *alerter);

/* For tests: a pass at this moment. */
void alerter_look(struct alerter *alerter, uint64_t now_ms, uint64_t wall_ms);

#endif
