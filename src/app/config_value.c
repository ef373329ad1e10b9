/* Single values: what is expected of them, from text, to text. */
#include "app/config_read.h"
#include "app/config_units.h"
#include "base/err.h"

_Static_assert(sizeof(enum log_level) == sizeof(int) && sizeof(enum settings_alg) == sizeof(int),
               "choices are stored as int");

typedef int parse_number(struct str text, uint64_t *out_value);
typedef void format_number(uint64_t value, struct buf *out);

static void format_count(uint64_t value, struct buf *out)
{
    buf_append_u64(out, value);
}

static const struct {
    const char *what;
    parse_number *parse;
    format_number *format;
} numbers[] = {
    [CONFIG_COUNT] = {"a number", config_count_parse, format_count},
    [CONFIG_BYTES] = {"a size such as \"64KiB\"", config_bytes_parse, config_bytes_format},
    [CONFIG_TIME] = {"a time such as \"10s\"", config_time_parse, config_time_format},
};

static bool in_range(const struct config_key *key, uint64_t value)
{
    return (value >= key->min && value <= key->max) || (value == 0 && key->zero);
}

/* "never" of "never: strict order, and …". */
static bool is_word_for_zero(const struct config_key *key, struct str text)
{
    return key->zero && text.len > 0 && text.len == strcspn(key->zero, ":") &&
           memcmp(text.ptr, key->zero, text.len) == 0;
}

static int parse_into_number(const struct config_key *key, struct str text, uint64_t *out_value)
{
    uint64_t value;
    if (is_word_for_zero(key, text)) {
        *out_value = 0;
        return 0;
    }
    if (numbers[key->type].parse(text, &value) != 0 || !in_range(key, value)) {
        return ERR_SYNTAX;
    }
    *out_value = value;
    return 0;
}

static int parse_bool(struct str text, bool *out_value)
{
    bool is_true = str_equal(text, STR("true"));
    if (!is_true && !str_equal(text, STR("false"))) {
        return ERR_SYNTAX;
    }
    *out_value = is_true;
    return 0;
}

static int parse_choice(const struct config_key *key, struct str text, int *out_value)
{
    for (int i = 0; key->choices[i]; i++) {
        if (str_equal(text, str_of(key->choices[i]))) {
            *out_value = i;
            return 0;
        }
    }
    return ERR_SYNTAX;
}

static int parse_text(const struct config_key *key, struct str text, struct settings *settings,
                      struct str *out_value)
{
    if (!key->text->is_valid(text)) {
        return ERR_SYNTAX;
    }
    struct str copy = settings_copy(settings, text);
    if (!copy.ptr) {
        return ERR_NO_MEMORY;
    }
    *out_value = copy;
    return 0;
}

int config_value_parse(const struct config_key *key, struct str text, struct settings *settings,
                       void *value)
{
    switch (key->type) {
    case CONFIG_BOOL: return parse_bool(text, value);
    case CONFIG_COUNT:
    case CONFIG_BYTES:
    case CONFIG_TIME: return parse_into_number(key, text, value);
    case CONFIG_CHOICE: return parse_choice(key, text, value);
    case CONFIG_TEXT: return parse_text(key, text, settings, value);
    default: return ERR_UNSUPPORTED;
    }
}

static void append_range(const struct config_key *key, struct buf *out)
{
    buf_append_str(out, STR(" from "));
    numbers[key->type].format(key->min > 0 ? key->min : (key->zero ? 1 : 0), out);
    buf_append_str(out, STR(" to "));
    numbers[key->type].format(key->max, out);
    if (key->zero) {
        buf_printf(out, ", or 0 (%s)", key->zero);
    }
}

static void append_choices(const struct config_key *key, struct buf *out)
{
    buf_append_str(out, STR("one of "));
    for (int i = 0; key->choices[i]; i++) {
        buf_printf(out, "%s%s", i > 0 ? ", " : "", key->choices[i]);
    }
}

static void append_text_kind(const struct config_text *text, struct buf *out)
{
    buf_append_str(out, str_of(text->expected));
    if (text->names) {
        buf_append_str(out, str_of(text->names()));
    }
}

void config_key_expected(const struct config_key *key, struct buf *out)
{
    switch (key->type) {
    case CONFIG_BOOL: buf_append_str(out, STR("true or false")); break;
    case CONFIG_COUNT:
    case CONFIG_BYTES:
    case CONFIG_TIME:
        buf_append_str(out, str_of(numbers[key->type].what));
        append_range(key, out);
        break;
    case CONFIG_CHOICE: append_choices(key, out); break;
    case CONFIG_TEXT: append_text_kind(key->text, out); break;
    case CONFIG_TEXTS:
        buf_append_str(out, STR("a list; each: "));
        append_text_kind(key->text, out);
        break;
    case CONFIG_MAPS: buf_append_str(out, STR("a list")); break;
    case CONFIG_MAP: buf_append_str(out, STR("a map")); break;
    case CONFIG_CUSTOM: break;
    }
}

void config_value_format(const struct config_key *key, const void *value, struct buf *out)
{
    switch (key->type) {
    case CONFIG_BOOL: buf_append_str(out, *(const bool *)value ? STR("true") : STR("false")); break;
    case CONFIG_COUNT:
    case CONFIG_BYTES:
    case CONFIG_TIME: numbers[key->type].format(*(const uint64_t *)value, out); break;
    case CONFIG_CHOICE: buf_append_str(out, str_of(key->choices[*(const int *)value])); break;
    case CONFIG_TEXT: buf_append_str(out, *(const struct str *)value); break;
    default: break;
    }
}
