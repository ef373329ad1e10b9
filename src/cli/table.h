/* Rows and columns for people: aligned, with a heading, and nothing that a terminal would take for
 * a command. Pure but for its buffers. */
#ifndef TIDEGATE_CLI_TABLE_H
#define TIDEGATE_CLI_TABLE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

enum { TABLE_COLUMNS_MAX = 16 };

struct table {
    /* Borrowed. One that begins with '>' is set to the right: numbers. */
    const char *const *headings;
    size_t column_count;
    struct buf cells; /* each ended by a NUL */
};

/* The next cell, row by row. Control bytes become '?'; an empty one "-". */
void table_add(struct table *table, struct str text);
void table_addf(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends the heading and the rows, each with a newline; two spaces between columns. Bold: with the
 * escapes that make the heading bold. Ends the table. 0 or the buffers' failure. */
int table_write(struct table *table, struct buf *out, bool is_bold);

/* Whether stdout is a terminal that shows colors, and NO_COLOR is not set (no-color.org). */
bool table_may_color(void);

/* How many columns of a terminal the text takes. */
size_t table_width(struct str text);
/* Of its first character: 2 for what is written wide in East Asia and for pictures, 0 for marks
 * that stand over another, else 1. *out_bytes: how long it is, at least 1. */
unsigned table_char_width(struct str text, size_t *out_bytes);

/* Appends the text with its control bytes, also those of C1, made harmless. */
void table_append_clean(struct buf *out, struct str text);

/* "3d 4h", "5m 2s", "12s". */
void table_append_duration(struct buf *out, uint64_t ms);
/* "999", "12.3k", "4.5M". */
void table_append_count(struct buf *out, double count);

#endif
