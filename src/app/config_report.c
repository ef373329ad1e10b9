#include "app/config_report.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/json.h"

enum { QUOTED_BYTES = 60 };

void config_report_init(struct config_report *report, struct str file)
{
    memset(report, 0, sizeof(*report));
    report->file = file;
}

void config_report_fini(struct config_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        mem_free(report->remarks[i].key);
        mem_free(report->remarks[i].text);
    }
    report->count = 0;
}

static int fill_remark(struct config_remark *remark, struct str key, const char *format,
                       va_list args) __attribute__((format(printf, 3, 0)));

static int fill_remark(struct config_remark *remark, struct str key, const char *format,
                       va_list args)
{
    char text[1024]; /* longer than any of our sentences; a cut one is still understood */
    vsnprintf(text, sizeof(text), format, args);
    remark->key = mem_strndup(key.ptr, key.len);
    remark->text = mem_strndup(text, strlen(text));
    if (!remark->key || !remark->text) {
        mem_free(remark->key);
        mem_free(remark->text);
        return ERR_NO_MEMORY;
    }
    return 0;
}

void config_report_add(struct config_report *report, bool is_warning, struct config_place place,
                       struct str key, const char *format, ...)
{
    size_t nth = is_warning ? report->warnings++ : report->mistakes++;
    if (nth >= CONFIG_REPORT_MAX) {
        return;
    }
    struct config_remark *remark = &report->remarks[report->count];
    remark->is_warning = is_warning;
    remark->place = place;

    va_list args;
    va_start(args, format);
    int err = fill_remark(remark, key, format, args);
    va_end(args);
    if (err) {
        report->err = err;
        return;
    }
    report->count++;
}

static void append_line(const struct config_report *report, const struct config_remark *remark,
                        struct buf *out)
{
    buf_append_str(out, report->file);
    if (remark->place.line > 0) {
        buf_printf(out, ":%u:%u", remark->place.line, remark->place.column);
    }
    buf_printf(out, ": %s%s%s%s\n", remark->is_warning ? "warning: " : "", remark->key,
               remark->key[0] ? ": " : "", remark->text);
}

static void append_rest(const struct config_report *report, size_t found, const char *what,
                        struct buf *out)
{
    if (found > CONFIG_REPORT_MAX) {
        buf_append_str(out, report->file);
        buf_printf(out, ": and %zu more %s\n", found - CONFIG_REPORT_MAX, what);
    }
}

void config_report_lines(const struct config_report *report, struct buf *out)
{
    for (size_t i = 0; i < report->count; i++) {
        append_line(report, &report->remarks[i], out);
    }
    append_rest(report, report->mistakes, "mistakes", out);
    append_rest(report, report->warnings, "warnings", out);
}

static void append_object(const struct config_remark *remark, struct buf *out)
{
    json_write_comma(out);
    buf_append_char(out, '{');
    if (remark->place.line > 0) {
        json_write_u64_field(out, STR("line"), remark->place.line);
        json_write_u64_field(out, STR("column"), remark->place.column);
    }
    json_write_string_field(out, STR("key"), str_of(remark->key));
    json_write_string_field(out, STR("text"), str_of(remark->text));
    buf_append_char(out, '}');
}

static void append_list(const struct config_report *report, bool warnings, struct str name,
                        struct buf *out)
{
    json_write_key(out, name);
    buf_append_char(out, '[');
    for (size_t i = 0; i < report->count; i++) {
        if (report->remarks[i].is_warning == warnings) {
            append_object(&report->remarks[i], out);
        }
    }
    buf_append_char(out, ']');
}

void config_report_json(const struct config_report *report, struct buf *out)
{
    buf_append_char(out, '{');
    json_write_string_field(out, STR("file"), report->file);
    json_write_bool_field(out, STR("ok"), report->mistakes == 0);
    append_list(report, false, STR("mistakes"), out);
    append_list(report, true, STR("warnings"), out);
    buf_append_str(out, STR("}\n"));
}

/* Cut where a UTF-8 character begins, so that the message stays UTF-8 when the text was. */
static size_t cut_length(struct str text)
{
    if (text.len <= QUOTED_BYTES) {
        return text.len;
    }
    size_t len = QUOTED_BYTES;
    while (len > 0 && ((uint8_t)text.ptr[len] & 0xc0) == 0x80) {
        len--;
    }
    return len;
}

const char *config_quote(struct str text, char out[CONFIG_QUOTE_MAX])
{
    size_t len = cut_length(text);
    char *at = out;
    *at++ = '"';
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)text.ptr[i];
        if (c < 0x20 || c == 0x7f) {
            at += sprintf(at, "\\x%02x", c);
        } else {
            *at++ = (char)c;
        }
    }
    strcpy(at, len < text.len ? "…\"" : "\"");
    return out;
}
