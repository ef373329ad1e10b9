/* A node of the contract suite: an engine, and a witness of each of its callbacks. What the engine
 * says is written down for the audit, and what it must never say (callbacks inside bus_publish, a
 * record before its queue's start, positions that go back, …) is caught at once. The first such
 * breach is kept; node_assert_sound fails the case with it. */
#ifndef TIDEGATE_TESTS_BUS_NODE_H
#define TIDEGATE_TESTS_BUS_NODE_H

#include "settings.h"

struct loop;

/* The number of a record that no writer of the suite wrote. */
enum { NODE_FOREIGN = UINT32_MAX };

struct seen {
    struct bus_pos pos;
    uint32_t writer, number; /* both NODE_FOREIGN: not ours */
    uint32_t len;
    uint32_t is_broken; /* ours, and not what was written */
    uint64_t wall_ms;
};

struct hole {
    struct bus_pos from, to;
    enum bus_hole why;
    size_t at; /* it was told when so many records had been seen */
};

enum { NODE_MAX_HOLES = 256 };

struct node_queue {
    bool started, was_started, up; /* was: in whichever epoch */
    struct bus_pos from, last;
    struct seen *seen;
    size_t seen_count, seen_room;
    size_t since, holes_since; /* what is before them belongs to another history */
    struct hole holes[NODE_MAX_HOLES];
    size_t hole_count;
};

struct node {
    struct bus *bus; /* NULL: ended, or it ran in another process */
    char name[32];
    struct settings_values values;
    struct bus_options options;
    char epoch[BUS_EPOCH_MAX + 1];
    unsigned epochs;
    bool up;
    unsigned ups, downs; /* how often it was said */
    unsigned falls;      /* downs behind an up */
    char reason[256];    /* of the last down */
    size_t seen_when_up; /* records of all queues, when it was up for the first time */
    struct node_queue queues[BUS_MAX_QUEUES];
    uint32_t queue_count;
    size_t seen_ours, seen_foreign; /* of all queues */
    bool in_publish, is_ended;
    char breach[512];
};

/* Options that differ from case to case; 0 takes the usual. */
struct node_setup {
    const char *name;
    uint32_t queues;        /* 4 */
    uint64_t window_age_ms; /* a minute */
};

/* Fails the case when the engine refuses. */
struct node *node_create(struct loop *loop, const struct settings *settings, const char *fresh_name,
                         const struct node_setup *setup);
void node_end(struct node *node);     /* bus_destroy; what it saw stays */
void node_destroy(struct node *node); /* NULL is fine */

/* bus_publish, watched. */
int node_publish(struct node *node, struct bus_publish *publish);

/* For what a breach is seen by somebody else. Only the first one is kept. */
void node_note_breach(struct node *node, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void node_assert_sound(const struct node *node);

/* ---- questions ---- */

size_t node_holes(const struct node *node);
uint32_t node_queues_up(const struct node *node);
const struct seen *node_find(const struct node *node, uint32_t queue, uint32_t writer,
                             uint32_t number);

/* ---- records of the suite: a head, then bytes that follow from it ---- */

enum { NODE_RECORD_MIN = 16 };

void node_record_write(uint8_t *out, size_t len, uint32_t writer, uint32_t number);

#endif
