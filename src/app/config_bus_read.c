/* Reads the engine's keys, from the file and then from the environment. */
#include <ctype.h>
#include <stdio.h>

#include "app/config_bus.h"
#include "app/config_env.h"
#include "app/config_material.h"
#include "base/err.h"

enum { FILE_NAME_MAX = BUS_OPTION_NAME_MAX + sizeof("_file") };

static const struct str file_ending = {"_file", sizeof("_file") - 1};

struct bus_reader {
    struct config_reader *reader;
    const struct bus_engine *engine;
    struct bus_value *values;
    struct config_place section; /* of `bus` */
    struct said {
        bool at_all; /* by either source, if badly */
        struct config_place place;
        bool here[2]; /* by this source: the value, its file */
        unsigned key_line;
    } said[BUS_MAX_OPTIONS];
    bool is_env;
};

/* --- What keys there are --- */

static bool is_common(struct str name)
{
    for (size_t i = 0; i < config_schema_bus.key_count; i++) {
        if (str_equal(name, str_of(config_schema_bus.keys[i].name))) {
            return true;
        }
    }
    return false;
}

/* Whether name is "x_file" of the secret option x. */
static bool is_file_of(const struct bus_option *option, struct str name)
{
    struct str start = str_of(option->name);
    return option->type == BUS_OPTION_SECRET && str_starts_with(name, start) &&
           str_equal(str_make(name.ptr + start.len, name.len - start.len), file_ending);
}

/* The option's index; option_count when there is none. */
static size_t find_option(const struct bus_engine *engine, struct str name, bool *out_is_file)
{
    size_t i = 0;
    *out_is_file = false;
    for (; i < engine->option_count && !*out_is_file; i++) {
        if (str_equal(name, str_of(engine->options[i].name))) {
            break;
        }
        *out_is_file = is_file_of(&engine->options[i], name);
    }
    return *out_is_file ? i - 1 : i;
}

struct names {
    const char *items[CONFIG_KEYS_MAX + 2 * BUS_MAX_OPTIONS];
    size_t count;
    char files[BUS_MAX_OPTIONS][FILE_NAME_MAX];
};

static void list_names(const struct bus_engine *engine, struct names *names)
{
    names->count = 0;
    for (size_t i = 0; i < config_schema_bus.key_count; i++) {
        names->items[names->count++] = config_schema_bus.keys[i].name;
    }
    for (size_t i = 0; i < engine->option_count; i++) {
        const struct bus_option *option = &engine->options[i];
        names->items[names->count++] = option->name;
        if (option->type == BUS_OPTION_SECRET) {
            snprintf(names->files[i], FILE_NAME_MAX, "%s_file", option->name);
            names->items[names->count++] = names->files[i];
        }
    }
}

/* "redis, zookeeper": the engines that have this key. Nothing when none has it. */
static void append_owners(struct str name, struct buf *out)
{
    const struct bus_engine *engine;
    bool is_file;
    for (size_t i = 0; (engine = bus_engine_at(i)); i++) {
        if (find_option(engine, name, &is_file) < engine->option_count) {
            buf_printf(out, "%s%s", out->len > 0 ? ", " : "", engine->name);
        }
    }
}

/* --- Refusing --- */

/* For the end of a sentence: "; the engine redis knows engine, queues, …; did you mean …?" */
static void append_known(const struct bus_reader *bus, struct str name, struct buf *out)
{
    struct names names;
    list_names(bus->engine, &names);
    buf_printf(out, "; the engine %s knows ", bus->engine->name);
    for (size_t i = 0; i < names.count; i++) {
        buf_printf(out, "%s%s", i > 0 ? ", " : "", names.items[i]);
    }
    const char *closest = config_closest(name, names.items, names.count);
    if (closest) {
        buf_printf(out, "; did you mean \"%s\"?", closest);
    }
}

/* said is how the source writes name: a key, or a variable. */
static void refuse_name(struct bus_reader *bus, struct str name, struct str said,
                        struct config_place place)
{
    if (bus->reader->report->mistakes >= CONFIG_REPORT_MAX) {
        config_read_mistake(bus->reader, place, "unknown"); /* counted alone: no need to guess */
        return;
    }
    struct buf owners = {0};
    struct buf text = {0};
    char quoted[CONFIG_QUOTE_MAX];
    append_owners(name, &owners);
    if (owners.len > 0) {
        bool are_many = memchr(owners.data, ',', owners.len) != NULL;
        buf_printf(&text, "bus.%.*s belongs to the engine%s %s, and bus.engine is %s",
                   STR_ARG(name), are_many ? "s" : "", buf_cstr(&owners), bus->engine->name);
    } else {
        buf_printf(&text, "unknown %s %s", bus->is_env ? "variable" : "key",
                   config_quote(said, quoted));
        append_known(bus, name, &text);
    }
    config_read_mistake(bus->reader, place, "%s", buf_cstr(&text));
    if (buf_err(&owners) || buf_err(&text)) {
        bus->reader->err = ERR_NO_MEMORY;
    }
    buf_fini(&owners);
    buf_fini(&text);
}

