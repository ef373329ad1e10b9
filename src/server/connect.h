/* The client listener: who may connect (GET /v1/ws, GET /v1/sse), and who speaks for a session that
 * is there (POST /v1/up, which api/up.h takes on from here). */
#ifndef TIDEGATE_SERVER_CONNECT_H
#define TIDEGATE_SERVER_CONNECT_H

#include "server/credential.h"
#include "server/worker.h"

/* Answers the request, or makes a session of its connection. False when the path is not one of
 * ours. */
bool connect_on_request(struct worker *worker, struct http_exchange *exchange);

struct connect_speaker {
    const struct tenant *tenant;
    struct credential credential; /* user "" when it showed none; for credential_fini */
    bool has_credential;          /* it showed one, and not only a ticket */
};

/* The app, and whether a page of this origin may ask; answers OPTIONS (methods: what may be asked
 * for). False: the request is answered. */
bool connect_find_speaker(struct worker *worker, struct http_exchange *exchange, struct str methods,
                          struct connect_speaker *out_speaker);

/* Then the credential, if it shows one. False: it is no good, and the request is answered. */
bool connect_check_speaker(struct worker *worker, struct http_exchange *exchange,
                           struct connect_speaker *speaker);

/* The origin of the page that asks; "": no page of another origin does. */
struct str connect_page_of(const struct http_request *request);

/* Header lines that let a page of this origin, which was checked, read the answer. */
enum { CONNECT_CORS_HEADERS = 4 };
size_t connect_cors_headers(struct str origin, struct http_pair out_headers[CONNECT_CORS_HEADERS]);

#endif
