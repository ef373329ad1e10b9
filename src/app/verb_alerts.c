/* `tidegate alerts`: the alert rules, for people, Prometheus and programs. */
#include <stdio.h>

#include "api/alert_text.h"
#include "app/config.h"
#include "app/verbs.h"
#include "base/err.h"
#include "cli/args.h"
#include "cli/exit_code.h"
#include "cli/output.h"

struct wish {
    bool prometheus, markdown, json;
    const char *path;     /* of a configuration that changes rules */
    const char *runbooks; /* wins over the configuration's */
};

static void write_lines(struct buf *out, const struct alert_rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%-28s %-8s  %s\n", rules[i].name, alert_severity_name(rules[i].severity),
                   rules[i].summary);
    }
}

static void write_objects(struct buf *out, const struct alert_rule *rules, size_t count,
                          struct str runbooks)
{
    for (size_t i = 0; i < count; i++) {
        alert_write_json(out, &rules[i], runbooks);
        buf_append_str(out, STR("}\n"));
    }
}

static int print_rules(const struct wish *wish, const struct settings_alerts *settings)
{
    struct alert_rule rules[ALERT_RULES_MAX];
    size_t count = alert_rules_of(settings, rules);
    struct str runbooks = wish->runbooks ? str_of(wish->runbooks)
                          : settings     ? settings->runbooks
                                         : STR("");
    struct buf out = {0};
    if (wish->prometheus) {
        alert_write_prometheus(&out, rules, count, runbooks);
    } else if (wish->markdown) {
        alert_write_markdown(&out, rules, count);
    } else if (wish->json) {
        write_objects(&out, rules, count, runbooks);
    } else {
        write_lines(&out, rules, count);
    }
    int err = output_flush(&out);
    buf_fini(&out);
    if (err) {
        args_complain("alerts", "the output can't be written: %s", err_str(err));
        return EXIT_CODE_INTERNAL;
    }
    return EXIT_CODE_OK;
}

static int print_configured(const struct wish *wish)
{
    struct settings *settings;
    struct buf remarks = {0};
    if (config_load(&settings, wish->path, &remarks)) {
        fputs(buf_cstr(&remarks), stderr);
        buf_fini(&remarks);
        args_complain("alerts", "the configuration is not usable");
        return EXIT_CODE_USAGE;
    }
    buf_fini(&remarks);
    int exit_code = print_rules(wish, &settings->alerts);
    settings_unref(settings);
    return exit_code;
}

int app_alerts_main(int argc, char **argv)
{
    struct wish wish = {0};
    const struct args_option options[] = {
        {.name = "prometheus", .help = "as a rules file of Prometheus", .flag = &wish.prometheus},
        {.name = "markdown", .help = "as the table of the documentation", .flag = &wish.markdown},
        {.name = "json", .help = "one JSON object a rule", .flag = &wish.json},
        {.name = "config",
         .value = "F",
         .help = "a configuration, whose alerts.rules change them",
         .text = &wish.path},
        {.name = "runbooks",
         .value = "URL",
         .help = "where the rules' pages are, before their names (default: docs/runbooks/)",
         .text = &wish.runbooks},
    };
    const struct args_verb verb = {.name = "alerts",
                                   .synopsis = "[--prometheus|--markdown|--json] [--config F] "
                                               "[--runbooks URL]",
                                   .summary = "Lists the alert rules.",
                                   .options = options,
                                   .option_count = sizeof(options) / sizeof(options[0])};
    int exit_code;
    if (!args_read(&verb, argc, argv, &exit_code)) {
        return exit_code;
    }
    if (wish.prometheus + wish.markdown + wish.json > 1) {
        args_complain("alerts", "--prometheus, --markdown and --json exclude each other");
        return EXIT_CODE_USAGE;
    }
    return wish.path ? print_configured(&wish) : print_rules(&wish, NULL);
}