/* --- Values --- */

static const char *check_secret(struct str text)
{
    return config_text_filled.is_valid(text)
               ? NULL
               : "expected a secret of 1 to 1024 bytes without control characters";
}

/* Never quotes it. */
static void read_secret(struct bus_reader *bus, const struct config_node *node,
                        struct bus_value *value)
{
    const char *problem = check_secret(node->text);
    bus->reader->has_inline_secret |= !bus->is_env;
    if (node->kind != CONFIG_NODE_SCALAR || node->is_null || problem) {
        config_read_mistake(bus->reader, node->place, "%s", check_secret(STR("")));
        return;
    }
    value->text = config_read_copy(bus->reader, node->text);
    value->is_set = true;
}

static void read_secret_file(struct bus_reader *bus, const struct config_node *node,
                             struct bus_value *value)
{
    struct str secret = {NULL, 0};
    config_secret_file_take(bus->reader, node, check_secret, &secret);
    if (secret.ptr) {
        value->text = secret;
        value->is_set = true;
    }
}

static void read_texts(struct bus_reader *bus, const struct config_key *key,
                       const struct config_node *node, struct bus_value *value)
{
    if (bus->is_env) {
        config_read_mistake(bus->reader, node->place, "a variable can't set a list");
        return;
    }
    if (node->is_null) {
        config_read_expected_of(bus->reader, key, node);
    }
    config_read_list(bus->reader, key, node, value);
    value->is_set = value->text_count > 0;
}

/* False when that was a mistake. */
static bool read_single(struct bus_reader *bus, const struct bus_option *option,
                        const struct config_node *node, struct bus_value *value)
{
    const struct config_key key = config_bus_key(option);
    int err = node->kind != CONFIG_NODE_SCALAR || node->is_null
                  ? ERR_SYNTAX
                  : config_bus_parse(option, node->text, bus->reader->settings, value);
    if (err == ERR_NO_MEMORY) {
        bus->reader->err = err;
    } else if (err) {
        config_read_expected_of(bus->reader, &key, node);
    }
    value->is_set |= !err;
    return !err;
}

/* From the configuration's folder to where the process runs. */
static void resolve_file(struct bus_reader *bus, struct bus_value *value)
{
    struct str name = value->text;
    struct buf path = {0};
    if (name.len == 0 || name.ptr[0] == '/' || bus->reader->folder.len == 0) {
        return;
    }
    buf_append_str(&path, bus->reader->folder);
    buf_append_str(&path, name);
    if (buf_err(&path)) {
        bus->reader->err = ERR_NO_MEMORY;
    } else {
        value->text = config_read_copy(bus->reader, buf_str(&path));
    }
    buf_fini(&path);
}

static void read_value(struct bus_reader *bus, size_t index, bool is_file,
                       const struct config_node *node)
{
    const struct bus_option *option = &bus->engine->options[index];
    const struct config_key key = config_bus_key(option);
    struct bus_value *value = &bus->values[index];
    switch (option->type) {
    case BUS_OPTION_SECRET: (is_file ? read_secret_file : read_secret)(bus, node, value); break;
    case BUS_OPTION_TEXTS: read_texts(bus, &key, node, value); break;
    case BUS_OPTION_FILE:
        if (read_single(bus, option, node, value)) {
            resolve_file(bus, value);
        }
        break;
    default: read_single(bus, option, node, value); break;
    }
}

/* The path is that of node. */
static void take(struct bus_reader *bus, size_t index, bool is_file, const struct config_node *node)
{
    struct said *said = &bus->said[index];
    const char *name = bus->engine->options[index].name;
    if (said->here[is_file] && !bus->is_env) {
        config_read_mistake(bus->reader, node->key_place, "set twice; first on line %u",
                            said->key_line);
        return;
    }
    if (said->here[!is_file]) {
        config_read_mistake(bus->reader, node->key_place,
                            "expected one of %s and %s_file, got both", name, name);
        return;
    }
    said->here[is_file] = true;
    said->at_all = true;
    said->key_line = node->key_place.line;
    said->place = node->place;
    read_value(bus, index, is_file, node);
}

/* --- The two sources --- */

static void take_member(struct bus_reader *bus, const struct config_node *node)
{
    bool is_file;
    size_t index = find_option(bus->engine, node->key, &is_file);
    size_t before;
    if (index == bus->engine->option_count) {
        before = config_read_enter(bus->reader, "bus");
        refuse_name(bus, node->key, node->key, node->key_place);
    } else {
        before = config_read_enter(bus->reader, "bus.%.*s", STR_ARG(node->key));
        take(bus, index, is_file, node);
    }
    config_read_leave(bus->reader, before);
}

static void take_file(struct bus_reader *bus, const struct config_node *section)
{
    if (!section || section->kind != CONFIG_NODE_MAP) {
        return;
    }
    bus->section = section->place;
    for (const struct config_node *node = section->first; node; node = node->next) {
        if (!is_common(node->key)) {
            take_member(bus, node);
        }
    }
}

