#include "app/config_bus.h"

#include "base/err.h"

static const enum config_type types[] = {
    [BUS_OPTION_TEXT] = CONFIG_TEXT,     [BUS_OPTION_SECRET] = CONFIG_TEXT,
    [BUS_OPTION_FILE] = CONFIG_TEXT,     [BUS_OPTION_TEXTS] = CONFIG_TEXTS,
    [BUS_OPTION_COUNT] = CONFIG_COUNT,   [BUS_OPTION_BYTES] = CONFIG_BYTES,
    [BUS_OPTION_TIME] = CONFIG_TIME,     [BUS_OPTION_BOOL] = CONFIG_BOOL,
    [BUS_OPTION_CHOICE] = CONFIG_CHOICE,
};

static const struct config_text *text_of(const struct bus_option *option)
{
    if (option->type == BUS_OPTION_FILE && !option->required) {
        return &config_text_file;
    }
    bool may_be_empty = option->type == BUS_OPTION_TEXT && !option->required;
    return may_be_empty ? &config_text_any : &config_text_filled;
}

struct config_key config_bus_key(const struct bus_option *option)
{
    bool is_list = option->type == BUS_OPTION_TEXTS;
    return (struct config_key){
        .name = option->name,
        .type = types[option->type],
        .required = option->required,
        .needs_restart = true,
        .offset = offsetof(struct bus_value, texts),
        .count_offset = offsetof(struct bus_value, text_count),
        .min = is_list && option->required && option->min == 0 ? 1 : option->min,
        .max = option->max,
        .zero = option->zero,
        .text = text_of(option),
        .choices = option->choices,
        .help = option->help,
        .example = option->example,
    };
}

int config_bus_parse(const struct bus_option *option, struct str text, struct settings *settings,
                     struct bus_value *out_value)
{
    const struct config_key key = config_bus_key(option);
    bool flag = false;
    int choice = 0;
    int err;
    switch (key.type) {
    case CONFIG_TEXT: return config_value_parse(&key, text, settings, &out_value->text);
    case CONFIG_BOOL: err = config_value_parse(&key, text, settings, &flag); break;
    case CONFIG_CHOICE: err = config_value_parse(&key, text, settings, &choice); break;
    default: return config_value_parse(&key, text, settings, &out_value->number);
    }
    if (!err) {
        out_value->number = flag ? 1 : (uint64_t)choice;
    }
    return err;
}

int config_bus_set_initial(struct settings *settings, const struct bus_engine *engine,
                           struct bus_value **out_values)
{
    struct bus_value *values = settings_array(settings, engine->option_count, sizeof(*values));
    int err = values ? 0 : ERR_NO_MEMORY;
    for (size_t i = 0; i < engine->option_count && !err; i++) {
        const struct bus_option *option = &engine->options[i];
        values[i].text = STR("");
        err = option->initial
                  ? config_bus_parse(option, str_of(option->initial), settings, &values[i])
                  : 0;
        ASSERT(err == 0 || err == ERR_NO_MEMORY); /* else the table contradicts itself */
    }
    if (!err) {
        *out_values = values;
        settings->bus.values = values;
    }
    return err;
}

bool config_bus_equal(const struct bus_value *a, const struct bus_value *b)
{
    bool equal = a->number == b->number && a->text_count == b->text_count &&
                 str_equal(a->text, b->text);
    for (size_t i = 0; i < a->text_count && equal; i++) {
        equal = str_equal(a->texts[i], b->texts[i]);
    }
    return equal;
}
