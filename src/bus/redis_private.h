/* The Redis engine, shared by its parts:
 *   redis.c          the engine's functions, its state as the core sees it
 *   redis_connect.c  finding the master, the two links to it, coming back after a loss
 *   redis_publish.c  records on their way out, tried again until their deadline
 *   redis_streams.c, redis_read.c, redis_pubsub.c   the two modes
 *
 * There are two links to one server: requests go over `command`, and `reader` waits for what comes
 * (XREAD BLOCK, SUBSCRIBE). They are lost together: what the one learns (a new master, a broken
 * history) holds for the other. */
#ifndef TIDEGATE_BUS_REDIS_PRIVATE_H
#define TIDEGATE_BUS_REDIS_PRIVATE_H

#include "base/backoff.h"
#include "base/buf.h"
#include "bus/bus.h"
#include "bus/redis_config.h"
#include "bus/redis_entry.h"
#include "bus/redis_link.h"
#include "net/loop.h"

enum {
    REDIS_MAX_RECORD = 16 * 1024 * 1024,
    REDIS_MAX_REPLY = 64 * 1024 * 1024,
    REDIS_MAX_ALONE = REDIS_MAX_RECORD + 64 * 1024, /* for an answer that holds one record */
    REDIS_TICK_MS = 1000,
    REDIS_RETRY_BASE_MS = 400,
    REDIS_RETRY_MAX_MS = 2000,
    REDIS_REASON_MAX = REDIS_ADDRESS_TEXT_MAX + REDIS_LINK_REASON_MAX,
};

struct redis_queue {
    /* ---- out; redis_publish.c ---- */
    struct bus_publish *first; /* the one that goes; the others wait for their turn */
    struct bus_publish **end;
    struct timer deadline;  /* of the first */
    bool is_on_wire;        /* its answer is to come */
    bool is_uncertain;      /* it went over a link that was lost: it may be in the queue */
    uint32_t stale_answers; /* to come for publishes whose deadline has passed */
    /* ---- in; streams ---- */
    bool is_started;
    struct redis_id read;  /* all up to it has been read */
    struct redis_id known; /* the highest one seen, read or acknowledged: a history has it */
    struct redis_id pin;   /* the end when the survey was made */
    int64_t pin_added;     /* how many entries there had been ever, then; -1: unknown */
    int64_t index;         /* the same up to read; -1: unknown */
    bool is_caught_up;     /* read up to the pin */
    uint64_t complete_ms;  /* all that was there at this time has been read; monotonic */
    struct redis_id acked; /* of the last publish: tells when a sequence number runs high */
};

struct redis_bus;

/* What differs between the modes. Links are flushed by who calls. */
struct redis_mode {
    /* Both links are there: agree on the epoch, fix the start. Ends with redis_bus_start(). */
    void (*begin)(struct redis_bus *redis);
    /* Puts the first publish of the queue on the command link. 0 or an error. */
    int (*send)(struct redis_bus *redis, uint32_t queue);
    void (*tick)(struct redis_bus *redis);
    void (*on_message)(struct redis_bus *redis, const struct redis_reply *message); /* or NULL */
};

extern const struct redis_mode redis_streams_mode, redis_pubsub_mode;

enum redis_phase {
    REDIS_AWAY,       /* waits for the next try */
    REDIS_CONNECTING, /* asks Sentinels, opens links */
    REDIS_SURVEYING,  /* looks at what is there */
    REDIS_RUNNING,    /* publishes and reads */
};

struct redis_bus {
    struct bus bus; /* first */
    struct loop *loop;
    struct redis_config config;
    const struct redis_mode *mode;
    uint64_t window_age_ms;
    char client_name[64];
    uint64_t random; /* for jitter and names */

    enum redis_phase phase;
    struct redis_link *sentinel, *command, *reader;
    uint32_t host;  /* the next one to try, of the hosts or the Sentinels */
    uint32_t tried; /* of this round */
    struct backoff backoff;
    struct timer retry, tick;
    bool was_linked; /* ever: the next link is a reconnect */

    char epoch[BUS_EPOCH_MAX + 1]; /* "": not known yet */
    bool is_up;
    char reason[REDIS_REASON_MAX]; /* as told last */

