/* What the sources of connect share; nobody else includes it.
 *   connect.c      who may connect, and the upgrade to a WebSocket
 *   connect_sse.c  the event stream
 *   connect_up.c   who speaks for a session of an event stream
 *   connect_cors.c what a browser wants to be told before a page of another origin may do either */
#ifndef TIDEGATE_SERVER_CONNECT_PRIVATE_H
#define TIDEGATE_SERVER_CONNECT_PRIVATE_H

#include "proto/ws_deflate_offer.h"
#include "server/connect.h"
#include "server/ticket.h"
#include "server/ws_session.h"

/* What a connect gathers on its way from request to session. */
struct connecting {
    struct worker *worker;
    struct http_exchange *exchange;
    const struct http_request *request;
    struct addr client; /* behind proxies that are trusted; exchange->peer is the connection's */
    const struct tenant *tenant;
    struct credential credential;
    bool has_credential;
    bool is_v1;
    bool is_echo;
    bool needs_credential; /* no hello comes later that could bring one */
    bool holds_session;    /* counted in admission */
    bool is_up;            /* nobody connects: a client speaks for its session */
    bool holds_quota;      /* and in the app's quota */
    bool tells_origin;     /* answers say that pages of this origin may read them */
    uint64_t ip_key;
    struct ticket ticket; /* meaningful with ticket_memory */
    char *ticket_memory;  /* owned; NULL: no ticket is shown */
    struct ws_deflate_choice deflate;
};

/* These answer, with the reason counted and logged. */
void connect_refuse(struct connecting *connecting, int status, const char *code,
                    const char *detail);
/* 405; allow: what may be asked for. */
void connect_refuse_method(struct connecting *connecting, struct str allow, const char *detail);
void connect_refuse_for_now(struct connecting *connecting, int status, const char *code,
                            const char *detail, unsigned seconds);

/* Each is false when it has refused. */
bool connect_check_started(struct connecting *connecting);
bool connect_find_tenant(struct connecting *connecting); /* and makes it known here */
bool connect_check_origin(struct connecting *connecting);
bool connect_take_place(struct connecting *connecting);
bool connect_check_credential(struct connecting *connecting);

/* What connect_take_place took. */
void connect_give_back(struct connecting *connecting);

/* The texts that it gathered. */
void connect_fini(struct connecting *connecting);

static inline const struct ticket *connect_ticket(const struct connecting *connecting)
{
    return connecting->ticket_memory ? &connecting->ticket : NULL;
}

/* Closes a socket that became no session. */
void connect_end_link(const struct http_taken *link);

/* connect_sse.c: GET /v1/sse. */
void connect_on_sse(struct connecting *connecting);

/* connect_cors.c */

/* Answers OPTIONS, whose tenant is found: what a page may send here. */
void connect_answer_preflight(struct connecting *connecting, struct str methods);

#endif
