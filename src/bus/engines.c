#include "bus/engines.h"

static const struct bus_engine *const engines[] = {
    &bus_memory_engine,
    &bus_redis_engine,
    &bus_zookeeper_engine,
    &bus_rocketmq_engine,
};

enum { ENGINE_COUNT = sizeof(engines) / sizeof(engines[0]) };

const struct bus_engine *bus_engine_at(size_t index)
{
    return index < ENGINE_COUNT ? engines[index] : NULL;
}