static const struct str prefix = {"TIDEGATE_BUS_", sizeof("TIDEGATE_BUS_") - 1};

/* "TIDEGATE_BUS_SECRET_KEY" → "secret_key"; nothing fits what is too long or not in capitals. */
static struct str name_of_variable(struct str variable, char out[FILE_NAME_MAX])
{
    size_t len = variable.len - prefix.len;
    if (len >= FILE_NAME_MAX) {
        return STR("");
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)variable.ptr[prefix.len + i];
        if (islower(c)) {
            return STR("");
        }
        out[i] = (char)tolower(c);
    }
    return str_make(out, len);
}

static void take_variable(struct bus_reader *bus, struct str variable, struct config_node *node)
{
    char name[FILE_NAME_MAX];
    bool is_file;
    node->key = name_of_variable(variable, name);
    if (is_common(node->key)) {
        return; /* config_env.c has set it */
    }
    size_t index = find_option(bus->engine, node->key, &is_file);
    size_t before;
    if (index == bus->engine->option_count) {
        before = config_read_enter(bus->reader, "environment");
        refuse_name(bus, node->key, variable, node->place);
    } else {
        before = config_read_enter(bus->reader, "%.*s", STR_ARG(variable));
        take(bus, index, is_file, node);
    }
    config_read_leave(bus->reader, before);
}

static void take_environment(struct bus_reader *bus, char *const *env)
{
    static const struct config_node somewhere = {.kind = CONFIG_NODE_SCALAR};
    bus->is_env = true;
    for (size_t i = 0; i < BUS_MAX_OPTIONS; i++) {
        bus->said[i].here[0] = bus->said[i].here[1] = false;
    }
    for (; env && *env; env++) {
        struct config_node node = somewhere;
        struct str variable;
        node.text = str_of(*env);
        if (str_split(&node.text, '=', &variable) && str_starts_with(variable, prefix)) {
            node.text = node.text.ptr ? node.text : STR("");
            take_variable(bus, variable, &node);
        }
    }
}

/* --- The whole --- */

static void check_required(struct bus_reader *bus)
{
    size_t before = config_read_enter(bus->reader, "bus");
    for (size_t i = 0; i < bus->engine->option_count; i++) {
        const struct bus_option *option = &bus->engine->options[i];
        if (option->required && !bus->said[i].at_all) {
            config_read_mistake(bus->reader, bus->section, "the engine %s needs \"%s\"%s%s",
                                bus->engine->name, option->name, option->example ? ", like " : "",
                                option->example ? option->example : "");
        }
    }
    config_read_leave(bus->reader, before);
}

static void ask_engine(struct bus_reader *bus)
{
    const struct settings *settings = bus->reader->settings;
    char node[SETTINGS_NODE_MAX + 1];
    settings_node_name(settings, node);
    struct bus_options options = {.queues = (uint32_t)settings->bus.queues,
                                  .values = bus->values,
                                  .window_age_ms = settings->window.max_age_ms,
                                  .node = str_of(node)};
    size_t index = bus->engine->option_count;
    const char *problem = NULL;
    if (!bus->engine->check || bus->engine->check(&options, &index, &problem) == 0) {
        return;
    }
    bool is_option = index < bus->engine->option_count;
    size_t before = config_read_enter(bus->reader, "bus%s%s", is_option ? "." : "",
                                      is_option ? bus->engine->options[index].name : "");
    config_read_mistake(bus->reader, is_option ? bus->said[index].place : bus->section, "%s",
                        problem ? problem : "the engine refuses this");
    config_read_leave(bus->reader, before);
}

/* NULL when what the file or the environment says is no engine. */
static const struct bus_engine *chosen_engine(const struct config_reader *reader,
                                              const struct config_tree *tree, char *const *env)
{
    const struct config_node *node = config_tree_find(tree, STR("bus.engine"));
    struct str said = node ? node->text : reader->settings->bus.engine;
    for (; env && *env; env++) {
        struct str value = str_of(*env);
        struct str name;
        if (str_split(&value, '=', &name) && str_equal(name, STR("TIDEGATE_BUS_ENGINE"))) {
            said = value;
        }
    }
    return bus_engine_find(said);
}

void config_bus_read(struct config_reader *reader, const struct config_tree *tree, char *const *env)
{
    struct bus_reader bus = {.reader = reader, .engine = chosen_engine(reader, tree, env)};
    size_t mistakes = reader->report->mistakes;
    if (!bus.engine) {
        return;
    }
    ASSERT(bus.engine->option_count <= BUS_MAX_OPTIONS);
    int err = config_bus_set_initial(reader->settings, bus.engine, &bus.values);
    if (err) {
        reader->err = err;
        return;
    }
    take_file(&bus, config_tree_find(tree, STR("bus")));
    take_environment(&bus, env);
    check_required(&bus);
    if (reader->report->mistakes == mistakes && !reader->err) {
        ask_engine(&bus);
    }
}
