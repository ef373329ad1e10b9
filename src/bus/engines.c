#include "bus/engines.h"

static const struct bus_engine *const engines[] = {
    &bus_memory_engine,
    &bus_redis_engine,
    &bus_zookeeper_engine,
    &bus_rocketmq_engine,
};

enum { ENGINE_COUNT = sizeof(engines) / sizeof(engines[0]) };

const struct bus_engine *bus_engine_find(struct str name)
{
    for (int i = 0; i < ENGINE_COUNT; i++) {
        if (str_equal(name, str_of(engines[i]->name))) {
            return engines[i];
        }
    }
    return NULL;
}

const char *bus_engine_names(void)
{
    return "memory, redis, zookeeper, rocketmq";
}
