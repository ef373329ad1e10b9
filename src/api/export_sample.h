/* What the exporters read out of a metric sample. Pure. */
#ifndef TIDEGATE_API_EXPORT_SAMPLE_H
#define TIDEGATE_API_EXPORT_SAMPLE_H

#include <stdbool.h>

#include "base/buf.h"

/* Walks the labels of a sample, `a="x",b="y"`: start with rest = the whole. The value, without its
 * escapes, replaces what is in value. False at the end. */
bool sample_next_label(struct str *rest, struct str *out_name, struct buf *value);

/* The base unit that a family's name ends with, as UCUM: "s", "By", or "" when it counts things. */
struct str sample_unit(const char *family_name);

#endif
