/* Publishes numbered records on one queue of a node, one after the other, and keeps what each was
 * answered. What is refused or fails is written down and a record with the next number is tried:
 * whether the bus keeps its word about each of them is the audit's question. */
#ifndef TIDEGATE_TESTS_BUS_WRITER_H
#define TIDEGATE_TESTS_BUS_WRITER_H

#include "node.h"

enum { WRITER_PENDING = 1 }; /* in sent.err: no answer yet */

struct sent {
    int err; /* 0, WRITER_PENDING or what the engine said */
    struct bus_pos pos;
    uint64_t at_ms, done_ms; /* monotonic */
};

struct writer {
    struct node *node;
    uint32_t id; /* of this writer, in every record */
    uint32_t queue;
    size_t record_bytes;  /* NODE_RECORD_MIN at least */
    uint64_t deadline_ms; /* after the call; 0: none */
    size_t wanted;        /* goes on until so many were acknowledged */
    bool is_stopped;      /* no further one */
    bool chains;          /* publishes the next one from within on_done */
    struct bus_publish publish;
    uint8_t *record;
    bool is_busy;
    struct sent *sent; /* by number */
    size_t sent_count, sent_room;
    size_t acknowledged, failed, refused;
    size_t mark_acknowledged, mark_failed; /* the rig's */
};

void writer_init(struct writer *writer, struct node *node, uint32_t id, uint32_t queue);
void writer_fini(struct writer *writer);

/* Publishes when it is idle and something is left to do; true when it did. */
bool writer_advance(struct writer *writer);
bool writer_is_done(
    const struct writer *writer); /* wanted are acknowledged, and nothing is under way */

#endif
