/* What the contract suite is run against: an engine, its options as a configuration would say them,
 * and the addresses of its servers. From the command line, as tests/bus/run writes it:
 *
 *   bus_contract ENGINE [KEY=VALUE ...] [link:NODE=TOLD,BOUND ...]
 *
 * In a value, %n becomes a name that no other case and no other run has: each case has a topic, a
 * stream or a path of its own. A link is a server of the bus: clients are told TOLD, it listens on
 * BOUND, and what carries between the two is the suite's. */
#ifndef TIDEGATE_TESTS_BUS_SETTINGS_H
#define TIDEGATE_TESTS_BUS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus/bus.h"
#include "net/addr.h"

enum {
    SETTINGS_MAX_OPTIONS = 64,
    SETTINGS_MAX_LINKS = 8,
    SETTINGS_MAX_ITEMS = 8, /* of a list */
    SETTINGS_TEXT_BYTES = 512,
};

struct settings_link {
    const char *node; /* as tools/broker calls it */
    struct addr told, bound;
};

struct settings {
    const struct bus_engine *engine;
    const char *pairs[SETTINGS_MAX_OPTIONS]; /* borrowed from the command line */
    size_t pair_count;
    struct settings_link links[SETTINGS_MAX_LINKS];
    size_t link_count;
};

/* Reads the arguments behind the program's name. On a mistake prints it and returns false. */
bool settings_read(struct settings *settings, int argc, char **argv);

/* The value of a pair, NULL when it was not given; %n stays. */
const char *settings_find(const struct settings *settings, const char *key);

/* The values of one node; a struct bus_options points into it. */
struct settings_values {
    struct bus_value values[SETTINGS_MAX_OPTIONS];
    char texts[SETTINGS_MAX_OPTIONS][SETTINGS_TEXT_BYTES];
    struct str items[SETTINGS_MAX_OPTIONS][SETTINGS_MAX_ITEMS];
};

/* The engine's options in its order: what was given, else their initial values. False and a word on
 * stderr for a value that does not fit its type. */
bool settings_fill(const struct settings *settings, const char *fresh_name,
                   struct settings_values *out_values);

#endif
