/* Whom a message is for, and the 64-bit key that stands for it everywhere: in events, in the
 * interest table and in the window. Pure. */
#ifndef TIDEGATE_CORE_TARGET_H
#define TIDEGATE_CORE_TARGET_H

#include <stdint.h>

#include "base/siphash.h"
#include "base/str.h"

enum target_kind {
    TARGET_USER = 1,
    TARGET_GROUP = 2,
    TARGET_SESSION = 3,
    TARGET_TICKET = 4,
    TARGET_ALL = 5, /* every session of the app; its name is empty */
    TARGET_NODE =
        6, /* a gateway: its boot in 8 hex digits; empty: all. Of events among nodes alone */
};

struct target {
    enum target_kind kind;
    struct str name; /* borrowed */
};

/* How a cluster turns names into numbers. keys is secret, so that nobody can choose names that
 * collide in the tables, and changes when the cluster's secret does. open comes from the cluster's
 * name: what it makes stays the same while secrets are being rotated, and is not used where names
 * of peers could collide. */
struct target_space {
    struct siphash_key keys;
    struct siphash_key open;
    uint8_t tag; /* tells in events whose keys theirs are; 6 bits */
};

/* The app's name as events carry it. */
uint32_t target_app_hash(const struct target_space *space, struct str app_name);

/* Never 0. The same on every node that has the same secret first. */
uint64_t target_key(const struct target_space *space, uint32_t app_hash, enum target_kind kind,
                    struct str name);

/* The target's home among so many queues, the same on every node: count and order of queues are
 * part of the configuration. */
uint32_t target_queue(const struct target_space *space, uint32_t app_hash, enum target_kind kind,
                      struct str name, uint32_t queues);

/* The kind that a key was made for; it stands in bits that don't choose a table's place. */
static inline enum target_kind target_key_kind(uint64_t key)
{
    return (enum target_kind)(key >> 29 & 7);
}

#endif
