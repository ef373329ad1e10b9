/* Makes the HTTP requests of a phase, each with fresh payloads. Target keys are users (or runs of
 * phase->fan users), the group, or everybody; each key counts its own messages. A connection draws
 * only from its own share of the keys, so the order within a key is the order on one connection. */
#ifndef TIDEGATE_BENCH_REQUEST_H
#define TIDEGATE_BENCH_REQUEST_H

#include <stdint.h>

#include "base/buf.h"
#include "phase.h"

struct request_maker {
    const struct phase *phase;
    unsigned phase_no;
    const char *headers; /* lines for every request, each with its \r\n; borrowed */
    const char *group;   /* borrowed */
    uint32_t key_count;
    uint32_t *next_seq; /* by key */
    uint64_t random;
    char *filling; /* phase->size bytes to cut paddings from */
    struct buf body;
};

void request_maker_init(struct request_maker *maker, const struct phase *phase, unsigned phase_no,
                        uint32_t users, const char *group, const char *headers);
void request_maker_fini(struct request_maker *maker);

/* Appends one request for connection conn of phase->conns; sent_ns goes into its payloads. */
void request_append(struct request_maker *maker, struct buf *out, unsigned conn, uint64_t sent_ns);

#endif
