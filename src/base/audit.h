/* The audit log: who did what, to what, from where, and how it ended; one JSON object a line, like
 * those of base/log.h but of the level "audit", which no log.level silences:
 * `{"ts":"…","level":"audit","event":"session.kick","msg":"…","node":"a","result":"done","app":"demo",
 * "key":"ops","role":"admin","via":"api","peer":"10.0.0.7","target":"sessions/s_…","status":204,
 * "request_id":"…"}`. It has a file of its own, or goes between the log's lines on stderr. Ordinary
 * pushes are not acts of administration and leave no line.
 *
 * Each act gets a line; only refusals for want of a right (no key, 401, 403), by which anybody
 * could fill the disk, are held to 10 a second an action, and the next such line tells how many
 * were held back. A line that can't be written (full disk, a queue of 256 KiB used up) costs nobody
 * the act: it is counted, and goes to the log as it is, behind an "audit.lost". One that was to go
 * there anyway is counted only. Any thread, but open and close by one; only audit_begin allocates.
 */
#ifndef TIDEGATE_BASE_AUDIT_H
#define TIDEGATE_BASE_AUDIT_H

#include <stdint.h>

#include "base/str.h"

enum audit_result {
    AUDIT_DONE,
    AUDIT_REFUSED, /* the caller may not, or there is nothing to do it to */
    AUDIT_FAILED,  /* the gateway could not, or can't say whether it did */
};

/* All borrowed; what is empty (status: 0) is left out. Never a key, token, ticket or payload. */
struct audit_act {
    const char *action; /* "subject.verb", a literal, and a row of docs/logs.md */
    enum audit_result result;
    struct str app;    /* whose key it is */
    struct str key;    /* the key's name */
    struct str role;   /* "admin", "monitor", "app", "open": what it may at most */
    struct str via;    /* "api", "console", "signal" */
    struct str peer;   /* the caller's address */
    struct str target; /* what it was done to: a path of the API without its /v1/ */
    struct str code;   /* the stable code of a refusal */
    int status;        /* of the HTTP answer */
    struct str request_id;
    struct str trace_id;
};

void audit(const struct audit_act *act);

/* A copy of an act whose end is not known yet, for the one who answers: audit_end tells it, with
 * the status (and the result that follows from it) and the code, "" for none, and frees it
 * (mem_free alone drops it); NULL is fine. NULL from audit_begin: memory is out. */
struct audit_act *audit_begin(const struct audit_act *act);
void audit_end(struct audit_act *act, int status, struct str code);

/* Where lines go from now on: "" nowhere, "stderr", or the name of a file, which is made with mode
 * 0600 and appended to. The same name again opens the file anew, for who has moved it away. 0, or
 * -errno: then nothing has changed. */
int audit_open(struct str destination);

/* Whether audit_open could be done: 0 or -errno. The file is made. */
int audit_check(struct str destination);

/* Flushes for at most 1 s, and is off. */
void audit_close(void);

/* Acts that were to get a line, and lines that never reached their stream; one of a file that the
 * log loses, too, counts twice. */
uint64_t audit_lines(void);
uint64_t audit_lines_lost(void);

#endif
