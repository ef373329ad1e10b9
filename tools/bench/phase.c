#include "phase.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_util.h"

static enum phase_target parse_target(const char *value)
{
    if (strcmp(value, "user") == 0) {
        return PHASE_TO_USER;
    }
    if (strcmp(value, "group") == 0) {
        return PHASE_TO_GROUP;
    }
    if (strcmp(value, "all") == 0) {
        return PHASE_TO_ALL;
    }
    bench_die("to=user, to=group or to=all, not to=%s", value);
}

static bool parse_flag(struct phase *phase, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"storm", &phase->storm},
        {"raw", &phase->raw},
        {"offline", &phase->offline},
        {"text", &phase->text},
    };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (strcmp(flags[i].name, name) == 0) {
            *flags[i].flag = true;
            return true;
        }
    }
    return false;
}

static bool parse_number(struct phase *phase, const char *name, const char *value)
{
    const struct {
        const char *name;
        unsigned *number;
    } numbers[] = {
        {"conns", &phase->conns}, {"depth", &phase->depth}, {"batch", &phase->batch},
        {"fan", &phase->fan},     {"size", &phase->size},   {"window", &phase->window},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(numbers[i].name, name) == 0) {
            *numbers[i].number = (unsigned)strtoul(value, NULL, 10);
            return true;
        }
    }
    return false;
}

static void parse_word(struct phase *phase, char *word)
{
    char *value = strchr(word, '=');
    if (!value) {
        if (!parse_flag(phase, word)) {
            bench_die("a phase has no flag '%s'", word);
        }
        return;
    }
    *value++ = '\0';
    if (strcmp(word, "name") == 0) {
        snprintf(phase->name, sizeof(phase->name), "%s", value);
    } else if (strcmp(word, "to") == 0) {
        phase->to = parse_target(value);
    } else if (strcmp(word, "rate") == 0) {
        phase->rate = strtod(value, NULL);
    } else if (strcmp(word, "secs") == 0) {
        phase->secs = strtod(value, NULL);
    } else if (strcmp(word, "count") == 0) {
        phase->count = strtoull(value, NULL, 10);
    } else if (!parse_number(phase, word, value)) {
        bench_die("a phase has no '%s='", word);
    }
}

void phase_parse(struct phase *out, const char *text)
{
    *out = (struct phase){.name = "phase", .conns = 1, .depth = 1, .fan = 1, .size = 128};
    char *words = bench_copy(text, strlen(text) + 1);
    char *rest = NULL;
    for (char *word = strtok_r(words, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        parse_word(out, word);
    }
    free(words);
    if (!out->storm && out->secs <= 0 && out->count == 0) {
        bench_die("phase %s ends neither by secs nor by count", out->name);
    }
    if (out->conns == 0 || out->depth == 0 || out->fan == 0) {
        bench_die("phase %s: conns, depth and fan are at least 1", out->name);
    }
}
