/* What the parts of the ZooKeeper engine share. zookeeper.c tells how it works; zk_… is ours,
 * zoo_… and zookeeper_… are the client library's. Everything belongs to the bus thread.
 *
 *   zookeeper_link      one connection to one server, from its making to its end
 *   zookeeper_pump      that handle on our loop
 *   zookeeper_addrs     where the servers are
 *   zookeeper_call      requests under way; each is answered exactly once, also when the link
 * breaks zookeeper_guard     what a frame must look like before the library may see it
 *   zookeeper_open      after each connect: the nodes that must be there, and which history this is
 *   zookeeper_start     where a queue is read from at first
 *   zookeeper_read      the next records of a queue
 *   zookeeper_locate    where the reading goes on when the next record is not simply there
 *   zookeeper_explain   why it is not
 *   zookeeper_send      publishes, and buckets that are full
 *   zookeeper_clean     takes away what is older than the window
 *   zookeeper_search    the first record, or bucket, of some age
 *   zookeeper_path      names and positions
 *   zookeeper_options   what can be configured */
#ifndef TIDEGATE_BUS_ZOOKEEPER_PRIVATE_H
#define TIDEGATE_BUS_ZOOKEEPER_PRIVATE_H

#include <zookeeper/zookeeper.h>

#include "base/backoff.h"
#include "bus/bus.h"
#include "bus/zookeeper_guard.h"
#include "bus/zookeeper_path.h"
#include "net/addr.h"
#include "net/loop.h"

struct resolve; /* net/resolve.h */
struct zk_bus;
struct zk_queue;

enum {
    ZK_REASON_MAX = 256,
    ZK_SERVERS_MAX = 16,
    ZK_ADDRS_MAX = 64, /* of all servers together; what is over is left out */
    ZK_FETCH_MAX = 16, /* reads under way a queue */
    ZK_TICK_MS = 100,  /* deadlines of publishes are looked at */
    ZK_CLEAN_BATCH = 100,
    ZK_PROBLEMS_MAX = 8,
};

/* ---- options ---- */

enum zk_option {
    ZK_SERVERS,
    ZK_PATH,
    ZK_AUTH,
    ZK_SESSION_TIMEOUT,
    ZK_BUCKET_RECORDS,
    ZK_MAX_RECORD,
    ZK_OPTION_COUNT,
};

extern const struct bus_option zk_options[ZK_OPTION_COUNT];

/* A server's host and port out of "name", "name:port", "[v6]:port". host: at least len + 1 bytes.
 * 0 or ERR_SYNTAX. */
int zk_server_parse(struct str text, char *host, size_t host_size, uint16_t *out_port);

int zk_check(const struct bus_options *options, size_t *out_option, const char **out_problem);

/* ---- requests ---- */

/* rc is the library's: ZOK, or why not. What has no part in the request is NULL or 0; borrowed for
 * the call. */
struct zk_reply {
    int rc;
    const struct Stat *stat;
    struct str data;
    const struct String_vector *names;
    const zoo_op_result_t *results; /* of a multi */
    const char *created;            /* the path that a multi's first create made */
};

typedef void (*zk_reply_cb)(void *owner, uint64_t tag, const struct zk_reply *reply);

struct zk_then {
    zk_reply_cb on_reply;
    void *owner;
    uint64_t tag; /* comes back: which of several questions this answers */
};

struct zk_call; /* zookeeper_call.c */

/* ---- the link ---- */

/* The servers' addresses: names are looked up on threads of their own. */
struct zk_addrs {
    struct loop *loop;
    const struct bus_value *servers;
    void (*on_done)(struct zk_addrs *addrs, const char *problem);
    struct zk_lookup {
        struct zk_addrs *addrs;
        struct resolve *resolve; /* under way */
    } lookups[ZK_SERVERS_MAX];
    uint32_t open; /* look-ups under way */
    struct timer patience;
    char problem[ZK_REASON_MAX];    /* of the last that failed */
    struct addr list[ZK_ADDRS_MAX]; /* in the order to try */
    uint32_t count, next;
};

