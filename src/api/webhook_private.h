/* What the sources of webhook share; nobody else includes it.
 *   webhook.c           the thread, events on their way to it, which endpoints there are
 *   webhook_endpoint.c  one endpoint: its queue and its requests */
#ifndef TIDEGATE_API_WEBHOOK_PRIVATE_H
#define TIDEGATE_API_WEBHOOK_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/webhook.h"
#include "api/webhook_queue.h"
#include "api/webhook_stats.h"
#include "net/mailbox.h"

struct fetcher;

struct endpoint {
    struct endpoint *next;
    struct webhooks *webhooks;
    struct settings *settings; /* a reference: webhook is in there */
    const struct settings_webhook *webhook;
    struct webhook_app app;  /* its name is owned */
    uint32_t number;         /* of the app's, for people */
    struct fetcher *fetcher; /* NULL: not made yet */
    bool is_closing;         /* its requests are being ended */
    bool is_busy;            /* a request is under way, or would be if there was more time */
    struct timer timer;
    struct webhook_queue queue;
};

struct webhooks {
    struct loop *loop;
    struct mailbox mailbox;
    pthread_t thread;
    bool has_mailbox, is_started;
    bool is_ending;
    struct mail stop;
    struct endpoint *endpoints; /* the thread's, once it is started */
    atomic_size_t *queued;      /* by the app's number */
    atomic_size_t arriving;     /* events on their way to the thread */
    atomic_size_t busy;         /* endpoints: see is_busy */
};

/* webhook.c: drops a reference; the last one frees it. */
void webhook_unref_event(struct endpoint *endpoint, struct webhook_event *event);

/* webhook_endpoint.c: number is the place among the app's. NULL when memory is out. */
struct endpoint *endpoint_create(struct webhooks *webhooks, struct settings *settings,
                                 const struct tenant *tenant, size_t number);

/* What is in the queue is a dead letter, with this reason (a literal). */
void endpoint_destroy(struct endpoint *endpoint, const char *reason);

/* Of the same app, with the same URL. */
bool endpoint_is_same(const struct endpoint *a, const struct endpoint *b);

/* The old one lives on with the settings of the fresh one, which is freed. Returns the old one. */
struct endpoint *endpoint_renew(struct endpoint *old, struct endpoint *fresh);

/* Sends what may be sent now, and looks again when there may be more. */
void endpoint_pump(struct endpoint *endpoint);

#endif
