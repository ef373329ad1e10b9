/* HTTP(S) requests to others, on a loop: key sets now, webhooks too. By libcurl's multi interface;
 * names are resolved by curl's own threads, so nothing here blocks. HTTP/1.1, connections are kept
 * and used again, certificates are checked against the system's, redirects are answers like any
 * other, and the environment's proxies are ignored. The process must ignore SIGPIPE: writing to a
 * closed TLS connection raises it.
 *
 * One promise a request: when fetch_start returns 0, on_done runs exactly once, on the loop, never
 * inside fetch_start. Everything belongs to the loop's thread. */
#ifndef TIDEGATE_NET_FETCH_H
#define TIDEGATE_NET_FETCH_H

#include "base/str.h"
#include "net/addr.h"
#include "net/loop.h"

struct fetcher; /* fetch.c: the requests and kept connections of one loop */
struct fetch;   /* fetch.c: one request */

/* Asked for each address before a connection to it is opened, after the name was resolved. */
typedef bool (*fetch_may_connect_cb)(void *owner, const struct addr *addr);

/* may_connect NULL allows all. 0 or ERR_NO_MEMORY. */
int fetcher_create(struct fetcher **out_fetcher, struct loop *loop,
                   fetch_may_connect_cb may_connect, void *owner);

/* Ends what is under way with ERR_CANCELED. Not from within on_done. */
void fetcher_destroy(struct fetcher *fetcher);

enum { FETCH_HEADERS_MAX = 64 * 1024 }; /* of an answer; more is ERR_TOO_LARGE */

struct fetch_request {
    struct str url;            /* http or https */
    bool is_post;              /* else GET */
    struct str body;           /* of a POST; copied */
    const struct str *headers; /* "Name: value" each; copied */
    size_t header_count;
    uint64_t timeout_ms;   /* in all, name look-up included; not 0 */
    size_t response_bytes; /* the most body that is taken; not 0 */
    struct str ca;         /* PEM, copied: in place of the system's authorities. "": these */
};

/* Valid during on_done only. */
struct fetch_response {
    int status; /* 0 when there was none */
    struct str content_type;
    struct str body;
    uint64_t retry_after_ms; /* what the answer asks for; 0: nothing */
    bool address_refused;    /* by may_connect */
    const char *detail;      /* the reason of a failure in curl's words, for logs; "" when none */
};

/* err 0: an answer came, whatever its status. ERR_TIMEOUT, ERR_TOO_LARGE, ERR_CANCELED,
 * ERR_NO_MEMORY; ERR_DENIED: may_connect or the certificate's check refused; ERR_SYNTAX: not a
 * usable URL; ERR_UNAVAILABLE: all else. */
typedef void (*fetch_done_cb)(void *owner, int err, const struct fetch_response *response);

/* out_fetch may be NULL; it is valid until on_done runs. 0, ERR_SYNTAX (the url is neither http nor
 * https, or NUL or line breaks in it or a header) or ERR_NO_MEMORY. */
int fetch_start(struct fetch **out_fetch, struct fetcher *fetcher,
                const struct fetch_request *request, fetch_done_cb on_done, void *owner);

/* Runs on_done with ERR_CANCELED before it returns. NULL is fine. */
void fetch_cancel(struct fetch *fetch);

#endif
