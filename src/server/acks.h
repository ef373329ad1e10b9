/* What one session has been sent and asked to confirm (`"ack":1`), and has not yet. Exists only
 * while there is something. Bounded: over the limit the oldest is given up, and so is at any time
 * what nobody can ask about any more. One thread. */
#ifndef TIDEGATE_SERVER_ACKS_H
#define TIDEGATE_SERVER_ACKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "core/receipt.h"

struct acks; /* acks.c */

/* The clock of what is awaited of a client, in 16 us: it goes round in 19 hours. */
static inline uint32_t acks_clock(void)
{
    return (uint32_t)(clock_monotonic_us() >> 4);
}

static inline uint64_t acks_us_since(uint32_t then)
{
    return (uint64_t)(uint32_t)(acks_clock() - then) << 4;
}

/* The session was sent the message of that id (event.id_hash). holds: its receipt is open for that,
 * and is closed once the client has confirmed, or never will. Takes a reference of its own. Returns
 * how many were given up for it (their receipts are short then), or ERR_NO_MEMORY: nothing is
 * awaited. sent: acks_clock, for acks_take. */
int acks_expect(struct acks **acks, uint64_t id, struct receipt *receipt, bool holds, uint32_t max,
                uint32_t sent);

/* The client confirms. False when the id is not awaited: it was never sent here, or is confirmed
 * already. */
bool acks_take(struct acks **acks, uint64_t id, uint32_t *out_sent);

/* It was sent, but dropped before the kernel had it. */
void acks_drop(struct acks **acks, uint64_t id, enum receipt_drop why);

/* Lets go of what nobody can ask about any more. Returns how many that were. */
uint32_t acks_sweep(struct acks **acks);

/* The session ends. */
void acks_drop_all(struct acks **acks, enum receipt_drop why);

uint32_t acks_count(const struct acks *acks);

#endif
