/* For tests: a text in, settings or the lines of the report out. */
#ifndef TIDEGATE_APP_CONFIG_TRY_H
#define TIDEGATE_APP_CONFIG_TRY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "app/config.h"
#include "base/err.h"

static char config_said[16384]; /* the report's lines after the last try */

static inline struct settings *config_try_env(const char *yaml, char *const *env)
{
    struct config_report report;
    struct settings *settings = NULL;
    struct buf lines = {0};
    config_report_init(&report, STR("t.yaml"));
    int err = config_parse(&settings, str_of(yaml), env, &report);
    assert_true(err == 0 || err == ERR_SYNTAX);
    assert_int_equal(err != 0, report.mistakes > 0);
    config_report_lines(&report, &lines);
    assert_in_range(lines.len, 0, sizeof(config_said) - 1);
    strcpy(config_said, buf_cstr(&lines));
    buf_fini(&lines);
    config_report_fini(&report);
    return settings;
}

static inline struct settings *config_try(const char *yaml)
{
    return config_try_env(yaml, NULL);
}

/* The text must be refused with exactly these lines. */
static inline void config_must_say(const char *yaml, const char *lines)
{
    assert_null(config_try(yaml));
    assert_string_equal(config_said, lines);
}

/* The text must be refused, and the lines hold this one (or part of it). */
static inline void config_must_mention(const char *yaml, const char *part)
{
    assert_null(config_try(yaml));
    if (!strstr(config_said, part)) {
        print_error("expected: %s\ngot: %s", part, config_said);
        fail();
    }
}

/* The text must be accepted without a remark. Unref what is returned. */
static inline struct settings *config_must_accept(const char *yaml)
{
    struct settings *settings = config_try(yaml);
    assert_string_equal(config_said, "");
    assert_non_null(settings);
    return settings;
}

static inline void config_must_accept_all(const char *const *yamls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        settings_unref(config_must_accept(yamls[i]));
    }
}

#endif
