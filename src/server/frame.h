/* A frame ready for the wire, shared by the sessions of one worker: built once a message, protocol
 * and compression. One thread; the count is plain. */
#ifndef TIDEGATE_SERVER_FRAME_H
#define TIDEGATE_SERVER_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "proto/ws_frame.h"

struct receipt;

struct frame {
    uint32_t refs;
    uint32_t len;
    struct receipt *receipt; /* a reference: told when a session has taken the frame or dropped it;
                                mostly NULL */
    uint64_t id;             /* event.id_hash of the message in it; 0: it has none */
    uint64_t collapse;       /* see event_collapse_key; 0: none */
    uint64_t expires_ms;     /* monotonic: not sent later, if it has waited until then; 0: never */
    uint64_t received_us;    /* with way_us of the message that goes out live; 0: not measured */
    uint32_t way_us;
    bool holds_receipt; /* which stays open while a session has the frame unsent */
    bool wants_ack;     /* the client is asked to confirm: acks.h counts what becomes of it */
    bool is_own_ack;    /* who can't confirm has done so when it is written */
    bool is_final;      /* the last message of a ticket */
    uint8_t bytes[];
};

/* A whole server frame of the payload; one reference. NULL when memory is out. */
struct frame *frame_create(enum ws_opcode opcode, bool compressed, struct str payload);

/* Bytes for the wire as they are: a frame made elsewhere, or the rest of one. */
struct frame *frame_of_bytes(const void *bytes, size_t len);

static inline struct frame *frame_ref(struct frame *frame)
{
    frame->refs++;
    return frame;
}

void frame_unref(struct frame *frame);

#endif
