/* Connects to a gateway through what is in front of it, step by step, and says which step does not
 * work and why. Blocking; the main thread. */
#ifndef TIDEGATE_CLI_DOCTOR_FRONT_H
#define TIDEGATE_CLI_DOCTOR_FRONT_H

#include "cli/conn.h"
#include "cli/doctor_report.h"
#include "cli/http_reply.h"
#include "cli/secret.h"
#include "cli/ws_link.h"
#include "proto/json.h"

struct doctor_front {
    struct url url; /* its path is that of the gateway behind the proxy: "" or "/push" */
    const char *ca_file;
    const char *app; /* NULL: none */
    uint64_t timeout_ms;
    uint64_t idle_ms;    /* 0: not idle at all */
    uint64_t most_ms;    /* that an event may be on its way before it counts as held back */
    struct secret token; /* "": none */
    struct doctor_report *report;

    int plain_status; /* of the answer to a request without an upgrade; 0: none came */

    /* Of the session that idles. */
    struct ws_link *link;
    struct buf welcome;  /* the frame; empty: there is no session */
    uint64_t opened_ms;  /* when the connection was made */
    uint64_t ping_ms;    /* as the welcome says */
    uint64_t last_in_ms; /* when something came last */
    unsigned pings;
    bool answered; /* the gateway answered what was asked */
};

/* All checks "front.…". False when the user ended it. */
bool doctor_check_front(struct doctor_front *front);

/* ---- its parts ---- */

/* The path of an endpoint, with ?app=. */
void doctor_front_target(const struct doctor_front *front, const char *path, struct buf *out);

/* One request and its answer; more: further header lines, with their ends. 0 or a negative code. */
int doctor_front_get(const struct doctor_front *front, const char *path, const char *more,
                     struct http_reply *reply);

/* "tidegate", or who else answered: by Server and Via. */
void doctor_front_who(const struct http_reply *reply, char *out, size_t cap);
/* The stable code of a problem of tidegate's; "" when it is none. */
void doctor_front_code(const struct http_reply *reply, char *out, size_t cap);

/* doctor_sse.c */
void doctor_check_sse(struct doctor_front *front);

/* doctor_idle.c: on front->link, which has a session. */
void doctor_check_frame(struct doctor_front *front);
void doctor_check_idle(struct doctor_front *front);

#endif
