/* Tickets, as the hub has them: who claimed one, what waits for it, and that it is over.
 *
 * A session that shows a ticket publishes an EVENT_CLAIM on the ticket's queue. The first in queue
 * order binds the ticket to its claim on every node; another claim is refused; with the same one
 * the newest session takes the place of the one before. Messages to a ticket are kept outside the
 * window (core/kept.h), each on its own for each ticket, and handed to the session that has the
 * ticket: all of them when it is ready, then those that come. So they need no position, and a
 * session that comes back gets all of them again. An EVENT_TICKET_END ends it: what waits is freed.
 * What comes behind a message that is final is passed over.
 *
 * A worker hears of its sessions by mails, which run there; it answers by calls, which its own
 * mails bring to the hub. */
#ifndef TIDEGATE_CORE_TICKETS_H
#define TIDEGATE_CORE_TICKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mail.h"
#include "base/str.h"

struct hub;
struct message;

enum ticket_news_kind {
    TICKET_WON,  /* the session has the ticket; hub_ticket_ready when it may be sent to */
    TICKET_USED, /* another claim has it, or it is over */
    TICKET_EXPIRED,
    TICKET_NO_ROOM,  /* the claim can't be kept */
    TICKET_REPLACED, /* by a newer session of the same claim */
    TICKET_ENDED,
    TICKET_MESSAGE,
};

/* What a worker is told of a session of its own, which may be gone. */
struct ticket_news {
    struct mail mail;
    enum ticket_news_kind kind;
    uint32_t slot, generation;
    /* TICKET_MESSAGE: a reference. Where it has a receipt, that is open for this: whoever takes the
     * news counts the session and closes it. */
    struct message *message;
};

/* Also closes the receipt, if it was not taken. */
void ticket_news_destroy(struct ticket_news *news);

/* The receipt of the message knows what became of it: matched, written. */
void ticket_news_report(struct ticket_news *news, bool is_matched, bool is_written);

/* A session that may be sent to. */
struct ticket_holder {
    uint64_t key; /* of the ticket */
    uint32_t worker, slot, generation;
};

void hub_ticket_ready(struct hub *hub, const struct ticket_holder *holder);

enum ticket_state { TICKET_IS_WAITING, TICKET_IS_CLAIMED, TICKET_IS_DONE };

struct ticket_look {
    enum ticket_state state;
    uint32_t messages; /* that wait */
};

/* One that is claimed, or that messages wait for. */
struct ticket_row {
    struct str id;       /* borrowed: good until the hub takes the next event */
    uint64_t claimed_ms; /* wall, when its claim was published; 0: nobody has it yet */
    uint32_t messages;
};

/* Walks over this node's tickets of an app (as the event header names it), in no order: looks at
 * `steps` places below `from` (hub_ticket_places at first) and returns where to go on, 0 at the
 * end. Between two calls anything may change: if the number of places has, begin again; else who
 * was there all the time is seen, perhaps twice. */
size_t hub_ticket_places(const struct hub *hub);
size_t hub_ticket_walk(const struct hub *hub, uint32_t app, size_t from, size_t steps,
                       void (*visit)(void *arg, const struct ticket_row *row), void *arg);

/* What this node knows of it. */
void hub_ticket_look(const struct hub *hub, uint64_t key, struct ticket_look *out_look);

#endif
