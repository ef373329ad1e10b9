/* The bus thread's part of a node: packs pushes into records, takes records back in queue order
 * into the window, and hands each event to the workers that have its target. It owns the interest
 * table (target key → bit mask of workers), never waits and never drops: a worker whose ring is
 * full is marked behind and reads the window itself. No socket and no clock in here; one thread at
 * a time calls everything but what says "any thread": whoever is inside the gate
 * (docs/decisions/0010), which is what "the bus thread" means here and in the files beside. */
#ifndef TIDEGATE_CORE_HUB_H
#define TIDEGATE_CORE_HUB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mail.h"
#include "base/siphash.h"
#include "bus/bus.h"
#include "core/ring.h"
#include "core/target.h"
#include "core/window.h"

struct cluster;
struct hub; /* hub.c */
struct kept_stats;
struct publish;

enum { HUB_MAX_WORKERS = 64, HUB_NO_WORKER = UINT32_MAX };
enum { HUB_TICKET_MESSAGES = 256 };
enum { HUB_EPOCH_MAX = BUS_EPOCH_MAX + 17 /* bytes */ };

struct hub_options {
    uint32_t workers; /* 1 to HUB_MAX_WORKERS */
    uint32_t queues;
    uint64_t window_bytes;
    uint64_t window_age_ms;
    uint64_t backlog_bytes; /* events that wait for the bus; over it a push fails */
    uint32_t record_bytes;  /* a record is closed when it reaches this; one event may exceed it */
    uint32_t ring_slots;    /* a power of two */
    uint32_t boot;          /* this run of this node, as events carry it */
    struct target_space space;
    struct siphash_key sid_key; /* session ids */
    uint64_t kept_results;      /* bytes of an app that wait for tickets; 0: KEPT_RESULT_BYTES */
    uint32_t ticket_messages;   /* that wait for one ticket; 0: HUB_TICKET_MESSAGES */
    uint64_t kept_tickets; /* and of who has which, and that it is over; 0: KEPT_TICKET_BYTES */
    uint64_t kept_others;  /* and of the rest that outlives the window; 0: KEPT_OTHER_BYTES */
};

/* How far each queue is: what positions a node has passed. */
struct hub_heads {
    struct bus_pos pos[BUS_MAX_QUEUES];
    uint64_t started; /* bit q: queue q is known here; of others (their broker is away) nobody can
                       * say what a client missed, which comes when they start */
};

/* A stretch of every queue: after from, up to and including to. */
struct hub_span {
    struct hub_heads from;
    struct hub_heads to;
};

/* Why messages are lost to a session. */
enum session_gap_why {
    SESSION_GAP_EXPIRED,  /* older than the window, or than what the bus keeps */
    SESSION_GAP_OVERFLOW, /* the window was too small, or memory was out */
    SESSION_GAP_BUS,      /* the bus lost them */
    SESSION_GAP_EPOCH,    /* the bus has another history now */
};

enum interest_op {
    INTEREST_ADD,
    INTEREST_REMOVE,
    INTEREST_JOINED,     /* answers a join by the API: the worker has the group now */
    INTEREST_NOT_JOINED, /* answers one: it has not */
};

struct interest_item {
    uint64_t key;
    enum interest_op op; /* JOINED and NOT_JOINED: one for each join event that was handed over */
    uint32_t app;        /* target_app_hash, for what is counted by app */
};

/* Who waits for the fence: the worker's own words, the hub does not look at them. */
struct interest_waiter {
    uint32_t slot;
    uint32_t generation;
    uint32_t member; /* 0: the session itself */
    uint32_t tag;
    uint64_t serial;
    uint64_t key;
};

/* What a worker wants added and removed, gathered over one turn. It comes back through the worker's
 * ring with the heads at that moment: the fence. What is before it is in the window, what is after
 * it comes live. While memory is out, it waits in the hub, and so do those posted after it. */
struct interest_batch {
    struct mail mail; /* to the bus thread; run is set by who posts it */
    void *owner;      /* the poster's */
    uint32_t worker;
    uint32_t item_count, item_cap;
    uint32_t items_applied; /* the hub's */
    uint32_t waiter_count, waiter_cap;
    struct interest_item *items;
    struct interest_waiter *waiters;
    struct hub_heads heads;
    struct interest_batch *next; /* the hub's */
};

