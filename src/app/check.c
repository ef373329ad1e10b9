#include "app/check.h"

#include <stdio.h>

#include "app/config.h"
#include "base/err.h"
#include "cli/args.h"
#include "cli/exit_code.h"

static int print(const struct config_report *report, bool as_json)
{
    struct buf out = {0};
    if (as_json) {
        config_report_json(report, &out);
    } else {
        config_report_lines(report, &out);
    }
    FILE *stream = as_json ? stdout : stderr;
    int err = buf_err(&out);
    if (!err && out.len > 0 && fwrite(out.data, 1, out.len, stream) != out.len) {
        err = ERR_CLOSED;
    }
    buf_fini(&out);
    return err ? err : fflush(stream) == 0 ? 0 : ERR_CLOSED;
}

static int exit_code_of(int err)
{
    switch (err) {
    case 0: return EXIT_CODE_OK;
    case ERR_SYNTAX: return EXIT_CODE_REFUSED;
    case ERR_NO_MEMORY: return EXIT_CODE_INTERNAL;
    default: return EXIT_CODE_USAGE;
    }
}

static int check_file(const char *path, bool as_json)
{
    struct config_report report;
    struct settings *settings;
    config_report_init(&report, str_of(path));
    int err = config_load_report(&settings, path, &report);
    if (!err) {
        settings_unref(settings);
    }
    int print_err = print(&report, as_json);
    config_report_fini(&report);
    if (print_err || err == ERR_NO_MEMORY) {
        args_complain("check", "%s", err_str(print_err ? print_err : err));
        return EXIT_CODE_INTERNAL;
    }
    if (!err && !as_json) {
        printf("%s: OK\n", path);
    }
    return exit_code_of(err);
}

int app_check_main(int argc, char **argv)
{
    bool as_json = false;
    const char *path = NULL;
    const struct args_option options[] = {
        {.name = "json", .help = "the result as a JSON object on stdout", .flag = &as_json},
    };
    const struct args_verb verb = {
        .name = "check",
        .synopsis = "[--json] FILE",
        .summary = "Says what is wrong with a configuration, with line, column and key. TIDEGATE_ "
                   "variables that set values are checked too.",
        .options = options,
        .option_count = 1,
        .operand = &path,
    };
    int exit_code;
    if (!args_read(&verb, argc, argv, &exit_code)) {
        return exit_code;
    }
    return check_file(path, as_json);
}
