#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_link(struct settings *settings, const char *text)
{
    if (settings->link_count == SETTINGS_MAX_LINKS) {
        return false;
    }
    struct settings_link *link = &settings->links[settings->link_count++];
    struct str rest = str_of(text);
    struct str node, told;
    if (!str_split(&rest, '=', &node) || !str_split(&rest, ',', &told)) {
        return false;
    }
    link->node = strndup(node.ptr, node.len);
    return link->node && addr_parse(&link->told, told) == 0 && addr_parse(&link->bound, rest) == 0;
}

static bool read_argument(struct settings *settings, const char *text)
{
    if (strncmp(text, "link:", 5) == 0) {
        return read_link(settings, text + 5);
    }
    if (!strchr(text, '=') || settings->pair_count == SETTINGS_MAX_OPTIONS) {
        return false;
    }
    settings->pairs[settings->pair_count++] = text;
    return true;
}

bool settings_read(struct settings *settings, int argc, char **argv)
{
    *settings = (struct settings){0};
    settings->engine = argc > 0 ? bus_engine_find(str_of(argv[0])) : NULL;
    if (!settings->engine) {
        fprintf(stderr, "which engine? one of: %s\n", bus_engine_names());
        return false;
    }
    for (int i = 1; i < argc; i++) {
        if (!read_argument(settings, argv[i])) {
            fprintf(stderr, "not KEY=VALUE or link:NODE=TOLD,BOUND: %s\n", argv[i]);
            return false;
        }
    }
    return true;
}

const char *settings_find(const struct settings *settings, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < settings->pair_count; i++) {
        if (strncmp(settings->pairs[i], key, len) == 0 && settings->pairs[i][len] == '=') {
            return settings->pairs[i] + len + 1;
        }
    }
    return NULL;
}

static bool expand(char *out, const char *text, const char *fresh_name)
{
    const char *mark = strstr(text, "%n");
    int before = mark ? (int)(mark - text) : (int)strlen(text);
    int len = snprintf(out, SETTINGS_TEXT_BYTES, "%.*s%s%s", before, text, mark ? fresh_name : "",
                       mark ? mark + 2 : "");
    return len < SETTINGS_TEXT_BYTES;
}

static const struct {
    const char *unit;
    uint64_t factor;
} time_units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}},
  byte_units[] = {{"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1 << 30}};

enum { UNITS = 5 };

static bool read_number(struct bus_value *value, const char *text, enum bus_option_type type)
{
    char *end;
    value->number = strtoull(text, &end, 10);
    if (strcmp(text, "never") == 0 || type == BUS_OPTION_COUNT) {
        return strcmp(text, "never") == 0 || (end != text && !*end);
    }
    for (int i = 0; i < UNITS && end != text; i++) {
        const char *unit = type == BUS_OPTION_TIME ? time_units[i].unit : byte_units[i].unit;
        if (strcmp(end, unit) == 0) {
            value->number *= type == BUS_OPTION_TIME ? time_units[i].factor : byte_units[i].factor;
            return true;
        }
    }
    return value->number == 0 && end != text && !*end;
}

static bool read_choice(struct bus_value *value, const char *text, const char *const *choices)
{
    for (uint64_t i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            value->number = i;
            return true;
        }
    }
    return false;
}

/* Cuts the text at its commas: each item ends with a NUL of its own. */
static bool read_list(struct bus_value *value, char *text, struct str *items)
{
    value->texts = items;
    for (char *item = text; item && *item;) {
        char *comma = strchr(item, ',');
        if (comma) {
            *comma = '\0';
        }
        if (value->text_count == SETTINGS_MAX_ITEMS) {
            return false;
        }
        items[value->text_count++] = str_of(item);
        item = comma ? comma + 1 : NULL;
    }
    return true;
}

static bool read_value(const struct bus_option *option, struct bus_value *value, char *text,
                       struct str *items)
{
    switch (option->type) {
    case BUS_OPTION_TEXT:
    case BUS_OPTION_SECRET:
    case BUS_OPTION_FILE: value->text = str_of(text); return true;
    case BUS_OPTION_TEXTS: return read_list(value, text, items);
    case BUS_OPTION_BOOL:
        value->number = strcmp(text, "true") == 0;
        return value->number || strcmp(text, "false") == 0;
    case BUS_OPTION_CHOICE: return read_choice(value, text, option->choices);
    default: return read_number(value, text, option->type);
    }
}

bool settings_fill(const struct settings *settings, const char *fresh_name,
                   struct settings_values *out_values)
{
    memset(out_values, 0, sizeof(*out_values));
    for (size_t i = 0; i < settings->engine->option_count; i++) {
        const struct bus_option *option = &settings->engine->options[i];
        const char *given = settings_find(settings, option->name);
        const char *text = given ? given : option->initial ? option->initial : "";
        struct bus_value *value = &out_values->values[i];
        value->is_set = given;
        value->text = STR("");
        if (!given && !option->initial) {
            continue;
        }
        if (!expand(out_values->texts[i], text, fresh_name) ||
            !read_value(option, value, out_values->texts[i], out_values->items[i])) {
            fprintf(stderr, "%s: '%s' does not fit\n", option->name, text);
            return false;
        }
    }
    return true;
}
