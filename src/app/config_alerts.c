#include "app/config_alerts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "api/alert_rules.h"
#include "app/config_read.h"

enum { DEFAULT_TIMEOUT_MS = 10 * 1000, NUMBER_BYTES = 32 };

/* ---- receivers ---- */

/* It becomes part of a header's line. */
static const char *check_secret(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f) {
            return "expected a secret without control characters";
        }
    }
    return text.len > 0 && text.len <= 1024 ? NULL : "expected a secret of 1 to 1024 bytes";
}

void config_receiver_file_read(struct config_reader *reader, const struct config_key *key,
                               const struct config_node *node, void *object)
{
    struct settings_receiver *receiver = object;
    config_secret_file_take(reader, node, check_secret, &receiver->secret.material);
}

void config_receiver_secret_read(struct config_reader *reader, const struct config_key *key,
                                 const struct config_node *node, void *object)
{
    struct settings_receiver *receiver = object;
    const char *problem = node->kind == CONFIG_NODE_SCALAR ? check_secret(node->text)
                                                           : "expected a text";
    reader->has_inline_secret = true;
    if (problem) {
        config_read_mistake(reader, node->place, "%s", problem);
    } else {
        receiver->secret.material = config_read_copy(reader, node->text);
    }
}

void config_receiver_finish(struct config_reader *reader, const struct config_node *node,
                            void *object)
{
    struct settings_receiver *receiver = object;
    bool has_file = config_tree_child(node, STR("secret_file")) != NULL;
    bool has_secret = config_tree_child(node, STR("secret")) != NULL;
    receiver->timeout_ms = receiver->timeout_ms ? receiver->timeout_ms : DEFAULT_TIMEOUT_MS;
    if (has_file && has_secret) {
        config_read_mistake(reader, node->place,
                            "expected one of secret_file and secret, got both");
    }
    if (receiver->user.len > 0 && !has_file && !has_secret) {
        config_read_mistake(reader, node->place, "\"user\" needs secret_file");
    }
    /* RFC 7617 2: the first colon ends the user. */
    if (receiver->user.len > 0 && memchr(receiver->user.ptr, ':', receiver->user.len)) {
        config_read_mistake(reader, node->place, "expected a user without \":\"");
    }
}

/* ---- labels ---- */

static bool is_label_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!isalnum((unsigned char)name.ptr[i]) && name.ptr[i] != '_') {
            return false;
        }
    }
    return name.len > 0 && !isdigit((unsigned char)name.ptr[0]) &&
           !str_starts_with(name, STR("__"));
}

/* What the alerter itself says must not say something else. */
static bool is_taken(struct str name)
{
    static const char *const taken[] = {"alertname", "severity", "cluster", "node"};
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (str_equal(name, str_of(taken[i]))) {
            return true;
        }
    }
    return false;
}

void config_label_finish(struct config_reader *reader, const struct config_node *node, void *object)
{
    const struct settings_label *label = object;
    if (label->name.len == 0) {
        return; /* told already */
    }
    if (!is_label_name(label->name)) {
        config_read_mistake(reader, node->place,
                            "expected a name of letters, digits and \"_\", and no digit first");
    } else if (is_taken(label->name)) {
        config_read_mistake(reader, node->place, "every alert has a label of that name already");
    }
}

/* ---- rules ---- */

void config_alert_name_read(struct config_reader *reader, const struct config_key *key,
                            const struct config_node *node, void *object)
{
    struct settings_alert_rule *rule = object;
    const char *names[ALERT_RULES_MAX];
    size_t count;
    const struct alert_rule *rules = alert_rules(&count);
    if (node->kind == CONFIG_NODE_SCALAR && alert_rule_find(node->text)) {
        rule->name = config_read_copy(reader, node->text);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = rules[i].name;
    }
    const char *closest = node->kind == CONFIG_NODE_SCALAR
                              ? config_closest(node->text, names, count)
                              : NULL;
    config_read_mistake(reader, node->place, "expected a rule that `tidegate alerts` lists%s%s%s",
                        closest ? "; did you mean \"" : "", closest ? closest : "",
                        closest ? "\"?" : "");
}

static bool parse_number(struct str text, double *out_number)
{
    char copy[NUMBER_BYTES];
    char *end = copy;
    if (text.len == 0 || text.len >= sizeof(copy) || strspn(text.ptr, "0123456789.-") < text.len) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *out_number = strtod(copy, &end);
    return *end == '\0' && end != copy && isfinite(*out_number);
}

void config_alert_threshold_read(struct config_reader *reader, const struct config_key *key,
                                 const struct config_node *node, void *object)
{
    struct settings_alert_rule *rule = object;
    if (node->kind == CONFIG_NODE_SCALAR && parse_number(node->text, &rule->threshold)) {
        rule->has_threshold = true;
    } else {
        config_read_expected(reader, node, "a number such as 0.5");
    }
}

void config_alert_rule_finish(struct config_reader *reader, const struct config_node *node,
                              void *object)
{
    struct settings_alert_rule *rule = object;
    rule->has_hold = config_tree_child(node, STR("for")) != NULL;
    if (!config_tree_child(node, STR("enabled"))) {
        rule->enabled = true;
    }
}

void config_alerts_finish(struct config_reader *reader, const struct config_node *node,
                          void *object)
{
    const struct settings_alerts *alerts = object;
    for (size_t i = 0; i < alerts->rule_count; i++) {
        for (size_t k = 0; k < i && alerts->rules[i].name.len; k++) {
            if (str_equal(alerts->rules[i].name, alerts->rules[k].name)) {
                config_read_mistake(reader, node->place, "rule %s is changed twice",
                                    alerts->rules[i].name.ptr);
            }
        }
    }
}
