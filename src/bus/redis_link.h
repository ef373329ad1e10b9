/* One connection to a Redis server (or a Sentinel): signs in, then pipelines requests, whose
 * answers come in their order. Everything belongs to the loop's thread.
 *
 * When redis_link_open returns 0, on_close runs exactly once, later, unless redis_link_close comes
 * first, after which nothing is called any more. The answers to what was under way then never come:
 * nobody knows whether the server did it. */
#ifndef TIDEGATE_BUS_REDIS_LINK_H
#define TIDEGATE_BUS_REDIS_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "bus/redis_reply.h"
#include "bus/redis_url.h"

struct loop;
struct stream_tls;

enum {
    REDIS_LINK_MAX_PENDING = 1024, /* requests without an answer */
    REDIS_LINK_REASON_MAX = 400,
};

struct redis_link_options {
    struct redis_address address;
    struct stream_tls *tls; /* NULL: plain; borrowed during open */
    struct str user;        /* these are copied: "": the default user */
    struct str password;    /* "": no AUTH */
    struct str client_name; /* for CLIENT LIST; "": none */
    uint32_t db;
    bool must_be_master; /* a server that follows another one is refused */
    uint64_t timeout_ms; /* for connecting, and for each answer */
    size_t max_reply;    /* bytes */
};

struct redis_link_callbacks {
    void (*on_ready)(void *owner); /* signed in */
    /* What was published on a channel one listens to: ["message", channel, payload]. May be NULL.
     */
    void (*on_message)(void *owner, const struct redis_reply *message);
    /* reason names the server, is for people, without secrets, and lives during the call. */
    void (*on_close)(void *owner, int err, const char *reason);
};

/* The answer to one request; tag is the request's. Errors of the server come here too. */
typedef void (*redis_answer_cb)(void *owner, uint32_t tag, const struct redis_reply *reply);

struct redis_link; /* redis_link.c */

/* 0 or ERR_NO_MEMORY. */
int redis_link_open(struct redis_link **out_link, struct loop *loop,
                    const struct redis_link_options *options,
                    const struct redis_link_callbacks *callbacks, void *owner);
void redis_link_close(struct redis_link *link); /* fine inside callbacks; NULL is fine */

/* Closes as if the connection had broken: on_close comes, in this turn or the next. */
void redis_link_fail(struct redis_link *link, int err, const char *why);

/* Puts a request behind the others; it leaves with redis_link_flush, or behind the answers that are
 * being read. Unless its answer begins to come within timeout_ms + extra_ms, the link fails. 0,
 * ERR_NO_MEMORY, or ERR_UNAVAILABLE when too many wait. */
int redis_link_send(struct redis_link *link, const struct str *words, size_t count,
                    redis_answer_cb on_answer, uint32_t tag, uint64_t extra_ms);
void redis_link_flush(struct redis_link *link);

/* What an error of the server means, with its own words where they can't hold a secret. */
const char *redis_link_explain(const struct redis_reply *error, char out[REDIS_LINK_REASON_MAX]);

/* Whether the error says that this server can't serve writers now (it follows another one, or it
 * loads its data): what was asked was not done, and another try, maybe elsewhere, may succeed. */
bool redis_link_is_stale(const struct redis_reply *error);

/* The bytes of the last answer. */
size_t redis_link_reply_bytes(const struct redis_link *link);

const struct redis_address *redis_link_address(const struct redis_link *link);

#endif
