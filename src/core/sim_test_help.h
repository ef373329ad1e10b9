/* A simulated cluster for tests: some nodes, each a hub with its shards, on one bus whose queues
 * are logs that all of them read at their own pace. Everything random comes from the seed, so a
 * seed that fails can be run alone. This part has the dice and what is known of a run; beside it:
 *   sim_log_test_help.h      the logs
 *   sim_bus_test_help.h      each node's engine
 *   sim_node_test_help.h     a node: its life, and the mails between its threads
 *   sim_client_test_help.h   the clients, who check each message against the logs
 *   sim_told_test_help.h     and everything else that they are told
 *   sim_acts_test_help.h     what clients do
 *   sim_push_test_help.h     pushes, and what their callers are told
 *   sim_fate_test_help.h     what happens to nodes, brokers and logs
 *   sim_check_test_help.h    what must hold at the end
 *   sim_run_test_help.h      a run from its seed to its end */
#ifndef TIDEGATE_CORE_SIM_TEST_HELP_H
#define TIDEGATE_CORE_SIM_TEST_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/hub_private.h"
#include "core/receipt.h"
#include "core/shard_private.h"
#include "core/sid.h"

enum {
    SIM_NODES = 4,
    SIM_SHARDS = 3,
    SIM_QUEUES = 6,
    SIM_BROKERS = 2, /* queue q is broker q % 2's */
    SIM_APPS = 2,
    SIM_USERS = 8,
    SIM_GROUPS = 6,
    SIM_API_GROUPS = 2, /* the last ones: clients never join them by themselves */
    SIM_CLIENTS = 40,
    SIM_PUSHES = 400,
    SIM_EVENTS = 2000, /* and records, of a queue */
    SIM_TARGETS = 4,
    SIM_BOOTS = 64, /* in a run */
    SIM_FIRST_BOOT = 77,
    SIM_HISTORIES = 4, /* of a queue */
    SIM_FAILOVER_MS = 300,
};

#define SIM_WALL_OFFSET_MS 1767225600000

/* What may happen in a run. */
enum sim_fate {
    SIM_SMALL_WINDOWS = 1,
    SIM_SMALL_RINGS = 2,
    SIM_UNUSED_POSITIONS = 4, /* holes that all nodes see */
    SIM_LOST_RECORDS = 8,     /* holes that one node sees */
    SIM_TRIMMED_LOGS = 16,
    SIM_NEW_HISTORIES = 32, /* of one queue */
    SIM_NEW_EPOCHS = 64,    /* of the whole bus */
    SIM_AWAY_BROKERS = 128, /* with failover */
    SIM_DEATHS = 256,
    SIM_STOPS = 512,
    SIM_TWO_SECRETS = 1024,
};

/* Without these, nothing is ever lost, so nobody may be told of a gap. */
#define SIM_LOSSES                                                                    \
    (SIM_SMALL_WINDOWS | SIM_UNUSED_POSITIONS | SIM_LOST_RECORDS | SIM_TRIMMED_LOGS | \
     SIM_NEW_HISTORIES | SIM_NEW_EPOCHS)

#define SIM_CHECK(sim, condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu%s: ", (unsigned long long)(sim)->seed,                      \
                    (sim)->out_of_memory ? " (with allocation failures)" : "");                    \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\n  run it alone: SIM_SEED=%llu\n", (unsigned long long)(sim)->seed); \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

struct sim_target {
    enum target_kind kind;
    char name[SID_LEN + 8];
    uint32_t queue; /* its home */
    uint8_t part;   /* of the push: the one for its home */
};

struct sim;

struct sim_push {
    struct sim *sim;
    enum event_kind kind;
    uint16_t app;
    uint32_t target_count;
    struct sim_target targets[SIM_TARGETS];
    uint32_t parts;
    char id[16];
    char subject[12];
    char except[SID_LEN + 1];
    char origin_tag[12];
    bool has_id;
    bool has_ttl;
    bool wants_receipt;
    int first_of_id; /* the push that had the id first; itself else */
    uint8_t body;    /* others under the same id may have another */
    uint32_t boot;   /* of the node that it was given to */
    bool is_orphan;  /* that node died before it answered */
    int done;
    int receipts_delivered;
    uint32_t live_deliveries;
    uint32_t receipt_matched;
    struct sim_trace { /* of each part, once it is in a log */
        bool is_in_log;
        uint32_t queue;
        uint32_t counter;
    } traces[SIM_TARGETS];
};

/* What stands in a log, in queue order. */
struct sim_event {
    struct bus_pos pos;
    int push;         /* -1: positions that were never used */
    uint8_t part;     /* of the push */
    uint32_t boot;    /* its sender's */
    uint32_t counter; /* of sender and queue */
    bool again;       /* the same event, or the same id, came before */
};

struct sim_record {
    struct bus_pos pos;
    uint64_t wall_ms;
    uint32_t first_event; /* of the queue's events */
    uint32_t event_count;
    bool is_unused; /* a hole */
    size_t len;     /* 0: what stands here is no record */
    uint8_t bytes[];
};

/* A queue of the bus: the truth that all nodes read. Of its earlier histories the records are gone,
 * but not the events, which clients may have got. */
struct sim_log {
    struct sim_record *records[SIM_EVENTS];
    uint32_t count;
    uint32_t kept; /* the first that the bus still has */
    uint32_t history;
    uint32_t begin;  /* the first record of this history */
    uint64_t base;   /* number before that one's */
    uint64_t number; /* of the last record of this history */
    struct sim_event events[SIM_EVENTS];
    uint32_t event_count;
    uint32_t marks[SIM_BOOTS]; /* by boot: the highest counter */
};

