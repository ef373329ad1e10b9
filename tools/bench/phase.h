/* One phase of a run, as the command line spells it:
 *   name=push_c8,conns=8,secs=3            pushes to single users, as fast as 8 connections go
 *   name=p2000,rate=2000,conns=8,secs=5    2,000 a second, open loop
 *   name=fan,to=all,window=1,count=100     broadcasts, the next one when all sessions have the last
 *   name=storm,storm                       all sessions leave, then all come back at once */
#ifndef TIDEGATE_BENCH_PHASE_H
#define TIDEGATE_BENCH_PHASE_H

#include <stdbool.h>
#include <stdint.h>

enum phase_target { PHASE_TO_USER, PHASE_TO_GROUP, PHASE_TO_ALL };

struct phase {
    char name[32];
    bool storm;
    enum phase_target to;
    bool raw;     /* POST /v1/users/uN/messages with the payload as body, not /v1/messages */
    bool offline; /* to users who have no session */
    bool text; /* payloads look like JSON text and compress like it, else they are filled with x */
    unsigned conns;  /* HTTP connections */
    unsigned depth;  /* requests in flight on each; over 1 is pipelining */
    unsigned batch;  /* messages in a request; 0: /v1/messages, not :batch */
    unsigned fan;    /* users a message names */
    unsigned size;   /* bytes of a payload */
    unsigned window; /* messages not yet delivered everywhere; 0: no such limit */
    double rate;     /* requests a second, open loop; 0: as fast as answers come */
    double secs;     /* ends after that long, or ... */
    uint64_t count;  /* ... after so many requests; 0: no such limit */
};

/* Dies on a word it does not know. */
void phase_parse(struct phase *out, const char *text);

#endif
