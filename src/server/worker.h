/* One worker thread: its loop, listeners, sessions and caches. Workers share nothing but the
 * gateway. */
#ifndef TIDEGATE_SERVER_WORKER_H
#define TIDEGATE_SERVER_WORKER_H

#include <pthread.h>

#include "core/shard.h"
#include "net/listener.h"
#include "net/mailbox.h"
#include "server/frame_cache.h"
#include "server/gateway.h"
#include "server/http_conn.h"
#include "server/out_queue.h"
#include "server/watch.h"

/* Searches: how many frames of slow sessions one turn looks at for those that are superseded or
 * cancelled, lest a push or a cancel costs a walk through all that waits. Over it they stay where
 * they are, and are sent. */
enum { WORKER_RECEIVE_BYTES = 64 * 1024, WORKER_SEARCHES = 64 * 1024 };

/* Something of a layer above that waits on a worker, in a list: cancelled when the worker ends
 * before it is done. */
struct worker_pending {
    struct worker_pending *next, **link;            /* link NULL: not in the list */
    void (*cancel)(struct worker_pending *pending); /* takes it out of the list */
};

/* A session that must end, later in this turn: core may be walking it right now. */
struct doomed {
    uint32_t slot;
    uint32_t generation;
    uint16_t close_code;
};

struct worker {
    struct gateway *gateway;
    uint32_t index;
    pthread_t thread;
    bool started;
    struct loop *loop;
    struct mailbox mailbox;
    struct listener *client_listener;
    struct listener *api_listener;
    struct http_service *client_http;
    struct http_service *api_http;
    struct shard *shard;
    struct settings *settings;     /* a reference */
    const struct tenants *tenants; /* borrowed from the main thread until it reloads */
    uint8_t *receive_buffer;
    struct frame_cache frames;
    struct out_pool pool;
    struct ws_inflater *inflater;
    uint32_t *dirty; /* slots whose queue is flushed at the turn's end */
    uint32_t dirty_count, dirty_cap;
    uint64_t measured;      /* of the message whose deliveries are timed, see note_written */
    uint32_t written_since; /* deliveries of it since the last one that was timed */
    uint32_t search_budget; /* WORKER_SEARCHES a turn, see there */
    struct doomed *doomed;
    uint32_t doomed_count, doomed_cap;
    struct mail_chain to_hub; /* leaves at the turn's end */
    struct mail *spare_notes; /* of presence: one for each user that the hub was told of */
    struct mail_chain done;   /* publishes that came back while this worker ran the hub */
    struct worker_pending *pending;
    struct watches watches; /* of sessions whose frames somebody looks at */
    struct mail ring_mail;  /* posted by the bus thread: there is something in the ring */
    atomic_bool ring_posted;
    bool ring_ready;          /* shard_run has work */
    struct timer shard_timer; /* the shard wants to run again then */
    bool corking;             /* frames of this turn leave together */
    bool draining;
    bool has_mailbox;
    struct mail catch_up_mail, stop_mail, drain_mail, callers_mail;
    atomic_bool callers_told; /* HTTP connections are being closed */
    atomic_bool drain_posted;
    uint64_t drain_started_ms;
    struct drain_plan drain;
    struct timer users_timer;   /* for counting its users anew */
    struct timer leaving_timer; /* after a resume: who was told to go is gone */
    uint32_t drain_cursor;      /* next slot to be told to go; 0: nobody */
};

/* A reload on its way to one worker. */
struct worker_reload {
    struct mail mail;
    struct worker *worker;
    struct settings *settings; /* a reference */
    const struct tenants *tenants;
    struct listen_tls tls;
};

/* On failure, worker_fini all the same. */
int worker_init(struct worker *worker, struct gateway *gateway, uint32_t index,
                const struct tenants *tenants);

/* NULL: not this one. Writes back the port that was bound. */
int worker_listen(struct worker *worker, struct addr *client, struct addr *api);
int worker_start(struct worker *worker);

/* One turn on the calling thread, in place of a thread of its own: for tests. */
int worker_turn(struct worker *worker, int max_wait_ms);

/* Joins the thread. */
void worker_stop(struct worker *worker);

/* Stopped: ends sessions and listeners; the hub must still be there. Then worker_fini frees the
 * rest. */
void worker_close(struct worker *worker);
void worker_fini(struct worker *worker);

/* Between the two: runs mails that wait; true when there were any. Then, when no worker has any
 * left, cancels what is pending. */
bool worker_run_mails(struct worker *worker);
void worker_cancel_pending(struct worker *worker);

/* On the worker. */
void worker_add_pending(struct worker *worker, struct worker_pending *pending);
void worker_remove_pending(struct worker_pending *pending); /* fine when it is not in the list */

/* On the worker: whether the shard knows the app by now. False when memory was out at the reload
 * that brought it, and still is. */
bool worker_takes_app(struct worker *worker, const struct tenant *tenant);

/* Any thread: it reads gateway_drain_order anew. */
void worker_drain(struct worker *worker);

/* Main thread. */
struct worker_reload *worker_reload_create(struct worker *worker, struct settings *settings,
                                           const struct tenants *tenants,
                                           const struct listen_tls *tls);
void worker_reload_destroy(struct worker_reload *reload); /* one that was not posted */
void worker_drain_callers(struct worker *worker);

/* Any thread: runs on the worker. */
void worker_post(struct worker *worker, struct mail *mail);

/* Whoever runs the hub: the ring has something; these publishes are done. */
void worker_wake(struct worker *worker);
void worker_give_back(struct worker *worker, struct mail_chain *done);

/* On the worker: what the hub is to get at the end of this turn. */
void worker_send_to_hub(struct worker *worker, struct mail *mail);

/* The worker whose thread this is; NULL on others. */
struct worker *worker_current(void);

static inline uint64_t worker_now_ms(const struct worker *worker)
{
    return loop_now_ms(worker->loop);
}

#endif