struct interest_batch *interest_batch_create(uint32_t worker);
void interest_batch_destroy(struct interest_batch *batch);
int interest_batch_add(struct interest_batch *batch, uint64_t key, enum interest_op op);
int interest_batch_wait(struct interest_batch *batch, struct interest_waiter waiter);

/* What a worker that fell behind reads from the window by itself. Joins, parts and kicks come
 * along, since the window may evict them before the worker gets there; it applies those that are
 * gone. */
struct hub_catch_up {
    struct hub_span span;
    /* Bit q: since then the queue's history is another one. Its span is of the new one, and the
     * old one ended, for this worker, at old.pos[q]. */
    uint64_t restarted;
    struct hub_heads old;
    uint32_t histories[BUS_MAX_QUEUES]; /* of which the spans are: see window_history_of */
    /* What the hub lost last of each queue: the gap that ends there has this reason. */
    struct hub_loss {
        struct bus_pos to;
        enum session_gap_why why;
    } losses[BUS_MAX_QUEUES];
    /* Bit q: the queue appears only now, and so late that it does not have all any more. */
    uint64_t too_late;
    char epoch[HUB_EPOCH_MAX + 1]; /* of now */
    struct message **controls;     /* references, in the order of their queues */
    uint32_t control_count;
    bool controls_lost;        /* there were too many: sessions that meet a gap must start anew */
    uint64_t revoked_until_ms; /* likewise of revocations and tokens; 0: none is lost */
    uint64_t lost_until_ms; /* and no grant issued until then (wall) is good: of the newest lost */
};

void hub_catch_up_destroy(struct hub_catch_up *catch_up);

/* The hub's end of one worker. */
struct hub_link {
    struct ring ring;
    atomic_bool behind; /* the ring was full: after draining it, the worker asks for hub_catch_up */
};

enum hub_queue_state {
    HUB_QUEUE_DOWN,        /* not reachable: pushes to its keys wait */
    HUB_QUEUE_FAILED_OVER, /* for so long that its keys go to other queues */
    HUB_QUEUE_UP,
};

struct hub_callbacks {
    /* Something is in the worker's ring; at most once a flush. */
    void (*wake)(void *owner, uint32_t worker);
    /* Publishes that are done, for publish_run_done on the worker. */
    void (*give_back)(void *owner, uint32_t worker, struct mail_chain *done);
    /* The bus became usable or not. */
    void (*on_bus_state)(void *owner, bool up, const char *reason);
    /* NULL is fine, also of the next ones. */
    void (*on_queue_state)(void *owner, uint32_t queue, enum hub_queue_state state);
    /* A record was acknowledged that was sent at sent_us, as hub_flush said the time. */
    void (*on_published)(void *owner, uint64_t sent_us);
    /* One event of a record has come back that was sent at sent_us; of some. NULL is fine. */
    void (*on_returned)(void *owner, uint64_t sent_us);
    /* The first event of a record of another node has come, so long after its push, as the two
     * nodes' clocks have it. NULL is fine. */
    void (*on_foreign)(void *owner, uint64_t age_ms);
    /* On the worker: a struct ticket_news (core/tickets.h), which it frees. */
    void (*run_ticket_news)(struct mail *mail);
    /* Whether somebody follows traces: then on_traced runs once all workers have gone over a
     * message that came just now, whose trace is sampled and whose targets are no tickets. On any
     * thread, from where the last one is. */
    bool (*wants_traces)(void *owner);
    void (*on_traced)(void *owner, struct message *message);
    /* Messages of a queue are lost to this node. */
    void (*on_loss)(void *owner, uint32_t queue, enum session_gap_why why);
};

/* Counters for metrics; any thread reads them (relaxed). */
struct hub_stats {
    atomic_uint_fast64_t records_in, events_in, events_foreign, events_repeated, events_bad;
    atomic_uint_fast64_t events_out, records_out, ring_full, holes, evicted;
    atomic_uint_fast64_t failed_over; /* events that went to another queue than their home */
    atomic_uint_fast64_t rekeyed;     /* events whose keys another secret made */
    atomic_uint_fast64_t queues_up, queues_failed_over; /* bits */
    atomic_uint_fast64_t interest_keys, users, groups;  /* that have a session here */
};

