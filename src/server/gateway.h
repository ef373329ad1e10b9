/* A running node: the bus thread, the workers, and what they share. The main thread makes it,
 * reloads it, drains it and takes it down; workers live in worker.h. */
#ifndef TIDEGATE_SERVER_GATEWAY_H
#define TIDEGATE_SERVER_GATEWAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"
#include "core/cluster.h"
#include "core/hub.h"
#include "core/settings.h"
#include "net/addr.h"
#include "net/mailbox.h"
#include "server/admission.h"
#include "server/bus_health.h"
#include "server/cluster_keys.h"
#include "server/drain.h"
#include "server/hub_gate.h"
#include "server/listen_tls.h"
#include "server/tenants.h"

struct alerter;
struct bus_engine;
struct gateway;
struct http_exchange;
struct presence_change;
struct sampler;
struct session;
struct span_sink;
struct webhooks;
struct worker;

/* What the layers above plug in; all run on workers. */
struct gateway_hooks {
    /* A request on the API listener; on_api_head may refuse before the body is read. */
    void (*on_api_head)(struct worker *worker, struct http_exchange *exchange);
    void (*on_api_request)(struct worker *worker, struct http_exchange *exchange);
    /* A request on the client listener that is no connect. */
    void (*on_client_request)(struct worker *worker, struct http_exchange *exchange);
    /* The bus thread: another node asks something; for cluster_answer, or cluster_ask_destroy once
     * gateway->cluster is NULL. NULL: nobody answers. */
    void (*on_node_ask)(struct gateway *gateway, struct cluster_ask *ask);
    /* What an app's webhooks may want to know (settings_app.webhook_events says what they do); NULL
     * is fine. A session has started; such a one ends (reason: a literal); a client's `send`, with
     * data as JSON: returns NULL when that is taken, else the code for `err`. */
    void (*on_session_opened)(struct worker *worker, struct session *session);
    void (*on_session_closed)(struct worker *worker, struct session *session, const char *reason);
    const char *(*on_client_message)(struct worker *worker, struct session *session,
                                     struct str type, struct str data);
    /* A user is online or offline now, and this node is to tell; on any worker. */
    void (*on_user_changed)(struct worker *worker, const struct presence_change *change);
    /* The thread ends: what it kept for itself is freed. */
    void (*on_worker_end)(void);
};

struct gateway_options {
    struct settings *settings; /* a reference is taken */
    const struct bus_engine *engine;
    struct gateway_hooks hooks;
    struct addr client; /* where to listen; port 0 picks one */
    struct addr api;
    struct listen_tls tls;        /* references are taken; admin is not used */
    struct mailbox *main_mailbox; /* borrowed; NULL: nothing is reloaded */
    struct webhooks *webhooks;    /* borrowed, for the hooks; NULL: there are none */
    struct span_sink *spans;      /* borrowed; NULL: nobody follows traces */
    struct sampler *sampler;      /* borrowed, for the API; NULL: nothing is sampled */
    struct alerter *alerter;      /* borrowed, for GET /v1/alerts; NULL: there is none */
    bool has_client;
    bool has_api;
};

/* What the workers were told last. */
struct drain_order {
    struct drain_plan plan;
    uint64_t ends_ms; /* monotonic */
    bool is_on;
    bool is_final; /* the process ends */
};

struct gateway {
    struct gateway_options options;
    struct worker *workers; /* worker_count of them */
    uint32_t worker_count;
    uint32_t workers_made; /* so far, while it is being made */
    struct hub *hub;
    struct cluster *cluster; /* the hub's; NULL once that is gone */
    struct bus *bus;         /* the hub's; for its engine and stats */
    struct loop *hub_loop;
    struct mailbox hub_mailbox;
    struct hub_gate gate;          /* in front of the hub */
    struct hub_thread *hub_thread; /* private */
    struct cluster_keys keys;
    uint32_t boot;
    char node[SETTINGS_NODE_MAX + 1]; /* its name, for people */
    struct bus_health bus_health;
    struct bus_callbacks bus_callbacks; /* the hub's, with the time */
    struct admission admission;
    pthread_mutex_t drain_lock;
    struct drain_order drain; /* under the lock */
    atomic_bool draining;     /* drain.is_on */
    struct addr client_addr;  /* bound */
    struct addr api_addr;
    uint64_t started_ms;
    atomic_uint reloading; /* workers that have not taken the new settings yet */
    void (*on_reloaded)(void *owner);
    void *reload_owner;
    struct mail reloaded;
    struct mail leave;
};

/* Makes everything but starts no thread. On failure *out_problem (a literal or static text) says
 * what. */
int gateway_create(struct gateway **out_gateway, const struct gateway_options *options,
                   const struct tenants *tenants, const char **out_problem);
int gateway_start(struct gateway *gateway);

/* Stops the threads at once and frees all. Mails that wait in main_mailbox are run. NULL is fine.
 */
void gateway_destroy(struct gateway *gateway);

/* Main thread: new settings, tenants and TLS to every worker (references to the settings and
 * contexts are taken, the tenants are borrowed). on_done runs on the loop of main_mailbox once no
 * worker uses the old ones any more. One at a time: ERR_UNAVAILABLE while another is under way. */
int gateway_reload(struct gateway *gateway, struct settings *settings,
                   const struct tenants *tenants, const struct listen_tls *tls,
                   void (*on_done)(void *owner), void *owner);

/* Any thread: nobody is let in any more, and sessions are told to go within window_ms, or longer
 * for the rate; see gateway_is_empty. While this lasts, a call that would be over sooner takes its
 * place, and another changes nothing. is_final: there is no way back. Returns the ms until all are
 * gone. */
uint64_t gateway_drain(struct gateway *gateway, const struct settings_drain *settings,
                       uint64_t window_ms, bool is_final);

/* Any thread: who comes is let in again, and who was not closed yet is not. False after a final
 * drain. Without a drain it is true and changes nothing. */
bool gateway_resume(struct gateway *gateway);

/* Any thread: a copy of gateway->drain. */
struct drain_order gateway_drain_order(struct gateway *gateway);

/* No session is left. */
bool gateway_is_empty(const struct gateway *gateway);

/* Main thread, once: no connection is accepted any more, requests that have arrived are answered,
 * and their connections closed. See gateway_has_callers. */
void gateway_drain_callers(struct gateway *gateway);

/* Some HTTP connection is left after gateway_drain_callers. */
bool gateway_has_callers(const struct gateway *gateway);

/* Main thread, once, at the end: tells the other nodes. gateway_has_left: that is done. */
void gateway_leave(struct gateway *gateway);
bool gateway_has_left(const struct gateway *gateway);

/* 200 from /readyz: NULL, or why not, written to text. Any thread. */
enum { GATEWAY_WHY_BYTES = BUS_HEALTH_TEXT + 32 };
const char *gateway_not_ready(struct gateway *gateway, char text[GATEWAY_WHY_BYTES]);

/* A worker uses the new settings now. */
void gateway_worker_reloaded(struct gateway *gateway);

/* Any worker thread: takes the publish to the bus thread at the end of this turn. */
void gateway_publish(struct worker *worker, struct publish *publish);

#endif
