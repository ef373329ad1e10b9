/* The list of engines: adding one is a source of its own and a line here and in engines.c. */
#ifndef TIDEGATE_BUS_ENGINES_H
#define TIDEGATE_BUS_ENGINES_H

#include "bus/bus.h"

extern const struct bus_engine bus_memory_engine;    /* memory.c */
extern const struct bus_engine bus_redis_engine;     /* redis.c */
extern const struct bus_engine bus_zookeeper_engine; /* zookeeper.c */
extern const struct bus_engine bus_rocketmq_engine;  /* rocketmq.c */

#endif
