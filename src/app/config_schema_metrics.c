/* The part of the schema that says what is counted of an app's pushes. */
#include "app/config_material.h"
#include "app/config_schema.h"

#define FIELD(structure, field) .offset = offsetof(struct structure, field)
#define COUNT(structure, field) .count_offset = offsetof(struct structure, field)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const char *const kinds[] = {"counter", "gauge", "histogram", NULL};

static const struct config_key label_keys[] = {
    {"name", CONFIG_TEXT, FIELD(settings_custom_label, name), .required = true,
     .text = &config_text_metric_label, .help = "The label's name.", .example = "channel"},
    {"field", CONFIG_TEXT, FIELD(settings_custom_label, field), .required = true,
     .text = &config_text_pointer,
     .help = "Where its value is in the data of a message: a text, a number, true or false.",
     .example = "/channel"},
    {"values", CONFIG_TEXTS, FIELD(settings_custom_label, values),
     COUNT(settings_custom_label, value_count), .required = true, .min = 1,
     .max = SETTINGS_CUSTOM_VALUES_MAX, .text = &config_text_label,
     .help = "The values that are told apart; all others are \"other\".",
     .example = "[news, sports]"},
};
static const struct config_map label_map = {.keys = label_keys,
                                            .key_count = LENGTH(label_keys),
                                            .size = sizeof(struct settings_custom_label),
                                            .finish = config_custom_label_finish};

static const struct config_key custom_keys[] = {
    {"name", CONFIG_TEXT, FIELD(settings_custom, name), .required = true,
     .text = &config_text_metric,
     .help = "Its name behind tidegate_app_; that of a counter ends in _total.",
     .example = "comments_total"},
    {"kind", CONFIG_CHOICE, FIELD(settings_custom, kind), .required = true, .choices = kinds,
     .help = "A counter adds values up, a gauge shows the last one, a histogram counts them by "
             "size.",
     .example = "counter"},
    {"help", CONFIG_TEXT, FIELD(settings_custom, help), .required = true,
     .text = &config_text_filled, .help = "A sentence for people.",
     .example = "Comments that were published."},
    {"types", CONFIG_TEXTS, FIELD(settings_custom, types), COUNT(settings_custom, type_count),
     .max = 64, .text = &config_text_label,
     .help = "Types of the messages that feed it; without them, every message that has the value.",
     .example = "[comment.created]"},
    {"value", CONFIG_TEXT, FIELD(settings_custom, value), .text = &config_text_pointer,
     .help = "Where a number is in the data of a message; without it a counter counts messages.",
     .example = "/duration_ms"},
    {"scale", CONFIG_CUSTOM, FIELD(settings_custom, scale), .read = config_scale_read,
     .help = "What the value is multiplied by (1): from milliseconds to seconds it is 0.001.",
     .example = "0.001"},
    {"labels", CONFIG_MAPS, FIELD(settings_custom, labels), COUNT(settings_custom, label_count),
     .max = SETTINGS_CUSTOM_LABELS_MAX, .map = &label_map,
     .help = "Labels beside app; at most 1000 sets of values in all."},
    {"buckets", CONFIG_CUSTOM, FIELD(settings_custom, buckets), .read = config_buckets_read,
     .help = "The upper ends of a histogram's buckets, ascending, after scaling; up to 32. Values "
             "below 0 are not counted.",
     .example = "[1, 5, 30, 120]"},
};
static const struct config_map custom_map = {.keys = custom_keys,
                                             .key_count = LENGTH(custom_keys),
                                             .size = sizeof(struct settings_custom),
                                             .finish = config_custom_finish};

static const struct config_key metrics_keys[] = {
    {"types", CONFIG_TEXTS, FIELD(settings_metrics, types), COUNT(settings_metrics, type_count),
     .max = 64, .text = &config_text_label,
     .help = "Message types with series of their own in tidegate_messages_accepted_total; all "
             "others are \"other\".",
     .example = "[comment.created]"},
    {"custom", CONFIG_MAPS, FIELD(settings_metrics, custom), COUNT(settings_metrics, custom_count),
     .max = SETTINGS_CUSTOM_MAX, .map = &custom_map,
     .help = "Metrics of the app's own, fed by its pushes; see how-to/monitoring.md."},
};
const struct config_map config_schema_metrics = {.keys = metrics_keys,
                                                 .key_count = LENGTH(metrics_keys),
                                                 .size = sizeof(struct settings_metrics),
                                                 .finish = config_metrics_finish};