int hub_create(struct hub **out_hub, const struct hub_options *options,
               const struct hub_callbacks *callbacks, void *owner);

/* Publishes still under way are done with ERR_CANCELED. Rings must be drained by the workers first
 * or afterwards by ring_drain. */
void hub_destroy(struct hub *hub);

/* For engine->create(…, &hub_bus_callbacks, hub); the hub then owns the bus, and its queues are the
 * hub's (no more than its options said). Before the first turn. */
extern const struct bus_callbacks hub_bus_callbacks;
void hub_set_bus(struct hub *hub, struct bus *bus);

/* Who hears what nodes tell each other, and is told of pushes that ask what became of them. The hub
 * then owns it. NULL, as at first: nobody. */
void hub_set_cluster(struct hub *hub, struct cluster *cluster);
struct bus *hub_bus(const struct hub *hub);

/* The mail runs on the worker, after this turn. */
void hub_give_back(struct hub *hub, uint32_t worker, struct mail *mail);

/* Takes a push (it comes back by give_back, done, exactly once). Its receipt, if any, is told of
 * each part, also of those that fail; it delivers once, before or after the push is done. */
void hub_publish(struct hub *hub, struct publish *publish, uint64_t now_ms);

/* Applies the batch; it comes back through its worker's ring when it has waiters, else it is
 * destroyed. */
void hub_interest(struct hub *hub, struct interest_batch *batch);

/* The worker has drained its ring and is marked behind. */
void hub_catch_up(struct hub *hub, uint32_t worker);

/* The end of a turn: gathered pushes leave, workers are woken, the window is trimmed. True: call it
 * again. */
bool hub_flush(struct hub *hub, uint64_t now_ms, uint64_t now_us);

/* The bus hands something over outside hub_flush: which time it is. */
void hub_set_now(struct hub *hub, uint64_t now_ms, uint64_t now_us);
uint64_t hub_now_ms(const struct hub *hub); /* as the hub was told last */

/* What the wall clock is ahead of the monotonic one, for the age of what a start reads back. Until
 * it is set, all that comes counts as new. */
void hub_set_wall_offset(struct hub *hub, int64_t offset_ms);
uint64_t hub_wall_ms(const struct hub *hub); /* of hub_now_ms */

/* Some ten times a second: deadlines, failover, and positions to quiet workers each quarter of the
 * window. */
void hub_tick(struct hub *hub, uint64_t now_ms);

/* Sends every worker the heads now (the quarter of the window, or a drain). */
void hub_send_heads(struct hub *hub);

/* The name of the bus's history where its epoch has none (bus.is_nameless), as beacons tell it; 0:
 * not known yet. A higher one than is known wins. */
uint64_t hub_history(const struct hub *hub);
void hub_learn_history(struct hub *hub, uint64_t history);

/* Any thread. */
struct window *hub_window(struct hub *hub);
struct hub_link *hub_link(struct hub *hub, uint32_t worker);
const struct hub_options *hub_get_options(const struct hub *hub);
struct hub_stats *hub_get_stats(struct hub *hub);
/* How many users, or groups, of an app (target_app_hash) have a session here. */
uint64_t hub_app_keys(struct hub *hub, uint32_t app, enum target_kind kind);
struct kept_stats *hub_get_kept_stats(struct hub *hub); /* core/kept.h */
bool hub_bus_is_up(struct hub *hub);
bool hub_bus_was_up(struct hub *hub); /* at least once: the window has been read back */

/* Any thread: the parts of the message of that id (its caller's, or made for a push that waits)
 * that are in the window, each with a reference. Returns how many. */
size_t hub_find_messages(struct hub *hub, uint32_t app_hash, struct str id,
                         struct message *out[EVENT_MAX_PARTS]);

/* Frees what a ring still holds; when its worker is gone. */
void hub_link_drain(struct hub_link *link);

#endif
