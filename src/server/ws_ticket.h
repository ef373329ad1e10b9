/* A session that came with a ticket (?ticket=): it claims the ticket before it starts, is handed
 * what waits for it, and ends with it. What the hub decides: core/tickets.h. */
#ifndef TIDEGATE_SERVER_WS_TICKET_H
#define TIDEGATE_SERVER_WS_TICKET_H

#include "base/mail.h"
#include "core/ticket_id.h"
#include "proto/digest.h"
#include "server/ticket.h"
#include "server/ws_session.h"

enum { WS_CLAIM_MAX = 256 /* bytes of a claim as clients say it */ };

/* Hangs on ws_extra. */
struct ws_ticket {
    char id[TICKET_ID_LEN + 1];
    uint64_t expires_ms;              /* wall */
    uint64_t issued_ms;               /* wall */
    uint64_t claim_until_ms;          /* monotonic; 0: no claim is out */
    struct session_resume *resume;    /* of its hello, while the claim is out; NULL: none */
    uint8_t claim[DIGEST_SHA256_LEN]; /* its hash; meaningful with has_claim */
    char *final_id;                   /* of the last message, once it was sent: to be confirmed */
    uint64_t end_again_ms; /* monotonic: the end did not get out, and is tried again; 0: it did */
    struct mail_chain waiting; /* struct ticket_news: messages that there was no room for yet */
    uint32_t waiting_count;
    uint32_t memory_bytes;
    bool is_sending; /* what waits */
    bool has_claim;
    bool is_won;
    bool waits_for_queue; /* raw: the last message is not written yet */
    char user[];
};

/* NULL: no memory. */
struct ws_ticket *ws_ticket_create(const struct ticket *ticket);
void ws_ticket_destroy(struct ws_ticket *ticket);

/* NULL: it came without one. */
struct ws_ticket *ws_ticket_of(const struct worker *worker, const struct session *session);

/* Whose the session is if no other credential says it. As ws_protocol_identify. */
int ws_ticket_identify(struct worker *worker, struct session *session);

/* The claim of hello. False: it is too long. */
bool ws_ticket_set_claim(struct ws_ticket *ticket, struct str claim);

/* In place of the start, which follows when the claim is back and was the first. */
void ws_ticket_claim(struct worker *worker, struct session *session,
                     const struct session_resume *resume);

/* It has been welcomed. */
void ws_ticket_on_start(struct worker *worker, struct session *session);

/* There may be room for more of what the hub handed over. */
void ws_ticket_continue(struct worker *worker, struct session *session);

/* A message was confirmed. */
void ws_ticket_on_ack(struct worker *worker, struct session *session, struct str id);

/* Its last message was taken out of the session's queue: the page has not seen it. */
void ws_ticket_on_drop(struct ws_ticket *ticket);

/* Its deadlines; ms until it wants to look again. */
uint64_t ws_ticket_check(struct worker *worker, struct session *session);

/* For struct hub_callbacks. */
void ws_ticket_run_news(struct mail *mail);

#endif
