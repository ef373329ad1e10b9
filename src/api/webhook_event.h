/* One event for an app's webhooks: a CloudEvent 1.0 in structured JSON, encoded once, which each of
 * the app's endpoints that asked for its type sends as it is. Made by any thread, then the
 * webhooks' thread alone has it. */
#ifndef TIDEGATE_API_WEBHOOK_EVENT_H
#define TIDEGATE_API_WEBHOOK_EVENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mail.h"
#include "core/settings.h"

struct webhook_event {
    struct mail mail; /* to the webhooks' thread */
    void *owner;      /* of the mail */
    uint32_t refs;    /* the webhooks' thread's: endpoints that still have it */
    enum settings_event type;
    uint16_t app;          /* the tenant's number */
    uint32_t subject_hash; /* events of one subject go out one after the other */
    uint64_t born_ms;      /* monotonic */
    size_t size;           /* of all this */
    const char *app_name;  /* this and the next two are in memory behind the struct */
    struct str id;
    struct str body;
};

/* What it says; all texts are copied. id: the same when the same event is told twice (by two nodes,
 * or after a restart of the teller), so that the app drops the repeat. */
struct webhook_event_parts {
    enum settings_event type;
    uint16_t app;
    struct str app_name, cluster, node;
    struct str id;
    struct str subject_kind; /* "users", "sessions", "messages" */
    struct str subject_name; /* URL-encoded as it is written */
    uint64_t wall_ms;        /* when it happened */
    uint64_t now_ms;         /* monotonic */
    struct str data;         /* JSON */
};

/* NULL when memory is out. */
struct webhook_event *webhook_event_create(const struct webhook_event_parts *parts);
void webhook_event_destroy(struct webhook_event *event); /* NULL is fine */

#endif
