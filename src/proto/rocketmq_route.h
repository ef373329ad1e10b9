/* What RocketMQ name servers answer: where the brokers are, and which of a topic's queues they
 * have. Read once into a text that outlives the answer; brokers are then looked up by name.
 *
 * The answers are JSON but for one thing: where a map has numbers as keys, name servers write them
 * without quotes (always in a cluster's description, in a route when an old client asks). */
#ifndef TIDEGATE_PROTO_ROCKETMQ_ROUTE_H
#define TIDEGATE_PROTO_ROCKETMQ_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum { ROCKETMQ_ROUTE_MAX = 4 << 20 }; /* bytes of an answer's body; ten thousand brokers fit */

enum { ROCKETMQ_PERM_WRITE = 2, ROCKETMQ_PERM_READ = 4 };

struct rocketmq_route_broker {
    struct str host; /* of the master; a name or an address, IPv6 without brackets */
    uint16_t port;
    bool has_topic; /* the rest is set */
    uint32_t read_queues, write_queues;
    uint32_t perm; /* a set of ROCKETMQ_PERM_… */
};

/* Makes proper JSON of a body by quoting bare numbers that are keys. 0, ERR_TOO_LARGE, or the
 * buffer's failure. out is cleared first. */
int rocketmq_route_quote_keys(struct buf *out, struct str body);

/* Both take a body after rocketmq_route_quote_keys and look for one broker by its name. 0;
 * ERR_NOT_FOUND: it is not in there, or has no master now; ERR_PROTOCOL: not such a body. Texts are
 * borrowed from the body. In a cluster's description has_topic is always false. */
int rocketmq_route_find(struct rocketmq_route_broker *out_broker, struct str route,
                        struct str broker_name);
int rocketmq_route_find_in_cluster(struct rocketmq_route_broker *out_broker, struct str cluster,
                                   struct str broker_name);

/* "host:port", "[v6]:port"; IPv6 also without brackets (brokers announce it so). The host is not
 * looked up. ERR_SYNTAX. */
int rocketmq_address_parse(struct str text, struct str *out_host, uint16_t *out_port);

#endif
