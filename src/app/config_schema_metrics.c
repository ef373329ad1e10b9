/* The part of the schema that says what is counted of an app's pushes. */
#include "app/config_schema.h"

#define FIELD(structure, field) .offset = offsetof(struct structure, field)
#define COUNT(structure, field) .count_offset = offsetof(struct structure, field)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const struct config_key metrics_keys[] = {
    {"types", CONFIG_TEXTS, FIELD(settings_metrics, types), COUNT(settings_metrics, type_count),
     .max = 64, .text = &config_text_label,
     .help = "Message types with series of their own in tidegate_messages_accepted_total; all "
             "others are \"other\".",
     .example = "[comment.created]"},
};
const struct config_map config_schema_metrics = {.keys = metrics_keys,
                                                 .key_count = LENGTH(metrics_keys),
                                                 .size = sizeof(struct settings_metrics)};
