/* The part of the schema that is about the built-in alerter. */
#include "app/config_alerts.h"
#include "app/config_schema.h"

#define FIELD(structure, field) .offset = offsetof(struct structure, field)
#define COUNT(structure, field) .count_offset = offsetof(struct structure, field)
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum { SECOND = 1000, MINUTE = 60 * SECOND, DAY = 24 * 60 * MINUTE };

static const char *const kinds[] = {"alertmanager", "webhook", NULL};

static const struct config_key receiver_keys[] = {
    {"url", CONFIG_TEXT, FIELD(settings_receiver, url), .required = true, .text = &config_text_web,
     .help = "Where it is. Of an Alertmanager its root: alerts are posted to /api/v2/alerts behind "
             "it.",
     .example = "http://alertmanager.example.com:9093"},
    {"kind", CONFIG_CHOICE, FIELD(settings_receiver, kind), .choices = kinds,
     .help = "alertmanager: its v2 API. webhook: what Alertmanager itself posts to a webhook, sent "
             "to the URL as it stands.",
     .example = "alertmanager"},
    {"user", CONFIG_TEXT, FIELD(settings_receiver, user), .text = &config_text_any,
     .help = "The secret is the password of this user (Basic); \"\": it is a bearer token.",
     .example = "tidegate"},
    {"secret_file", CONFIG_CUSTOM, .read = config_receiver_file_read,
     .help = "A file with the secret; one line end at its end doesn't count.",
     .example = "secrets/alertmanager"},
    {"secret", CONFIG_CUSTOM, .read = config_receiver_secret_read,
     .help = "The secret itself. For tests; secret_file is safer.", .example = "…"},
    {"timeout", CONFIG_TIME, FIELD(settings_receiver, timeout_ms), .min = 100, .max = MINUTE,
     .help = "For one request, name look-up included (10s).", .example = "10s"},
};
static const struct config_map receiver_map = {.keys = receiver_keys,
                                               .key_count = LENGTH(receiver_keys),
                                               .size = sizeof(struct settings_receiver),
                                               .finish = config_receiver_finish};

static const struct config_key label_keys[] = {
    {"name", CONFIG_TEXT, FIELD(settings_label, name), .required = true, .text = &config_text_name,
     .help = "Letters, digits and \"_\", and no digit first.", .example = "datacenter"},
    {"value", CONFIG_TEXT, FIELD(settings_label, value), .required = true,
     .text = &config_text_filled, .help = "Any text.", .example = "eu-1"},
};
static const struct config_map label_map = {.keys = label_keys,
                                            .key_count = LENGTH(label_keys),
                                            .size = sizeof(struct settings_label),
                                            .finish = config_label_finish};

static const struct config_key rule_keys[] = {
    {"name", CONFIG_CUSTOM, FIELD(settings_alert_rule, name), .required = true,
     .read = config_alert_name_read, .help = "One of those that `tidegate alerts` lists.",
     .example = "TidegateBusLag"},
    {"enabled", CONFIG_BOOL, FIELD(settings_alert_rule, enabled), .help = "false: it never fires.",
     .example = "true"},
    {"threshold", CONFIG_CUSTOM, FIELD(settings_alert_rule, threshold),
     .read = config_alert_threshold_read,
     .help = "What its expression is compared with; the rule's own where it is not set.",
     .example = "2.5"},
    {"for", CONFIG_TIME, FIELD(settings_alert_rule, hold_ms), .max = DAY, .zero = "at once",
     .help = "How long it must be true before it fires; the rule's own where it is not set.",
     .example = "2m"},
};
static const struct config_map rule_map = {.keys = rule_keys,
                                           .key_count = LENGTH(rule_keys),
                                           .size = sizeof(struct settings_alert_rule),
                                           .finish = config_alert_rule_finish};

static const struct config_key alerts_keys[] = {
    {"enabled", CONFIG_BOOL, FIELD(settings_alerts, enabled),
     .help = "Evaluate the rules: what fires is logged and shown by GET /v1/alerts, and told to "
             "the receivers."},
    {"interval", CONFIG_TIME, FIELD(settings_alerts, interval_ms), .min = 100, .max = MINUTE,
     .help = "From one evaluation to the next."},
    {"runbooks", CONFIG_TEXT, FIELD(settings_alerts, runbooks), .text = &config_text_any,
     .help = "What stands before the name of a rule's page in its runbook_url, such as "
             "\"https://wiki.example.com/tidegate/\"; \"\" is docs/runbooks/."},
    {"link", CONFIG_TEXT, FIELD(settings_alerts, link), .text = &config_text_any,
     .help =
         "Where people find this node's console, for the notices (generatorURL); \"\": nowhere."},
    {"labels", CONFIG_MAPS, FIELD(settings_alerts, labels), COUNT(settings_alerts, label_count),
     .max = 16, .map = &label_map, .help = "That every alert carries, beside cluster and node."},
    {"receivers", CONFIG_MAPS, FIELD(settings_alerts, receivers),
     COUNT(settings_alerts, receiver_count), .max = 8, .map = &receiver_map,
     .help = "Who is told."},
    {"rules", CONFIG_MAPS, FIELD(settings_alerts, rules), COUNT(settings_alerts, rule_count),
     .max = 64, .map = &rule_map, .help = "Changes of single rules."},
};
const struct config_map config_schema_alerts = {.keys = alerts_keys,
                                                .key_count = LENGTH(alerts_keys),
                                                .size = sizeof(struct settings_alerts),
                                                .finish = config_alerts_finish};