/* A record whose publisher knows nothing of it, and that arrives later. */
struct sim_late {
    struct sim_late *next;
    uint32_t queue;
    size_t len;
    uint8_t bytes[];
};

struct sim_node;
struct sim_bus;
struct sim_client;

struct sim_worker {
    struct sim_node *node;
    uint32_t index;
    struct shard *shard;
    bool ready;         /* must run */
    uint64_t run_at_ms; /* and then; 0: never */
    struct mail *outbox[1024];
    uint32_t outbox_head, outbox_count;
    struct mail *inbox[1024];
    uint32_t inbox_head, inbox_count;
};

/* One run of a node. */
struct sim_node {
    struct sim *sim;
    uint32_t index;
    uint32_t boot;
    struct target_space space;
    struct hub *hub;
    struct sim_bus *bus; /* the hub's */
    struct sim_worker workers[SIM_SHARDS];
    uint32_t pace;             /* percent: how eagerly it reads */
    uint64_t stopped_until_ms; /* takes no step until then */
    uint64_t repeats;          /* events that it was handed and had to drop */
    uint64_t holes[SIM_QUEUES], lost[SIM_QUEUES];
    struct bus_pos jumped_to[SIM_QUEUES]; /* by the last hole or new epoch … */
    enum session_gap_why jumped_why[SIM_QUEUES];
    bool starts_late[SIM_QUEUES]; /* not at the log's first record */
    uint32_t marks[SIM_BOOTS][SIM_QUEUES];
    uint8_t id_bodies[SIM_PUSHES];
    uint8_t id_parts[SIM_PUSHES];              /* bits */
    uint32_t arrivals[SIM_QUEUES][SIM_EVENTS]; /* when a new event came, as an ordinal; 0: not */
    uint32_t arrival;
};

struct sim {
    uint64_t seed;
    uint64_t dice;
    bool out_of_memory;
    uint32_t fates; /* bits of enum sim_fate */
    uint32_t queues, shards, client_count, node_count;
    uint64_t now_ms;
    struct sim_node *nodes[SIM_NODES]; /* NULL: dead */
    uint64_t back_at_ms[SIM_NODES];    /* a dead one */
    uint32_t boots;                    /* so far */
    bool broker_is_up[SIM_BROKERS];
    uint64_t broker_back_at_ms[SIM_BROKERS];
    uint32_t epoch;
    struct sim_log logs[SIM_QUEUES];
    struct sim_late *late;
    struct sim_client *clients;
    struct sim_push pushes[SIM_PUSHES];
    int push_count;
    struct receipt *unsent[256]; /* of messages that wait in slow sessions */
    uint32_t unsent_count;
    bool is_quiet; /* nobody is slow and nothing fails any more */
    uint32_t next_tag;
    uint64_t gaps[4]; /* told, by enum session_gap_why */
    uint64_t delivered, catch_ups, kicks, resumes, strays, repeats, deaths, holds_given_up;
};

static inline uint32_t sim_roll(struct sim *sim, uint32_t sides)
{
    sim->dice ^= sim->dice << 13;
    sim->dice ^= sim->dice >> 7;
    sim->dice ^= sim->dice << 17;
    return (uint32_t)((sim->dice >> 20) % sides);
}

static inline bool sim_chance(struct sim *sim, uint32_t percent)
{
    return sim_roll(sim, 100) < percent;
}

/* Now and then, but not at the end. */
static inline bool sim_mishap(struct sim *sim, uint32_t percent)
{
    return !sim->is_quiet && sim_chance(sim, percent);
}

/* Calls into the product may fail to allocate, one now and then. */
static inline void sim_arm(struct sim *sim)
{
    if (sim->out_of_memory && sim_mishap(sim, 20)) {
        mem_fail_nth(1 + sim_roll(sim, 8));
    }
}

static inline void sim_disarm(void)
{
    mem_fail_nth(0);
}

/* Record n of history h is at 4 n + h, so that positions of another history start low again and
 * yet tell the checker whose they are. */
static inline uint64_t sim_hi(uint32_t history, uint64_t number)
{
    return number * SIM_HISTORIES + history;
}

/* A gap ends just before the next record. */
static inline uint32_t sim_history_of(struct bus_pos pos)
{
    return (uint32_t)((pos.hi + (pos.lo == UINT64_MAX)) % SIM_HISTORIES);
}

static inline int sim_pos_compare(struct bus_pos a, struct bus_pos b)
{
    uint32_t left = sim_history_of(a);
    uint32_t right = sim_history_of(b);
    return left != right ? (left < right ? -1 : 1) : bus_pos_compare(a, b);
}

/* The first event of the queue that is behind pos. */
static inline uint32_t sim_event_after(const struct sim_log *log, struct bus_pos pos)
{
    uint32_t low = 0;
    uint32_t high = log->event_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sim_pos_compare(log->events[middle].pos, pos) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct siphash_key sim_sid_key = {3, 4};
static const char *const sim_app_names[SIM_APPS] = {"one", "two"};
static const struct target_space sim_spaces[2] = {
    {.keys = {1, 2}, .open = {5, 6}, .tag = 1},
    {.keys = {8, 9}, .open = {5, 6}, .tag = 2}, /* the next secret of the same cluster */
};

static inline uint32_t sim_queue(uint16_t app, enum target_kind kind, struct str name,
                                 uint32_t queues)
{
    uint32_t hash = target_app_hash(&sim_spaces[0], str_of(sim_app_names[app]));
    return target_queue(&sim_spaces[0], hash, kind, name, queues);
}

#endif
