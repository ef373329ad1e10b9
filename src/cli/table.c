#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void table_append_clean(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        /* U+0080 to U+009F are commands for some terminals: their bytes are C2 80 to C2 9F. */
        bool is_c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0;
        bool is_bad = c < 0x20 || c == 0x7f || is_c1;
        buf_append_char(out, is_bad ? '?' : (char)c);
        i += is_c1;
    }
}

struct range {
    uint32_t first, last;
    unsigned width;
};

/* wcwidth is the locale's, which may be C. By UAX #11, coarsely. */
static const struct range ranges[] = {
    {0x300, 0x36f, 0},     {0x1100, 0x115f, 2},   {0x1ab0, 0x1aff, 0},   {0x200b, 0x200f, 0},
    {0x20d0, 0x20ff, 0},   {0x2e80, 0x303e, 2},   {0x3041, 0xa4cf, 2},   {0xac00, 0xd7a3, 2},
    {0xf900, 0xfaff, 2},   {0xfe00, 0xfe0f, 0},   {0xfe20, 0xfe2f, 0},   {0xfe30, 0xfe6f, 2},
    {0xff00, 0xff60, 2},   {0xffe0, 0xffe6, 2},   {0x1f300, 0x1f64f, 2}, {0x1f680, 0x1f6ff, 2},
    {0x1f900, 0x1f9ff, 2}, {0x20000, 0x3fffd, 2},
};

/* Well-formed, of so many bytes. */
static uint32_t decode(const char *text, size_t bytes)
{
    static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (uint8_t)text[0] & masks[bytes];
    for (size_t i = 1; i < bytes; i++) {
        code = code << 6 | ((uint8_t)text[i] & 0x3f);
    }
    return code;
}

unsigned table_char_width(struct str text, size_t *out_bytes)
{
    size_t bytes = str_utf8_width(text);
    *out_bytes = bytes ? bytes : 1;
    uint32_t code = bytes ? decode(text.ptr, bytes) : 0;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (code >= ranges[i].first && code <= ranges[i].last) {
            return ranges[i].width;
        }
    }
    return 1;
}

size_t table_width(struct str text)
{
    size_t width = 0;
    size_t bytes;
    for (size_t i = 0; i < text.len; i += bytes) {
        width += table_char_width(str_make(text.ptr + i, text.len - i), &bytes);
    }
    return width;
}

void table_add(struct table *table, struct str text)
{
    table_append_clean(&table->cells, text.len > 0 ? text : STR("-"));
    buf_append_char(&table->cells, '\0');
}

void table_addf(struct table *table, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    table_add(table, str_of(text));
}

static bool is_right(const char *heading)
{
    return heading[0] == '>';
}

static struct str heading_of(const struct table *table, size_t column)
{
    const char *heading = table->headings[column];
    return str_of(heading + is_right(heading));
}

static void measure(const struct table *table, size_t widths[TABLE_COLUMNS_MAX])
{
    struct str rest = buf_str(&table->cells);
    struct str cell;
    for (size_t i = 0; i < table->column_count; i++) {
        widths[i] = table_width(heading_of(table, i));
    }
    for (size_t i = 0; rest.len > 0 && str_split(&rest, '\0', &cell); i++) {
        size_t column = i % table->column_count;
        size_t width = table_width(cell);
        widths[column] = width > widths[column] ? width : widths[column];
    }
}

static void write_cell(const struct table *table, struct buf *out, size_t column, struct str text,
                       size_t width)
{
    size_t pad = width - table_width(text);
    bool right = is_right(table->headings[column]);
    bool is_last = column + 1 == table->column_count;
    if (right) {
        buf_printf(out, "%*s", (int)pad, "");
    }
    buf_append_str(out, text);
    if (!right && !is_last) {
        buf_printf(out, "%*s", (int)pad, "");
    }
    buf_append_str(out, is_last ? STR("\n") : STR("  "));
}

int table_write(struct table *table, struct buf *out, bool is_bold)
{
    size_t widths[TABLE_COLUMNS_MAX];
    measure(table, widths);
    buf_append_str(out, is_bold ? STR("\x1b[1m") : STR(""));
    for (size_t i = 0; i < table->column_count; i++) {
        write_cell(table, out, i, heading_of(table, i), widths[i]);
    }
    buf_append_str(out, is_bold ? STR("\x1b[0m") : STR(""));
    struct str rest = buf_str(&table->cells);
    struct str cell;
    for (size_t i = 0; rest.len > 0 && str_split(&rest, '\0', &cell); i++) {
        size_t column = i % table->column_count;
        write_cell(table, out, column, cell, widths[column]);
    }
    int err = buf_err(&table->cells);
    buf_fini(&table->cells);
    return err ? err : buf_err(out);
}

bool table_may_color(void)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && !str_equal(str_of(term), STR("dumb"));
}

void table_append_duration(struct buf *out, uint64_t ms)
{
    unsigned long long s = ms / 1000;
    if (s >= 86400) {
        buf_printf(out, "%llud %lluh", s / 86400, s / 3600 % 24);
    } else if (s >= 3600) {
        buf_printf(out, "%lluh %llum", s / 3600, s / 60 % 60);
    } else if (s >= 60) {
        buf_printf(out, "%llum %llus", s / 60, s % 60);
    } else {
        buf_printf(out, "%llus", s);
    }
}

void table_append_count(struct buf *out, double count)
{
    static const char units[] = "kMGT";
    int unit = -1;
    while (count >= 9999.5 && unit < 3) {
        count /= 1000;
        unit++;
    }
    if (unit < 0) {
        buf_printf(out, count < 10 && count != (double)(long)count ? "%.1f" : "%.0f", count);
    } else {
        buf_printf(out, "%.1f%c", count, units[unit]);
    }
}
