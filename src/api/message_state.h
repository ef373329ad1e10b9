/* What became of a message. Each node tells what it counted of its own sessions, in bytes that
 * travel between nodes; whoever asked adds that up and writes it as JSON. */
#ifndef TIDEGATE_API_MESSAGE_STATE_H
#define TIDEGATE_API_MESSAGE_STATE_H

#include "base/buf.h"
#include "core/message.h"
#include "core/receipt.h"

struct message_place {
    uint32_t part, queue;
    struct bus_pos pos;
};

/* Begins as {.is_settled = true}. */
struct message_state {
    uint32_t nodes; /* that know all parts of it */
    uint32_t parts;
    uint64_t time_ms; /* wall, when it was accepted */
    bool is_settled;  /* on each of them nothing is open, and nothing was missed */
    bool is_expired, is_void;
    uint64_t matched, written, acked, replayed;
    uint64_t dropped_by[RECEIPT_DROPS];
    uint64_t found; /* bit i: part i has a place */
    struct message_place places[EVENT_MAX_PARTS];
};

/* Appends what this node knows: the message's parts in its window, at least one. */
void message_state_tell(struct buf *out, struct message *const *messages, size_t count,
                        uint64_t now_ms);

/* Adds what a node told. False: it does not know the message, or what it says makes no sense. */
bool message_state_add(struct message_state *state, struct str told);

/* Appends "pos", "ts", "state" and "receipt". nodes were asked, and all_have_told. */
void message_state_write(struct buf *out, const struct message_state *state, uint32_t nodes,
                         bool all_have_told);

#endif
