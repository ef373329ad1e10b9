/* What must hold between the sections of a configuration, whatever each value came from. */
#ifndef TIDEGATE_APP_CONFIG_RULES_H
#define TIDEGATE_APP_CONFIG_RULES_H

#include "app/config_read.h"

/* Mistakes go to the report at the place of the key in tree (which may be empty). */
void config_rules_check(struct config_reader *reader, const struct config_tree *tree);

#endif
