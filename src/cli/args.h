/* The arguments of one verb, by a table: `--name VALUE` or `--name=VALUE`, flags without a value,
 * `--` before operands that start with a dash. An option may stand once, unless it is a list.
 * Secrets are never options: an argv can be read by every process of the machine. */
#ifndef TIDEGATE_CLI_ARGS_H
#define TIDEGATE_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    ARGS_LIST_MAX = 128,
    ARGS_ERROR_MAX = 256, /* one line, with its NUL */
    ARGS_HELP = 1,
};

struct args_list {
    const char *items[ARGS_LIST_MAX]; /* borrowed from argv */
    size_t count;
};

/* Exactly one of flag, text and list is set, and zeroed before parsing (text: NULL or a default).
 */
struct args_option {
    const char *name;  /* "user", without the dashes */
    const char *value; /* what stands for it in the help: "U"; NULL for a flag */
    const char *help;
    bool *flag;
    const char **text;
    struct args_list *list;
};

struct args_verb {
    const char *name;     /* "push" */
    const char *synopsis; /* behind "tidegate push " in the help */
    const char *summary;  /* a sentence or two */
    const struct args_option *options;
    size_t option_count;
    const char **operand; /* takes exactly one when set, else none */
    bool operand_is_optional;
};

/* argv[0] is the verb. 0; ARGS_HELP when --help or -h stands among the arguments; ERR_SYNTAX with
 * the reason in error. */
int args_parse(const struct args_verb *verb, int argc, char **argv, char error[ARGS_ERROR_MAX]);

/* The text of `tidegate VERB --help`. */
void args_write_help(const struct args_verb *verb, struct buf *out);

/* Parses, and says what there is to say: help to stdout, a mistake to stderr. True: go on; false:
 * return *out_exit (enum exit_code). */
bool args_read(const struct args_verb *verb, int argc, char **argv, int *out_exit);

/* One line to stderr, "tidegate VERB: …", with control bytes made harmless. */
void args_complain(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "500ms", "60s", "10m", "2h", "1d"; digits and a unit. False for others, zero, or over a year. */
bool args_duration_ms(const char *text, uint64_t *out_ms);

/* Digits, from min to max. */
bool args_number(const char *text, uint64_t min, uint64_t max, uint64_t *out_number);

#endif
