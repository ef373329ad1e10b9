/* What the hub's sources share; nobody else includes it.
 *   hub.c           life, turns, heads
 *   hub_worker.c    the way to each worker: ring, behind, catch-up
 *   hub_interest.c  who has which key
 *   hub_send.c      pushes to the bus
 *   hub_probe.c     how long some events were on their way
 *   hub_failover.c  which queue a push goes to while brokers are away
 *   hub_receive.c   records from the bus
 *   hub_history.c   where queues begin, what is missing, and the epoch
 *   hub_ids.c       which events and ids came before
 *   hub_kept.c      what outlives the window, and is told again
 *   hub_tickets.c   who has a ticket, and what waits for it: see hub_tickets_private.h
 *   hub_collapse.c  which messages a newer one of their collapse key supersedes */
#ifndef TIDEGATE_CORE_HUB_PRIVATE_H
#define TIDEGATE_CORE_HUB_PRIVATE_H

#include <pthread.h>

#include "base/u64map.h"
#include "core/cluster.h"
#include "core/hub.h"
#include "core/interest_table.h"
#include "core/kept.h"
#include "core/message.h"
#include "core/publish.h"
#include "core/tickets.h"

/* Of the records that are on their way back, the event whose times are taken: one of each, drawn
 * by chance, since all would be too many. */
struct hub_probe {
    uint32_t counter;
    uint64_t sent_us;
    uint64_t started_us; /* publish.started_us */
};

enum { HUB_PROBES = 8 };

/* One queue of the bus, as this node sends to it and receives from it. */
struct hub_queue {
    struct publish_part *waiting; /* not yet in a record, oldest first */
    struct publish_part **waiting_end;
    struct publish_part *sent; /* in the record under way, or acknowledged and not yet returned */
    struct publish_part *sent_last;
    struct publish_part *next_return; /* where the search for a returned part begins; may be NULL */
    struct publish_part *record_first; /* of the record under way; they are the last ones of sent */
    struct bus_publish record;         /* at most one under way */
    uint64_t record_sent_us;
    struct hub_probe probe;              /* of the record being packed */
    struct hub_probe probes[HUB_PROBES]; /* a ring; a newer one drives out the oldest */
    uint32_t probes_in, probes_out;
    struct buf record_bytes;
    uint32_t record_parts; /* those of it that still wait */
    bool under_way;
    uint32_t counter;      /* of the last event packed */
    uint32_t history;      /* how often it began anew, as this node saw it */
    uint32_t read_back_to; /* counter when reading back began: a later one of our own ends it */
    uint64_t waiting_bytes;
    bool is_up;
    bool is_failed_over;
    uint64_t down_since_ms; /* HUB_NEVER: not yet noticed */
};

#define HUB_NEVER UINT64_MAX

/* Oldest first, by interest_batch.next. */
struct hub_batches {
    struct interest_batch *first;
    struct interest_batch **end;
};

struct hub_worker {
    struct hub_link link;
    struct hub_heads behind_from; /* meaningful while link.behind */
    uint64_t restarted;           /* bit q: since then, see hub_catch_up */
    uint64_t too_late;            /* likewise */
    struct hub_heads old;
    bool catch_up_asked;       /* and not yet granted */
    struct message **controls; /* handed over while behind */
    uint32_t control_count, control_cap;
    bool controls_lost;
    uint64_t lost_until_ms;       /* wall, of the newest that was lost */
    uint64_t revoked_until_ms;    /* likewise of revocations */
    struct hub_batches unapplied; /* wait for memory */
    struct hub_batches held;      /* fences that wait until it has caught up */
    struct mail_chain done;
    bool wake;
};

enum { HUB_APPS = 256 };

/* Keys of one app that workers have. Any thread reads them. */
struct hub_app {
    atomic_uint hash;
    atomic_uint users, groups;
};

