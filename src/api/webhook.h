/* Webhooks: what happens is told to the apps by HTTP. A thread of its own with a queue for each
 * endpoint (webhook_queue.h) sends what workers and the bus thread hand over; these never wait.
 *
 * Nothing leads where it should not: a connection is made only to an address that was just looked
 * at (of the public Internet, or in the endpoint's `allow`), redirects are not followed, and each
 * endpoint has connections of its own, so that none is used for whom it was not allowed.
 *
 * What waits is bounded for each app by limits.webhook_queue; what is over it, given up or refused
 * is a dead letter, counted by its reason. */
#ifndef TIDEGATE_API_WEBHOOK_H
#define TIDEGATE_API_WEBHOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "api/webhook_event.h"
#include "server/tenants.h"

struct webhooks; /* webhook.c */
struct endpoint_set;

/* Starts the thread. 0, ERR_NO_MEMORY or -errno. */
int webhooks_create(struct webhooks **out_webhooks, const struct tenants *tenants);

/* The main thread, in a reload: makes the endpoints, which change nothing until they are applied,
 * and takes a reference to the settings. 0, ERR_NO_MEMORY or -errno. */
int webhooks_prepare(struct endpoint_set **out_set, struct webhooks *webhooks,
                     const struct tenants *tenants);

/* The main thread: one of these ends the set. Applied, endpoints of the same app and URL keep what
 * they have. */
void webhooks_apply(struct endpoint_set *set);
void webhooks_discard(struct endpoint_set *set); /* NULL is fine */

/* Ends the thread; what is not sent is a dead letter. NULL is fine. */
void webhooks_destroy(struct webhooks *webhooks);

/* Any thread. Nothing is under way, and what waits, waits for an endpoint that has just failed. */
bool webhooks_are_idle(const struct webhooks *webhooks);

/* Any thread. Hands an event over, which is not the caller's any more. 0, or ERR_UNAVAILABLE: the
 * app's queue is full; it is a dead letter then, and so is NULL (memory was out). */
int webhooks_post(struct webhooks *webhooks, const struct tenant *tenant,
                  struct webhook_event *event, uint64_t queue_bytes);

#endif