void zk_addrs_init(struct zk_addrs *addrs, struct loop *loop, const struct bus_value *servers,
                   void (*on_done)(struct zk_addrs *addrs, const char *problem));
/* Anew, from next 0 on; on_done later, count 0 when there is none: problem says why. */
void zk_addrs_look_up(struct zk_addrs *addrs);
void zk_addrs_fini(struct zk_addrs *addrs);

struct zk_link {
    struct zk_bus *bus;
    zhandle_t *handle;          /* NULL between two connections */
    int fd;                     /* the handle's */
    struct loop_watch watch;    /* of a copy of it */
    unsigned wants;             /* what the watch waits for */
    struct timer timer;         /* the library's next deadline, or the next try */
    struct timer connect_timer; /* how long a server may take to give us a session */
    struct zk_guard guard;
    struct zk_call *calls; /* under way */
    uint32_t call_count;
    bool is_short;    /* too few bytes to judge a frame by wait in the socket */
    bool established; /* a session is there */
    bool processing;  /* inside the library: the handle must stay */
    bool is_silent;   /* at the end: calls end without telling */
    bool ever_established;
    bool is_told;               /* that there is a link, since the bus was last up */
    char broken[ZK_REASON_MAX]; /* why the link has to end; "" while it need not */
    clientid_t session;         /* of the last connection: kept across a lost link; id 0: none */
    uint64_t established_ms;
    struct backoff backoff;

    struct zk_addrs addrs;
    char peer[ADDR_TEXT_MAX];
};

void zk_link_init(struct zk_link *link, struct zk_bus *bus);
void zk_link_start(struct zk_link *link);
void zk_link_fini(struct zk_link *link);

/* After requests were made outside of the link's own callbacks. */
void zk_link_pump(struct zk_link *link);

/* The handle on the loop. stop: it waits for nothing any more. */
void zk_pump_on_ready(struct loop_watch *watch, unsigned events);
void zk_pump_on_timer(struct zk_link *link);
void zk_pump_stop(struct zk_link *link);

/* The broken link ends now; the pump's business. */
void zk_link_end(struct zk_link *link);

