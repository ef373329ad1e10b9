/* An event in this node's memory: immutable, shared by reference between the window, the rings and
 * the workers. Any thread may read, ref and unref. */
#ifndef TIDEGATE_CORE_MESSAGE_H
#define TIDEGATE_CORE_MESSAGE_H

#include <stdatomic.h>
#include <stdint.h>

#include "bus/bus.h"
#include "core/event.h"

struct receipt;

enum { MESSAGE_NO_LINK = 0 };

enum message_fate {
    MESSAGE_IS_VOID = 1,       /* it was cancelled: nobody gets it any more */
    MESSAGE_IS_SUPERSEDED = 2, /* a newer one of its collapse key, which expires no sooner, came:
                                * not replayed */
};

struct message;

/* What became of a message on this node, for who follows its trace: see hub_callbacks.on_traced. It
 * stands at the end of the message's memory, so that others pay nothing for it. */
struct message_trace {
    void (*on_done)(void *owner, struct message *message); /* any thread, once */
    void *owner;
    atomic_uint open;                      /* the hub, and workers that have not gone over it yet */
    atomic_uint matched, written, dropped; /* sessions; what is neither waits in a queue */
};

struct message {
    atomic_uint refs;
    uint32_t queue;
    struct bus_pos pos;
    uint64_t seq;         /* of the window: 1, 2, 3 … in each queue, without holes */
    uint64_t received_us; /* monotonic, when the bus handed it over */
    uint64_t expires_ms;  /* monotonic; 0: never */
    /* A reference: of a push that asked, on its publisher's node; on the others of what is counted
     * for that node, see cluster_count. Else NULL. */
    struct receipt *receipt;
    /* Bit w: it is for worker w, who was behind and must find it in the window. Who clears a bit,
     * the worker or the eviction, answers to the receipt for it. */
    atomic_uint_fast64_t owed;
    uint64_t *links;    /* window, one a target: the target's seq before this one or NO_LINK */
    struct event event; /* points into bytes */
    uint32_t size;      /* of this allocation */
    atomic_uchar fate;  /* of enum message_fate; set by the hub */
    /* How many sessions it was for: workers that were offered it add theirs, the last one tells. */
    atomic_uchar open_workers;
    bool is_traced;
    atomic_uint matched;
    /* From the request until received_us, of some of this node's own pushes; 0: not measured. */
    uint32_t way_us;
};

/* Copies the encoded event, which event was decoded from. One reference; NULL: no memory. */
struct message *message_create(struct str encoded, const struct event *event, uint32_t queue,
                               struct bus_pos pos);

/* The same with a struct message_trace, which is open once, for the hub. */
struct message *message_create_traced(struct str encoded, const struct event *event, uint32_t queue,
                                      struct bus_pos pos, const struct message_trace *trace);

/* NULL: nobody follows it. */
static inline struct message_trace *message_trace(struct message *message)
{
    uint8_t *end = (uint8_t *)message + message->size;
    return message->is_traced ? (struct message_trace *)end - 1 : NULL;
}

/* Somebody is to be told what workers did with it. */
static inline bool message_is_counted(const struct message *message)
{
    return message->receipt || message->is_traced;
}

/* One more worker will go over it; count of them have, or never will. No effect without a trace. */
void message_trace_open(struct message *message);
void message_trace_close(struct message *message, unsigned count);

/* One to a ticket alone: it is handed over apart from its queue's order (core/tickets.h), so that
 * its position says nothing to a client. */
static inline bool message_is_apart(const struct message *message)
{
    return message->event.header.target_count == 1 &&
           target_key_kind(message->event.header.key) == TARGET_TICKET;
}

/* The event as it came. */
struct str message_encoded(const struct message *message);

static inline struct message *message_ref(struct message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

void message_unref(struct message *message);

static inline void message_add_fate(struct message *message, enum message_fate fate)
{
    atomic_fetch_or_explicit(&message->fate, (unsigned char)fate, memory_order_release);
}

static inline bool message_has_fate(const struct message *message, unsigned fates)
{
    return atomic_load_explicit(&message->fate, memory_order_acquire) & fates;
}

/* The bus's position as clients see it: "81723.0". Needs 42 bytes; returns the length. */
enum { MESSAGE_POS_MAX = 42 };
size_t message_format_pos(char out[MESSAGE_POS_MAX], struct bus_pos pos);
bool message_parse_pos(struct bus_pos *out_pos, struct str text);

#endif
