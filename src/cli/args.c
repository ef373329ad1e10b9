#include "cli/args.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/exit_code.h"

static const struct args_option *find_option(const struct args_verb *verb, struct str name)
{
    for (size_t i = 0; i < verb->option_count; i++) {
        if (str_equal(name, str_of(verb->options[i].name))) {
            return &verb->options[i];
        }
    }
    return NULL;
}

static int set_flag(const struct args_option *option, const char *value, char *error)
{
    if (value) {
        snprintf(error, ARGS_ERROR_MAX, "--%s takes no value", option->name);
        return ERR_SYNTAX;
    }
    *option->flag = true;
    return 0;
}

static int add_item(const struct args_option *option, const char *value, char *error)
{
    struct args_list *list = option->list;
    if (list->count == ARGS_LIST_MAX) {
        snprintf(error, ARGS_ERROR_MAX, "more than %d times --%s", ARGS_LIST_MAX, option->name);
        return ERR_SYNTAX;
    }
    list->items[list->count++] = value;
    return 0;
}

static int set_value(const struct args_option *option, bool *seen, const char *value, char *error)
{
    if (*seen && !option->list) {
        snprintf(error, ARGS_ERROR_MAX, "--%s stands there twice", option->name);
        return ERR_SYNTAX;
    }
    *seen = true;
    if (option->flag) {
        return set_flag(option, value, error);
    }
    if (!value) {
        snprintf(error, ARGS_ERROR_MAX, "--%s needs a value: --%s %s", option->name, option->name,
                 option->value);
        return ERR_SYNTAX;
    }
    if (option->list) {
        return add_item(option, value, error);
    }
    *option->text = value;
    return 0;
}

/* argv[*at] is "--name" or "--name=value"; moves *at over a value that stands by itself. */
static int take_option(const struct args_verb *verb, int argc, char **argv, int *at, bool *seen,
                       char *error)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct args_option *option = find_option(verb, str_make(name, len));
    if (!option) {
        /* Not echoed in full: what follows '=' may be a secret in the wrong place. */
        snprintf(error, ARGS_ERROR_MAX, "unknown option '--%.*s'", len > 40 ? 40 : (int)len, name);
        return ERR_SYNTAX;
    }
    const char *value = equals ? equals + 1 : NULL;
    if (!value && !option->flag && *at + 1 < argc) {
        value = argv[++*at];
    }
    return set_value(option, &seen[option - verb->options], value, error);
}

static int take_operand(const struct args_verb *verb, const char *text, char *error)
{
    if (!verb->operand || *verb->operand) {
        snprintf(error, ARGS_ERROR_MAX, "unexpected argument '%.40s'", text);
        return ERR_SYNTAX;
    }
    *verb->operand = text;
    return 0;
}

static bool asks_for_help(const char *text)
{
    return strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0;
}

static bool is_option(const char *text)
{
    return text[0] == '-' && text[1] != '\0';
}

int args_parse(const struct args_verb *verb, int argc, char **argv, char error[ARGS_ERROR_MAX])
{
    bool seen[64] = {false};
    ASSERT(verb->option_count <= sizeof(seen));
    bool operands_only = false;
    for (int at = 1; at < argc; at++) {
        int err = 0;
        if (operands_only || !is_option(argv[at])) {
            err = take_operand(verb, argv[at], error);
        } else if (strcmp(argv[at], "--") == 0) {
            operands_only = true;
        } else if (asks_for_help(argv[at])) {
            return ARGS_HELP;
        } else if (argv[at][1] != '-') {
            snprintf(error, ARGS_ERROR_MAX, "unknown option '%.40s'; options start with '--'",
                     argv[at]);
            err = ERR_SYNTAX;
        } else {
            err = take_option(verb, argc, argv, &at, seen, error);
        }
        if (err) {
            return err;
        }
    }
    if (verb->operand && !*verb->operand && !verb->operand_is_optional) {
        snprintf(error, ARGS_ERROR_MAX, "an argument is missing");
        return ERR_SYNTAX;
    }
    return 0;
}

void args_write_help(const struct args_verb *verb, struct buf *out)
{
    buf_printf(out, "usage: tidegate %s %s\n\n%s\n\noptions:\n", verb->name, verb->synopsis,
               verb->summary);
    for (size_t i = 0; i < verb->option_count; i++) {
        const struct args_option *option = &verb->options[i];
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        buf_printf(out, "  %-24s %s%s\n", left, option->help,
                   option->list ? " (may stand several times)" : "");
    }
    buf_append_str(out, STR("  --help                   show this\n"));
}

static int print_help(const struct args_verb *verb)
{
    struct buf help = {0};
    args_write_help(verb, &help);
    bool ok = buf_err(&help) == 0 && fwrite(help.data, 1, help.len, stdout) == help.len &&
              fflush(stdout) == 0;
    buf_fini(&help);
    return ok ? EXIT_CODE_OK : EXIT_CODE_INTERNAL;
}

bool args_read(const struct args_verb *verb, int argc, char **argv, int *out_exit)
{
    char error[ARGS_ERROR_MAX] = "";
    int err = args_parse(verb, argc, argv, error);
    if (err == ARGS_HELP) {
        *out_exit = print_help(verb);
        return false;
    }
    if (err) {
        args_complain(verb->name, "%s; 'tidegate %s --help' shows what it takes", error,
                      verb->name);
        *out_exit = EXIT_CODE_USAGE;
        return false;
    }
    return true;
}

void args_complain(const char *verb, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    fprintf(stderr, "tidegate %s: %s\n", verb, line);
}

bool args_number(const char *text, uint64_t min, uint64_t max, uint64_t *out_number)
{
    uint64_t number;
    if (!str_to_u64(str_of(text), max, &number) || number < min) {
        return false;
    }
    *out_number = number;
    return true;
}

bool args_duration_ms(const char *text, uint64_t *out_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const uint64_t year_ms = 366ull * 86400000;

    size_t digits = strspn(text, "0123456789");
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        uint64_t count;
        if (strcmp(text + digits, units[i].unit) == 0 &&
            str_to_u64(str_make(text, digits), year_ms / units[i].ms, &count) && count > 0) {
            *out_ms = count * units[i].ms;
            return true;
        }
    }
    return false;
}