struct hub {
    struct hub_options options;
    const struct hub_callbacks *callbacks;
    void *owner;
    struct bus *bus;
    struct cluster *cluster; /* may be NULL */
    struct window *window;
    struct hub_heads heads;
    uint64_t renewed; /* bit q: the bus has another epoch, and queue q has not started in it */
    struct interest_table interest;
    struct hub_app apps[HUB_APPS]; /* as they came; those beyond are not counted */
    atomic_uint app_count;
    struct u64map pins; /* (group key, worker) → join events that the worker has not answered */
    struct u64map ids;  /* id hash → struct hub_id */
    pthread_mutex_t ids_lock; /* of ids and what they hold, which others look up */
    struct u64map collapses; /* event_collapse_key → a message in the window, see hub_collapse.c */
    struct u64map marks; /* (origin, queue, its history) → when (s) << 32 | counter of its last */
    uint64_t marks_swept_ms;
    struct hub_mark_name {
        uint32_t origin, queue, history;
    } mark_name; /* of the last event */
    uint64_t mark_key;
    struct hub_loss losses[BUS_MAX_QUEUES];
    char bus_epoch[BUS_EPOCH_MAX + 1]; /* the engine's */
    char epoch[HUB_EPOCH_MAX + 1];     /* as clients know it */
    uint64_t history;                  /* see hub_learn_history */
    uint64_t history_drawn_ms;         /* by this node; 0: never */
    uint64_t reading_back;             /* bit q: what comes is of before the start */
    uint64_t up_since_ms;              /* for the first time; 0: not yet */
    struct buf rekeyed;                /* the event in hand, with our keys */
    int64_t wall_offset_ms;            /* 0: unknown */
    struct hub_queue queues[BUS_MAX_QUEUES];
    struct hub_worker workers[HUB_MAX_WORKERS];
    uint64_t waiting_bytes;
    uint64_t now_ms;
    uint64_t now_us;
    uint64_t heads_sent_ms;
    uint64_t bytes_since_heads;
    struct kept *kept;
    struct u64map tickets;  /* key → struct hub_ticket */
    bool tickets_are_short; /* memory was out: some holder has not got all */
    uint32_t told_again;    /* events that are on their way to the bus again */
    atomic_bool bus_up;
    atomic_bool bus_was_up;
    struct hub_stats stats;
};

/* An event in hand. */
struct arrival {
    uint32_t queue;
    struct bus_pos pos;
    uint64_t wall_ms;    /* when the bus got it; 0: unknown */
    uint64_t age_ms;     /* since then, while the queue is read back; else 0 */
    uint64_t started_us; /* see publish.h; of one of our own whose times are taken, else 0 */
    bool is_first;       /* of its record */
    struct str encoded;
    struct event event;
};

/* hub_worker.c */
int hub_worker_init(struct hub_worker *worker, uint32_t ring_slots);
void hub_worker_fini(struct hub_worker *worker);
bool hub_worker_is_behind(const struct hub_worker *worker);
bool hub_worker_push(struct hub *hub, struct hub_worker *worker, enum ring_kind kind, void *ptr);
void hub_offer(struct hub *hub, uint32_t worker, struct message *message);
void hub_mark_all_behind(struct hub *hub);
void hub_restart_workers(struct hub *hub, uint32_t queue, struct bus_pos from);
void hub_start_workers(struct hub *hub, uint32_t queue, struct bus_pos from, bool is_too_late);
void hub_lose_control(struct hub *hub, const struct event *event);
void hub_return_fence(struct hub *hub, struct hub_worker *worker, struct interest_batch *batch);
void hub_retry_catch_up(struct hub *hub);

/* hub_interest.c */
void hub_batches_add(struct hub_batches *batches, struct interest_batch *batch);
struct interest_batch *hub_batches_take(struct hub_batches *batches);
void hub_retry_interest(struct hub *hub);
uint64_t hub_workers_of_key(const struct hub *hub, uint64_t key);
int hub_pin_group(struct hub *hub, uint32_t app, uint64_t key, uint64_t mask);

