/* All WebSocket sessions of the load generator: opens and closes them, and checks every payload
 * that arrives: whose it is, whether it is the next of its key, how long it took. One thread owns
 * it; the publisher sees struct progress alone.
 *
 * A payload is {"clk":SENT_NS,"p":PHASE,"n":SEQ,"u":USER,"pad":"..."}. SEQ counts from 0 for each
 * target key within a phase, so a hole, a repeat and a swap all show. For targets that are more
 * than one user, USER is left out. */
#ifndef TIDEGATE_BENCH_RECEIVER_H
#define TIDEGATE_BENCH_RECEIVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <zlib.h>

#include "histogram.h"
#include "ws_client.h"

/* How far delivery is, for a publisher that waits for it. */
struct progress {
    _Atomic uint64_t delivered; /* in this phase */
    _Atomic uint64_t wake_at; /* wake_fd is written when delivered reaches it; UINT64_MAX: never */
    int wake_fd;              /* an eventfd */
};

struct receiver_counts {
    uint64_t delivered;
    uint64_t bytes;
    uint64_t
        out_of_order;   /* not the next of its key: each hole, repeat or swap counts at least one */
    uint64_t misrouted; /* another user's */
    uint64_t stray;     /* of an earlier phase, or not a payload of ours */
    uint64_t compressed; /* delivered deflated ... */
    uint64_t inflated;   /* ... and of these checked; the others only counted */
    uint64_t broken;     /* did not inflate */
};

struct receiver {
    struct ws_client_config config;
    struct ws_client *clients;
    uint32_t count;
    uint32_t ready;
    uint32_t pending; /* neither ready nor lost */
    uint32_t lost;    /* refused, or ended by the server */
    char first_loss[96];

    unsigned phase;
    bool check_user; /* payloads name their user */
    struct receiver_counts counts;
    struct histogram latency; /* ns from the intended send to the payload being read here */
    uint64_t last_delivery_ns;
    struct progress progress;
    z_stream inflater;
};

/* config's callbacks, owner and epoll_fd are the receiver's to fill. */
void receiver_init(struct receiver *receiver, const struct ws_client_config *config,
                   uint32_t count);

/* Opens the sessions [from, to), at most window handshakes at a time (0: all at once), until all
 * are ready or lost, or timeout_ms passed. */
void receiver_open(struct receiver *receiver, uint32_t from, uint32_t to, uint32_t window,
                   uint64_t timeout_ms);

/* Handles what is there; waits up to timeout_ms for something. */
void receiver_poll(struct receiver *receiver, int timeout_ms);

/* Polls for that long. */
void receiver_rest(struct receiver *receiver, uint64_t rest_ms);

/* Empties counters and histogram; payloads of other phases count as stray from now on. */
void receiver_begin_phase(struct receiver *receiver, unsigned phase, bool check_user);

void receiver_close_all(struct receiver *receiver, bool abort);

#endif
