/* What Redis Streams say, as places and records: ids, entries, and the state of a stream. Pure.
 *
 * The place of an entry "ms-seq" is hi = ms << 20 | seq: ids ascend, so places do. An id whose
 * parts don't fit (ms of 43 bits reaches the year 2248; a million entries in one millisecond) was
 * not made by Redis's clock. */
#ifndef TIDEGATE_BUS_REDIS_ENTRY_H
#define TIDEGATE_BUS_REDIS_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/bus.h"
#include "bus/redis_reply.h"

enum { REDIS_ID_SEQ_BITS = 20, REDIS_ID_MS_BITS = 43, REDIS_ID_TEXT_MAX = 48 };

struct redis_id {
    uint64_t ms, seq;
};

/* "12-3". False for anything else. */
bool redis_id_parse(struct redis_id *out_id, struct str text);
const char *redis_id_format(struct redis_id id, char out[REDIS_ID_TEXT_MAX]);
int redis_id_compare(struct redis_id a, struct redis_id b);
bool redis_id_is_zero(struct redis_id id);

/* The greatest id before it; 0-0 has none and stays. */
struct redis_id redis_id_before(struct redis_id id);

/* Whether it has a place of its own. */
bool redis_id_fits(struct redis_id id);
/* Whether every id behind it does not fit either: its stream is of no use any more. */
bool redis_id_is_end(struct redis_id id);
/* Its place; the nearest one when it does not fit. lo is 0. */
struct bus_pos redis_id_pos(struct redis_id id);

/* One entry of XREAD: an id and [name, value, …]. */
struct redis_entry {
    struct redis_id id;
    struct str record;
    bool is_record; /* one field of our name, an id that fits, not empty */
};

extern const struct str redis_entry_field; /* the one field's name */

/* False when it is no entry at all: the server does not keep to its protocol. */
bool redis_entry_read(struct redis_entry *out_entry, const struct redis_reply *reply);

/* What the survey (redis_streams.c) says of one stream. */
struct redis_facts {
    struct redis_id last;   /* the last id it gave, also when that entry is gone; 0-0: none ever */
    struct redis_id first;  /* the oldest entry there is; 0-0: it is empty */
    struct redis_id floor;  /* the youngest entry not younger than the window; 0-0: none */
    struct redis_id erased; /* the youngest one that somebody took out by hand */
    uint64_t trimmed;       /* how many entries are gone */
    uint64_t added;         /* how many there were ever */
    bool is_counted;        /* these two are known (Redis 7) */
};

/* [last, first, floor, erased, added, length], all texts but the last, which is an integer; "" is
 * 0-0 or unknown. False when it is not that. */
bool redis_facts_read(struct redis_facts *out_facts, const struct redis_reply *reply);

/* Where a node begins to read: behind the id, and *out_from is what it may say of it (on_start).
 * The youngest entry that is out of the window is read too, so that a session that has seen it, and
 * nothing younger, need not be told of a gap. */
struct redis_id redis_facts_start(const struct redis_facts *facts, struct bus_pos *out_from);

/* Whether entries behind read are gone that nobody here has read, and if so the id behind which
 * reading goes on. index: how many entries there had ever been up to read, -1 when unknown. */
bool redis_facts_hole(const struct redis_facts *facts, struct redis_id read, int64_t index,
                      struct redis_id *out_resume);

#endif
