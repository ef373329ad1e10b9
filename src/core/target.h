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
    TARGET_ALL = 5,  /* every session of the app; its name is empty */
    TARGET_NODE = 6, /* a gateway: its boot in 8 hex digits; empty: all. Of events among nodes alone */
};

struct target {
    enum target_kind kind;
    struct str name; /* borrowed */
};

/* The app's name as events carry it. */
uint32_t target_app_hash(const struct siphash_key *key, struct str app_name);

/* Never 0. The same on every node of a cluster, since the key is the cluster's. */
uint64_t target_key(const struct siphash_key *key, uint32_t app_hash, enum target_kind kind,
                    struct str name);

/* The kind that a key was made for; it stands in bits that choose neither a queue nor a table's
 * place. */
static inline enum target_kind target_key_kind(uint64_t key)
{
    return (enum target_kind)(key >> 29 & 7);
}

/* Fixed for a topic: count and order of queues are part of its configuration. */
static inline uint32_t target_queue(uint64_t key, uint32_t queues)
{
    return (uint32_t)((key >> 32) * queues >> 32);
}

#endif
