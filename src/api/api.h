/* The API listener: who calls, which endpoint, and the common parts of answers. Runs on workers. */
#ifndef TIDEGATE_API_API_H
#define TIDEGATE_API_API_H

#include "server/tenants.h"
#include "server/worker.h"

enum { API_NAMES_MAX = 2, API_NAME_BYTES = 1024 };

/* Who calls in another way than by a key of a header: somebody who is signed in to the console. */
struct api_caller {
    struct str app;  /* asked about where ?app= names none; "": the only one */
    struct str name; /* of the key that was signed in with */
    uint32_t scopes; /* in every app */
};

/* One call: on the stack of its handler. */
struct api_call {
    struct worker *worker;
    struct http_exchange *exchange;
    const struct http_request *request;
    const struct api_caller *caller; /* NULL: who it is, the request says */
    const struct tenant *tenant;     /* whose key it is, or whom ?app= names */
    struct str caller_name;          /* of the key; borrowed; "" where none is needed */
    uint32_t scopes;
    bool is_of_gateway;              /* about the nodes, not of an app: tenant may be any */
    struct str names[API_NAMES_MAX]; /* the {…} of the path, decoded, in buffer */
    char buffer[API_NAMES_MAX][API_NAME_BYTES];
};

/* For struct gateway_hooks. */
void api_on_head(struct worker *worker, struct http_exchange *exchange);
void api_on_request(struct worker *worker, struct http_exchange *exchange);

/* The same for a caller that was identified before. */
void api_on_request_as(struct worker *worker, struct http_exchange *exchange,
                       const struct api_caller *caller);

/* Answers 422 with "invalid_<field>" or another code. */
void api_refuse(struct api_call *call, int status, const char *code, const char *detail);

/* What the call does goes to the audit log, with its answer: action is a literal and a row of
 * docs/logs.md, target says what it is done to, as a path of the API without its /v1/. Another one
 * in the place of what was said before is fine. False: memory is out, and the call is answered. */
bool api_begin_act(struct api_call *call, const char *action, struct str target);

static inline const struct settings_limits *api_limits(const struct worker *worker)
{
    return &worker->settings->limits;
}

#endif
