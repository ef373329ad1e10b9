/* What became of one push that has an id or asked (`wait`): counted by the workers, told to the
 * publisher's thread when nothing is open any more, and read from the window by whoever asks later
 * (GET /v1/messages/{id}). */
#ifndef TIDEGATE_CORE_RECEIPT_H
#define TIDEGATE_CORE_RECEIPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mail.h"

struct expectation;

enum { RECEIPT_NODE_WORDS = 2 };

/* Why a message did not get to the end of its way to a session. */
enum receipt_drop {
    RECEIPT_CLOSED,     /* the session ended before */
    RECEIPT_SLOW,       /* … since it read too slowly */
    RECEIPT_OVERLOADED, /* memory was out */
    RECEIPT_EXPIRED,    /* it waited for the client until its ttl was over */
    RECEIPT_COLLAPSED,  /* it waited for the client, and a newer one of its key came */
    RECEIPT_REVOKED,    /* it waited for the client, and was cancelled */
    RECEIPT_DROPS,
};

struct receipt {
    struct mail mail;                         /* posted by deliver when open falls to 0 */
    void (*deliver)(struct receipt *receipt); /* any thread: hands mail to the publisher's thread */
    void (*on_free)(struct receipt *receipt); /* any thread, with the last reference; may be NULL */
    void *owner;                              /* the publisher's: lives as long as the threads */
    void *request;                            /* the publisher's: touched on its own thread only */
    bool counts_writes; /* stays open until each session's frame is written or dropped */
    bool is_for_later;  /* nobody waits: it is kept with its message, for who asks */
    atomic_uint refs;
    atomic_uint askers; /* who may still ask: its messages in the window, and whoever waits */
    atomic_uint open;   /* parts to arrive, workers to report, sessions that still hold it unsent or
                           have not confirmed it */
    /* Of all nodes, as far as they have reported. */
    atomic_uint users_online; /* addressed users that have a session */
    atomic_uint matched;      /* sessions */
    atomic_uint written;      /* the kernel took all bytes */
    atomic_uint acked;        /* confirmed by the client */
    atomic_uint dropped;
    /* Of this node alone. */
    atomic_uint replayed; /* sessions that came back and were sent it */
    atomic_uint dropped_by[RECEIPT_DROPS];
    /* Of the above: what other nodes have reported. */
    atomic_uint others_matched, others_written, others_acked;
    uint64_t until_ms; /* monotonic: the publisher waits no longer; 0: not known */
    /* Other nodes (core/cluster.h), written by the bus thread. */
    atomic_uint nodes;        /* that were to report */
    atomic_uint nodes_silent; /* of these: some part is not reported, yet or for good */
    atomic_uint awaited;      /* of open: parts that some other node has not reported */
    atomic_bool is_short;     /* some worker could not be counted */
    atomic_bool others_short; /* some node could not */
    uint64_t nodes_asked[RECEIPT_NODE_WORDS]; /* the bus thread's, like the next two */
    uint64_t nodes_failed[RECEIPT_NODE_WORDS];
    struct expectation *expectations;
};

/* One reference, open = parts. NULL when memory is out. */
struct receipt *receipt_create(unsigned parts, void (*deliver)(struct receipt *), void *owner);

/* The same in place, as the first member of an allocation of mem_alloc that is all zero; the last
 * receipt_unref frees that. */
void receipt_init(struct receipt *receipt, unsigned parts, void (*deliver)(struct receipt *),
                  void *owner);

/* For a message that has an id and nobody who waits; one open, for the hub. NULL: no memory. */
struct receipt *receipt_create_for_later(void);

/* Nothing is open, and every node has reported. */
bool receipt_is_complete(struct receipt *receipt);

/* What this node alone counted. */
struct receipt_counts {
    uint32_t matched, written, acked, replayed;
    uint32_t dropped_by[RECEIPT_DROPS];
    bool is_settled; /* nothing is open here, and nothing was missed */
};

/* Adds to out_counts, which begins as {.is_settled = true}. */
void receipt_add_counts(struct receipt *receipt, struct receipt_counts *out_counts);

/* How many there are. */
uint64_t receipt_held(void);

static inline struct receipt *receipt_ref(struct receipt *receipt)
{
    atomic_fetch_add_explicit(&receipt->refs, 1, memory_order_relaxed);
    return receipt;
}

void receipt_unref(struct receipt *receipt);

/* Of the message or the wait that began: it may be asked about. NULL is fine, here and below. */
static inline void receipt_add_asker(struct receipt *receipt)
{
    if (receipt) {
        atomic_fetch_add_explicit(&receipt->askers, 1, memory_order_relaxed);
    }
}

/* That message has left the window, or the wait has ended. */
static inline void receipt_remove_asker(struct receipt *receipt)
{
    if (receipt) {
        atomic_fetch_sub_explicit(&receipt->askers, 1, memory_order_release);
    }
}

/* Else nobody will ever ask what became of it. */
static inline bool receipt_has_askers(struct receipt *receipt)
{
    return atomic_load_explicit(&receipt->askers, memory_order_acquire) > 0;
}

/* count sessions that were matched will not get it. */
static inline void receipt_drop(struct receipt *receipt, enum receipt_drop why, unsigned count)
{
    atomic_fetch_add_explicit(&receipt->dropped, count, memory_order_relaxed);
    atomic_fetch_add_explicit(&receipt->dropped_by[why], count, memory_order_relaxed);
}

static inline void receipt_ack(struct receipt *receipt)
{
    atomic_fetch_add_explicit(&receipt->acked, 1, memory_order_relaxed);
}

/* Something more must report. Only while something else is still open. */
static inline void receipt_open(struct receipt *receipt)
{
    atomic_fetch_add_explicit(&receipt->open, 1, memory_order_relaxed);
}

/* One has reported; the last one delivers, with a reference of its own for the mail. */
void receipt_close(struct receipt *receipt);

/* count have reported, or never will. 0 is fine. */
void receipt_close_many(struct receipt *receipt, unsigned count);

#endif
