/* The publishing thread of one phase: keeps its connections busy, or sends at a fixed rate without
 * waiting for answers (open loop: the clock in a payload is when it should have been sent, so a
 * late send counts as latency). Payloads, order and sessions are checked by the receiver. */
#ifndef TIDEGATE_BENCH_PUBLISHER_H
#define TIDEGATE_BENCH_PUBLISHER_H

#include <stdatomic.h>
#include <stdint.h>

#include "bench_util.h"
#include "histogram.h"
#include "phase.h"
#include "receiver.h"

struct publisher_config {
    struct phase phase;
    unsigned phase_no;
    struct bench_ports ports; /* connection i goes to the one of its turn */
    uint32_t users;           /* u0 to u(users-1) */
    uint32_t sessions;        /* of all users together */
    const char *group;
    const char *headers; /* see request_maker */
    struct progress *progress;
};

struct publisher_result {
    uint64_t messages;       /* accepted: batch messages count one by one */
    uint64_t accepted;       /* requests answered 2xx */
    uint64_t refused;        /* answered otherwise, or not at all */
    uint64_t conns_lost;     /* ended by the server */
    uint64_t expected;       /* deliveries that the accepted messages must make */
    uint64_t wall_ns;        /* from the first request to the last answer */
    struct histogram answer; /* ns from the intended send to the answer */
    struct histogram lag;    /* ns from the intended send to the send */
    char first_refusal[96];
};

struct publisher;

/* Starts the thread; publisher_is_done tells when the last answer is there. */
struct publisher *publisher_start(const struct publisher_config *config);
bool publisher_is_done(const struct publisher *publisher);

/* Waits for the thread and frees it; the result is the caller's. */
void publisher_finish(struct publisher *publisher, struct publisher_result *out_result);

#endif
