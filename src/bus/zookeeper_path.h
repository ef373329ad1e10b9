/* Names of nodes and positions of records. Pure.
 *
 *     PATH/q3                              a queue
 *     PATH/q3/b0000000007                  a bucket of it; data version 0: open, else sealed
 *     PATH/q3/b0000000007/e0000000041      a record
 *     PATH/cleaner                         of the node that cleans, ephemeral
 *
 * Record s of bucket b is at hi = b << 31 | (s + 1): ZooKeeper counts to 2^31 in a bucket, and a
 * bucket is sealed long before. {0, 0} stays what is before everything. */
#ifndef TIDEGATE_BUS_ZOOKEEPER_PATH_H
#define TIDEGATE_BUS_ZOOKEEPER_PATH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "bus/bus.h"

enum {
    ZK_ROOT_MAX = 256,              /* bytes of PATH */
    ZK_NODE_MAX = ZK_ROOT_MAX + 48, /* of any node below, and the NUL */
};

struct zk_names {
    char root[ZK_ROOT_MAX + 1];
};

/* Each writes to out and returns it. */
const char *zk_name_queue(char out[ZK_NODE_MAX], const struct zk_names *names, uint32_t queue);
const char *zk_name_bucket(char out[ZK_NODE_MAX], const struct zk_names *names, uint32_t queue,
                           uint32_t bucket);
const char *zk_name_record(char out[ZK_NODE_MAX], const struct zk_names *names, uint32_t queue,
                           uint32_t bucket, uint64_t number);
/* Without a number: ZooKeeper appends it. */
const char *zk_name_new_record(char out[ZK_NODE_MAX], const struct zk_names *names, uint32_t queue,
                               uint32_t bucket);
const char *zk_name_cleaner(char out[ZK_NODE_MAX], const struct zk_names *names);

/* The number behind the prefix in a child's name; false when the name is not of that form. */
bool zk_name_number(struct str name, char prefix, uint64_t *out_number);

struct bus_pos zk_pos(uint32_t bucket, uint64_t number);
/* What is just before it; {0, 0} for the first record of all. */
struct bus_pos zk_pos_before(uint32_t bucket, uint64_t number);

/* How many children a node has ever had: the number that ZooKeeper gives to the next. The stat that
 * it sends counts changes of children, that is creations and removals, in cversion. */
uint64_t zk_creates(int32_t cversion, int32_t children);

/* Whether it can be PATH: absolute, no empty segment, no "." or "..", no control byte, not "/", not
 * under /zookeeper. *out_problem completes a sentence. */
bool zk_path_check(struct str path, const char **out_problem);

#endif
