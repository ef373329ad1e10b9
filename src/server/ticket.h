/* A ticket: what an anonymous browser shows once to wait for a result. Signed by the cluster
 * (server/signed.h), so that any node can read it and no store has it; a secret, unlike its id
 * (core/ticket_id.h). Pure. */
#ifndef TIDEGATE_SERVER_TICKET_H
#define TIDEGATE_SERVER_TICKET_H

#include "server/signed.h"

/* The longest text, which is part of a URL. */
enum { TICKET_MAX = 4096, TICKET_MEMORY = 8 * 1024 };

struct ticket {
    struct str app;
    struct str id;
    struct str scene; /* what it is for; "": not said */
    struct str user;  /* whose the session is; "": nobody's */
    uint64_t expires_ms;
    uint64_t issued_ms; /* wall; read from a ticket that does not say it: 1, before all others */
};

/* Appends. 0, ERR_NO_MEMORY, or ERR_TOO_LARGE when it is over TICKET_MAX. */
int ticket_write(struct buf *out, const uint8_t key[SIGNED_KEY_LEN], const struct ticket *ticket);

/* 0, ERR_SYNTAX, ERR_DENIED (signature) or ERR_EXPIRED. The texts point into memory, which has
 * TICKET_MEMORY bytes. */
int ticket_read(struct ticket *out_ticket, char memory[TICKET_MEMORY],
                const uint8_t key[SIGNED_KEY_LEN], struct str text, uint64_t now_ms);

#endif
