#include "app/metrics.h"

#include <stdio.h>

#include "base/err.h"
#include "cli/args.h"
#include "cli/exit_code.h"
#include "proto/json.h"
#include "server/families.h"

static void write_labels_json(struct buf *out, const struct metric_family *family)
{
    json_write_key(out, STR("labels"));
    buf_append_char(out, '[');
    for (size_t i = 0; i < metric_label_count(family); i++) {
        json_write_comma(out);
        json_write_string(out, str_of(family->labels[i]));
    }
    buf_append_char(out, ']');
}

static void write_json_line(void *arg, const char *section, const struct metric_family *family)
{
    struct buf *out = arg;
    buf_append_char(out, '{');
    json_write_string_field(out, STR("name"), str_of(family->name));
    json_write_string_field(out, STR("kind"), str_of(metric_kind_name(family->kind)));
    write_labels_json(out, family);
    json_write_string_field(out, STR("section"), str_of(section));
    json_write_string_field(out, STR("help"), str_of(family->help));
    json_write_string_field(out, STR("more"), str_of(family->more));
    buf_append_str(out, STR("}\n"));
}

static void write_text_line(void *arg, const char *section, const struct metric_family *family)
{
    struct buf *out = arg;
    buf_printf(out, "%-9s %s", metric_kind_name(family->kind), family->name);
    for (size_t i = 0; i < metric_label_count(family); i++) {
        buf_printf(out, "%s%s", i ? "," : "{", family->labels[i]);
    }
    buf_printf(out, "%s\n", family->labels[0] ? "}" : "");
}

static int print(struct buf *out)
{
    bool failed = buf_err(out) || fputs(buf_cstr(out), stdout) == EOF || fflush(stdout);
    if (failed) {
        args_complain("metrics", "the output can't be written");
    }
    buf_fini(out);
    return failed ? EXIT_CODE_INTERNAL : EXIT_CODE_OK;
}

int app_metrics_main(int argc, char **argv)
{
    bool as_json = false;
    bool as_markdown = false;
    const struct args_option options[] = {
        {.name = "json", .help = "one JSON object a metric, with what it means", .flag = &as_json},
        {.name = "markdown", .help = "the reference page, docs/metrics.md", .flag = &as_markdown},
    };
    const struct args_verb verb = {
        .name = "metrics",
        .synopsis = "[--json | --markdown]",
        .summary = "Lists every metric that this gateway can expose: kind, name and labels.",
        .options = options,
        .option_count = 2,
    };
    struct buf out = {0};
    int exit_code;
    if (!args_read(&verb, argc, argv, &exit_code)) {
        return exit_code;
    }
    if (as_json && as_markdown) {
        args_complain("metrics", "either --json or --markdown");
        return EXIT_CODE_USAGE;
    }
    if (as_markdown) {
        families_write_markdown(&out);
    } else {
        families_visit(as_json ? write_json_line : write_text_line, &out);
    }
    return print(&out);
}