/* The link ends soon, not from within, and another is made. */
void zk_link_break(struct zk_link *link, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Requests. Each is answered exactly once, later, unless the bus is destroyed first; when it can't
 * even be made (no link, no memory), by ZCONNECTIONLOSS in the next turn at the latest, since the
 * link is broken then. watcher may be NULL. */
void zk_exists(struct zk_link *link, const char *path, watcher_fn watcher, void *context,
               struct zk_then then);
void zk_get(struct zk_link *link, const char *path, struct zk_then then);
void zk_children(struct zk_link *link, const char *path, struct zk_then then);
void zk_create(struct zk_link *link, const char *path, struct str data, int mode,
               struct zk_then then);
void zk_touch(struct zk_link *link, const char *path, struct zk_then then); /* writes it, empty */
void zk_multi(struct zk_link *link, zoo_op_t *ops, int count, struct zk_then then);

/* Ends every call with rc; silently: without telling. */
void zk_calls_end(struct zk_link *link, int rc, bool silently);

/* ---- searching by age ---- */

/* Sorted numbers of the children that are ours (prefix and ten digits); *out_foreign: how many are
 * not. Freed with mem_free. 0 or ERR_NO_MEMORY. */
int zk_numbers_read(const struct String_vector *names, char prefix, uint64_t **out_numbers,
                    size_t *out_count, size_t *out_foreign);

/* The first of numbers whose node was made at or after since_ms, by halving; a node that is gone
 * counts as older. index == count: none. rc: what went wrong, else ZOK. */
struct zk_search {
    struct zk_link *link;
    const struct zk_names *names;
    uint32_t queue;
    int64_t bucket; /* whose records; -1: the queue's buckets */
    uint64_t *numbers;
    size_t count, low, high;
    uint32_t round;
    uint64_t since_ms;
    void (*on_found)(struct zk_search *search, int rc, size_t index);
};

/* Looks in numbers for what is age_ms old, by this machine's clock. on_found may come at once. */
void zk_search_start(struct zk_search *search, struct zk_bus *zk, uint32_t queue, int64_t bucket,
                     uint64_t age_ms,
                     void (*on_found)(struct zk_search *search, int rc, size_t index));
void zk_search_fini(struct zk_search *search);

/* ---- queues ---- */

enum zk_read_state {
    ZK_READ_OFF,    /* no link, or the start is not known yet */
    ZK_READ_FETCH,  /* reads are under way */
    ZK_READ_ARM,    /* the next record is not there: asking to be told */
    ZK_READ_AWAIT,  /* until the server says that it is */
    ZK_READ_LOCATE, /* looking around */
};

struct zk_reader {
    enum zk_read_state state;
    uint32_t round; /* which series of questions: what belongs to an older one is not heard */
    uint32_t bucket;
    uint64_t next;    /* number of the record that comes next, in bucket */
    uint64_t fetch;   /* number of the first that is not asked for */
    uint64_t creates; /* records that the bucket has ever had, as last heard */
    uint64_t end;     /* of a sealed bucket: no record from here on; else UINT64_MAX */
    uint32_t in_flight;
    uint32_t streak;    /* records since one was not there */
    bool missed;        /* a record was not there */
    bool passed;        /* but one behind it was */
    bool moved;         /* since the last look around */
    int64_t last_czxid; /* of the record before next; 0: not known */
    bool caught_up;
    struct bus_pos goal; /* caught up when here */
};

struct zk_explain {
    uint64_t to;          /* numbers from the reader's next on are missing up to here */
    int64_t czxid_behind; /* of the record that is there */
    int64_t czxids[16];   /* of the nodes that are none of ours */
    uint32_t count, waits;
};

struct zk_start {
    struct zk_search search;
    uint32_t round; /* answers to older questions are not heard */
    uint32_t bucket;
    uint64_t creates;
};

enum zk_send_state {
    ZK_SEND_IDLE,
    ZK_SEND_WAITS, /* to be sent, as soon as possible */
    ZK_SEND_SENT,
};

struct zk_sender {
    enum zk_send_state state;
    struct bus_publish *publish; /* NULL when idle */
    bool is_unknown;             /* an attempt ended without an answer */
    bool is_busy;                /* the bucket is being changed: no sending meanwhile */
    uint32_t round;              /* answers to an older publish are not heard */
    uint32_t bucket_round;       /* the same for what is_busy waits for */
    uint32_t bucket;             /* the newest one known */
    struct bus_pos last;         /* of the last record of this node that was accepted */
};

struct zk_queue {
    struct zk_bus *bus;
    uint32_t index;
    bool started; /* on_start was called, in this epoch */
    bool up;      /* as last told */
    struct zk_start start;
    struct zk_reader reader;
    struct zk_explain explain;
    struct zk_sender sender;
};

/* ---- opening ---- */

struct zk_open {
    uint32_t round;   /* answers to older questions are not heard */
    uint32_t waits;   /* answers that are to come */
    uint32_t tries;   /* of making what is missing */
    bool is_done;     /* the queues are in use */
    uint64_t missing; /* bit i: queue i is not there */
    bool root_missing;
    int64_t czxid; /* of the newest of path and queues, and its time */
    int64_t ctime;
};

/* ---- cleaning ---- */

struct zk_clean {
    uint32_t round; /* answers to older questions are not heard */
    bool is_running;
    uint64_t next_ms; /* when the next pass begins */
    uint32_t queue, bucket;
    uint64_t *buckets; /* of the queue */
    size_t bucket_count, bucket_at;
    struct zk_search search; /* of the bucket's records */
    size_t old;              /* so many of them are */
    size_t done, batch;      /* removed, and being removed */
    uint64_t removed;        /* in this pass */
};

/* ---- the engine ---- */

struct zk_bus {
    struct bus bus; /* first */
    struct loop *loop;
    const struct bus_options *options;
    uint64_t window_age_ms;
    uint64_t session_timeout_ms;
    uint64_t bucket_records;
    struct str auth; /* "" when none; behind "digest:" */
    struct str node;
    const struct ACL_vector *acl;
    struct zk_names names;
    struct timer tick;
    uint64_t looked_ms; /* when readers looked around */
    struct zk_link link;
    struct zk_open open;
    struct zk_clean clean;
    char epoch[BUS_EPOCH_MAX]; /* "": none yet */
    bool was_up;               /* every queue was read to its goal once */
    bool is_up;
    char reason[ZK_REASON_MAX + ADDR_TEXT_MAX]; /* why it is, or last was, down, and with whom */
    uint64_t told[ZK_PROBLEMS_MAX];             /* hashes of what was told since it was last up */
    uint32_t told_next;
    struct zk_queue queues[BUS_MAX_QUEUES];
};

static inline const struct bus_callbacks *zk_callbacks(const struct zk_bus *zk)
{
    return zk->bus.callbacks;
}

/* The link is there: zk_open_begin; it is lost: zk_lost. */
void zk_open_begin(struct zk_bus *zk);
void zk_open_stop(struct zk_bus *zk);
void zk_lost(struct zk_bus *zk, const char *peer, const char *problem);

/* The queues may be used: they start, or go on. */
void zk_opened(struct zk_bus *zk);

/* Since the bus was last up. */
bool zk_problem_is_told(const struct zk_bus *zk, const char *problem);

/* Tells what has changed of up and down. */
void zk_tell(struct zk_bus *zk);

/* The link went before the answer came: who asked is asked to do nothing, zk_lost has said it. */
bool zk_is_lost(int rc);

/* A permission is missing, or something that a try again won't mend soon: the link is broken with
 * the reason. what: "read", "write to", … */
void zk_refused(struct zk_bus *zk, int rc, const char *what);

/* Its history is another one: it has to start again. */
void zk_queue_restart(struct zk_queue *queue);
/* Its start is known: next in bucket is the first record that it hands on. */
void zk_queue_started(struct zk_queue *queue, uint32_t bucket, uint64_t next);

void zk_start_begin(struct zk_queue *queue);
void zk_start_stop(struct zk_queue *queue);

void zk_reader_go_on(struct zk_queue *queue); /* from its position, on a new link */
void zk_reader_fetch(struct zk_queue *queue);
void zk_reader_arm(struct zk_queue *queue); /* the next record is not there: waits for it */
void zk_reader_stop(struct zk_queue *queue);
void zk_reader_tick(struct zk_queue *queue);
/* To the first record of the next bucket, or to one further on. */
void zk_reader_enter(struct zk_queue *queue, uint32_t bucket);
void zk_reader_moved(struct zk_queue *queue); /* its position did: who waits for it goes on */
struct bus_pos zk_reader_last(const struct zk_queue *queue);
void zk_locate(struct zk_queue *queue);
/* Whether the numbers before to were used up by others; ends in zk_explained. */
void zk_explain(struct zk_queue *queue, const struct String_vector *names, size_t foreign,
                uint64_t to);
void zk_explained(struct zk_queue *queue, uint64_t to, bool is_foreign);

void zk_sender_stop(struct zk_queue *queue);
void zk_sender_send(struct zk_queue *queue);
void zk_sender_tick(struct zk_queue *queue, uint64_t now_ms);
void zk_sender_fail(struct zk_queue *queue, int err);

void zk_clean_tick(struct zk_bus *zk, uint64_t now_ms);
void zk_clean_stop(struct zk_bus *zk);

#endif
