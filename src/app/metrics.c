#include "app/metrics.h"

#include <stdio.h>

#include "app/config.h"
#include "base/err.h"
#include "cli/args.h"
#include "cli/exit_code.h"
#include "proto/json.h"
#include "server/custom_family.h"
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

struct listing {
    struct buf out;
    bool as_json;
    const char *app; /* whose own metrics are listed; NULL: those of the gateway */
};

static void write_json_line(struct listing *listing, const char *section,
                            const struct metric_family *family)
{
    struct buf *out = &listing->out;
    buf_append_char(out, '{');
    json_write_string_field(out, STR("name"), str_of(family->name));
    json_write_string_field(out, STR("kind"), str_of(metric_kind_name(family->kind)));
    write_labels_json(out, family);
    if (listing->app) {
        json_write_string_field(out, STR("app"), str_of(listing->app));
    }
    json_write_string_field(out, STR("section"), str_of(section));
    json_write_string_field(out, STR("help"), str_of(family->help));
    json_write_string_field(out, STR("more"), str_of(family->more));
    buf_append_str(out, STR("}\n"));
}

static void write_text_line(struct buf *out, const struct metric_family *family)
{
    buf_printf(out, "%-9s %s", metric_kind_name(family->kind), family->name);
    for (size_t i = 0; i < metric_label_count(family); i++) {
        buf_printf(out, "%s%s", i ? "," : "{", family->labels[i]);
    }
    buf_printf(out, "%s\n", family->labels[0] ? "}" : "");
}

static void list(void *arg, const char *section, const struct metric_family *family)
{
    struct listing *listing = arg;
    if (listing->as_json) {
        write_json_line(listing, section, family);
    } else {
        write_text_line(&listing->out, family);
    }
}

static int list_custom(struct listing *listing, const struct settings_app *app)
{
    for (size_t i = 0; i < app->metrics.custom_count; i++) {
        const struct settings_custom *custom = &app->metrics.custom[i];
        bool has_time = custom->kind == SETTINGS_GAUGE;
        const struct metric_family *family = custom_family_get(app->name.ptr, custom);
        const struct metric_family *time = has_time ? custom_family_get_time(app->name.ptr, custom)
                                                    : NULL;
        if (!family || (has_time && !time)) {
            return ERR_NO_MEMORY;
        }
        listing->app = app->name.ptr;
        list(listing, FAMILIES_CUSTOM_SECTION, family);
        if (has_time) {
            list(listing, FAMILIES_CUSTOM_SECTION, time);
        }
    }
    return 0;
}

/* The metrics that the apps of a configuration define. */
static int list_config(struct listing *listing, const char *path)
{
    struct settings *settings;
    struct buf remarks = {0};
    int err = config_load(&settings, path, &remarks);
    if (err) {
        fputs(buf_cstr(&remarks), stderr);
    }
    buf_fini(&remarks);
    for (size_t i = 0; !err && i < settings->app_count; i++) {
        err = list_custom(listing, &settings->apps[i]);
    }
    if (!err) {
        settings_unref(settings);
    }
    return err;
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

static int run(struct listing *listing, const char *config)
{
    families_visit(list, listing);
    int err = config ? list_config(listing, config) : 0;
    if (err) {
        buf_fini(&listing->out);
        return err == ERR_NO_MEMORY ? EXIT_CODE_INTERNAL : EXIT_CODE_REFUSED;
    }
    return print(&listing->out);
}

int app_metrics_main(int argc, char **argv)
{
    struct listing listing = {0};
    bool as_markdown = false;
    const char *config = NULL;
    const struct args_option options[] = {
        {.name = "config",
         .value = "FILE",
         .help = "with the metrics that the apps of this configuration define",
         .text = &config},
        {.name = "json",
         .help = "one JSON object a metric, with what it means",
         .flag = &listing.as_json},
        {.name = "markdown", .help = "the reference page, docs/metrics.md", .flag = &as_markdown},
    };
    const struct args_verb verb = {
        .name = "metrics",
        .synopsis = "[--config FILE] [--json] | --markdown",
        .summary = "Lists every metric that this gateway can expose: kind, name and labels.",
        .options = options,
        .option_count = 3,
    };
    int exit_code;
    if (!args_read(&verb, argc, argv, &exit_code)) {
        return exit_code;
    }
    if (as_markdown && (listing.as_json || config)) {
        args_complain("metrics", "--markdown goes with nothing else");
        return EXIT_CODE_USAGE;
    }
    if (as_markdown) {
        families_write_markdown(&listing.out);
        return print(&listing.out);
    }
    return run(&listing, config);
}
