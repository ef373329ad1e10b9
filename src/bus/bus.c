#include "bus/bus.h"

#include <pthread.h>
#include <stdio.h>

enum { NAMES_BYTES = 256 };

const struct bus_engine *bus_engine_find(struct str name)
{
    const struct bus_engine *engine;
    for (size_t i = 0; (engine = bus_engine_at(i)); i++) {
        if (str_equal(name, str_of(engine->name))) {
            break;
        }
    }
    return engine;
}

static char names[NAMES_BYTES];

static void join_names(void)
{
    const struct bus_engine *engine;
    size_t len = 0;
    for (size_t i = 0; (engine = bus_engine_at(i)) && len < sizeof(names); i++) {
        len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i > 0 ? ", " : "",
                                engine->name);
    }
}

const char *bus_engine_names(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, join_names);
    return names;
}
