/* Environment variables that override single values of the configuration: TIDEGATE_LIMITS_MESSAGE
 * is limits.message. Nothing inside a list can be set so. */
#ifndef TIDEGATE_APP_CONFIG_ENV_H
#define TIDEGATE_APP_CONFIG_ENV_H

#include "app/config_read.h"

/* env is an environ; may be NULL. A TIDEGATE_ variable that is neither a key's nor one of the
 * command line's own (TIDEGATE_API_KEY, _TOKEN, _CONFIG, _URL) is a mistake, but for those that
 * begin with TIDEGATE_BUS_: config_bus_read judges them. Its value is not
 * repeated when its name is unknown: it may be a secret in the wrong place. */
void config_env_apply(struct config_reader *reader, char *const *env);

/* "limits.message" → "TIDEGATE_LIMITS_MESSAGE". */
void config_env_name(const char *path, struct buf *out);

#endif
