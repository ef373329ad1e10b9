/* Watching a session live: a copy of its last frames, in and out, for a person who looks. A watch
 * lasts as long as somebody asks for more, and WATCH_LEASE_MS longer; it may outlive the session by
 * that, so that its end is seen.
 *
 * Nobody watches nearly always, so what a frame costs then is one test of a word of the worker:
 * bit (slot mod 64) of watches.bits. The session's slot and its flags know nothing of it. What is
 * kept is bounded: WATCHES_MAX sessions a worker, WATCH_FRAMES frames and WATCH_BYTES bytes of
 * each, of a frame WATCH_TEXT bytes; the oldest go first, and the reader sees by their numbers that
 * they did. Secrets are never kept (server/watch_text.h). Everything belongs to the worker. */
#ifndef TIDEGATE_SERVER_WATCH_H
#define TIDEGATE_SERVER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/timer_wheel.h"
#include "core/session.h"
#include "proto/ws_frame.h"

struct worker;
struct message;

enum {
    WATCHES_MAX = 8,
    WATCH_FRAMES = 256,
    WATCH_BYTES = 256 * 1024,
    WATCH_TEXT = 4096,
    WATCH_LEASE_MS = 10 * 1000,
};

struct watch_frame {
    struct watch_frame *next; /* newer */
    uint64_t number;          /* 1, 2, 3 … of the watch */
    uint64_t at_ms;           /* wall */
    uint64_t bytes;           /* of the whole payload, before compression */
    enum ws_opcode opcode;    /* an event stream's texts are WS_TEXT, its comments WS_PING */
    bool is_out;              /* from the gateway to the client */
    bool is_queued;           /* it waits, since the client reads slowly */
    bool is_hidden;           /* something in it is not shown */
    bool is_cut;              /* to WATCH_TEXT */
    uint16_t code;            /* of a WS_CLOSE; 0: none */
    uint32_t text_len;        /* of a WS_TEXT */
    char text[];
};

struct watch_waiter {
    struct watch_waiter *next, **link;         /* link NULL: it does not wait */
    void (*wake)(struct watch_waiter *waiter); /* inside a delivery: it may only post a mail */
};

struct watch {
    uint32_t slot, generation;
    uint32_t id; /* of this watch: numbers of an earlier one mean nothing in it */
    uint16_t app;
    bool is_used;
    uint64_t lease_ends_ms; /* monotonic */
    struct watch_frame *first, *last;
    uint32_t count;
    uint64_t bytes;
    uint64_t frames; /* so far: the number of the newest */
    bool has_ended;
    bool by_client; /* who ended it */
    uint16_t code;  /* its close code; 0: the connection broke */
    struct watch_waiter *waiters;
};

struct watches {
    uint64_t bits;       /* bit (slot mod 64): such a slot may be watched; 0: nobody watches */
    struct watch *items; /* WATCHES_MAX, made with the first */
    struct timer timer;
};

/* One that is there already. Renews its lease. */
struct watch *watch_find(struct worker *worker, uint32_t slot, uint32_t generation);
/* ERR_TOO_MANY or ERR_NO_MEMORY. */
int watch_start(struct worker *worker, const struct session *session, struct watch **out_watch);

/* The frames with a number above after, oldest first; NULL: there is none (yet). */
const struct watch_frame *watch_frames_after(const struct watch *watch, uint64_t after);

/* wake is called once, with the next frame or the end, unless it is taken back before. */
void watch_wait(struct watch *watch, struct watch_waiter *waiter);
void watch_wait_no_more(struct watch_waiter *waiter); /* fine when it does not wait */

/* The worker ends: frees all; nobody waits any more. */
void watches_fini(struct worker *worker);

/* ---- of any session, but worth the call only when ws_is_watched ---- */

/* A frame from the client, or of the gateway's own making; the plain payload. */
void watch_note(struct worker *worker, const struct session *session, bool is_out,
                enum ws_opcode opcode, struct str payload);
/* A close frame. The first one says who ended the session. */
void watch_note_close(struct worker *worker, const struct session *session, bool is_out,
                      uint16_t code);
/* The session is gone, with or without that. */
void watch_note_gone(struct worker *worker, const struct session *session);
void watch_note_message(struct worker *worker, const struct session *session,
                        const struct message *message, enum session_delivery result);

#endif