/* hub_send.c */
void hub_part_acknowledge(struct hub *hub, struct publish_part *part, struct bus_pos pos);
void hub_part_return(struct hub *hub, struct publish_part *part, enum publish_verdict verdict);
struct publish_part *hub_part_find_sent(struct hub_queue *queue, uint32_t counter);
void hub_part_remove_sent(struct hub_queue *queue, struct publish_part *part);
bool hub_send_waiting(struct hub *hub);
void hub_fail_late(struct hub *hub);
void hub_fail_all(struct hub *hub, int err);
void hub_wait_in_line(struct hub *hub, struct publish_part *part);
struct publish_part *hub_pop_waiting(struct hub *hub, struct hub_queue *queue);

/* hub_probe.c */
void hub_probe_pack(struct hub_queue *queue, const struct publish_part *part);
void hub_probe_send(struct hub *hub, struct hub_queue *queue);
void hub_probe_own(struct hub *hub, uint32_t queue, uint32_t counter, struct hub_probe *out_probe);
void hub_probe_foreign(struct hub *hub, const struct arrival *arrival);

/* hub_failover.c */
void hub_set_queue_state(struct hub *hub, uint32_t queue, bool up);
void hub_choose_queue(struct hub *hub, struct publish_part *part);
void hub_fail_over(struct hub *hub);
bool hub_is_any_queue_up(const struct hub *hub);

/* hub_receive.c */
void hub_on_evict(void *owner, struct message *message);
bool hub_rekey(struct hub *hub, struct arrival *arrival);

/* hub_tickets.c */
void hub_tickets_destroy(struct hub *hub);
void hub_tickets_tick(struct hub *hub);
void hub_ticket_on_expire(struct hub *hub, struct kept_entry *entry);
void hub_ticket_on_event(struct hub *hub, const struct arrival *arrival, bool is_again);
void hub_ticket_on_message(struct hub *hub, const struct arrival *arrival, struct receipt *receipt);
/* 0, ERR_CLOSED when one of its tickets is over, or ERR_TOO_MANY when one has as many messages as
 * it may have: what is on its way to the bus still comes. Adds how many tickets there are. */
int hub_ticket_admit(const struct hub *hub, const struct event *event, uint32_t *out_tickets);

/* hub_kept.c */
int hub_kept_create(struct hub *hub);
struct kept_offer hub_kept_offer(struct hub *hub, const struct arrival *arrival,
                                 enum kept_kind kind, uint64_t key, uint64_t expires_ms);
enum kept_verdict hub_keep(struct hub *hub, const struct arrival *arrival);
bool hub_unwrap(struct hub *hub, const struct event *again, struct arrival *out_inner);
void hub_kept_tick(struct hub *hub);
int hub_kept_admit(struct hub *hub, struct publish *publish);
void hub_kept_release(struct hub *hub, struct publish *publish);

/* hub_history.c */
void hub_lose(struct hub *hub, uint32_t queue, struct bus_pos pos, enum session_gap_why why);
void hub_name_history(struct hub *hub);
void hub_on_epoch(void *owner, struct str epoch);
void hub_on_start(void *owner, uint32_t queue, struct bus_pos from);
void hub_on_hole(void *owner, uint32_t queue, struct bus_pos from, struct bus_pos to,
                 enum bus_hole why);

/* hub_ids.c */
bool hub_event_is_new(struct hub *hub, uint32_t queue, const struct event_header *header);
void hub_sweep_marks(struct hub *hub);
enum publish_verdict hub_judge_id(struct hub *hub, const struct event *event, uint32_t queue,
                                  struct bus_pos pos, struct publish_part *own);
void hub_forget_id(struct hub *hub, const struct event *event, uint32_t queue, struct bus_pos pos);
void hub_forget_ids(struct hub *hub);

/* hub_collapse.c */
void hub_supersede(struct hub *hub, struct message *message);
void hub_forget_collapse(struct hub *hub, const struct message *message);

static inline void hub_count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