    struct redis_queue queues[BUS_MAX_QUEUES];
    uint64_t unsent;  /* bit i: the first publish of queue i is to go */
    uint64_t refused; /* bit i: with the next tick */
    bool is_refusing; /* the server, and that was logged */

    bool must_survey; /* streams: before the next XREAD; pubsub: it is under way */

    /* ---- streams ---- */
    int64_t server_ms;   /* the server's wall clock less our monotonic one */
    uint64_t trim_ms;    /* when to trim quiet queues next; monotonic */
    uint32_t read_count; /* COUNT of XREAD */
    uint32_t only_queue; /* one at a time, after an answer that was too large; UINT32_MAX: all */
    bool must_skip;      /* the next entry of only_queue alone is too large */
    uint64_t asked_ms;   /* when the XREAD under way was sent */

    /* ---- pubsub ---- */
    char previous_epoch[BUS_EPOCH_MAX + 1]; /* its records may still be on their way */
    char script_sha[48];
    uint64_t seen;      /* the last counter */
    uint64_t passed;    /* the last counter of an epoch that the survey will name */
    uint64_t told;      /* the server's counter at the last survey or tick */
    uint32_t pongs;     /* to come, before told counts as arrived */
    uint64_t seen_then; /* seen, when the tick asked for the counter */
};

/* ---- redis.c ---- */

/* Adopts the epoch. True when it is another one than before: the caller then tells each queue. */
bool redis_bus_set_epoch(struct redis_bus *redis, struct str epoch);
/* A candidate for a new epoch: 16 hex digits of chance. */
void redis_bus_draw_epoch(struct redis_bus *redis, char out[17]);
void redis_bus_set_up(struct redis_bus *redis);
void redis_bus_set_down(struct redis_bus *redis, const char *reason);
/* NAME:suffix into out; returns it. */
struct str redis_bus_key(const struct redis_bus *redis, char out[REDIS_NAME_MAX + 16],
                         const char *format, ...) __attribute__((format(printf, 3, 4)));
uint64_t redis_bus_random(struct redis_bus *redis);

/* ---- redis_connect.c ---- */

void redis_connect_start(struct redis_bus *redis);
/* Something is wrong with the server: leaves it and comes back, after a while. */
void redis_connect_drop(struct redis_bus *redis, const char *why);
/* The same, and an error of the server says why; naming it. */
void redis_connect_refuse(struct redis_bus *redis, const struct redis_reply *error);
/* Asks the server, over the command link, whether it still is the master, and leaves one that is
 * not. */
void redis_connect_check_role(struct redis_bus *redis);
/* The survey is done: publishing and reading may begin. */
void redis_connect_run(struct redis_bus *redis);
void redis_connect_stop(struct redis_bus *redis);

/* ---- redis_publish.c ---- */

int redis_publish_add(struct redis_bus *redis, struct bus_publish *publish);
/* Gives the links what is unsent, and flushes them. */
void redis_publish_flush(struct redis_bus *redis);
/* The answer to what mode->send sent; false when it belongs to a publish that is over. */
bool redis_publish_take_answer(struct redis_bus *redis, uint32_t queue);
void redis_publish_done(struct redis_bus *redis, uint32_t queue, struct bus_pos pos);
/* The server has refused it, and so has not done it. again: it is to be sent once more at once.
 * is_ours as redis_publish_take_answer said. Leaves the server where the error says so. */
void redis_publish_refused(struct redis_bus *redis, uint32_t queue, bool is_ours, bool again,
                           const struct redis_reply *error);
/* What was on the wire goes again with the next tick. */
void redis_publish_put_off(struct redis_bus *redis, uint32_t queue);
/* The links are gone: nobody knows what became of what was on them. */
void redis_publish_lost(struct redis_bus *redis);
void redis_publish_cancel(struct redis_bus *redis);

/* ---- redis_read.c: streams, in ---- */

/* Sends the next XREAD. */
void redis_read_next(struct redis_bus *redis);
/* After an answer that was too large: reads in smaller pieces, and at last not that entry. */
void redis_read_less(struct redis_bus *redis);

/* ---- redis_streams.c ---- */

/* Asks again what is there: the epoch, holes. The reader waits for it. */
void redis_streams_survey(struct redis_bus *redis);

#endif
