/* What hub.c, hub_send.c and hub_receive.c share; nobody else includes it. */
#ifndef TIDEGATE_CORE_HUB_PRIVATE_H
#define TIDEGATE_CORE_HUB_PRIVATE_H

#include "base/u64map.h"
#include "core/hub.h"
#include "core/publish.h"

/* One queue of the bus, as this node sends to it and receives from it. */
struct hub_queue {
    struct publish_part *waiting; /* not yet in a record, oldest first */
    struct publish_part **waiting_end;
    struct publish_part *sent; /* in the record under way, or acknowledged and not yet returned */
    struct publish_part **sent_end;
    struct publish_part *next_return; /* where the search for a returned part begins; may be NULL */
    struct bus_publish record;        /* at most one under way */
    struct buf record_bytes;
    uint32_t record_parts; /* parts at the end of sent that are in it */
    bool under_way;
    uint32_t counter; /* of the last event packed */
};

struct hub_worker {
    struct hub_link link;
    struct hub_heads behind_from; /* meaningful while link.behind */
    struct interest_batch *held;  /* fences that wait until it has caught up, oldest first */
    struct interest_batch **held_end;
    struct mail_chain done;
    bool wake;
};

struct hub {
    struct hub_options options;
    const struct hub_callbacks *callbacks;
    void *owner;
    struct bus *bus;
    struct window *window;
    struct hub_heads heads;
    struct u64map interest; /* target key → mask of workers */
    struct u64map
        pins; /* (group key, worker) → joins by the API that the worker has not answered */
    struct u64map ids;   /* id hash → struct hub_id */
    struct u64map marks; /* (origin, queue) → counter of the last event + 1 */
    struct hub_queue queues[BUS_MAX_QUEUES];
    struct hub_worker workers[HUB_MAX_WORKERS];
    uint64_t waiting_bytes;
    uint64_t now_ms;
    uint64_t now_us;
    uint64_t heads_sent_ms;
    uint64_t bytes_since_heads;
    atomic_bool bus_up;
    struct hub_stats stats;
};

/* A push that carried an id, while the window keeps it. */
struct hub_id {
    uint64_t body_hash;
    uint32_t part_count; /* seen so far */
    uint32_t part_cap;
    struct hub_id_part {
        uint32_t queue;
        struct bus_pos pos;
    } parts[];
};

/* hub_send.c */
void hub_part_acknowledge(struct hub *hub, struct publish_part *part, struct bus_pos pos);
void hub_part_return(struct hub *hub, struct publish_part *part, enum publish_verdict verdict);
void hub_part_fail(struct hub *hub, struct publish_part *part, int err);
struct publish_part *hub_part_find_sent(struct hub_queue *queue, uint32_t counter);
void hub_part_remove_sent(struct hub_queue *queue, struct publish_part *part);
bool hub_send_waiting(struct hub *hub);
void hub_fail_late(struct hub *hub);
void hub_fail_all(struct hub *hub, int err);

/* hub_receive.c */
void hub_on_evict(void *owner, struct message *message);
void hub_forget_ids(struct hub *hub);

/* hub.c */
void hub_offer(struct hub *hub, uint32_t worker, struct message *message);
void hub_mark_all_behind(struct hub *hub);

static inline uint64_t hub_pin_key(uint64_t key, uint32_t worker)
{
    return key ^ (uint64_t)(worker + 1) * 0x9e3779b97f4a7c15u;
}

static inline void hub_count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
