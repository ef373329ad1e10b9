#include "cli/doctor_report.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "cli/args.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/table.h"
#include "proto/http_response.h"
#include "proto/json.h"

static const char *const names[] = {"ok", "warn", "fail", "skip"};
static const char *const colors[] = {"\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m"};

/* What a peer said may be in it, in whatever bytes. */
static void write_json(struct buf *out, const char *check, enum doctor_status status,
                       const char *fix, const char *what)
{
    buf_append_char(out, '{');
    json_write_string_field(out, STR("check"), str_of(check));
    json_write_string_field(out, STR("status"), str_of(names[status]));
    json_write_key(out, STR("what"));
    http_append_json_string(out, str_of(what));
    if (fix) {
        json_write_string_field(out, STR("fix"), str_of(fix));
    }
    buf_append_str(out, STR("}\n"));
}

static void write_text(struct buf *out, bool color, const char *check, enum doctor_status status,
                       const char *fix, const char *what)
{
    buf_printf(out, "%s%-4s%s  %-22s ", color ? colors[status] : "", names[status],
               color ? "\x1b[0m" : "", check);
    table_append_clean(out, str_of(what));
    buf_append_char(out, '\n');
    if (fix) {
        buf_printf(out, "%30s%s\n", "-> ", fix);
    }
}

void doctor_say(struct doctor_report *report, const char *check, enum doctor_status status,
                const char *fix, const char *format, ...)
{
    char what[1024];
    struct buf out = {0};
    va_list args;
    if (interrupt_raised() && status != DOCTOR_SKIP) {
        return; /* what the user ended has not failed */
    }
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    report->counts[status]++;
    if (report->json) {
        write_json(&out, check, status, fix, what);
    } else {
        write_text(&out, report->color, check, status, fix, what);
    }
    int err = output_flush(&out);
    report->output_err = report->output_err ? report->output_err : err;
    buf_fini(&out);
}

int doctor_report_end(struct doctor_report *report)
{
    struct buf out = {0};
    if (!report->json) {
        buf_printf(&out, "%u ok, %u to look at, %u failed, %u not looked at\n",
                   report->counts[DOCTOR_OK], report->counts[DOCTOR_WARN],
                   report->counts[DOCTOR_FAIL], report->counts[DOCTOR_SKIP]);
    }
    int code = output_end(&out, "doctor");
    if (report->output_err) {
        return EXIT_CODE_INTERNAL;
    }
    return code ? code : report->counts[DOCTOR_FAIL] ? EXIT_CODE_REFUSED : EXIT_CODE_OK;
}
