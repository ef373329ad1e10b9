/* Lines for stdout: one answer, message or frame a line, so that scripts can read them. */
#ifndef TIDEGATE_CLI_OUTPUT_H
#define TIDEGATE_CLI_OUTPUT_H

#include "base/buf.h"
#include "base/str.h"

/* Appends the text and a newline; line breaks within become spaces. A JSON text stays the same
 * value: inside its strings there can't be any. */
void output_append_line(struct buf *out, struct str text);

/* Writes what has gathered to stdout and forgets it. 0, the buffer's failure, or -errno. */
int output_flush(struct buf *out);

/* The same at the end of a verb: frees it, and complains. Returns an enum exit_code. */
int output_end(struct buf *out, const char *verb);

#endif
