/* The keys under `bus:` that the chosen engine brings along, as its table of struct bus_option says
 * (bus/bus.h): no engine is named here. They are read when the engine is known, which the
 * environment may choose; the keys that all engines have are in config_schema.c. */
#ifndef TIDEGATE_APP_CONFIG_BUS_H
#define TIDEGATE_APP_CONFIG_BUS_H

#include "app/config_read.h"
#include "bus/bus.h"

/* Makes settings->bus.values: what the table says, then the file's keys, then the TIDEGATE_BUS_
 * variables, which win; then the engine says whether it all fits. A secret x may be said by x_file
 * too, which names a file with it. After config_env_apply; does nothing when the engine itself was
 * a mistake. env may be NULL. */
void config_bus_read(struct config_reader *reader, const struct config_tree *tree,
                     char *const *env);

/* An option as a key of the schema, for config_key_expected. */
struct config_key config_bus_key(const struct bus_option *option);

/* One value but a list from text. As config_value_parse. */
int config_bus_parse(const struct bus_option *option, struct str text, struct settings *settings,
                     struct bus_value *out_value);

/* Says in settings->bus.values what the table of the engine says: the values when nobody says
 * another. 0 or ERR_NO_MEMORY. */
int config_bus_set_initial(struct settings *settings, const struct bus_engine *engine,
                           struct bus_value **out_values);

/* Two values of one option are the same, whoever said them. */
bool config_bus_equal(const struct bus_value *a, const struct bus_value *b);

#endif
