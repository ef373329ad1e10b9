#include "app/config_env.h"

#include <ctype.h>

#include "base/err.h"

static const struct str prefix = {"TIDEGATE_", sizeof("TIDEGATE_") - 1};

/* What is no key of all engines is for config_bus.h to judge. */
static const struct str bus_prefix = {"TIDEGATE_BUS_", sizeof("TIDEGATE_BUS_") - 1};

static const char *const command_line_names[] = {"TIDEGATE_API_KEY", "TIDEGATE_TOKEN",
                                                 "TIDEGATE_CONFIG", "TIDEGATE_URL", NULL};

enum { NAMES_MAX = 128 };

struct search {
    struct config_reader *reader;
    struct str name; /* of the variable */
    struct str value;
    bool is_found;
};

void config_env_name(const char *path, struct buf *out)
{
    buf_append_str(out, prefix);
    for (; *path; path++) {
        buf_append_char(out, *path == '.' ? '_' : (char)toupper((unsigned char)*path));
    }
}

/* Compares without making the name: visited for every variable and key. */
static bool is_name_of(struct str name, const char *path)
{
    if (name.len != prefix.len + strlen(path)) {
        return false;
    }
    for (size_t i = prefix.len; i < name.len; i++) {
        char c = path[i - prefix.len];
        if (name.ptr[i] != (c == '.' ? '_' : (char)toupper((unsigned char)c))) {
            return false;
        }
    }
    return true;
}

static void refuse_value(struct search *search, const struct config_key *key)
{
    struct buf expected = {0};
    char quoted[CONFIG_QUOTE_MAX];
    config_key_expected(key, &expected);
    config_report_add(search->reader->report, false, (struct config_place){0}, search->name,
                      "expected %s, got %s", buf_cstr(&expected),
                      config_quote(search->value, quoted));
    if (buf_err(&expected)) {
        search->reader->err = ERR_NO_MEMORY;
    }
    buf_fini(&expected);
}

static bool set_if_named(void *arg, const struct config_visit *visit)
{
    struct search *search = arg;
    if (!config_visit_is_single(visit) || !is_name_of(search->name, visit->path)) {
        return false;
    }
    search->is_found = true;
    struct settings *settings = search->reader->settings;
    int err = config_value_parse(visit->key, search->value, settings,
                                 (uint8_t *)settings + visit->offset);
    if (err == ERR_NO_MEMORY) {
        search->reader->err = err;
    } else if (err) {
        refuse_value(search, visit->key);
    }
    return true;
}

struct names {
    struct buf texts[NAMES_MAX];
    const char *items[NAMES_MAX];
    size_t count;
    int err;
};

static bool collect_name(void *arg, const struct config_visit *visit)
{
    struct names *names = arg;
    if (config_visit_is_single(visit) && names->count < NAMES_MAX) {
        struct buf *text = &names->texts[names->count];
        config_env_name(visit->path, text);
        buf_append_char(text, '\0');
        if (buf_err(text)) {
            buf_fini(text);
            names->err = ERR_NO_MEMORY;
            return true;
        }
        names->items[names->count++] = (const char *)text->data + prefix.len;
    }
    return false;
}

static void refuse_unknown(struct search *search)
{
    struct names names = {0};
    config_schema_visit(collect_name, &names);
    if (names.err) {
        search->reader->err = names.err;
    }
    struct str rest = str_make(search->name.ptr + prefix.len, search->name.len - prefix.len);
    const char *closest = config_closest(rest, names.items, names.count);
    char quoted[CONFIG_QUOTE_MAX];
    config_report_add(search->reader->report, false, (struct config_place){0}, STR("environment"),
                      "unknown variable %s%s%s%s", config_quote(search->name, quoted),
                      closest ? "; did you mean \"TIDEGATE_" : "", closest ? closest : "",
                      closest ? "\"?" : "");
    for (size_t i = 0; i < names.count; i++) {
        buf_fini(&names.texts[i]);
    }
}

static bool is_of_command_line(struct str name)
{
    for (size_t i = 0; command_line_names[i]; i++) {
        if (str_equal(name, str_of(command_line_names[i]))) {
            return true;
        }
    }
    return false;
}

static void apply_one(struct config_reader *reader, struct str variable)
{
    struct search search = {.reader = reader, .value = variable};
    if (!str_split(&search.value, '=', &search.name) || is_of_command_line(search.name)) {
        return;
    }
    if (!search.value.ptr) {
        search.value = STR("");
    }
    config_schema_visit(set_if_named, &search);
    if (!search.is_found && !str_starts_with(search.name, bus_prefix)) {
        refuse_unknown(&search);
    }
}

void config_env_apply(struct config_reader *reader, char *const *env)
{
    for (; env && *env; env++) {
        struct str variable = str_of(*env);
        if (str_starts_with(variable, prefix)) {
            apply_one(reader, variable);
        }
    }
}
